//! A TOML document as a tree that knows where each key and value stands.

use std::ops::Range;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A value and where it stands, in bytes of the file.
#[derive(Debug, Clone)]
pub struct Node {
    /// The key, or the value itself for an element of a list.
    pub key_span: Range<usize>,
    /// The value. For a table written under a `[header]`, the header.
    pub span: Range<usize>,
    /// What stands there.
    pub content: Content,
}

/// What a value is. Tables keep the order of the file.
#[derive(Debug, Clone)]
pub enum Content {
    /// Something that a mistake was reported about; `serde` does not see it.
    Hole,
    /// A whole number; `None` when it does not fit 64 bits.
    Integer(Option<i64>),
    /// A number with a point or an exponent, or `inf` or `nan`.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A TOML date, time or date-time.
    Time(String),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// The tree of a parsed document.
    #[must_use]
    pub fn of_document(table: &Spanned<DeTable<'_>>) -> Node {
        let span = table.span();
        Node { key_span: span.clone(), span, content: Content::Table(entries(table.get_ref())) }
    }

    fn of_value(key_span: Range<usize>, value: &Spanned<DeValue<'_>>) -> Node {
        let span = value.span();
        let content = match value.get_ref() {
            DeValue::String(text) => Content::Text(text.to_string()),
            DeValue::Integer(number) => Content::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(number) => Content::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Content::Bool(*value),
            DeValue::Datetime(time) => Content::Time(time.to_string()),
            DeValue::Array(items) => {
                Content::List(items.iter().map(|item| Node::of_value(item.span(), item)).collect())
            }
            DeValue::Table(table) => Content::Table(entries(table)),
        };
        Node { key_span, span, content }
    }

    /// The entry `key` of a table.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Table(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            Content::List(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The node at `path`, or the deepest one on the way there.
    #[must_use]
    pub fn nearest(&self, path: &[&str]) -> &Node {
        path.iter().try_fold(self, |node, key| node.get(key).ok_or(node)).unwrap_or_else(|deepest| deepest)
    }

    /// The keys of a table; nothing for any other value.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.content {
            Content::Table(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(name, _)| name.as_str())
    }

    /// Whether it is a table with nothing in it.
    #[must_use]
    pub fn is_empty_table(&self) -> bool {
        matches!(&self.content, Content::Table(entries) if entries.is_empty())
    }

    /// How many entries of a table are called none of `known`.
    #[must_use]
    pub fn count_of_entries_beside(&self, known: &[&str]) -> usize {
        self.keys().filter(|name| !known.contains(name)).count()
    }

    /// How a message names the value: its kind and the value.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.content {
            Content::Hole => "not usable".to_owned(),
            Content::Integer(Some(number)) => format!("the number {number}"),
            Content::Integer(None) => "a number beyond 64 bits".to_owned(),
            Content::Float(number) => format!("the number {number}"),
            Content::Bool(value) => format!("the truth value {value}"),
            Content::Text(text) => format!("the text {text:?}"),
            Content::Time(time) => format!("the time {time}"),
            Content::List(items) => format!("a list of {}", items.len()),
            Content::Table(_) => "a table".to_owned(),
        }
    }
}

fn entries(table: &DeTable<'_>) -> Vec<(String, Node)> {
    let entry = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        (key.get_ref().to_string(), Node::of_value(key.span(), value))
    };
    let mut entries: Vec<_> = table.iter().map(entry).collect();
    entries.sort_by_key(|(_, node)| node.key_span.start);
    entries
}

/// Gives a tree that has passed the check of its structure to `serde`.
impl<'de> Deserializer<'de> for &'de Node {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match &self.content {
            Content::Integer(Some(number)) => visitor.visit_i64(*number),
            Content::Hole | Content::Integer(None) => {
                Err(Self::Error::custom("a value that was reported as a mistake"))
            }
            Content::Float(number) => visitor.visit_f64(*number),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Text(text) | Content::Time(text) => visitor.visit_borrowed_str(text),
            Content::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Content::Table(entries) => {
                let usable = entries.iter().filter(|(_, node)| !matches!(node.content, Content::Hole));
                visitor.visit_map(MapDeserializer::new(usable.map(|(key, node)| (key.as_str(), node))))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match &self.content {
            Content::Text(text) => {
                Deserializer::deserialize_enum(text.as_str().into_deserializer(), name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
