//! The features of one side of a recommender: users or items.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use paceline_core::{EntityKey, KeyPart, Timestamp, Value};
use paceline_features::expression::Type;
use paceline_features::point_in_time::{Index, Spine};
use paceline_features::{FeatureView, SourceTable};
use paceline_serve::recommend::NamedType;

use crate::training_set::values::value_at;
use crate::verify::last_materialization;

/// All views of one entity, ready to be joined or computed on request.
#[derive(Debug)]
pub struct Side {
    column: String,
    views: Vec<FeatureView>,
    indexes: Vec<Index>,
    types: Vec<NamedType>,
}

impl Side {
    /// Sorts every source that a view of `column` reads.
    pub fn new<'a>(
        column: &str,
        views: &[FeatureView],
        source: impl Fn(&str) -> &'a SourceTable,
        example_key: &KeyPart,
    ) -> Result<Side> {
        let mine: Vec<&FeatureView> = views.iter().filter(|view| view.entity == [column]).collect();
        let indexes = mine
            .iter()
            .map(|view| Index::build(&[view], source(&view.source)).with_context(|| format!("view {}", view.name)))
            .collect::<Result<Vec<_>>>()?;
        let views = mine.into_iter().cloned().collect();
        let mut side = Side { column: column.to_owned(), views, indexes, types: Vec::new() };
        let probe = side.join(std::slice::from_ref(example_key), Timestamp::MAX, 1)?;
        side.types = probe
            .iter()
            .flat_map(|batch| batch.schema().fields().iter().cloned().collect::<Vec<_>>())
            .map(|field| {
                let kind = Type::of_arrow(field.data_type()).expect("features have types that expressions read");
                (field.name().clone(), kind)
            })
            .collect();
        Ok(side)
    }

    /// Full names (`view.feature`) and types of the values, in order.
    #[must_use]
    pub fn types(&self) -> &[NamedType] {
        &self.types
    }

    /// The views, in the order of their values.
    #[must_use]
    pub fn views(&self) -> &[FeatureView] {
        &self.views
    }

    fn join(&self, keys: &[KeyPart], t: Timestamp, threads: usize) -> Result<Vec<RecordBatch>> {
        let keys = RecordBatch::try_new(
            Arc::new(Schema::new(vec![Field::new(&self.column, key_type(keys), true)])),
            vec![key_array(keys)?],
        )?;
        let time = vec![t; keys.num_rows()];
        self.indexes.iter().map(|index| Ok(index.join(&Spine { keys: &keys, time: &time }, threads)?)).collect()
    }

    /// The values of every key as of `t`, row-major.
    pub fn values_at(&self, keys: &[KeyPart], t: Timestamp, threads: usize) -> Result<Vec<Value>> {
        let batches = self.join(keys, t, threads)?;
        let columns: Vec<&ArrayRef> = batches.iter().flat_map(RecordBatch::columns).collect();
        let mut rows = Vec::with_capacity(keys.len() * columns.len());
        for row in 0..keys.len() {
            rows.extend(columns.iter().map(|column| value_at(column, row)));
        }
        Ok(rows)
    }

    /// As of when the values of each view are at `t`.
    #[must_use]
    pub fn as_of(&self, t: Timestamp) -> Vec<Timestamp> {
        self.views.iter().map(|view| last_materialization(view, t)).collect()
    }

    /// The values of one key as of `t`, computed from the raw rows: what a request-placed pipeline does.
    pub fn compute(&self, key: &KeyPart, t: Timestamp) -> Result<Vec<Value>> {
        let key = EntityKey(vec![key.clone()]);
        let mut values = Vec::with_capacity(self.types.len());
        for index in &self.indexes {
            values.extend(index.compute(&key, t)?);
        }
        Ok(values)
    }
}

fn key_type(keys: &[KeyPart]) -> DataType {
    match keys.first() {
        Some(KeyPart::Int(_)) => DataType::Int64,
        Some(KeyPart::Text(_)) | None => DataType::Utf8,
    }
}

fn key_array(keys: &[KeyPart]) -> Result<ArrayRef> {
    if key_type(keys) == DataType::Int64 {
        let ids = keys.iter().map(|key| match key {
            KeyPart::Int(id) => Some(*id),
            KeyPart::Text(_) => None,
        });
        return Ok(Arc::new(Int64Array::from(ids.collect::<Option<Vec<_>>>().context("keys of one type")?)));
    }
    Ok(Arc::new(StringArray::from_iter_values(keys.iter().map(ToString::to_string))))
}
