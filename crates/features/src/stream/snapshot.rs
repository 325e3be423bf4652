//! The whole state as bytes.
//!
//! Only what a read can still see is written, entities by key and events by position, so that equal states give equal
//! bytes whatever was dropped when.

use std::collections::HashMap;

use super::entities::Spilled;
use super::layout::EVENT;
use super::rows::Order;
use super::saved::{Form, Reader, Writer};
use super::versions::Version;
use super::{Stream, StreamOptions};
use crate::point_in_time::entity::NOBODY;
use crate::{FeatureError, FeatureView, SourceTable};

impl Stream {
    /// The state as bytes: [`Stream::from_snapshot`] and the rows from [`Stream::next_position`] on give it again. Of
    /// spilled entities it says only that they are spilled.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let (start, earliest) = (self.first_event(), self.earliest_as_of());
        let counts = |row: &&[u64]| {
            row[EVENT] as i64 >= start && self.layout.until.is_none_or(|until| row[until] as i64 >= earliest)
        };
        let mut writer = Writer::new(Form::Snapshot, &self.fingerprint);
        writer.i64(self.watermark);
        writer.i64(self.earliest().0);
        writer.u64(self.next_position);

        let mut written = HashMap::new();
        let entities = self.entities.sorted().into_iter().filter(|(_, number)| {
            let slot = &self.entities.slots[*number as usize];
            let is_spilled = slot.spilled.as_ref().is_some_and(|spilled| spilled.newest_event >= start);
            is_spilled || slot.rows.iter(&self.layout).any(|row| counts(&row))
        });
        let entities: Vec<(Vec<u8>, u32)> = entities.collect();
        writer.u64(entities.len() as u64);
        for (key, number) in entities {
            written.insert(number, written.len() as u32);
            let slot = &self.entities.slots[number as usize];
            writer.bytes(&key);
            match slot.spilled.as_ref().filter(|spilled| spilled.newest_event >= start) {
                None => writer.u32(0),
                Some(spilled) => {
                    writer.u32(spilled.parts);
                    writer.i64(spilled.newest_event);
                    writer.u64(spilled.withdrawn.len() as u64);
                    for &(order, until) in &spilled.withdrawn {
                        write_order(&mut writer, order);
                        writer.i64(until);
                    }
                }
            }
            let rows: Vec<&[u64]> = slot.rows.iter(&self.layout).filter(counts).collect();
            writer.u64(rows.len() as u64);
            rows.into_iter().for_each(|row| writer.row(row, &self.layout, &self.texts));
        }

        let versions = self.versions.sorted(self.forgettable());
        writer.u64(versions.len() as u64);
        for (id, version) in versions {
            writer.bytes(id);
            // A row that was dropped needs no entity, and its number may be another's by now.
            let entity = written.get(&version.entity).filter(|_| version.order.event >= start);
            writer.u32(entity.copied().unwrap_or(NOBODY));
            write_order(&mut writer, version.order);
            writer.i64(version.newest_available);
            writer.bytes(&version.content);
        }
        writer.finish()
    }

    /// The stream whose [`Stream::snapshot`] gave `bytes`. Views, columns and `max_lateness` must be
    /// the same.
    ///
    /// # Errors
    /// As [`Stream::new`]; [`FeatureError::SavedState`] when the bytes are damaged, of another version, or were
    /// written for something else.
    ///
    /// # Panics
    /// As [`Stream::new`].
    pub fn from_snapshot(
        views: &[&FeatureView],
        like: &SourceTable,
        options: StreamOptions,
        bytes: &[u8],
    ) -> Result<Stream, FeatureError> {
        let mut stream = Stream::new(views, like, options)?;
        let mut reader = Reader::open(Form::Snapshot, bytes, &stream.fingerprint)?;
        stream.watermark = reader.i64()?;
        stream.promised = reader.i64()?;
        stream.next_position = reader.u64()?;
        let mut words = Vec::new();
        for _ in 0..reader.u64()? {
            let key = reader.bytes()?;
            let misfit = || Form::Snapshot.refuse("a key in it does not fit the views");
            let number = stream.entities.add(key, &stream.layout).ok_or_else(misfit)?;
            let parts = reader.u32()?;
            if parts > 0 {
                let newest_event = reader.i64()?;
                let mut withdrawn = Vec::new();
                for _ in 0..reader.u64()? {
                    withdrawn.push((read_order(&mut reader)?, reader.i64()?));
                }
                let spilled = Spilled { parts, newest_event, withdrawn };
                stream.entities.slots[number as usize].spilled = Some(Box::new(spilled));
            }
            for _ in 0..reader.u64()? {
                reader.row(&stream.layout, |text| stream.texts.take(text), &mut words)?;
                stream.insert_words(number, &words);
            }
        }
        for _ in 0..reader.u64()? {
            let id = reader.bytes()?;
            let entity = reader.u32()?;
            let order = read_order(&mut reader)?;
            let newest_available = reader.i64()?;
            let content = reader.bytes()?.into();
            stream.versions.put(id, Version { entity, order, newest_available, content });
        }
        if !reader.is_empty() {
            return Err(Form::Snapshot.refuse("it goes on after its end"));
        }
        Ok(stream)
    }
}

fn write_order(writer: &mut Writer, order: Order) {
    writer.i64(order.event);
    writer.i64(order.available);
    writer.u64(order.position);
}

fn read_order(reader: &mut Reader<'_>) -> Result<Order, FeatureError> {
    Ok(Order { event: reader.i64()?, available: reader.i64()?, position: reader.u64()? })
}
