//! What a published recommender reads from the online store, computed from the sources as of one time.
//!
//! The order is views, lists, user states: the states name the artifact that everything goes with, so a reader takes
//! tables that are not complete yet for those of another artifact and answers from a lower rung meanwhile. Each table is
//! replaced whole or not at all. Beside the sources themselves no more than a chunk of rows is in memory.

use anyhow::{Context as _, Result};

use paceline_core::online::{OnlineRow, OnlineStore};
use paceline_core::{Digest, EntityKey, KeyPart, Timestamp};
use paceline_models::recommend::{UserState, decode_user, encode_list, encode_user};
use paceline_serve::recommend::artifact::PublishedRecommender;
use paceline_serve::recommend::tables::{
    self, RESERVED_KEY, encode_digest, lists_table, read_items, read_user_values, user_state_table,
};
use paceline_serve::recommend::{ItemTable, Request, Workspace};

use crate::materialize;
use crate::parallel;
use crate::pipeline::{Pipeline, Recommend};
use crate::run::recommend::{ItemFactors, World};
use crate::stores::publish;
use crate::training_set::JoinMeans;

/// Items of a precomputed list.
pub const LIST_ITEMS: usize = 100;
/// Items of the popular list: an answer's limit, and as many owned or excluded ones.
const POPULAR_ITEMS: usize = 2_000;
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
            for view in materialize::materialize(self.pipeline, until, self.store, &means, &mut |_| ())? {
                say(&format!("materialized [features.{}]: {} rows as of {}", view.view, view.rows, view.as_of));
            }
        }
        say(&format!("materialized lists: {} rows as of {until}", self.lists()?));
        say(&format!("materialized user states: {} rows as of {until}", self.user_states()?));
        Ok(())
    }

    /// Users of whom something is known.
    fn known_users(&self) -> Vec<u32> {
        let purchases = &self.world.purchases;
        let known = |user: &u32| purchases.known(*user, self.until).next().is_some();
        (0..purchases.user_count() as u32).filter(known).collect()
    }

    /// The stored form of a user's state.
    fn state(&self, factors: &ItemFactors, user: u32) -> Result<Vec<u8>> {
        let (world, catalogue) = (self.world, &self.model.catalogue);
        let mut state = world.purchases.state_at(user, self.until);
        let number = |item: u32| catalogue.index_of(world.catalogue.item(item));
        state.factors = factors.user(&world.purchases, user, self.until, number)?;
        Ok(encode_user(&state, &world.catalogue))
    }

    fn user_states(&self) -> Result<u64> {
        let factors = ItemFactors::of(&self.model.recommender.retriever);
        let users = self.known_users();
        let row = |user: &u32| Ok((key_bytes(&self.world.users[*user as usize]), self.state(&factors, *user)?));
        let header = std::iter::once(Ok((RESERVED_KEY.to_vec(), encode_digest(&self.digest))));
        let states = users.chunks(CHUNK).flat_map(|users| spread(self.each(users, |user, (): &mut ()| row(user))));
        let mut rows = header.chain(states);
        publish(self.store, &user_state_table(&self.pipeline.name), self.until, &mut rows).context("user states")
    }

    /// Each user's list, ranked by the model from what requests will read: the views just written.
    fn lists(&self) -> Result<u64> {
        let (model, pipeline) = (self.model, self.pipeline.name.as_str());
        let factors = ItemFactors::of(&model.recommender.retriever);
        let (views, layout) = (&model.description.item_views, &model.recommender.layout);
        let (items, _) = read_items(self.store, pipeline, views, &model.catalogue, layout)?;
        let users = self.known_users();
        let row = |user: &u32, workspace: &mut Workspace| -> Result<OnlineRow> {
            let key = &self.world.users[*user as usize];
            let bytes = key_bytes(key);
            let mut state = decode_user(&self.state(&factors, *user)?, &model.catalogue)?;
            state.number = model.users.of(key);
            let (values, _) = read_user_values(self.store, pipeline, &model.description.user_views, &bytes)?;
            Ok((bytes, self.list(&values, &state, &items, workspace)))
        };
        let popular = std::iter::once(Ok((RESERVED_KEY.to_vec(), self.popular())));
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

    /// The most bought items of the window, those known at all after them.
    fn popular(&self) -> Vec<u8> {
        let world = self.world;
        let buyers = world.purchases.buyers_at(self.until, self.goal.candidates.popular_window);
        let known = world.purchases.items_known_at(self.until);
        let mut items: Vec<u32> = (0..world.catalogue.len() as u32).filter(|item| known[*item as usize]).collect();
        items.sort_by_key(|item| std::cmp::Reverse(buyers[*item as usize]));
        items.truncate(POPULAR_ITEMS);
        let score = |item: &u32| f64::from(buyers[*item as usize]);
        let named: Vec<(KeyPart, f64)> =
            items.iter().map(|item| (world.catalogue.item(*item).clone(), score(item))).collect();
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
