//! The one place where object storage is waited for: a synchronous view of an asynchronous store.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};

use super::SourceError;
use super::s3::{Bucket, is_transport_failure};

/// Reads objects from one store. Its calls block, so they must not be made from within an async task.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// `None` for the local disk.
    bucket: Option<Bucket>,
    runtime: Runtime,
}

impl Objects {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        bucket: Option<Bucket>,
        location: &str,
    ) -> Result<Self, SourceError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|cause| SourceError::Storage {
            location: location.to_owned(),
            cause: format!("no event loop: {cause}"),
        })?;
        Ok(Objects { store, bucket, runtime })
    }

    /// The object at exactly `path`, `None` when there is none.
    pub(super) fn find(&self, path: &Path) -> Result<Option<ObjectMeta>, SourceError> {
        match self.runtime.block_on(self.store.head(path)) {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) if self.bucket.is_none() || is_transport_failure(&error) => Err(self.error(path, &error)),
            // A question about an object is answered without a body, so without a reason; one for its bytes has one.
            Err(error) => match self.runtime.block_on(self.store.get_range(path, 0..1)) {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(reasoned) => Err(self.error(path, &reasoned)),
                Ok(_) => Err(self.error(path, &error)),
            },
        }
    }

    /// Objects and prefixes directly below `path`; nothing when it does not exist.
    pub(super) fn list(&self, path: &Path) -> Result<ListResult, SourceError> {
        match self.runtime.block_on(self.store.list_with_delimiter(Some(path))) {
            Ok(list) => Ok(list),
            Err(object_store::Error::NotFound { .. }) => {
                Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() })
            }
            Err(error) => Err(self.error(path, &error)),
        }
    }

    /// The bytes of each range, in order; neighbouring ranges are fetched together.
    pub(super) fn read(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, SourceError> {
        self.runtime.block_on(self.store.get_ranges(path, ranges)).map_err(|error| self.error(path, &error))
    }

    fn error(&self, path: &Path, error: &object_store::Error) -> SourceError {
        match &self.bucket {
            Some(bucket) => bucket.explain(path, error),
            None => SourceError::Storage { location: path.to_string(), cause: error.to_string() },
        }
    }
}
