//! The one place where object storage is waited for: a synchronous view of an asynchronous store.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};

use super::SourceError;

/// Reads objects from one store. Its calls block, so they must not be made from within an async task.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

impl Objects {
    pub(super) fn new(store: Arc<dyn ObjectStore>, location: &str) -> Result<Self, SourceError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|cause| SourceError::Storage {
            location: location.to_owned(),
            cause: format!("no event loop: {cause}"),
        })?;
        Ok(Objects { store, runtime })
    }

    /// The object at exactly `path`, `None` when there is none.
    pub(super) fn find(&self, path: &Path) -> Result<Option<ObjectMeta>, SourceError> {
        match self.runtime.block_on(self.store.head(path)) {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(storage_error(path, &error)),
        }
    }

    /// Objects and prefixes directly below `path`; nothing when it does not exist.
    pub(super) fn list(&self, path: &Path) -> Result<ListResult, SourceError> {
        match self.runtime.block_on(self.store.list_with_delimiter(Some(path))) {
            Ok(list) => Ok(list),
            Err(object_store::Error::NotFound { .. }) => {
                Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() })
            }
            Err(error) => Err(storage_error(path, &error)),
        }
    }

    /// The bytes of each range, in order; neighbouring ranges are fetched together.
    pub(super) fn read(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, SourceError> {
        self.runtime.block_on(self.store.get_ranges(path, ranges)).map_err(|error| storage_error(path, &error))
    }
}

fn storage_error(path: &Path, error: &object_store::Error) -> SourceError {
    SourceError::Storage { location: path.to_string(), cause: error.to_string() }
}
