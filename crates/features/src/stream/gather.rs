//! The slower way of a stream: an entity whose rows are not all known at a time, or were replaced a moment ago, is
//! computed by [`scan`] from its raw rows, as a request would.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

use paceline_core::{Timestamp, Value};

use super::incoming::Reader;
use super::layout::{ColumnLayout, Kind, Layout};
use super::rows::{Order, Rows};
use super::texts::Texts;
use crate::FeatureError;
use crate::point_in_time::column::Column;
use crate::point_in_time::plan::ViewPlan;
use crate::window::{EntityRows, scan};

/// The rows of one entity as the point-in-time join has them.
pub(crate) struct Gathered {
    columns: Vec<Column>,
    rows: Vec<u32>,
    event: Vec<i64>,
    known_from: Vec<i64>,
    known_until: Option<Vec<i64>>,
}

impl Gathered {
    /// Copies the rows.
    pub(crate) fn of(rows: &Rows, layout: &Layout, reader: &Reader, texts: &Texts) -> Result<Gathered, FeatureError> {
        let table = reader.table();
        let columns = reader.columns.iter().zip(&layout.columns).map(|(wanted, column)| {
            Column::read(&array(rows, layout, column, texts), wanted.needs, &wanted.name, &table, &wanted.needed_by)
        });
        Ok(Gathered {
            columns: columns.collect::<Result<_, _>>()?,
            rows: (0..rows.len() as u32).collect(),
            event: rows.iter(layout).map(|row| Order::of(row).event).collect(),
            known_from: rows.iter(layout).map(|row| Order::of(row).known_from()).collect(),
            known_until: layout.until.map(|until| rows.iter(layout).map(|row| row[until] as i64).collect()),
        })
    }

    /// Appends the values of a view to `out`.
    pub(crate) fn evaluate(&self, plan: &ViewPlan, as_of: Timestamp, out: &mut Vec<Value>) {
        let rows = EntityRows {
            rows: &self.rows,
            event: &self.event,
            known_from: &self.known_from,
            known_until: self.known_until.as_deref(),
        };
        scan::evaluate(plan, &self.columns, rows, as_of, out);
    }
}

fn array(rows: &Rows, layout: &Layout, column: &ColumnLayout, texts: &Texts) -> ArrayRef {
    let words = rows
        .iter(layout)
        .map(|row| column.is_valid(row).then(|| if column.value.is_some() { column.word(row) } else { 0 }));
    if column.value.is_none() {
        return Arc::new(words.map(|word| word.map(|_| true)).collect::<BooleanArray>());
    }
    match column.kind {
        Kind::Integer => Arc::new(words.map(|word| word.map(|word| word as i64)).collect::<Int64Array>()),
        Kind::Float => Arc::new(words.map(|word| word.map(f64::from_bits)).collect::<Float64Array>()),
        Kind::Truth => Arc::new(words.map(|word| word.map(|word| word == 1)).collect::<BooleanArray>()),
        Kind::Text => Arc::new(words.map(|word| word.map(|word| texts.get(word))).collect::<StringArray>()),
        Kind::Time => Arc::new(words.map(|word| word.map(|word| word as i64)).collect::<TimestampMicrosecondArray>()),
        Kind::Other => unreachable!("a column of another type has no values here"),
    }
}
