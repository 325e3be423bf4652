//! A view made ready for one source: columns numbered, windows told apart.

use paceline_core::{Period, Timestamp};

use super::column::{Column, Needs, column_named};
use crate::{Aggregate, FeatureError, FeatureView, Placement, SourceTable};

/// One feature with its column and window looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeaturePlan {
    pub aggregate: Aggregate,
    /// Index among the columns read; `None` aggregates rows.
    pub column: Option<usize>,
    /// Index among the view's distinct windows.
    pub window: usize,
}

/// A view with its columns and windows looked up.
#[derive(Debug)]
pub(crate) struct ViewPlan {
    pub view: FeatureView,
    pub features: Vec<FeaturePlan>,
    /// The distinct windows.
    pub windows: Vec<Period>,
    /// Whether the source has no event time: every window then holds all known rows, and there is no ttl.
    pub is_static: bool,
}

impl ViewPlan {
    /// The time whose value a spine row at `t` gets: `t`, or for a batch-placed view its last scheduled
    /// materialization. [`Timestamp::MIN`], when nothing is known, if there is no such time.
    #[inline]
    pub(crate) fn as_of(&self, t: Timestamp) -> Timestamp {
        match (self.view.placement, self.view.schedule) {
            (Placement::Batch, Some(step)) => t.last_scheduled_before(step).unwrap_or(Timestamp::MIN),
            (Placement::Batch, None) | (Placement::Stream | Placement::Request, _) => t,
        }
    }

    /// The earliest event time inside a window that ends at `as_of`.
    #[inline]
    pub(crate) fn window_start(&self, window: usize, as_of: Timestamp) -> i64 {
        if self.is_static { i64::MIN } else { (as_of - self.windows[window]).0 }
    }

    /// Whether an entity whose newest known row has this event time has expired.
    #[inline]
    pub(crate) fn is_expired(&self, newest_event: i64, as_of: Timestamp) -> bool {
        !self.is_static && self.view.ttl.is_some_and(|ttl| newest_event <= (as_of - ttl).0)
    }
}

/// Plans several views over one source and reads every column that they need once.
pub(crate) fn plan(views: &[&FeatureView], source: &SourceTable) -> Result<(Vec<ViewPlan>, Vec<Column>), FeatureError> {
    let table = format!("source {:?}", source.name);
    let mut wanted: Vec<(&str, Needs, String)> = Vec::new();
    let mut plans = Vec::with_capacity(views.len());
    for view in views {
        check_schedule(view)?;
        let mut windows = Vec::new();
        let mut features = Vec::with_capacity(view.features.len());
        for feature in &view.features {
            let subject = format!("feature {}.{}", view.name, feature.name);
            let column = match &feature.of {
                Some(name) => {
                    let index = wanted.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
                        wanted.push((name, Needs::default(), subject));
                        wanted.len() - 1
                    });
                    wanted[index].1.add(feature.aggregate);
                    Some(index)
                }
                None if matches!(feature.aggregate, Aggregate::Count | Aggregate::SecondsSinceLast) => None,
                None => {
                    let problem = format!("{} needs a column; add of = \"COLUMN\"", feature.aggregate.name());
                    return Err(FeatureError::Declaration { subject, problem });
                }
            };
            let window = windows.iter().position(|known| *known == feature.window).unwrap_or_else(|| {
                windows.push(feature.window);
                windows.len() - 1
            });
            features.push(FeaturePlan { aggregate: feature.aggregate, column, window });
        }
        let is_static = source.event_time.is_none();
        plans.push(ViewPlan { view: (*view).clone(), features, windows, is_static });
    }
    let columns = wanted
        .into_iter()
        .map(|(name, needs, subject)| {
            let array = column_named(&source.rows, name, &table, || subject.clone())?;
            Column::read(array, needs, name, &table, &subject)
        })
        .collect::<Result<_, _>>()?;
    Ok((plans, columns))
}

fn check_schedule(view: &FeatureView) -> Result<(), FeatureError> {
    match view.schedule {
        Some(step @ Period::Months(_)) => Err(FeatureError::Declaration {
            subject: format!("view {}", view.name),
            problem: format!("schedule {step} is a calendar period; write a fixed one, such as 1d or 7d"),
        }),
        Some(Period::Micros(_)) | None => Ok(()),
    }
}
