//! What a published recommender reads from the online store, computed from the sources as of one time.
//!
//! The order is views, lists, user states: the states name the artifact that everything goes with, so a reader takes
//! tables that are not complete yet for those of another artifact and answers from a lower rung meanwhile. Each table is
//! replaced whole or not at all. Beside the sources themselves no more than a chunk of rows is in memory.

use anyhow::{Context as _, Result};

use paceline_core::online::{OnlineRow, OnlineStore};
use paceline_core::{Digest, EntityKey, KeyPart, Timestamp};
use paceline_models::recommend::{UserState, encode_list};
use paceline_serve::recommend::artifact::PublishedRecommender;
use paceline_serve::recommend::tables::{
    self, RESERVED_KEY, encode_digest, lists_table, read_items, read_user_values, user_state_table,
};
use paceline_serve::recommend::{ItemTable, Request, Workspace};

use super::known::Known;
use crate::materialize::{self, Extent, Run};
use crate::parallel;
use crate::pipeline::{Pipeline, Recommend};
use crate::run::recommend::{ItemFactors, World};
use crate::stores::publish;
use crate::training_set::JoinMeans;

/// Items of a precomputed list.
pub const LIST_ITEMS: usize = 100;
/// Entities that are computed at once.
const CHUNK: usize = 1_024;

/// Just after the newest row, so that everything is known.
#[must_use]
pub fn end_of_data(world: &World) -> Timestamp {
    Timestamp(world.times.1.0.saturating_add(1))
}

/// As of when the store holds the tables of this artifact; `None` when it does not.
///
/// # Errors
/// The store's.
pub fn materialized_until(pipeline: &Pipeline, digest: Digest, store: &dyn OnlineStore) -> Result<Option<Timestamp>> {
    let version = tables::read_user_state_version(store, &user_state_table(&pipeline.name))?;
    Ok(version.filter(|(_, artifact)| *artifact == Some(digest)).map(|(as_of, _)| as_of))
}

/// What is materialized, and where to.
pub struct Materialization<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Its goal.
    pub goal: &'a Recommend,
    /// Its data.
    pub world: &'a World,
    /// The artifact.
    pub digest: Digest,
    /// What it holds.
    pub model: &'a PublishedRecommender,
    /// As of when. A scheduled view is as of the last point of its schedule at or before it, as in training.
    pub until: Timestamp,
    /// Where to.
    pub store: &'a dyn OnlineStore,
    /// Threads at once; results do not depend on them.
    pub threads: usize,
}

impl Materialization<'_> {
    /// Writes every table; `say` hears of each.
    ///
    /// # Errors
    /// When the store holds something newer or fails. Tables written before that stay.
    pub fn write(&self, say: &dyn Fn(&str)) -> Result<()> {
        let until = self.until;
        if !self.pipeline.views.is_empty() {
            let means = JoinMeans { threads: self.threads.max(1), ..JoinMeans::default() };
            let run = Run { extent: Extent::Changes, store: self.store, means: &means };
            // The schedule of a view may have brought it further than that.
            let mut targets = materialize::targets(self.pipeline, until);
            for target in &mut targets {
                let stored = self.store.as_of(&materialize::table_of(self.pipeline, target.view))?;
                target.as_of = stored.map_or(target.as_of, |stored| stored.max(target.as_of));
            }
            for view in materialize::materialize(self.pipeline, &targets, &run, &mut |_| ())? {
                let what = if view.is_incremental { "changed rows" } else { "rows" };
                say(&format!("materialized [features.{}]: {} {what} as of {}", view.view, view.rows, view.as_of));
            }
        }
        say(&format!("materialized lists: {} rows as of {until}", self.lists()?));
        say(&format!("materialized user states: {} rows as of {until}", self.user_states()?));
        Ok(())
    }

    fn known<'a>(&'a self, factors: &'a ItemFactors) -> Known<'a> {
        Known { goal: self.goal, world: self.world, model: self.model, factors, at: self.until }
    }

    fn user_states(&self) -> Result<u64> {
        let factors = ItemFactors::of(&self.model.recommender.retriever, self.goal);
        let known = self.known(&factors);
        let users = known_users(&known);
        let row = |user: &u32| Ok((key_bytes(&self.world.users[*user as usize]), known.stored_state(*user)?));
        let header = std::iter::once(Ok((RESERVED_KEY.to_vec(), encode_digest(&self.digest))));
        let states = users.chunks(CHUNK).flat_map(|users| spread(self.each(users, |user, (): &mut ()| row(user))));
        let mut rows = header.chain(states);
        publish(self.store, &user_state_table(&self.pipeline.name), self.until, &mut rows).context("user states")
    }

    /// Each user's list, ranked by the model from what requests will read: the views just written.
    fn lists(&self) -> Result<u64> {
        let (model, pipeline) = (self.model, self.pipeline.name.as_str());
        let factors = ItemFactors::of(&model.recommender.retriever, self.goal);
        let (views, layout) = (&model.description.item_views, &model.recommender.layout);
        let (items, _) = read_items(self.store, pipeline, views, &model.catalogue, layout)?;
        let known = self.known(&factors);
        let users = known_users(&known);
        let row = |user: &u32, workspace: &mut Workspace| -> Result<OnlineRow> {
            let bytes = key_bytes(&self.world.users[*user as usize]);
            let state = known.state(*user)?;
            let (values, _) = read_user_values(self.store, pipeline, &model.description.user_views, &bytes)?;
            Ok((bytes, self.list(&values, &state, &items, workspace)))
        };
        let popular = std::iter::once(Ok((RESERVED_KEY.to_vec(), encode_list(&known.popular()))));
        let lists = users.chunks(CHUNK).flat_map(|users| spread(self.each(users, row)));
        publish(self.store, &lists_table(pipeline), self.until, &mut popular.chain(lists)).context("lists")
    }

    fn list(
        &self,
        values: &[paceline_core::Value],
        state: &UserState,
        items: &ItemTable,
        workspace: &mut Workspace,
    ) -> Vec<u8> {
        let now = self.until;
        let request = Request { user: values, state, items, now, k: LIST_ITEMS, excluded: &[] };
        let ranked = self.model.recommender.answer(request, workspace);
        let named: Vec<(KeyPart, f64)> =
            ranked.iter().map(|ranked| (self.model.catalogue.item(ranked.item).clone(), ranked.score)).collect();
        encode_list(&named)
    }

    /// `work` for each of a chunk's users, results in order.
    fn each<S: Default>(
        &self,
        users: &[u32],
        work: impl Fn(&u32, &mut S) -> Result<OnlineRow> + Sync,
    ) -> Result<Vec<OnlineRow>> {
        parallel::map(users.len(), self.threads, |state, at| work(&users[at], state)).into_iter().collect()
    }
}

fn known_users(known: &Known<'_>) -> Vec<u32> {
    (0..known.world.users.len() as u32).filter(|user| known.has_user(*user)).collect()
}

/// The rows of a chunk, or its one error.
fn spread(rows: Result<Vec<OnlineRow>>) -> impl Iterator<Item = Result<OnlineRow>> {
    let (rows, error) = match rows {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(Err(error))),
    };
    rows.into_iter().map(Ok).chain(error)
}

fn key_bytes(key: &KeyPart) -> Vec<u8> {
    EntityKey(vec![key.clone()]).to_bytes()
}
