//! A synthetic table for classification and regression with known truth.
//!
//! Rows are loan applications over two years. Each has numbers, text and missing values, a yes/no outcome and an amount, and
//! behind them the probability and the mean that no model can beat given the row. It contains on purpose:
//!
//! - an **interaction**: income speaks for an applicant with a secured loan and against one with an unsecured;
//! - **missing values that mean something**: an unknown age has an effect of its own;
//! - a **leak**: `reminder_letters` is counted after the outcome and all but tells it;
//! - **drift**: from two thirds of the time on ([`TabularSpec::drift_at_s`]) incomes are higher and the online channel, rare
//!   before, becomes common and riskier;
//! - a column of pure noise, and a text column with a rare category that appears only after the drift.
//!
//! ```
//! use paceline_testkit::tabular::{Tabular, TabularSpec};
//!
//! let world = Tabular::generate(&TabularSpec { rows: 500, seed: 7 });
//! assert_eq!(world.table().num_rows(), 500);
//! assert!(world.rows().iter().all(|row| (0.0..1.0).contains(&row.probability)));
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use paceline_core::random::{Random, stream};
use rand::RngExt;

use crate::sampling::{normal, pick};

/// 2020-01-01 in seconds since 1970, and the length of the table.
const START_S: i64 = 1_577_836_800;
const SPAN_S: i64 = 730 * 86_400;

const CITIES: [(&str, f64, f64); 6] = [
    ("Ashford", 0.3, 0.0),
    ("Brackwell", 0.25, 0.5),
    ("Castle Hill", 0.2, -0.6),
    ("Dunmere", 0.15, 0.9),
    ("Eastbay", 0.08, -1.0),
    ("Flint & Co", 0.02, 0.3),
];

/// Standard deviation of `amount` around its mean.
pub const AMOUNT_NOISE: f64 = 2.0;

/// What to generate; equal specs give equal tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TabularSpec {
    /// Number of rows.
    pub rows: usize,
    /// Decides every draw.
    pub seed: u64,
}

impl TabularSpec {
    /// 6,000 rows.
    #[must_use]
    pub fn small() -> Self {
        TabularSpec { rows: 6_000, seed: 1 }
    }

    /// From when on the drift holds, seconds since 1970.
    #[must_use]
    pub fn drift_at_s(&self) -> i64 {
        START_S + SPAN_S / 3 * 2
    }
}

/// One row and the truth behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct TabularRow {
    /// Event time, seconds since 1970.
    pub time_s: i64,
    /// Thousands a year; null in about 5 % of the rows, at random.
    pub income: Option<f64>,
    /// Years; null in about 12 % of the rows, and then the risk is higher.
    pub age: Option<f64>,
    /// Number of earlier contracts.
    pub contracts: i32,
    /// Where the applicant lives.
    pub city: &'static str,
    /// `secured` or `unsecured`.
    pub plan: &'static str,
    /// `branch`, `phone` or `online`; null in about 3 % of the rows.
    pub channel: Option<&'static str>,
    /// Says nothing.
    pub noise: f64,
    /// The leak: letters sent after the outcome.
    pub reminder_letters: i32,
    /// The label for classification: 1 for a default.
    pub outcome: i32,
    /// The label for regression: normal around [`TabularRow::amount_mean`] with [`AMOUNT_NOISE`].
    pub amount: f64,
    /// Truth: probability of `outcome == 1` given every column but the leak and the labels.
    pub probability: f64,
    /// Truth: mean of `amount` given the same.
    pub amount_mean: f64,
}

/// A generated table.
#[derive(Debug, Clone)]
pub struct Tabular {
    rows: Vec<TabularRow>,
}

impl Tabular {
    /// Draws the rows, in order of time.
    #[must_use]
    pub fn generate(spec: &TabularSpec) -> Self {
        let mut random = stream(spec.seed, "tabular rows");
        let mut times: Vec<i64> = (0..spec.rows).map(|_| START_S + random.random_range(0..SPAN_S)).collect();
        times.sort_unstable();
        let rows = times.into_iter().map(|time_s| draw_row(time_s, time_s >= spec.drift_at_s(), &mut random)).collect();
        Tabular { rows }
    }

    /// Rows with their truth, in order of time.
    #[must_use]
    pub fn rows(&self) -> &[TabularRow] {
        &self.rows
    }

    /// What a pipeline sees: all columns but the truth. `id` numbers the rows.
    #[must_use]
    pub fn table(&self) -> RecordBatch {
        let rows = &self.rows;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.time_s))),
            Arc::new(rows.iter().map(|row| row.income).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.age).collect::<Float64Array>()),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.contracts))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.city))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.plan))),
            Arc::new(rows.iter().map(|row| row.channel).collect::<StringArray>()),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.noise))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.reminder_letters))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.outcome))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.amount))),
        ];
        RecordBatch::try_new(tabular_schema(), columns).expect("columns made for this schema")
    }
}

/// The columns of [`Tabular::table`].
#[must_use]
pub fn tabular_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable: bool| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64, false),
        field("time", DataType::Int64, false),
        field("income", DataType::Float64, true),
        field("age", DataType::Float64, true),
        field("contracts", DataType::Int32, false),
        field("city", DataType::Utf8, false),
        field("plan", DataType::Utf8, false),
        field("channel", DataType::Utf8, true),
        field("noise", DataType::Float64, false),
        field("reminder_letters", DataType::Int32, false),
        field("outcome", DataType::Int32, false),
        field("amount", DataType::Float64, false),
    ]))
}

fn draw_row(time_s: i64, drifted: bool, random: &mut Random) -> TabularRow {
    let income_full = (3.4 + if drifted { 0.35 } else { 0.0 } + 0.4 * normal(random)).exp();
    let income = (!random.random_bool(0.05)).then_some(income_full);
    let age = (!random.random_bool(0.12)).then(|| (42.0 + 13.0 * normal(random)).clamp(18.0, 90.0).round());
    let contracts = (2.5 * random.random::<f64>().powi(2) * 3.0) as i32;
    // The last city opens with the drift.
    let open = if drifted { CITIES.len() } else { CITIES.len() - 1 };
    let (city, _, city_effect) = CITIES[pick(&CITIES.map(|(_, share, _)| share)[..open], random)];
    let plan = if random.random_bool(0.5) { "secured" } else { "unsecured" };
    let online = if drifted { 0.5 } else { 0.15 };
    let channel_full = ["branch", "phone", "online"][pick(&[0.85 - online, 0.15, online], random)];
    let channel = (!random.random_bool(0.03)).then_some(channel_full);

    // Every term reads observed values only, so that the probability is what the best model could say of the row.
    let income_term = income.map_or(0.0, |income| 1.4 * (income.ln() - 3.4) / 0.4);
    let interaction = if plan == "secured" { -income_term } else { income_term };
    let age_term = age.map_or(0.8, |age| ((age - 42.0) / 18.0).powi(2) * 0.6 - 0.3);
    let channel_term = match channel {
        Some("online") if drifted => 1.1,
        Some("phone") => -0.4,
        Some(_) | None => 0.0,
    };
    let logit = -1.1 + interaction + age_term + city_effect + channel_term - 0.25 * f64::from(contracts.min(4));
    let probability = 1.0 / (1.0 + (-logit).exp());
    let outcome = i32::from(random.random_bool(probability));
    let amount_mean =
        10.0 + 3.0 * (interaction / 1.4) + 2.0 * city_effect - f64::from(contracts.min(4)) + 2.0 * channel_term;
    let reminder_letters = if outcome == 1 { random.random_range(1..=4) } else { i32::from(random.random_bool(0.03)) };
    TabularRow {
        time_s,
        income,
        age,
        contracts,
        city,
        plan,
        channel,
        noise: normal(random),
        reminder_letters,
        outcome,
        amount: amount_mean + AMOUNT_NOISE * normal(random),
        probability,
        amount_mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> Tabular {
        Tabular::generate(&TabularSpec { rows: 20_000, ..TabularSpec::small() })
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        sum / count
    }

    /// Area under the ROC curve by counting every pair.
    fn auc(rows: &[TabularRow], score: impl Fn(&TabularRow) -> f64) -> f64 {
        let (yes, no): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.outcome == 1);
        let wins: f64 = yes
            .iter()
            .flat_map(|a| no.iter().map(|b| (score(a), score(b))))
            .map(|(a, b)| {
                if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                }
            })
            .sum();
        wins / (yes.len() * no.len()) as f64
    }

    #[test]
    fn equal_specs_give_equal_tables() {
        let table = |seed| Tabular::generate(&TabularSpec { rows: 300, seed }).table();
        assert_eq!(table(1), table(1));
        assert_ne!(table(1), table(2));
        assert_eq!(table(1).schema(), tabular_schema());
    }

    /// In ten bands of the true probability, the share of outcomes agrees within four standard errors.
    #[test]
    fn the_probability_is_the_truth() {
        let world = world();
        for band in 0..10 {
            let inside = |row: &&TabularRow| (row.probability * 10.0) as usize == band;
            let rows: Vec<_> = world.rows().iter().filter(inside).collect();
            let expected = mean(rows.iter().map(|row| row.probability));
            let drawn = mean(rows.iter().map(|row| f64::from(row.outcome)));
            let error = (expected * (1.0 - expected) / rows.len() as f64).sqrt();
            assert!(rows.len() > 100 && (drawn - expected).abs() < 4.0 * error, "band {band}: {drawn} for {expected}");
        }
        let noise = mean(world.rows().iter().map(|row| (row.amount - row.amount_mean).powi(2))).sqrt();
        assert!((noise - AMOUNT_NOISE).abs() < 0.05, "noise of the amount is {noise}");
    }

    #[test]
    fn income_matters_only_together_with_the_plan() {
        let world = world();
        let rows = &world.rows()[..6_000];
        let income = |row: &TabularRow| row.income.unwrap_or(30.0);
        let of_plan = |plan| rows.iter().filter(|row| row.plan == plan).cloned().collect::<Vec<_>>();
        let (all, secured, unsecured) =
            (auc(rows, income), auc(&of_plan("secured"), income), auc(&of_plan("unsecured"), income));
        assert!((all - 0.5).abs() < 0.03 && secured < 0.3 && unsecured > 0.7, "{all} {secured} {unsecured}");
    }

    #[test]
    fn the_leak_beats_the_truth_and_noise_says_nothing() {
        let world = world();
        let rows = &world.rows()[..6_000];
        let best = auc(rows, |row| row.probability);
        let leak = auc(rows, |row| f64::from(row.reminder_letters));
        let noise = auc(rows, |row| row.noise);
        assert!((0.78..0.95).contains(&best), "the best attainable AUC is {best}");
        assert!(leak > best + 0.05 && leak > 0.97, "leak {leak}, truth {best}");
        assert!((noise - 0.5).abs() < 0.03, "noise {noise}");
    }

    #[test]
    fn missing_values_mean_something_and_the_world_drifts() {
        let world = world();
        let share = |rows: &[&TabularRow], what: fn(&TabularRow) -> bool| {
            mean(rows.iter().map(|row| f64::from(u8::from(what(row)))))
        };
        let (unknown, known): (Vec<_>, Vec<_>) = world.rows().iter().partition(|row| row.age.is_none());
        let default = |row: &TabularRow| row.outcome == 1;
        assert!(share(&unknown, default) > share(&known, default) + 0.08);

        let drift_at_s = TabularSpec::small().drift_at_s();
        let (before, after): (Vec<_>, Vec<_>) = world.rows().iter().partition(|row| row.time_s < drift_at_s);
        let online = |row: &TabularRow| row.channel == Some("online");
        assert!(share(&after, online) > share(&before, online) + 0.25);
        assert_eq!(share(&before, |row| row.city == "Flint & Co"), 0.0);
        assert!(share(&after, |row| row.city == "Flint & Co") > 0.005);
        let risk_online =
            |rows: &[&TabularRow]| mean(rows.iter().filter(|row| online(row)).map(|row| f64::from(row.outcome)));
        assert!(risk_online(&after) > risk_online(&before) + 0.1, "the online channel becomes riskier");
    }
}
