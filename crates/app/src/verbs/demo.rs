//! `paceline demo`: the case study on a shop that is generated here, or on the reader's own data.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use paceline_testkit::shop::{FILE_NAME, Shop, ShopSpec};

use super::{Outcome, run};
use crate::messages::Terminal;
use crate::pipeline;
use crate::report::Latency;
use crate::serving;
use crate::stores::{self, without_password};

/// The pipeline of the demo is the retail example, so that what the demo shows is what a reader can edit.
const PIPELINE: &str = include_str!("../../../../examples/retail/pipeline.toml");

/// Timed requests of the demo's server.
const HTTP_REQUESTS: usize = 2_000;

/// Generate a synthetic shop (or take --data), train, search for the cheapest pipeline that holds the budget,
/// serve it to real HTTP requests, and end with the measured ladder.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder with `transactions.parquet` in the layout of Online Retail II, instead of the synthetic shop.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder for the pipeline file, the generated data and `report.html`; it is made when missing.
    #[arg(long, default_value = "out/demo")]
    out: PathBuf,
    /// Time precomputed lists in this store too: redis://[user:password@]host:port[/database].
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Decides the synthetic shop.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the demo. A budget that nothing holds is [`Outcome::Negative`].
///
/// # Errors
/// When the folder cannot be written, the data are missing, or the run fails.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let out = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let table = match &arguments.data {
        Some(folder) => given(folder)?,
        None => {
            let spec = ShopSpec { seed: arguments.seed, ..ShopSpec::demo() };
            terminal
                .say(&format!("generating a shop: {} users, {} items, {} months", spec.users, spec.items, spec.months));
            let shop = Shop::generate(&spec);
            shop.write(out).with_context(|| format!("cannot write {}", out.join(FILE_NAME).display()))?;
            PathBuf::from(FILE_NAME)
        }
    };
    let pipeline = out.join("pipeline.toml");
    let path = format!("path = {}", toml::Value::from(table.display().to_string()));
    std::fs::write(&pipeline, PIPELINE.replace("path = \"transactions.parquet\"", &path))
        .with_context(|| format!("cannot write {}", pipeline.display()))?;
    let data = arguments.data.as_ref().map_or_else(String::new, |data| format!(" --data {}", run::quoted(data)));
    let seed = if arguments.data.is_some() { String::new() } else { format!(" --seed {}", arguments.seed) };
    let store = arguments.store.as_ref().map_or_else(String::new, |url| format!(" --store {}", without_password(url)));
    let commands = [format!("paceline demo{data}{store} --out {}{seed}", run::quoted(out))];
    let how = run::Arguments::new(pipeline.clone(), out.clone(), arguments.store.clone());
    let mut report = run::produce(&how, &commands, terminal)?;
    if report.held {
        report.http_latency_ms = Some(asked_over_http(&pipeline, out, terminal)?);
        report.write(out)?;
    }
    run::show(&report, out, terminal)?;
    Ok(run::outcome(&report))
}

/// What clients of the published recommender wait for. Its tables and its event log stay in the data folder, where
/// `paceline serve` on the demo's pipeline finds them.
fn asked_over_http(pipeline: &Path, out: &Path, terminal: &Terminal) -> anyhow::Result<Latency> {
    let (pipeline, _) = pipeline::open(pipeline)?;
    let (models, data) = (out.join(serving::MODELS_FOLDER), out.join(stores::DATA_FOLDER));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let say = |text: &str| terminal.say(text);
    let seen = serving::demo_http(&pipeline, &models, &data, HTTP_REQUESTS, cores, &say)?;
    let rungs: Vec<String> = seen.rungs.iter().map(|(rung, share)| format!("{rung} {:.1} %", 100.0 * share)).collect();
    terminal.say(&format!("{} answers over HTTP: {}", seen.requests, rungs.join(", ")));
    Ok(seen.latency.into())
}

fn given(folder: &Path) -> anyhow::Result<PathBuf> {
    let table = folder.join(FILE_NAME);
    table
        .canonicalize()
        .with_context(|| format!("--data {}: there is no {FILE_NAME} that can be read", folder.display()))
}
