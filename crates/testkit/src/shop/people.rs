//! Users: a taste cluster, their own variation around it, habits.

use paceline_core::random::{Random, stream};
use rand::RngExt;

use super::ShopSpec;
use super::calendar::Calendar;
use super::catalogue::{Style, draw_style};
use crate::sampling::{normal, pick};

/// Number of taste clusters.
pub(super) const CLUSTER_COUNT: usize = 8;

/// Strength of the individual part of a taste, where the cluster's is 1.
const INDIVIDUAL: f64 = 0.6;

pub(super) const HOME_COUNTRY: &str = "United Kingdom";

const COUNTRIES: [(&str, f64); 9] = [
    (HOME_COUNTRY, 0.92),
    ("Germany", 0.02),
    ("France", 0.018),
    ("EIRE", 0.015),
    ("Netherlands", 0.008),
    ("Spain", 0.007),
    ("Belgium", 0.005),
    ("Portugal", 0.004),
    ("Australia", 0.003),
];

/// One user with an id.
#[derive(Debug, Clone)]
pub struct User {
    /// As in the table.
    pub id: i32,
    /// Which taste cluster the style varies around.
    pub cluster: usize,
    /// As on the invoices.
    pub country: &'static str,
    /// Share of lines that repeat something owned.
    pub repeat_share: f64,
    /// How much less an item e times as expensive is wanted, in log weight.
    pub price_sensitivity: f64,
    /// Visits on a day of average demand while active.
    pub(super) visits_per_day: f64,
    /// Median number of lines of a basket.
    pub(super) basket_lines: f64,
    /// How many pieces this user takes, as a factor.
    pub(super) quantity_scale: f64,
    /// Days of the calendar on which the user may come.
    pub(super) active: std::ops::Range<usize>,
    pub(super) style: Style,
}

/// Draws all users; ids follow no order of time.
pub(super) fn draw_users(spec: &ShopSpec, calendar: &Calendar) -> Vec<User> {
    let clusters = cluster_styles(spec.seed);
    (0..spec.users)
        .map(|index| {
            let mut random = stream(spec.seed, &format!("shop user {index}"));
            draw_user(12_346 + index as i32, spec, calendar, &clusters, &mut random)
        })
        .collect()
}

/// The centres of the taste clusters.
pub(super) fn cluster_styles(seed: u64) -> Vec<Style> {
    let mut random = stream(seed, "shop clusters");
    (0..CLUSTER_COUNT).map(|_| draw_style(&mut random)).collect()
}

/// A person's place among the tastes.
pub(super) fn draw_taste(clusters: &[Style], random: &mut Random) -> (usize, Style) {
    let cluster = random.random_range(0..clusters.len());
    let own = draw_style(random);
    (cluster, std::array::from_fn(|d| clusters[cluster][d] + INDIVIDUAL * own[d]))
}

fn draw_user(id: i32, spec: &ShopSpec, calendar: &Calendar, clusters: &[Style], random: &mut Random) -> User {
    let (cluster, style) = draw_taste(clusters, random);
    let days = calendar.day_count();
    // A third were customers before the table begins; a lifetime is long, but many leave.
    let joins = if random.random_bool(0.35) { 0 } else { random.random_range(0..days) };
    let lifetime_days = (500.0 * (0.9 * normal(random)).exp()) as usize + 1;
    // Log-normal with mean 1: a few users come very often.
    let eagerness = (0.8 * normal(random) - 0.32).exp();
    User {
        id,
        cluster,
        country: draw_country(random),
        repeat_share: random.random_range(0.1..0.45),
        price_sensitivity: random.random_range(0.0..0.8),
        visits_per_day: spec.visits_per_month / 30.0 * eagerness,
        basket_lines: spec.basket_lines * 0.75 * (0.5 * normal(random)).exp(),
        quantity_scale: if random.random_bool(0.2) { 4.0 } else { 1.0 },
        active: joins..days.min(joins + lifetime_days),
        style,
    }
}

pub(super) fn draw_country(random: &mut Random) -> &'static str {
    COUNTRIES[pick(&COUNTRIES.map(|(_, share)| share), random)].0
}
