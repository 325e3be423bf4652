/// How a forest's raw score becomes its output. Source: `ConvertOutput` of LightGBM's objectives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OutputTransform {
    /// The raw score: regression, quantile and ranking objectives, custom ones.
    Identity,
    /// `1 / (1 + exp(-slope * raw))`, a probability: binary and cross-entropy.
    Sigmoid {
        /// LightGBM's parameter `sigmoid`, above 0.
        slope: f64,
    },
    /// `exp(raw)`: Poisson, gamma and Tweedie.
    Exponential,
    /// `ln(1 + exp(raw))`: cross-entropy over intensities.
    SoftPlus,
    /// `raw * |raw|`: regression on square roots (`reg_sqrt`).
    SignedSquare,
}

impl OutputTransform {
    /// Transforms scores in place.
    pub fn apply(self, scores: &mut [f64]) {
        match self {
            OutputTransform::Identity => {}
            OutputTransform::Sigmoid { slope } => each(scores, |raw| 1.0 / (1.0 + (-slope * raw).exp())),
            OutputTransform::Exponential => each(scores, f64::exp),
            OutputTransform::SoftPlus => each(scores, |raw| raw.exp().ln_1p()),
            OutputTransform::SignedSquare => each(scores, |raw| raw * raw.abs()),
        }
    }
}

fn each(scores: &mut [f64], transform: impl Fn(f64) -> f64) {
    scores.iter_mut().for_each(|score| *score = transform(*score));
}
