//! One row with AVX-512: trees of up to 64 nodes are packed into vectors of 64 nodes. All nodes of a pack are tested at once,
//! each node then points to one of its children, and pointer doubling (Wyllie 1979) brings every node to its leaf in
//! log2(depth) permutes.

use super::Tree;
use super::block::parents_first;

/// Nodes of a pack: bytes of a vector.
const PACK_NODES: usize = 64;
/// Slots that a vector of bytes can index, in tables of 64.
const SLOTS_MAX: usize = 256;
/// Marks a child that is a leaf; the other bits are the leaf's place in the pack.
const LEAF: u8 = 0x80;
/// Leaves of a pack: what the other bits can number.
const PACK_LEAVES: usize = 128;

/// Consecutive trees, side by side.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Pack {
    slots: [u8; PACK_NODES],
    ranks: [u8; PACK_NODES],
    left: [u8; PACK_NODES],
    right: [u8; PACK_NODES],
}

/// A forest laid out in packs.
#[derive(Debug, Clone)]
pub(super) struct PackedForest {
    slot_count: usize,
    /// Doublings that bring the root of the deepest tree to its leaf.
    doublings: u32,
    packs: Vec<Pack>,
    /// Number of trees of each pack.
    tree_counts: Vec<u8>,
    /// Root of each tree: a node of its pack, or a leaf of it when the tree is one leaf.
    roots: Vec<u8>,
    /// [`PACK_LEAVES`] values for each pack.
    leaves: Vec<f64>,
}

impl PackedForest {
    /// Packs the trees; `None` when a tree has more than 64 nodes or there are more than 256 slots. `test` gives slot and
    /// rank of a node of a tree.
    pub(super) fn build(trees: &[Tree], slot_count: usize, test: impl Fn(usize, usize) -> (u16, u8)) -> Option<Self> {
        if slot_count == 0 || slot_count > SLOTS_MAX || trees.iter().any(|tree| tree.nodes.len() > PACK_NODES) {
            return None;
        }
        let depth = trees.iter().map(depth).max().unwrap_or(0);
        let mut forest = PackedForest {
            slot_count,
            doublings: depth.max(1).next_power_of_two().trailing_zeros(),
            packs: Vec::new(),
            tree_counts: Vec::new(),
            roots: Vec::new(),
            leaves: Vec::new(),
        };
        let (mut used_nodes, mut used_leaves) = (PACK_NODES, PACK_LEAVES);
        for (index, tree) in trees.iter().enumerate() {
            if used_nodes + tree.nodes.len() > PACK_NODES || used_leaves + tree.leaves.len() > PACK_LEAVES {
                (used_nodes, used_leaves) = (0, 0);
                forest.packs.push(Pack {
                    slots: [0; PACK_NODES],
                    ranks: [0; PACK_NODES],
                    left: [LEAF; PACK_NODES],
                    right: [LEAF; PACK_NODES],
                });
                forest.tree_counts.push(0);
                forest.leaves.resize(forest.packs.len() * PACK_LEAVES, 0.0);
            }
            forest.place(tree, used_nodes, used_leaves, |node| test(index, node));
            used_nodes += tree.nodes.len();
            used_leaves += tree.leaves.len();
        }
        Some(forest)
    }

    /// Puts a tree into the last pack, behind the nodes and leaves used so far.
    fn place(&mut self, tree: &Tree, first_node: usize, first_leaf: usize, test: impl Fn(usize) -> (u16, u8)) {
        let (Some(pack), Some(count)) = (self.packs.last_mut(), self.tree_counts.last_mut()) else {
            unreachable!("a pack was added before")
        };
        let code = |child| match child {
            super::Child::Node(index) => (first_node + index as usize) as u8,
            super::Child::Leaf(leaf) => LEAF | (first_leaf + leaf as usize) as u8,
        };
        for (index, node) in tree.nodes.iter().enumerate() {
            let (slot, rank) = test(index);
            let place = first_node + index;
            pack.slots[place] = slot as u8;
            pack.ranks[place] = rank;
            pack.left[place] = code(node.left);
            pack.right[place] = code(node.right);
        }
        *count += 1;
        let root = if tree.nodes.is_empty() { super::Child::Leaf(0) } else { super::Child::Node(0) };
        self.roots.push(code(root));
        let pack_leaves = self.leaves.len() - PACK_LEAVES;
        self.leaves[pack_leaves + first_leaf..][..tree.leaves.len()].copy_from_slice(&tree.leaves);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.packs)
            + size_of_val(&*self.tree_counts)
            + size_of_val(&*self.roots)
            + size_of_val(&*self.leaves)
    }

    /// The sum of the leaves of a row, in tree order. `ranks` holds one byte per slot; what is behind them is not used.
    pub(super) fn sum(&self, token: crate::cpu::Avx512, ranks: &[u8; SLOTS_MAX]) -> f64 {
        // SAFETY: the token proves the enabled features.
        unsafe {
            match self.slot_count {
                ..=64 => self.sum_avx512::<1>(token, ranks),
                65..=128 => self.sum_avx512::<2>(token, ranks),
                _ => self.sum_avx512::<4>(token, ranks),
            }
        }
    }

    /// With the slots in `TABLES` vectors of 64.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
    fn sum_avx512<const TABLES: usize>(&self, _token: crate::cpu::Avx512, ranks: &[u8; SLOTS_MAX]) -> f64 {
        use std::arch::x86_64::*;

        let load = |bytes: &[u8; PACK_NODES]| {
            // SAFETY: the array has the 64 bytes that are loaded.
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        };
        let tables: [__m512i; TABLES] = std::array::from_fn(|table| load(&ranks.as_chunks().0[table]));
        let mut sum = 0.0;
        let mut roots = self.roots.iter();
        for ((pack, &tree_count), leaves) in
            self.packs.iter().zip(&self.tree_counts).zip(self.leaves.chunks_exact(PACK_LEAVES))
        {
            let slots = load(&pack.slots);
            let values = match TABLES {
                1 => _mm512_permutexvar_epi8(slots, tables[0]),
                2 => _mm512_permutex2var_epi8(tables[0], slots, tables[TABLES - 1]),
                _ => _mm512_mask_blend_epi8(
                    _mm512_movepi8_mask(slots),
                    _mm512_permutex2var_epi8(tables[0], slots, tables[TABLES / 4]),
                    _mm512_permutex2var_epi8(tables[TABLES / 2], slots, tables[TABLES - 1]),
                ),
            };
            let goes_left = _mm512_cmple_epu8_mask(values, load(&pack.ranks));
            let mut next = _mm512_mask_blend_epi8(goes_left, load(&pack.right), load(&pack.left));
            for _ in 0..self.doublings {
                let inner = !_mm512_movepi8_mask(next);
                next = _mm512_mask_permutexvar_epi8(next, inner, next, next);
            }
            let mut ends = [0_u8; PACK_NODES];
            // SAFETY: the array has 64 bytes.
            unsafe { _mm512_storeu_si512(ends.as_mut_ptr().cast(), next) };
            for &root in roots.by_ref().take(usize::from(tree_count)) {
                let end = if root & LEAF == 0 { ends[usize::from(root) % PACK_NODES] } else { root };
                sum += leaves[usize::from(end & !LEAF)];
            }
        }
        sum
    }
}

/// Edges on the longest path from the root to a leaf.
fn depth(tree: &Tree) -> usize {
    let mut depths = vec![0; tree.nodes.len()];
    let mut deepest = 0;
    for index in parents_first(tree) {
        let below = depths[index] + 1;
        deepest = deepest.max(below);
        for child in [tree.nodes[index].left, tree.nodes[index].right] {
            if let super::Child::Node(child) = child {
                depths[child as usize] = below;
            }
        }
    }
    deepest
}
