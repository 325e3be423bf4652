//! Which entities' values can differ between two times, and proof that the past is what it was.
//!
//! What a view says of an entity at `t` depends on the rows that count at `t` and on `t` alone. Between two times it can
//! differ only where
//!
//! 1. a row became known or stopped counting (late rows by their available time and corrections included),
//! 2. a row left a window,
//! 3. the entity's ttl passed, or
//! 4. a feature counts the seconds since a row that its window still holds.
//!
//! That is as long as the source says the same of the earlier time as it did then. A file may have been given rows since
//! that claim to have been known before, or have been edited. So that this is found, [`Known`] sums up what was known:
//! per group of entities one sum over their counting rows and one over their keys. Of a group whose rows differ every
//! entity is computed again; where its keys differ, too, an entity may have vanished without trace, and the table must
//! be written whole.

use paceline_core::{Digest, Timestamp, Value};

/// Groups of entities; a multiple of the number of parts, so that a group lies in one part.
pub(super) const GROUPS: usize = 16 * super::PARTITIONS;

/// What was known of all entities at one time.
///
/// Sums of 128-bit digests do not depend on the order of entities; that two different pasts have equal sums is as
/// unlikely as two equal digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Group {
    /// Over keys and counting rows.
    rows: u128,
    /// Over keys alone.
    keys: u128,
}

impl Default for Known {
    /// Nothing at all.
    fn default() -> Self {
        Known { groups: vec![Group::default(); GROUPS] }
    }
}

/// How what a group's source says now of an earlier time compares with what it said then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    Same,
    /// Other rows of the same entities.
    OtherRows,
    /// Other entities.
    OtherEntities,
}

impl Known {
    pub(super) fn add(&mut self, group: usize, key: &[u8], rows: &[u8]) {
        let group = &mut self.groups[group];
        group.rows = group.rows.wrapping_add(short(Digest::of_parts([key, rows])));
        group.keys = group.keys.wrapping_add(short(Digest::of(key)));
    }

    pub(super) fn past(&self, now: &Known, group: usize) -> Past {
        let (then, now) = (self.groups[group], now.groups[group]);
        match (then.rows == now.rows, then.keys == now.keys) {
            (true, _) => Past::Same,
            (false, true) => Past::OtherRows,
            (false, false) => Past::OtherEntities,
        }
    }

    /// For a store: each group with entities as its number and its two sums, all little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, group) in self.groups.iter().enumerate().filter(|(_, group)| **group != Group::default()) {
            bytes.extend((number as u32).to_le_bytes());
            bytes.extend(group.rows.to_le_bytes());
            bytes.extend(group.keys.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Known::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Known> {
        let mut known = Known::default();
        while !bytes.is_empty() {
            let (number, rest) = bytes.split_first_chunk()?;
            let (rows, rest) = rest.split_first_chunk()?;
            let (keys, rest) = rest.split_first_chunk()?;
            let group = known.groups.get_mut(u32::from_le_bytes(*number) as usize)?;
            *group = Group { rows: u128::from_le_bytes(*rows), keys: u128::from_le_bytes(*keys) };
            bytes = rest;
        }
        Some(known)
    }
}

fn short(digest: Digest) -> u128 {
    u128::from_le_bytes(*digest.bytes().first_chunk().expect("a digest has 32 bytes"))
}

/// Since when a change is wanted, and what was known then.
#[derive(Debug, Clone)]
pub struct Since {
    /// The earlier time.
    pub at: Timestamp,
    /// What was known at it, as was found then.
    pub known: Known,
}

/// A key as bytes that differ for different keys.
pub(super) fn key_bytes(parts: &[Value]) -> Vec<u8> {
    paceline_core::value::encode_values(parts)
}
