//! `[optimize]` and `[experiment]`; the other operating sections have nothing to resolve.

use super::Checker;
use crate::pipeline::checked::Optimize;
use crate::pipeline::raw::Experiment;

impl Checker<'_> {
    pub(super) fn optimize(&mut self) -> Option<Optimize> {
        let raw = self.raw.optimize.as_ref()?;
        if self.tree.get("model").is_none() {
            self.mistake_in_key(
                &["optimize"],
                "[optimize] has no meaning without [model]".to_owned(),
                "add a [model] section, or leave this one out",
            );
        }
        Some(Optimize {
            keep: raw.keep.unwrap_or(0.97),
            p99_ms: raw.p99_ms?,
            memory_mb_max: raw.memory_mb_max,
            rps_min: raw.rps_min,
            bytes_max: raw.bytes_max,
        })
    }

    pub(super) fn experiment(&mut self) -> Option<Experiment> {
        let raw = self.raw.experiment.as_ref()?;
        let shares: f64 = raw.variants.values().sum();
        if !raw.variants.is_empty() && (shares - 1.0).abs() > 1e-9 {
            self.mistake(
                &["experiment", "variants"],
                format!("the shares of `variants` sum to {shares}, not to 1"),
                None,
            );
        }
        if raw.variants.len() == 1 {
            self.mistake(
                &["experiment", "variants"],
                "`variants` has one variant; a split of traffic needs two".to_owned(),
                "add one, such as control = 0.5",
            );
        }
        let user = self.raw.model.as_ref().and_then(|model| model.user.clone());
        let unit = raw.unit.clone().or(user);
        if unit.is_none() && self.tree.nearest(&["experiment"]).get("unit").is_none() {
            self.mistake_in_key(
                &["experiment"],
                "[experiment] lacks `unit`, and the model has no user to take its place".to_owned(),
                "name the column that identifies what is assigned",
            );
        }
        Some(Experiment {
            name: raw.name.clone()?,
            unit: unit?,
            variants: raw.variants.clone(),
            metric: raw.metric.clone()?,
            guardrails: raw.guardrails.clone(),
        })
    }
}
