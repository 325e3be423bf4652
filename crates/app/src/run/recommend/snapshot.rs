//! Everything that is known at one cut.

use std::sync::Arc;

use anyhow::Result;

use paceline_core::{Period, Timestamp, Value};
use paceline_learn::recommend::{
    AlsoBoughtSpec, BoughtNextSpec, BoughtTogetherSpec, Purchases, SimilarUsersSpec, fit_also_bought, fit_bought_next,
    fit_bought_together, fit_similar_users,
};
use paceline_learn::{Interaction, Interactions, fit_als};
use paceline_models::Factors;
use paceline_models::recommend::{Retriever, UserState};
use paceline_serve::recommend::{ItemTable, RowLayout};

use super::world::World;
use crate::pipeline::Recommend;
use crate::run::specs;

/// After this many days a purchase counts half for the factors: short, since what a shop sells changes by the month.
const FACTOR_HALF_LIFE_DAYS: f64 = 30.0;
/// After this many days a purchase counts half as a cause of the next.
const CAUSE_HALF_LIFE_DAYS: f64 = 90.0;
/// After this many days a purchase counts half as a taste.
const TASTE_HALF_LIFE_DAYS: f64 = 180.0;
/// How far back a first purchase of an item counts as lately.
const FIRST_BUYERS_WINDOW: Period = Period::days(30);

/// The candidate stage and the features as of one time.
pub struct Snapshot {
    /// As of when.
    pub cut: Timestamp,
    /// The candidate stage.
    pub retriever: Arc<Retriever>,
    /// Features of all items.
    pub items: ItemTable,
    factors: Factors,
    user_values: Vec<Value>,
    user_columns: usize,
}

impl Snapshot {
    /// Fits and computes everything from what was known before `cut`.
    pub fn at(
        world: &World,
        layout: &RowLayout,
        goal: &Recommend,
        cut: Timestamp,
        seed: u64,
        threads: usize,
    ) -> Result<Snapshot> {
        let purchases = &world.purchases;
        let factors = fit_als(&weighted(purchases, cut)?, &specs::factors(&goal.factors, seed), threads)?;
        let counts = |users: Vec<u32>| users.into_iter().map(|count| count as f32).collect();
        let retriever = Retriever {
            item_factors: factors.items().to_vec(),
            dimensions: factors.dimensions(),
            bought_next: fit_bought_next(purchases, cut, &BoughtNextSpec::default()),
            bought_together: fit_bought_together(purchases, cut, &BoughtTogetherSpec::default()),
            also_bought: fit_also_bought(purchases, cut, &AlsoBoughtSpec::default()),
            similar_users: fit_similar_users(purchases, cut, &SimilarUsersSpec::default()),
            groups: world.groups.clone(),
            popularity: counts(purchases.buyers_at(cut, goal.candidates.popular_window)),
            first_buyers: counts(purchases.first_buyers_at(cut, FIRST_BUYERS_WINDOW)),
            available: purchases.items_known_at(cut),
            half_life_days: CAUSE_HALF_LIFE_DAYS,
            taste_half_life_days: TASTE_HALF_LIFE_DAYS,
        };
        let items = layout.item_table(world.item_side.values_at(world.catalogue.items(), cut, threads)?);
        Ok(Snapshot {
            cut,
            retriever: Arc::new(retriever),
            items,
            factors,
            user_values: world.user_side.values_at(&world.users, cut, threads)?,
            user_columns: world.user_side.types().len(),
        })
    }

    /// The same with the features of another placement; candidates and factors stay.
    ///
    /// # Errors
    /// When features cannot be computed.
    pub fn with_features_of(&self, world: &World, layout: &RowLayout, threads: usize) -> Result<Snapshot> {
        Ok(Snapshot {
            cut: self.cut,
            retriever: Arc::clone(&self.retriever),
            items: layout.item_table(world.item_side.values_at(world.catalogue.items(), self.cut, threads)?),
            factors: self.factors.clone(),
            user_values: world.user_side.values_at(&world.users, self.cut, threads)?,
            user_columns: world.user_side.types().len(),
        })
    }

    /// Features of a user.
    #[must_use]
    pub fn user(&self, user: u32) -> &[Value] {
        &self.user_values[user as usize * self.user_columns..(user as usize + 1) * self.user_columns]
    }

    /// History and factors of a user.
    #[must_use]
    pub fn state(&self, purchases: &Purchases, user: u32) -> UserState {
        let mut state = purchases.state_at(user, self.cut);
        state.factors = self.factors.user(user).to_vec();
        state
    }
}

/// Item factors of a published candidate stage, beside which users of today are solved for: factors of another fit
/// would not go with them.
pub struct ItemFactors(Option<Factors>);

impl ItemFactors {
    /// Those of `retriever`, fitted as `goal` says.
    #[must_use]
    pub fn of(retriever: &Retriever, goal: &Recommend) -> Self {
        let fitted = retriever.dimensions > 0 && !retriever.item_factors.is_empty();
        let confidence = specs::confidence(&goal.factors);
        ItemFactors(
            fitted.then(|| Factors::new(Vec::new(), retriever.item_factors.clone(), retriever.dimensions, confidence)),
        )
    }

    /// The factors of `user` from what is known before `cut`: what training as of then would give her beside these
    /// item factors. `number` gives an item's number among them.
    ///
    /// # Errors
    /// When a purchase has no usable weight.
    pub fn user(
        &self,
        purchases: &Purchases,
        user: u32,
        cut: Timestamp,
        number: impl Fn(u32) -> Option<u32>,
    ) -> Result<Vec<f32>> {
        let Some(factors) = &self.0 else { return Ok(Vec::new()) };
        let entries: Vec<Interaction> = weights(purchases, user, cut)
            .filter_map(|entry| Some(Interaction { user: 0, item: number(entry.item)?, ..entry }))
            .collect();
        let merged = Interactions::new(1, factors.item_count(), &entries)?;
        let (items, weights) = merged.of_user(0);
        Ok(factors.fold_in(&items.iter().copied().zip(weights.iter().copied()).collect::<Vec<_>>()))
    }
}

/// Each purchase of `user` known before `cut`, newer ones counting more.
fn weights(purchases: &Purchases, user: u32, cut: Timestamp) -> impl Iterator<Item = Interaction> + '_ {
    purchases.known(user, cut).map(move |row| {
        let age_days = cut.seconds_since(row.time) / 86_400.0;
        let weight = (-age_days / FACTOR_HALF_LIFE_DAYS).exp2().max(1e-6) as f32;
        Interaction { user, item: row.item, weight }
    })
}

fn weighted(purchases: &Purchases, cut: Timestamp) -> Result<Interactions> {
    let entries: Vec<Interaction> =
        (0..purchases.user_count() as u32).flat_map(|user| weights(purchases, user, cut)).collect();
    Ok(Interactions::new(purchases.user_count(), purchases.item_count(), &entries)?)
}
