//! The features of a pipeline with their lineage: what each reads, where it is computed, who uses it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::Result;
use paceline_features::expression::{Mistake, Program, Type};
use paceline_features::{Feature, FeatureView, Placement};
use paceline_serve::online_features::{Catalog, FeatureEntry, Read, SourceLineage};
use paceline_store::ArtifactError;

use crate::lookup::view_types;
use crate::pipeline::{NamedExpression, Pipeline, PushedView, Source};
use crate::serving::{Artifact, load_artifact};

/// What a published model is called among the users of a feature.
const MODEL: &str = "model";

/// The catalog of a pipeline, whose sources have these `columns` ([`source_columns`]). `model_columns` are those that the
/// published model reads.
///
/// [`source_columns`]: crate::lookup::source_columns
///
/// # Errors
/// When a source lacks a key column.
pub fn catalog(
    pipeline: &Pipeline,
    columns: &HashMap<&str, Vec<(String, Type)>>,
    model_columns: &[String],
) -> Result<Catalog> {
    let mut features = Vec::new();
    let mut types: Vec<(String, Type)> = Vec::new();
    for view in &pipeline.views {
        let source = pipeline.source(&view.source).expect("a checked view names a source");
        let columns = &columns[view.source.as_str()];
        let kinds = view_types(view, columns)?;
        types.extend(view.entity.iter().cloned().zip(kinds.keys));
        for (feature, kind) in view.features.iter().zip(kinds.features) {
            let entry = of_view(view, feature, kind, source, columns);
            types.push((entry.name.clone(), kind));
            features.push(entry);
        }
    }
    for view in &pipeline.pushed {
        features.extend(view.features.iter().map(|(feature, kind)| of_pushed(view, feature, *kind)));
    }
    for feature in &pipeline.request_features {
        let entry = of_request(feature, &types);
        types.extend(entry.kind.map(|kind| (entry.name.clone(), kind)));
        features.push(entry);
    }
    let mut used_by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for feature in features.iter().filter(|feature| feature.placement == Placement::Request) {
        for read in &feature.reads {
            used_by.entry(read.name.clone()).or_default().push(feature.name.clone());
        }
    }
    for column in model_columns {
        used_by.entry(column.clone()).or_default().push(MODEL.to_owned());
    }
    for feature in &mut features {
        feature.used_by = used_by.remove(&feature.name).unwrap_or_default();
    }
    Ok(Catalog { pipeline: pipeline.name.clone(), features })
}

/// The columns that the published model reads; none when nothing is published.
///
/// # Errors
/// When what is published is damaged or does not go with the pipeline.
pub fn model_columns(pipeline: &Pipeline, models: &Path) -> Result<Vec<String>> {
    match load_artifact(pipeline, models) {
        Ok((_, artifact)) => Ok(columns_read(&artifact)),
        Err(error) if matches!(error.downcast_ref(), Some(ArtifactError::NotFound { .. })) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The columns that an artifact reads.
#[must_use]
pub fn columns_read(artifact: &Artifact) -> Vec<String> {
    match artifact {
        Artifact::Recommender(model) => model.description.columns.clone(),
        Artifact::Rows(predictor) => predictor.spec().inputs.iter().map(|input| input.column.clone()).collect(),
        Artifact::Features => Vec::new(),
    }
}

fn of_view(
    view: &FeatureView,
    feature: &Feature,
    kind: Type,
    source: &Source,
    columns: &[(String, Type)],
) -> FeatureEntry {
    let aggregate = feature.aggregate.name();
    let what = match &feature.of {
        Some(column) => format!("{aggregate}({column}) over {}", feature.window),
        None => format!("{aggregate} over {}", feature.window),
    };
    let mut reads = Vec::new();
    let wanted = feature.of.iter().chain(&view.entity).chain(&source.event_time).chain(&source.available_time);
    for column in wanted {
        read(column, &source.columns, columns, &mut reads);
    }
    FeatureEntry {
        name: format!("{}.{}", view.name, feature.name),
        kind: Some(kind),
        what,
        window: Some(feature.window),
        entity: view.entity.clone(),
        source: Some(SourceLineage {
            name: source.name.clone(),
            location: source.place(),
            filter: source.filter.clone(),
        }),
        reads,
        placement: view.placement,
        schedule: view.schedule,
        ttl: view.ttl,
        used_by: Vec::new(),
        as_of: None,
    }
}

fn of_pushed(view: &PushedView, feature: &str, kind: Type) -> FeatureEntry {
    FeatureEntry {
        name: format!("{}.{feature}", view.name),
        kind: Some(kind),
        what: "pushed from outside".to_owned(),
        window: None,
        entity: view.entity.iter().map(|(column, _)| column.clone()).collect(),
        source: None,
        reads: Vec::new(),
        placement: Placement::Stream,
        schedule: None,
        ttl: None,
        used_by: Vec::new(),
        as_of: None,
    }
}

/// Adds a column, and those that it is derived from, each once.
fn read(column: &str, derived: &[NamedExpression], columns: &[(String, Type)], reads: &mut Vec<Read>) {
    if reads.iter().any(|read| read.name == column) {
        return;
    }
    let found = derived.iter().find(|derived| derived.name == column);
    let expression = found.map(|found| found.expression.clone());
    reads.push(Read { name: column.to_owned(), expression: expression.clone() });
    // It compiles: the source was opened with it.
    let Some(Ok(program)) = expression.map(|expression| Program::compile(&expression, columns)) else { return };
    for (name, _) in program.columns() {
        read(name, derived, columns, reads);
    }
}

fn of_request(feature: &NamedExpression, types: &[(String, Type)]) -> FeatureEntry {
    let (kind, reads) = reads_of(&feature.expression, types);
    FeatureEntry {
        name: format!("request.{}", feature.name),
        kind,
        what: feature.expression.clone(),
        window: None,
        entity: Vec::new(),
        source: None,
        reads: reads.into_iter().map(|name| Read { name, expression: None }).collect(),
        placement: Placement::Request,
        schedule: None,
        ttl: None,
        used_by: Vec::new(),
        as_of: None,
    }
}

/// The type of an expression and the names that it reads. A name that is no feature is a field of the request, whose
/// type is not known before one comes; then the expression has none either.
fn reads_of(expression: &str, types: &[(String, Type)]) -> (Option<Type>, Vec<String>) {
    let errors = match Program::compile(expression, types) {
        Ok(program) => return (Some(program.output_type()), names_of(&program)),
        Err(errors) => errors,
    };
    let fields: BTreeSet<String> = errors
        .into_iter()
        .filter_map(|error| match error.mistake {
            Mistake::UnknownColumn { name, .. } => Some(name),
            _ => None,
        })
        .collect();
    let assumed = [Type::Float, Type::Text, Type::Timestamp, Type::Bool].into_iter().find_map(|kind| {
        let with_fields: Vec<(String, Type)> =
            types.iter().cloned().chain(fields.iter().map(|field| (field.clone(), kind))).collect();
        Program::compile(expression, &with_fields).ok()
    });
    (None, assumed.map_or_else(|| fields.into_iter().collect(), |program| names_of(&program)))
}

fn names_of(program: &Program) -> Vec<String> {
    program.columns().map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_request_are_read_too() {
        let types = [("user.price".to_owned(), Type::Float), ("user.price_mean".to_owned(), Type::Float)];
        let reads = |expression: &str| reads_of(expression, &types);
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(reads("user.price_mean > 1"), (Some(Type::Bool), named(&["user.price_mean"])));
        assert_eq!(reads("user.price - offer"), (None, named(&["user.price", "offer"])));
        assert_eq!(reads("lower(country) = 'de'"), (None, named(&["country"])));
        // No single type fits both fields; the fields alone are told.
        assert_eq!(reads("lower(country) = 'de' and offer > 1.0"), (None, named(&["country", "offer"])));
    }

    #[test]
    fn derived_columns_are_followed() {
        let columns: Vec<_> =
            ["quantity", "price", "amount", "double"].map(|name| (name.to_owned(), Type::Float)).into();
        let derived =
            |name: &str, expression: &str| NamedExpression { name: name.into(), expression: expression.into() };
        let derived = [derived("amount", "quantity * price"), derived("double", "2 * amount")];
        let mut reads = Vec::new();
        read("double", &derived, &columns, &mut reads);
        let shown: Vec<_> = reads.iter().map(|read| (read.name.as_str(), read.expression.as_deref())).collect();
        let expected =
            [("double", Some("2 * amount")), ("amount", Some("quantity * price")), ("quantity", None), ("price", None)];
        assert_eq!(shown, expected);
    }
}
