//! Precomputed lists: a different promise from a live step. A list is ranked before the request, and the answer is a
//! look-up that knows nothing newer.
//!
//! How a list of age `a` is judged: it is ranked as of `cut - a`, from what was known then of users and items, and
//! answered at the cut as it stands. So items that the user bought in between are still on it (they were new when it was
//! ranked), and a user who was unknown then gets what is popular. The models are those of the report: fitted once, on
//! labels up to the report slice, and not again for each list.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use paceline_core::online::{OnlineRow, OnlineStore};
use paceline_core::{EntityKey, KeyPart, Period};
use paceline_learn::search::Latency;
use paceline_models::recommend::{decode_list, encode_list};
use paceline_serve::recommend::RowLayout;
use paceline_store::EmbeddedOnlineStore;

use super::evaluate::Slice;
use super::gather::{Gathering, Judgement};
use super::proposal::Proposal;
use super::snapshot::Snapshot;
use super::stand::Stand;
use super::{Means, Timing};
use crate::measure;
use crate::report::{self, place};

/// Items of a list that is kept: enough to leave out what a request excludes.
pub const LIST_ITEMS: usize = 100;
/// Ages that are judged: just before the next refresh of a daily and of a weekly schedule.
const AGES: [Period; 2] = [Period::days(1), Period::days(7)];
/// How one look-up is timed.
const LOOK_UPS: usize = 5_000;
const LOOK_UP_TIME_MAX: Duration = Duration::from_secs(2);

/// A user's list: items by name with their scores, as stores hold it.
type KeyedList = (KeyPart, Vec<(KeyPart, f64)>);

/// Lists of `step` by age and by where they lie.
///
/// # Errors
/// When a store fails, or too few users are judged.
pub fn precomputed(
    gathering: &Gathering<'_>,
    judgement: &mut Judgement<'_>,
    timing: &Timing<'_>,
    means: &Means<'_>,
    step: &str,
) -> Result<Vec<report::Precomputed>> {
    let proposal = judgement.models.step(gathering.plan, step);
    let places = look_up_latencies(timing, means, &proposal)?;
    let mut lists = Vec::new();
    for age in AGES {
        (means.say)(&format!("precomputed lists, {age} old"));
        let aged = aged(gathering, &timing.stand.layout, judgement.qualities.slices, age, means.threads)?;
        let answers = timing.stand.answers(&aged, &proposal);
        let quality = gathering.quality(judgement, &answers)?;
        lists.extend(places.iter().map(|(place, latency)| report::Precomputed {
            age_s: age.seconds().unwrap_or_default() as u64,
            place: (*place).to_owned(),
            latency_ms: (*latency).into(),
            metric: quality.metric.value,
            ci: quality.metric.into(),
            retention: quality.retention.value,
            retention_ci: quality.retention.into(),
        }));
    }
    Ok(lists)
}

/// The same users and outcomes with what was known `age` earlier.
fn aged(
    gathering: &Gathering<'_>,
    layout: &RowLayout,
    slices: &[Slice],
    age: Period,
    threads: usize,
) -> Result<Vec<Slice>> {
    let (plan, world) = (gathering.plan, gathering.world);
    let earlier = |slice: &Slice| -> Result<Slice> {
        let snapshot = Snapshot::at(world, layout, plan.goal, slice.snapshot.cut - age, plan.pipeline.seed, threads)?;
        Ok(Slice { snapshot, outcomes: slice.outcomes.clone() })
    };
    slices.iter().map(earlier).collect()
}

/// The lists of all users of the timed slice, looked up in process, in an embedded store and, where there is one, in
/// Redis. How old they are does not matter here.
fn look_up_latencies(
    timing: &Timing<'_>,
    means: &Means<'_>,
    proposal: &Proposal,
) -> Result<Vec<(&'static str, Latency)>> {
    let (stand, trials) = (timing.stand, timing.trials);
    let name = |place: &str| format!("precomputed list, {place}");
    let mut lists: Option<Vec<KeyedList>> = None;
    let mut lists = || lists.get_or_insert_with(|| keyed_lists(stand, timing.slice, proposal)).clone();
    let mut places = Vec::new();
    let in_process = || Ok(in_process(&lists(), stand.metric.k.get()));
    places.push(("in process", trials.latency(&name("in process"), in_process)?));
    let embedded = || {
        let folder = Scratch::new(means.out)?;
        let store = EmbeddedOnlineStore::open(&folder.0)?;
        from_store(&store, &table(timing), &lists(), stand.metric.k.get())
    };
    places.push(("embedded", trials.latency(&name("embedded"), embedded)?));
    if let Some(store) = means.shared_store {
        let shared = || from_store(store, &table(timing), &lists(), stand.metric.k.get());
        places.push(("redis", trials.latency(&name("redis"), shared)?));
    }
    Ok(places)
}

/// A table of its own: the one that is served from is written by publication alone.
fn table(timing: &Timing<'_>) -> String {
    format!("{}.lists@timing", timing.pipeline)
}

fn keyed_lists(stand: &Stand<'_>, slice: &Slice, proposal: &Proposal) -> Vec<KeyedList> {
    let world = stand.world;
    let scored =
        |ranked: &paceline_models::recommend::Ranked| (world.catalogue.item(ranked.item).clone(), ranked.score);
    let lists = stand.ranked(slice, proposal, LIST_ITEMS);
    let keyed = slice
        .outcomes
        .users
        .iter()
        .zip(lists)
        .map(|(outcome, list)| (world.users[outcome.user as usize].clone(), list.iter().map(scored).collect()));
    keyed.collect()
}

fn in_process(lists: &[KeyedList], k: usize) -> Latency {
    let keys: Vec<&KeyPart> = lists.iter().map(|(key, _)| key).collect();
    let held: HashMap<KeyPart, Vec<(KeyPart, f64)>> = lists.iter().cloned().collect();
    let samples = measure::measure(keys.len(), 1_000, LOOK_UPS, LOOK_UP_TIME_MAX, |i| {
        let list = &held[keys[i]];
        black_box(list[..list.len().min(k)].to_vec());
    });
    samples.latency()
}

fn from_store(store: &dyn OnlineStore, table: &str, lists: &[KeyedList], k: usize) -> Result<Latency> {
    let keys: Vec<Vec<u8>> = lists.iter().map(|(key, _)| EntityKey(vec![key.clone()]).to_bytes()).collect();
    let mut rows = keys.iter().cloned().zip(lists.iter().map(|(_, list)| encode_list(list)));
    store.publish(table, place::now(), &mut rows).context("writing precomputed lists")?;
    let mut failure = None;
    let samples = measure::measure(keys.len(), 500, LOOK_UPS, LOOK_UP_TIME_MAX, |i| {
        let look_up = || -> Result<usize> {
            let found = store.get(table, &[&keys[i]])?;
            let bytes = found.values.first().and_then(Option::as_ref).context("a list that was written is gone")?;
            let mut list = decode_list(bytes)?;
            list.truncate(k);
            Ok(black_box(list).len())
        };
        match look_up() {
            Ok(found) if found == lists[i].1.len().min(k) => {}
            Ok(found) => failure = Some(anyhow::anyhow!("a list of {} items came back with {found}", lists[i].1.len())),
            Err(error) => failure = Some(error),
        }
    });
    // Nothing stays in a store that others use.
    store.publish(table, place::now(), &mut std::iter::empty::<OnlineRow>()).context("removing precomputed lists")?;
    match failure {
        Some(error) => Err(error.context("reading precomputed lists")),
        None => Ok(samples.latency()),
    }
}

/// A folder that is gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(within: &Path) -> Result<Self> {
        let folder = within.join(format!(".lists-{}", std::process::id()));
        ensure!(!folder.exists(), "{} exists already; remove it", folder.display());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays behind costs space and nothing else.
        let _ = fs::remove_dir_all(&self.0);
    }
}
