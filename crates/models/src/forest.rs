//! Gradient-boosted trees and random forests, read from LightGBM's text format and compiled.
//!
//! ```
//! use paceline_core::{Rows, Scorer};
//! use paceline_models::forest::Forest;
//!
//! let text = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n\
//!     objective=binary sigmoid:1\nfeature_names=age\nfeature_infos=[0:99]\ntree_sizes=0\n\n\
//!     Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=40.5\ndecision_type=2\nleft_child=-1\nright_child=-2\n\
//!     leaf_value=-1 1\nis_linear=0\nshrinkage=1\n\n\nend of trees\n";
//! let forest = Forest::from_lightgbm(text)?;
//! let mut scores = [0.0; 2];
//! forest.score(Rows::new(&[20.0, 60.0], 1), &mut scores);
//! assert_eq!(scores, [1.0 / (1.0 + 1_f64.exp()), 1.0 / (1.0 + (-1_f64).exp())]);
//! # Ok::<(), paceline_models::forest::ForestError>(())
//! ```

mod lightgbm;
mod output;

#[cfg(test)]
mod tests;

use paceline_core::{Rows, Scorer};
use paceline_kernels::forest::{Forest as Compiled, ForestSpec, ForestTooLarge};
use thiserror::Error;

pub use output::OutputTransform;

/// Why a model file is not a forest that can be scored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ForestError {
    /// The text is not what LightGBM writes: cut off, edited or damaged.
    #[error("model text, line {line}, {key:?}: {problem}")]
    Malformed {
        /// Line of the text, from 1.
        line: usize,
        /// Key of the line, or what was expected there.
        key: String,
        /// What is wrong, with the value.
        problem: String,
    },
    /// The text is sound but asks for something that is not scored here.
    #[error("model text, line {line}: {item} is not supported; {hint}")]
    Unsupported {
        /// Line of the text, from 1.
        line: usize,
        /// What is not supported.
        item: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// The model is larger than the stated limit.
    #[error("the model has {found} {what}, the limit is {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
}

impl From<ForestTooLarge> for ForestError {
    fn from(error: ForestTooLarge) -> Self {
        ForestError::TooLarge { what: error.what, found: error.found, limit: error.limit }
    }
}

/// A compiled forest.
///
/// Scores equal those of the library that wrote the model: the raw score is the same sum in the same order, so it is
/// bit-equal; the output transform uses the same formula (its exponential is the platform's).
#[derive(Debug, Clone)]
pub struct Forest {
    compiled: Compiled,
    feature_names: Vec<String>,
    leaf_count: usize,
    /// What the sum of the leaves is divided by: the number of trees of a random forest, otherwise 1.
    divisor: f64,
    output: OutputTransform,
}

/// What a format's reader hands over.
struct Parsed {
    spec: ForestSpec,
    feature_names: Vec<String>,
    average: bool,
    output: OutputTransform,
}

impl Forest {
    /// Reads a model in LightGBM's text format, versions v2 to v4 (LightGBM 2.2 and later): numerical and categorical
    /// splits with every missing type, averaged forests, every objective with one output.
    ///
    /// # Errors
    /// [`ForestError`] with line and key; no text makes it panic. Models of several outputs and linear trees are
    /// [`ForestError::Unsupported`].
    pub fn from_lightgbm(text: &str) -> Result<Self, ForestError> {
        let Parsed { spec, feature_names, average, output } = lightgbm::parse(text)?;
        let compiled = Compiled::compile(&spec)?;
        let leaf_count = spec.trees.iter().map(|tree| tree.leaves.len()).sum();
        let divisor = if average { spec.trees.len().max(1) as f64 } else { 1.0 };
        Ok(Forest { compiled, feature_names, leaf_count, divisor, output })
    }

    /// Names of the columns, as the model states them.
    #[must_use]
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// Number of trees.
    #[must_use]
    pub fn tree_count(&self) -> usize {
        self.compiled.tree_count()
    }

    /// Number of leaves of all trees.
    #[must_use]
    pub fn leaf_count(&self) -> usize {
        self.leaf_count
    }

    /// Memory held by the compiled form, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.compiled.bytes()
    }

    /// How the sum of the leaves becomes the output.
    #[must_use]
    pub fn output(&self) -> OutputTransform {
        self.output
    }

    /// Writes the raw score of row `i` to `out[i]`: the sum of the leaves. As in LightGBM, the average of a random forest is
    /// taken afterwards, with the output transform.
    ///
    /// # Panics
    /// When `rows.columns()` is not [`Scorer::column_count`] or `out.len() != rows.len()`: the caller's bug.
    pub fn score_raw(&self, rows: Rows<'_>, out: &mut [f64]) {
        assert_eq!(rows.columns(), self.column_count(), "columns");
        assert_eq!(rows.len(), out.len(), "rows");
        self.compiled.sum_rows(rows.values(), out);
    }
}

impl Scorer for Forest {
    fn column_count(&self) -> usize {
        self.compiled.column_count()
    }

    fn score(&self, rows: Rows<'_>, out: &mut [f64]) {
        self.score_raw(rows, out);
        if self.divisor != 1.0 {
            out.iter_mut().for_each(|score| *score /= self.divisor);
        }
        self.output.apply(out);
    }
}
