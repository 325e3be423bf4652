//! Small synthetic tables in the layout of public data sets, so that the examples run without them.
//!
//! [`people`] has the columns of UCI Adult, [`hours`] those of UCI Bike Sharing, [`flights`] those of nycflights13. Their
//! labels depend on their columns in
//! simple ways with noise, so a model finds something to learn; nothing else of them is like the originals.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use chrono::{Datelike as _, Days, NaiveDate};
use paceline_core::random::{Random, stream};
use rand::RngExt;

use crate::sampling::{normal, pick};

const EDUCATIONS: [(&str, i64); 5] =
    [("9th", 5), ("HS-grad", 9), ("Some-college", 10), ("Bachelors", 13), ("Doctorate", 16)];

/// People in the layout of UCI Adult: about a fifth have `income` ">50K", two thirds are of split "train".
#[must_use]
pub fn people(rows: usize, seed: u64) -> RecordBatch {
    let mut random = stream(seed, "people");
    let (mut integers, mut texts) = (vec![Vec::new(); 6], vec![Vec::new(); 10]);
    for _ in 0..rows {
        draw_person(&mut random, &mut integers, &mut texts);
    }
    let [age, weight, education_num, gain, loss, hours]: [Vec<i64>; 6] = integers.try_into().expect("six columns");
    let whole = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("age", whole(age)),
        ("fnlwgt", whole(weight)),
        ("education_num", whole(education_num)),
        ("capital_gain", whole(gain)),
        ("capital_loss", whole(loss)),
        ("hours_per_week", whole(hours)),
    ];
    let names = [
        "workclass",
        "education",
        "marital_status",
        "occupation",
        "relationship",
        "race",
        "sex",
        "native_country",
        "income",
        "split",
    ];
    for (name, values) in names.into_iter().zip(texts) {
        let values: StringArray = values.into_iter().collect();
        columns.push((name, Arc::new(values)));
    }
    RecordBatch::try_from_iter(columns).expect("columns of equal length")
}

fn draw_person(random: &mut Random, integers: &mut [Vec<i64>], texts: &mut [Vec<Option<&'static str>>]) {
    let age = random.random_range(17..80_i64);
    let (education, years) = EDUCATIONS[pick(&[0.1, 0.35, 0.25, 0.25, 0.05], random)];
    let married = random.random_bool(0.45);
    let occupation = ["Exec-managerial", "Craft-repair", "Sales", "Other-service"][pick(&[0.25; 4], random)];
    let hours = random.random_range(15..65_i64);
    let gain = if random.random_bool(0.05) { random.random_range(1_000..20_000_i64) } else { 0 };
    let logit = -6.0
        + 0.03 * (age - 40) as f64
        + 0.3 * (years - 8) as f64
        + if married { 2.2 } else { 0.0 }
        + if occupation == "Exec-managerial" { 1.2 } else { 0.0 }
        + 0.04 * (hours - 40) as f64
        + if gain > 5_000 { 4.0 } else { 0.0 }
        + 1.5;
    let is_rich = random.random_bool(1.0 / (1.0 + (-logit).exp()));
    let loss = if random.random_bool(0.04) { random.random_range(500..2_500_i64) } else { 0 };
    for (column, value) in
        integers.iter_mut().zip([age, random.random_range(20_000..400_000), years, gain, loss, hours])
    {
        column.push(value);
    }
    let unknown = random.random_bool(0.05);
    let values = [
        (!unknown).then_some(["Private", "Self-emp", "Federal-gov"][pick(&[0.7, 0.2, 0.1], random)]),
        Some(education),
        Some(if married { "Married-civ-spouse" } else { "Never-married" }),
        (!unknown).then_some(occupation),
        Some(if married { "Husband" } else { "Not-in-family" }),
        Some(["White", "Black", "Other"][pick(&[0.8, 0.1, 0.1], random)]),
        Some(if random.random_bool(0.66) { "Male" } else { "Female" }),
        Some(["United-States", "Mexico", "India", "Peru"][pick(&[0.9, 0.05, 0.03, 0.02], random)]),
        Some(if is_rich { ">50K" } else { "<=50K" }),
        Some(if random.random_bool(0.67) { "train" } else { "test" }),
    ];
    texts.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
}

/// Every sixth hour of 2011 and 2012 in the layout of UCI Bike Sharing; demand grows, follows the temperature, and peaks
/// in the morning of working days.
#[must_use]
pub fn hours(seed: u64) -> RecordBatch {
    let mut random = stream(seed, "hours");
    let first = NaiveDate::from_ymd_opt(2011, 1, 1).expect("a date");
    let mut days = Vec::new();
    let (mut integers, mut floats) = (vec![Vec::new(); 12], vec![Vec::new(); 4]);
    for day in 0..731_u64 {
        let date = first.checked_add_days(Days::new(day)).expect("a date");
        let season = (day as f64 / 365.25 * std::f64::consts::TAU).cos();
        let weather = 1 + pick(&[0.65, 0.25, 0.1], &mut random) as i64;
        let weekday = ((day + 6) % 7) as i64;
        let is_working = (1..=5).contains(&weekday);
        for hour in [2_i64, 8, 14, 20] {
            let temperature = 0.5 - 0.3 * season + 0.05 * normal(&mut random);
            let peak = match (is_working, hour) {
                (true, 8) => 2.0,
                (_, 2) => 0.2,
                (false, 14) => 1.8,
                _ => 1.0,
            };
            let growth = 1.0 + 0.6 * day as f64 / 730.0;
            let mean = 150.0 * peak * growth * temperature.max(0.1) / weather as f64;
            let count = (mean * (1.0 + 0.15 * normal(&mut random))).round().max(1.0) as i64;
            let casual = count / 4;
            days.push(date.to_string());
            let row = [
                integers[0].len() as i64 + 1,
                1 + (day % 365 / 92) as i64,
                (day / 365).min(1) as i64,
                1 + (day % 365 / 31).min(11) as i64,
                hour,
                0,
                weekday,
                i64::from(is_working),
                weather,
                casual,
                count - casual,
                count,
            ];
            integers.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            let row = [temperature, temperature * 0.95, random.random::<f64>(), 0.3 * random.random::<f64>()];
            floats.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    let names = [
        "instant",
        "season",
        "yr",
        "mnth",
        "hr",
        "holiday",
        "weekday",
        "workingday",
        "weathersit",
        "casual",
        "registered",
        "cnt",
    ];
    let days: ArrayRef = Arc::new(StringArray::from(days));
    let mut columns: Vec<(&str, ArrayRef)> = vec![("dteday", days)];
    for (name, values) in names.into_iter().zip(integers) {
        columns.push((name, Arc::new(Int64Array::from(values))));
    }
    for (name, values) in ["temp", "atemp", "hum", "windspeed"].into_iter().zip(floats) {
        columns.push((name, Arc::new(Float64Array::from(values))));
    }
    RecordBatch::try_from_iter(columns).expect("columns of equal length")
}

/// Six flights of every third hour by day of 2013 in the layout of nycflights13: who flies, where to and when it is decides
/// the delay, about a thirtieth are cancelled.
#[must_use]
pub fn flights(seed: u64) -> RecordBatch {
    let mut random = stream(seed, "flights");
    let first = NaiveDate::from_ymd_opt(2013, 1, 1).expect("a date");
    let mut integers: [Vec<Option<i64>>; FLIGHT_INTEGERS.len()] = Default::default();
    let mut texts: [Vec<Option<String>>; FLIGHT_TEXTS.len()] = Default::default();
    for day in 0..365_u64 {
        let date = first.checked_add_days(Days::new(day)).expect("a date");
        // Storms come and go, and strike everybody.
        let storm = (day as f64 / 5.0).sin().max(0.0) * 20.0;
        for hour in [6, 9, 12, 15, 18, 21] {
            for _ in 0..6 {
                let (row, names) = draw_flight(&mut random, date, hour, storm);
                integers.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
                texts.iter_mut().zip(names).for_each(|(column, value)| column.push(value));
            }
        }
    }
    let integers = FLIGHT_INTEGERS.into_iter().zip(integers);
    let mut columns: Vec<(&str, ArrayRef)> =
        integers.map(|(name, values)| (name, Arc::new(Int64Array::from(values)) as ArrayRef)).collect();
    let texts = FLIGHT_TEXTS.into_iter().zip(texts);
    columns.extend(texts.map(|(name, values)| (name, Arc::new(StringArray::from(values)) as ArrayRef)));
    RecordBatch::try_from_iter(columns).expect("columns of equal length")
}

const FLIGHT_INTEGERS: [&str; 15] = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "flight",
    "air_time",
    "distance",
    "hour",
    "minute",
    "time_hour",
];
const FLIGHT_TEXTS: [&str; 4] = ["carrier", "tailnum", "origin", "dest"];

/// The values of one flight, in the order of the names above.
fn draw_flight(
    random: &mut Random,
    date: NaiveDate,
    hour: i64,
    storm: f64,
) -> ([Option<i64>; 15], [Option<String>; 4]) {
    let carrier = pick(&[0.3, 0.3, 0.2, 0.2], random);
    let dest = pick(&[0.25; 4], random);
    let origin = pick(&[0.4, 0.3, 0.3], random);
    let minute = random.random_range(0..60_i64);
    let mean = 4.0 * (hour - 6) as f64 + storm + [-15.0, 0.0, 10.0, 35.0][carrier] + [-10.0, 0.0, 0.0, 20.0][dest];
    let delay = (mean + 30.0 * normal(random)).round() as i64;
    let cancelled = random.random_bool(0.03);
    let known = |value: i64| (!cancelled).then_some(value);
    let clock = |minutes: i64| minutes.rem_euclid(1_440) / 60 * 100 + minutes.rem_euclid(60);
    let (departs, air_time) = (60 * hour + minute, [60, 120, 150, 330][dest]);
    let arrives = departs + air_time + 20;
    // New York was five hours behind UTC, summer time left out.
    let midnight = date.and_hms_opt(5, 0, 0).expect("a time").and_utc().timestamp();
    let plane = random.random_range(100..160_i64);
    let numbers = [
        Some(i64::from(date.year())),
        Some(i64::from(date.month())),
        Some(i64::from(date.day())),
        known(clock(departs + delay / 2)),
        Some(clock(departs)),
        known(delay / 2),
        known(clock(arrives + delay)),
        Some(clock(arrives)),
        known(delay),
        Some(random.random_range(1..3_000)),
        known(air_time),
        Some([200, 760, 1_030, 2_480][dest]),
        Some(hour),
        Some(minute),
        Some(midnight + 3_600 * hour),
    ];
    let name = |names: &[&str], at: usize| Some(names[at].to_owned());
    let texts = [
        name(&["DL", "UA", "B6", "EV"], carrier),
        Some(format!("N{plane}{carrier}")),
        name(&["EWR", "JFK", "LGA"], origin),
        name(&["BOS", "ATL", "MIA", "LAX"], dest),
    ];
    (numbers, texts)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn tables_repeat_and_have_both_classes_and_growth() {
        assert_eq!(people(200, 1), people(200, 1));
        assert_ne!(people(200, 1), people(200, 2));
        let table = people(3_000, 1);
        let income = table.column_by_name("income").expect("a column").as_string::<i32>();
        let rich = income.iter().filter(|value| *value == Some(">50K")).count();
        assert!((300..1_500).contains(&rich), "{rich} of 3,000");
        let table = hours(1);
        let counts = table.column_by_name("cnt").expect("a column").as_primitive::<Int64Type>();
        let sum = |rows: std::ops::Range<usize>| rows.map(|row| counts.value(row)).sum::<i64>();
        assert!(sum(1_462..2_924) as f64 > 1.2 * sum(0..1_462) as f64, "demand grows");
        assert_eq!(flights(1), flights(1));
        let table = flights(1);
        let column = |name: &str| table.column_by_name(name).expect("a column").as_primitive::<Int64Type>().clone();
        let (delays, hours) = (column("arr_delay"), column("hour"));
        let of_hour = |wanted: i64| (0..table.num_rows()).filter(move |row| hours.value(*row) == wanted);
        let late =
            |hour: i64| of_hour.clone()(hour).filter(|row| !delays.is_null(*row) && delays.value(*row) > 15).count();
        assert!(2 * late(21) > 3 * late(6), "{} evenings and {} mornings are late", late(21), late(6));
        assert!((300..500).contains(&delays.null_count()), "{} are cancelled", delays.null_count());
    }
}
