//! The newest value of every feature, written to the online store.
//!
//! Each view has one table, `PIPELINE.VIEW`: the key is the entity's ([`EntityKey::to_bytes`]), the value the view's
//! features in the order of the pipeline ([`encode_values`]). An entity without a known row has none, which a reader
//! takes for the values of an unknown entity ([`unknown_values`]).
//!
//! [`EntityKey::to_bytes`]: paceline_core::EntityKey::to_bytes

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use arrow::array::ArrayRef;
use paceline_core::online::{OnlineChange, OnlineStore, Version};
use paceline_core::value::encode_values;
use paceline_core::{Digest, Timestamp, Value};
use paceline_features::partition::{Entities, EntityValues, Known, PartitionOptions, PartitionedJoin, Since};
use paceline_features::{Aggregate, FeatureView, Placement};
use paceline_serve::recommend::tables::{MARKER_KEY, view_table};
use serde::Serialize;

use crate::pipeline::Pipeline;
use crate::stores::{publish, publish_change};
use crate::training_set::values::{keys_of, value_at};
use crate::training_set::{JoinMeans, push_source};

/// The first byte of what stands at [`MARKER_KEY`]; then come the digest of the view's declaration and [`Known`].
const MARKER_FORMAT: u8 = 1;

/// How much of a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What can have changed since the version in the store, where that was made by the same declaration; else all.
    Changes,
    /// All.
    Whole,
}

/// What was written of one view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaterializedView {
    /// The view.
    pub view: String,
    /// Its table in the store.
    pub table: String,
    /// Whether only what can have changed was written.
    #[serde(rename = "incremental")]
    pub is_incremental: bool,
    /// Entities written.
    pub rows: u64,
    /// Entities removed, which are known no more; 0 unless incremental.
    pub removed: u64,
    /// As of when the values are.
    pub as_of: Timestamp,
    /// Wall time of sorting, computing and writing the view, in seconds; reading its source comes before that.
    pub seconds: f64,
}

/// The table of a view.
#[must_use]
pub fn table_of(pipeline: &Pipeline, view: &FeatureView) -> String {
    view_table(&pipeline.name, &view.name)
}

/// As of when a materialization at `until` computes a view: a scheduled one as of the last point of its schedule at or
/// before `until`, so that serving sees the values that training saw; any other as of `until`.
#[must_use]
pub fn as_of(view: &FeatureView, until: Timestamp) -> Timestamp {
    match (view.placement, view.schedule) {
        // A point of the schedule is the last one before the next microsecond.
        (Placement::Batch, Some(step)) => Timestamp(until.0.saturating_add(1)).last_scheduled_before(step),
        _ => None,
    }
    .unwrap_or(until)
}

/// The view computed exactly as of the asked time.
#[must_use]
pub fn exact(view: &FeatureView) -> FeatureView {
    FeatureView { schedule: None, ..view.clone() }
}

/// The values of an unknown entity: counts are 0, everything else is null.
#[must_use]
pub fn unknown_values(view: &FeatureView) -> Vec<Value> {
    let value = |aggregate| match aggregate {
        Aggregate::Count | Aggregate::CountDistinct => Value::Int(0),
        _ => Value::Null,
    };
    view.features.iter().map(|feature| value(feature.aggregate)).collect()
}

/// A view, and as of when its values are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target<'p> {
    /// The view.
    pub view: &'p FeatureView,
    /// The time.
    pub as_of: Timestamp,
}

/// Every view as of `until` (see [`as_of`]).
#[must_use]
pub fn targets(pipeline: &Pipeline, until: Timestamp) -> Vec<Target<'_>> {
    pipeline.views.iter().map(|view| Target { view, as_of: as_of(view, until) }).collect()
}

/// How a materialization is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// How much is written.
    pub extent: Extent,
    /// Where to.
    pub store: &'a dyn OnlineStore,
    /// How it is computed.
    pub means: &'a JoinMeans,
}

/// Writes the values of views for every entity with a row known by then, or what changed of them. A view's new version
/// is visible whole or not at all; `on_rows` hears of source rows as they are read.
///
/// # Errors
/// When the store holds newer values of any of the views (nothing is written then), a source cannot be read, or the
/// store fails.
pub fn materialize(
    pipeline: &Pipeline,
    targets: &[Target<'_>],
    run: &Run<'_>,
    on_rows: &mut dyn FnMut(u64),
) -> anyhow::Result<Vec<MaterializedView>> {
    for target in targets {
        refuse_older(pipeline, target, run.store)?;
    }
    let means = JoinMeans { memory_bytes_max: run.means.memory_bytes_max / targets.len().max(1), ..run.means.clone() };
    let mut joins: Vec<(&Target<'_>, PartitionedJoin)> =
        targets.iter().map(|target| (target, join(target.view, &means))).collect();
    for source in &pipeline.sources {
        let is_read = |view: &FeatureView| view.source == source.name;
        let views = targets.iter().map(|target| target.view).filter(|view| is_read(view));
        let of_source = joins.iter_mut().filter(|(target, _)| is_read(target.view));
        push_source(source, &pipeline.folder, views, of_source.map(|(_, join)| join).collect(), on_rows)?;
    }
    let run = &Run { means: &means, ..*run };
    joins.into_iter().map(|(target, join)| write(pipeline, target, join, run)).collect()
}

/// That there is something to materialize.
///
/// # Errors
/// When there is not.
pub fn check_has_views(pipeline: &Pipeline) -> anyhow::Result<()> {
    if pipeline.views.is_empty() {
        bail!(
            "pipeline {} has no feature view, so there is nothing to materialize; add a [features.NAME]",
            pipeline.name
        );
    }
    Ok(())
}

fn refuse_older(pipeline: &Pipeline, target: &Target<'_>, store: &dyn OnlineStore) -> anyhow::Result<()> {
    let Target { view, as_of: offered } = target;
    match store.as_of(&table_of(pipeline, view))? {
        Some(current) if current > *offered => bail!(
            "the online store holds [features.{}] as of {current}, newer than {offered}, so nothing was written; give a \
             later --until, or another store",
            view.name
        ),
        _ => Ok(()),
    }
}

fn join(view: &FeatureView, means: &JoinMeans) -> PartitionedJoin {
    let options = PartitionOptions {
        scratch: means.scratch.clone(),
        memory_bytes_max: means.memory_bytes_max,
        threads: means.threads,
    };
    PartitionedJoin::new(&[&exact(view)], options)
}

/// Writes a view: what changed where the store holds an earlier version by the same declaration, else all of it.
fn write(
    pipeline: &Pipeline,
    target: &Target<'_>,
    join: PartitionedJoin,
    run: &Run<'_>,
) -> anyhow::Result<MaterializedView> {
    let started = Instant::now();
    let Target { view, as_of } = *target;
    let table = table_of(pipeline, view);
    let digest = declaration(pipeline, view)?;
    let base = match run.extent {
        Extent::Changes => stored(&table, digest, run.store)?.filter(|(version, _)| version.as_of <= as_of),
        Extent::Whole => None,
    };
    let (written, is_incremental) = match base {
        Some((version, known)) => {
            let entities = join.finish_changes(Since { at: version.as_of, known }, as_of)?;
            let mut changes = Changes::new(view, digest, entities);
            let published = publish_change(run.store, &table, version, as_of, &mut changes);
            if changes.entities.is_incomparable() {
                (write_again(pipeline, target, digest, run)?, false)
            } else {
                published.with_context(|| format!("[features.{}]", view.name))?;
                (changes.count, true)
            }
        }
        None => (write_whole(pipeline, target, digest, join.finish_entities(as_of)?, run)?, false),
    };
    let seconds = started.elapsed().as_secs_f64();
    let Written { rows, removed } = written;
    Ok(MaterializedView { view: view.name.clone(), table, is_incremental, rows, removed, as_of, seconds })
}

/// How many entities were written, and how many removed.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    rows: u64,
    removed: u64,
}

fn write_whole(
    pipeline: &Pipeline,
    target: &Target<'_>,
    digest: Digest,
    entities: Entities,
    run: &Run<'_>,
) -> anyhow::Result<Written> {
    let mut changes = Changes::new(target.view, digest, entities);
    // Nothing is removed from a new table.
    let mut rows = changes.by_ref().map(|change| change.map(|(key, value)| (key, value.unwrap_or_default())));
    publish(run.store, &table_of(pipeline, target.view), target.as_of, &mut rows)
        .with_context(|| format!("[features.{}]", target.view.name))?;
    Ok(changes.count)
}

/// Reads the view's source again, because the first reading showed that its change cannot be told.
fn write_again(pipeline: &Pipeline, target: &Target<'_>, digest: Digest, run: &Run<'_>) -> anyhow::Result<Written> {
    let view = target.view;
    let source = pipeline.source(&view.source).context("a checked view names a source")?;
    let mut join = join(view, run.means);
    push_source(source, &pipeline.folder, std::iter::once(view), vec![&mut join], &mut |_| ())?;
    write_whole(pipeline, target, digest, join.finish_entities(target.as_of)?, run)
}

/// What the values of a view are made of beside rows and time: view, source, and the build that computes them.
fn declaration(pipeline: &Pipeline, view: &FeatureView) -> anyhow::Result<Digest> {
    let parts = (exact(view), pipeline.source(&view.source), env!("CARGO_PKG_VERSION"));
    Ok(Digest::of(&serde_json::to_vec(&parts)?))
}

/// Whether the store holds the view as it is declared now.
///
/// # Errors
/// The store's.
pub fn is_as_declared(pipeline: &Pipeline, view: &FeatureView, store: &dyn OnlineStore) -> anyhow::Result<bool> {
    Ok(stored(&table_of(pipeline, view), declaration(pipeline, view)?, store)?.is_some())
}

/// The version in the store and what was known then, where the table was written by the same declaration.
fn stored(table: &str, digest: Digest, store: &dyn OnlineStore) -> anyhow::Result<Option<(Version, Known)>> {
    // Should another version come in between, the change of this one is refused.
    let Some(version) = store.version(table)? else { return Ok(None) };
    let marker = store.get(table, &[MARKER_KEY])?.values.pop().flatten();
    Ok(marker.and_then(|marker| read_marker(&marker, digest)).map(|known| (version, known)))
}

fn marker(digest: Digest, known: &Known) -> Vec<u8> {
    let mut bytes = vec![MARKER_FORMAT];
    bytes.extend(digest.to_string().into_bytes());
    bytes.extend(known.to_bytes());
    bytes
}

fn read_marker(marker: &[u8], digest: Digest) -> Option<Known> {
    let rest = marker.strip_prefix(&[MARKER_FORMAT])?.strip_prefix(digest.to_string().as_bytes())?;
    Known::from_bytes(rest)
}

/// The rows of a table or of a change of it, the marker last.
struct Changes<'a> {
    view: &'a FeatureView,
    digest: Digest,
    entities: Entities,
    /// Of the part at hand.
    pending: VecDeque<OnlineChange>,
    is_done: bool,
    count: Written,
}

impl<'a> Changes<'a> {
    fn new(view: &'a FeatureView, digest: Digest, entities: Entities) -> Self {
        Changes { view, digest, entities, pending: VecDeque::new(), is_done: false, count: Written::default() }
    }

    fn take(&mut self, part: &EntityValues) -> anyhow::Result<()> {
        let columns: &[ArrayRef] = part.features.columns();
        let keys = |rows| -> anyhow::Result<Vec<Vec<u8>>> {
            let keys = keys_of(rows, &self.view.entity)?.into_iter();
            Ok(keys.map(|key| key.expect("an entity has no null key").to_bytes()).collect())
        };
        let (written, removed) = (keys(&part.keys)?, keys(&part.removed)?);
        self.count.rows += written.len() as u64;
        self.count.removed += removed.len() as u64;
        let mut values = Vec::with_capacity(columns.len());
        self.pending.extend(written.into_iter().enumerate().map(|(row, key)| {
            values.clear();
            values.extend(columns.iter().map(|column| value_at(column, row)));
            (key, Some(encode_values(&values)))
        }));
        self.pending.extend(removed.into_iter().map(|key| (key, None)));
        Ok(())
    }
}

impl Iterator for Changes<'_> {
    type Item = anyhow::Result<OnlineChange>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.pending.is_empty() && !self.is_done {
            match self.entities.next() {
                Some(part) => {
                    if let Err(error) = part.map_err(anyhow::Error::from).and_then(|part| self.take(&part)) {
                        self.is_done = true;
                        return Some(Err(error));
                    }
                }
                None => {
                    self.is_done = true;
                    if self.entities.is_incomparable() {
                        return Some(Err(anyhow!("the source names other entities as known earlier than it did then")));
                    }
                    return Some(Ok((MARKER_KEY.to_vec(), Some(marker(self.digest, self.entities.known())))));
                }
            }
        }
        self.pending.pop_front().map(Ok)
    }
}
