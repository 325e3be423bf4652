//! Matrix factors from implicit feedback by alternating least squares.
//!
//! The objective is that of [`paceline_models::factors`]. A sweep improves all users while items stand still, then all
//! items while users stand still; each vector by a few conjugate gradient steps from where it stood, which is much
//! cheaper than solving and converges as fast over sweeps (Takács, Pilászy and Tikk 2011). No step can raise the
//! objective. At the end the users are solved for the final items, so a user's vector is what
//! [`Factors::fold_in`] gives for the same interactions.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use paceline_core::random;
use paceline_models::factors::{Confidence, Factors, Gram, RowScratch, RowSolver};

use crate::{Interactions, LearnError};

/// How to train; together with the interactions it decides the result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlsSpec {
    /// Values in a vector, 1 to 1,024. 64 is where retail catalogues of some thousand items stop gaining.
    pub dimensions: usize,
    /// Sweeps over users and items; the ranking is stable after some 10.
    pub sweeps: usize,
    /// Conjugate gradient steps per vector and sweep. 3 as in the paper.
    pub steps: usize,
    /// How interactions become confidence.
    pub confidence: Confidence,
    /// Decides where vectors start.
    pub seed: u64,
}

impl Default for AlsSpec {
    fn default() -> Self {
        let confidence = Confidence { alpha: 10.0, regularization: 10.0 };
        AlsSpec { dimensions: 64, sweeps: 10, steps: 3, confidence, seed: 0 }
    }
}

impl AlsSpec {
    fn check(&self) -> Result<(), LearnError> {
        let bad = |option, value: String, must| Err(LearnError::BadOption { option, value, must });
        let above_zero = |value: f32| value.is_finite() && value > 0.0;
        if !(1..=1_024).contains(&self.dimensions) {
            return bad("dimensions", self.dimensions.to_string(), "between 1 and 1024");
        }
        if self.sweeps == 0 || self.steps == 0 {
            return bad("sweeps and steps", format!("{} and {}", self.sweeps, self.steps), "at least 1");
        }
        if !above_zero(self.confidence.alpha) {
            return bad("alpha", self.confidence.alpha.to_string(), "finite and above 0");
        }
        if !above_zero(self.confidence.regularization) {
            return bad("regularization", self.confidence.regularization.to_string(), "finite and above 0");
        }
        Ok(())
    }
}

/// Trains on `threads` threads (0 means 1). The result does not depend on their number: every vector is computed by
/// one thread from values that stand still.
///
/// A user or item without interactions ends at the zero vector: nothing is known, nothing is preferred.
///
/// # Errors
/// [`LearnError::BadOption`], and [`LearnError::TooFewRows`] when there is no interaction.
pub fn fit_als(interactions: &Interactions, spec: &AlsSpec, threads: usize) -> Result<Factors, LearnError> {
    spec.check()?;
    if interactions.is_empty() {
        let cause = "there are none; als needs users who interacted with items".to_owned();
        return Err(LearnError::TooFewRows { data: "interactions", cause });
    }
    let mut training = Training::new(interactions, spec, threads.max(1));
    for _ in 0..spec.sweeps {
        training.sweep();
    }
    Ok(training.finish())
}

/// The objective that training lowers: squared errors of all (user, item) pairs by confidence, plus the penalty.
///
/// # Panics
/// When the numbers of users or items differ.
#[must_use]
pub fn als_objective(factors: &Factors, interactions: &Interactions) -> f64 {
    let users: Vec<&[f32]> = (0..factors.user_count() as u32).map(|user| factors.user(user)).collect();
    objective(&users.concat(), factors.items(), factors.dimensions(), factors.confidence(), interactions)
}

struct Training<'a> {
    by_user: &'a Interactions,
    by_item: Interactions,
    spec: AlsSpec,
    threads: usize,
    users: Vec<f32>,
    items: Vec<f32>,
}

impl<'a> Training<'a> {
    fn new(by_user: &'a Interactions, spec: &AlsSpec, threads: usize) -> Self {
        let mut random = random::stream(spec.seed, "als");
        // Vectors of length about 1 / sqrt(12): the scale at which scores of first users neither vanish nor explode.
        let scale = 1.0 / (spec.dimensions as f32).sqrt();
        let items =
            (0..by_user.item_count() * spec.dimensions).map(|_| (random.random::<f32>() - 0.5) * scale).collect();
        let users = vec![0.0; by_user.user_count() * spec.dimensions];
        Training { by_user, by_item: by_user.transposed(), spec: *spec, threads, users, items }
    }

    fn sweep(&mut self) {
        let steps = self.spec.steps;
        let improve =
            |solver: &RowSolver<'_>, picks: &[u32], weights: &[f32], row: &mut [f32], scratch: &mut RowScratch| {
                solver.improve(picks, weights, row, steps, scratch);
            };
        half_sweep(self.by_user, &self.items, &mut self.users, &self.spec, self.threads, improve);
        half_sweep(&self.by_item, &self.users, &mut self.items, &self.spec, self.threads, improve);
    }

    fn finish(mut self) -> Factors {
        let solve =
            |solver: &RowSolver<'_>, picks: &[u32], weights: &[f32], row: &mut [f32], scratch: &mut RowScratch| {
                solver.solve(picks, weights, row, scratch);
            };
        half_sweep(self.by_user, &self.items, &mut self.users, &self.spec, self.threads, solve);
        Factors::new(self.users, self.items, self.spec.dimensions, self.spec.confidence)
    }
}

/// Applies `update` to every row of `side`, whose interactions with the rows of `other_side` are `interactions`.
fn half_sweep(
    interactions: &Interactions,
    other_side: &[f32],
    side: &mut [f32],
    spec: &AlsSpec,
    threads: usize,
    update: impl Fn(&RowSolver<'_>, &[u32], &[f32], &mut [f32], &mut RowScratch) + Copy + Send,
) {
    let gram = Gram::of(other_side, spec.dimensions, spec.confidence.regularization);
    let solver = RowSolver { other_side, gram: &gram, alpha: spec.confidence.alpha };
    let update_rows = move |first: usize, rows: &mut [f32]| {
        let mut scratch = RowScratch::new(spec.dimensions);
        for (at, row) in rows.chunks_exact_mut(spec.dimensions).enumerate() {
            let (picks, weights) = interactions.of_user((first + at) as u32);
            update(&solver, picks, weights, row, &mut scratch);
        }
    };
    let mut ends = balanced_ends(interactions, spec.dimensions, threads);
    let last = ends.pop();
    std::thread::scope(|scope| {
        let (mut first, mut rest) = (0, side);
        for end in ends {
            let (rows, after) = rest.split_at_mut((end - first) * spec.dimensions);
            scope.spawn(move || update_rows(first, rows));
            (first, rest) = (end, after);
        }
        if last.is_some() {
            update_rows(first, rest);
        }
    });
}

/// Where each thread's run of rows ends, so that all have about the same work; the last end is the number of rows.
fn balanced_ends(interactions: &Interactions, dimensions: usize, threads: usize) -> Vec<usize> {
    let row_count = interactions.user_count();
    // A step multiplies by the base once (dimensions^2) and visits every entry twice (2 dimensions).
    let work = |rows: usize, entries: usize| rows * dimensions + 2 * entries;
    let total = work(row_count, interactions.len());
    let mut ends = Vec::with_capacity(threads);
    let mut done = 0;
    for row in 0..row_count {
        done += work(1, interactions.of_user(row as u32).0.len());
        if ends.len() + 1 < threads && done * threads >= total * (ends.len() + 1) {
            ends.push(row + 1);
        }
    }
    ends.push(row_count);
    ends
}

/// Over all pairs by `sum of squared scores = <X'X, Y'Y>`, then corrected where there is an interaction.
fn objective(
    users: &[f32],
    items: &[f32],
    dimensions: usize,
    confidence: Confidence,
    interactions: &Interactions,
) -> f64 {
    assert_eq!(users.len(), interactions.user_count() * dimensions, "users");
    assert_eq!(items.len(), interactions.item_count() * dimensions, "items");
    let gram = |rows: &[f32]| {
        let mut gram = vec![0.0_f64; dimensions * dimensions];
        for row in rows.chunks_exact(dimensions) {
            for (sums, &scale) in gram.chunks_exact_mut(dimensions).zip(row) {
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(scale) * f64::from(value));
            }
        }
        gram
    };
    let mut total: f64 = gram(users).iter().zip(&gram(items)).map(|(x, y)| x * y).sum();
    for (user, x) in users.chunks_exact(dimensions).enumerate() {
        let (picks, weights) = interactions.of_user(user as u32);
        for (&pick, &weight) in picks.iter().zip(weights) {
            let y = &items[pick as usize * dimensions..][..dimensions];
            let score: f64 = x.iter().zip(y).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            total += (1.0 + f64::from(confidence.alpha * weight)) * (1.0 - score).powi(2) - score * score;
        }
    }
    let squares = users.iter().chain(items).map(|&value| f64::from(value).powi(2)).sum::<f64>();
    total + f64::from(confidence.regularization) * squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interactions::Interaction;

    const SEED: u64 = 7;

    /// Users and items belong to one of `groups`; a user takes an item of her own group with probability `inside`, of
    /// another with probability `outside`.
    fn grouped(users: u32, items: u32, groups: u32, inside: f64, outside: f64) -> Interactions {
        let mut random = random::stream(SEED, "world");
        let mut entries = Vec::new();
        for user in 0..users {
            for item in 0..items {
                let probability = if user % groups == item % groups { inside } else { outside };
                if random.random_bool(probability) {
                    entries.push(Interaction { user, item, weight: random.random_range(1..4) as f32 });
                }
            }
        }
        Interactions::new(users as usize, items as usize, &entries).expect("in range")
    }

    fn spec(dimensions: usize, sweeps: usize) -> AlsSpec {
        let confidence = Confidence { alpha: 4.0, regularization: 1.0 };
        AlsSpec { dimensions, sweeps, confidence, seed: SEED, ..AlsSpec::default() }
    }

    /// The objective by its definition: every pair visited.
    fn slow_objective(factors: &Factors, interactions: &Interactions) -> f64 {
        let confidence = factors.confidence();
        let mut total = 0.0;
        for user in 0..factors.user_count() as u32 {
            let (picks, weights) = interactions.of_user(user);
            for item in 0..factors.item_count() as u32 {
                let weight = picks.iter().position(|&pick| pick == item).map_or(0.0, |at| f64::from(weights[at]));
                let pairs = factors.user(user).iter().zip(factors.item(item));
                let score: f64 = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                let preference = if weight > 0.0 { 1.0 } else { 0.0 };
                total += (1.0 + f64::from(confidence.alpha) * weight) * (preference - score).powi(2);
            }
        }
        let vectors = (0..factors.user_count() as u32).map(|user| factors.user(user));
        let vectors = vectors.chain((0..factors.item_count() as u32).map(|item| factors.item(item)));
        let squares: f64 = vectors.flatten().map(|&value| f64::from(value).powi(2)).sum();
        total + f64::from(confidence.regularization) * squares
    }

    #[test]
    fn the_objective_is_its_definition_and_never_rises() {
        let interactions = grouped(60, 40, 4, 0.5, 0.05);
        let spec = spec(8, 1);
        let mut training = Training::new(&interactions, &spec, 1);
        let now = |training: &Training<'_>| {
            objective(&training.users, &training.items, spec.dimensions, spec.confidence, &interactions)
        };
        let start = now(&training);
        let mut before = start;
        for sweep in 0..15 {
            training.sweep();
            let after = now(&training);
            // Vectors are f32: the objective, a sum of thousands of terms, is known to about 1e-6 of itself.
            assert!(after <= before * (1.0 + 1e-6), "sweep {sweep}: {after} after {before}");
            before = after;
        }
        assert!(before < 0.5 * start, "nothing was learned: {before} of {start}");
        let factors = training.finish();
        let (fast, slow) = (als_objective(&factors, &interactions), slow_objective(&factors, &interactions));
        assert!((fast / slow - 1.0).abs() < 1e-9, "{fast} against {slow}");
        assert!(fast <= before * (1.0 + 1e-6), "solving the users raised the objective");
    }

    #[test]
    fn planted_groups_are_recovered() {
        // Three in ten of the own group's items are bought: the others of the group must rank above those of other groups.
        let (users, items, groups) = (300, 80, 4);
        let interactions = grouped(users, items, groups, 0.3, 0.01);
        let factors = fit_als(&interactions, &spec(4, 15), 1).expect("trains");
        let (mut in_order, mut pairs) = (0_usize, 0_usize);
        for user in 0..users {
            let bought = interactions.of_user(user).0;
            let score = |item: u32| factors.user(user).iter().zip(factors.item(item)).map(|(a, b)| a * b).sum::<f32>();
            let new_items = || (0..items).filter(|item| !bought.contains(item));
            for own in new_items().filter(|item| item % groups == user % groups) {
                for other in new_items().filter(|item| item % groups != user % groups) {
                    pairs += 1;
                    in_order += usize::from(score(own) > score(other));
                }
            }
        }
        let share = in_order as f64 / pairs as f64;
        assert!(share > 0.97, "{share} of {pairs} pairs are in order (seed {SEED})");
    }

    #[test]
    fn folding_in_a_trained_user_gives_her_vector() {
        let interactions = grouped(50, 40, 4, 0.5, 0.05);
        let factors = fit_als(&interactions, &spec(12, 4), 1).expect("trains");
        for user in 0..50 {
            let (items, weights) = interactions.of_user(user);
            let known: Vec<(u32, f32)> = items.iter().copied().zip(weights.iter().copied()).collect();
            assert_eq!(factors.fold_in(&known), factors.user(user), "user {user}");
        }
    }

    #[test]
    fn results_depend_on_the_seed_and_not_on_threads() {
        let interactions = grouped(50, 40, 4, 0.4, 0.05);
        let one = fit_als(&interactions, &spec(6, 3), 1).expect("trains").to_bytes();
        for threads in [0, 2, 3, 7, 200] {
            assert!(
                fit_als(&interactions, &spec(6, 3), threads).expect("trains").to_bytes() == one,
                "{threads} threads"
            );
        }
        let other = AlsSpec { seed: SEED + 1, ..spec(6, 3) };
        assert!(fit_als(&interactions, &other, 1).expect("trains").to_bytes() != one);
    }

    #[test]
    fn who_did_nothing_has_the_zero_vector() {
        let entries = [Interaction { user: 0, item: 0, weight: 1.0 }, Interaction { user: 2, item: 1, weight: 1.0 }];
        let interactions = Interactions::new(3, 3, &entries).expect("in range");
        let factors = fit_als(&interactions, &spec(4, 8), 1).expect("trains");
        assert_eq!(factors.user(1), [0.0; 4]);
        assert!(factors.item(2).iter().all(|value| value.abs() < 1e-6), "{:?}", factors.item(2));
        assert!(factors.user(0).iter().any(|&value| value != 0.0));
    }

    #[test]
    fn bad_options_and_no_interactions_are_refused() {
        let interactions = grouped(5, 5, 1, 0.9, 0.9);
        let check = |spec: AlsSpec, part: &str| {
            let message = fit_als(&interactions, &spec, 1).expect_err(part).to_string();
            assert!(message.contains(part), "{message}");
        };
        let confidence =
            |alpha, regularization| AlsSpec { confidence: Confidence { alpha, regularization }, ..spec(4, 2) };
        check(spec(0, 2), "dimensions is 0");
        check(spec(4, 0), "at least 1");
        check(confidence(0.0, 1.0), "alpha is 0");
        check(confidence(1.0, f32::NAN), "regularization is NaN");
        let none = Interactions::new(3, 3, &[]).expect("nothing is in range");
        assert!(matches!(fit_als(&none, &spec(4, 2), 1), Err(LearnError::TooFewRows { .. })));
    }
}
