//! A checked pipeline against the rows of its sources: what no schema can tell.

use paceline_core::Timestamp;
use paceline_features::FeatureView;

use super::{Goal, Mistake, Model, Pipeline, PipelineFile, RowModel, Source, Split, TimeSplit};
use crate::tables::profile::{SourceProfile, TimeRange};

/// What the rows say about a pipeline.
#[derive(Debug, Default)]
pub struct RowFindings {
    /// What keeps it from running.
    pub mistakes: Vec<Mistake>,
    /// What is suspicious.
    pub warnings: Vec<Mistake>,
}

/// Compares `pipeline`, read from `file`, with its sources' rows. Sources that could not be read are absent from
/// `profiles`.
#[must_use]
pub fn check_rows(file: &PipelineFile, pipeline: &Pipeline, profiles: &[SourceProfile]) -> RowFindings {
    let mut check = Check { file, profiles, found: RowFindings::default() };
    for source in &pipeline.sources {
        check.source(source);
    }
    for view in &pipeline.views {
        check.view(view);
    }
    if let Some(model) = &pipeline.model {
        check.model(model);
    }
    check.found
}

struct Check<'a> {
    file: &'a PipelineFile,
    profiles: &'a [SourceProfile],
    found: RowFindings,
}

impl<'a> Check<'a> {
    /// The profile of a source with rows; without rows nothing further is said about it.
    fn profile(&self, source: &str) -> Option<&'a SourceProfile> {
        self.profiles.iter().find(|profile| profile.name == source && profile.rows > 0)
    }

    fn mistake(&mut self, path: &[&str], message: String, help: &str) {
        let mistake = self.file.mistake(path, message, Some(help.to_owned()));
        self.found.mistakes.push(mistake);
    }

    fn warn(&mut self, path: &[&str], message: String, help: &str) {
        let warning = self.file.mistake(path, message, Some(help.to_owned()));
        self.found.warnings.push(warning);
    }

    fn source(&mut self, source: &Source) {
        let Some(profile) = self.profiles.iter().find(|profile| profile.name == source.name) else { return };
        let name = source.name.as_str();
        if profile.rows == 0 {
            self.mistake(
                &["sources", name, "where"],
                format!("`where` keeps none of the {} rows of [sources.{name}]", profile.rows_read),
                "loosen the condition; null never passes it",
            );
            return;
        }
        if let Some(count) = profile.available_before_event.filter(|count| *count > 0) {
            self.warn(
                &["sources", name, "available_time"],
                format!("{count} of {} rows were available before they happened", profile.rows),
                "check that `event_time` and `available_time` name the right columns",
            );
        }
        if let Some(id) = &source.event_id
            && let Some(nulls) = profile.column(id).map(|column| column.nulls).filter(|nulls| *nulls > 0)
        {
            self.warn(
                &["sources", name, "event_id"],
                format!("{nulls} of {} rows have no {id:?}", profile.rows),
                "they are taken as events of their own; a repeat of one is counted twice",
            );
        }
    }

    fn view(&mut self, view: &FeatureView) {
        let Some(profile) = self.profile(&view.source) else { return };
        for (index, column) in view.entity.iter().enumerate() {
            self.key(&["features", &view.name, "entity", &index.to_string()], profile, column);
        }
        for feature in &view.features {
            let path = ["features", view.name.as_str(), feature.name.as_str()];
            if let Some(of) = &feature.of {
                self.has_values(&[path[0], path[1], path[2], "of"], profile, of);
            }
            if let (Some(window), Some(range)) = (feature.window.micros(), profile.event_time)
                && window > range.last.0.saturating_sub(range.first.0)
            {
                self.warn(
                    &[path[0], path[1], path[2], "window"],
                    format!("`window` is {}, longer than the data, {}", feature.window, describe(range)),
                    "no row of training sees a full window; a shorter one says the same",
                );
            }
        }
    }

    fn key(&mut self, path: &[&str], profile: &SourceProfile, column: &str) {
        let Some(figures) = profile.column(column) else { return };
        if figures.nulls == profile.rows {
            return self.has_values(path, profile, column);
        }
        if figures.nulls > 0 {
            let share = 100.0 * figures.nulls as f64 / profile.rows as f64;
            self.warn(
                path,
                format!(
                    "{} of {} rows ({share:.1} %) of [sources.{}] have no {column:?}",
                    figures.nulls, profile.rows, profile.name
                ),
                &format!(
                    "they belong to no entity and count for none; drop them with where = \"{column} is not null\""
                ),
            );
        }
        if figures.is_constant {
            self.warn(
                path,
                format!("[sources.{}] knows only one {column:?}", profile.name),
                "features of one entity tell nothing apart",
            );
        }
    }

    fn has_values(&mut self, path: &[&str], profile: &SourceProfile, column: &str) {
        if profile.column(column).is_some_and(|figures| figures.nulls == profile.rows) {
            self.mistake(
                path,
                format!("{column:?} of [sources.{}] is null in all {} rows", profile.name, profile.rows),
                "name another column, or repair the table",
            );
        }
    }

    fn model(&mut self, model: &Model) {
        let (source, range) = match &model.goal {
            Goal::Recommend(goal) => {
                let profile = self.profile(&goal.label.source);
                if let Some(profile) = profile {
                    self.key(&["model", "user"], profile, &goal.user);
                    self.key(&["model", "item"], profile, &goal.item);
                }
                (goal.label.source.as_str(), profile.and_then(|profile| profile.event_time))
            }
            Goal::Rank(rows) | Goal::Classify(rows) | Goal::Regress(rows) => {
                self.row_model(rows);
                (rows.source.as_str(), self.profile(&rows.source).and_then(|profile| profile.event_time))
            }
        };
        if let (Split::Time(split), Some(range)) = (&model.split, range) {
            self.time_split(split, source, range);
        }
    }

    fn row_model(&mut self, rows: &RowModel) {
        let Some(profile) = self.profile(&rows.source) else { return };
        self.has_values(&["model", "label"], profile, &rows.label);
        if let Some(label) = profile.column(&rows.label) {
            if label.nulls > 0 && label.nulls < profile.rows {
                self.mistake(
                    &["model", "label"],
                    format!("{} of {} rows have no {:?}", label.nulls, profile.rows, rows.label),
                    &format!("drop them with where = \"{} is not null\" in [sources.{}]", rows.label, rows.source),
                );
            }
            if label.is_constant {
                self.mistake(
                    &["model", "label"],
                    format!("all rows have the same {:?}, so there is nothing to learn", rows.label),
                    "name another label, or loosen `where`",
                );
            }
        }
        for (index, column) in rows.columns.iter().flatten().enumerate() {
            let path = ["model", "columns", &index.to_string()];
            self.has_values(&path, profile, column);
            if profile.column(column).is_some_and(|figures| figures.is_constant && figures.nulls == 0) {
                self.warn(
                    &path,
                    format!("all rows have the same {column:?}"),
                    "it tells the model nothing; leave it out",
                );
            }
        }
    }

    fn time_split(&mut self, split: &TimeSplit, source: &str, range: TimeRange) {
        let outside = |at: Timestamp| at <= range.first || at > range.last;
        for (key, at) in [("train_until", split.train_until), ("tune_until", split.tune_until)] {
            if outside(at) {
                self.mistake(
                    &["split", key],
                    format!("`{key}` is {at}, outside the rows of [sources.{source}], {}", describe(range)),
                    "choose a date within the data",
                );
            }
        }
        if split.report_until <= range.first {
            self.mistake(
                &["split", "report_until"],
                format!(
                    "`report_until` is {}, before the rows of [sources.{source}], {}",
                    split.report_until,
                    describe(range)
                ),
                "choose a date within the data",
            );
        } else if split.report_until.seconds_since(range.last) > 86_400.0 {
            self.warn(
                &["split", "report_until"],
                format!(
                    "`report_until` is {}, but the last row of [sources.{source}] is of {}",
                    split.report_until, range.last
                ),
                "the report's last label window is not full, which makes every metric look worse",
            );
        }
    }
}

fn describe(range: TimeRange) -> String {
    format!("{} to {}", range.first, range.last)
}
