//! Events as rows of their source.
//!
//! A client sends fields; a source's files have columns of many Arrow types. Both become columns of the five types of
//! expressions, so that a row counts the same whichever way it came.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Field, Schema};
use paceline_core::event::Event;
use paceline_core::{Period, Timestamp};
use paceline_features::SourceTable;
use paceline_features::expression::Type;
use paceline_serve::streams::BadEvent;
use serde_json::Value as Json;

use super::typed::TypedColumn;
use super::{Preparation, SourceRows, readable_columns};
use crate::pipeline::Source;

/// What an event's message says where a whole row is meant.
const WHOLE_ROW: &str = "(the row)";

/// A source whose rows come as events.
#[derive(Debug, Clone)]
pub struct EventRows {
    /// Without an available time of its own: an event is available when it is received.
    source: Source,
    available_time_column: Option<String>,
    /// The columns of the files.
    columns: Vec<(String, Type)>,
    /// The same with derived columns.
    all_columns: Vec<(String, Type)>,
    preparation: Preparation,
}

impl EventRows {
    /// Reads from the source's files which columns there are; their rows are not read.
    ///
    /// # Errors
    /// As [`SourceRows::open`].
    pub fn open(source: &Source, folder: &Path) -> anyhow::Result<EventRows> {
        let rows = SourceRows::open_whole(source, folder)?;
        Ok(EventRows {
            source: Source { available_time: None, ..source.clone() },
            available_time_column: source.available_time.clone(),
            columns: readable_columns(&rows.file_schema()),
            all_columns: rows.columns().to_vec(),
            preparation: rows.into_preparation(),
        })
    }

    /// No row, with the columns and types of all rows.
    ///
    /// # Panics
    /// Never: no event is a bad one.
    #[must_use]
    pub fn none(&self) -> SourceTable {
        self.of_events(&[]).expect("no event is a bad one").0
    }

    /// Rows that events are, and for each row which event. A field that is left out is null, one that is no column of
    /// the source counts for nothing. An event that `where` refuses is no row, except where it may replace one.
    ///
    /// # Errors
    /// The first event with a field of another type than its column.
    pub fn of_events(&self, events: &[&Event]) -> Result<(SourceTable, Vec<usize>), BadEvent> {
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (name, kind) in &self.columns {
            let array = column(name, *kind, events)?;
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(events.len()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .expect("columns of one length");
        match self.prepared(batch, events) {
            Ok(prepared) => Ok(prepared),
            // Alone, each says whether it is the one.
            Err(_) if events.len() > 1 => {
                for (index, event) in events.iter().enumerate() {
                    self.of_events(&[event]).map_err(|bad| BadEvent { index, ..bad })?;
                }
                Err(BadEvent {
                    index: 0,
                    field: WHOLE_ROW.to_owned(),
                    problem: "it is no row of its source".to_owned(),
                })
            }
            Err(error) => Err(BadEvent { index: 0, field: WHOLE_ROW.to_owned(), problem: format!("{error:#}") }),
        }
    }

    fn prepared(&self, batch: RecordBatch, events: &[&Event]) -> anyhow::Result<(SourceTable, Vec<usize>)> {
        let prepared = self.preparation.prepare(&self.source, batch, ("events", 0))?;
        let rows: Vec<usize> = match &prepared.stays {
            Some(stays) => (0..events.len()).filter(|row| stays.value(*row)).collect(),
            None => (0..events.len()).collect(),
        };
        let received = rows.iter().map(|row| events[*row].received).collect();
        let mut table = SourceTable { available_time: Some(received), ..prepared.into_table(&self.source) };
        table.available_time_column.clone_from(&self.available_time_column);
        table.rows = self.canonical(&table.rows)?;
        Ok((table, rows))
    }

    /// The rows of the source's files that a window may still reach, in the order in which they became available.
    ///
    /// `reach` is the longest window and `max_lateness`. What can be seen to be too old is dropped while reading, so
    /// memory is that of the rows in reach where files are about in the order of time. Where rows have ids all stay, as
    /// an old one may be replaced by a new one.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of_files(
        &self,
        source: &Source,
        folder: &Path,
        wanted: &BTreeSet<&str>,
        reach: [Period; 2],
    ) -> anyhow::Result<SourceTable> {
        let mut batches = Vec::new();
        let (mut event_time, mut available_time) = (Vec::new(), Vec::new());
        let mut newest = Timestamp::MIN;
        for batch in SourceRows::open_for_features(source, folder, wanted)? {
            let batch = batch?;
            let Some(event) = batch.event_time else { bail!("[sources.{}] has no event time", source.name) };
            let available = batch.available_time.unwrap_or_else(|| event.clone());
            let seen = event.iter().zip(&available).map(|(event, available)| *event.min(available)).max();
            newest = newest.max(seen.unwrap_or(Timestamp::MIN));
            let start = reach.into_iter().fold(newest, |time, period| time - period);
            let in_reach: Vec<bool> = event.iter().map(|event| source.event_id.is_some() || *event >= start).collect();
            let rows = filter_record_batch(&self.canonical(&batch.rows)?, &BooleanArray::from(in_reach.clone()))?;
            let kept = |times: Vec<Timestamp>| times.into_iter().zip(&in_reach).filter(|(_, kept)| **kept);
            event_time.extend(kept(event).map(|(time, _)| time));
            available_time.extend(kept(available).map(|(time, _)| time));
            batches.push(rows);
        }
        let none = self.none();
        let schema = batches.first().map_or_else(|| none.rows.schema(), RecordBatch::schema);
        let rows = concat_batches(&schema, &batches)?;
        if u32::try_from(rows.num_rows()).is_err() {
            bail!("[sources.{}] has more than 2^32 rows in reach", source.name);
        }
        let (event_time, available_time) = (Some(event_time), Some(available_time));
        Ok(SourceTable { rows, event_time, available_time, ..none }.by_availability()?)
    }

    /// The columns that a batch has of all that there are, each in its canonical type.
    fn canonical(&self, batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
        let mut fields = Vec::with_capacity(batch.num_columns());
        let mut arrays = Vec::with_capacity(batch.num_columns());
        for (name, kind) in &self.all_columns {
            let Some(array) = batch.column_by_name(name) else { continue };
            let array = TypedColumn::read(name, array, *kind)?.into_array();
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
    }
}

/// One field of all events as a column.
fn column(name: &str, kind: Type, events: &[&Event]) -> Result<ArrayRef, BadEvent> {
    let values = events.iter().map(|event| event.fields.get(name).filter(|value| !value.is_null()));
    fn each<'e, T>(
        name: &str,
        must: &str,
        values: impl Iterator<Item = Option<&'e Json>>,
        read: impl Fn(&'e Json) -> Option<T>,
    ) -> Result<Vec<Option<T>>, BadEvent> {
        let one = |(index, value): (usize, Option<&'e Json>)| match value {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| BadEvent {
                index,
                field: name.to_owned(),
                problem: format!("{value} is not {must}, as the column is"),
            }),
        };
        values.enumerate().map(one).collect()
    }
    Ok(match kind {
        Type::Bool => Arc::new(BooleanArray::from(each(name, "true or false", values, Json::as_bool)?)),
        Type::Int => Arc::new(Int64Array::from(each(name, "a whole number", values, Json::as_i64)?)),
        Type::Float => Arc::new(Float64Array::from(each(name, "a number", values, Json::as_f64)?)),
        Type::Text => Arc::new(StringArray::from(each(name, "a text", values, Json::as_str)?)),
        Type::Timestamp => {
            let time = |value: &Json| Some(value.as_str()?.parse::<Timestamp>().ok()?.0);
            let times = each(name, "a time such as 2026-07-20T08:00:00Z", values, time)?;
            Arc::new(TimestampMicrosecondArray::from(times))
        }
    })
}
