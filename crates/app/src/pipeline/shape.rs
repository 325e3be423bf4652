//! The structure that a pipeline file may have, read from the schema of the raw types.
//!
//! One definition serves three readers: the types say what `serde` accepts, `schemars` turns them into the JSON schema
//! for editors, and this module turns that schema into what [`super::structure`] checks by and [`super::reference`]
//! prints. So neither the messages nor the page can drift from the types.

use serde_json::Value as Json;

use super::raw::RawPipeline;

/// What may stand at one place.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The doc comment of the field, or of its type where the field has none.
    pub about: String,
    /// The value that stands for absence, if it is constant.
    pub default: Option<Json>,
    /// What it may be.
    pub kind: Kind,
}

/// What a value may be.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer(Bounds),
    /// A number.
    Number(Bounds),
    /// A text, in the format of that name.
    Text(Option<String>),
    /// One of these words, each with its meaning.
    Words(Vec<(String, String)>),
    /// A list.
    List {
        /// Each element.
        items: Box<Shape>,
        /// Fewest elements.
        count_min: usize,
        /// Most elements.
        count_max: usize,
    },
    /// A table.
    Table(Table),
    /// A table whose key `tag` decides which.
    Choice {
        /// The deciding key.
        tag: String,
        /// Its words, each with its table (without the tag).
        variants: Vec<(String, Shape)>,
    },
    /// Any of these, which differ in their TOML type.
    Either(Vec<Shape>),
}

/// A table's keys.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Known keys, by name.
    pub keys: Vec<Key>,
    /// What any other key may hold; `None` when there is no other.
    pub rest: Option<Box<Shape>>,
}

/// A known key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it holds.
    pub shape: Shape,
}

/// Bounds of a number; both ends are allowed unless `open`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Smallest value.
    pub min: Option<f64>,
    /// Whether `min` itself is refused.
    pub min_open: bool,
    /// Largest value.
    pub max: Option<f64>,
    /// Whether `max` itself is refused.
    pub max_open: bool,
}

impl Bounds {
    /// Whether `value` lies within; NaN never does.
    #[must_use]
    pub fn hold(&self, value: f64) -> bool {
        let above = self.min.is_none_or(|min| if self.min_open { value > min } else { value >= min });
        let below = self.max.is_none_or(|max| if self.max_open { value < max } else { value <= max });
        above && below && !value.is_nan()
    }

    /// `above 0 and at most 1`; empty without bounds.
    #[must_use]
    pub fn describe(&self) -> String {
        let low = self.min.map(|min| format!("{} {min}", if self.min_open { "above" } else { "at least" }));
        let high = self.max.map(|max| format!("{} {max}", if self.max_open { "below" } else { "at most" }));
        [low, high].into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

impl Shape {
    /// The shape of a whole pipeline file.
    #[must_use]
    pub fn of_pipeline() -> Shape {
        let schema = schemars::schema_for!(RawPipeline).to_value();
        compile(&schema, &schema)
    }
}

fn compile(root: &Json, schema: &Json) -> Shape {
    let schema = &resolve(root, schema);
    let about = schema["description"].as_str().unwrap_or_default().to_owned();
    let default = schema.get("default").filter(|default| !default.is_null() && !default.is_object()).cloned();
    Shape { about, default, kind: compile_kind(root, schema) }
}

fn compile_kind(root: &Json, schema: &Json) -> Kind {
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(options) = schema[alternatives].as_array() {
            return compile_alternatives(root, options);
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let word = |word: &Json| Some((word.as_str()?.to_owned(), String::new()));
        return Kind::Words(words.iter().filter_map(word).collect());
    }
    match type_name(schema) {
        "boolean" => Kind::Bool,
        "integer" => Kind::Integer(bounds(schema)),
        "number" => Kind::Number(bounds(schema)),
        "string" => Kind::Text(schema["format"].as_str().map(str::to_owned)),
        "array" => Kind::List {
            items: Box::new(compile(root, &schema["items"])),
            count_min: schema["minItems"].as_u64().unwrap_or(0) as usize,
            count_max: schema["maxItems"].as_u64().map_or(usize::MAX, |count| count as usize),
        },
        "object" => Kind::Table(compile_table(root, schema)),
        other => unreachable!("the raw types have no field of type {other}: {schema}"),
    }
}

fn compile_table(root: &Json, schema: &Json) -> Table {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    let key = |(name, value): (&String, &Json)| Key {
        name: name.clone(),
        required: required.contains(&name.as_str()),
        shape: compile(root, value),
    };
    let rest = schema.get("additionalProperties").filter(|rest| rest.is_object());
    Table {
        keys: schema["properties"].as_object().into_iter().flatten().map(key).collect(),
        rest: rest.map(|rest| Box::new(compile(root, rest))),
    }
}

fn compile_alternatives(root: &Json, options: &[Json]) -> Kind {
    let options: Vec<Json> =
        options.iter().map(|option| resolve(root, option)).filter(|option| option["type"] != "null").collect();
    if let [only] = options.as_slice() {
        return compile(root, only).kind;
    }
    let word = |option: &Json| {
        let about = option["description"].as_str().unwrap_or_default();
        Some((option["const"].as_str()?.to_owned(), about.to_owned()))
    };
    if let Some(words) = options.iter().map(word).collect::<Option<Vec<_>>>() {
        return Kind::Words(words);
    }
    let variant = |option: &Json| {
        let mut option = option.clone();
        let word = option["properties"]["kind"]["const"].as_str()?.to_owned();
        option["properties"].as_object_mut()?.remove("kind");
        option["required"].as_array_mut()?.retain(|name| name != "kind");
        Some((word, compile(root, &option)))
    };
    match options.iter().map(variant).collect::<Option<Vec<_>>>() {
        Some(variants) => Kind::Choice { tag: "kind".to_owned(), variants },
        None => Kind::Either(options.iter().map(|option| compile(root, option)).collect()),
    }
}

/// `schema` with what its `$ref` names merged in; what stands beside the reference wins.
fn resolve(root: &Json, schema: &Json) -> Json {
    let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) else {
        return schema.clone();
    };
    let mut merged = resolve(root, &root["$defs"][name]);
    for (key, value) in schema.as_object().into_iter().flatten().filter(|(key, _)| *key != "$ref") {
        match (merged.get_mut(key), value) {
            (Some(Json::Object(under)), Json::Object(over)) => under.extend(over.clone()),
            (Some(Json::Array(under)), Json::Array(over)) => under.extend(over.clone()),
            _ => merged[key] = value.clone(),
        }
    }
    merged
}

fn type_name(schema: &Json) -> &str {
    match &schema["type"] {
        Json::String(name) => name,
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null").unwrap_or("null"),
        _ => "any",
    }
}

fn bounds(schema: &Json) -> Bounds {
    let bound = |open: &str, closed: &str| match (schema[open].as_f64(), schema[closed].as_f64()) {
        (Some(bound), _) => (Some(bound), true),
        (None, bound) => (bound, false),
    };
    let (min, min_open) = bound("exclusiveMinimum", "minimum");
    let (max, max_open) = bound("exclusiveMaximum", "maximum");
    Bounds { min, min_open, max, max_open }
}
