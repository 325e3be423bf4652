//! Entity keys as dense numbers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use paceline_core::{EntityKey, KeyPart, Value};

use super::column::{column_named, integers};
use crate::FeatureError;

/// The number of no entity: an unknown one, or a key with a null in it.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Multiplies and folds: one multiplication per word, where SipHash costs tens of nanoseconds per key.
///
/// It has no secret, so crafted keys could collide; keys reach it only from sources and spines that the user owns, and
/// a request only looks keys up.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0.rotate_left(23) ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// Keys to their numbers.
pub(crate) type KeyMap<K> = HashMap<K, u32, BuildHasherDefault<KeyHasher>>;

/// One key column: its values numbered by first appearance.
#[derive(Debug)]
enum Part {
    Integers(KeyMap<i64>),
    Texts(KeyMap<Box<str>>),
}

/// Numbers entities by first appearance; several key columns are numbered pair by pair from the left.
#[derive(Debug)]
pub(crate) struct EntityDictionary {
    names: Vec<String>,
    parts: Vec<Part>,
    pairs: Vec<KeyMap<(u32, u32)>>,
    count: usize,
}

/// A key column in canonical form.
#[derive(Debug)]
pub(crate) enum KeyColumn {
    Integers(ArrayRef),
    Texts(ArrayRef),
    /// So many rows without any value, which therefore fit a column of either type.
    Nothing(usize),
}

impl KeyColumn {
    /// The part of a row's key; null where there is none.
    pub(crate) fn value(&self, row: usize) -> Value {
        match self {
            KeyColumn::Integers(array) if array.is_valid(row) => {
                Value::Int(array.as_primitive::<Int64Type>().value(row))
            }
            KeyColumn::Texts(array) if array.is_valid(row) => Value::Text(array.as_string::<i32>().value(row).into()),
            KeyColumn::Integers(_) | KeyColumn::Texts(_) | KeyColumn::Nothing(_) => Value::Null,
        }
    }
}

impl EntityDictionary {
    /// Numbers the entities of a source, and its rows by entity ([`NOBODY`] where a key is null).
    pub(crate) fn of_source(
        rows: &RecordBatch,
        entity: &[String],
        table: &str,
        view: &str,
    ) -> Result<(Self, Vec<u32>), FeatureError> {
        let mut dictionary =
            EntityDictionary { names: entity.to_vec(), parts: Vec::new(), pairs: Vec::new(), count: 0 };
        let mut numbers: Option<Vec<u32>> = None;
        for name in entity {
            let (part, codes) = match key_column(rows, name, table, view)? {
                KeyColumn::Integers(array) => {
                    let array = array.as_primitive::<Int64Type>();
                    let mut known = KeyMap::default();
                    let codes = number(array.iter(), &mut known);
                    (Part::Integers(known), codes)
                }
                KeyColumn::Texts(array) => {
                    let mut known: KeyMap<&str> = KeyMap::default();
                    let codes = number(array.as_string::<i32>().iter(), &mut known);
                    (Part::Texts(known.into_iter().map(|(text, code)| (text.into(), code)).collect()), codes)
                }
                KeyColumn::Nothing(rows) => (Part::Texts(KeyMap::default()), vec![NOBODY; rows]),
            };
            dictionary.count = part.len();
            dictionary.parts.push(part);
            numbers = Some(match numbers {
                None => codes,
                Some(left) => {
                    let mut known = KeyMap::default();
                    let pairs = left.into_iter().zip(codes);
                    let codes = number(pairs.map(|(a, b)| (a != NOBODY && b != NOBODY).then_some((a, b))), &mut known);
                    dictionary.count = known.len();
                    dictionary.pairs.push(known);
                    codes
                }
            });
        }
        let numbers = numbers.ok_or_else(|| FeatureError::Declaration {
            subject: format!("view {view}"),
            problem: "it has no entity; name at least one key column".to_owned(),
        })?;
        Ok((dictionary, numbers))
    }

    /// Number of entities.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The entity of each row of a spine; [`NOBODY`] where it is unknown or a key is null.
    pub(crate) fn of_spine(&self, keys: &RecordBatch, view: &str) -> Result<Vec<u32>, FeatureError> {
        let mut numbers: Option<Vec<u32>> = None;
        for (i, (name, part)) in self.names.iter().zip(&self.parts).enumerate() {
            let codes: Vec<u32> = match (part, key_column(keys, name, "the spine", view)?) {
                (Part::Integers(known), KeyColumn::Integers(array)) => {
                    array.as_primitive::<Int64Type>().iter().map(|key| look_up(known, key.as_ref())).collect()
                }
                (Part::Texts(known), KeyColumn::Texts(array)) => {
                    array.as_string::<i32>().iter().map(|key| look_up(known, key)).collect()
                }
                (_, KeyColumn::Nothing(rows)) => vec![NOBODY; rows],
                (part, KeyColumn::Integers(array) | KeyColumn::Texts(array)) => {
                    return Err(FeatureError::ColumnType {
                        table: "the spine".to_owned(),
                        needed_by: format!("view {view}"),
                        column: name.clone(),
                        found: array.data_type().clone(),
                        expected: format!("{}, as in the source", part.kind()),
                    });
                }
            };
            numbers = Some(match numbers {
                None => codes,
                Some(left) => {
                    let known = &self.pairs[i - 1];
                    left.into_iter().zip(codes).map(|pair| look_up(known, Some(&pair))).collect()
                }
            });
        }
        Ok(numbers.expect("a dictionary has at least one key column"))
    }

    /// The number of one entity; [`NOBODY`] for an unknown one.
    pub(crate) fn of_key(&self, key: &EntityKey, view: &str) -> Result<u32, FeatureError> {
        let misfit = || FeatureError::Key {
            view: view.to_owned(),
            expected: self
                .names
                .iter()
                .zip(&self.parts)
                .map(|(name, part)| format!("{name} ({})", part.kind()))
                .collect::<Vec<_>>()
                .join(", "),
            key: key.to_string(),
        };
        if key.0.len() != self.parts.len() {
            return Err(misfit());
        }
        let mut number = NOBODY;
        for (i, (part, value)) in self.parts.iter().zip(&key.0).enumerate() {
            let code = match (part, value) {
                (Part::Integers(known), KeyPart::Int(value)) => look_up(known, Some(value)),
                (Part::Texts(known), KeyPart::Text(value)) => look_up(known, Some(value.as_str())),
                _ => return Err(misfit()),
            };
            number = if i == 0 { code } else { look_up(&self.pairs[i - 1], Some(&(number, code))) };
        }
        Ok(number)
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Integers(known) => known.len(),
            Part::Texts(known) => known.len(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Part::Integers(_) => "an integer",
            Part::Texts(_) => "a text",
        }
    }
}

/// Numbers keys by first appearance; null is [`NOBODY`].
pub(crate) fn number<K: Hash + Eq>(keys: impl Iterator<Item = Option<K>>, known: &mut KeyMap<K>) -> Vec<u32> {
    keys.map(|key| {
        let next = known.len() as u32;
        key.map_or(NOBODY, |key| *known.entry(key).or_insert(next))
    })
    .collect()
}

/// A hash of each row's key that depends on nothing but the key, so rows of a source and of a spine agree; `None` where a
/// part is null.
pub(crate) fn key_hashes(
    rows: &RecordBatch,
    entity: &[String],
    table: &str,
    view: &str,
) -> Result<Vec<Option<u64>>, FeatureError> {
    let mut hashes: Vec<Option<KeyHasher>> = (0..rows.num_rows()).map(|_| Some(KeyHasher::default())).collect();
    for name in entity {
        match key_column(rows, name, table, view)? {
            KeyColumn::Integers(array) => hash_with(&mut hashes, array.as_primitive::<Int64Type>().iter()),
            KeyColumn::Texts(array) => hash_with(&mut hashes, array.as_string::<i32>().iter()),
            KeyColumn::Nothing(_) => hashes.iter_mut().for_each(|hasher| *hasher = None),
        }
    }
    Ok(hashes.into_iter().map(|hasher| hasher.map(|hasher| hasher.finish())).collect())
}

fn hash_with<K: Hash>(hashes: &mut [Option<KeyHasher>], keys: impl Iterator<Item = Option<K>>) {
    for (hasher, key) in hashes.iter_mut().zip(keys) {
        match (hasher.as_mut(), key) {
            (Some(hasher), Some(key)) => key.hash(hasher),
            _ => *hasher = None,
        }
    }
}

fn look_up<K: Hash + Eq + std::borrow::Borrow<Q>, Q: Hash + Eq + ?Sized>(known: &KeyMap<K>, key: Option<&Q>) -> u32 {
    key.and_then(|key| known.get(key)).copied().unwrap_or(NOBODY)
}

/// A key column of a table.
pub(crate) fn key_column(rows: &RecordBatch, name: &str, table: &str, view: &str) -> Result<KeyColumn, FeatureError> {
    let needed_by = || format!("view {view}");
    let array = column_named(rows, name, table, needed_by)?;
    let is_text = |data_type: &DataType| data_type.is_string();
    match array.data_type() {
        data_type if data_type.is_integer() => integers(array, name, table).map(KeyColumn::Integers),
        DataType::Dictionary(_, values) if values.is_integer() => {
            let plain = cast(array, values).map_err(FeatureError::arrow(format!("column {name:?} of {table}")))?;
            integers(&plain, name, table).map(KeyColumn::Integers)
        }
        DataType::Utf8 => Ok(KeyColumn::Texts(array.clone())),
        DataType::Null => Ok(KeyColumn::Nothing(array.len())),
        data_type if is_text(data_type) || matches!(data_type, DataType::Dictionary(_, values) if is_text(values)) => {
            let plain =
                cast(array, &DataType::Utf8).map_err(FeatureError::arrow(format!("column {name:?} of {table}")))?;
            Ok(KeyColumn::Texts(plain))
        }
        found => Err(FeatureError::ColumnType {
            table: table.to_owned(),
            needed_by: needed_by(),
            column: name.to_owned(),
            found: found.clone(),
            expected: "an integer or a text (a key)".to_owned(),
        }),
    }
}
