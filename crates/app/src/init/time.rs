//! Which column says when a row happened.

use paceline_core::Timestamp;
use paceline_features::expression::Type;

use super::Guess;
use super::table::{Column, Table};
use super::words::time_rank;
use crate::pipeline::TimeUnit;

/// Integer times must lie between these years to be taken for times: before, they are counts; after, identifiers.
const YEARS: (&str, &str) = ("1990-01-01", "2050-01-01");

/// More texts than this are not parsed to find out whether a column holds times.
const TEXTS_TRIED: usize = 1_000;

/// A column of times.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeColumn {
    /// Its name.
    pub name: String,
    /// The unit of whole numbers.
    pub unit: Option<TimeUnit>,
    /// Times of the sampled rows in order; rows without one are absent.
    pub times: Vec<Timestamp>,
    /// Sampled rows without one.
    pub nulls: usize,
}

impl TimeColumn {
    /// The time before which `share` of the rows lie.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Timestamp {
        let index = (share * self.times.len() as f64) as usize;
        self.times[index.min(self.times.len() - 1)]
    }

    /// First and last time.
    #[must_use]
    pub fn range(&self) -> (Timestamp, Timestamp) {
        (self.times[0], self.times[self.times.len() - 1])
    }

    /// Seconds from the first to the last time.
    #[must_use]
    pub fn span_seconds(&self) -> f64 {
        let (first, last) = self.range();
        last.seconds_since(first)
    }
}

/// The column that most probably is the event time. Columns of one single time are no help.
#[must_use]
pub fn guess_time(table: &Table) -> Option<Guess<TimeColumn>> {
    let candidates = table.columns.iter().filter_map(|column| {
        let guess = times_of(column)?;
        let (first, last) = guess.value.range();
        let by_type = column.kind == Type::Timestamp;
        let rank = (guess.value.nulls * 10 > table.rows, time_rank(&column.name).unwrap_or(usize::MAX), !by_type);
        (first < last).then_some((rank, guess))
    });
    candidates.min_by_key(|(rank, _)| *rank).map(|(_, guess)| guess)
}

/// The column's times, where it holds times.
#[must_use]
pub fn times_of(column: &Column) -> Option<Guess<TimeColumn>> {
    let (unit, mut times, reason) = match column.kind {
        Type::Timestamp => {
            let micros = column.numbers()?.iter().filter(|micros| !micros.is_nan());
            (None, micros.map(|micros| Timestamp(*micros as i64)).collect(), "a column of timestamps".to_owned())
        }
        Type::Int => {
            time_rank(&column.name)?;
            let unit = unit_of(column.range()?)?;
            let known = column.numbers()?.iter().filter(|number| !number.is_nan());
            let times: Vec<Timestamp> = known.map(|number| to_time(*number, unit)).collect();
            let reason = format!("whole numbers that are times when read as {} since 1970", unit_name(unit));
            (Some(unit), times, reason)
        }
        Type::Text => (None, parsed(column)?, "texts that are ISO 8601 times".to_owned()),
        Type::Bool | Type::Float => return None,
    };
    times.sort_unstable();
    let reason = match time_rank(&column.name) {
        Some(_) => format!("{reason}, and its name says so"),
        None => reason,
    };
    let nulls = column.nulls;
    (!times.is_empty()).then(|| Guess::new(TimeColumn { name: column.name.clone(), unit, times, nulls }, reason))
}

fn parsed(column: &Column) -> Option<Vec<Timestamp>> {
    let texts = column.texts()?;
    if texts.iter().take(TEXTS_TRIED).any(|text| text.parse::<Timestamp>().is_err()) {
        return None;
    }
    let distinct: Vec<Timestamp> = texts.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
    let super::table::Values::Texts { codes, .. } = &column.values else { return None };
    Some(codes.iter().flatten().map(|code| distinct[*code as usize]).collect())
}

fn unit_of((first, last): (f64, f64)) -> Option<TimeUnit> {
    let years = |text: &str| text.parse::<Timestamp>().expect("the years above are dates");
    let (earliest, latest) = (years(YEARS.0), years(YEARS.1));
    [TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns]
        .into_iter()
        .find(|unit| to_time(first, *unit) >= earliest && to_time(last, *unit) <= latest)
}

fn to_time(number: f64, unit: TimeUnit) -> Timestamp {
    let micros = match unit {
        TimeUnit::S => number * 1e6,
        TimeUnit::Ms => number * 1e3,
        TimeUnit::Us => number,
        TimeUnit::Ns => number / 1e3,
    };
    Timestamp(micros as i64)
}

/// The word that a pipeline file uses.
#[must_use]
pub fn unit_word(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::S => "s",
        TimeUnit::Ms => "ms",
        TimeUnit::Us => "us",
        TimeUnit::Ns => "ns",
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::S => "seconds",
        TimeUnit::Ms => "milliseconds",
        TimeUnit::Us => "microseconds",
        TimeUnit::Ns => "nanoseconds",
    }
}
