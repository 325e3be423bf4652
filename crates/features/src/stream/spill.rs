//! Entities that leave memory and come back.
//!
//! Rows that come for a spilled entity are kept beside its spilled parts, so applying never waits for them; a read does.
//! A part that is given back is merged row by row, each row being known by its position, so a part that is newer than the
//! state, as after a restart from a snapshot, does no harm.

use super::Stream;
use super::entities::Spilled;
use super::rows::Order;
use super::saved::{Form, Reader, Writer};
use crate::FeatureError;
use crate::point_in_time::correction::FOREVER;

/// One part of an entity that is no longer in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpilledPart {
    /// The entity's key, in the form of [`paceline_core::EntityKey::to_bytes`].
    pub key: Vec<u8>,
    /// Number of the part, from 0. It takes the place of any older part of the same key and number.
    pub part: u32,
    /// The rows.
    pub bytes: Vec<u8>,
}

impl Stream {
    /// Whether the state holds more memory than it should.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.bytes() > self.options.memory_bytes_max
    }

    /// When over budget, hands out the rows of the entities that were untouched for longest, until seven eighths of the
    /// budget are held or nothing is left to hand out. The caller keeps the parts by key and number as long as a snapshot
    /// that it may still open says that they are spilled ([`Stream::spilled_keys`]).
    pub fn evict(&mut self) -> Vec<SpilledPart> {
        let mut parts = Vec::new();
        if !self.is_over_budget() {
            return parts;
        }
        let goal = self.options.memory_bytes_max - self.options.memory_bytes_max / 8;
        let slots = self.entities.slots.iter_mut().enumerate();
        let mut untouched: Vec<(i64, u32)> = slots
            .filter(|(_, slot)| !slot.rows.is_empty())
            .map(|(number, slot)| (*slot.touched.get_mut(), number as u32))
            .collect();
        untouched.sort_unstable();
        for (_, number) in untouched {
            if self.bytes() <= goal {
                break;
            }
            parts.extend(self.spill(number));
        }
        parts
    }

    /// Takes the spilled parts of one entity back.
    ///
    /// # Errors
    /// [`FeatureError::SavedState`] when a part is damaged, missing or of another stream or entity; then nothing changes.
    pub fn restore(&mut self, parts: &[impl AsRef<[u8]>]) -> Result<(), FeatureError> {
        let mut key: Option<&[u8]> = None;
        let mut earliest = i64::MIN;
        let mut numbers = Vec::with_capacity(parts.len());
        let mut bodies = Vec::with_capacity(parts.len());
        for part in parts {
            let mut reader = Reader::open(Form::Part, part.as_ref(), &self.fingerprint)?;
            numbers.push(reader.u32()?);
            earliest = earliest.max(reader.i64()?);
            let found = reader.bytes()?;
            if *key.get_or_insert(found) != found {
                return Err(Form::Part.refuse("its parts belong to several entities"));
            }
            bodies.push(reader.clone());
            while !reader.is_empty() {
                reader.row(&self.layout, |_| 0, &mut self.words)?;
            }
        }
        let entity = key.map(|key| self.entities.find(key));
        let slot = entity.and_then(|number| self.entities.slots.get_mut(number as usize));
        // An entity whose rows became too old is no longer known, or no longer spilled.
        let Some((slot, spilled)) = slot.and_then(|slot| slot.spilled.clone().map(|spilled| (slot, spilled))) else {
            return Ok(());
        };
        numbers.sort_unstable();
        numbers.dedup();
        if !numbers.iter().copied().eq(0..spilled.parts) {
            let found = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            return Err(Form::Part.refuse(format!("it has parts 0 to {}, not {found}", spilled.parts - 1)));
        }
        slot.spilled = None;
        // A part that is newer than the state lacks what was dropped since.
        self.promised = self.promised.max(earliest);
        let number = entity.expect("its slot was found");
        let mut words = Vec::new();
        for mut reader in bodies {
            while !reader.is_empty() {
                reader.row(&self.layout, |text| self.texts.take(text), &mut words)?;
                self.merge_words(number, &words);
            }
        }
        for (order, until) in spilled.withdrawn {
            self.withdraw(number, order, until);
        }
        self.drop_before(number, self.first_event(), self.earliest_as_of());
        Ok(())
    }

    /// The keys of entities with spilled parts, with the number of parts.
    pub fn spilled_keys(&self) -> impl Iterator<Item = (Vec<u8>, u32)> + '_ {
        let slots = self.entities.slots.iter().enumerate();
        slots.filter_map(|(number, slot)| Some((self.entities.key(number as u32)?, slot.spilled.as_ref()?.parts)))
    }

    fn spill(&mut self, number: u32) -> Option<SpilledPart> {
        let key = self.entities.key(number)?;
        self.drop_before(number, self.first_event(), self.earliest_as_of());
        let earliest = self.earliest();
        let slot = &mut self.entities.slots[number as usize];
        let newest_event = Order::of(slot.rows.iter(&self.layout).last()?).event;
        let spilled =
            slot.spilled.get_or_insert_with(|| Box::new(Spilled { parts: 0, newest_event, withdrawn: Vec::new() }));
        let part = spilled.parts;
        spilled.parts += 1;
        spilled.newest_event = spilled.newest_event.max(newest_event);
        let mut writer = Writer::new(Form::Part, &self.fingerprint);
        writer.u32(part);
        writer.i64(earliest.0);
        writer.bytes(&key);
        slot.rows.iter(&self.layout).for_each(|row| writer.row(row, &self.layout, &self.texts));
        let before = slot.rows.bytes();
        slot.rows.clear(&self.layout, &mut self.texts);
        self.row_bytes = self.row_bytes + slot.rows.bytes() - before;
        Some(SpilledPart { key, part, bytes: writer.finish() })
    }

    /// Puts a saved row to an entity; one that is there already may have been replaced in either copy.
    fn merge_words(&mut self, number: u32, words: &[u64]) {
        let order = Order::of(words);
        if order.event < self.first_event() {
            super::rows::release_texts(&self.layout, &mut self.texts, words);
            return;
        }
        self.insert_words(number, words);
        if let Some(until) = self.layout.until {
            let until = words[until] as i64;
            if until != FOREVER {
                self.withdraw(number, order, until);
            }
        }
    }
}
