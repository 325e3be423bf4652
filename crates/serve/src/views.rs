//! Where requests read the features of entities: from streams what events keep current, else from the online store.

use std::sync::Arc;

use paceline_core::online::{OnlineError, Pushed, PushedRow};
use paceline_core::{OnlineStore, Timestamp, Value};

use crate::recommend::tables::{TableError, ViewColumns, ViewRows, read_view, view_table};
use crate::streams::Streams;

/// The views of one pipeline.
#[derive(Debug, Clone)]
pub struct Views {
    pipeline: String,
    store: Arc<dyn OnlineStore>,
    streams: Option<Arc<Streams>>,
}

impl Views {
    /// All views from the tables of a store.
    #[must_use]
    pub fn of_store(pipeline: &str, store: Arc<dyn OnlineStore>) -> Views {
        Views { pipeline: pipeline.to_owned(), store, streams: None }
    }

    /// The same with streams for the views that they keep current.
    pub(crate) fn with_streams(self, streams: Arc<Streams>) -> Views {
        Views { streams: Some(streams).filter(|streams| !streams.is_empty()), ..self }
    }

    /// The values of one view for `keys`, in order, at `now`: a stream's are as of then, a table's as of its time.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn read(&self, view: &ViewColumns, keys: &[Vec<u8>], now: Timestamp) -> Result<ViewRows, TableError> {
        if let Some(read) = self.streams.as_ref().and_then(|streams| streams.read(view, keys, now)) {
            return read;
        }
        read_view(&*self.store, &view_table(&self.pipeline, &view.name), view, keys)
    }

    /// The values of one entity in all `views`, in order, and the oldest time as of which one of them is.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn read_entity(
        &self,
        views: &[ViewColumns],
        key: &[u8],
        now: Timestamp,
    ) -> Result<(Vec<Value>, Option<Timestamp>), TableError> {
        let mut values = Vec::new();
        let mut oldest = None;
        for view in views {
            let read = self.read(view, &[key.to_vec()], now)?;
            oldest = Some(oldest.map_or(read.as_of, |known: Timestamp| known.min(read.as_of)));
            values.extend(read.values);
        }
        Ok((values, oldest))
    }

    /// Whether events keep a view current.
    pub(crate) fn is_streamed(&self, view: &ViewColumns) -> bool {
        self.streams.as_ref().is_some_and(|streams| streams.has_view(&view.name))
    }

    /// Puts rows above a view's table.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn push(&self, view: &ViewColumns, rows: &[PushedRow]) -> Result<Vec<Pushed>, OnlineError> {
        self.store.push(&view_table(&self.pipeline, &view.name), rows)
    }

    /// The tables of those of `views` that are read from the store.
    pub(crate) fn tables<'v>(&self, views: impl Iterator<Item = &'v ViewColumns>) -> Vec<String> {
        views.filter(|view| !self.is_streamed(view)).map(|view| view_table(&self.pipeline, &view.name)).collect()
    }
}
