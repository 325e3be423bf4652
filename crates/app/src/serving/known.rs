//! What is known of users and items at one time, as a published recommender reads it.

use anyhow::Result;

use paceline_core::{KeyPart, Timestamp};
use paceline_models::recommend::{UserState, decode_user, encode_user};
use paceline_serve::recommend::artifact::PublishedRecommender;

use crate::pipeline::Recommend;
use crate::run::recommend::{ItemFactors, World};

/// Items of the popular list: an answer's limit, and as many owned or excluded ones.
const POPULAR_ITEMS: usize = 2_000;

/// Histories, factors and popularity from what was known before `at`.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The goal.
    pub goal: &'a Recommend,
    /// The data.
    pub world: &'a World,
    /// What reads it.
    pub model: &'a PublishedRecommender,
    /// The item factors of `model`.
    pub factors: &'a ItemFactors,
    /// The time.
    pub at: Timestamp,
}

impl Known<'_> {
    /// Whether anything is known of a user of the world.
    #[must_use]
    pub fn has_user(&self, user: u32) -> bool {
        self.world.purchases.known(user, self.at).next().is_some()
    }

    /// A user's state in its stored form.
    ///
    /// # Errors
    /// When a purchase has no usable weight.
    pub fn stored_state(&self, user: u32) -> Result<Vec<u8>> {
        let (world, catalogue) = (self.world, &self.model.catalogue);
        let mut state = world.purchases.state_at(user, self.at);
        let number = |item: u32| catalogue.index_of(world.catalogue.item(item));
        state.factors = self.factors.user(&world.purchases, user, self.at, number)?;
        Ok(encode_user(&state, &world.catalogue))
    }

    /// A user's state as a request reads it: users and items by the model's numbers.
    ///
    /// # Errors
    /// As [`Known::stored_state`].
    pub fn state(&self, user: u32) -> Result<UserState> {
        let mut state = decode_user(&self.stored_state(user)?, &self.model.catalogue)?;
        state.number = self.model.users.of(&self.world.users[user as usize]);
        Ok(state)
    }

    /// The items that most users bought in the window, with how many, best first; then those known at all.
    #[must_use]
    pub fn popular(&self) -> Vec<(KeyPart, f64)> {
        let world = self.world;
        let buyers = world.purchases.buyers_at(self.at, self.goal.candidates.popular_window);
        let known = world.purchases.items_known_at(self.at);
        let mut items: Vec<u32> = (0..world.catalogue.len() as u32).filter(|item| known[*item as usize]).collect();
        items.sort_by_key(|item| std::cmp::Reverse(buyers[*item as usize]));
        items.truncate(POPULAR_ITEMS);
        items.iter().map(|&item| (world.catalogue.item(item).clone(), f64::from(buyers[item as usize]))).collect()
    }
}
