//! Safetensors files with one JSON header: named arrays of f32 or u32 beside what they mean.
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
pub(crate) type Tensor<'a> = (String, Vec<usize>, Values<'a>);

/// The values of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Counts and positions.
    U32(&'a [u32]),
}

impl Values<'_> {
    /// How many there are.
    pub(crate) fn len(self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::U32(values) => values.len(),
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Values::F32(_) => Dtype::F32,
            Values::U32(_) => Dtype::U32,
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Values::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::U32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

/// The file's bytes.
pub(crate) fn write(header: &impl Serialize, tensors: &[Tensor<'_>]) -> Vec<u8> {
    let header = serde_json::to_string(header).expect("a header is plain data");
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|tensor| tensor.2.bytes()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, values), bytes)| {
        (name, TensorView::new(values.dtype(), shape.clone(), bytes).expect("the shape fits the values"))
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
        let values: Vec<f32> = self.words(name, Dtype::F32, shape)?.into_iter().map(f32::from_le_bytes).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => {
                self.inconsistent(format!("value {at} of tensor {name:?}"), values[at].to_string(), "finite".into())
            }
            None => Ok(values),
        }
    }

    /// The array `name` of counts or positions, which must have `shape`.
    pub(crate) fn positions(&self, name: &str, shape: &[usize]) -> Result<Vec<u32>, ModelError> {
        Ok(self.words(name, Dtype::U32, shape)?.into_iter().map(u32::from_le_bytes).collect())
    }

    fn words(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Vec<[u8; 4]>, ModelError> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|error| ModelError::Malformed { kind: self.kind, cause: error.to_string() })?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            let found = format!("{} of shape {:?}", tensor.dtype(), tensor.shape());
            return self.inconsistent(format!("tensor {name:?}"), found, format!("{dtype} of shape {shape:?}"));
        }
        let chunks = tensor.data().chunks_exact(4);
        Ok(chunks.map(|bytes| bytes.try_into().expect("four bytes")).collect())
    }

    /// Parts of the file contradict each other.
    pub(crate) fn inconsistent<T>(&self, part: String, found: String, must: String) -> Result<T, ModelError> {
        Err(ModelError::Inconsistent { kind: self.kind, part, found, must })
    }

    /// Length of the array `name`, which must have one dimension.
    pub(crate) fn len(&self, name: &str) -> Result<usize, ModelError> {
        match self.shape(name)?[..] {
            [len] => Ok(len),
            ref other => self.inconsistent(format!("shape of {name:?}"), format!("{other:?}"), "one dimension".into()),
        }
    }

    /// Shape of the array `name`.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, ModelError> {
        let malformed =
            |error: safetensors::SafeTensorError| ModelError::Malformed { kind: self.kind, cause: error.to_string() };
        Ok(self.tensors.tensor(name).map_err(malformed)?.shape().to_vec())
    }
}
