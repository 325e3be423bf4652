//! Days, weeks, opening hours and how busy the shop is.

use chrono::{Datelike, Days, Months, NaiveDate, Weekday};
use paceline_core::Timestamp;
use paceline_core::random::Random;

use crate::sampling::pick;

pub(super) const SECONDS_PER_DAY: i64 = 86_400;

/// Demand by calendar month, January first: Christmas shopping peaks in November, January is quiet.
const MONTH_DEMAND: [f64; 12] = [0.72, 0.75, 1.0, 0.86, 0.95, 0.96, 0.90, 0.88, 1.20, 1.55, 1.95, 1.25];

/// Share of a day's invoices by hour, from 7 to 19 o'clock.
const HOUR_WEIGHTS: [f64; 13] = [0.002, 0.02, 0.05, 0.09, 0.125, 0.18, 0.163, 0.137, 0.111, 0.066, 0.034, 0.012, 0.01];
const FIRST_HOUR: i64 = 7;

/// The span of the table. Days and weeks are counted from its first midnight.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    start: NaiveDate,
    /// Seconds since 1970 at the first midnight.
    start_s: i64,
    /// Demand of each day, zero when closed; the average open day is about 1.
    demand: Vec<f64>,
}

impl Calendar {
    /// From `months` whole months before December 2011 to 2011-12-09.
    pub(super) fn new(months: u32) -> Self {
        let december = NaiveDate::from_ymd_opt(2011, 12, 1).expect("a date");
        let start = december.checked_sub_months(Months::new(months)).expect("years that chrono knows");
        let day_count = (december - start).num_days() as u64 + 9;
        let demand = (0..day_count).map(|day| day_demand(start + Days::new(day))).collect();
        let start_s = start.and_hms_opt(0, 0, 0).expect("midnight").and_utc().timestamp();
        Calendar { start, start_s, demand }
    }

    pub(super) fn day_count(&self) -> usize {
        self.demand.len()
    }

    pub(super) fn week_count(&self) -> usize {
        self.demand.len().div_ceil(7)
    }

    pub(super) fn date(&self, day: usize) -> NaiveDate {
        self.start + Days::new(day as u64)
    }

    pub(super) fn demand(&self, day: usize) -> f64 {
        self.demand[day]
    }

    pub(super) fn demands(&self) -> &[f64] {
        &self.demand
    }

    /// Midnight of `day`; days before the start are negative.
    pub(super) fn midnight(&self, day: i64) -> Timestamp {
        Timestamp::from_seconds(self.start_s + day * SECONDS_PER_DAY)
    }

    /// A minute within opening hours, in seconds since 1970; on the last day before the table ends at 12:50.
    pub(super) fn draw_time_s(&self, day: usize, random: &mut Random) -> i64 {
        let hour = FIRST_HOUR + pick(&HOUR_WEIGHTS, random) as i64;
        let minute = (hour * 60) + pick(&[1.0; 60], random) as i64;
        let last_minute = if day + 1 == self.day_count() { 12 * 60 + 50 } else { 24 * 60 };
        self.start_s + day as i64 * SECONDS_PER_DAY + minute.min(last_minute) * 60
    }

    /// The days that lie in `[from, until)` and inside the table.
    pub(super) fn days_between(&self, from: Timestamp, until: Timestamp) -> std::ops::Range<usize> {
        let day_of = |at: Timestamp| {
            let day = at.seconds_since(Timestamp::from_seconds(self.start_s)) / SECONDS_PER_DAY as f64;
            day.clamp(0.0, self.day_count() as f64) as usize
        };
        day_of(from)..day_of(until)
    }
}

fn day_demand(date: NaiveDate) -> f64 {
    let closed_for_christmas = (date.month() == 12 && date.day() >= 24) || (date.month() == 1 && date.day() <= 3);
    let weekday = match date.weekday() {
        Weekday::Sat => 0.0,
        Weekday::Thu => 1.4,
        Weekday::Fri => 0.92,
        Weekday::Mon | Weekday::Tue | Weekday::Wed | Weekday::Sun => 1.17,
    };
    if closed_for_christmas { 0.0 } else { weekday * MONTH_DEMAND[date.month0() as usize] }
}
