//! A synthetic shop with known truth, in the layout of the public "Online Retail II" table.
//!
//! [`Shop::generate`] draws a catalogue, users with latent tastes and two years of invoices from a [`ShopSpec`]; the same
//! spec gives the same bytes. [`Shop::transactions`] is the table that a pipeline sees, [`Truth`] what it cannot see: how
//! probable each item was for each user at each time. [`Cut`] holds what was known at one time and what happened in the
//! month after it, so a test can say how far a model lies between recent popularity and the truth.
//!
//! How a line comes about (one exploring line of user `u` in week `w` is item `i` with probability proportional to
//! `taste(u, i) * pull(i, w)`):
//!
//! - `taste` is the exponential of the product of a user's and an item's style vector (a taste cluster plus individual
//!   variation; a category, a family of one design and a small own part) less price sensitivity times log price;
//! - `pull` is the exponential of popularity (quality), a slow weekly drift, novelty after the launch, the category's season
//!   and the effect of price changes; it is zero before the launch and after the withdrawal;
//! - a basket mixes repeats of what the user owns, free choices, and siblings of the previous choice (same design). A sibling
//!   is drawn from the same law restricted to that family, so **every** exploring line keeps the law above exactly.
//!
//! Around it stand the things that make real tables hard: rows that arrive days late, cancellations, lines without a user,
//! stock adjustments at price zero, postage and other codes that are no products.
//!
//! ```
//! use paceline_testkit::shop::{Shop, ShopSpec};
//!
//! let shop = Shop::generate(&ShopSpec { users: 40, items: 60, months: 3, ..ShopSpec::small() });
//! let table = shop.transactions();
//! assert_eq!(table.num_rows(), shop.lines().len());
//! assert!(table.column_by_name("loaded_at").is_some());
//! ```

mod calendar;
mod catalogue;
mod cut;
mod ledger;
mod people;
mod table;
mod truth;

#[cfg(test)]
mod tests;

pub use catalogue::Item;
pub use cut::{Cut, CutUser};
pub use ledger::Line;
pub use people::User;
pub use table::{FILE_NAME, transactions_schema};
pub use truth::Truth;

use calendar::Calendar;

/// What to generate. Every field decides the content; equal specs give equal bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ShopSpec {
    /// Number of users with an id. Above zero.
    pub users: usize,
    /// Number of products ever on sale. Above zero.
    pub items: usize,
    /// Whole months before December 2011; the table always ends on 2011-12-09 at 12:50, like the real one. Above zero.
    pub months: u32,
    /// Decides every draw.
    pub seed: u64,
    /// Visits (invoices) of an average active user in an average month.
    pub visits_per_month: f64,
    /// Lines of an average basket.
    pub basket_lines: f64,
    /// Share of invoices that carry no user id.
    pub anonymous_share: f64,
    /// Share of invoices that become known days after they happened.
    pub late_share: f64,
    /// Share of bought lines that are cancelled later.
    pub return_share: f64,
}

impl ShopSpec {
    /// About 45 thousand lines, for tests that run a whole pipeline in seconds.
    #[must_use]
    pub fn small() -> Self {
        ShopSpec {
            users: 800,
            items: 600,
            months: 14,
            seed: 1,
            visits_per_month: 0.5,
            basket_lines: 14.0,
            anonymous_share: 0.2,
            late_share: 0.03,
            return_share: 0.02,
        }
    }

    /// About 250 thousand lines over two years: `paceline demo`.
    #[must_use]
    pub fn demo() -> Self {
        ShopSpec { users: 3_000, items: 2_000, months: 24, ..ShopSpec::small() }
    }
}

/// A generated shop: the lines that everybody sees and the truth behind them.
#[derive(Debug, Clone)]
pub struct Shop {
    lines: Vec<Line>,
    truth: Truth,
}

impl Shop {
    /// Draws a whole shop.
    ///
    /// # Panics
    /// When `users`, `items` or `months` is zero, or a share lies outside `[0, 1)`: the caller's bug.
    #[must_use]
    pub fn generate(spec: &ShopSpec) -> Self {
        assert!(spec.users > 0 && spec.items > 0 && spec.months > 0, "an empty shop: {spec:?}");
        for share in [spec.anonymous_share, spec.late_share, spec.return_share] {
            assert!((0.0..1.0).contains(&share), "a share outside [0, 1): {spec:?}");
        }
        let calendar = Calendar::new(spec.months);
        let items = catalogue::draw_items(spec, &calendar);
        let users = people::draw_users(spec, &calendar);
        let truth = Truth::new(calendar, users, items, spec.seed);
        let lines = ledger::write_ledger(spec, &truth);
        Shop { lines, truth }
    }

    /// Every line in order of event time, cancellations, adjustments and non-products included.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What no pipeline may see.
    #[must_use]
    pub fn truth(&self) -> &Truth {
        &self.truth
    }
}
