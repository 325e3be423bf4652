//! The features of one entity: from the online store, or computed from the sources.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use arrow::array::BooleanArray;
use arrow::compute::{concat_batches, filter_record_batch};
use indexmap::IndexMap;
use paceline_core::online::OnlineStore;
use paceline_core::value::decode_values;
use paceline_core::{EntityKey, KeyPart, Period, Timestamp, Value};
use paceline_features::expression::{Input, Program, Scratch, Type};
use paceline_features::point_in_time::Index;
use paceline_features::{Aggregate, Feature, FeatureView, SourceTable};
use paceline_serve::recommend::tables::view_table;
use serde::Serialize;

use crate::materialize::{exact, table_of, unknown_values};
use crate::pipeline::mistake::{nearest, suggest};
use crate::pipeline::{Pipeline, PushedView, Source};
use crate::tables::SourceRows;
use crate::training_set::values::keys_of;
use crate::training_set::{TIME, wanted_columns};
use crate::verify::last_materialization;

/// What is known about the asked entities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lookup {
    /// What was asked.
    pub entity: IndexMap<String, serde_json::Value>,
    /// The time that was asked for; `None` for what the online store holds.
    pub at: Option<Timestamp>,
    /// The online store, without password; `None` when the values were computed.
    pub store: Option<String>,
    /// `view.feature` and `request.NAME` to their values; times are ISO 8601.
    pub features: IndexMap<String, serde_json::Value>,
    /// How each view was answered.
    pub views: IndexMap<String, LookupView>,
    /// Request-time features that could not be computed, and why.
    pub not_computed: IndexMap<String, String>,
}

/// How one view was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum LookupView {
    /// The entity has rows that were known then.
    Known {
        /// As of when the values are.
        as_of: Timestamp,
    },
    /// It has none: values are null, counts 0.
    Unknown {
        /// As of when.
        as_of: Timestamp,
    },
    /// The store never got this view.
    NotMaterialized,
    /// A key column was not given.
    NotAsked {
        /// The first one missing.
        missing: String,
    },
}

/// The asked columns with their values, of the types that the sources have.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    given: IndexMap<String, Value>,
    /// Types of the features of each view, in order.
    types: Vec<Vec<Type>>,
}

/// The types of a view's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewTypes {
    /// Of its key columns.
    pub keys: Vec<Type>,
    /// Of its features.
    pub features: Vec<Type>,
}

/// The columns of every source that a view reads, with their types, by the source's name. Each source is opened once.
///
/// # Errors
/// When a source cannot be read.
pub fn source_columns(pipeline: &Pipeline) -> anyhow::Result<HashMap<&str, Vec<(String, Type)>>> {
    let read = |source: &&Source| pipeline.views.iter().any(|view| view.source == source.name);
    let open = |source: &Source| SourceRows::open(source, &pipeline.folder).map(|rows| rows.columns().to_vec());
    pipeline.sources.iter().filter(read).map(|source| Ok((source.name.as_str(), open(source)?))).collect()
}

/// The types that the view's columns have in the files of its source, whose `columns` these are.
///
/// # Errors
/// When the source lacks a key column.
pub fn view_types(view: &FeatureView, columns: &[(String, Type)]) -> anyhow::Result<ViewTypes> {
    let kind_of = |column: &str| columns.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind);
    let key = |key: &String| kind_of(key).with_context(|| format!("[sources.{}] has no {key:?}", view.source));
    Ok(ViewTypes {
        keys: view.entity.iter().map(key).collect::<anyhow::Result<_>>()?,
        features: view.features.iter().map(|feature| feature_type(feature, kind_of)).collect(),
    })
}

impl Asked {
    /// Reads `COLUMN=VALUE` texts.
    ///
    /// # Errors
    /// When a text has another form, names no key column or stands twice, a value is not of its column's type, or no
    /// view has all its key columns.
    pub fn parse(pipeline: &Pipeline, texts: &[String]) -> anyhow::Result<Asked> {
        if pipeline.views.is_empty() && pipeline.pushed.is_empty() {
            bail!("pipeline {} has no feature view to look up; add a [features.NAME]", pipeline.name);
        }
        let mut keys: IndexMap<&str, Type> = IndexMap::new();
        let mut types = Vec::with_capacity(pipeline.views.len());
        let columns = source_columns(pipeline)?;
        for view in &pipeline.views {
            let of_view = view_types(view, &columns[view.source.as_str()])?;
            keys.extend(view.entity.iter().map(String::as_str).zip(of_view.keys));
            types.push(of_view.features);
        }
        for view in &pipeline.pushed {
            keys.extend(view.entity.iter().map(|(column, kind)| (column.as_str(), *kind)));
        }
        let mut given = IndexMap::new();
        for text in texts {
            let Some((column, value)) = text.split_once('=').map(|(column, value)| (column.trim(), value)) else {
                let example = keys.keys().next().copied().unwrap_or("user_id");
                bail!("--entity {text:?} is not COLUMN=VALUE, such as {example}=42");
            };
            let value = match keys.get(column) {
                Some(Type::Int) => Value::Int(value.trim().parse().ok().with_context(|| {
                    format!("--entity {column}={value}: {column:?} holds whole numbers, which {value:?} is not")
                })?),
                Some(_) => Value::Text(value.into()),
                // A field of the request; whether an expression reads it is only known once all inputs are.
                None if !pipeline.request_features.is_empty() && nearest(column, keys.keys().copied()).is_none() => {
                    request_value(value)
                }
                None => {
                    let help = suggest(column, keys.keys().copied()).unwrap_or_default();
                    bail!("--entity {column}={value}: no view has a key column {column:?}; {help}");
                }
            };
            if given.insert(column.to_owned(), value).is_some() {
                bail!("--entity {column} is given twice");
            }
        }
        let entities = pipeline.views.iter().map(|view| (&view.name, view.entity.iter().collect::<Vec<_>>()));
        let of_pushed =
            |view: &'_ PushedView| -> Vec<String> { view.entity.iter().map(|(column, _)| column.clone()).collect() };
        let pushed: Vec<(&String, Vec<String>)> =
            pipeline.pushed.iter().map(|view| (&view.name, of_pushed(view))).collect();
        let entities: Vec<(&String, Vec<&String>)> =
            entities.chain(pushed.iter().map(|(name, entity)| (*name, entity.iter().collect()))).collect();
        if !entities.iter().any(|(_, entity)| entity.iter().all(|key| given.contains_key(*key))) {
            let names = |entity: &[&String]| entity.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", ");
            let views: Vec<String> =
                entities.iter().map(|(name, entity)| format!("{name} ({})", names(entity))).collect();
            bail!("--entity gives the whole key of no view; there are {}", views.join(", "));
        }
        Ok(Asked { given, types })
    }

    /// The key of these columns, or the first that was not given.
    fn key<'c>(&self, columns: impl IntoIterator<Item = &'c String>) -> Result<EntityKey, String> {
        let part = |column: &String| match self.given.get(column) {
            Some(Value::Int(value)) => Ok(KeyPart::Int(*value)),
            Some(Value::Text(value)) => Ok(KeyPart::Text(value.to_string())),
            _ => Err(column.clone()),
        };
        columns.into_iter().map(part).collect::<Result<_, _>>().map(EntityKey)
    }

    fn start(&self, at: Option<Timestamp>, store: Option<String>) -> Lookup {
        let entity = self.given.iter().map(|(name, value)| (name.clone(), serde_json::json!(value))).collect();
        Lookup { entity, at, store, features: IndexMap::new(), views: IndexMap::new(), not_computed: IndexMap::new() }
    }
}

/// What the online store holds.
///
/// # Errors
/// When the store fails, or its values are not those of the pipeline's view.
pub fn read(pipeline: &Pipeline, asked: &Asked, store: &dyn OnlineStore, shown: String) -> anyhow::Result<Lookup> {
    let mut found = asked.start(None, Some(shown));
    let mut known = IndexMap::new();
    for (view, types) in pipeline.views.iter().zip(&asked.types) {
        let answer = match asked.key(&view.entity) {
            Err(missing) => LookupView::NotAsked { missing },
            Ok(key) => {
                let table = table_of(pipeline, view);
                let snapshot = store.get(&table, &[&key.to_bytes()])?;
                match (snapshot.pushed[0].or(snapshot.as_of), &snapshot.values[0]) {
                    (None, _) => LookupView::NotMaterialized,
                    (Some(as_of), None) => {
                        add(&mut known, &mut found, view, types, &unknown_values(view));
                        LookupView::Unknown { as_of }
                    }
                    (Some(as_of), Some(bytes)) => {
                        let values = decode_values(bytes).with_context(|| format!("table {table:?}"))?;
                        if values.len() != view.features.len() {
                            bail!(
                                "table {table:?} holds {} values per entity, but [features.{}] has {} features; \
                                 materialize it again",
                                values.len(),
                                view.name,
                                view.features.len()
                            );
                        }
                        add(&mut known, &mut found, view, types, &values);
                        LookupView::Known { as_of }
                    }
                }
            }
        };
        found.views.insert(view.name.clone(), answer);
    }
    for view in &pipeline.pushed {
        let answer = match asked.key(view.entity.iter().map(|(column, _)| column)) {
            Err(missing) => LookupView::NotAsked { missing },
            Ok(key) => read_pushed(pipeline, view, &key, store, &mut found)?,
        };
        found.views.insert(view.name.clone(), answer);
    }
    request_features(pipeline, asked, None, known, &mut found);
    Ok(found)
}

fn read_pushed(
    pipeline: &Pipeline,
    view: &PushedView,
    key: &EntityKey,
    store: &dyn OnlineStore,
    found: &mut Lookup,
) -> anyhow::Result<LookupView> {
    let table = view_table(&pipeline.name, &view.name);
    let snapshot = store.get(&table, &[&key.to_bytes()])?;
    let values = match &snapshot.values[0] {
        Some(bytes) => decode_values(bytes).with_context(|| format!("table {table:?}"))?,
        None => vec![Value::Null; view.features.len()],
    };
    if values.len() != view.features.len() {
        let (held, declared) = (values.len(), view.features.len());
        bail!("table {table:?} holds {held} values, but [pushed.{}] has {declared} features; push it again", view.name);
    }
    for ((feature, kind), value) in view.features.iter().zip(&values) {
        found.features.insert(format!("{}.{feature}", view.name), shown(*kind, value));
    }
    Ok(match (snapshot.pushed[0], snapshot.as_of) {
        (Some(as_of), _) => LookupView::Known { as_of },
        (None, Some(as_of)) => LookupView::Unknown { as_of },
        (None, None) => LookupView::NotMaterialized,
    })
}

/// What the sources give at `at`, as a training set has it.
///
/// # Errors
/// When a source cannot be read.
pub fn compute(pipeline: &Pipeline, asked: &Asked, at: Timestamp) -> anyhow::Result<Lookup> {
    let mut found = asked.start(Some(at), None);
    let mut known = IndexMap::new();
    for (view, types) in pipeline.views.iter().zip(&asked.types) {
        let answer = match asked.key(&view.entity) {
            Err(missing) => LookupView::NotAsked { missing },
            Ok(key) => {
                let table = rows_of(pipeline, view, &key)?;
                let values = Index::build(&[view], &table)?.compute(&key, at)?;
                add(&mut known, &mut found, view, types, &values);
                let as_of = last_materialization(view, at);
                let rows = Index::build(&[&row_count(view)], &table)?.compute(&key, as_of)?;
                match rows[..] {
                    [Value::Int(0)] => LookupView::Unknown { as_of },
                    _ => LookupView::Known { as_of },
                }
            }
        };
        found.views.insert(view.name.clone(), answer);
    }
    request_features(pipeline, asked, Some(at), known, &mut found);
    Ok(found)
}

/// The view's entity and source with a count of all known rows.
fn row_count(view: &FeatureView) -> FeatureView {
    let window = Period::Micros(i64::MAX);
    let count = Feature { name: "rows".to_owned(), aggregate: Aggregate::Count, of: None, window };
    FeatureView { ttl: None, features: vec![count], ..exact(view) }
}

/// The source rows of one entity. With an event id all rows, since a correction may move an event to another entity.
fn rows_of(pipeline: &Pipeline, view: &FeatureView, key: &EntityKey) -> anyhow::Result<SourceTable> {
    let source = pipeline.source(&view.source).expect("a checked view names a source");
    let wanted = wanted_columns(std::iter::once(view));
    let mut kept: Option<SourceTable> = None;
    for batch in SourceRows::open_for_features(source, &pipeline.folder, &wanted)? {
        let mut piece = batch?.into_table(source);
        if source.event_id.is_none() {
            let keys = keys_of(&piece.rows, &view.entity)?;
            let is_asked: BooleanArray = keys.iter().map(|found| Some(found.as_ref() == Some(key))).collect();
            piece = only(piece, &is_asked)?;
        }
        kept = Some(match kept {
            None => piece,
            Some(kept) => joined(kept, piece)?,
        });
    }
    kept.with_context(|| format!("[sources.{}] has no rows", source.name))
}

fn only(piece: SourceTable, wanted: &BooleanArray) -> anyhow::Result<SourceTable> {
    let cut = |times: Option<Vec<Timestamp>>| {
        times.map(|times| times.into_iter().enumerate().filter(|(row, _)| wanted.value(*row)).map(|(_, t)| t).collect())
    };
    Ok(SourceTable {
        rows: filter_record_batch(&piece.rows, wanted)?,
        event_time: cut(piece.event_time),
        available_time: cut(piece.available_time),
        ..piece
    })
}

fn joined(first: SourceTable, second: SourceTable) -> anyhow::Result<SourceTable> {
    if second.rows.num_rows() == 0 {
        return Ok(first);
    }
    let both = |a: Option<Vec<Timestamp>>, b: Option<Vec<Timestamp>>| a.zip(b).map(|(a, b)| [a, b].concat());
    Ok(SourceTable {
        rows: concat_batches(&first.rows.schema(), [&first.rows, &second.rows])?,
        event_time: both(first.event_time, second.event_time),
        available_time: both(first.available_time, second.available_time),
        ..first
    })
}

fn add(
    known: &mut IndexMap<String, (Type, Value)>,
    found: &mut Lookup,
    view: &FeatureView,
    types: &[Type],
    values: &[Value],
) {
    for ((feature, kind), value) in view.features.iter().zip(types).zip(values) {
        let name = format!("{}.{}", view.name, feature.name);
        found.features.insert(name.clone(), shown(*kind, value));
        known.insert(name, (*kind, value.clone()));
    }
}

/// Computes the request-time features of which every input is known.
fn request_features(
    pipeline: &Pipeline,
    asked: &Asked,
    at: Option<Timestamp>,
    mut known: IndexMap<String, (Type, Value)>,
    found: &mut Lookup,
) {
    for (column, value) in &asked.given {
        let kind = match value {
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Float(_) | Value::Null => Type::Float,
            Value::Text(_) => Type::Text,
        };
        known.insert(column.clone(), (kind, value.clone()));
    }
    if let Some(at) = at {
        known.insert(TIME.to_owned(), (Type::Timestamp, Value::Int(at.0)));
    }
    for feature in &pipeline.request_features {
        let name = format!("request.{}", feature.name);
        let columns: Vec<(&String, Type)> = known.iter().map(|(name, (kind, _))| (name, *kind)).collect();
        match Program::compile(&feature.expression, &columns) {
            Err(errors) => {
                let reasons: Vec<String> = errors
                    .iter()
                    .map(|error| error.to_string().split("; ").next().unwrap_or_default().to_owned())
                    .collect();
                found.not_computed.insert(name, reasons.join(", "));
            }
            Ok(program) => {
                let inputs: Vec<Input<'_>> = program.columns().map(|(column, _)| (&known[column].1).into()).collect();
                match program.eval_row(&inputs, &mut Scratch::default()) {
                    Ok(value) => {
                        found.features.insert(name.clone(), shown(program.output_type(), &value));
                        known.insert(name, (program.output_type(), value));
                    }
                    Err(error) => {
                        found.not_computed.insert(name, error.to_string());
                    }
                }
            }
        }
    }
}

fn shown(kind: Type, value: &Value) -> serde_json::Value {
    match (kind, value) {
        (Type::Timestamp, Value::Int(micros)) => Timestamp(*micros).to_string().into(),
        (_, value) => serde_json::json!(value),
    }
}

fn feature_type(feature: &Feature, kind_of: impl Fn(&str) -> Option<Type>) -> Type {
    match feature.aggregate {
        Aggregate::Count | Aggregate::CountDistinct => Type::Int,
        Aggregate::Sum | Aggregate::Mean | Aggregate::Std | Aggregate::SecondsSinceLast => Type::Float,
        Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => {
            feature.of.as_deref().and_then(kind_of).unwrap_or(Type::Float)
        }
    }
}

/// A value of a column that no source types.
fn request_value(text: &str) -> Value {
    let trimmed = text.trim();
    match (trimmed.parse::<i64>(), trimmed.parse::<f64>(), trimmed.parse::<bool>()) {
        (Ok(value), _, _) => Value::Int(value),
        (_, Ok(value), _) if value.is_finite() => Value::Float(value),
        (_, _, Ok(value)) => Value::Bool(value),
        _ => Value::Text(text.into()),
    }
}
