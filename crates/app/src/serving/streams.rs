//! Streams as a server wants them: going on from their last snapshot, else begun with the rows of the source's files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use paceline_core::{EventLog, Offset, Period};
use paceline_features::stream::SpilledPart;
use paceline_features::{FeatureError, FeatureView, Placement, SourceTable, Stream, StreamOptions};
use paceline_serve::streams::{LOG_POSITION, SourceStream, StreamState, StreamedSource};
use paceline_store::StreamFiles;

use crate::pipeline::{Pipeline, Source};
use crate::tables::events::EventRows;
use crate::training_set::{group_views, wanted_columns};

/// What streams keep, within the data folder.
pub const STREAMS_FOLDER: &str = "streams";
/// Rows of files that are applied before memory is looked at.
const FILE_ROWS: usize = 65_536;

/// The sources that have stream-placed views. `say` hears of what takes long.
///
/// # Errors
/// When a source cannot be read, or another process holds the state open.
pub fn streamed_sources(
    pipeline: &Pipeline,
    data_folder: &Path,
    log: &dyn EventLog,
    say: &dyn Fn(&str),
) -> Result<Vec<StreamedSource>> {
    let placed = pipeline.views.iter().filter(|view| view.placement == Placement::Stream);
    let views: Vec<FeatureView> = placed.cloned().collect();
    let groups = group_views(&views);
    let memory_bytes_max = ((pipeline.serve.stream_memory_mb as usize) << 20) / groups.len().max(1);
    let open = |source: &Source| -> Result<StreamedSource> {
        let rows = EventRows::open(source, &pipeline.folder)?;
        let options = StreamOptions { max_lateness: source.max_lateness, memory_bytes_max };
        let begin = Beginning { source, rows: &rows, options, folder: &pipeline.folder, log, say };
        let of_source = groups.iter().filter(|group| views[group[0]].source == source.name);
        let streams = of_source.map(|group| {
            let views: Vec<&FeatureView> = group.iter().map(|&view| &views[view]).collect();
            begin.stream(&views, &stream_folder(data_folder, views[0]))
        });
        let streams = streams.collect::<Result<_>>()?;
        Ok(StreamedSource { name: source.name.clone(), rows: Box::new(move |events| rows.of_events(events)), streams })
    };
    let streamed = pipeline.sources.iter().filter(|source| views.iter().any(|view| view.source == source.name));
    let open =
        |source: &Source| open(source).with_context(|| format!("[sources.{}] cannot be kept current", source.name));
    streamed.map(open).collect()
}

/// Where the stream of a view, and of others of its source and entity, keeps its state.
#[must_use]
pub fn stream_folder(data_folder: &Path, view: &FeatureView) -> PathBuf {
    data_folder.join(STREAMS_FOLDER).join(format!("{}.{}", view.source, view.entity.join("+")))
}

/// What streams of one source begin with.
struct Beginning<'a> {
    source: &'a Source,
    rows: &'a EventRows,
    options: StreamOptions,
    folder: &'a Path,
    log: &'a dyn EventLog,
    say: &'a dyn Fn(&str),
}

impl Beginning<'_> {
    fn stream(&self, views: &[&FeatureView], directory: &Path) -> Result<SourceStream> {
        let files = StreamFiles::open(directory)?;
        let like = self.rows.none();
        let stream = match self.saved(views, &like, &files)? {
            Some(stream) => stream,
            None => self.of_files(views, &like, &files)?,
        };
        let views = views.iter().map(|view| (view.name.clone(), view.features.len())).collect();
        Ok(SourceStream { views, stream, state: Box::new(Files(files)) })
    }

    /// The stream of the last snapshot, where it is of these views and of this log.
    fn saved(&self, views: &[&FeatureView], like: &SourceTable, files: &StreamFiles) -> Result<Option<Stream>> {
        let Some(bytes) = files.snapshot()? else { return Ok(None) };
        let name = &self.source.name;
        match Stream::from_snapshot(views, like, self.options, &bytes) {
            Ok(stream) if self.is_of_log(&stream)? => Ok(Some(stream)),
            Ok(_) => {
                (self.say)(&format!(
                    "[sources.{name}] the event log does not hold what its stream had applied: beginning again from files \
                     and log"
                ));
                Ok(None)
            }
            Err(FeatureError::SavedState { .. }) => {
                (self.say)(&format!(
                    "[sources.{name}] what was saved of its stream is of other views, or damaged: beginning again from \
                     files and log"
                ));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the log has had the last event that was applied, or a later one; it may have been dropped since.
    fn is_of_log(&self, stream: &Stream) -> Result<bool> {
        match stream.next_position().checked_sub(LOG_POSITION + 1) {
            None => Ok(true),
            Some(last) => Ok(self.log.extent()?.next > Offset(last)),
        }
    }

    fn of_files(&self, views: &[&FeatureView], like: &SourceTable, files: &StreamFiles) -> Result<Stream> {
        files.clear()?;
        let mut stream = Stream::new(views, like, self.options)?;
        let windows = views.iter().flat_map(|view| view.features.iter().map(|feature| feature.window));
        let longest = windows.max_by_key(|window| window.micros()).unwrap_or(Period::Micros(0));
        let wanted = wanted_columns(views.iter().copied());
        let reach = [longest, self.options.max_lateness];
        let table = self.rows.of_files(self.source, self.folder, &wanted, reach)?;
        let count = table.rows.num_rows();
        let mut late = 0;
        for from in (0..count).step_by(FILE_ROWS) {
            let to = (from + FILE_ROWS).min(count);
            let positions: Vec<u64> = (from as u64..to as u64).collect();
            late += stream.apply(&table.slice(from, to), &positions)?.late.len();
            keep(files, &stream.evict())?;
        }
        let names = views.iter().map(|view| format!("[features.{}]", view.name)).collect::<Vec<_>>().join(", ");
        let entities = stream.entity_count();
        (self.say)(&format!(
            "{names} begin with {count} rows of the files of {}, {entities} entities",
            self.source.name
        ));
        if late > 0 {
            (self.say)(&format!(
                "warning: {late} of these rows became available more than `max_lateness` ({}) after newer ones and are \
                 left out",
                self.options.max_lateness
            ));
        }
        Ok(stream)
    }
}

/// A stream's state in files.
#[derive(Debug)]
struct Files(StreamFiles);

fn keep(files: &StreamFiles, parts: &[SpilledPart]) -> std::io::Result<()> {
    files.keep(parts.iter().map(|part| (part.key.as_slice(), part.part, part.bytes.as_slice())))
}

impl StreamState for Files {
    fn keep(&self, parts: &[SpilledPart]) -> Result<(), String> {
        keep(&self.0, parts).map_err(|error| error.to_string())
    }

    fn parts(&self, key: &[u8], count: u32) -> Result<Vec<Vec<u8>>, String> {
        self.0.parts(key, count).map_err(|error| error.to_string())
    }

    fn save(&self, snapshot: &[u8], spilled: &HashMap<Vec<u8>, u32>) -> Result<(), String> {
        self.0.save(snapshot, spilled).map_err(|error| error.to_string())
    }
}
