//! A view made ready for one source: columns numbered, windows told apart.

use arrow::array::RecordBatch;

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

/// A column that features aggregate.
#[derive(Debug, Clone)]
pub(crate) struct WantedColumn {
    pub name: String,
    pub needs: Needs,
    /// The first feature that needs it, for messages.
    pub needed_by: String,
}

impl WantedColumn {
    /// Its values in a source.
    pub(crate) fn read(&self, rows: &RecordBatch, table: &str) -> Result<Column, FeatureError> {
        let array = column_named(rows, &self.name, table, || self.needed_by.clone())?;
        Column::read(array, self.needs, &self.name, table, &self.needed_by)
    }
}

/// Plans several views over one source and reads every column that they need once.
pub(crate) fn plan(views: &[&FeatureView], source: &SourceTable) -> Result<(Vec<ViewPlan>, Vec<Column>), FeatureError> {
    let table = format!("source {:?}", source.name);
    let (plans, wanted) = plan_views(views, source.event_time.is_none())?;
    let columns = wanted.iter().map(|column| column.read(&source.rows, &table)).collect::<Result<_, _>>()?;
    Ok((plans, columns))
}

/// Plans several views over one source, and tells which columns they need.
pub(crate) fn plan_views(
    views: &[&FeatureView],
    is_static: bool,
) -> Result<(Vec<ViewPlan>, Vec<WantedColumn>), FeatureError> {
    let mut wanted: Vec<WantedColumn> = Vec::new();
    let mut plans = Vec::with_capacity(views.len());
    for view in views {
        check_schedule(view)?;
        let mut windows = Vec::new();
        let mut features = Vec::with_capacity(view.features.len());
        for feature in &view.features {
            let subject = format!("feature {}.{}", view.name, feature.name);
            let column = match &feature.of {
                Some(name) => {
                    let index = wanted.iter().position(|known| known.name == *name).unwrap_or_else(|| {
                        wanted.push(WantedColumn { name: name.clone(), needs: Needs::default(), needed_by: subject });
                        wanted.len() - 1
                    });
                    wanted[index].needs.add(feature.aggregate);
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
        plans.push(ViewPlan { view: (*view).clone(), features, windows, is_static });
    }
    Ok((plans, wanted))
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
