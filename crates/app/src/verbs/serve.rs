//! `paceline serve`: what a run published, over HTTP.

use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use paceline_core::{Digest, OnlineStore};
use paceline_features::Placement;
use paceline_serve::online_features::FeatureSet;
use paceline_serve::recommend::artifact::PublishedRecommender;
use paceline_serve::request_log::RequestLog;
use paceline_serve::schedule::ScheduledRuns;
use paceline_serve::{Parts, Server};
use paceline_store::RedisOptions;
use tracing_subscriber::EnvFilter;

use super::Outcome;
use crate::materialize::table_of;
use crate::messages::Terminal;
use crate::pipeline::{self, Pipeline, Weight};
use crate::report::place::now;
use crate::run::recommend::World;
use crate::serving::{self, Artifact, Materialization, REQUESTS_FOLDER, Replace, RequestWriter, Schedule, Scheduler};
use crate::stores::{self, StoreArguments};

/// Which log lines are written to stderr, such as `debug` or `paceline_serve=trace`; `info` by default.
const LOG_VARIABLE: &str = "PACELINE_LOG";
/// A store that takes longer than the deadline is no use to a request, but a pause of its host must not look like a
/// failure at once.
const STORE_TIMEOUT_MIN: Duration = Duration::from_millis(50);

/// Serve what `paceline run` published: recommendations or scores of rows, features, events, probes, metrics.
///
/// A pipeline without a model serves its features alone.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Public address, instead of `[serve] http`; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Address of metrics and probes, instead of `[serve] admin`.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Folder of published models. By default out/models beside the pipeline file, where `paceline run` writes when it
    /// is called there.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    #[command(flatten)]
    stores: StoreArguments,
}

/// Serves until SIGTERM or ctrl-c.
///
/// # Errors
/// When the pipeline has mistakes, nothing is published, the store or the log cannot be opened, or an address is taken.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Outcome> {
    let (pipeline, warnings) = pipeline::open(&arguments.pipeline)?;
    terminal.mistakes(&warnings, Weight::Warning);
    let models = arguments.models.clone().unwrap_or_else(|| pipeline.folder.join("out").join(serving::MODELS_FOLDER));
    let (digest, artifact) = serving::load_artifact(&pipeline, &models)?;
    // The addresses before the work, so that one that is taken costs no time.
    let http = listen(arguments.http.unwrap_or(pipeline.serve.http), "--http")?;
    let admin = listen(arguments.admin.unwrap_or(pipeline.serve.admin), "--admin")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let store = arguments.stores.open(&pipeline.folder)?;
    let log = arguments.stores.open_log(&pipeline.folder)?;
    let runs = ScheduledRuns::default();
    match &artifact {
        Artifact::Recommender(model) => materialize(&pipeline, digest, model, &*store, threads, terminal)?,
        Artifact::Rows(_) | Artifact::Features => catch_up(&pipeline, &artifact, &*store, &runs, threads, terminal)?,
    }
    serving::make_pushed_tables(&pipeline, &*store)?;
    let options = serving::options(&pipeline, threads);
    let written = Arc::clone(&store);
    let store = match &arguments.stores.store {
        // A connection whose patience is that of requests.
        Some(url) => {
            let answer_timeout = options.deadline.max(STORE_TIMEOUT_MIN);
            let patience = RedisOptions { answer_timeout, connect_timeout: answer_timeout, ..RedisOptions::default() };
            stores::connect_with(url, patience)?
        }
        None => store,
    };
    start_logging();
    let data_folder = arguments.stores.data_folder(&pipeline.folder);
    let streams = serving::streamed_sources(&pipeline, &data_folder, &*log, &|text| terminal.say(text))?;
    let parts = serving::parts(&pipeline, (digest, artifact.clone()), store, log, options)?;
    let parts = Parts { streams, scheduled: runs.clone(), ..parts };
    let (writer, request_log) = log_requests(&pipeline, &data_folder, parts.features.as_ref(), terminal)?;
    let parts = Parts { request_log, ..parts };
    let server = Server::start(parts, http, admin).context("the server does not start")?;
    let path = match &artifact {
        Artifact::Recommender(_) => "/v1/recommend/USER",
        Artifact::Rows(_) => "/v1/predict",
        Artifact::Features => "/get-online-features",
    };
    let recommender = match artifact {
        Artifact::Recommender(model) => Some((digest, *model)),
        Artifact::Rows(_) | Artifact::Features => None,
    };
    let is_shared = arguments.stores.store.is_some();
    let _scheduler =
        Scheduler::start(Schedule { pipeline: pipeline.clone(), store: written, is_shared, recommender, runs })?;
    announce(&server, &pipeline, digest, path, terminal)?;
    let signal = server.wait_for_signal().context("waiting for signals")?;
    terminal.say(&format!("{signal}: finishing requests in work"));
    server.stop();
    if let Some(writer) = writer {
        writer.finish();
    }
    Ok(Outcome::Success)
}

fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| match address.port() {
        0 => format!("cannot listen on {address}"),
        port => format!("cannot listen on {address}; is port {port} taken? Give another with {flag} HOST:PORT"),
    })
}

/// Writes the tables when the store has none that were made with this artifact.
fn materialize(
    pipeline: &Pipeline,
    digest: Digest,
    model: &PublishedRecommender,
    store: &dyn OnlineStore,
    threads: usize,
    terminal: &Terminal,
) -> Result<()> {
    if serving::materialized_until(pipeline, digest, store)?.is_some() {
        return Ok(());
    }
    terminal.say("the online store holds nothing that was made with this artifact: materializing from the sources");
    let goal = serving::goal_of(pipeline)?;
    let bar = terminal.progress("reading sources", None);
    let world = World::load(pipeline, goal)?;
    let until = serving::end_of_data(&world);
    let tables = Materialization { pipeline, goal, world: &world, digest, model, until, store, threads };
    bar.set_message("materializing");
    tables.write(&|text| bar.suspend(|| terminal.say(text)))
}

/// Materializes the views that the store lacks, holds by another declaration, or holds as of an earlier point of their
/// schedule. A failure is told; it ends the command only where features alone are served and one has no table.
fn catch_up(
    pipeline: &Pipeline,
    artifact: &Artifact,
    store: &dyn OnlineStore,
    runs: &ScheduledRuns,
    threads: usize,
    terminal: &Terminal,
) -> Result<()> {
    let bar = terminal.progress("reading sources", None);
    let written = serving::due(pipeline, store, now(), Replace::OtherDeclarations).and_then(|due| {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        bar.set_message("materializing");
        let written = serving::materialize_due(pipeline, &due, store, threads, runs)?;
        Ok(written.into_iter().zip(due.iter().map(|due| due.missed)).collect::<Vec<_>>())
    });
    drop(bar);
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            let of_tables = pipeline.views.iter().filter(|view| view.placement != Placement::Stream);
            let mut as_of = of_tables.map(|view| store.as_of(&table_of(pipeline, view)));
            let is_useless = matches!(artifact, Artifact::Features) && as_of.any(|as_of| !matches!(as_of, Ok(Some(_))));
            if is_useless {
                return Err(error.context("the features cannot be materialized"));
            }
            terminal
                .say(&format!("warning: features were not materialized, so what the store holds is served: {error:#}"));
            return Ok(());
        }
    };
    for (view, missed) in written {
        let caught_up = if missed > 0 { format!(", making up for {missed} missed runs") } else { String::new() };
        let what = if view.is_incremental { "changed rows" } else { "rows" };
        terminal.say(&format!(
            "materialized [features.{}]: {} {what} as of {}{caught_up}",
            view.view, view.rows, view.as_of
        ));
    }
    Ok(())
}

/// The writer of requests and its queue, where `[serve] log_requests` asks for them.
fn log_requests(
    pipeline: &Pipeline,
    data_folder: &Path,
    features: Option<&FeatureSet>,
    terminal: &Terminal,
) -> Result<(Option<RequestWriter>, Option<RequestLog>)> {
    if !pipeline.serve.log_requests {
        return Ok((None, None));
    }
    let Some(features) = features else {
        terminal.say("warning: no features are looked up here, so no requests are logged");
        return Ok((None, None));
    };
    let bytes_max = u64::from(pipeline.serve.log_requests_mb) << 20;
    let (writer, log) = RequestWriter::start(&data_folder.join(REQUESTS_FOLDER), &features.views, bytes_max)?;
    Ok((Some(writer), Some(log)))
}

/// Structured lines on stderr. A subscriber that is there already stays: the command runs in a test.
fn start_logging() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = lines.with_ansi(std::io::stderr().is_terminal()).try_init();
}

fn announce(server: &Server, pipeline: &Pipeline, digest: Digest, path: &str, terminal: &Terminal) -> Result<()> {
    let (http, admin) = (server.http_address(), server.admin_address());
    if terminal.wants_json() {
        return terminal.result_json(&serde_json::json!({
            "http": format!("http://{http}"),
            "admin": format!("http://{admin}"),
            "pipeline": pipeline.name,
            "model": digest,
        }));
    }
    if let Some(problem) = server.problem() {
        terminal.say(&format!("warning: full answers are not possible yet: {problem}"));
    }
    terminal.result(&format!(
        "serving {} {}\n  http   http://{http}{path}\n  admin  http://{admin}/metrics\n",
        pipeline.name,
        digest.short()
    ))
}
