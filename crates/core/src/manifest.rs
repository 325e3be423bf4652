//! What a published artifact was made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Version of the manifest's own layout.
pub const MANIFEST_SCHEMA: u32 = 1;

/// Names an artifact's files by content and says what they were made from. It holds no time and no latency, so the
/// same inputs give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`] at writing.
    pub schema: u32,
    /// The pipeline's name.
    pub name: String,
    /// The task: recommend, rank, classify, regress.
    pub task: String,
    /// File name inside the artifact to the digest of its content.
    pub files: BTreeMap<String, Digest>,
    /// What it was made from: pipeline file, each source, seed.
    pub inputs: BTreeMap<String, String>,
}

impl Manifest {
    /// The artifact's own digest: that of the manifest's canonical JSON.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("a manifest is plain data");
        Digest::of(&json)
    }
}
