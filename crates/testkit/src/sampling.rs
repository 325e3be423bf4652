//! The few distributions that the worlds draw from.

use paceline_core::random::Random;
use rand::RngExt;

/// A standard normal number (Box and Muller 1958).
pub(crate) fn normal(random: &mut Random) -> f64 {
    // `1 - u` lies in (0, 1], so the logarithm is finite.
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// The index of one of `weights`, with probability proportional to it. The sum must be above zero.
pub(crate) fn pick(weights: &[f64], random: &mut Random) -> usize {
    let total: f64 = weights.iter().sum();
    debug_assert!(total > 0.0, "nothing to pick from");
    let mut rest = random.random::<f64>() * total;
    for (index, weight) in weights.iter().enumerate() {
        rest -= weight;
        if rest < 0.0 {
            return index;
        }
    }
    // Rounding left a hair over: the last index with a weight.
    weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
}

/// The index under `cumulative` sums of non-negative weights, with probability proportional to each weight.
pub(crate) fn pick_cumulative(cumulative: &[f64], random: &mut Random) -> usize {
    let total = cumulative.last().copied().unwrap_or(0.0);
    let at = random.random::<f64>() * total;
    cumulative.partition_point(|&sum| sum <= at).min(cumulative.len().saturating_sub(1))
}
