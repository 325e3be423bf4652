//! How the words of a pipeline file look in its schema: periods, times, metrics, aggregates.
//!
//! These types exist only to describe fields (`#[schemars(with = "...")]`) whose own types live in crates that know
//! nothing of schemas. The `format` that each gives is what [`super::structure`] checks the text by.

use std::borrow::Cow;

use paceline_features::{Aggregate, Placement};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A length of time: `30s`, `15m`, `12h`, `90d`, `2w`, `1mo`, `1y`.
pub struct PeriodText;
/// A point of time: an ISO 8601 text or a TOML date or date-time; without an offset it means UTC.
pub struct TimeText;
/// A quality metric by name, `@k` where it looks at the first k of a list.
pub struct MetricText;
/// A SQL scalar expression.
pub struct ExpressionText;
/// The name of a windowed aggregate.
pub struct AggregateName;
/// The name of a placement.
pub struct PlacementName;

macro_rules! formatted_text {
    ($type:ident, $format:literal) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

formatted_text!(PeriodText, "period");
formatted_text!(TimeText, "instant");
formatted_text!(MetricText, "metric");
formatted_text!(ExpressionText, "expression");

impl JsonSchema for AggregateName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AggregateName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Aggregate::ALL.iter().map(|(name, _)| *name).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

impl JsonSchema for PlacementName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "PlacementName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = [Placement::Batch, Placement::Stream, Placement::Request]
            .map(|placement| serde_json::to_value(placement).expect("a placement is a word"));
        json_schema!({ "type": "string", "enum": names })
    }
}
