//! From what was said to a checked pipeline: names resolve, sections agree, defaults are written out.
//!
//! What a source's columns are is only known from its files; with [`Schemas`] the same pass also checks every column
//! and compiles every expression. Mistakes are collected, never returned early.

mod columns;
mod features;
mod model;
mod operate;
mod pushed;
mod sources;
mod split;

use std::collections::BTreeSet;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use indexmap::IndexMap;

use super::checked::Pipeline;
use super::mistake::{Mistake, suggest};
use super::raw::{RawPipeline, RawView};
use super::tree::Node;
use model::ModelParts;

/// Columns of each source as its files have them, by the source's name; sources that could not be read are absent.
pub type Schemas = IndexMap<String, SchemaRef>;

/// What a pass over a pipeline file found.
#[derive(Debug)]
pub(super) struct Checked {
    /// The pipeline; with mistakes beside it, it must not be used.
    pub pipeline: Option<Pipeline>,
    /// What keeps it from running.
    pub mistakes: Vec<Mistake>,
    /// What is suspicious.
    pub warnings: Vec<Mistake>,
}

/// Checks `raw`, which was read from `text` and whose places `tree` knows. `folder` is where its relative paths begin.
#[must_use]
pub(super) fn check(raw: &RawPipeline, tree: &Node, text: &str, folder: &Path, schemas: Option<&Schemas>) -> Checked {
    let mut checker = Checker { raw, tree, text, mistakes: Vec::new(), warnings: Vec::new() };
    checker.name();
    let sources = checker.sources();
    let views = checker.views(&sources);
    let pushed = checker.pushed();
    let request_features = checker.request_features();
    let parts = checker.model(&sources);
    let optimize = checker.optimize();
    let experiment = checker.experiment();
    if let Some(schemas) = schemas {
        checker.columns(&sources, &views, &request_features, parts.as_ref(), schemas);
    }
    let pipeline = raw.name.clone().map(|name| Pipeline {
        name,
        seed: raw.seed(),
        folder: folder.to_owned(),
        sources,
        pinned: pinned(raw),
        views,
        pushed,
        request_features,
        encoders: raw.encode.iter().map(|(column, encoder)| (column.clone(), encoder.to_spec())).collect(),
        model: parts.and_then(ModelParts::into_model),
        optimize,
        serve: raw.serve.clone(),
        monitor: raw.monitor.clone(),
        experiment,
        retrain: raw.retrain.clone(),
    });
    Checked { pipeline, mistakes: checker.mistakes, warnings: checker.warnings }
}

/// Views of which the file says where they are computed.
fn pinned(raw: &RawPipeline) -> BTreeSet<String> {
    let views = raw.features.views.iter();
    let is_pinned = |view: &RawView| view.placement.is_some() || view.schedule.is_some();
    views.filter(|(_, view)| is_pinned(view)).map(|(name, _)| name.clone()).collect()
}

impl RawPipeline {
    /// The seed, by default 1.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }
}

pub(super) struct Checker<'a> {
    raw: &'a RawPipeline,
    tree: &'a Node,
    text: &'a str,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Checker<'_> {
    fn name(&mut self) {
        let Some(name) = &self.raw.name else { return };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.chars().all(allowed) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            self.mistake(
                &["name"],
                format!("`name` is {name:?}, which cannot name an artifact"),
                "use letters, digits, `-`, `_` and `.`, beginning with a letter or digit",
            );
        }
    }

    /// A mistake in the value at `path`.
    fn mistake(&mut self, path: &[&str], message: String, help: impl Into<Help>) {
        let span = self.tree.nearest(path).span.clone();
        self.mistakes.push(Mistake { span, key: path.join("."), message, help: help.into().0 });
    }

    /// A mistake in the key at `path`.
    fn mistake_in_key(&mut self, path: &[&str], message: String, help: impl Into<Help>) {
        let span = self.tree.nearest(path).key_span.clone();
        self.mistakes.push(Mistake { span, key: path.join("."), message, help: help.into().0 });
    }

    /// Something suspicious about the key at `path`.
    fn warn(&mut self, path: &[&str], message: String, help: impl Into<Help>) {
        let span = self.tree.nearest(path).key_span.clone();
        self.warnings.push(Mistake { span, key: path.join("."), message, help: help.into().0 });
    }

    /// Checks that the value at `path` names a source.
    fn source_is_known(&mut self, path: &[&str], name: &str) -> bool {
        // A source that was reported as a mistake is still there.
        let known = self.tree.nearest(&["sources"]).keys().any(|known| known == name);
        if !known {
            let help = suggest(name, self.tree.nearest(&["sources"]).keys());
            self.mistake(path, format!("{name:?} is not a source: there is no [sources.{name}]"), help);
        }
        known
    }

    /// Checks that the key at `path` can stand in an expression such as `view.feature`.
    fn name_is_plain(&mut self, path: &[&str], what: &str) {
        let name = path.last().copied().unwrap_or_default();
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !plain {
            self.mistake_in_key(
                path,
                format!("{what} is called {name:?}, which cannot stand in an expression"),
                "use letters, digits and `_`, beginning with a letter",
            );
        }
    }
}

/// Optional advice: a text, or a suggestion that there may not be.
struct Help(Option<String>);

impl From<&str> for Help {
    fn from(help: &str) -> Self {
        Help(Some(help.to_owned()))
    }
}

impl From<String> for Help {
    fn from(help: String) -> Self {
        Help(Some(help))
    }
}

impl From<Option<String>> for Help {
    fn from(help: Option<String>) -> Self {
        Help(help)
    }
}
