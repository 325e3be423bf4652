//! Where requests read the features of entities: from streams what events keep current, else from the online store.

use std::sync::Arc;

use paceline_core::online::{OnlineError, Pushed, PushedRow};
use paceline_core::{OnlineStore, Timestamp, Value};

use crate::recommend::tables::{TableError, ViewColumns, ViewRows, WantedRows, joined, read_views, view_table};
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

    /// The values of views, each for its keys in order, at `now`: a stream's are as of then, a table's as of its time. All
    /// tables are read in one request to the store.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn read_all(&self, wanted: &[(&ViewColumns, &[Vec<u8>])], now: Timestamp) -> Result<Vec<ViewRows>, TableError> {
        let mut read: Vec<Option<ViewRows>> = Vec::with_capacity(wanted.len());
        for (view, keys) in wanted {
            let streamed = self.streams.as_ref().and_then(|streams| streams.read(view, keys, now));
            read.push(streamed.transpose()?);
        }
        let stored: Vec<_> = wanted.iter().zip(&read).filter(|(_, read)| read.is_none()).map(|(it, _)| *it).collect();
        let tables: Vec<String> = stored.iter().map(|(view, _)| view_table(&self.pipeline, &view.name)).collect();
        let stored = stored.iter().zip(&tables).map(|((view, keys), table)| WantedRows { table, view, keys });
        let mut stored = read_views(&*self.store, &stored.collect::<Vec<_>>())?.into_iter();
        Ok(read.into_iter().filter_map(|read| read.or_else(|| stored.next())).collect())
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
        let keys = [key.to_vec()];
        let wanted: Vec<(&ViewColumns, &[Vec<u8>])> = views.iter().map(|view| (view, keys.as_slice())).collect();
        Ok(joined(self.read_all(&wanted, now)?))
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
