//! Blocks of 64 rows: every node of a tree is tested for all rows of the block at once, and which rows reach a node is a
//! bit mask. A slot of the block is one vector of bytes, so a node costs one comparison and a few operations on 64-bit
//! words, whatever the rows.

use super::Tree;

/// Rows of a block: one bit each of a mask.
pub(super) const BLOCK_ROWS: usize = 64;

/// A slot of a block: a byte for each of its rows. Aligned, because a load across two cache lines costs two.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct BlockSlot(pub(super) [u8; BLOCK_ROWS]);

/// A forest laid out for blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockForest {
    pub(super) nodes: Vec<BlockNode>,
    pub(super) leaves: Vec<f64>,
    /// Inner nodes of each tree; a tree has one leaf more.
    pub(super) node_counts: Vec<u32>,
}

/// Places are within the tree: inner nodes from 0, parents before their children; leaves behind the inner nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockNode {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) slot: u16,
    pub(super) rank: u8,
}

impl BlockForest {
    /// Appends a tree whose nodes test the stated slots and ranks. Parents stand before their children in `order`.
    pub(super) fn push(&mut self, tree: &Tree, test: impl Fn(usize) -> (u16, u8)) {
        let order = parents_first(tree);
        let mut places = vec![0; tree.nodes.len()];
        for (place, &index) in order.iter().enumerate() {
            places[index] = place as u32;
        }
        let place = |child| match child {
            super::Child::Node(index) => places[index as usize],
            super::Child::Leaf(leaf) => tree.nodes.len() as u32 + leaf,
        };
        for &index in &order {
            let node = &tree.nodes[index];
            let (slot, rank) = test(index);
            self.nodes.push(BlockNode { left: place(node.left), right: place(node.right), slot, rank });
        }
        self.leaves.extend(&tree.leaves);
        self.node_counts.push(tree.nodes.len() as u32);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.leaves) + size_of_val(&*self.node_counts)
    }

    /// The largest number of nodes and leaves of a tree.
    pub(super) fn places_max(&self) -> usize {
        self.node_counts.iter().max().map_or(1, |&count| 2 * count as usize + 1)
    }

    /// Adds, tree after tree, each row's leaf to its sum. `reach` has [`BlockForest::places_max`] words.
    pub(super) fn add(&self, slots: &[BlockSlot], reach: &mut [u64], sums: &mut [f64; BLOCK_ROWS]) {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(token) = crate::cpu::Avx512::detect() {
                return x86::add_avx512(token, self, slots, reach, sums);
            }
            if let Some(token) = crate::cpu::Avx2::detect() {
                return x86::add_avx2(token, self, slots, reach, sums);
            }
        }
        self.add_with(Portable, slots, reach, sums);
    }

    #[inline(always)]
    pub(super) fn add_with<V: Vectors>(
        &self,
        vectors: V,
        slots: &[BlockSlot],
        reach: &mut [u64],
        sums: &mut [f64; BLOCK_ROWS],
    ) {
        let mut nodes = &*self.nodes;
        let mut leaves = &*self.leaves;
        for &node_count in &self.node_counts {
            let node_count = node_count as usize;
            let (tree, rest) = nodes.split_at(node_count);
            nodes = rest;
            let (values, rest) = leaves.split_at(node_count + 1);
            leaves = rest;
            reach[0] = u64::MAX;
            for (place, node) in tree.iter().enumerate() {
                let here = reach[place];
                let left = vectors.at_most(&slots[usize::from(node.slot)].0, node.rank);
                reach[node.left as usize] = here & left;
                reach[node.right as usize] = here & !left;
            }
            vectors.add_leaves(&reach[node_count..2 * node_count + 1], values, sums);
        }
    }
}

/// Node indices, parents before children. Iterative: a tree may be as deep as it has nodes.
pub(super) fn parents_first(tree: &Tree) -> Vec<usize> {
    let mut order = Vec::with_capacity(tree.nodes.len());
    if !tree.nodes.is_empty() {
        order.push(0);
    }
    let mut next = 0;
    while next < order.len() {
        let node = &tree.nodes[order[next]];
        for child in [node.left, node.right] {
            if let super::Child::Node(index) = child {
                order.push(index as usize);
            }
        }
        next += 1;
    }
    order
}

/// What differs between instruction sets.
pub(super) trait Vectors: Copy {
    /// Bit `i` is set when byte `i` is at most `rank`.
    fn at_most(self, slot: &[u8; BLOCK_ROWS], rank: u8) -> u64;

    /// Adds `values[leaf]` to the sum of every row in `reach[leaf]`; each row is in exactly one of the masks.
    fn add_leaves(self, reach: &[u64], values: &[f64], sums: &mut [f64; BLOCK_ROWS]);
}

#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Vectors for Portable {
    #[inline(always)]
    fn at_most(self, slot: &[u8; BLOCK_ROWS], rank: u8) -> u64 {
        slot.iter().rev().fold(0, |mask, &byte| mask << 1 | u64::from(byte <= rank))
    }

    #[inline(always)]
    fn add_leaves(self, reach: &[u64], values: &[f64], sums: &mut [f64; BLOCK_ROWS]) {
        for (&reach, value) in reach.iter().zip(values) {
            let mut rows = reach;
            while rows != 0 {
                sums[rows.trailing_zeros() as usize] += value;
                rows &= rows - 1;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK_ROWS, BlockForest, BlockSlot, Portable, Vectors};
    use crate::cpu::{Avx2, Avx512};

    pub(in crate::forest) fn add_avx512(
        token: Avx512,
        forest: &BlockForest,
        slots: &[BlockSlot],
        reach: &mut [u64],
        sums: &mut [f64; BLOCK_ROWS],
    ) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
        fn run(
            token: Avx512,
            forest: &BlockForest,
            slots: &[BlockSlot],
            reach: &mut [u64],
            sums: &mut [f64; BLOCK_ROWS],
        ) {
            forest.add_with(token, slots, reach, sums);
        }
        // SAFETY: the token proves the enabled features.
        unsafe { run(token, forest, slots, reach, sums) }
    }

    pub(in crate::forest) fn add_avx2(
        token: Avx2,
        forest: &BlockForest,
        slots: &[BlockSlot],
        reach: &mut [u64],
        sums: &mut [f64; BLOCK_ROWS],
    ) {
        #[target_feature(enable = "avx2")]
        fn run(
            token: Avx2,
            forest: &BlockForest,
            slots: &[BlockSlot],
            reach: &mut [u64],
            sums: &mut [f64; BLOCK_ROWS],
        ) {
            forest.add_with(token, slots, reach, sums);
        }
        // SAFETY: the token proves the enabled feature.
        unsafe { run(token, forest, slots, reach, sums) }
    }

    impl Vectors for Avx2 {
        #[inline(always)]
        fn at_most(self, slot: &[u8; BLOCK_ROWS], rank: u8) -> u64 {
            // SAFETY: the token proves AVX2; both loads lie within the 64 bytes of the slot.
            unsafe {
                let rank = _mm256_set1_epi8(rank as i8);
                let half = |place: usize| {
                    let bytes = _mm256_loadu_si256(slot.as_ptr().add(place).cast());
                    _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(bytes, rank), bytes)) as u32
                };
                u64::from(half(32)) << 32 | u64::from(half(0))
            }
        }

        #[inline(always)]
        fn add_leaves(self, reach: &[u64], values: &[f64], sums: &mut [f64; BLOCK_ROWS]) {
            Portable.add_leaves(reach, values, sums);
        }
    }

    impl Vectors for Avx512 {
        #[inline(always)]
        fn at_most(self, slot: &[u8; BLOCK_ROWS], rank: u8) -> u64 {
            // SAFETY: the token proves AVX-512 BW; the load takes the 64 bytes of the slot.
            unsafe {
                let bytes = _mm512_loadu_si512(slot.as_ptr().cast());
                _mm512_cmple_epu8_mask(bytes, _mm512_set1_epi8(rank as i8))
            }
        }

        #[inline(always)]
        fn add_leaves(self, reach: &[u64], values: &[f64], sums: &mut [f64; BLOCK_ROWS]) {
            // A row's leaf must fit a byte.
            if reach.len() > 256 {
                return Portable.add_leaves(reach, values, sums);
            }
            assert_eq!(reach.len(), values.len(), "one mask per leaf");
            // SAFETY: the token proves AVX-512 BW and DQ. Byte r of `leaf_of_row` is the index of a leaf below `reach.len()`,
            // which is `values.len()`, so each gathered address lies in `values`; the loads and stores at multiples of 8 lie in
            // the 64 sums.
            unsafe {
                let mut leaf_of_row = _mm512_setzero_si512();
                for (leaf, &rows) in reach.iter().enumerate().skip(1) {
                    leaf_of_row = _mm512_mask_mov_epi8(leaf_of_row, rows, _mm512_set1_epi8(leaf as i8));
                }
                let mut leaves = [0_u8; BLOCK_ROWS];
                _mm512_storeu_si512(leaves.as_mut_ptr().cast(), leaf_of_row);
                for first in (0..BLOCK_ROWS).step_by(8) {
                    let index = _mm512_cvtepu8_epi64(_mm_loadl_epi64(leaves.as_ptr().add(first).cast()));
                    let value = _mm512_i64gather_pd::<8>(index, values.as_ptr());
                    let sum = _mm512_loadu_pd(sums.as_ptr().add(first));
                    _mm512_storeu_pd(sums.as_mut_ptr().add(first), _mm512_add_pd(sum, value));
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::draw::Draw;

        /// Each instruction set gives the bits of the portable one.
        fn check(vectors: impl Vectors) {
            let mut draw = Draw(4);
            for leaf_count in [1, 2, 31, 64, 255, 256, 257, 300] {
                let slot: [u8; BLOCK_ROWS] = std::array::from_fn(|_| draw.below(256) as u8);
                for rank in [0, 1, 100, 127, 128, 254, 255] {
                    assert_eq!(vectors.at_most(&slot, rank), Portable.at_most(&slot, rank), "{slot:?} {rank}");
                }
                let values: Vec<f64> = (0..leaf_count).map(|_| draw.below(1000) as f64 / 7.0).collect();
                let mut reach = vec![0; leaf_count];
                for row in 0..BLOCK_ROWS {
                    reach[draw.below(leaf_count)] |= 1 << row;
                }
                let mut found = [0.1; BLOCK_ROWS];
                let mut expected = found;
                vectors.add_leaves(&reach, &values, &mut found);
                Portable.add_leaves(&reach, &values, &mut expected);
                assert_eq!(found, expected, "{leaf_count} leaves");
            }
        }

        #[test]
        fn instruction_sets_agree() {
            Avx2::detect().into_iter().for_each(check);
            Avx512::detect().into_iter().for_each(check);
        }
    }
}
