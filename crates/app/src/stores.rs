//! The online store of a command: Redis where `--store` names one, else a folder beside the pipeline file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use paceline_core::online::{OnlineChange, OnlineError, OnlineRow, OnlineStore, Version};
use paceline_core::{EventLog, Timestamp};
use paceline_store::{EmbeddedEventLog, EmbeddedOnlineStore, RedisEventLog, RedisOnlineStore, RedisOptions};

/// The data folder beside a pipeline file, where no `--data-dir` names another.
pub const DATA_FOLDER: &str = ".paceline";
/// The embedded online store within the data folder.
pub const STORE_FOLDER: &str = "store";
/// The embedded event log within the data folder.
pub const EVENTS_FOLDER: &str = "events";

/// Where a command keeps what outlives it.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArguments {
    /// The online store: redis://[user:password@]host:port[/database]. By default a folder that one process at a time
    /// holds open.
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Folder for what outlives the command: the embedded online store and the event log. By default `.paceline`
    /// beside the pipeline file.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl StoreArguments {
    /// The data folder of the pipeline whose file lies in `folder`; it need not exist.
    #[must_use]
    pub fn data_folder(&self, folder: &Path) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| folder.join(DATA_FOLDER))
    }

    /// What the store is called in messages: host, port and database of Redis without user and password, or the
    /// folder.
    #[must_use]
    pub fn shown(&self, folder: &Path) -> String {
        match &self.store {
            Some(url) => without_password(url),
            None => self.embedded_folder(folder).display().to_string(),
        }
    }

    /// Opens the store to write to it; the embedded one is made when it is missing.
    ///
    /// # Errors
    /// When Redis does not answer, another process has the embedded store open, or its folder cannot be made. No
    /// message shows a password.
    pub fn open(&self, folder: &Path) -> anyhow::Result<Arc<dyn OnlineStore>> {
        match &self.store {
            Some(url) => connect(url),
            None => {
                let embedded = self.embedded_folder(folder);
                std::fs::create_dir_all(&embedded).map_err(|error| {
                    let shown = embedded.display();
                    anyhow!("cannot make the online store {shown}: {error}; name another folder with --data-dir")
                })?;
                Ok(Arc::new(EmbeddedOnlineStore::open(&embedded)?))
            }
        }
    }

    /// Opens the store to read from it; an embedded one that was never written is an error.
    ///
    /// # Errors
    /// As [`StoreArguments::open`], and when there is no embedded store.
    pub fn open_existing(&self, folder: &Path) -> anyhow::Result<Arc<dyn OnlineStore>> {
        if !self.exists(folder) {
            bail!(
                "there is no online store at {}; write one with `paceline features materialize`, or name another with \
                 --store or --data-dir",
                self.embedded_folder(folder).display()
            );
        }
        self.open(folder)
    }

    /// Whether there is a store to open: a shared one always, an embedded one when it was written before.
    #[must_use]
    pub fn exists(&self, folder: &Path) -> bool {
        self.store.is_some() || self.embedded_folder(folder).is_dir()
    }

    /// Opens the event log: Redis Streams beside a shared store, so that every server of a pipeline writes to one log; else
    /// the local disk, where it is made when it is missing.
    ///
    /// # Errors
    /// When Redis does not answer, another process has the embedded log open, or its folder cannot be made. No message
    /// shows a password.
    pub fn open_log(&self, folder: &Path) -> anyhow::Result<Arc<dyn EventLog>> {
        if let Some(url) = &self.store {
            let log = RedisEventLog::connect(url, RedisOptions::default());
            return Ok(Arc::new(log.with_context(|| format!("--store {}", without_password(url)))?));
        }
        let folder = self.data_folder(folder).join(EVENTS_FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the event log {}", folder.display()))?;
        Ok(Arc::new(EmbeddedEventLog::open(&folder)?))
    }

    /// Whether there is an event log to open: a shared one always, an embedded one when it was written before.
    #[must_use]
    pub fn log_exists(&self, folder: &Path) -> bool {
        self.store.is_some() || self.data_folder(folder).join(EVENTS_FOLDER).is_dir()
    }

    fn embedded_folder(&self, folder: &Path) -> PathBuf {
        self.data_folder(folder).join(STORE_FOLDER)
    }
}

/// The shared store at `url`.
///
/// # Errors
/// When it is no Redis URL or Redis does not answer; no message shows a password.
pub fn connect(url: &str) -> anyhow::Result<Arc<dyn OnlineStore>> {
    connect_with(url, RedisOptions::default())
}

/// As [`connect`], with timeouts of the caller's choice.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(url: &str, options: RedisOptions) -> anyhow::Result<Arc<dyn OnlineStore>> {
    if !url.contains("://") || !url.starts_with("redis") {
        bail!(
            "--store {:?} is no online store; write redis://host:port, or leave --store out for the embedded store",
            without_password(url)
        );
    }
    let shown = without_password(url);
    let store = RedisOnlineStore::connect(url, options).map_err(|error| match error {
        OnlineError::Unreachable { cause, .. } => anyhow!(
            "--store {shown} cannot be reached: {cause}; start that Redis server, or leave --store out for the embedded \
             store"
        ),
        other => anyhow!("--store {shown}: {other}"),
    })?;
    Ok(Arc::new(store))
}

/// `url` without user and password, whatever it looks like: what stands before the last `@` may be one.
#[must_use]
pub fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    match scheme {
        "" => address.to_owned(),
        scheme => format!("{scheme}://{address}"),
    }
}

/// Publishes rows whose computation may fail. Where one fails nothing is published and its error is returned.
///
/// # Errors
/// That of the first failed row, or the store's.
pub fn publish(
    store: &dyn OnlineStore,
    table: &str,
    as_of: Timestamp,
    rows: &mut dyn Iterator<Item = anyhow::Result<OnlineRow>>,
) -> anyhow::Result<u64> {
    let mut failure = None;
    let mut whole = rows.map(|row| {
        row.unwrap_or_else(|error| {
            failure = Some(error);
            // Every store refuses an empty key, and with it the whole publish; a stream that just ended would be
            // published as if it were complete.
            OnlineRow::default()
        })
    });
    let published = store.publish(table, as_of, &mut whole);
    drop(whole);
    match failure {
        Some(error) => Err(error),
        None => Ok(published?),
    }
}

/// As [`publish`], for a change of `base`.
///
/// # Errors
/// That of the first failed change, or the store's.
pub fn publish_change(
    store: &dyn OnlineStore,
    table: &str,
    base: Version,
    as_of: Timestamp,
    changes: &mut dyn Iterator<Item = anyhow::Result<OnlineChange>>,
) -> anyhow::Result<u64> {
    let mut failure = None;
    let mut whole = changes.map(|change| {
        change.unwrap_or_else(|error| {
            failure = Some(error);
            // An empty key is refused, as in `publish`.
            OnlineChange::default()
        })
    });
    let published = store.publish_change(table, base, as_of, &mut whole);
    drop(whole);
    match failure {
        Some(error) => Err(error),
        None => Ok(published?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_shows_a_password() {
        let hidden = |url: &str, shown: &str| assert_eq!(without_password(url), shown);
        hidden("redis://me:hunter2@host:6379/1", "redis://host:6379/1");
        hidden("redis://:p@ss@host", "redis://host");
        hidden("me:hunter2@host", "host");
        hidden("redis://host:6379", "redis://host:6379");
        for url in ["redis://me:hunter2@127.0.0.1:1", "me:hunter2@127.0.0.1", "rediss://me:hunter2@127.0.0.1:1"] {
            let arguments = StoreArguments { store: Some(url.to_owned()), data_dir: None };
            let error = arguments.open(Path::new("")).expect_err("nothing answers there");
            let said = format!("{error:#} {error:?}");
            assert!(!said.contains("hunter2") && said.contains("127.0.0.1"), "{said}");
        }
    }

    #[test]
    fn the_embedded_store_lies_beside_the_pipeline_or_where_it_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let beside = StoreArguments::default();
        assert!(beside.open_existing(folder.path()).expect_err("none yet").to_string().contains("materialize"));
        assert!(!folder.path().join(DATA_FOLDER).exists(), "reading makes nothing");
        beside.open(folder.path()).expect("a store").ping().expect("it answers");
        beside.open_existing(folder.path()).expect("there is one now");
        let told = StoreArguments { data_dir: Some(folder.path().join("data")), ..StoreArguments::default() };
        told.open(Path::new("elsewhere")).expect("a store");
        assert!(folder.path().join("data").join(STORE_FOLDER).is_dir());
    }

    #[test]
    fn a_failed_row_publishes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = StoreArguments::default().open(folder.path()).expect("a store");
        let row = |key: u8| Ok((vec![key], vec![key]));
        let publish = |as_of: i64, rows: Vec<anyhow::Result<OnlineRow>>| {
            publish(&*store, "t", Timestamp(as_of), &mut rows.into_iter())
        };
        assert_eq!(publish(1, vec![row(1), row(2)]).expect("all right"), 2);
        let error = publish(2, vec![row(3), Err(anyhow!("the disk failed")), row(4)]).expect_err("a row failed");
        assert_eq!(error.to_string(), "the disk failed");
        let found = store.get("t", &[&[1], &[3]]).expect("readable");
        assert_eq!((found.as_of, found.values), (Some(Timestamp(1)), vec![Some(vec![1]), None]));
        let error = publish(0, vec![row(1)]).expect_err("older");
        assert!(error.to_string().contains("older"), "{error}");
    }
}
