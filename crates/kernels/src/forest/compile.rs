//! From trees to slots and flat nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::block::BlockForest;
#[cfg(target_arch = "x86_64")]
use super::packed::PackedForest;
use super::rank::{CategoryColumn, NumberColumn, NumberSlot, Ranker, count_below};
use super::walk::{WalkNode, Walker};
use super::{
    ALWAYS_LEFT, ALWAYS_RIGHT, Child, Forest, ForestSpec, ForestTooLarge, Missing, Node, SLOT_THRESHOLDS, Test, Tree,
};
#[cfg(target_arch = "x86_64")]
use crate::cpu::Avx512;

const SLOTS_MAX: usize = 1 << 16;
const CATEGORY_TABLE_BYTES_MAX: usize = 256 << 20;

pub(super) fn compile(spec: &ForestSpec) -> Result<Forest, ForestTooLarge> {
    assert!(spec.column_count > 0, "a row has at least one value");
    assert!(spec.zero_band >= 0.0 && spec.zero_band.is_finite(), "zero band {}", spec.zero_band);
    let slots = Slots::collect(spec)?;
    let walker = flatten(spec, &slots)?;
    let mut blocks = BlockForest::default();
    for tree in &spec.trees {
        blocks.push(tree, |node| slots.test(&tree.nodes[node]));
    }
    #[cfg(target_arch = "x86_64")]
    let packed = Avx512::detect().and_then(|token| {
        let test = |tree: usize, node: usize| slots.test(&spec.trees[tree].nodes[node]);
        Some((token, PackedForest::build(&spec.trees, slots.ranker.slot_count(), test)?))
    });
    Ok(Forest {
        column_count: spec.column_count,
        tree_count: spec.trees.len(),
        ranker: slots.ranker,
        walker,
        blocks,
        #[cfg(target_arch = "x86_64")]
        packed,
    })
}

/// The slots of all tests, and where each test finds its own.
struct Slots<'a> {
    ranker: Ranker,
    /// By column, run of thresholds and treatment of missing values.
    numbers: BTreeMap<(u32, usize, Missing), u16>,
    /// By column and set.
    sets: BTreeMap<(u32, &'a [u32]), u16>,
}

impl<'a> Slots<'a> {
    fn collect(spec: &'a ForestSpec) -> Result<Self, ForestTooLarge> {
        let nodes = || spec.trees.iter().flat_map(|tree| &tree.nodes);
        let mut thresholds: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        let mut sets: BTreeMap<u32, BTreeSet<&[u32]>> = BTreeMap::new();
        for node in nodes() {
            assert!((node.column as usize) < spec.column_count, "column {} of {}", node.column, spec.column_count);
            match &node.test {
                Test::AtMost { threshold, .. } => {
                    thresholds.entry(node.column).or_default().push(outside_band(*threshold, spec.zero_band));
                }
                Test::OneOf { categories } => {
                    assert!(categories.is_sorted_by(|a, b| a < b), "categories ascend: {categories:?}");
                    sets.entry(node.column).or_default().insert(categories);
                }
            }
        }
        for thresholds in thresholds.values_mut() {
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup();
        }
        let mut used: BTreeSet<(u32, usize, Missing)> = BTreeSet::new();
        for node in nodes() {
            if let Test::AtMost { threshold, missing } = node.test {
                let rank = count_below(&thresholds[&node.column], outside_band(threshold, spec.zero_band));
                used.insert((node.column, rank / SLOT_THRESHOLDS, missing));
            }
        }
        let slot_count = used.len() + sets.values().map(BTreeSet::len).sum::<usize>();
        if slot_count > SLOTS_MAX {
            return Err(ForestTooLarge { what: "distinct tests (slots)", found: slot_count, limit: SLOTS_MAX });
        }
        let mut slots = Slots { ranker: Ranker::new(spec.zero_band), numbers: BTreeMap::new(), sets: BTreeMap::new() };
        for (column, thresholds) in thresholds {
            slots.add_numbers(column, thresholds, &used);
        }
        for (column, sets) in sets {
            slots.add_sets(column, &sets)?;
        }
        slots.ranker.widen();
        Ok(slots)
    }

    fn add_numbers(&mut self, column: u32, thresholds: Vec<f64>, used: &BTreeSet<(u32, usize, Missing)>) {
        let zero_rank = count_below(&thresholds, 0.0);
        let from = (column, 0, Missing::AsZero);
        let mut slots = Vec::new();
        for &key @ (_, run, missing) in used.range(from..).take_while(|(other, ..)| *other == column) {
            let slot = self.ranker.slot_count;
            self.ranker.slot_count += 1;
            self.numbers.insert(key, slot as u16);
            let start = run * SLOT_THRESHOLDS;
            let len = (thresholds.len() - start).min(SLOT_THRESHOLDS);
            let zero_is_missing = matches!(missing, Missing::ZeroLeft | Missing::ZeroRight);
            let mut entry = NumberSlot { slot, start, len, nan: 0, zero: 0, zero_is_missing };
            let zero = entry.value(zero_rank);
            (entry.nan, entry.zero) = match missing {
                Missing::AsZero => (zero, zero),
                Missing::Left => (ALWAYS_LEFT, zero),
                Missing::Right => (ALWAYS_RIGHT, zero),
                Missing::ZeroLeft => (ALWAYS_LEFT, ALWAYS_LEFT),
                Missing::ZeroRight => (ALWAYS_RIGHT, ALWAYS_RIGHT),
            };
            slots.push(entry);
        }
        self.ranker.numbers.push(NumberColumn { column: column as usize, thresholds, slots });
    }

    fn add_sets(&mut self, column: u32, sets: &BTreeSet<&'a [u32]>) -> Result<(), ForestTooLarge> {
        let first_slot = self.ranker.slot_count;
        self.ranker.slot_count += sets.len();
        let categories: Vec<u32> =
            sets.iter().flat_map(|set| set.iter().copied()).collect::<BTreeSet<_>>().into_iter().collect();
        // One row more, for values in no set.
        let table_bytes = (categories.len() + 1) * sets.len();
        let held: usize = self.ranker.categories.iter().map(|column| column.table.len()).sum();
        if held + table_bytes > CATEGORY_TABLE_BYTES_MAX {
            return Err(ForestTooLarge {
                what: "bytes of category tables",
                found: held + table_bytes,
                limit: CATEGORY_TABLE_BYTES_MAX,
            });
        }
        let mut table = vec![ALWAYS_RIGHT; table_bytes];
        for (index, set) in sets.iter().enumerate() {
            self.sets.insert((column, set), (first_slot + index) as u16);
            for category in *set {
                let row = categories.binary_search(category).expect("the union holds every category");
                table[row * sets.len() + index] = ALWAYS_LEFT;
            }
        }
        let set_count = sets.len();
        self.ranker.categories.push(CategoryColumn {
            column: column as usize,
            first_slot,
            set_count,
            categories,
            table,
        });
        Ok(())
    }

    /// The slot and the rank that a node compares.
    fn test(&self, node: &Node) -> (u16, u8) {
        match &node.test {
            Test::AtMost { threshold, missing } => {
                let numbers = &self.ranker.numbers;
                let index = numbers.binary_search_by_key(&(node.column as usize), |column| column.column);
                let thresholds = &numbers[index.expect("every tested column was collected")].thresholds;
                let rank = count_below(thresholds, outside_band(*threshold, self.ranker.zero_band));
                let slot = self.numbers[&(node.column, rank / SLOT_THRESHOLDS, *missing)];
                (slot, (rank % SLOT_THRESHOLDS) as u8)
            }
            Test::OneOf { categories } => (self.sets[&(node.column, categories.as_slice())], ALWAYS_LEFT),
        }
    }
}

/// An equivalent threshold outside the zero band: values inside it are read as 0.0, so they go left exactly when the
/// threshold is not negative.
fn outside_band(threshold: f64, zero_band: f64) -> f64 {
    assert!(!threshold.is_nan(), "a threshold is a number");
    if threshold.abs() > zero_band {
        threshold
    } else if threshold >= 0.0 {
        zero_band
    } else {
        (-zero_band).next_down()
    }
}

fn flatten(spec: &ForestSpec, slots: &Slots<'_>) -> Result<Walker, ForestTooLarge> {
    let total: usize = spec.trees.iter().map(|tree| tree.nodes.len() + tree.leaves.len()).sum();
    if u32::try_from(total).is_err() {
        return Err(ForestTooLarge { what: "nodes and leaves", found: total, limit: u32::MAX as usize });
    }
    let mut walker = Walker {
        nodes: Vec::with_capacity(total),
        values: Vec::with_capacity(total),
        roots: Vec::with_capacity(spec.trees.len()),
    };
    for tree in &spec.trees {
        walker.roots.push(walker.nodes.len() as u32);
        flatten_tree(tree, slots, &mut walker);
    }
    Ok(walker)
}

/// Appends a tree, breadth first, so that siblings are neighbours.
fn flatten_tree(tree: &Tree, slots: &Slots<'_>, walker: &mut Walker) {
    assert_eq!(tree.leaves.len(), tree.nodes.len() + 1, "leaves of a tree of {} nodes", tree.nodes.len());
    let first = walker.nodes.len();
    let mut waiting = VecDeque::from([if tree.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) }]);
    let mut placed = 1;
    while let Some(child) = waiting.pop_front() {
        match child {
            Child::Leaf(leaf) => {
                let itself = walker.nodes.len() as u32;
                walker.nodes.push(WalkNode { next: itself, slot: 0, rank: ALWAYS_RIGHT });
                walker.values.push(tree.leaves[leaf as usize]);
            }
            Child::Node(index) => {
                let node = &tree.nodes[index as usize];
                let (slot, rank) = slots.test(node);
                walker.nodes.push(WalkNode { next: (first + placed) as u32, slot, rank });
                walker.values.push(0.0);
                placed += 2;
                assert!(placed <= tree.nodes.len() + tree.leaves.len(), "a node is reached by two paths");
                waiting.extend([node.left, node.right]);
            }
        }
    }
    assert_eq!(placed, tree.nodes.len() + tree.leaves.len(), "a node is not reached");
}
