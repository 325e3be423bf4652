//! `docs/report.md` and `docs/report.schema.json`, generated from the types.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Report;

/// The JSON schema of `report.json`, keys in alphabetical order.
#[must_use]
pub fn json_schema() -> Value {
    sorted(schemars::schema_for!(Report).to_value())
}

/// Whether maps keep the order of insertion is a feature that any crate of the build may turn on; the pages must not
/// depend on it.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(String, Value)> = map.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

/// The reference page: one table per object.
#[must_use]
pub fn markdown() -> String {
    let schema = json_schema();
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    let mut page = String::from(
        "# report.json\n\n<!-- Generated from crates/app/src/report/types.rs; `make docs` writes it. -->\n\n",
    );
    page.push_str("Written by `paceline run`, `demo` and `optimize` beside `report.html`. ");
    page.push_str("The JSON schema is [report.schema.json](report.schema.json).\n\n");
    object_section(&mut page, "Report", &schema);
    for (name, definition) in definitions {
        if definition.get("properties").is_some() {
            object_section(&mut page, name, definition);
        } else if let Some(variants) = definition.get("oneOf").and_then(Value::as_array) {
            variant_section(&mut page, name, definition, variants);
        }
    }
    page
}

fn object_section(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "## {name}\n\n{}\n\n| field | type | meaning |\n|---|---|---|\n", description(schema));
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (field, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let optional = if required.contains(&field.as_str()) { "" } else { ", optional" };
        let _ =
            writeln!(page, "| `{field}` | {}{optional} | {} |", type_of(property), one_line(&description(property)));
    }
    page.push('\n');
}

fn variant_section(page: &mut String, name: &str, schema: &Value, variants: &[Value]) {
    let _ = write!(page, "## {name}\n\n{}\n\n| value | meaning |\n|---|---|\n", description(schema));
    for variant in variants {
        let value = variant.get("const").unwrap_or(&Value::Null);
        let _ = writeln!(page, "| `{value}` | {} |", one_line(&description(variant)));
    }
    page.push('\n');
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The type in words: a link for an object of ours, else the JSON type.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return if name == "Interval" { "[low, high]".into() } else { format!("[{name}](#{})", name.to_lowercase()) };
    }
    for key in ["anyOf", "allOf"] {
        if let Some(options) = schema.get(key).and_then(Value::as_array) {
            let names: Vec<String> = options.iter().map(type_of).collect();
            return names.join(" or ");
        }
    }
    match schema.get("type") {
        Some(Value::Array(names)) => {
            let names: Vec<String> = names.iter().map(|name| type_of(&json!({ "type": name }))).collect();
            names.join(" or ")
        }
        Some(Value::String(name)) if name == "array" => match schema.get("items") {
            Some(items) => format!("array of {}", type_of(items)),
            None => "array".into(),
        },
        Some(Value::String(name)) if name == "object" => match schema.get("additionalProperties") {
            Some(values) if values.is_object() => format!("object of {}", type_of(values)),
            _ => "object".into(),
        },
        Some(Value::String(name)) => name.clone(),
        _ => "any".into(),
    }
}
