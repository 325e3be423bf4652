//! `paceline features list`: every feature, where it comes from and who uses it.

use std::path::{Path, PathBuf};

use clap::Args;
use paceline_features::expression::Type;
use paceline_serve::online_features::{Catalog, FeatureEntry};

use super::{Outcome, open};
use crate::catalog::{catalog, model_columns};
use crate::lookup::source_columns;
use crate::materialize::table_of;
use crate::messages::Terminal;
use crate::pipeline::Pipeline;
use crate::serving::MODELS_FOLDER;
use crate::stores::StoreArguments;

/// List the features of a pipeline: type, what is computed, placement, freshness, and who uses each.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    catalog: CatalogArguments,
}

/// Where lineage is looked up.
#[derive(Debug, Args)]
pub struct CatalogArguments {
    /// The pipeline file; name, sources and features are enough.
    pipeline: PathBuf,
    /// Folder of published models, for what the model uses. By default out/models beside the pipeline file.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArguments,
}

impl CatalogArguments {
    /// The catalog, with the times as of which the online store is; a store that does not exist yet holds nothing.
    ///
    /// # Errors
    /// When the pipeline has mistakes, a source cannot be read, or the store fails.
    pub fn read(&self, terminal: &Terminal) -> anyhow::Result<Catalog> {
        let pipeline = open(&self.pipeline, terminal)?;
        let models = self.models.clone().unwrap_or_else(|| pipeline.folder.join("out").join(MODELS_FOLDER));
        let columns = if pipeline.model.is_some() { model_columns(&pipeline, &models)? } else { Vec::new() };
        let known = catalog(&pipeline, &source_columns(&pipeline)?, &columns)?;
        Ok(known.as_of(&self.tables(&pipeline, &pipeline.folder)?))
    }

    fn tables(
        &self,
        pipeline: &Pipeline,
        folder: &Path,
    ) -> anyhow::Result<Vec<(String, Option<paceline_core::Timestamp>)>> {
        if !self.store.exists(folder) {
            return Ok(Vec::new());
        }
        let store = self.store.open_existing(folder)?;
        let of_view = |view| {
            let table = table_of(pipeline, view);
            let as_of = store.as_of(&table)?;
            Ok((table, as_of))
        };
        pipeline.views.iter().map(of_view).collect()
    }
}

/// Prints the list.
///
/// # Errors
/// As [`CatalogArguments::read`].
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let known = arguments.catalog.read(terminal)?;
    if terminal.wants_json() {
        terminal.result_json(&known)?;
    } else {
        terminal.result(&table(&known))?;
    }
    Ok(Outcome::Success)
}

/// Where a feature is computed, and how often: `batch, 1d`.
pub(super) fn placement(feature: &FeatureEntry) -> String {
    let name = feature.placement.name();
    feature.schedule.map_or_else(|| name.to_owned(), |every| format!("{name}, every {every}"))
}

/// A type as `--json` names it.
pub(super) fn kind_name(kind: Type) -> &'static str {
    match kind {
        Type::Bool => "bool",
        Type::Int => "int",
        Type::Float => "float",
        Type::Text => "text",
        Type::Timestamp => "timestamp",
    }
}

fn table(known: &Catalog) -> String {
    const HEAD: [&str; 7] = ["feature", "type", "what", "from", "placement", "as of", "used by"];
    let none = || "-".to_owned();
    let row = |feature: &FeatureEntry| {
        let from = feature.source.as_ref().map_or_else(none, |source| source.name.clone());
        let used_by = if feature.used_by.is_empty() { none() } else { feature.used_by.join(", ") };
        [
            feature.name.clone(),
            feature.kind.map_or_else(none, |kind| kind_name(kind).to_owned()),
            feature.what.clone(),
            from,
            placement(feature),
            feature.as_of.map_or_else(none, |as_of| as_of.to_string()),
            used_by,
        ]
    };
    let rows: Vec<[String; 7]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(known.features.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
