//! Points and spans of time.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, Timelike};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Why a text is not a time or a period.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Neither a date nor a date-time of ISO 8601.
    #[error("{0:?} is not a time; write 2011-09-01 or 2011-09-01T12:30:00Z (without an offset it means UTC)")]
    NotATime(String),
    /// Not `<number><unit>`, or zero, or too large.
    #[error("{0:?} is not a period; write a whole number above 0 and a unit: 30s, 15m, 12h, 90d, 2w, 1mo or 1y")]
    NotAPeriod(String),
    /// Outside the years that a calendar step can reach.
    #[error("{0} is outside the supported years")]
    OutOfRange(String),
}

/// Microseconds since 1970-01-01T00:00:00Z. Ordered; every row, spine row and event carries one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The earliest representable time: before every row.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest representable time: after every row.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Seconds from `earlier` to `self`, fractions included; negative when `self` is the earlier one.
    #[must_use]
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (i128::from(self.0) - i128::from(earlier.0)) as f64 / MICROS_PER_SECOND as f64
    }

    /// The last point of the grid `epoch + n * step` strictly before `self`: when a batch job of that schedule last ran.
    ///
    /// `None` when `step` is a calendar period or the grid point is not representable.
    #[must_use]
    pub fn last_scheduled_before(self, step: Period) -> Option<Timestamp> {
        let Period::Micros(step) = step else { return None };
        let before = self.0.checked_sub(1)?;
        Some(Timestamp(before.checked_sub(before.rem_euclid(step))?))
    }

    fn to_datetime(self) -> Option<DateTime<chrono::Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    fn shift_months(self, months: i64) -> Timestamp {
        let saturated = if months < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let Some(at) = self.to_datetime() else { return saturated };
        let count = Months::new(months.unsigned_abs() as u32);
        let moved = if months < 0 { at.checked_sub_months(count) } else { at.checked_add_months(count) };
        moved.map_or(saturated, |moved| Timestamp(moved.timestamp_micros()))
    }

    /// Hour of the day in UTC, 0 to 23.
    #[must_use]
    pub fn hour(self) -> i64 {
        self.0.rem_euclid(MICROS_PER_DAY) / (3_600 * MICROS_PER_SECOND)
    }

    /// Day of the week in UTC, 0 = Sunday to 6 = Saturday (as PostgreSQL's `extract(dow)`).
    #[must_use]
    pub fn day_of_week(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.0.div_euclid(MICROS_PER_DAY) + 4).rem_euclid(7)
    }

    /// Year and month (1 to 12) in UTC, `None` outside chrono's range.
    #[must_use]
    pub fn year_month(self) -> Option<(i32, u32)> {
        self.to_datetime().map(|at| (at.year(), at.month()))
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let trimmed = text.trim();
        if let Ok(at) = DateTime::parse_from_rfc3339(trimmed) {
            return Ok(Timestamp(at.timestamp_micros()));
        }
        for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
            if let Ok(at) = NaiveDateTime::parse_from_str(trimmed, format) {
                return Ok(Timestamp(at.and_utc().timestamp_micros()));
            }
        }
        for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
            if let Ok(at) = DateTime::parse_from_str(trimmed, format) {
                return Ok(Timestamp(at.timestamp_micros()));
            }
        }
        NaiveDate::parse_from_str(trimmed, "%Y-%m-%d")
            .ok()
            .and_then(|date| date.and_hms_opt(0, 0, 0))
            .map(|at| Timestamp(at.and_utc().timestamp_micros()))
            .ok_or_else(|| TimeError::NotATime(text.to_owned()))
    }
}

impl fmt::Display for Timestamp {
    /// ISO 8601 in UTC, fractions only when there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(at) = self.to_datetime() else { return write!(f, "{} us since 1970", self.0) };
        // ISO 8601 gives years of other lengths a sign.
        match at.year() {
            year @ 0..=9_999 => write!(f, "{year:04}")?,
            year => write!(f, "{year:+05}")?,
        }
        // Field by field: a format that is read each time costs more than all else in an answer with many times.
        let [month, day, hour, minute, second] = [at.month(), at.day(), at.hour(), at.minute(), at.second()];
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.0.rem_euclid(MICROS_PER_SECOND) {
            0 => f.write_str("Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A length of time: fixed, or a number of calendar months. Always above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// Fixed length in microseconds.
    Micros(i64),
    /// Calendar months; the day is clamped to the month's length.
    Months(u32),
}

impl Period {
    /// Days of 24 hours.
    #[must_use]
    pub const fn days(days: i64) -> Period {
        Period::Micros(days * MICROS_PER_DAY)
    }

    /// The fixed length in microseconds, `None` for calendar months.
    #[must_use]
    pub fn micros(self) -> Option<i64> {
        match self {
            Period::Micros(micros) => Some(micros),
            Period::Months(_) => None,
        }
    }

    /// Seconds, `None` for calendar months.
    #[must_use]
    pub fn seconds(self) -> Option<f64> {
        self.micros().map(|micros| micros as f64 / MICROS_PER_SECOND as f64)
    }
}

impl FromStr for Period {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError::NotAPeriod(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let count: i64 = trimmed[..digits].parse().map_err(|_| bad())?;
        let unit_micros = match trimmed[digits..].trim() {
            "us" => 1,
            "ms" => 1_000,
            "s" => MICROS_PER_SECOND,
            "m" | "min" => 60 * MICROS_PER_SECOND,
            "h" => 3_600 * MICROS_PER_SECOND,
            "d" => MICROS_PER_DAY,
            "w" => 7 * MICROS_PER_DAY,
            months @ ("mo" | "y") => {
                let months = count.checked_mul(if months == "y" { 12 } else { 1 }).ok_or_else(bad)?;
                return u32::try_from(months).ok().filter(|&n| n > 0).map(Period::Months).ok_or_else(bad);
            }
            _ => return Err(bad()),
        };
        count.checked_mul(unit_micros).filter(|&micros| micros > 0).map(Period::Micros).ok_or_else(bad)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = match *self {
            Period::Months(months) => return write!(f, "{months}mo"),
            Period::Micros(micros) => micros,
        };
        for (unit, size) in
            [("d", MICROS_PER_DAY), ("h", 3_600_000_000), ("m", 60_000_000), ("s", MICROS_PER_SECOND), ("ms", 1_000)]
        {
            if micros % size == 0 {
                return write!(f, "{}{unit}", micros / size);
            }
        }
        write!(f, "{micros}us")
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Add<Period> for Timestamp {
    type Output = Timestamp;

    /// Saturates at the ends of time.
    fn add(self, period: Period) -> Timestamp {
        match period {
            Period::Micros(micros) => Timestamp(self.0.saturating_add(micros)),
            Period::Months(months) => self.shift_months(i64::from(months)),
        }
    }
}

impl Sub<Period> for Timestamp {
    type Output = Timestamp;

    /// Saturates at the ends of time.
    fn sub(self, period: Period) -> Timestamp {
        match period {
            Period::Micros(micros) => Timestamp(self.0.saturating_sub(micros)),
            Period::Months(months) => self.shift_months(-i64::from(months)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn times_are_iso_and_naive_means_utc() {
        let noon = at("2011-09-01T12:00:00Z");
        for same in
            ["2011-09-01 12:00", "2011-09-01T12:00:00", "2011-09-01T14:00:00+02:00", "2011-09-01 12:00:00.000+00:00"]
        {
            assert_eq!(at(same), noon, "{same}");
        }
        assert_eq!(at("1970-01-02"), Timestamp(MICROS_PER_DAY));
        assert_eq!(at("1970-01-01T00:00:00.25").to_string(), "1970-01-01T00:00:00.250000Z");
        for bad in ["", "yesterday", "2011-13-01", "2011-02-30", "12"] {
            assert_eq!(bad.parse::<Timestamp>(), Err(TimeError::NotATime(bad.to_owned())));
        }
    }

    #[test]
    fn times_are_written_as_chrono_writes_them() {
        let seconds = (-70_000_000_000..400_000_000_000_i64).step_by(1_234_567_891).chain([0, -1, 951_782_400]);
        for time in seconds.flat_map(|second| [0, 1, 999_999, 250_000].map(|part| second * MICROS_PER_SECOND + part)) {
            let at = DateTime::from_timestamp_micros(time).expect("a time");
            let form = if time % MICROS_PER_SECOND == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
            assert_eq!(Timestamp(time).to_string(), at.format(form).to_string());
        }
        assert!(Timestamp::MAX.to_string().ends_with("us since 1970"));
    }

    #[test]
    fn periods_parse_print_and_reject_zero() {
        for (text, period) in [
            ("90d", Period::days(90)),
            ("2w", Period::days(14)),
            ("1mo", Period::Months(1)),
            ("1y", Period::Months(12)),
            ("45s", Period::Micros(45_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(period));
            assert_eq!(period.to_string().parse(), Ok(period));
        }
        for bad in ["0d", "-1d", "d", "1", "1 fortnight", "1.5d", "99999999999d", "0mo"] {
            assert_eq!(bad.parse::<Period>(), Err(TimeError::NotAPeriod(bad.to_owned())));
        }
    }

    #[test]
    fn months_follow_the_calendar_and_the_ends_saturate() {
        assert_eq!(at("2011-01-31") + Period::Months(1), at("2011-02-28"));
        assert_eq!(at("2012-03-31") - Period::Months(1), at("2012-02-29"));
        assert_eq!(Timestamp::MAX + Period::days(1), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Period::Months(1), Timestamp::MIN);
    }

    #[test]
    fn a_schedule_point_lies_strictly_before() {
        let day = Period::days(1);
        assert_eq!(at("2011-09-01").last_scheduled_before(day), Some(at("2011-08-31")));
        assert_eq!(at("2011-09-01T00:00:01").last_scheduled_before(day), Some(at("2011-09-01")));
        assert_eq!(at("1969-12-31T12:00").last_scheduled_before(day), Some(at("1969-12-31")));
        assert_eq!(at("2011-09-01").last_scheduled_before(Period::Months(1)), None);
    }

    #[test]
    fn calendar_fields() {
        let saturday = at("2026-10-31T23:59:59");
        assert_eq!((saturday.hour(), saturday.day_of_week()), (23, 6));
        assert_eq!(at("1969-12-31T23:00").hour(), 23);
        assert_eq!(at("1969-12-31").day_of_week(), 3);
    }
}
