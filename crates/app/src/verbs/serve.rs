//! `paceline serve`: what a run published, over HTTP.

use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use paceline_core::{Digest, EventLog, OnlineStore, Timestamp};
use paceline_serve::recommend::artifact::PublishedRecommender;
use paceline_serve::{Parts, Server};
use paceline_store::{EmbeddedEventLog, RedisEventLog, RedisOptions};
use tracing_subscriber::EnvFilter;

use super::Outcome;
use crate::messages::Terminal;
use crate::pipeline::{self, Pipeline, Weight};
use crate::run::recommend::World;
use crate::serving::{self, Artifact, EVENTS_FOLDER, Materialization};
use crate::stores::{self, StoreArguments};

/// Which log lines are written to stderr, such as `debug` or `paceline_serve=trace`; `info` by default.
const LOG_VARIABLE: &str = "PACELINE_LOG";
/// A store that takes longer than the deadline is no use to a request, but a pause of its host must not look like a
/// failure at once.
const STORE_TIMEOUT_MIN: Duration = Duration::from_millis(50);

/// Bounds of `[serve] lists_schedule`: renewing takes seconds, and a calendar month has no exact length.
const RENEWAL_MIN: Duration = Duration::from_secs(10);
const RENEWAL_MAX: Duration = Duration::from_secs(31 * 86_400);

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
    let log = open_log(&arguments.stores, &pipeline.folder)?;
    if let Artifact::Recommender(model) = &artifact {
        materialize(&pipeline, digest, model, &*store, threads, terminal)?;
    }
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
    let parts = Parts { streams, ..parts };
    let server = Server::start(parts, http, admin).context("the server does not start")?;
    let path = match &artifact {
        Artifact::Recommender(_) => "/v1/recommend/USER",
        Artifact::Rows(_) => "/v1/predict",
        Artifact::Features => "/get-online-features",
    };
    let _renewal = match artifact {
        Artifact::Recommender(model) => Some(Renewal::start(&pipeline, digest, *model, written)?),
        Artifact::Rows(_) | Artifact::Features => None,
    };
    announce(&server, &pipeline, digest, path, terminal)?;
    let signal = server.wait_for_signal().context("waiting for signals")?;
    terminal.say(&format!("{signal}: finishing requests in work"));
    server.stop();
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

/// Writes the tables again every `[serve] lists_schedule`, on a thread of its own, when the sources have newer rows.
struct Renewal {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Renewal {
    fn start(
        pipeline: &Pipeline,
        digest: Digest,
        model: PublishedRecommender,
        store: Arc<dyn OnlineStore>,
    ) -> Result<Renewal> {
        let every = pipeline.serve.lists_schedule.seconds().map_or(RENEWAL_MAX, Duration::from_secs_f64);
        let every = every.clamp(RENEWAL_MIN, RENEWAL_MAX);
        let pipeline = pipeline.clone();
        let (stop, stopped) = mpsc::channel::<()>();
        let work = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                match renew(&pipeline, digest, &model, &*store) {
                    Ok(Some(until)) => tracing::info!(%until, "tables renewed"),
                    Ok(None) => tracing::info!("the sources have nothing newer; tables stay"),
                    // The tables stay as they are, and grow old in the metrics.
                    Err(error) => tracing::error!(error = format!("{error:#}"), "tables were not renewed"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("renewal".to_owned()).spawn(work)?;
        Ok(Renewal { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A renewal in work is not waited for: it ends with the process and leaves every table whole.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

fn renew(
    pipeline: &Pipeline,
    digest: Digest,
    model: &PublishedRecommender,
    store: &dyn OnlineStore,
) -> Result<Option<Timestamp>> {
    let goal = serving::goal_of(pipeline)?;
    let world = World::load(pipeline, goal)?;
    let until = serving::end_of_data(&world);
    if serving::materialized_until(pipeline, digest, store)?.is_some_and(|current| current >= until) {
        return Ok(None);
    }
    // One thread: requests come first.
    let tables = Materialization { pipeline, goal, world: &world, digest, model, until, store, threads: 1 };
    tables.write(&|_| ())?;
    Ok(Some(until))
}

/// Redis Streams beside a shared store, so that every server of a pipeline writes to one log; else the local disk.
fn open_log(stores: &StoreArguments, folder: &Path) -> Result<Arc<dyn EventLog>> {
    if let Some(url) = &stores.store {
        let log = RedisEventLog::connect(url, RedisOptions::default());
        return Ok(Arc::new(log.with_context(|| format!("--store {}", stores::without_password(url)))?));
    }
    let folder = stores.data_folder(folder).join(EVENTS_FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the event log {}", folder.display()))?;
    Ok(Arc::new(EmbeddedEventLog::open(&folder)?))
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
