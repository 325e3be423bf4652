//! CPU seconds of training factors and a network, and the latency of scoring one row.
//!
//! `cargo run --release -p paceline-bench --bin learn`: synthetic data of the size of a retail year (5,800 users, 4,600
//! items, 480,000 pairs), one thread.

use std::io::{self, Write};
use std::time::Instant;

use paceline_core::metrics::{Bootstrap, Measured, RankingKind, RowMetric, ScoredRows, Units};
use paceline_core::random::{self, Random};
use paceline_core::{Rows, Scorer};
use paceline_learn::{AlsSpec, Interaction, Interactions, NetworkSpec, TrainingRows, fit_als, fit_network};
use paceline_models::network::Network;
use rand::RngExt;

const SEED: u64 = 1;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    factors(&mut out)?;
    let network = network(&mut out)?;
    latency(&mut out, &network)?;
    bootstrap(&mut out)
}

/// CPU seconds of this thread and wall seconds that `work` took, and what it gave.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, f64, T) {
    let cpu = || {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
    };
    let (cpu_start, start) = (cpu(), Instant::now());
    let result = work();
    (cpu() - cpu_start, start.elapsed().as_secs_f64(), result)
}

fn factors(out: &mut impl Write) -> io::Result<()> {
    let (users, items, pairs) = (5_800, 4_600, 480_000);
    let mut random = random::stream(SEED, "interactions");
    // Squares of uniforms make some users and items much busier than others, as in a shop.
    let mut skewed = |count: u32| (random.random::<f64>().powi(2) * f64::from(count)) as u32;
    let entries: Vec<Interaction> =
        (0..pairs).map(|_| Interaction { user: skewed(users), item: skewed(items), weight: 1.0 }).collect();
    let interactions = Interactions::new(users as usize, items as usize, &entries).expect("in range");
    let (cpu, wall, factors) =
        timed(|| fit_als(&interactions, &AlsSpec::default(), 1).expect("there are interactions"));
    writeln!(out, "als, {} pairs, 64 dimensions, 10 sweeps: {cpu:.2} CPU s, {wall:.2} wall s", interactions.len())?;

    let (items, weights) = interactions.of_user(100);
    let known: Vec<(u32, f32)> = items.iter().copied().zip(weights.iter().copied()).collect();
    let times = 1_000;
    let (cpu, _, _) = timed(|| (0..times).map(|_| factors.fold_in(&known)[0]).sum::<f32>());
    writeln!(out, "fold in a user of {} items: {:.1} us", known.len(), cpu / f64::from(times) * 1e6)
}

/// Features uniform on -1 to 1; labels from products and a sine of some of them.
fn table(rows: usize, columns: usize, random: &mut Random) -> (Vec<f64>, Vec<f32>) {
    let features: Vec<f64> = (0..rows * columns).map(|_| 2.0 * random.random::<f64>() - 1.0).collect();
    let label = |x: &[f64]| {
        let z = 2.0 * x[0] - x[1] + 3.0 * x[2] * x[3] + (4.0 * x[4]).sin();
        f32::from(u8::from(random.random::<f64>() < 1.0 / (1.0 + (-z).exp())))
    };
    let labels = features.chunks_exact(columns).map(label).collect();
    (features, labels)
}

fn network(out: &mut impl Write) -> io::Result<Network> {
    let (rows, columns) = (200_000, 40);
    let (features, labels) = table(rows, columns, &mut random::stream(SEED, "table"));
    let training = TrainingRows::new(Rows::new(&features, columns), &labels, None).expect("finite");
    let spec = NetworkSpec { hidden: vec![32, 16], epochs_max: 5, ..NetworkSpec::default() };
    let (cpu, wall, fit) = timed(|| fit_network(training, None, &spec).expect("trains"));
    writeln!(out, "network {columns}-32-16, {rows} rows, batch 256, 5 epochs: {cpu:.2} CPU s, {wall:.2} wall s")?;

    let (features, labels) = table(20_000, columns, &mut random::stream(SEED, "test"));
    let mut scores = vec![0.0; labels.len()];
    fit.network.score(Rows::new(&features, columns), &mut scores);
    let rows = ScoredRows::new(&scores, &labels, None).expect("finite");
    let measured = Measured::rows(RowMetric::Auc, rows, &Units::each(rows.len())).expect("both classes");
    let (cpu, _, auc) = timed(|| Bootstrap::default().interval(&measured).expect("both classes"));
    writeln!(
        out,
        "its auc on 20,000 new rows: {:.4} [{:.4}, {:.4}], interval in {cpu:.2} CPU s",
        auc.value, auc.low, auc.high
    )?;
    Ok(fit.network)
}

fn latency(out: &mut impl Write, network: &Network) -> io::Result<()> {
    let columns = network.column_count();
    let (features, _) = table(4_096, columns, &mut random::stream(SEED, "latency"));
    for batch in [1, 8, 64, 256] {
        let mut scores = vec![0.0; batch];
        let rounds = 20;
        let (cpu, _, _) = timed(|| {
            for _ in 0..rounds {
                for rows in features.chunks_exact(batch * columns) {
                    network.score(Rows::new(rows, columns), &mut scores);
                    std::hint::black_box(&scores);
                }
            }
        });
        writeln!(out, "network at batch {batch}: {:.3} us a row", cpu / (rounds * 4_096) as f64 * 1e6)?;
    }
    Ok(())
}

fn bootstrap(out: &mut impl Write) -> io::Result<()> {
    let mut random = random::stream(SEED, "users");
    let values: Vec<f64> = (0..1_047).map(|_| random.random::<f64>()).collect();
    let k = std::num::NonZeroUsize::new(10).expect("above 0");
    let units = Units::each(values.len());
    let measured = Measured::ranking(RankingKind::Ndcg.at(k), &values, &units).expect("values between 0 and 1");
    let (cpu, _, _) = timed(|| Bootstrap::default().retention(&measured, &measured).expect("positive"));
    writeln!(out, "retention of 1,047 users, 2,000 replicates: {cpu:.3} CPU s")
}
