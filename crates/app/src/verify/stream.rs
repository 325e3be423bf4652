//! The replay of a stream: rows come as they became available, reads come between them.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use paceline_core::{EntityKey, Period, Timestamp};
use paceline_features::stream::Reading;
use paceline_features::{FeatureView, SourceTable, Stream, StreamOptions};

use super::{OnlinePath, Replay, Verification};
use crate::materialize::unknown_values;
use crate::pipeline::Pipeline;
use crate::training_set::values::{keys_of, value_at};

/// The rows of a source in the order in which a stream gets them.
pub(super) struct Arrivals {
    rows: SourceTable,
    available: Vec<Timestamp>,
    max_lateness: Period,
}

/// Of each source that has times.
pub(super) fn arrivals<'a>(
    pipeline: &Pipeline,
    sources: &BTreeMap<&'a str, SourceTable>,
) -> anyhow::Result<BTreeMap<&'a str, Arrivals>> {
    let mut ordered = BTreeMap::new();
    for (name, table) in sources {
        let (Some(event), Some(source)) = (&table.event_time, pipeline.source(name)) else { continue };
        let known = table.available_time.as_ref().unwrap_or(event);
        let count = u32::try_from(known.len()).with_context(|| format!("[sources.{name}] has more than 2^32 rows"))?;
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_by_key(|row| known[*row as usize]);
        let taken = |times: &[Timestamp]| -> Vec<Timestamp> { order.iter().map(|row| times[*row as usize]).collect() };
        let available = taken(known);
        let rows = SourceTable {
            event_time: Some(taken(event)),
            available_time: Some(available.clone()),
            rows: take_record_batch(&table.rows, &UInt32Array::from(order.clone()))?,
            ..table.clone()
        };
        ordered.insert(*name, Arrivals { rows, available, max_lateness: source.max_lateness });
    }
    Ok(ordered)
}

impl Arrivals {
    /// Rows `from..to` with their positions.
    fn piece(&self, from: usize, to: usize) -> (SourceTable, Vec<u64>) {
        let times = |times: &Option<Vec<Timestamp>>| times.as_ref().map(|times| times[from..to].to_vec());
        let piece = SourceTable {
            name: self.rows.name.clone(),
            rows: self.rows.rows.slice(from, to - from),
            event_time: times(&self.rows.event_time),
            available_time: times(&self.rows.available_time),
            available_time_column: self.rows.available_time_column.clone(),
            event_id: self.rows.event_id.clone(),
        };
        (piece, (from as u64..to as u64).collect())
    }

    fn stream(&self, view: &FeatureView) -> anyhow::Result<Stream> {
        let options = StreamOptions { max_lateness: self.max_lateness, memory_bytes_max: usize::MAX };
        Ok(Stream::new(&[view], &self.rows, options)?)
    }
}

impl Replay<'_> {
    /// Compares the rows of a batch with what a stream holds at their times, having got every row by then and none
    /// after.
    pub(super) fn stream(
        &self,
        arrivals: &Arrivals,
        batch: &RecordBatch,
        time: &[Timestamp],
        found: &mut Verification,
    ) -> anyhow::Result<()> {
        let keys = keys_of(batch, &self.view.entity)?;
        let columns: Vec<&ArrayRef> = (0..self.view.features.len()).map(|i| &batch[self.name(i).as_str()]).collect();
        let mut order: Vec<usize> = (0..time.len()).collect();
        order.sort_by_key(|row| time[*row]);
        let mut stream = arrivals.stream(self.view)?;
        let (mut next, mut late) = (0, 0);
        for row in order {
            let t = time[row];
            let until = next + arrivals.available[next..].partition_point(|available| *available < t);
            if until > next {
                let (piece, positions) = arrivals.piece(next, until);
                late += stream.apply(&piece, &positions)?.late.len();
                next = until;
            }
            let values = match &keys[row] {
                Some(key) => self.read(&stream, key, t)?,
                None => unknown_values(self.view),
            };
            for (feature, (online, column)) in values.iter().zip(&columns).enumerate() {
                let expected = value_at(column, row);
                found.values += 1;
                if !expected.bit_equal(online) {
                    self.note(found, keys[row].as_ref(), feature, t, OnlinePath::Stream, (&expected, online));
                }
            }
        }
        let most = found.late_for_stream.entry(self.view.source.clone()).or_default();
        *most = (*most).max(late as u64);
        Ok(())
    }

    fn read(&self, stream: &Stream, key: &EntityKey, t: Timestamp) -> anyhow::Result<Vec<paceline_core::Value>> {
        match stream.read(key, t.max(stream.earliest()))? {
            Reading::Values(values) => Ok(values),
            Reading::Spilled(_) => bail!("[features.{}] a stream without a bound handed rows out", self.view.name),
        }
    }
}
