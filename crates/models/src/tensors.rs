//! Safetensors files with one JSON header: named arrays of f32 beside what they mean.
//!
//! The header stands in the file's metadata under the single key [`HEADER_KEY`], because metadata of several keys has
//! no fixed order and the same model must give the same bytes.

use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ModelError;

const HEADER_KEY: &str = "paceline";

/// An array to write: name, shape, values.
pub(crate) type Tensor<'a> = (String, Vec<usize>, &'a [f32]);

/// The file's bytes.
pub(crate) fn write(header: &impl Serialize, tensors: &[Tensor<'_>]) -> Vec<u8> {
    let header = serde_json::to_string(header).expect("a header is plain data");
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|tensor| tensor.2.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("the shape fits the values"))
    });
    let metadata = HashMap::from([(HEADER_KEY.to_owned(), header)]);
    safetensors::serialize(views, Some(metadata)).expect("names are distinct and shapes fit")
}

/// The part of a header that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A parsed file whose header and arrays have not been checked against each other yet.
pub(crate) struct TensorFile<'a> {
    kind: &'static str,
    header: String,
    tensors: SafeTensors<'a>,
}

impl<'a> TensorFile<'a> {
    /// Checks that the bytes are such a file, whose header says that it has `version`.
    pub(crate) fn open(kind: &'static str, bytes: &'a [u8], version: u32) -> Result<Self, ModelError> {
        let malformed = |cause: String| ModelError::Malformed { kind, cause };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| malformed(error.to_string()))?;
        let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER_KEY)).cloned();
        let header = header.ok_or_else(|| malformed(format!("its metadata has no {HEADER_KEY:?}")))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| malformed(error.to_string()))?;
        let file = TensorFile { kind, header, tensors };
        let Version { version: found } = file.header()?;
        if found == version { Ok(file) } else { Err(ModelError::Version { kind, found, known: version }) }
    }

    pub(crate) fn header<H: DeserializeOwned>(&self) -> Result<H, ModelError> {
        serde_json::from_str(&self.header)
            .map_err(|error| ModelError::Malformed { kind: self.kind, cause: format!("header: {error}") })
    }

    /// The array `name`, which must have `shape` and hold finite numbers only.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|error| ModelError::Malformed { kind: self.kind, cause: error.to_string() })?;
        let inconsistent = |part: String, found: String, must: String| {
            Err(ModelError::Inconsistent { kind: self.kind, part, found, must })
        };
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let found = format!("{} of shape {:?}", tensor.dtype(), tensor.shape());
            return inconsistent(format!("tensor {name:?}"), found, format!("F32 of shape {shape:?}"));
        }
        let chunks = tensor.data().chunks_exact(4);
        let values: Vec<f32> = chunks.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => inconsistent(format!("value {at} of tensor {name:?}"), values[at].to_string(), "finite".into()),
            None => Ok(values),
        }
    }

    /// Shape of the array `name`.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, ModelError> {
        let malformed =
            |error: safetensors::SafeTensorError| ModelError::Malformed { kind: self.kind, cause: error.to_string() };
        Ok(self.tensors.tensor(name).map_err(malformed)?.shape().to_vec())
    }
}
