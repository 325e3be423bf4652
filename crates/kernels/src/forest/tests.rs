#[cfg(target_arch = "x86_64")]
use super::block::x86::add_avx2;
use super::block::{BLOCK_ROWS, BlockForest, BlockSlot, Portable};
use super::*;
use crate::draw::Draw;

/// The obvious reference: walk each tree by its own definition.
fn reference(spec: &ForestSpec, row: &[f64]) -> f64 {
    spec.trees.iter().fold(0.0, |sum, tree| {
        let mut at = if tree.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) };
        loop {
            match at {
                Child::Leaf(leaf) => break sum + tree.leaves[leaf as usize],
                Child::Node(index) => {
                    let node = &tree.nodes[index as usize];
                    let left = goes_left(&node.test, row[node.column as usize], spec.zero_band);
                    at = if left { node.left } else { node.right };
                }
            }
        }
    })
}

fn goes_left(test: &Test, value: f64, zero_band: f64) -> bool {
    match test {
        Test::AtMost { threshold, missing } => {
            let zero = value.is_nan() || value.abs() <= zero_band;
            match missing {
                Missing::ZeroLeft if zero => true,
                Missing::ZeroRight if zero => false,
                Missing::Left if value.is_nan() => true,
                Missing::Right if value.is_nan() => false,
                _ => (if zero { 0.0 } else { value }) <= *threshold,
            }
        }
        Test::OneOf { categories } => {
            !value.is_nan()
                && value.trunc() >= 0.0
                && value < 2f64.powi(31)
                && categories.contains(&(value.trunc() as u32))
        }
    }
}

const BAND: f64 = 1e-35;

fn threshold(draw: &mut Draw, distinct: usize) -> f64 {
    match draw.below(20) {
        0 => 0.0,
        1 => -0.0,
        2 => BAND / 2.0,
        3 => -BAND / 2.0,
        4 => BAND,
        5 => f64::INFINITY,
        6 => f64::NEG_INFINITY,
        _ => draw.below(distinct) as f64 - distinct as f64 / 2.0,
    }
}

fn tree(draw: &mut Draw, column_count: usize, leaf_count: usize, distinct: usize) -> Tree {
    let leaves = (0..leaf_count).map(|_| draw.below(2000) as f64 / 700.0 - 1.0).collect();
    let mut nodes: Vec<Node> = Vec::new();
    // Grows as trainers do: a random leaf becomes a node.
    for node_index in 0..leaf_count - 1 {
        let new_leaf = Child::Leaf(node_index as u32 + 1);
        let split = draw.below(node_index + 1) as u32;
        for node in &mut nodes {
            for child in [&mut node.left, &mut node.right] {
                if *child == Child::Leaf(split) {
                    *child = Child::Node(node_index as u32);
                }
            }
        }
        let column = draw.below(column_count);
        // The last column holds categories.
        let test = if column + 1 == column_count && column > 0 {
            let categories = (0..70).filter(|_| draw.below(3) == 0).collect();
            Test::OneOf { categories }
        } else {
            let ways = [Missing::AsZero, Missing::Left, Missing::Right, Missing::ZeroLeft, Missing::ZeroRight];
            Test::AtMost { threshold: threshold(draw, distinct), missing: ways[draw.below(5)] }
        };
        let (left, right) =
            if draw.below(2) == 0 { (Child::Leaf(split), new_leaf) } else { (new_leaf, Child::Leaf(split)) };
        nodes.push(Node { column: column as u32, test, left, right });
    }
    Tree { nodes, leaves }
}

fn value(draw: &mut Draw, distinct: usize) -> f64 {
    let special = [
        f64::NAN,
        0.0,
        -0.0,
        BAND,
        -BAND,
        BAND * 2.0,
        -BAND / 4.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        -0.5,
        -1.0,
        2_147_483_647.5,
        2_147_483_648.0,
        1e12,
    ];
    match draw.below(3) {
        0 => special[draw.below(special.len())],
        1 => draw.below(distinct) as f64 - distinct as f64 / 2.0,
        _ => draw.below(7000) as f64 / 100.0,
    }
}

#[track_caller]
fn check(seed: u64, column_count: usize, tree_count: usize, leaves_max: usize, distinct: usize, row_count: usize) {
    let mut draw = Draw(seed);
    let trees = (0..tree_count)
        .map(|_| {
            let leaf_count = 1 + draw.below(leaves_max);
            tree(&mut draw, column_count, leaf_count, distinct)
        })
        .collect();
    let spec = ForestSpec { column_count, zero_band: BAND, trees };
    let forest = Forest::compile(&spec).unwrap();
    let rows: Vec<f64> = (0..row_count * column_count).map(|_| value(&mut draw, distinct)).collect();
    let expected: Vec<u64> = rows.chunks_exact(column_count).map(|row| reference(&spec, row).to_bits()).collect();
    let bits = |sums: Vec<f64>| sums.into_iter().map(f64::to_bits).collect::<Vec<_>>();

    for (path, forest) in [("this processor", &forest), ("portable", &without_vectors(&forest))] {
        let one_by_one = rows.chunks_exact(column_count).map(|row| forest.sum_row(row)).collect();
        assert_eq!(bits(one_by_one), expected, "{path}, one row, seed {seed}");
        let mut sums = vec![f64::NAN; row_count];
        forest.sum_rows(&rows, &mut sums);
        assert_eq!(bits(sums), expected, "{path}, {row_count} rows, seed {seed}");
    }
    assert_eq!(
        bits(sum_blocks(&forest, &rows, |blocks| blocks.0.add_with(Portable, blocks.1, blocks.2, blocks.3))),
        expected
    );
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = crate::cpu::Avx2::detect() {
        let add = |blocks: Blocks<'_>| add_avx2(token, blocks.0, blocks.1, blocks.2, blocks.3);
        assert_eq!(bits(sum_blocks(&forest, &rows, add)), expected);
    }
}

/// The forest as a processor without vectors compiles it.
fn without_vectors(forest: &Forest) -> Forest {
    let mut forest = forest.clone();
    #[cfg(target_arch = "x86_64")]
    {
        forest.packed = None;
        forest.ranker.wide = None;
    }
    forest
}

type Blocks<'a> = (&'a BlockForest, &'a [BlockSlot], &'a mut [u64], &'a mut [f64; BLOCK_ROWS]);

/// Sums of all rows, also of few, by one way of adding a block.
fn sum_blocks(forest: &Forest, rows: &[f64], add: impl Fn(Blocks<'_>)) -> Vec<f64> {
    let mut slots = vec![BlockSlot([0; BLOCK_ROWS]); forest.ranker.slot_count()];
    let mut reach = vec![0; forest.blocks.places_max()];
    rows.chunks(BLOCK_ROWS * forest.column_count)
        .flat_map(|rows| {
            forest.ranker.rank_block(rows, forest.column_count, &mut slots);
            let mut sums = [0.0; BLOCK_ROWS];
            add((&forest.blocks, &slots, &mut reach, &mut sums));
            sums.into_iter().take(rows.len() / forest.column_count)
        })
        .collect()
}

#[test]
fn every_path_gives_the_bits_of_the_definition() {
    for seed in 0..40 {
        check(seed, 5, 20, 31, 40, 70);
    }
    for seed in 0..10 {
        // More columns than one vector register has bytes, and trees that do not fill a group.
        check(seed, 90, 13, 31, 30, 130);
        // Trees too large for one vector of nodes.
        check(seed, 4, 9, 300, 60, 65);
        // More thresholds in a column than a slot holds.
        check(seed, 2, 60, 63, 3000, 64);
        check(seed, 1, 3, 4, 10, 1);
    }
}

#[test]
fn row_counts_around_a_block() {
    for row_count in [0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200] {
        check(7, 6, 17, 31, 50, row_count);
    }
}

#[test]
fn trees_of_one_leaf_and_no_trees() {
    let leaf = |value| Tree { nodes: Vec::new(), leaves: vec![value] };
    let sum = |trees| {
        Forest::compile(&ForestSpec { column_count: 2, zero_band: 0.0, trees }).unwrap().sum_row(&[1.0, f64::NAN])
    };
    assert_eq!(sum(Vec::new()), 0.0);
    assert_eq!(sum(vec![leaf(0.25), leaf(-1.0)]), -0.75);
    assert_eq!(sum((0..19).map(|_| leaf(1.0)).collect()), 19.0);
}

#[test]
fn more_slots_than_can_be_numbered_are_refused() {
    let sets = (0..70_000_u32).map(|bits| (0..17).filter(|bit| bits >> bit & 1 == 1).collect::<Vec<u32>>());
    let trees = sets
        .map(|categories| Tree {
            nodes: vec![Node {
                column: 0,
                test: Test::OneOf { categories },
                left: Child::Leaf(0),
                right: Child::Leaf(1),
            }],
            leaves: vec![0.0, 1.0],
        })
        .collect();
    let error = Forest::compile(&ForestSpec { column_count: 1, zero_band: 0.0, trees }).unwrap_err();
    assert_eq!((error.found, error.limit), (70_000, 65_536));
}
