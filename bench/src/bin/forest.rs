//! One row and 64 rows of a forest: ours against LightGBM's own fastest calls, on one thread.
//!
//! Both score the same rows; results are compared to the bit before anything is timed. Rounds are interleaved, so that a busy
//! neighbour hurts both, and medians are shown.
#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::hint::black_box;
use std::time::Instant;

use paceline_core::{Rows, Scorer};
use paceline_lightgbm::{Booster, Dataset, DatasetSpec, Library, Output, Parameters, Search, SingleRow, TrainSpec};
use paceline_models::forest::Forest;

const COLUMNS: usize = 27;
const TRAINING_ROWS: usize = 20_000;
/// Scored one after the other, so that branch predictors cannot learn a row by heart.
const SCORED_ROWS: usize = 64 * 32;
const BLOCK_ROWS: usize = 64;
const ROUNDS: usize = 31;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let library = Search {
        environment: std::env::var_os("PACELINE_LIGHTGBM").map(Into::into),
        project: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/..").into()),
        ..Search::default()
    }
    .open()?;
    println!("forest         rows  paceline us/row  lightgbm us/row  ratio  (medians of {ROUNDS} interleaved rounds)");
    for (trees, leaves) in [(100, 31), (500, 63)] {
        let booster = train(&library, trees, leaves)?;
        let forest = Forest::from_lightgbm(&booster.to_text()?)?;
        let (values, _) = table(2, SCORED_ROWS);
        check(&forest, &booster, &values)?;
        let mut single = booster.single_row(Output::Normal)?;
        for row_count in [1, BLOCK_ROWS] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                ours.push(time(|| ours_pass(&forest, &values, row_count)));
                theirs.push(time(|| theirs_pass(&booster, &mut single, &values, row_count)));
            }
            let (ours, theirs) = (median(ours), median(theirs));
            println!("{trees:>4} x {leaves:<4} {row_count:>8}  {ours:>15.3}  {theirs:>15.3}  {:>5.1}", theirs / ours);
        }
        println!(
            "            compiled: {} KiB; compiling takes {:.1} ms",
            forest.bytes() / 1024,
            compile_ms(&booster)?
        );
    }
    Ok(())
}

fn ours_pass(forest: &Forest, values: &[f64], row_count: usize) {
    let mut scores = [0.0; BLOCK_ROWS];
    for rows in values.chunks_exact(row_count * COLUMNS) {
        forest.score(Rows::new(rows, COLUMNS), &mut scores[..row_count]);
        black_box(&scores);
    }
}

fn theirs_pass(booster: &Booster, single: &mut SingleRow<'_>, values: &[f64], row_count: usize) {
    for rows in values.chunks_exact(row_count * COLUMNS) {
        if row_count == 1 {
            black_box(single.predict(rows).expect("it was checked before"));
        } else {
            black_box(booster.predict(rows, Output::Normal).expect("it was checked before"));
        }
    }
}

/// Microseconds per scored row.
fn time(pass: impl FnOnce()) -> f64 {
    let start = Instant::now();
    pass();
    start.elapsed().as_secs_f64() * 1e6 / SCORED_ROWS as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compile_ms(booster: &Booster) -> Result<f64, Box<dyn std::error::Error>> {
    let text = booster.to_text()?;
    let start = Instant::now();
    black_box(Forest::from_lightgbm(&text)?);
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn check(forest: &Forest, booster: &Booster, values: &[f64]) -> Result<(), Box<dyn std::error::Error>> {
    let mut raw = vec![0.0; SCORED_ROWS];
    forest.score_raw(Rows::new(values, COLUMNS), &mut raw);
    let expected = booster.predict(values, Output::Raw)?;
    assert!(raw.iter().zip(&expected).all(|(ours, theirs)| ours.to_bits() == theirs.to_bits()), "scores differ");
    Ok(())
}

fn train(library: &Library, trees: usize, leaves: usize) -> Result<Booster, Box<dyn std::error::Error>> {
    let (values, labels) = table(1, TRAINING_ROWS);
    let parameters = Parameters::seeded(1).with("objective", "binary").with("num_leaves", leaves as i64);
    let spec = DatasetSpec { labels: &labels, ..DatasetSpec::default() };
    let data = Dataset::new(library, &values, COLUMNS, &spec, &parameters)?;
    Ok(Booster::train(&parameters, &data, &TrainSpec { rounds: trees, validation: None })?)
}

/// Numbers, counts and missing values, and noisy labels that depend on some of them, so that the trees keep growing.
fn table(seed: u64, row_count: usize) -> (Vec<f64>, Vec<f32>) {
    let mut state = seed;
    // Splitmix64, as a number from 0 to 1.
    let mut draw = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut values = Vec::with_capacity(row_count * COLUMNS);
    let mut labels = Vec::with_capacity(row_count);
    for _ in 0..row_count {
        let first = values.len();
        for column in 0..COLUMNS {
            let value = match column % 3 {
                0 => draw() * 10.0,
                1 => (draw() * draw() * 20.0).floor(),
                _ if draw() < 0.2 => f64::NAN,
                _ => draw() - 0.5,
            };
            values.push(value);
        }
        let row = &values[first..];
        let missing = if row[2].is_nan() { 1.0 } else { row[2] };
        let signal = (row[0] - 5.0) * missing + (row[1] - row[4]) * 0.3 + row[3].sin() * 2.0;
        labels.push(if signal + (draw() - 0.5) * 4.0 > 0.0 { 1.0 } else { 0.0 });
    }
    (values, labels)
}
