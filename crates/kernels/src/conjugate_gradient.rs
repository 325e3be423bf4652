//! Solves `(B + sum_i w_i v_i v_i') x = b`: a symmetric positive definite base plus picked rank-one terms, without
//! ever forming the sum.

use crate::cpu::multiversion;
use crate::dot::in_lanes as dot;

/// The left side of the system.
#[derive(Debug, Clone, Copy)]
pub struct LowRankSystem<'a> {
    /// The symmetric positive definite base `B`, row-major, `size x size`.
    pub base: &'a [f32],
    /// Table of vectors, row-major, each of `size` values.
    pub vectors: &'a [f32],
    /// Which rows of the table are the `v_i`.
    pub picks: &'a [u32],
    /// The `w_i`, at or above 0, one per pick.
    pub weights: &'a [f32],
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    /// After this many steps at the latest.
    pub steps_max: usize,
    /// As soon as the residual's length is at most this share of the right side's; 0 never stops early.
    pub tolerance: f32,
}

/// Working memory for systems of one size, reused between calls.
#[derive(Debug, Clone)]
pub struct Workspace {
    residual: Vec<f32>,
    direction: Vec<f32>,
    image: Vec<f32>,
}

impl Workspace {
    /// For systems of `size` unknowns.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Workspace { residual: vec![0.0; size], direction: vec![0.0; size], image: vec![0.0; size] }
    }
}

/// Improves `x` by conjugate gradients (Hestenes and Stiefel 1952) from where it stands; `right` is `b`.
///
/// Every step lowers `x' A x / 2 - b' x` (up to rounding), so stopping early still improves. The order of additions is
/// fixed: results are equal to the last bit with and without wide registers.
///
/// # Panics
/// When lengths do not fit the size of `x`, or a pick is outside the table.
pub fn solve(system: LowRankSystem<'_>, right: &[f32], x: &mut [f32], stop: Stop, workspace: &mut Workspace) {
    let size = x.len();
    assert_eq!(system.base.len(), size * size, "base of {size} unknowns");
    assert_eq!(right.len(), size, "right side of {size} unknowns");
    assert_eq!(system.picks.len(), system.weights.len(), "picks and weights");
    assert_eq!(workspace.residual.len(), size, "workspace of {size} unknowns");
    solve_widest(system, right, x, stop, workspace);
}

multiversion! {
    fn solve_widest(system: LowRankSystem<'_>, right: &[f32], x: &mut [f32], stop: Stop, workspace: &mut Workspace) {
        steps(system, right, x, stop, workspace)
    }
}

#[inline(always)]
fn steps(system: LowRankSystem<'_>, right: &[f32], x: &mut [f32], stop: Stop, workspace: &mut Workspace) {
    let Workspace { residual, direction, image } = workspace;
    apply(system, x, image);
    for ((r, &b), &ax) in residual.iter_mut().zip(right).zip(image.iter()) {
        *r = b - ax;
    }
    direction.copy_from_slice(residual);
    let mut residual_square = dot(residual, residual);
    let enough = stop.tolerance * stop.tolerance * dot(right, right);
    for _ in 0..stop.steps_max {
        if residual_square <= enough {
            return;
        }
        apply(system, direction, image);
        let curvature = dot(direction, image);
        // The system is positive definite, so only rounding next to the solution leads here.
        if curvature <= 0.0 {
            return;
        }
        let step = residual_square / curvature;
        add_scaled(x, step, direction);
        add_scaled(residual, -step, image);
        let next_square = dot(residual, residual);
        let keep = next_square / residual_square;
        residual_square = next_square;
        for (d, &r) in direction.iter_mut().zip(residual.iter()) {
            *d = r + keep * *d;
        }
    }
}

/// `out = A x`.
#[inline(always)]
fn apply(system: LowRankSystem<'_>, x: &[f32], out: &mut [f32]) {
    let size = x.len();
    out.fill(0.0);
    // The base is symmetric, so its rows are its columns, and adding scaled columns needs no sum across lanes.
    for (&value, column) in x.iter().zip(system.base.chunks_exact(size)) {
        add_scaled(out, value, column);
    }
    for (&pick, &weight) in system.picks.iter().zip(system.weights) {
        let vector = &system.vectors[pick as usize * size..][..size];
        add_scaled(out, weight * dot(vector, x), vector);
    }
}

#[inline(always)]
fn add_scaled(into: &mut [f32], scale: f32, values: &[f32]) {
    for (into, &value) in into.iter_mut().zip(values) {
        *into += scale * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    struct World {
        size: usize,
        base: Vec<f32>,
        vectors: Vec<f32>,
        picks: Vec<u32>,
        weights: Vec<f32>,
        right: Vec<f32>,
    }

    impl World {
        fn system(&self) -> LowRankSystem<'_> {
            LowRankSystem { base: &self.base, vectors: &self.vectors, picks: &self.picks, weights: &self.weights }
        }

        /// `A x` by the definition, in f64.
        fn apply(&self, x: &[f64]) -> Vec<f64> {
            let dot = |row: &[f32]| row.iter().zip(x).map(|(&a, b)| f64::from(a) * b).sum::<f64>();
            let mut out: Vec<f64> = self.base.chunks_exact(self.size).map(dot).collect();
            for (&pick, &weight) in self.picks.iter().zip(&self.weights) {
                let vector = &self.vectors[pick as usize * self.size..][..self.size];
                let scale = f64::from(weight) * dot(vector);
                out.iter_mut().zip(vector).for_each(|(out, &value)| *out += scale * f64::from(value));
            }
            out
        }

        /// `x' A x / 2 - b' x` in f64.
        fn energy(&self, x: &[f32]) -> f64 {
            let x: Vec<f64> = x.iter().map(|&value| f64::from(value)).collect();
            let image = self.apply(&x);
            x.iter().zip(&image).zip(&self.right).map(|((x, ax), &b)| x * ax / 2.0 - f64::from(b) * x).sum()
        }
    }

    impl World {
        fn random(seed: u64) -> Self {
            let mut draw = Draw(seed);
            let (size, table, pick_count) = (1 + draw.below(40), 1 + draw.below(12), draw.below(12));
            let mut numbers =
                |count: usize| (0..count).map(|_| draw.below(2_001) as f32 / 1_000.0 - 1.0).collect::<Vec<_>>();
            let (root, vectors, right) = (numbers(size * size), numbers(size * table), numbers(size));
            let weights = numbers(pick_count).iter().map(|weight| 5.0 * weight.abs()).collect();
            let mut base = vec![0.0; size * size];
            for i in 0..size {
                for j in 0..size {
                    let product: f32 = (0..size).map(|k| root[i * size + k] * root[j * size + k]).sum();
                    base[i * size + j] = product + if i == j { 1.0 } else { 0.0 };
                }
            }
            let picks = (0..pick_count).map(|_| draw.below(table) as u32).collect();
            World { size, base, vectors, picks, weights, right }
        }
    }

    #[test]
    fn many_steps_solve_and_each_step_improves() {
        for seed in 0..200 {
            let world = World::random(seed);
            let (mut x, mut workspace) = (vec![0.0; world.size], Workspace::new(world.size));
            let mut energy = world.energy(&x);
            for steps_max in 1..6 {
                solve(world.system(), &world.right, &mut x, Stop { steps_max, tolerance: 0.0 }, &mut workspace);
                let next = world.energy(&x);
                // The energy is of order one; f32 rounding of x moves it by far less than this.
                assert!(next <= energy + 1e-5, "seed {seed}: {next} after {energy}");
                energy = next;
            }
            solve(world.system(), &world.right, &mut x, Stop { steps_max: 400, tolerance: 1e-6 }, &mut workspace);
            let wide: Vec<f64> = x.iter().map(|&value| f64::from(value)).collect();
            let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let left = length(&mut world.apply(&wide).iter().zip(&world.right).map(|(ax, &b)| ax - f64::from(b)));
            let right = length(&mut world.right.iter().map(|&b| f64::from(b)));
            // The recursive residual drifts from the true one by about the condition number (below 1e3) times 1e-7.
            assert!(left <= 2e-4 * right + 1e-12, "seed {seed}: {left} of {right}");
        }
    }

    #[test]
    fn wide_registers_change_no_bit() {
        for seed in 0..200 {
            let world = World::random(seed);
            let (mut wide, mut plain) = (vec![0.1; world.size], vec![0.1; world.size]);
            let stop = Stop { steps_max: 5, tolerance: 0.0 };
            solve(world.system(), &world.right, &mut wide, stop, &mut Workspace::new(world.size));
            // Called from here the body is compiled for the baseline.
            steps(world.system(), &world.right, &mut plain, stop, &mut Workspace::new(world.size));
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&wide), bits(&plain), "seed {seed}");
        }
    }

    #[test]
    fn a_zero_right_side_gives_zero_and_no_steps_change_nothing() {
        let system = LowRankSystem { base: &[2.0, 0.0, 0.0, 2.0], vectors: &[], picks: &[], weights: &[] };
        let mut x = [0.0, 0.0];
        let stop = Stop { steps_max: 10, tolerance: 1e-6 };
        solve(system, &[0.0, 0.0], &mut x, stop, &mut Workspace::new(2));
        assert_eq!(x, [0.0, 0.0]);
        solve(system, &[2.0, 4.0], &mut x, Stop { steps_max: 0, ..stop }, &mut Workspace::new(2));
        assert_eq!(x, [0.0, 0.0]);
        solve(system, &[2.0, 4.0], &mut x, stop, &mut Workspace::new(2));
        assert_eq!(x, [1.0, 2.0]);
    }
}
