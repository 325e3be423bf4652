//! The pipeline file: from text to a checked [`Pipeline`].
//!
//! ```text
//! text ─ toml ─▶ Node (places) ─ structure ─▶ RawPipeline (what was said) ─ check ─▶ Pipeline (what it means)
//!                                    ▲                                       ▲
//!                    shape: the schema of RawPipeline              Schemas: the sources' columns, when known
//! ```
//!
//! Mistakes of every stage come in one answer, each with its line, column, value and advice. Nothing downstream checks
//! a pipeline again: a [`Pipeline`] is the proof.

mod check;
pub mod checked;
mod metric;
pub mod mistake;
mod open;
pub mod raw;
pub mod reference;
pub mod rows;
mod shape;
mod structure;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use paceline_store::Location;
use toml::de::DeTable;

pub use check::Schemas;
pub use checked::{
    ColumnSplit, Cuts, Goal, Model, NamedExpression, NamedTeacher, Optimize, Pipeline, PushedView, RandomSplit,
    Recommend, RowModel, Source, SourceInput, Split, Teacher, TimeSplit, TunePart, resolve,
};
pub use metric::{default_metric, metrics_of};
pub use mistake::{Mistake, Mistakes, Weight};
pub use open::{open, open_without_sources};
pub use raw::{
    Als, Boosted, Candidates, Experiment, Forest, Format, FutureLabel, Linear, Monitor, Network, Objective, RawTeacher,
    Retrain, Serve, Task, TimeUnit,
};

use raw::RawPipeline;
use serde::Deserialize as _;
use shape::Shape;
use tree::Node;

/// A pipeline file that has been read, with the mistakes of its structure.
#[derive(Debug)]
pub struct PipelineFile {
    path: PathBuf,
    text: String,
    raw: RawPipeline,
    tree: Node,
    syntax_is_broken: bool,
    mistakes: Vec<Mistake>,
}

/// Where a source's rows are, as far as the file alone can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePlace {
    /// The source's name.
    pub name: String,
    /// Files or a query, as the pipeline file says it.
    pub location: Location,
    /// The given format; `None` where the endings of file names decide.
    pub format: Option<Format>,
}

impl PipelineFile {
    /// Reads a pipeline file. Mistakes in it are kept for [`PipelineFile::check`].
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if path.is_dir() {
            bail!("cannot read pipeline file {shown}: it is a folder; name the file in it");
        }
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("cannot read pipeline file {shown}: no such file; `paceline init TABLE` writes one for a table")
            }
            _ => anyhow!("cannot read pipeline file {shown}: {error}"),
        })?;
        Ok(Self::parse(path, text))
    }

    /// Reads the text of a pipeline file that stands, or will stand, at `path`.
    #[must_use]
    pub fn parse(path: &Path, text: String) -> Self {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut tree = Node::of_document(&table);
        let mut mistakes: Vec<Mistake> = errors.iter().map(|error| of_syntax(error, &text)).collect();
        // What a parser makes of broken syntax says little about what was meant; a repeated key breaks nothing.
        let syntax_is_broken = !errors.iter().all(is_duplicate);
        if syntax_is_broken {
            return PipelineFile {
                path: path.to_owned(),
                text,
                raw: RawPipeline::default(),
                tree,
                syntax_is_broken,
                mistakes,
            };
        }
        mistakes.extend(structure::mend(&mut tree, &Shape::of_pipeline()));
        let raw = RawPipeline::deserialize(&tree).unwrap_or_else(|error| {
            panic!("a tree that was mended to the shape of its types must deserialize: {error}")
        });
        PipelineFile { path: path.to_owned(), text, raw, tree, syntax_is_broken, mistakes }
    }

    /// The file, as the user named it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the file, where its relative paths begin.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Where the rows of each source are, so that a caller can read their columns before [`PipelineFile::check`].
    #[must_use]
    pub fn source_places(&self) -> Vec<SourcePlace> {
        let place = |(name, source): (&String, &raw::RawSource)| {
            let location = match &source.adbc {
                Some(adbc) => Location::Query(adbc.to_store()?),
                None => Location::Files(source.path.clone()?),
            };
            Some(SourcePlace { name: name.clone(), location, format: source.format })
        };
        self.raw.sources.iter().filter_map(place).collect()
    }

    /// A mistake that only a caller could find, such as a file that is not there, about the value at `path`.
    #[must_use]
    pub fn mistake(&self, path: &[&str], message: String, help: Option<String>) -> Mistake {
        Mistake { span: self.tree.nearest(path).span.clone(), key: path.join("."), message, help }
    }

    /// Adds a mistake, so that [`PipelineFile::check`] reports it beside its own.
    pub fn add(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Mistakes or warnings with the file that they are about.
    #[must_use]
    pub fn answer(&self, mistakes: Vec<Mistake>) -> Mistakes {
        Mistakes::new(self.path.clone(), self.text.clone(), mistakes)
    }

    /// The checked pipeline and what is suspicious about it. With `schemas`, every column and expression is checked
    /// too.
    ///
    /// # Errors
    /// All mistakes of the file at once.
    pub fn check(&self, schemas: Option<&Schemas>) -> Result<(Pipeline, Vec<Mistake>), Mistakes> {
        if self.syntax_is_broken {
            return Err(self.answer(self.mistakes.clone()));
        }
        let checked = check::check(&self.raw, &self.tree, &self.text, self.folder(), schemas);
        let mistakes = [self.mistakes.clone(), checked.mistakes].concat();
        match checked.pipeline {
            Some(pipeline) if mistakes.is_empty() => Ok((pipeline, checked.warnings)),
            _ => Err(self.answer(mistakes)),
        }
    }
}

fn of_syntax(error: &toml::de::Error, text: &str) -> Mistake {
    let span = error.span().unwrap_or(text.len()..text.len());
    let word: String = text.get(span.start..).unwrap_or_default().chars().take_while(|c| is_of_word(*c)).collect();
    // Where a bare word stands, the parser expects a number, a truth value or a date.
    let is_bare = ["invalid", "string values must be quoted"].iter().any(|start| error.message().starts_with(start));
    let help = match (is_duplicate(error), is_bare && word.starts_with(|c: char| c.is_alphabetic())) {
        (true, _) => "a key or table stands once in a file".to_owned(),
        (false, true) => format!("a text needs quotes: {word:?}"),
        (false, false) => "see https://toml.io for how TOML is written".to_owned(),
    };
    Mistake { span, key: String::new(), message: format!("not TOML: {}", error.message()), help: Some(help) }
}

fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message().contains("duplicate key")
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}
