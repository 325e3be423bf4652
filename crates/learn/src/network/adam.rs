//! Adam with decoupled weight decay.

use super::parameters::{Parameters, Shape};

const FIRST_DECAY: f32 = 0.9;
const SECOND_DECAY: f32 = 0.999;
/// Keeps the quotient finite where a gradient has always been zero.
const EPSILON: f32 = 1e-8;

/// Running moments of the gradient (Kingma and Ba 2015, algorithm 1; the decay is that of Loshchilov and Hutter 2019,
/// algorithm 2).
pub(super) struct Adam {
    weight_decay: f32,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Adam {
    pub(super) fn new(shape: &Shape, weight_decay: f32) -> Self {
        let zeros = vec![0.0; shape.parameter_count()];
        Adam { weight_decay, first: zeros.clone(), second: zeros, steps: 0 }
    }

    pub(super) fn step(&mut self, shape: &Shape, parameters: &mut Parameters, gradient: &[f32], rate: f32) {
        self.steps += 1;
        let keep = 1.0 - rate * self.weight_decay;
        for layer in 0..shape.layer_count() {
            parameters.0[shape.weights(layer)].iter_mut().for_each(|weight| *weight *= keep);
        }
        let first_correction = 1.0 / (1.0 - FIRST_DECAY.powi(self.steps));
        let second_correction = 1.0 / (1.0 - SECOND_DECAY.powi(self.steps));
        let moments = self.first.iter_mut().zip(self.second.iter_mut());
        for ((value, &slope), (first, second)) in parameters.0.iter_mut().zip(gradient).zip(moments) {
            *first = FIRST_DECAY * *first + (1.0 - FIRST_DECAY) * slope;
            *second = SECOND_DECAY * *second + (1.0 - SECOND_DECAY) * slope * slope;
            *value -= rate * (*first * first_correction) / ((*second * second_correction).sqrt() + EPSILON);
        }
    }
}
