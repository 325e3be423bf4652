//! The entities of a stream, by key and by number.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::layout::Layout;
use super::rows::{Order, Rows};
use crate::point_in_time::entity::NOBODY;

/// Entities numbered as they appear. A number is given again after its entity is gone.
#[derive(Debug)]
pub(crate) struct Entities {
    numbers: Numbers,
    pub slots: Vec<Slot>,
    free: Vec<u32>,
    text_bytes: usize,
}

/// Keys to numbers. Keys may come from outside, so the hash has a secret; no result depends on the order of a map.
#[derive(Debug)]
enum Numbers {
    /// Keys of one integer column.
    Integers(HashMap<i64, u32>),
    /// Any others, in the form of `EntityKey::to_bytes`.
    Bytes(HashMap<Arc<[u8]>, u32>),
}

/// What a stream knows of one entity.
#[derive(Debug)]
pub(crate) struct Slot {
    key: SlotKey,
    pub rows: Rows,
    /// The latest time at which the entity was read, or a row of it known.
    pub touched: AtomicI64,
    pub spilled: Option<Box<Spilled>>,
}

#[derive(Debug, Clone)]
enum SlotKey {
    /// Nobody's.
    Free,
    Integer(i64),
    Bytes(Arc<[u8]>),
}

/// What of an entity is not in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spilled {
    /// Number of parts that were handed out.
    pub parts: u32,
    /// The newest event time in them.
    pub newest_event: i64,
    /// Rows that may be in them and stop counting, with the time until which they count.
    pub withdrawn: Vec<(Order, i64)>,
}

impl Entities {
    /// No entities; with keys of one integer column, or any others.
    pub(crate) fn new(integers: bool) -> Entities {
        let numbers = if integers { Numbers::Integers(HashMap::new()) } else { Numbers::Bytes(HashMap::new()) };
        Entities { numbers, slots: Vec::new(), free: Vec::new(), text_bytes: 0 }
    }

    /// Number of entities.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// About the memory of keys and slots, rows not included.
    pub(crate) fn bytes(&self) -> usize {
        // A map holds at most 7 entries of 8, with a byte of its own for each.
        let (entries, entry) = match &self.numbers {
            Numbers::Integers(known) => (known.capacity(), size_of::<(i64, u32)>() + 1),
            Numbers::Bytes(known) => (known.capacity(), size_of::<(Arc<[u8]>, u32)>() + 1),
        };
        entries * entry * 8 / 7 + self.slots.capacity() * size_of::<Slot>() + self.text_bytes
    }

    /// The number of a key of one integer column; [`NOBODY`] for an unknown one.
    #[inline]
    pub(crate) fn find_integer(&self, key: i64) -> u32 {
        let Numbers::Integers(known) = &self.numbers else { return NOBODY };
        known.get(&key).copied().unwrap_or(NOBODY)
    }

    /// The number of a key in its byte form; [`NOBODY`] for an unknown one.
    pub(crate) fn find(&self, key: &[u8]) -> u32 {
        match &self.numbers {
            Numbers::Integers(_) => integer_of(key).map_or(NOBODY, |key| self.find_integer(key)),
            Numbers::Bytes(known) => known.get(key).copied().unwrap_or(NOBODY),
        }
    }

    /// Numbers a new key of one integer column.
    pub(crate) fn add_integer(&mut self, key: i64, layout: &Layout) -> u32 {
        let number = self.add_slot(SlotKey::Integer(key), layout);
        if let Numbers::Integers(known) = &mut self.numbers {
            known.insert(key, number);
        }
        number
    }

    /// Numbers a new key in its byte form; `None` when the keys have another form.
    pub(crate) fn add(&mut self, key: &[u8], layout: &Layout) -> Option<u32> {
        if matches!(self.numbers, Numbers::Integers(_)) {
            return integer_of(key).map(|key| self.add_integer(key, layout));
        }
        let key: Arc<[u8]> = key.into();
        self.text_bytes += key.len() + 2 * size_of::<usize>();
        let number = self.add_slot(SlotKey::Bytes(key.clone()), layout);
        if let Numbers::Bytes(known) = &mut self.numbers {
            known.insert(key, number);
        }
        Some(number)
    }

    fn add_slot(&mut self, key: SlotKey, layout: &Layout) -> u32 {
        let slot = Slot { key, rows: Rows::new(layout), touched: AtomicI64::new(i64::MIN), spilled: None };
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = slot;
            return number;
        }
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }

    /// Forgets an entity without rows.
    pub(crate) fn remove(&mut self, number: u32) {
        match (std::mem::replace(&mut self.slots[number as usize].key, SlotKey::Free), &mut self.numbers) {
            (SlotKey::Integer(key), Numbers::Integers(known)) => _ = known.remove(&key),
            (SlotKey::Bytes(key), Numbers::Bytes(known)) => {
                self.text_bytes -= key.len() + 2 * size_of::<usize>();
                known.remove(&key);
            }
            _ => return,
        }
        self.free.push(number);
    }

    /// Numbers and byte forms of all keys, by bytes.
    pub(crate) fn sorted(&self) -> Vec<(Vec<u8>, u32)> {
        let numbers = 0..self.slots.len() as u32;
        let mut keys: Vec<(Vec<u8>, u32)> = numbers.filter_map(|number| Some((self.key(number)?, number))).collect();
        keys.sort_unstable();
        keys
    }

    /// The byte form of an entity's key; `None` for a number without one.
    pub(crate) fn key(&self, number: u32) -> Option<Vec<u8>> {
        match &self.slots[number as usize].key {
            SlotKey::Free => None,
            SlotKey::Integer(key) => Some(paceline_core::EntityKey::single(*key).to_bytes()),
            SlotKey::Bytes(key) => Some(key.to_vec()),
        }
    }
}

/// The integer of a key of one integer column in its byte form.
fn integer_of(key: &[u8]) -> Option<i64> {
    let [1, digits @ ..] = key else { return None };
    Some((u64::from_be_bytes(digits.try_into().ok()?) ^ (1 << 63)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paceline_core::EntityKey;

    #[test]
    fn keys_are_found_in_both_forms_and_numbers_are_given_again() {
        let layout = Layout::of(&[], &[], false);
        for (integers, keys) in [(true, [(-3).into(), 7.into()]), (false, ["a".into(), "".into()])] {
            let mut entities = Entities::new(integers);
            let [first, second] = keys.map(|part: paceline_core::KeyPart| EntityKey(vec![part]).to_bytes());
            assert_eq!(entities.find(&first), NOBODY);
            assert_eq!((entities.add(&first, &layout), entities.add(&second, &layout)), (Some(0), Some(1)));
            assert_eq!((entities.find(&first), entities.find(&second), entities.len()), (0, 1, 2));
            assert_eq!(entities.key(1), Some(second.clone()));
            entities.remove(0);
            assert_eq!((entities.find(&first), entities.key(0), entities.len()), (NOBODY, None, 1));
            assert_eq!(entities.add(&first, &layout), Some(0));
        }
        assert_eq!(Entities::new(true).add(&EntityKey::single("a").to_bytes(), &layout), None);
    }
}
