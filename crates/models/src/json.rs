//! Model files in JSON: one object whose `version` says how to read the rest.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ModelError;

/// Reads a file of `kind`, whose format must have `version`. What the parts mean together is the caller's to check.
pub(crate) fn read<T: DeserializeOwned>(kind: &'static str, bytes: &[u8], version: u32) -> Result<T, ModelError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let malformed = |error: serde_json::Error| ModelError::Malformed { kind, cause: error.to_string() };
    let Version { version: found } = serde_json::from_slice(bytes).map_err(malformed)?;
    if found != version {
        return Err(ModelError::Version { kind, found, known: version });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}
