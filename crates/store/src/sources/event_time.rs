//! A column of times, whatever its type, as [`Timestamp`]s.

use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};

use paceline_core::Timestamp;

use super::SourceError;

/// Reads `array`, the column `column` of a source or spine, as times. Null is an error: a row without time has no place.
///
/// - Arrow timestamps of every unit: with a time zone they are points in time already, without one they are UTC.
///   Nanoseconds are rounded down to microseconds.
/// - Dates are their midnight in UTC.
/// - Integers count `time_unit`s since 1970-01-01T00:00:00Z; without a unit the error proposes one by their size.
/// - Text is ISO 8601, without an offset UTC.
///
/// `time_unit` is ignored by the types that carry their own.
///
/// # Errors
/// [`SourceError::NullTime`], [`SourceError::BadTime`], [`SourceError::UnitMissing`], [`SourceError::NotATimeColumn`];
/// rows count from 1 within `array`.
pub fn to_timestamps(
    column: &str,
    array: &dyn Array,
    time_unit: Option<TimeUnit>,
) -> Result<Vec<Timestamp>, SourceError> {
    refuse_nulls(column, array)?;
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => from_ticks::<TimestampSecondType>(column, array, SECOND),
        DataType::Timestamp(TimeUnit::Millisecond, _) => from_ticks::<TimestampMillisecondType>(column, array, MILLI),
        DataType::Timestamp(TimeUnit::Microsecond, _) => from_ticks::<TimestampMicrosecondType>(column, array, MICRO),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => from_ticks::<TimestampNanosecondType>(column, array, NANO),
        DataType::Date32 => from_ticks::<Date32Type>(column, array, Tick { multiply: 86_400_000_000, divide: 1 }),
        DataType::Date64 => from_ticks::<Date64Type>(column, array, MILLI),
        DataType::Int8 => from_integers::<Int8Type>(column, array, time_unit),
        DataType::Int16 => from_integers::<Int16Type>(column, array, time_unit),
        DataType::Int32 => from_integers::<Int32Type>(column, array, time_unit),
        DataType::Int64 => from_integers::<Int64Type>(column, array, time_unit),
        DataType::UInt8 => from_integers::<UInt8Type>(column, array, time_unit),
        DataType::UInt16 => from_integers::<UInt16Type>(column, array, time_unit),
        DataType::UInt32 => from_integers::<UInt32Type>(column, array, time_unit),
        DataType::UInt64 => from_integers::<UInt64Type>(column, array, time_unit),
        DataType::Utf8 => from_texts(column, array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => from_texts(column, array.as_string::<i64>().iter()),
        DataType::Utf8View => from_texts(column, array.as_string_view().iter()),
        other => Err(SourceError::NotATimeColumn { column: column.to_owned(), data_type: other.clone() }),
    }
}

/// One step of an integer time in microseconds, as a fraction.
#[derive(Clone, Copy)]
struct Tick {
    multiply: i128,
    divide: i128,
}

const SECOND: Tick = Tick { multiply: 1_000_000, divide: 1 };
const MILLI: Tick = Tick { multiply: 1_000, divide: 1 };
const MICRO: Tick = Tick { multiply: 1, divide: 1 };
const NANO: Tick = Tick { multiply: 1, divide: 1_000 };

impl Tick {
    fn of(unit: TimeUnit) -> Tick {
        match unit {
            TimeUnit::Second => SECOND,
            TimeUnit::Millisecond => MILLI,
            TimeUnit::Microsecond => MICRO,
            TimeUnit::Nanosecond => NANO,
        }
    }
}

fn refuse_nulls(column: &str, array: &dyn Array) -> Result<(), SourceError> {
    // A column of type Null has no null buffer, yet every value is null.
    let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(()) };
    let first = nulls.iter().position(|valid| !valid).expect("the null count is above zero");
    Err(SourceError::NullTime {
        column: column.to_owned(),
        row: first + 1,
        count: nulls.null_count(),
        rows: array.len(),
    })
}

fn from_ticks<T>(column: &str, array: &dyn Array, tick: Tick) -> Result<Vec<Timestamp>, SourceError>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + Copy + std::fmt::Display,
{
    let values: &PrimitiveArray<T> = array.as_primitive();
    let micros = |(index, &value): (usize, &T::Native)| {
        let micros = (value.into() * tick.multiply).div_euclid(tick.divide);
        i64::try_from(micros).map(Timestamp).map_err(|_| SourceError::BadTime {
            column: column.to_owned(),
            row: index + 1,
            cause: format!("{value} is a time too far away; is the time_unit right?"),
        })
    };
    values.values().iter().enumerate().map(micros).collect()
}

fn from_integers<T>(column: &str, array: &dyn Array, unit: Option<TimeUnit>) -> Result<Vec<Timestamp>, SourceError>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + Copy + std::fmt::Display,
{
    if let Some(unit) = unit {
        return from_ticks::<T>(column, array, Tick::of(unit));
    }
    let values: &PrimitiveArray<T> = array.as_primitive();
    let largest = values.values().iter().map(|&value| value.into()).max_by_key(|value: &i128| value.abs());
    let Some(largest) = largest else { return Ok(Vec::new()) };
    Err(SourceError::UnitMissing {
        column: column.to_owned(),
        example: i64::try_from(largest).unwrap_or(i64::MAX),
        likely: likely_unit(largest),
    })
}

/// The unit that puts `value` between 1973 and 2286 (1e8 to 1e10 seconds).
fn likely_unit(value: i128) -> Option<TimeUnit> {
    let plausible = |units_per_second: i128| (100_000_000..10_000_000_000).contains(&(value / units_per_second));
    [
        (1, TimeUnit::Second),
        (1_000, TimeUnit::Millisecond),
        (1_000_000, TimeUnit::Microsecond),
        (1_000_000_000, TimeUnit::Nanosecond),
    ]
    .into_iter()
    .find_map(|(per_second, unit)| plausible(per_second).then_some(unit))
}

fn from_texts<'a>(column: &str, texts: impl Iterator<Item = Option<&'a str>>) -> Result<Vec<Timestamp>, SourceError> {
    let parse = |(index, text): (usize, Option<&str>)| {
        let text = text.expect("nulls were refused before");
        text.parse::<Timestamp>().map_err(|error| SourceError::BadTime {
            column: column.to_owned(),
            row: index + 1,
            cause: error.to_string(),
        })
    };
    texts.enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, Date32Array, Date64Array, Float64Array, Int32Array, Int64Array, LargeStringArray, NullArray,
        StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray, UInt64Array,
    };
    use std::sync::Arc;

    fn read(array: impl Array + 'static, unit: Option<TimeUnit>) -> Result<Vec<Timestamp>, SourceError> {
        let array: ArrayRef = Arc::new(array);
        to_timestamps("at", &array, unit)
    }

    #[test]
    fn every_type_of_time_gives_the_same_point() {
        let at: Timestamp = "2011-09-01".parse().unwrap();
        let seconds = 1_314_835_200;
        for (what, times) in [
            ("s", read(TimestampSecondArray::from(vec![seconds]), None)),
            ("ms", read(TimestampMillisecondArray::from(vec![seconds * 1_000]), None)),
            ("us", read(TimestampMicrosecondArray::from(vec![seconds * 1_000_000]), None)),
            ("ns", read(TimestampNanosecondArray::from(vec![seconds * 1_000_000_000]), None)),
            ("zone", read(TimestampSecondArray::from(vec![seconds]).with_timezone("Asia/Tokyo"), None)),
            ("date32", read(Date32Array::from(vec![15_218]), None)),
            ("date64", read(Date64Array::from(vec![seconds * 1_000]), None)),
            ("i64", read(Int64Array::from(vec![seconds]), Some(TimeUnit::Second))),
            ("i32", read(Int32Array::from(vec![seconds as i32]), Some(TimeUnit::Second))),
            ("u64", read(UInt64Array::from(vec![seconds as u64 * 1_000]), Some(TimeUnit::Millisecond))),
            ("text", read(StringArray::from(vec!["2011-09-01"]), None)),
            ("large text", read(LargeStringArray::from(vec!["2011-09-01T02:00:00+02:00"]), None)),
            ("text view", read(StringViewArray::from(vec!["2011-09-01 00:00:00"]), None)),
        ] {
            assert_eq!(times.unwrap(), [at], "{what}");
        }
    }

    #[test]
    fn nanoseconds_round_down_on_both_sides_of_1970() {
        let times = read(TimestampNanosecondArray::from(vec![1_999, -1, -1_001]), None).unwrap();
        assert_eq!(times, [Timestamp(1), Timestamp(-1), Timestamp(-2)]);
    }

    #[test]
    fn what_is_no_time_is_refused_with_row_and_reason() {
        let check = |result: Result<Vec<Timestamp>, SourceError>, part: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        check(read(Int64Array::from(vec![1_314_835_200]), None), "by their size it is \"s\"");
        check(read(Int64Array::from(vec![0, 1_314_835_200_000]), None), "by their size it is \"ms\"");
        check(read(Int64Array::from(vec![1_314_835_200_000_000_000]), None), "by their size it is \"ns\"");
        check(read(Int64Array::from(vec![20_110_901]), None), "say their unit");
        check(read(Int64Array::from(vec![0, i64::MAX]), Some(TimeUnit::Second)), "row 2: 9223372036854775807 is");
        check(read(StringArray::from(vec!["2011-09-01", "soon"]), None), "row 2: \"soon\" is not a time");
        check(
            read(StringArray::from(vec![Some("2011-09-01"), None, None]), None),
            "2 of 3 rows have none, the first is row 2",
        );
        check(read(NullArray::new(2), None), "2 of 2 rows have none");
        check(read(Float64Array::from(vec![1.0]), None), "has type Float64, which is no time");
    }

    #[test]
    fn no_rows_are_no_times() {
        assert_eq!(read(Int64Array::from(Vec::<i64>::new()), None).unwrap(), []);
    }
}
