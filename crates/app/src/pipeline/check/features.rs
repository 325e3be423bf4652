//! `[features.*]`.

use std::collections::HashSet;

use paceline_features::{Aggregate, Feature, FeatureView, Placement};

use super::Checker;
use crate::pipeline::checked::{NamedExpression, Source};
use crate::pipeline::raw::{RawFeature, RawView};

impl Checker<'_> {
    pub(super) fn views(&mut self, sources: &[Source]) -> Vec<FeatureView> {
        let raw = self.raw;
        raw.features.views.iter().filter_map(|(name, view)| self.view(name, view, sources)).collect()
    }

    pub(super) fn request_features(&mut self) -> Vec<NamedExpression> {
        let raw = self.raw;
        for name in raw.features.request.keys() {
            self.name_is_plain(&["features", "request", name], "a request feature");
        }
        let feature = |(name, expression): (&String, &String)| NamedExpression {
            name: name.clone(),
            expression: expression.clone(),
        };
        raw.features.request.iter().map(feature).collect()
    }

    fn view(&mut self, name: &str, raw: &RawView, sources: &[Source]) -> Option<FeatureView> {
        self.name_is_plain(&["features", name], "a feature view");
        if self.tree.nearest(&["features", name]).count_of_entries_beside(&[
            "source",
            "entity",
            "ttl",
            "schedule",
            "placement",
        ]) == 0
        {
            self.mistake_in_key(
                &["features", name],
                format!("[features.{name}] declares no feature"),
                "add one, such as count_30d = { agg = \"count\", window = \"30d\" }",
            );
        }
        let placement = self.placement(name, raw, sources);
        self.entity(name, raw);
        let is_static = raw.source.as_ref().is_some_and(|source| {
            self.source_is_known(&["features", name, "source"], source)
                && sources.iter().any(|known| known.name == *source && known.event_time.is_none())
        });
        let features: Vec<Feature> =
            raw.features.iter().filter_map(|(feature, raw)| self.feature([name, feature], raw, is_static)).collect();
        Some(FeatureView {
            name: name.to_owned(),
            source: raw.source.clone()?,
            entity: raw.entity.clone()?,
            ttl: raw.ttl,
            schedule: raw.schedule,
            placement,
            features,
        })
    }

    fn placement(&mut self, view: &str, raw: &RawView, sources: &[Source]) -> Placement {
        if let Some(schedule) = raw.schedule
            && schedule.micros().is_none()
        {
            self.mistake(
                &["features", view, "schedule"],
                format!("`schedule` is {:?}, which has no fixed length", schedule.to_string()),
                "write it in days or shorter, such as 30d",
            );
        }
        if raw.placement == Some(Placement::Stream)
            && let Some(source) = sources.iter().find(|source| raw.source.as_deref() == Some(source.name.as_str()))
        {
            self.streamed(view, source);
        }
        match (raw.placement, raw.schedule) {
            (Some(Placement::Stream | Placement::Request), Some(schedule)) => {
                self.mistake(
                    &["features", view, "schedule"],
                    format!("`schedule` is {:?}, but only batch-placed views have one", schedule.to_string()),
                    "leave out `schedule`, or write placement = \"batch\"",
                );
            }
            (Some(Placement::Batch), None) if self.tree.nearest(&["features", view]).get("schedule").is_none() => self
                .warn(
                    &["features", view, "placement"],
                    format!("[features.{view}] is batch-placed without `schedule`, so training sees exact values"),
                    "say how often it is materialized, such as schedule = \"1d\", so that training sees what serving will",
                ),
            _ => {}
        }
        let by_default = if raw.schedule.is_some() { Placement::Batch } else { Placement::Request };
        raw.placement.unwrap_or(by_default)
    }

    /// What a source must have whose events keep a view current.
    fn streamed(&mut self, view: &str, source: &Source) {
        if source.event_time.is_none() {
            self.mistake(
                &["features", view, "placement"],
                format!("[features.{view}] is kept current by events, but the rows of its source have no time"),
                "give the source an `event_time`, or write another `placement`",
            );
        } else if source.event_id.is_none() {
            self.warn(
                &["features", view, "placement"],
                format!("[features.{view}] is kept current by events of [sources.{}], which has no `event_id`", source.name),
                "name the column that identifies a row: without it a row that comes as an event and stands in a file, too, \
                 counts twice after a new beginning",
            );
        }
    }

    fn entity(&mut self, view: &str, raw: &RawView) {
        let mut seen = HashSet::new();
        for (index, column) in raw.entity.iter().flatten().enumerate() {
            if !seen.insert(column) {
                self.mistake(
                    &["features", view, "entity", &index.to_string()],
                    format!("`entity` names {column:?} twice"),
                    None,
                );
            }
        }
    }

    fn feature(&mut self, [view, name]: [&str; 2], raw: &RawFeature, is_static: bool) -> Option<Feature> {
        self.name_is_plain(&["features", view, name], "a feature");
        let aggregate = raw.agg?;
        let said_of = self.tree.nearest(&["features", view, name]).get("of").is_some();
        match aggregate {
            Aggregate::Count => {}
            Aggregate::SecondsSinceLast => {
                if raw.of.is_some() {
                    self.mistake_in_key(
                        &["features", view, name, "of"],
                        format!("`{name}` is a seconds_since_last, which looks at rows and takes no `of`"),
                        "leave out `of`",
                    );
                }
                if is_static {
                    self.mistake(
                        &["features", view, name, "agg"],
                        format!("`{name}` is a seconds_since_last, but the rows of its source have no time"),
                        "give the source an `event_time`",
                    );
                }
            }
            Aggregate::Sum
            | Aggregate::Mean
            | Aggregate::Std
            | Aggregate::Min
            | Aggregate::Max
            | Aggregate::First
            | Aggregate::Last
            | Aggregate::CountDistinct => {
                if !said_of {
                    self.mistake_in_key(
                        &["features", view, name],
                        format!("`{name}` is a {}, which lacks `of`", aggregate.name()),
                        "name the column, such as of = \"price\"",
                    );
                }
            }
        }
        let window = raw.window?;
        if window.micros().is_none() {
            self.mistake(
                &["features", view, name, "window"],
                format!("`window` is {:?}, which has no fixed length", window.to_string()),
                "write it in days or shorter, such as 30d",
            );
        }
        Some(Feature { name: name.to_owned(), aggregate, of: raw.of.clone(), window })
    }
}
