//! CPU microseconds of each part of the candidate stage, and how many later purchases its candidates hold.
//!
//! `cargo run --release -p paceline-bench --bin recommend [TRANSACTIONS.parquet]`: the sales of Online Retail II as of
//! September 2011, in the layout of examples/retail; without a file, purchases of the same size drawn at random, whose
//! quality means nothing. One thread; users are those who buy something new in September.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use paceline_core::metrics::{RankingKind, ranking};
use paceline_core::{Period, Timestamp, random};
use paceline_learn::recommend::{
    AlsoBoughtSpec, BoughtNextSpec, BoughtTogetherSpec, Outcomes, Purchase, Purchases, SimilarUsersSpec,
    fit_also_bought, fit_bought_next, fit_bought_together, fit_similar_users,
};
use paceline_learn::{AlsSpec, Interaction, Interactions, fit_als};
use paceline_models::recommend::{CandidateCounts, CandidateScore, Retriever, Scratch, UserState};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::RngExt as _;

fn main() -> Result<(), Box<dyn Error>> {
    let purchases = match std::env::args().nth(1) {
        Some(path) => read(&path)?,
        None => drawn(),
    };
    let cut: Timestamp = "2011-09-01".parse()?;
    let until: Timestamp = "2011-10-01".parse()?;
    let outcomes = Outcomes::at(&purchases, cut, until, 5, true);
    let (retriever, factors) = fit(&purchases, cut)?;
    let states: Vec<UserState> = outcomes
        .users
        .iter()
        .map(|outcome| UserState {
            factors: factors.user(outcome.user).to_vec(),
            ..purchases.state_at(outcome.user, cut)
        })
        .collect();
    let mut out = io::stdout().lock();
    let mut owned: Vec<usize> = states.iter().map(|state| state.history.len()).collect();
    owned.sort_unstable();
    writeln!(
        out,
        "{} items, {} users who buy something new; items they own: median {}, p99 {}",
        purchases.item_count(),
        states.len(),
        owned[owned.len() / 2],
        owned[owned.len() * 99 / 100]
    )?;
    report(&mut out, &retriever, &states, &outcomes, cut)
}

/// The sales of the file, numbered in the order of its keys; as `where` of examples/retail has them.
fn read(path: &str) -> Result<Purchases, Box<dyn Error>> {
    let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let (mut users, mut items) = (Numbers::default(), Numbers::default());
    let mut rows = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("{path}: no column {name}"));
        let as_type = |name: &str, kind| Ok::<_, Box<dyn Error>>(cast(column(name)?, &kind)?);
        let (user, quantity) = (as_type("user_id", DataType::Int64)?, as_type("quantity", DataType::Int64)?);
        let (time, price) = (as_type("timestamp", DataType::Int64)?, as_type("price", DataType::Float64)?);
        let item = as_type("item_id", DataType::Utf8)?;
        let integers = |array: &dyn Array, row| array.as_primitive::<Int64Type>().value(row);
        for row in (0..batch.num_rows()).filter(|&row| user.is_valid(row) && item.is_valid(row)) {
            let key = item.as_string::<i32>().value(row);
            let product = key.len() >= 5 && key.bytes().take(5).all(|byte| byte.is_ascii_digit());
            if product && integers(&quantity, row) > 0 && price.as_primitive::<Float64Type>().value(row) > 0.0 {
                let time = Timestamp::from_seconds(integers(&time, row));
                let user = users.of(&integers(&user, row).to_string());
                rows.push(Purchase { user, item: items.of(key), time, known: time });
            }
        }
    }
    Ok(Purchases::new(rows, users.0.len(), items.0.len()))
}

#[derive(Default)]
struct Numbers(HashMap<String, u32>);

impl Numbers {
    fn of(&mut self, key: &str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(key.to_owned()).or_insert(next)
    }
}

/// Squares of uniforms make some users and items much busier than others; a basket has 20 items.
fn drawn() -> Purchases {
    let (users, items, baskets) = (5_800, 4_600, 36_000);
    let mut random = random::stream(1, "purchases");
    let mut rows = Vec::new();
    for _ in 0..baskets {
        let user = (random.random::<f64>().powi(3) * f64::from(users)) as u32;
        let time = Timestamp::from_seconds(1_259_625_600 + (random.random::<f64>() * 58e6) as i64);
        for _ in 0..20 {
            let item = (random.random::<f64>().powi(2) * f64::from(items)) as u32;
            rows.push(Purchase { user, item, time, known: time });
        }
    }
    Purchases::new(rows, users as usize, items as usize)
}

/// The candidate stage as of `cut`, with the weights that `paceline run` gives it.
fn fit(purchases: &Purchases, cut: Timestamp) -> Result<(Retriever, paceline_models::Factors), Box<dyn Error>> {
    let mut entries = Vec::new();
    for user in 0..purchases.user_count() as u32 {
        entries.extend(purchases.known(user, cut).map(|row| {
            let weight = (-cut.seconds_since(row.time) / 86_400.0 / 30.0).exp2().max(1e-6) as f32;
            Interaction { user, item: row.item, weight }
        }));
    }
    let interactions = Interactions::new(purchases.user_count(), purchases.item_count(), &entries)?;
    let factors = fit_als(&interactions, &AlsSpec { sweeps: 6, ..AlsSpec::default() }, 2)?;
    let counts = |users: Vec<u32>| users.into_iter().map(|count| count as f32).collect();
    let retriever = Retriever {
        item_factors: factors.items().to_vec(),
        dimensions: factors.dimensions(),
        bought_next: fit_bought_next(purchases, cut, &BoughtNextSpec::default()),
        bought_together: fit_bought_together(purchases, cut, &BoughtTogetherSpec::default()),
        also_bought: fit_also_bought(purchases, cut, &AlsoBoughtSpec::default()),
        similar_users: fit_similar_users(purchases, cut, &SimilarUsersSpec::default()),
        groups: Vec::new(),
        popularity: counts(purchases.buyers_at(cut, Period::days(7))),
        first_buyers: counts(purchases.first_buyers_at(cut, Period::days(30))),
        available: purchases.items_known_at(cut),
        half_life_days: 90.0,
        taste_half_life_days: 180.0,
    };
    Ok((retriever, factors))
}

fn report(
    out: &mut impl Write,
    retriever: &Retriever,
    states: &[UserState],
    outcomes: &Outcomes,
    cut: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let nothing = || Retriever {
        popularity: retriever.popularity.clone(),
        first_buyers: retriever.first_buyers.clone(),
        available: retriever.available.clone(),
        half_life_days: retriever.half_life_days,
        taste_half_life_days: retriever.taste_half_life_days,
        ..Retriever::default()
    };
    let parts = [
        ("all scores", retriever.clone()),
        ("popularity alone", nothing()),
        (
            "factors alone",
            Retriever { item_factors: retriever.item_factors.clone(), dimensions: retriever.dimensions, ..nothing() },
        ),
        (
            "item-item tables alone",
            Retriever {
                bought_next: retriever.bought_next.clone(),
                bought_together: retriever.bought_together.clone(),
                also_bought: retriever.also_bought.clone(),
                ..nothing()
            },
        ),
        ("similar users alone", Retriever { similar_users: retriever.similar_users.clone(), ..nothing() }),
    ];
    let mut scratch = Scratch::default();
    for (name, part) in &parts {
        percentiles(out, name, states, |state| part.score(state, cut, true, &[], &mut scratch))?;
    }
    let mut candidates = Vec::new();
    for each in [75, 37] {
        let counts = CandidateCounts { als: each, item_item: 0, last_basket: 0, similar_users: each, popular: each };
        percentiles(out, &format!("all scores and 3 x {each} candidates"), states, |state| {
            retriever.score(state, cut, true, &[], &mut scratch);
            retriever.candidates(&counts, &mut scratch, &mut candidates);
        })?;
        let (mut found, mut bought) = (0.0, 0.0);
        for (state, outcome) in states.iter().zip(&outcomes.users) {
            retriever.score(state, cut, true, &[], &mut scratch);
            retriever.candidates(&counts, &mut scratch, &mut candidates);
            found += candidates.iter().filter(|item| outcome.relevant.binary_search(item).is_ok()).count() as f64;
            bought += outcome.relevant.len() as f64;
        }
        writeln!(out, "  they hold {:.2} % of what is bought", 100.0 * found / bought)?;
    }
    let metric = RankingKind::Ndcg.at(NonZeroUsize::new(10).expect("not 0"));
    for score in CandidateScore::ALL {
        let mut sum = 0.0;
        for (state, outcome) in states.iter().zip(&outcomes.users) {
            retriever.score(state, cut, true, &[], &mut scratch);
            let scores = scratch.scores(score);
            let mut items: Vec<u32> = (0..scores.len() as u32).filter(|&item| !scratch.is_blocked(item)).collect();
            items.sort_unstable_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
            let relevant: Vec<bool> =
                items.iter().take(10).map(|item| outcome.relevant.binary_search(item).is_ok()).collect();
            sum += ranking::user_value(metric, &relevant, outcome.relevant.len())?;
        }
        writeln!(out, "{}: NDCG@10 by itself {:.4}", score.name(), sum / states.len() as f64)?;
    }
    Ok(())
}

/// Every user once, five rounds; the median of each user's rounds, then percentiles over users.
fn percentiles(
    out: &mut impl Write,
    name: &str,
    states: &[UserState],
    mut work: impl FnMut(&UserState),
) -> io::Result<()> {
    const ROUNDS: usize = 5;
    let mut rounds = vec![[0.0; ROUNDS]; states.len()];
    for round in 0..ROUNDS {
        for (state, times) in states.iter().zip(&mut rounds) {
            let start = cpu_us();
            work(state);
            times[round] = cpu_us() - start;
        }
    }
    let mut medians: Vec<f64> = rounds
        .into_iter()
        .map(|mut times| {
            times.sort_unstable_by(f64::total_cmp);
            times[ROUNDS / 2]
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| medians[(medians.len() as f64 * share) as usize];
    writeln!(out, "{name}: {:.0} us p50, {:.0} us p99", at(0.5), at(0.99))
}

fn cpu_us() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    used.tv_sec as f64 * 1e6 + used.tv_nsec as f64 / 1e3
}
