//! What no pipeline may see: how probable each item was.

use std::collections::HashMap;

use chrono::Datelike;
use paceline_core::Timestamp;
use paceline_core::random::stream;

use super::calendar::Calendar;
use super::catalogue::{CATEGORY_COUNT, Item, STYLE, Style};
use super::people::User;
use crate::sampling::normal;

/// Spread of the log weights that taste gives to the items, for an average user.
const TASTE_STRENGTH: f64 = 1.1;
/// Week-to-week persistence of popularity, and its standing spread in log weight.
const DRIFT_PERSISTENCE: f64 = 0.95;
const DRIFT_SPREAD: f64 = 0.85;
/// Extra log weight at the launch, and weeks until it has fallen to 1/e.
const NOVELTY: f64 = 1.2;
const NOVELTY_WEEKS: f64 = 8.0;
/// How strongly a price change acts on demand, in log weight per log price.
const PRICE_ELASTICITY: f64 = 0.8;

/// The law behind the lines. See the module for the formula.
#[derive(Debug, Clone)]
pub struct Truth {
    pub(super) calendar: Calendar,
    users: Vec<User>,
    items: Vec<Item>,
    user_index: HashMap<i32, usize>,
    item_index: HashMap<String, usize>,
    /// `pull[week][item]`: zero where the item is not on sale.
    pull: Vec<Vec<f64>>,
}

impl Truth {
    pub(super) fn new(calendar: Calendar, users: Vec<User>, items: Vec<Item>, seed: u64) -> Self {
        let pull = draw_pull(&calendar, &items, seed);
        let user_index = users.iter().enumerate().map(|(index, user)| (user.id, index)).collect();
        let item_index = items.iter().enumerate().map(|(index, item)| (item.code.clone(), index)).collect();
        Truth { calendar, users, items, user_index, item_index, pull }
    }

    /// All users with an id.
    #[must_use]
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// All products; other functions number them by their position here.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The position in [`Truth::items`] of a stock code; `None` for codes that are no products.
    #[must_use]
    pub fn item_index(&self, code: &str) -> Option<usize> {
        self.item_index.get(code).copied()
    }

    /// Number of categories; [`Item::category`] names one.
    #[must_use]
    pub fn category_count(&self) -> usize {
        CATEGORY_COUNT
    }

    /// For each item the probability that one exploring line of this user between `from` and `until` is it.
    ///
    /// Exact for every line that is no repeat; sums to 1. Ranking the items that a user does not own by it is the oracle of
    /// a `new_only` label. `None` for an unknown user or when the shop has no open day in the span.
    #[must_use]
    pub fn choice(&self, user_id: i32, from: Timestamp, until: Timestamp) -> Option<Vec<f64>> {
        let user = &self.users[*self.user_index.get(&user_id)?];
        let taste = self.taste(&user.style, user.price_sensitivity);
        let mut demand_of_week = vec![0.0; self.calendar.week_count()];
        for day in self.calendar.days_between(from, until) {
            demand_of_week[day / 7] += self.calendar.demand(day);
        }
        let demand: f64 = demand_of_week.iter().sum();
        if demand <= 0.0 {
            return None;
        }
        let mut choice = vec![0.0; self.items.len()];
        for (week, &weight) in demand_of_week.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            let weights = self.weights(&taste, week);
            let scale = weight / demand / weights.iter().sum::<f64>();
            choice.iter_mut().zip(&weights).for_each(|(sum, w)| *sum += w * scale);
        }
        Some(choice)
    }

    /// `taste(u, i)` for a place among the tastes.
    pub(super) fn taste(&self, style: &Style, price_sensitivity: f64) -> Vec<f64> {
        let scale = TASTE_STRENGTH / (STYLE as f64).sqrt();
        self.items
            .iter()
            .map(|item| {
                let affinity: f64 = style.iter().zip(&item.style).map(|(a, b)| a * b).sum();
                (scale * affinity - price_sensitivity * item.list_price.ln()).exp()
            })
            .collect()
    }

    /// `taste * pull` of one week; all zero only if nothing is on sale.
    pub(super) fn weights(&self, taste: &[f64], week: usize) -> Vec<f64> {
        taste.iter().zip(&self.pull[week]).map(|(taste, pull)| taste * pull).collect()
    }
}

fn draw_pull(calendar: &Calendar, items: &[Item], seed: u64) -> Vec<Vec<f64>> {
    let mut random = stream(seed, "shop drift");
    let innovation = DRIFT_SPREAD * (1.0 - DRIFT_PERSISTENCE * DRIFT_PERSISTENCE).sqrt();
    let mut drift: Vec<f64> = items.iter().map(|_| DRIFT_SPREAD * normal(&mut random)).collect();
    (0..calendar.week_count())
        .map(|week| {
            let first_day = 7 * week;
            let at = calendar.midnight(first_day as i64);
            let date = calendar.date((first_day + 3).min(calendar.day_count() - 1));
            let month = f64::from(date.month()) + f64::from(date.day0()) / 31.0;
            items
                .iter()
                .zip(&mut drift)
                .map(|(item, drift)| {
                    *drift = DRIFT_PERSISTENCE * *drift + innovation * normal(&mut random);
                    if !item.on_sale(at) {
                        return 0.0;
                    }
                    let age_weeks = at.seconds_since(item.launched) / (7.0 * 86_400.0);
                    let novelty = NOVELTY * (-age_weeks / NOVELTY_WEEKS).exp();
                    let price_effect = -PRICE_ELASTICITY * item.price_factor_at(at).ln();
                    (item.quality + *drift + novelty + item.season(month) + price_effect).exp()
                })
                .collect()
        })
        .collect()
}
