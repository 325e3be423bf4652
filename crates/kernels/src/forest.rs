//! Sums of decision trees.
//!
//! A forest is compiled once. Every value of a row is ranked once among the sorted thresholds of its column, and every
//! node then compares one byte of the row with one byte of its own. What makes a byte enough is the *slot*: a column is
//! spread over as many slots as it needs, one for each run of [`SLOT_THRESHOLDS`] thresholds, each way of treating
//! missing values and each set of categories. So a node's test is always `slot value <= node rank`, without a branch for
//! missing values or categories.
//!
//! Invariants that all scoring paths share:
//! 1. A slot's value of an ordinary number is the number of the slot's thresholds below it, 0 to [`SLOT_THRESHOLDS`].
//! 2. [`ALWAYS_LEFT`] is at most every node's rank, [`ALWAYS_RIGHT`] is above every node's rank.
//! 3. The leaves of a row are added in tree order, starting from 0.0, in f64: every path gives the same bits.

mod block;
mod compile;
#[cfg(target_arch = "x86_64")]
mod packed;
mod rank;
mod walk;
#[cfg(target_arch = "x86_64")]
mod wide_rank;

#[cfg(test)]
mod tests;

use std::fmt;

use block::{BLOCK_ROWS, BlockForest, BlockSlot};
use rank::Ranker;
use walk::Walker;

/// Which way a node sends values that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// NaN is read as 0.0.
    AsZero,
    /// NaN goes left.
    Left,
    /// NaN goes right.
    Right,
    /// NaN and zero (see [`ForestSpec::zero_band`]) go left.
    ZeroLeft,
    /// NaN and zero (see [`ForestSpec::zero_band`]) go right.
    ZeroRight,
}

/// What a node asks of its column's value; yes goes left.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `value <= threshold`; the threshold is not NaN.
    AtMost {
        /// The largest value that goes left.
        threshold: f64,
        /// Where missing values go.
        missing: Missing,
    },
    /// The value without its fraction is one of these; NaN, values at or below -1 and values from 2^31 on are not.
    OneOf {
        /// Strictly ascending.
        categories: Vec<u32>,
    },
}

/// Where a node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// Index into [`Tree::nodes`].
    Node(u32),
    /// Index into [`Tree::leaves`].
    Leaf(u32),
}

/// An inner node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Which value of the row it tests.
    pub column: u32,
    /// The test.
    pub test: Test,
    /// Where to go when the test holds.
    pub left: Child,
    /// Where to go when it does not.
    pub right: Child,
}

/// A binary tree. Node 0 is the root; without nodes, leaf 0 is.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Inner nodes, each reached from the root by exactly one path.
    pub nodes: Vec<Node>,
    /// Values of the leaves; one more than there are nodes, each reached by exactly one path.
    pub leaves: Vec<f64>,
}

/// The forest to compile.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestSpec {
    /// Values of a row.
    pub column_count: usize,
    /// Values from `-zero_band` to `zero_band` are read as 0.0; 0.0 or a small positive number.
    pub zero_band: f64,
    /// Trees in the order in which their leaves are added.
    pub trees: Vec<Tree>,
}

/// The forest has more distinct tests than the compiled form can number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForestTooLarge {
    /// What there is too much of.
    pub what: &'static str,
    /// How much there is.
    pub found: usize,
    /// How much there may be.
    pub limit: usize,
}

impl fmt::Display for ForestTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the forest has {} {}, the limit is {}", self.found, self.what, self.limit)
    }
}

impl std::error::Error for ForestTooLarge {}

/// Thresholds in one slot: ranks 0 to 254 fit a byte beside [`ALWAYS_RIGHT`].
const SLOT_THRESHOLDS: usize = 254;
const ALWAYS_LEFT: u8 = 0;
const ALWAYS_RIGHT: u8 = 255;

/// A compiled forest.
#[derive(Debug, Clone)]
pub struct Forest {
    column_count: usize,
    tree_count: usize,
    ranker: Ranker,
    walker: Walker,
    blocks: BlockForest,
    /// The same trees for one row, where the processor and the trees allow it.
    #[cfg(target_arch = "x86_64")]
    packed: Option<(crate::cpu::Avx512, packed::PackedForest)>,
}

impl Forest {
    /// Compiles; milliseconds for thousands of leaves.
    ///
    /// # Errors
    /// [`ForestTooLarge`] when there are more than 65,536 slots (about as many distinct sets of categories, or 16 million
    /// distinct thresholds), when the tables of the categories exceed 256 MiB, or when there are 2^32 nodes and leaves.
    ///
    /// # Panics
    /// When a tree breaks the rules that [`Tree`], [`Test`] and [`ForestSpec`] state: the caller's bug.
    pub fn compile(spec: &ForestSpec) -> Result<Self, ForestTooLarge> {
        compile::compile(spec)
    }

    /// Values of a row.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.column_count
    }

    /// Number of trees.
    #[must_use]
    pub fn tree_count(&self) -> usize {
        self.tree_count
    }

    /// Memory held by the compiled form, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        let packed = self.packed.as_ref().map_or(0, |(_, packed)| packed.bytes());
        #[cfg(not(target_arch = "x86_64"))]
        let packed = 0;
        self.ranker.bytes() + self.walker.bytes() + self.blocks.bytes() + packed
    }

    /// The sum of the row's leaves.
    ///
    /// # Panics
    /// When `row` has another number of values than [`Forest::column_count`].
    #[must_use]
    pub fn sum_row(&self, row: &[f64]) -> f64 {
        assert_eq!(row.len(), self.column_count, "values of a row");
        /// Rows with up to this many slots are ranked on the stack.
        const STACK_SLOTS: usize = 256;
        let slot_count = self.ranker.slot_count();
        if slot_count > STACK_SLOTS {
            let mut ranks = vec![0; slot_count];
            self.ranker.rank_row(row, &mut ranks);
            return self.walker.sum(&ranks);
        }
        let mut ranks = [0; STACK_SLOTS];
        self.ranker.rank_row(row, &mut ranks);
        #[cfg(target_arch = "x86_64")]
        if let Some((token, packed)) = &self.packed {
            return packed.sum(*token, &ranks);
        }
        self.walker.sum(&ranks)
    }

    /// The sums of row-major `rows`, each bit-equal to [`Forest::sum_row`].
    ///
    /// # Panics
    /// When `rows` has not [`Forest::column_count`] values for each of `out`.
    pub fn sum_rows(&self, rows: &[f64], out: &mut [f64]) {
        assert_eq!(rows.len(), out.len() * self.column_count, "values of {} rows", out.len());
        let block_rows_min = self.block_rows_min();
        if out.len() < block_rows_min {
            return self.sum_each(rows, out);
        }
        let mut slots = vec![BlockSlot([0; BLOCK_ROWS]); self.ranker.slot_count()];
        let mut reach = vec![0; self.blocks.places_max()];
        for (rows, out) in rows.chunks(BLOCK_ROWS * self.column_count).zip(out.chunks_mut(BLOCK_ROWS)) {
            if out.len() < block_rows_min {
                return self.sum_each(rows, out);
            }
            self.ranker.rank_block(rows, self.column_count, &mut slots);
            let mut sums = [0.0; BLOCK_ROWS];
            self.blocks.add(&slots, &mut reach, &mut sums);
            out.copy_from_slice(&sums[..out.len()]);
        }
    }

    /// Rows from which a block is cheaper than row by row: a block costs the same whatever its rows. Measured with 100 trees of
    /// 31 leaves and 500 of 63. Without vectors of bytes a block never pays.
    fn block_rows_min(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        {
            if crate::cpu::Avx512::detect().is_some() {
                return if self.packed.is_some() { 40 } else { 8 };
            }
            if crate::cpu::Avx2::detect().is_some() {
                return 24;
            }
        }
        usize::MAX
    }

    fn sum_each(&self, rows: &[f64], out: &mut [f64]) {
        for (row, sum) in rows.chunks_exact(self.column_count).zip(out) {
            *sum = self.sum_row(row);
        }
    }
}
