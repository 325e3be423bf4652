//! The replay of a stream: rows come as they became available, reads come between them.

use std::collections::BTreeMap;

use anyhow::bail;
use arrow::array::{ArrayRef, RecordBatch};
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
    max_lateness: Period,
}

/// Of each source that has times.
pub(super) fn arrivals<'a>(
    pipeline: &Pipeline,
    sources: &BTreeMap<&'a str, SourceTable>,
) -> anyhow::Result<BTreeMap<&'a str, Arrivals>> {
    let mut ordered = BTreeMap::new();
    for (name, table) in sources {
        let Some(source) = pipeline.source(name).filter(|_| table.event_time.is_some()) else { continue };
        ordered.insert(*name, Arrivals { rows: table.by_availability()?, max_lateness: source.max_lateness });
    }
    Ok(ordered)
}

impl Arrivals {
    /// When each row became available.
    fn available(&self) -> &[Timestamp] {
        self.rows.available_time.as_deref().unwrap_or_default()
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
            let until = next + arrivals.available()[next..].partition_point(|available| *available < t);
            if until > next {
                let positions: Vec<u64> = (next as u64..until as u64).collect();
                late += stream.apply(&arrivals.rows.slice(next, until), &positions)?.late.len();
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
