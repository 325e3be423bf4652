//! `[sources.*]`.

use indexmap::IndexMap;
use paceline_core::Period;
use paceline_store::{DatabaseDriver, DatabaseQuery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::text::{ExpressionText, PeriodText};

/// A table of rows, timestamped unless it is static.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawSource {
    /// A Parquet or CSV file, a directory of them, or a pattern with `*`. Relative to the pipeline file, or the URL of a
    /// bucket: `s3://bucket/folder/*.parquet`.
    pub path: Option<String>,
    /// A query that a database answers, instead of `path`.
    pub adbc: Option<RawAdbc>,
    /// File format. By default what the ending of `path` says.
    pub format: Option<Format>,
    /// Column with the time at which the row happened: a timestamp, a date, ISO 8601 text, or an integer with
    /// `time_unit`. Without it the source is static: its rows count as known at any time.
    pub event_time: Option<String>,
    /// Unit of integer time columns, counted from 1970-01-01 UTC.
    pub time_unit: Option<TimeUnit>,
    /// Column with the time at which the row could first have been known. By default its event time.
    pub available_time: Option<String>,
    /// Column that identifies an event. The same id with the same content is ignored; with other content it replaces
    /// the earlier row from its own available time on.
    pub event_id: Option<String>,
    /// How far behind the newest event an event's time may lie; a stream refuses later ones. By default 1d. Rows are held
    /// as much longer than the longest window.
    #[schemars(with = "Option<PeriodText>")]
    pub max_lateness: Option<Period>,
    /// SQL condition over the columns, derived ones included. Rows for which it is false or null are dropped.
    #[serde(rename = "where")]
    #[schemars(with = "Option<ExpressionText>")]
    pub filter: Option<String>,
    /// Derived columns: name to SQL scalar expression over the file's columns and the derived columns above it.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, ExpressionText>")]
    pub columns: IndexMap<String, String>,
}

/// A query that a database answers, through the official ADBC driver.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RawAdbc {
    /// The driver.
    #[schemars(required)]
    pub driver: Option<Driver>,
    /// Where the database is: `postgresql://user:${PASSWORD}@host:5432/database`, or the path of a SQLite file, relative
    /// to the pipeline file. `${NAME}` stands for the value of an environment variable.
    #[schemars(required)]
    pub uri: Option<String>,
    /// SQL that the database runs, one statement that gives rows. Its order decides ties of time.
    #[schemars(required)]
    pub query: Option<String>,
}

impl RawAdbc {
    /// What is asked, when all of it is said.
    #[must_use]
    pub fn to_store(&self) -> Option<DatabaseQuery> {
        let driver = match self.driver? {
            Driver::Postgresql => DatabaseDriver::Postgresql,
            Driver::Sqlite => DatabaseDriver::Sqlite,
        };
        Some(DatabaseQuery { driver, uri: self.uri.clone()?, query: self.query.clone()? })
    }
}

/// The driver of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// PostgreSQL and databases that speak like it.
    Postgresql,
    /// A SQLite file.
    Sqlite,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
}

/// The unit of an integer time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl Format {
    /// The same format as the store names it.
    #[must_use]
    pub fn to_store(self) -> paceline_store::Format {
        match self {
            Format::Parquet => paceline_store::Format::Parquet,
            Format::Csv => paceline_store::Format::Csv,
        }
    }
}

impl TimeUnit {
    /// The same unit as Arrow names it.
    #[must_use]
    pub fn to_arrow(self) -> arrow::datatypes::TimeUnit {
        match self {
            TimeUnit::S => arrow::datatypes::TimeUnit::Second,
            TimeUnit::Ms => arrow::datatypes::TimeUnit::Millisecond,
            TimeUnit::Us => arrow::datatypes::TimeUnit::Microsecond,
            TimeUnit::Ns => arrow::datatypes::TimeUnit::Nanosecond,
        }
    }
}
