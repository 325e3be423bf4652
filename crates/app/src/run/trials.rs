//! What the stopwatch said, recorded so that a choice can be repeated: the only input of a run that another run of the
//! same pipeline does not have.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use paceline_core::Digest;
use paceline_learn::search::Latency;
use serde::{Deserialize, Serialize};

/// Name of the file in a run's folder.
pub const FILE_NAME: &str = "trials.json";
/// Version of the file's layout.
const SCHEMA: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    /// Digest of the pipeline that was measured.
    pipeline: Digest,
    /// Wall time of one request, by name.
    latency_ms: BTreeMap<String, Latency>,
    /// CPU time of a part of one request in milliseconds, by name.
    cpu_ms: BTreeMap<String, f64>,
}

/// The measurements of a run: taken, or taken from a record of another run.
#[derive(Debug)]
pub struct Trials {
    record: RefCell<Record>,
    is_replay: bool,
}

impl Trials {
    /// Nothing is measured yet.
    #[must_use]
    pub fn measuring(pipeline: Digest) -> Self {
        let record = Record { schema: SCHEMA, pipeline, latency_ms: BTreeMap::new(), cpu_ms: BTreeMap::new() };
        Trials { record: RefCell::new(record), is_replay: false }
    }

    /// Answers from the record at `path` instead of measuring.
    ///
    /// # Errors
    /// When it cannot be read, or was recorded for another pipeline.
    pub fn replaying(path: &Path, pipeline: Digest) -> Result<Self> {
        let file = path.display();
        let text = fs::read(path)
            .with_context(|| format!("--replay-trials: cannot read {file}, which `run` writes as DIR/{FILE_NAME}"))?;
        let record: Record =
            serde_json::from_slice(&text).with_context(|| format!("{file} is not a record of trials"))?;
        if record.schema != SCHEMA {
            bail!("{file} has schema version {}, this program knows {SCHEMA}", record.schema);
        }
        if record.pipeline != pipeline {
            bail!(
                "{file} was recorded for pipeline {}, this one is {}; run without --replay-trials to measure it",
                record.pipeline.short(),
                pipeline.short()
            );
        }
        Ok(Trials { record: RefCell::new(record), is_replay: true })
    }

    /// Whether answers come from a record.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// The latency of `name`, from the record or by `measure`.
    ///
    /// # Errors
    /// Those of `measure`; when the record does not know the name.
    pub fn latency(&self, name: &str, measure: impl FnOnce() -> Result<Latency>) -> Result<Latency> {
        if self.is_replay {
            return self.record.borrow().latency_ms.get(name).copied().with_context(|| unknown(name));
        }
        let latency = measure()?;
        self.record.borrow_mut().latency_ms.insert(name.to_owned(), latency);
        Ok(latency)
    }

    /// The CPU time of `name` in milliseconds, from the record or by `measure`.
    ///
    /// # Errors
    /// As [`Trials::latency`].
    pub fn cpu_ms(&self, name: &str, measure: impl FnOnce() -> Result<f64>) -> Result<f64> {
        if self.is_replay {
            return self.record.borrow().cpu_ms.get(name).copied().with_context(|| unknown(name));
        }
        let ms = measure()?;
        self.record.borrow_mut().cpu_ms.insert(name.to_owned(), ms);
        Ok(ms)
    }

    /// Writes [`FILE_NAME`] into `folder`, whole or not at all.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (unfinished, path) = (folder.join(format!("{FILE_NAME}.unfinished")), folder.join(FILE_NAME));
        let mut text = serde_json::to_string_pretty(&*self.record.borrow())?;
        text.push('\n');
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&unfinished, text))
            .and_then(|()| fs::rename(&unfinished, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

fn unknown(name: &str) -> String {
    format!("the record of trials has no {name:?}: it was made by another version or with other flags; measure anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_answers_instead_of_the_stopwatch() {
        let folder = tempfile::tempdir().unwrap();
        let (pipeline, path) = (Digest::of(b"pipeline"), folder.path().join(FILE_NAME));
        let latency = Latency { p50: 1.25, p99: 2.5, mean: 1.3 };
        let trials = Trials::measuring(pipeline);
        assert_eq!(trials.latency("step", || Ok(latency)).unwrap(), latency);
        assert_eq!(trials.cpu_ms("features", || Ok(0.1 + 0.2)).unwrap(), 0.1 + 0.2);
        trials.write(folder.path()).unwrap();

        let replay = Trials::replaying(&path, pipeline).unwrap();
        assert_eq!(replay.latency("step", || bail!("measured")).unwrap(), latency);
        assert_eq!(replay.cpu_ms("features", || bail!("measured")).unwrap(), 0.1 + 0.2);
        let error = replay.latency("other", || Ok(latency)).unwrap_err().to_string();
        assert!(error.contains("has no \"other\""), "{error}");
        replay.write(&folder.path().join("again")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(folder.path().join("again").join(FILE_NAME)).unwrap());
    }

    #[test]
    fn a_record_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let error = |path: &Path| format!("{:#}", Trials::replaying(path, Digest::of(b"pipeline")).unwrap_err());
        assert!(error(&path).contains("cannot read"));
        fs::write(&path, "{}").unwrap();
        assert!(error(&path).contains("is not a record of trials"));
        Trials::measuring(Digest::of(b"another")).write(folder.path()).unwrap();
        assert!(error(&path).contains("was recorded for pipeline"), "{}", error(&path));
    }
}
