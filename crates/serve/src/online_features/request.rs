//! What a client asks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{FULL_NAME_SEPARATOR, FeatureError, OnlineFeatures, REQUEST, ROWS_MAX, VALUES_MAX};

/// A request in the form of Feast's feature server:
/// `{"features": ["view:feature"], "entities": {"user_id": [1, 2]}, "full_feature_names": false}`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureRequest {
    /// `view:feature`, or `request:name` for a request-time feature.
    #[serde(default)]
    pub features: Option<Vec<String>>,
    /// Instead of `features`: a view's name for all its features, or the pipeline's for all of which the keys are given.
    #[serde(default)]
    pub feature_service: Option<String>,
    /// Key columns and other fields that request-time features read, one value per entity.
    pub entities: BTreeMap<String, Vec<Json>>,
    /// More fields of the same kind.
    #[serde(default)]
    pub request_context: BTreeMap<String, Vec<Json>>,
    /// Whether the answer calls features `view__feature` instead of `feature`.
    #[serde(default)]
    pub full_feature_names: bool,
}

/// A feature that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Of a view: its place among the views, and the feature's in it.
    View(usize, usize),
    /// A request-time feature: its place among these.
    Request(usize),
}

impl FeatureRequest {
    /// How many entities are asked about.
    pub(super) fn row_count(&self) -> Result<usize, FeatureError> {
        let bad = |text: String| Err(FeatureError::Request(text));
        let Some((first, values)) = self.entities.iter().next() else {
            return bad("`entities` is empty; it must have a list for each key column".into());
        };
        let rows = values.len();
        for (name, values) in self.entities.iter().chain(&self.request_context) {
            if values.len() != rows {
                let found = values.len();
                return bad(format!(
                    "entities[{first:?}] has {rows} values, but {name:?} has {found}; every list has one per entity"
                ));
            }
        }
        if let Some(name) = self.request_context.keys().find(|name| self.entities.contains_key(*name)) {
            return bad(format!("{name:?} is both in `entities` and in `request_context`"));
        }
        if rows > ROWS_MAX {
            return bad(format!("{rows} entities are asked about; at most {ROWS_MAX} may be at once"));
        }
        Ok(rows)
    }

    /// Whether all key columns of a view are given.
    pub(super) fn gives_key_of(&self, features: &OnlineFeatures, view: usize) -> bool {
        features.set.views[view].entity.iter().all(|key| self.entities.contains_key(&key.name))
    }

    /// The features that are asked for, in order, for `rows` entities.
    pub(super) fn wanted(&self, features: &OnlineFeatures, rows: usize) -> Result<Vec<Wanted>, FeatureError> {
        let wanted = match (&self.features, &self.feature_service) {
            (Some(names), None) => names.iter().map(|name| find(features, name)).collect::<Result<Vec<_>, _>>()?,
            (None, Some(service)) => self.of_service(features, service)?,
            _ => return Err(FeatureError::Request("give either `features` or `feature_service`".into())),
        };
        match wanted.len() {
            0 => Err(FeatureError::Request("no feature is asked for".into())),
            count if count.saturating_mul(rows) > VALUES_MAX => Err(FeatureError::Request(format!(
                "{rows} entities times {count} features are more than {VALUES_MAX} values; ask in several requests"
            ))),
            _ => Ok(wanted),
        }
    }

    fn of_service(&self, features: &OnlineFeatures, service: &str) -> Result<Vec<Wanted>, FeatureError> {
        let of_view = |view: usize| {
            (0..features.set.views[view].columns.columns.len()).map(move |column| Wanted::View(view, column))
        };
        let views = &features.set.views;
        if let Some(view) = views.iter().position(|view| view.columns.name == service) {
            return Ok(of_view(view).collect());
        }
        if service != features.pipeline {
            let known: Vec<&str> = views.iter().map(|view| view.columns.name.as_str()).collect();
            return Err(FeatureError::Unknown(format!(
                "there is no feature service {service:?}; there are {}, and {} for all features",
                known.join(", "),
                features.pipeline
            )));
        }
        let known: Vec<usize> = (0..views.len()).filter(|view| self.gives_key_of(features, *view)).collect();
        Ok(known.into_iter().flat_map(of_view).collect())
    }

    /// The names of the columns of an answer: fields in their order, then features.
    pub(super) fn names(&self, features: &OnlineFeatures, wanted: &[Wanted]) -> Result<Vec<String>, FeatureError> {
        let mut names: Vec<String> = self.entities.keys().cloned().collect();
        for &wanted in wanted {
            let (view, name) = match wanted {
                Wanted::View(view, column) => {
                    let view = &features.set.views[view].columns;
                    (view.name.as_str(), &view.columns[column].name)
                }
                Wanted::Request(at) => (REQUEST, &features.set.request_features[at].name),
            };
            let shown =
                if self.full_feature_names { format!("{view}{FULL_NAME_SEPARATOR}{name}") } else { name.clone() };
            names.push(shown);
        }
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(names),
            Some(pair) => Err(FeatureError::Request(format!(
                "two columns of the answer would be called {:?}; ask with \"full_feature_names\": true, and for each \
                 feature once",
                pair[0]
            ))),
        }
    }
}

fn find(features: &OnlineFeatures, asked: &str) -> Result<Wanted, FeatureError> {
    let Some((view, name)) = asked.split_once(':') else {
        return Err(FeatureError::Request(format!("feature {asked:?} is not VIEW:FEATURE, such as user:orders_90d")));
    };
    let unknown = |what: String, known: Vec<&str>| {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(FeatureError::Unknown(format!("feature {asked:?}: {what}; there are: {known}")))
    };
    if view == REQUEST {
        let all = &features.set.request_features;
        return match all.iter().position(|feature| feature.name == name) {
            Some(at) => Ok(Wanted::Request(at)),
            None => unknown(
                format!("no request-time feature {name:?}"),
                all.iter().map(|feature| feature.name.as_str()).collect(),
            ),
        };
    }
    let views = &features.set.views;
    let Some(at) = views.iter().position(|known| known.columns.name == view) else {
        return unknown(format!("no view {view:?}"), views.iter().map(|view| view.columns.name.as_str()).collect());
    };
    let columns = &views[at].columns.columns;
    match columns.iter().position(|column| column.name == name) {
        Some(column) => Ok(Wanted::View(at, column)),
        None => unknown(
            format!("view {view:?} has no {name:?}"),
            columns.iter().map(|column| column.name.as_str()).collect(),
        ),
    }
}
