//! Rows as they come to a stream: columns in canonical types, keys, ids and contents as bytes.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::row::{Row, RowConverter, Rows as Contents, SortField};

use super::layout::{Kind, Layout};
use super::texts::Texts;
use crate::point_in_time::column::{canonical, column_named};
use crate::point_in_time::entity::{KeyColumn, key_column};
use crate::point_in_time::plan::WantedColumn;
use crate::{FeatureError, SourceTable};

/// What a stream reads of its source, fixed when it is made.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The source's name.
    pub source: String,
    /// The first view's name, for messages.
    pub view: String,
    /// Key columns.
    pub entity: Vec<String>,
    /// Whether each key column holds integers; texts otherwise.
    pub integer_keys: Vec<bool>,
    /// Whether a key is one integer.
    pub entities_are_integers: bool,
    /// The columns that features need, in the order of the layout.
    pub columns: Vec<WantedColumn>,
    /// Event ids and what belongs to a row's content.
    pub ids: Option<IdReader>,
}

/// How event ids and contents are read.
#[derive(Debug)]
pub(crate) struct IdReader {
    pub column: String,
    pub integers: bool,
    pub content: Vec<(String, DataType)>,
    converter: RowConverter,
}

/// The rows of one table, ready to be applied.
pub(crate) struct Incoming {
    pub keys: Keys,
    pub ids: Option<Ids>,
    columns: Vec<Words>,
}

/// Keys of rows, `None` where a part is null.
pub(crate) struct Keys {
    columns: Vec<KeyWords>,
}

pub(crate) struct Ids {
    keys: Keys,
    contents: Contents,
}

enum KeyWords {
    Integers(Int64Array),
    Texts(StringArray),
    Nothing,
}

enum Words {
    Integers(Int64Array),
    Floats(Float64Array),
    Truths(BooleanArray),
    Texts(StringArray),
    /// Only nulls matter.
    Counted(Option<NullBuffer>),
    Nothing,
}

impl Reader {
    /// Reads a table of the source.
    pub(crate) fn read(&self, source: &SourceTable, layout: &Layout) -> Result<Incoming, FeatureError> {
        let table = self.table();
        let keys = self.keys(source, &self.entity, &self.integer_keys)?;
        let columns = self
            .columns
            .iter()
            .zip(&layout.columns)
            .map(|(column, layout)| {
                let array = column_named(&source.rows, &column.name, &table, || column.needed_by.clone())?;
                self.words(array, column, layout.kind)
            })
            .collect::<Result<_, _>>()?;
        let ids = self.ids.as_ref().map(|ids| self.read_ids(source, ids)).transpose()?;
        Ok(Incoming { keys, ids, columns })
    }

    /// How messages name the source.
    pub(crate) fn table(&self) -> String {
        format!("source {:?}", self.source)
    }

    fn keys(&self, source: &SourceTable, names: &[String], integers: &[bool]) -> Result<Keys, FeatureError> {
        let table = self.table();
        let read = |(name, integers): (&String, &bool)| match key_column(&source.rows, name, &table, &self.view)? {
            KeyColumn::Integers(array) if *integers => Ok(KeyWords::Integers(array.as_primitive().clone())),
            KeyColumn::Texts(array) if !*integers => Ok(KeyWords::Texts(array.as_string().clone())),
            KeyColumn::Nothing(_) => Ok(KeyWords::Nothing),
            KeyColumn::Integers(array) | KeyColumn::Texts(array) => {
                let expected = if *integers { "an integer, as before" } else { "a text, as before" };
                Err(self.misfit(name, &format!("view {}", self.view), array.data_type(), expected))
            }
        };
        Ok(Keys { columns: names.iter().zip(integers).map(read).collect::<Result<_, _>>()? })
    }

    fn words(&self, array: &ArrayRef, column: &WantedColumn, kind: Kind) -> Result<Words, FeatureError> {
        let misfit = || {
            let expected = match kind {
                Kind::Integer => "an integer, as before",
                Kind::Float => "a float or decimal, as before",
                Kind::Truth => "a truth value, as before",
                Kind::Text => "a text, as before",
                Kind::Time => "a date or timestamp, as before",
                Kind::Other => "a column that is only counted, as before",
            };
            self.misfit(&column.name, &column.needed_by, array.data_type(), expected)
        };
        if array.data_type() == &DataType::Null {
            return Ok(Words::Nothing);
        }
        let canonical = canonical(array, &column.name, &self.table())?;
        // Whatever is only counted may be of any type.
        if column.needs == Default::default() {
            let array = canonical.as_ref().unwrap_or(array);
            return Ok(Words::Counted(array.logical_nulls().filter(|nulls| nulls.null_count() > 0)));
        }
        let array = canonical.filter(|array| Kind::of(array.data_type()) == kind).ok_or_else(misfit)?;
        Ok(match kind {
            Kind::Integer => Words::Integers(array.as_primitive().clone()),
            Kind::Float => Words::Floats(array.as_primitive().clone()),
            Kind::Truth => Words::Truths(array.as_boolean().clone()),
            Kind::Text => Words::Texts(array.as_string().clone()),
            Kind::Time => {
                let times = array.as_primitive::<TimestampMicrosecondType>();
                Words::Integers(Int64Array::new(times.values().clone(), times.nulls().cloned()))
            }
            Kind::Other => return Err(misfit()),
        })
    }

    fn read_ids(&self, source: &SourceTable, ids: &IdReader) -> Result<Ids, FeatureError> {
        let table = self.table();
        let keys = self.keys(source, std::slice::from_ref(&ids.column), &[ids.integers])?;
        let convert = |(name, data_type): &(String, DataType)| {
            let array = column_named(&source.rows, name, &table, || "event_id".to_owned())?;
            if array.data_type() == data_type {
                return Ok(array.clone());
            }
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, data_type, &options)
                .map_err(FeatureError::arrow(format!("column {name:?} of {table}")))
        };
        let columns: Vec<ArrayRef> = ids.content.iter().map(convert).collect::<Result<_, _>>()?;
        let contents = ids.converter.convert_columns(&columns).map_err(FeatureError::arrow(table))?;
        Ok(Ids { keys, contents })
    }

    fn misfit(&self, column: &str, needed_by: &str, found: &DataType, expected: &str) -> FeatureError {
        FeatureError::ColumnType {
            table: self.table(),
            needed_by: needed_by.to_owned(),
            column: column.to_owned(),
            found: found.clone(),
            expected: expected.to_owned(),
        }
    }
}

impl IdReader {
    /// Reads the ids of a source with the columns of `like`.
    pub(crate) fn of(like: &SourceTable, column: &str, view: &str) -> Result<IdReader, FeatureError> {
        let table = format!("source {:?}", like.name);
        column_named(&like.rows, column, &table, || "event_id".to_owned())?;
        let integers = matches!(key_column(&like.rows, column, &table, view)?, KeyColumn::Integers(_));
        let is_content = |name: &str| name != column && like.available_time_column.as_deref() != Some(name);
        let schema = like.rows.schema_ref();
        let fields = schema.fields().iter().filter(|field| is_content(field.name()));
        let content: Vec<(String, DataType)> =
            fields.map(|field| (field.name().clone(), field.data_type().clone())).collect();
        let sort_fields = content.iter().map(|(_, data_type)| SortField::new(data_type.clone())).collect();
        let converter = RowConverter::new(sort_fields).map_err(FeatureError::arrow(table))?;
        Ok(IdReader { column: column.to_owned(), integers, content, converter })
    }
}

impl Incoming {
    /// Writes the words of a row's columns, as [`super::rows::Rows::insert`] wants them. Every text is used once more.
    pub(crate) fn write_words(&self, row: usize, layout: &Layout, texts: &mut Texts, words: &mut [u64]) {
        for (column, layout) in self.columns.iter().zip(&layout.columns) {
            let word = match column {
                Words::Integers(array) => array.is_valid(row).then(|| array.value(row) as u64),
                Words::Floats(array) => array.is_valid(row).then(|| array.value(row).to_bits()),
                Words::Truths(array) => array.is_valid(row).then(|| u64::from(array.value(row))),
                Words::Texts(array) => array.is_valid(row).then(|| texts.take(array.value(row))),
                Words::Counted(nulls) => nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then_some(0),
                Words::Nothing => None,
            };
            words[layout.count] = u64::from(word.is_some());
            if let Some(place) = layout.value {
                words[place] = word.unwrap_or(0);
            }
        }
    }
}

impl Keys {
    /// The only part of a key, where it is an integer column; `None` for any other key.
    pub(crate) fn integers(&self) -> Option<&Int64Array> {
        match self.columns.as_slice() {
            [KeyWords::Integers(array)] => Some(array),
            _ => None,
        }
    }

    /// Writes the key of a row, in the form of `EntityKey::to_bytes`, to `bytes`; false when a part is null.
    pub(crate) fn write(&self, row: usize, bytes: &mut Vec<u8>) -> bool {
        bytes.clear();
        for column in &self.columns {
            match column {
                KeyWords::Integers(array) if array.is_valid(row) => push_integer(bytes, array.value(row)),
                KeyWords::Texts(array) if array.is_valid(row) => push_text(bytes, array.value(row)),
                _ => return false,
            }
        }
        true
    }
}

impl Ids {
    /// As [`Keys::write`].
    pub(crate) fn write(&self, row: usize, bytes: &mut Vec<u8>) -> bool {
        self.keys.write(row, bytes)
    }

    /// Bytes that are equal exactly for rows with the same content but for the event time.
    pub(crate) fn content(&self, row: usize) -> Row<'_> {
        self.contents.row(row)
    }
}

fn push_integer(bytes: &mut Vec<u8>, value: i64) {
    bytes.push(1);
    bytes.extend_from_slice(&((value as u64) ^ (1 << 63)).to_be_bytes());
}

fn push_text(bytes: &mut Vec<u8>, value: &str) {
    bytes.push(2);
    bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
    bytes.extend_from_slice(value.as_bytes());
}
