//! The columns that an answer is made of.

use paceline_core::{EntityKey, KeyPart, Timestamp, Value};
use paceline_features::expression::{Input, Program, Scratch, Type};
use serde_json::Value as Json;

use super::{FeatureError, FeatureRequest, KeyColumn, OnlineFeatures, REQUEST, ServedView, TIME};
use crate::recommend::tables::{RESERVED_KEY, ViewColumns, ViewRows};

/// Everything that is known about the entities of one request.
pub(super) struct Columns<'a> {
    features: &'a OnlineFeatures,
    request: &'a FeatureRequest,
    row_count: usize,
    now: Timestamp,
    /// What was read of each view.
    views: Vec<Option<ViewRows>>,
    /// What was computed of each request-time feature, or why not.
    computed: Vec<Result<(Type, Vec<Value>), String>>,
}

/// What an answer was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The views that were read, by name.
    pub views: Vec<(String, ViewRows)>,
    /// The request-time features that were computed, by name, with one value per entity.
    pub computed: Vec<(String, Vec<Value>)>,
}

/// A column that an expression may read, and where its values lie.
struct Known {
    name: String,
    kind: Type,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// Of a view, a feature.
    View(usize, usize),
    /// A field of the request.
    Field(usize),
    /// A request-time feature.
    Computed(usize),
    Now,
}

impl<'a> Columns<'a> {
    pub(super) fn new(
        features: &'a OnlineFeatures,
        request: &'a FeatureRequest,
        row_count: usize,
        now: Timestamp,
    ) -> Self {
        let views = vec![None; features.set.views.len()];
        Columns { features, request, row_count, now, views, computed: Vec::new() }
    }

    /// Reads views, at once, unless they were read already.
    pub(super) fn read(&mut self, views: impl Iterator<Item = usize>) -> Result<(), FeatureError> {
        let mut wanted: Vec<usize> = views.filter(|view| self.views[*view].is_none()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let keys_of = |view: &usize| {
            let ServedView { columns, entity, .. } = &self.features.set.views[*view];
            Ok((columns, keys(self.request, &columns.name, entity, self.row_count)?))
        };
        let asked: Vec<(&ViewColumns, Vec<Vec<u8>>)> =
            wanted.iter().map(keys_of).collect::<Result<_, FeatureError>>()?;
        let asked: Vec<(&ViewColumns, &[Vec<u8>])> =
            asked.iter().map(|(view, keys)| (*view, keys.as_slice())).collect();
        let read = self.features.views.read_all(&asked, self.now)?;
        for (view, rows) in wanted.into_iter().zip(read) {
            self.views[view] = Some(rows);
        }
        Ok(())
    }

    /// What was read of a view.
    ///
    /// # Panics
    /// When it was not read.
    pub(super) fn view(&self, view: usize) -> &ViewRows {
        self.views[view].as_ref().expect("a wanted view was read")
    }

    /// The oldest time as of which a view is that was read. A view that is only pushed has no such time.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let read = self.features.set.views.iter().zip(&self.views).filter(|(view, _)| !view.is_pushed);
        read.filter_map(|(_, rows)| Some(rows.as_ref()?.as_of)).min()
    }

    /// What was read and computed, by name.
    pub(super) fn into_used(self) -> Used {
        let set = &self.features.set;
        let views = set.views.iter().zip(self.views);
        let computed = set.request_features.iter().zip(self.computed);
        Used {
            views: views.filter_map(|(view, rows)| Some((view.columns.name.clone(), rows?))).collect(),
            computed: computed.filter_map(|(feature, values)| Some((feature.name.clone(), values.ok()?.1))).collect(),
        }
    }

    /// Computes the request-time features up to and with `last`, from every view whose key is given.
    pub(super) fn compute(&mut self, last: usize) -> Result<(), FeatureError> {
        let (request, features) = (self.request, self.features);
        self.read((0..features.set.views.len()).filter(|view| request.gives_key_of(features, *view)))?;
        let fields = request.entities.iter().chain(&request.request_context);
        let fields: Vec<(&String, Type, Vec<Value>)> = fields
            .map(|(name, values)| typed(name, values).map(|(kind, values)| (name, kind, values)))
            .collect::<Result<_, _>>()?;
        let mut known = self.known(&fields);
        for at in 0..=last {
            let computed = self.compute_one(at, &known, &fields);
            if let Ok((kind, _)) = &computed {
                let name = format!("{REQUEST}.{}", self.features.set.request_features[at].name);
                known.push(Known { name, kind: *kind, place: Place::Computed(at) });
            }
            self.computed.push(computed);
        }
        Ok(())
    }

    /// A request-time feature: its type and one value per entity.
    pub(super) fn computed(&self, at: usize) -> Result<&(Type, Vec<Value>), FeatureError> {
        self.computed[at].as_ref().map_err(|reason| {
            let name = &self.features.set.request_features[at].name;
            FeatureError::Request(format!(
                "request-time feature {name:?} cannot be computed: {reason}; give the keys of the views and the fields \
                 that it reads in `entities` or `request_context`"
            ))
        })
    }

    fn compute_one(
        &self,
        at: usize,
        known: &[Known],
        fields: &[(&String, Type, Vec<Value>)],
    ) -> Result<(Type, Vec<Value>), String> {
        // The first of a name, as the compiler takes it.
        let place = |name: &str, kind: Type| {
            known.iter().find(|known| known.name == name).filter(|known| known.kind == kind).map(|known| known.place)
        };
        let ready = self.features.programs[at].as_ref();
        let ready = ready.filter(|program| program.columns().all(|(name, kind)| place(name, kind).is_some()));
        let program = match ready {
            Some(program) => program.clone(),
            None => {
                let types: Vec<(&str, Type)> = known.iter().map(|known| (known.name.as_str(), known.kind)).collect();
                let text = &self.features.set.request_features[at].expression;
                let reasons = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Program::compile(text, &types).map_err(reasons)?
            }
        };
        let places: Vec<Place> =
            program.columns().map(|(name, kind)| place(name, kind).expect("compiled against these columns")).collect();
        let mut scratch = Scratch::default();
        let mut inputs: Vec<Input<'_>> = Vec::with_capacity(places.len());
        let values = (0..self.row_count).map(|row| {
            inputs.clear();
            inputs.extend(places.iter().map(|place| self.input(*place, fields, row)));
            program.eval_row(&inputs, &mut scratch).map_err(|error| error.to_string())
        });
        Ok((program.output_type(), values.collect::<Result<_, _>>()?))
    }

    /// What expressions may read before any of them is computed. A field goes before the time and a feature of the same
    /// name.
    fn known(&self, fields: &[(&String, Type, Vec<Value>)]) -> Vec<Known> {
        let field = |(at, (name, kind, _)): (usize, &(&String, Type, Vec<Value>))| Known {
            name: (*name).clone(),
            kind: *kind,
            place: Place::Field(at),
        };
        let mut known: Vec<Known> = fields.iter().enumerate().map(field).collect();
        known.push(Known { name: TIME.to_owned(), kind: Type::Timestamp, place: Place::Now });
        for (at, view) in self.features.set.views.iter().enumerate().filter(|(at, _)| self.views[*at].is_some()) {
            let ViewColumns { name, columns } = &view.columns;
            known.extend(columns.iter().enumerate().map(|(column, feature)| Known {
                name: format!("{name}.{}", feature.name),
                kind: feature.kind,
                place: Place::View(at, column),
            }));
        }
        known
    }

    fn input<'c>(&'c self, place: Place, fields: &'c [(&String, Type, Vec<Value>)], row: usize) -> Input<'c> {
        match place {
            Place::View(view, column) => {
                let width = self.features.set.views[view].columns.columns.len();
                (&self.view(view).values[row * width + column]).into()
            }
            Place::Field(at) => (&fields[at].2[row]).into(),
            Place::Computed(at) => {
                let (_, values) = self.computed[at].as_ref().expect("only what was computed is known");
                (&values[row]).into()
            }
            Place::Now => Input::Timestamp(self.now),
        }
    }
}

/// The keys of a view, one per entity. A null is a key that nobody has.
fn keys(
    request: &FeatureRequest,
    view: &str,
    entity: &[KeyColumn],
    row_count: usize,
) -> Result<Vec<Vec<u8>>, FeatureError> {
    let mut keys: Vec<Option<Vec<KeyPart>>> = vec![Some(Vec::with_capacity(entity.len())); row_count];
    for column in entity {
        let name = &column.name;
        let values = request.entities.get(name).ok_or_else(|| {
            FeatureError::Request(format!("`entities` lacks {name:?}, a key column of view {view:?}"))
        })?;
        for (row, (key, value)) in keys.iter_mut().zip(values).enumerate() {
            let part = column.part(value);
            if part.is_none() && !value.is_null() {
                let must = column.must_be();
                return Err(FeatureError::Request(format!("entities[{name:?}][{row}] is {value}, not {must}")));
            }
            match part {
                Some(part) => key.iter_mut().for_each(|parts| parts.push(part.clone())),
                None => *key = None,
            }
        }
    }
    let bytes = |key: Option<Vec<KeyPart>>| key.map_or_else(|| RESERVED_KEY.to_vec(), |key| EntityKey(key).to_bytes());
    Ok(keys.into_iter().map(bytes).collect())
}

/// The values of a field with the type that holds all of them. Nulls alone are floats.
pub(crate) fn typed(name: &str, values: &[Json]) -> Result<(Type, Vec<Value>), FeatureError> {
    let kind_of = |value: &Json| match value {
        Json::Null => None,
        Json::Bool(_) => Some(Type::Bool),
        Json::Number(number) if number.is_i64() => Some(Type::Int),
        Json::Number(_) => Some(Type::Float),
        // Lists and objects are refused below.
        Json::String(_) | Json::Array(_) | Json::Object(_) => Some(Type::Text),
    };
    let mut kind: Option<Type> = None;
    for (row, value) in values.iter().enumerate() {
        let bad = |what: &str| Err(FeatureError::Request(format!("{name:?}: value {row}, {value}, {what}")));
        if value.is_array() || value.is_object() {
            return bad("is no single value");
        }
        kind = match (kind, kind_of(value)) {
            (None, found) => found,
            (known, None) => known,
            (Some(known), Some(found)) if known == found => Some(known),
            (Some(Type::Int | Type::Float), Some(Type::Int | Type::Float)) => Some(Type::Float),
            (Some(known), Some(_)) => return bad(&format!("is of another type than those before it, {known}")),
        };
    }
    let kind = kind.unwrap_or(Type::Float);
    let value = |value: &Json| match value {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) if kind == Type::Int => Value::Int(value),
            (_, Some(value)) => Value::Float(value),
            _ => Value::Null,
        },
        Json::String(text) => Value::Text(text.as_str().into()),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
    };
    Ok((kind, values.iter().map(value).collect()))
}
