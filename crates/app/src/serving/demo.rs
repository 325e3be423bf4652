//! The last figure of a demo: what a client of the served recommender waits for.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use paceline_core::KeyPart;
use paceline_learn::search::Latency;
use paceline_serve::{Options, Server};
use paceline_store::{EmbeddedEventLog, EmbeddedOnlineStore};

use super::{Artifact, HttpClient, Materialization, end_of_data, goal_of, load_current, options, parts};
use crate::measure::Samples;
use crate::pipeline::Pipeline;
use crate::run::recommend::World;
use crate::stores::{EVENTS_FOLDER, STORE_FOLDER};

/// Connections that ask at the same time, each one request after the other.
const CONNECTIONS: usize = 2;
/// Requests of each connection that are not timed.
const WARM_UP: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(30);

/// What clients saw.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpLatency {
    /// From the request sent to the answer read, in milliseconds.
    pub latency: Latency,
    /// Timed requests.
    pub requests: usize,
    /// Share of the answers by rung, as a fraction of 1.
    pub rungs: BTreeMap<String, f64>,
}

/// Serves the promoted artifact of `models` in process on a free port of this machine, asks it `requests` questions for
/// users of the data over kept connections, and stops it. Its tables lie in `data`, in an embedded store.
///
/// The prediction cache is off, so that every answer is computed.
///
/// # Errors
/// When nothing is published, a source cannot be read, or the server does not answer.
pub fn demo_http(
    pipeline: &Pipeline,
    models: &Path,
    data: &Path,
    requests: usize,
    threads: usize,
    say: &dyn Fn(&str),
) -> Result<HttpLatency> {
    let goal = goal_of(pipeline)?;
    let (digest, model) = load_current(pipeline, models)?;
    let world = World::load(pipeline, goal)?;
    let folder = |name: &str| {
        let folder = data.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok::<_, anyhow::Error>(folder)
    };
    let store = Arc::new(EmbeddedOnlineStore::open(&folder(STORE_FOLDER)?)?);
    let log = Arc::new(EmbeddedEventLog::open(&folder(EVENTS_FOLDER)?)?);
    let until = end_of_data(&world);
    let tables =
        Materialization { pipeline, goal, world: &world, digest, model: &model, until, store: &*store, threads };
    tables.write(say)?;
    let options = Options { cache_entries: 0, ..options(pipeline, threads) };
    let listen = || TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1");
    let server = Server::start(
        parts(pipeline, (digest, Artifact::Recommender(Box::new(model))), store, log, options)?,
        listen()?,
        listen()?,
    )
    .context("the server does not start")?;
    say(&format!("asking http://{} {requests} times over {CONNECTIONS} connections", server.http_address()));
    let asked = ask(&server, &world.users, requests);
    server.stop();
    asked
}

fn ask(server: &Server, users: &[KeyPart], requests: usize) -> Result<HttpLatency> {
    let next = AtomicUsize::new(0);
    let timed = AtomicUsize::new(0);
    let client = || -> Result<(Samples, BTreeMap<String, usize>)> {
        let mut client = HttpClient::new(server.http_address(), TIMEOUT);
        let (mut samples, mut rungs) = (Samples::default(), BTreeMap::new());
        let user = || percent_encoded(&users[next.fetch_add(1, Ordering::Relaxed) % users.len()].to_string());
        for _ in 0..WARM_UP {
            client.get(&format!("/v1/recommend/{}", user()))?;
        }
        while timed.fetch_add(1, Ordering::Relaxed) < requests {
            let path = format!("/v1/recommend/{}", user());
            let reply = samples.time(|| client.get(&path))?;
            let answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            match (reply.status, answer["rung"].as_str()) {
                (200, Some(rung)) => *rungs.entry(rung.to_owned()).or_insert(0) += 1,
                (status, _) => bail!("GET {path}: {status} {}", String::from_utf8_lossy(&reply.body)),
            }
        }
        Ok((samples, rungs))
    };
    let results: Vec<Result<_>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
    });
    let (mut all, mut rungs) = (Samples::default(), BTreeMap::new());
    for result in results {
        let (samples, counted) = result.context("asking the server")?;
        all.extend(samples);
        for (rung, count) in counted {
            *rungs.entry(rung).or_insert(0.0) += count as f64;
        }
    }
    if all.is_empty() {
        bail!("no request was asked for");
    }
    rungs.values_mut().for_each(|count| *count /= all.len() as f64);
    Ok(HttpLatency { latency: all.latency(), requests: all.len(), rungs })
}

/// A path segment: everything but letters, digits, `-`, `_`, `.` and `~` in hexadecimal.
fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_user_fits_a_path() {
        assert_eq!(percent_encoded("a-1_.~"), "a-1_.~");
        assert_eq!(percent_encoded("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
    }
}
