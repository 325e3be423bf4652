//! The whole report, put together.

use anyhow::Result;

use crate::run::findings;
use paceline_serve::recommend::RowLayout;

use super::gather::{Gathering, Judgement};
use super::models::Models;
use super::{Means, Timing, lists, similarity};
use crate::report::{self, Report, place};

/// What stands in a report besides what is judged.
pub struct Frame<'a> {
    /// How it was run.
    pub means: &'a Means<'a>,
    /// What makes a row.
    pub layout: &'a RowLayout,
    /// Where latency is measured.
    pub timing: &'a Timing<'a>,
    /// The parts of the split with their users.
    pub parts: Vec<report::SplitPart>,
    /// Where features are computed.
    pub features: report::Features,
    /// How often the report slice was opened, this time included.
    pub report_slice_opened: u32,
}

impl Frame<'_> {
    /// Puts everything into one report. Figures come from the report slice, or from the tuning slice while it is closed.
    pub fn assemble<'j>(
        self,
        gathering: &Gathering<'_>,
        mut on_tune: Judgement<'j>,
        mut on_report: Option<Judgement<'j>>,
    ) -> Result<Report> {
        let Frame { means, layout, timing, parts, features, report_slice_opened } = self;
        let Gathering { plan, world, search, .. } = *gathering;
        let pipeline = plan.pipeline;
        let chosen = search.chosen().map(|step| step.trial.name.clone());
        let fastest = chosen.clone().unwrap_or_else(|| search.current().trial.name.clone());
        let mut rejected = gathering.rejected()?;
        rejected.extend(similarity::tried(gathering, &mut on_tune, timing, &fastest)?);
        let mut slices = gathering.slices(&mut on_tune);
        if let Some(on_report) = &mut on_report {
            slices.extend(gathering.slices(on_report));
        }
        let judged = on_report.as_mut().unwrap_or(&mut on_tune);
        let models = judged.models;
        let teacher = gathering.figure(judged, &models.as_written())?;
        let reference = gathering.reference(models);
        let reference_figure = gathering.figure(judged, &reference)?;
        let report = Report {
            schema: report::REPORT_SCHEMA,
            pipeline: pipeline.name.clone(),
            task: "recommend".to_owned(),
            written_at: place::now(),
            data: world.data(plan.goal),
            split: report::Split { by: report::SplitBy::Time, unit: "users".to_owned(), parts },
            held: false,
            nearest_misses: Vec::new(),
            judged_on: judged.role,
            teacher: report::Teacher {
                metric: plan.metric.to_string(),
                value: teacher.value,
                ci: teacher.ci,
                what: described(models),
            },
            reference: report::Reference {
                name: if gathering.teacher_is_better { "teacher".to_owned() } else { models.single().name.clone() },
                value: reference_figure.value,
                ci: reference_figure.ci,
            },
            baseline: Some(gathering.baseline(judged, layout)?),
            ladder: gathering.ladder(judged)?,
            precomputed: lists::precomputed(gathering, judged, timing, means, &fastest)?,
            rejected,
            features,
            machine: place::machine(),
            versions: place::versions(means.library.path()),
            seed: pipeline.seed,
            report_slice_opened,
            http_latency_ms: None,
            metrics: gathering.metrics(judged, chosen.as_deref())?,
            slices,
            commands: means.commands.to_vec(),
            budget: findings::asked(plan.budget),
            chosen,
        };
        findings::concluded(report, search)
    }
}

/// `lightgbm 0.55, network_a 0.25, network_b 0.20`.
fn described(models: &Models) -> String {
    let members: Vec<String> =
        models.weighted().map(|(member, weight)| format!("{} {weight:.2}", member.name)).collect();
    members.join(", ")
}
