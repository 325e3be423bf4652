//! Windows over rows that a stream keeps, when all of them are known: every window is a suffix of the rows.
//!
//! Running sums lie beside the rows, and the smallest, largest and distinct values of every suffix are marked, so a value
//! costs a search for the start of its window, however many rows are in it. Where a float column needs the
//! superaccumulator, and where nulls hide the first or last value, it costs the rows.

use paceline_core::{Timestamp, Value};

use super::rounding;
use crate::Aggregate;
use crate::point_in_time::plan::{FeaturePlan, ViewPlan};
use crate::stream::layout::{ColumnLayout, EVENT, Layout};
use crate::stream::rows::{Rows, Sum};
use crate::stream::texts::Texts;

/// Appends the values of all features of a view, as of a time at which `rows` are settled, to `out`.
pub(crate) fn evaluate(
    plan: &ViewPlan,
    layout: &Layout,
    texts: &Texts,
    rows: &Rows,
    as_of: Timestamp,
    out: &mut Vec<Value>,
) {
    debug_assert!(rows.is_settled(as_of.0), "some rows do not count");
    let (head, end) = rows.range();
    let is_empty = rows.is_empty() || plan.is_expired(rows.row(layout, end - 1)[EVENT] as i64, as_of);
    // Most features share their window with the one before them.
    let mut low = (usize::MAX, head);
    for feature in &plan.features {
        if low.0 != feature.window {
            let start = plan.window_start(feature.window, as_of);
            low = (feature.window, if is_empty { end } else { rows.position_at(layout, start) });
        }
        let column = feature.column.map(|column| &layout.columns[column]);
        out.push(value(feature, column, layout, texts, rows, low.1, as_of));
    }
}

/// The aggregate over the rows from `low` on.
fn value(
    feature: &FeaturePlan,
    column: Option<&ColumnLayout>,
    layout: &Layout,
    texts: &Texts,
    rows: &Rows,
    low: usize,
    as_of: Timestamp,
) -> Value {
    let (_, high) = rows.range();
    let required = || column.expect("the plan requires a column");
    let value_at = |at: usize| required().value_of(required().word(rows.row(layout, at)), texts);
    let is_valid = |at: &usize| column.is_none_or(|column| column.is_valid(rows.row(layout, *at)));
    let marked = |mark: Option<usize>| rows.marks_from(mark.expect("the layout marks what a feature needs"), low);
    match feature.aggregate {
        Aggregate::Count => {
            Value::Int(column.map_or((high - low) as u64, |column| rows.count(layout, column, low, high)) as i64)
        }
        Aggregate::Sum | Aggregate::Mean | Aggregate::Std => {
            let count = rows.count(layout, required(), low, high);
            let with_squares = feature.aggregate == Aggregate::Std;
            let number = match rows.sum(layout, required(), low, high, with_squares) {
                Sum::Fixed(sum, squares, scale) => rounding::fixed(feature.aggregate, count, sum, squares, scale),
                Sum::Wide(moments) => rounding::wide(feature.aggregate, count, &moments),
            };
            if number.is_nan() { Value::Null } else { Value::Float(number) }
        }
        Aggregate::Min => marked(required().smallest).first().map_or(Value::Null, |&at| value_at(at as usize)),
        Aggregate::Max => marked(required().largest).first().map_or(Value::Null, |&at| value_at(at as usize)),
        Aggregate::CountDistinct => Value::Int(marked(required().distinct).len() as i64),
        Aggregate::First => (low..high).find(is_valid).map_or(Value::Null, value_at),
        Aggregate::Last => (low..high).rev().find(is_valid).map_or(Value::Null, value_at),
        Aggregate::SecondsSinceLast => (low..high)
            .rev()
            .find(is_valid)
            .map_or(Value::Null, |at| Value::Float(as_of.seconds_since(Timestamp(rows.row(layout, at)[EVENT] as i64)))),
    }
}
