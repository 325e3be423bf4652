//! How often a report slice was looked at: one line per look, in a file beside the report.
//!
//! A slice is what it is made of, the sources' content and the split. Editing the model and looking again is another
//! look at the same slice, and each look makes its figures a little less untouched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use paceline_core::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// Name of the file in a run's folder.
pub const FILE_NAME: &str = "report_openings.jsonl";

/// One look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// When.
    pub at: Timestamp,
    /// Which slice; see [`slice_digest`].
    pub slice: Digest,
    /// The pipeline that was judged, whole.
    pub pipeline: Digest,
}

/// The slice's own digest: of the sources' content and of the split, as it stands in the checked pipeline.
///
/// # Panics
/// Never: a split is plain data.
#[must_use]
pub fn slice_digest(sources: &[Digest], split: &impl Serialize) -> Digest {
    let split = serde_json::to_vec(split).expect("a split is plain data");
    let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
    Digest::of_parts(sources.iter().map(String::as_bytes).chain([split.as_slice()]))
}

/// Appends `opening` to the file in `folder` and returns how often that slice has been opened, this time included. On
/// disk before it returns: a look that then fails was a look.
///
/// A line that cannot be read, such as one cut off by a crash, counts as a look at this slice: it may have been one.
///
/// # Errors
/// When the file cannot be read or written.
pub fn record(folder: &Path, opening: &Opening) -> anyhow::Result<u32> {
    let path = folder.join(FILE_NAME);
    let failed = || format!("cannot write {}, where each look at the report slice is recorded", path.display());
    append(folder, &path, opening).with_context(failed)
}

/// How often the slice was opened so far.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn count(folder: &Path, slice: Digest) -> anyhow::Result<u32> {
    let path: PathBuf = folder.join(FILE_NAME);
    match fs::read(&path) {
        Ok(bytes) => Ok(looks(&bytes, slice)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn append(folder: &Path, path: &Path, opening: &Opening) -> io::Result<u32> {
    fs::create_dir_all(folder)?;
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut before = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut before)?;
    let mut line = serde_json::to_vec(opening)?;
    line.push(b'\n');
    if before.last().is_some_and(|&last| last != b'\n') {
        line.insert(0, b'\n');
    }
    file.write_all(&line)?;
    file.sync_all()?;
    if is_new {
        // The file's name is part of the folder's content.
        File::open(folder)?.sync_all()?;
    }
    Ok(looks(&before, opening.slice) + 1)
}

fn looks(bytes: &[u8], slice: Digest) -> u32 {
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let counts = |line: &&[u8]| serde_json::from_slice::<Opening>(line).map_or(true, |opening| opening.slice == slice);
    lines.filter(counts).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_one_slice_are_counted_whatever_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("out");
        let (sales, other) = (slice_digest(&[Digest::of(b"sales")], &"2011-10"), Digest::of(b"other"));
        assert_eq!(count(folder, sales).unwrap(), 0);
        let look = |slice, pipeline: &[u8]| {
            let opening = Opening { at: Timestamp(7), slice, pipeline: Digest::of(pipeline) };
            record(folder, &opening).unwrap()
        };
        assert_eq!(look(sales, b"first model"), 1);
        assert_eq!(look(sales, b"second model"), 2);
        assert_eq!(look(other, b"second model"), 1);
        assert_eq!(look(sales, b"second model"), 3);
        assert_eq!(count(folder, other).unwrap(), 1);
        assert_ne!(sales, slice_digest(&[Digest::of(b"sales")], &"2011-11"), "another split is another slice");
        assert_ne!(sales, slice_digest(&[Digest::of(b"more sales")], &"2011-10"), "other rows are another slice");
    }

    #[test]
    fn a_line_that_was_cut_off_counts_and_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let slice = Digest::of(b"slice");
        fs::write(folder.path().join(FILE_NAME), "{\"at\":").unwrap();
        let opening = Opening { at: Timestamp(7), slice, pipeline: slice };
        assert_eq!(record(folder.path(), &opening).unwrap(), 2);
        assert_eq!(record(folder.path(), &opening).unwrap(), 3);
        assert_eq!(fs::read_to_string(folder.path().join(FILE_NAME)).unwrap().lines().count(), 3);
    }
}
