//! One entity at one time, computed from its raw rows.

use paceline_core::{Timestamp, Value};

use super::exact::{FixedPoint, Moments, Square};
use super::{EntityRows, rounding};
use crate::Aggregate;
use crate::point_in_time::column::{Column, Numbers};
use crate::point_in_time::plan::{FeaturePlan, ViewPlan};

/// Appends the values of all features of a view, as of `as_of`, to `out`.
pub(crate) fn evaluate(
    plan: &ViewPlan,
    columns: &[Column],
    entity: EntityRows<'_>,
    as_of: Timestamp,
    out: &mut Vec<Value>,
) {
    // Positions of the known rows, in order.
    let before = entity.event.partition_point(|&event| event < as_of.0);
    let is_known = |position: &usize| {
        let until = entity.known_until.map_or(i64::MAX, |until| until[entity.rows[*position] as usize]);
        entity.known_from[*position] < as_of.0 && as_of.0 <= until
    };
    let newest = (0..before).rev().find(is_known);
    let is_empty = newest.is_none_or(|newest| plan.is_expired(entity.event[newest], as_of));
    for feature in &plan.features {
        let start = plan.window_start(feature.window, as_of);
        let oldest = if is_empty { before } else { entity.event.partition_point(|&event| event < start).min(before) };
        let column = feature.column.map(|column| &columns[column]);
        let counts = |position: &usize| is_known(position) && column.is_none_or(|c| c.is_valid(entity.rows[*position]));
        let window = (oldest..before).filter(counts);
        out.push(value(feature, column, entity, window, as_of, plan.is_static));
    }
}

/// The aggregate over the positions of known, non-null rows in order.
fn value(
    feature: &FeaturePlan,
    column: Option<&Column>,
    entity: EntityRows<'_>,
    mut window: impl DoubleEndedIterator<Item = usize>,
    as_of: Timestamp,
    is_static: bool,
) -> Value {
    let required = || column.expect("the plan requires a column");
    let rows = entity.rows;
    let picked = |position: Option<usize>| position.map_or(Value::Null, |position| required().value(rows[position]));
    match feature.aggregate {
        Aggregate::Count => Value::Int(window.count() as i64),
        Aggregate::Sum | Aggregate::Mean | Aggregate::Std => {
            let window = window.map(|position| rows[position] as usize);
            let number = match &required().numbers {
                Numbers::Integers(values) => {
                    fixed(feature.aggregate, FixedPoint::INTEGERS, window.map(|row| i128::from(values[row])))
                }
                Numbers::Fixed(values, scale) => {
                    fixed(feature.aggregate, *scale, window.map(|row| scale.units(values[row])))
                }
                Numbers::Wide(values) => {
                    let (mut moments, mut count) = (Moments::ZERO, 0);
                    for row in window {
                        moments.add(values[row]);
                        count += 1;
                    }
                    rounding::wide(feature.aggregate, count, &moments)
                }
                Numbers::None => unreachable!("the plan asks for the numbers of a summed column"),
            };
            if number.is_nan() { Value::Null } else { Value::Float(number) }
        }
        Aggregate::Min | Aggregate::Max => {
            let keys = required().keys.as_ref().expect("keys are read when needed");
            let key = |position: &usize| keys[rows[*position] as usize];
            picked(if feature.aggregate == Aggregate::Min { window.min_by_key(key) } else { window.max_by_key(key) })
        }
        Aggregate::First => picked(window.next()),
        Aggregate::Last => picked(window.next_back()),
        Aggregate::CountDistinct => {
            let column = required();
            let keys = column.keys.as_ref().expect("keys are read when needed");
            let mut seen: Vec<i64> =
                window.map(|position| column.distinct_key(keys[rows[position] as usize])).collect();
            seen.sort_unstable();
            seen.dedup();
            Value::Int(seen.len() as i64)
        }
        Aggregate::SecondsSinceLast => match window.next_back() {
            Some(last) if !is_static => Value::Float(as_of.seconds_since(Timestamp(entity.event[last]))),
            _ => Value::Null,
        },
    }
}

fn fixed(aggregate: Aggregate, scale: FixedPoint, values: impl Iterator<Item = i128>) -> f64 {
    let (mut sum, mut squares, mut count) = (0i128, Square::ZERO, 0);
    for units in values {
        sum += units;
        if aggregate == Aggregate::Std {
            squares = squares.plus(Square::of(units));
        }
        count += 1;
    }
    rounding::fixed(aggregate, count, sum, squares, scale)
}
