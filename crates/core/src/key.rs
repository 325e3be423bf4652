//! Entity keys: what a feature describes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One column of an entity key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyPart {
    /// Any integer column.
    Int(i64),
    /// Any string column.
    Text(String),
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPart::Int(value) => write!(f, "{value}"),
            KeyPart::Text(value) => f.write_str(value),
        }
    }
}

impl From<i64> for KeyPart {
    fn from(value: i64) -> Self {
        KeyPart::Int(value)
    }
}

impl From<&str> for KeyPart {
    fn from(value: &str) -> Self {
        KeyPart::Text(value.to_owned())
    }
}

/// The key columns of one entity, in the order that its view declares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntityKey(pub Vec<KeyPart>);

impl EntityKey {
    /// A key of one column.
    pub fn single(part: impl Into<KeyPart>) -> Self {
        EntityKey(vec![part.into()])
    }

    /// A byte form for stores: distinct keys differ, no key's bytes begin another's.
    ///
    /// Per part a tag, then an `i64` big-endian with its sign bit flipped (so order is kept), or the length and
    /// the UTF-8 bytes of a text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 * self.0.len());
        for part in &self.0 {
            match part {
                KeyPart::Int(value) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&((*value as u64) ^ (1 << 63)).to_be_bytes());
                }
                KeyPart::Text(value) => {
                    bytes.push(2);
                    bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    bytes.extend_from_slice(value.as_bytes());
                }
            }
        }
        bytes
    }

    /// The key that [`EntityKey::to_bytes`] wrote; `None` for other bytes.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<EntityKey> {
        let mut parts = Vec::new();
        while let Some((&tag, rest)) = bytes.split_first() {
            bytes = match tag {
                1 => {
                    let (value, rest) = rest.split_first_chunk()?;
                    parts.push(KeyPart::Int((u64::from_be_bytes(*value) ^ (1 << 63)) as i64));
                    rest
                }
                2 => {
                    let (length, rest) = rest.split_first_chunk()?;
                    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                    parts.push(KeyPart::Text(std::str::from_utf8(text).ok()?.to_owned()));
                    rest
                }
                _ => return None,
            };
        }
        Some(EntityKey(parts)).filter(|key| !key.0.is_empty())
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_keys_apart_and_keep_integer_order() {
        let keys = [
            EntityKey::single(-1),
            EntityKey::single(0),
            EntityKey::single(7),
            EntityKey::single("7"),
            EntityKey(vec!["a".into(), "bc".into()]),
            EntityKey(vec!["ab".into(), "c".into()]),
        ];
        let bytes: Vec<_> = keys.iter().map(EntityKey::to_bytes).collect();
        assert!(bytes[0] < bytes[1] && bytes[1] < bytes[2]);
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert_eq!(EntityKey::from_bytes(bytes).as_ref(), Some(key));
            assert_eq!(EntityKey::from_bytes(&bytes[..bytes.len() - 1]), None, "cut off");
        }
        assert_eq!(EntityKey::from_bytes(&[]), None);
        assert_eq!(EntityKey::from_bytes(&[0]), None);
        for (i, a) in bytes.iter().enumerate() {
            for (j, b) in bytes.iter().enumerate() {
                assert_eq!(i == j, a == b);
                assert!(i == j || !a.starts_with(b));
            }
        }
    }
}
