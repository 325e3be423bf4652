//! Numeric loops over slices. Knows no domain word and depends on nothing of ours.
//!
//! - [`forest`]: sums of decision trees, compiled to comparisons of small integers.
//! - [`conjugate_gradient`]: solves positive definite systems given as a base plus rank-one terms.
//! - [`dense`]: one layer of a dense network for one input.
//! - [`dot`]: dot products; [`int8`]: vectors in 8 bits and a scan over them.
//! - [`matrix`]: products of dense matrices, for training.
//! - [`standardize`]: rows brought to a common scale.
//! - [`top_k`]: the best of many scores.
//!
//! Every function except [`matrix::multiply`] gives the same bits on every processor: sums have a fixed order and nothing is fused. Faster instruction
//! sets are found at run time and stand behind safe functions, with a portable twin that they are tested against.
//!
//! ```
//! use paceline_kernels::forest::{Child, Forest, ForestSpec, Missing, Node, Test, Tree};
//!
//! let stump = Tree {
//!     nodes: vec![Node {
//!         column: 0,
//!         test: Test::AtMost { threshold: 0.5, missing: Missing::Right },
//!         left: Child::Leaf(0),
//!         right: Child::Leaf(1),
//!     }],
//!     leaves: vec![-1.0, 2.0],
//! };
//! let forest = Forest::compile(&ForestSpec { column_count: 1, zero_band: 0.0, trees: vec![stump] })?;
//! assert_eq!(forest.sum_row(&[0.5]), -1.0);
//! assert_eq!(forest.sum_row(&[f64::NAN]), 2.0);
//! # Ok::<(), paceline_kernels::forest::ForestTooLarge>(())
//! ```

pub mod conjugate_gradient;
mod cpu;
pub mod dense;
pub mod dot;
#[cfg(test)]
mod draw;
pub mod forest;
pub mod int8;
pub mod matrix;
pub mod standardize;
pub mod top_k;
