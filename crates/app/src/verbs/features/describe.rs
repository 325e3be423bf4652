//! `paceline features describe`: one feature, or all of a view, with lineage.

use anyhow::bail;
use clap::Args;
use paceline_serve::online_features::{FeatureEntry, Read};

use super::Outcome;
use super::list::{CatalogArguments, kind_name, placement};
use crate::messages::Terminal;
use crate::pipeline::mistake::suggest;

/// Describe a feature, or every feature of a view: source and columns, window, placement, freshness, users.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    catalog: CatalogArguments,
    /// `view.feature`, `request.name`, or a view.
    feature: String,
}

/// Prints what is known.
///
/// # Errors
/// When there is no such feature, or as `features list`.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let known = arguments.catalog.read(terminal)?;
    let asked = &arguments.feature;
    let is_asked =
        |name: &str| name == asked || name.strip_prefix(asked.as_str()).is_some_and(|rest| rest.starts_with('.'));
    let found: Vec<&FeatureEntry> = known.features.iter().filter(|feature| is_asked(&feature.name)).collect();
    if found.is_empty() {
        let help = suggest(asked, known.features.iter().map(|feature| feature.name.as_str())).unwrap_or_default();
        bail!("there is no feature {asked:?} in pipeline {:?}; {help}", known.pipeline);
    }
    if terminal.wants_json() {
        terminal.result_json(&found)?;
    } else {
        let described: Vec<String> = found.into_iter().map(describe).collect();
        terminal.result(&described.join("\n\n"))?;
    }
    Ok(Outcome::Success)
}

fn describe(feature: &FeatureEntry) -> String {
    let mut lines = vec![feature.name.clone(), field("what", &feature.what)];
    if let Some(kind) = feature.kind {
        lines.push(field("type", kind_name(kind)));
    }
    if let Some(source) = &feature.source {
        lines.push(field("source", &format!("{}, {}", source.name, source.location)));
        lines.extend(source.filter.as_ref().map(|filter| field("rows", &format!("where {filter}"))));
        lines.push(field("entity", &feature.entity.join(", ")));
    }
    let shown = |read: &Read| match &read.expression {
        Some(expression) => format!("{} = {expression}", read.name),
        None => read.name.clone(),
    };
    let reads: Vec<String> = feature.reads.iter().map(shown).collect();
    lines.push(field("reads", &reads.join("\n             ")));
    lines.push(field("placement", &placement(feature)));
    lines.extend(feature.ttl.map(|ttl| field("ttl", &ttl.to_string())));
    if feature.source.is_some() {
        let as_of = feature.as_of.map_or_else(|| "not in the online store".to_owned(), |as_of| as_of.to_string());
        lines.push(field("as of", &as_of));
    }
    let used_by = if feature.used_by.is_empty() { "nobody".to_owned() } else { feature.used_by.join(", ") };
    lines.push(field("used by", &used_by));
    lines.join("\n")
}

fn field(name: &str, value: &str) -> String {
    format!("  {name:11}{value}")
}
