//! The newest version of every event that may still be repeated or corrected.
//!
//! Versions of one id must come in the order of their available times; then the newest one is all that has to be kept: a
//! row with its content is a duplicate, any other replaces it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::rows::Order;

/// The newest version of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Number of its entity; `NOBODY` when it has none, or its row no longer counts.
    pub entity: u32,
    pub order: Order,
    /// The latest available time of its duplicates and itself.
    pub newest_available: i64,
    /// Every column that belongs to it; the event time does too.
    pub content: Box<[u8]>,
}

/// What a row with an id is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The first version.
    New,
    /// The newest version once more.
    Duplicate,
    /// Another version, which takes the place of this row.
    Replaces(u32, Order),
    /// A version that was available before one that is here already.
    OutOfOrder,
}

/// Before which times a version can be forgotten: no window reaches its event time, and no version that was available
/// as early is accepted any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forgettable {
    pub event_before: i64,
    pub available_before: i64,
}

impl Forgettable {
    pub(crate) fn is(self, version: &Version) -> bool {
        version.order.event < self.event_before && version.newest_available < self.available_before
    }
}

/// The newest version of each id.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    known: HashMap<Arc<[u8]>, Version>,
    /// Ids with the event time and position of a version of theirs, to look at one after the other.
    queue: VecDeque<(Arc<[u8]>, i64, u64)>,
    content_bytes: usize,
}

impl Versions {
    /// What a row is, and nothing else; a version that can be forgotten counts as forgotten.
    pub(crate) fn judge(&mut self, id: &[u8], order: Order, content: &[u8], forgettable: Forgettable) -> Judged {
        let Some(version) = self.known.get_mut(id).filter(|version| !forgettable.is(version)) else {
            return Judged::New;
        };
        if order.available < version.newest_available {
            return Judged::OutOfOrder;
        }
        if version.order.event == order.event && *version.content == *content {
            version.newest_available = order.available;
            return Judged::Duplicate;
        }
        Judged::Replaces(version.entity, version.order)
    }

    /// Makes `version` the newest of an id.
    pub(crate) fn put(&mut self, id: &[u8], version: Version) {
        self.content_bytes += version.content.len();
        let (event, position) = (version.order.event, version.order.position);
        let id = if let Some((id, _)) = self.known.get_key_value(id) { id.clone() } else { Arc::from(id) };
        match self.known.insert(id.clone(), version) {
            Some(old) => self.content_bytes -= old.content.len(),
            None => self.content_bytes += id.len(),
        }
        self.queue.push_back((id, event, position));
    }

    /// Looks at some more ids and forgets what can be; costs a constant per step.
    pub(crate) fn forget(&mut self, forgettable: Forgettable, steps: usize) {
        for _ in 0..steps.min(self.queue.len()) {
            let Some((id, event, position)) = self.queue.pop_front() else { return };
            if event >= forgettable.event_before {
                self.queue.push_back((id, event, position));
                continue;
            }
            // A newer version, or none, makes this entry pointless.
            let Some(version) = self.known.get(&id).filter(|version| version.order.position == position) else {
                continue;
            };
            if forgettable.is(version) {
                self.content_bytes -= version.content.len() + id.len();
                self.known.remove(&id);
            } else {
                self.queue.push_back((id, event, position));
            }
        }
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// About the memory that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let entry = size_of::<(Arc<[u8]>, Version)>() + 1;
        let shared = 2 * size_of::<usize>();
        self.known.capacity() * entry * 8 / 7
            + self.queue.capacity() * size_of::<(Arc<[u8]>, i64, u64)>()
            + self.known.len() * shared
            + self.content_bytes
    }

    /// The versions that cannot be forgotten, by position.
    pub(crate) fn sorted(&self, forgettable: Forgettable) -> Vec<(&[u8], &Version)> {
        let mut versions: Vec<(&[u8], &Version)> =
            self.known.iter().map(|(id, version)| (&**id, version)).filter(|(_, v)| !forgettable.is(v)).collect();
        versions.sort_unstable_by_key(|(_, version)| version.order.position);
        versions
    }
}
