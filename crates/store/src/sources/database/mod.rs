//! Queries that a database answers, by the official ADBC drivers, which are loaded at run time.
//!
//! The query is run by the database as it stands, in a statement of its own; only where fewer columns are wanted is it
//! wrapped: `select "a", "b" from (query)`. Its rows stream: a batch of them is in memory at a time.

mod driver;
mod uri;

use std::path::Path;

use adbc_core::options::{OptionDatabase, OptionStatement, OptionValue};
use adbc_core::{Connection as _, Database as _, Driver as _, Optionable as _, Statement as _};
use adbc_driver_manager::{ManagedConnection, ManagedDatabase, ManagedStatement};
use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::columns::{first_difference, readable_schema, to_readable};
use super::reader::BATCH_ROWS;
use super::{SourceError, SourceSpec};
use driver::DriverSearch;
use uri::Target;

/// The driver of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseDriver {
    /// PostgreSQL and databases that speak like it.
    Postgresql,
    /// A SQLite file.
    Sqlite,
}

/// What a database is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseQuery {
    /// Which driver asks.
    pub driver: DatabaseDriver,
    /// Where the database is: a `postgresql://` URL, or the path of a SQLite file. `${NAME}` stands for the value of an
    /// environment variable, so that no password need stand here. Written out, it says host and database alone.
    #[serde(serialize_with = "without_secrets")]
    pub uri: String,
    /// The SQL, one statement that gives rows.
    pub query: String,
}

impl DatabaseDriver {
    /// Its name, as a pipeline file says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DatabaseDriver::Postgresql => "postgresql",
            DatabaseDriver::Sqlite => "sqlite",
        }
    }
}

impl DatabaseQuery {
    /// Which database is asked, without user, password and options.
    #[must_use]
    pub fn shown(&self) -> String {
        uri::public_part(&self.uri)
    }

    /// Whether a password stands in the pipeline file itself.
    #[must_use]
    pub fn holds_password(&self) -> bool {
        uri::passwords(&self.uri).iter().any(|password| !password.contains("${"))
    }
}

fn without_secrets<S: serde::Serializer>(uri: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&uri::public_part(uri))
}

/// The rows of a query.
pub(super) struct QueryTable {
    // In the order in which they must be given up: rows before their statement, that before its connection.
    rows: Option<Rows>,
    connection: ManagedConnection,
    _database: ManagedDatabase,
    driver: DatabaseDriver,
    query: String,
    /// All columns of the query as they are read.
    columns: Vec<String>,
    target: Target,
    /// What messages call the query.
    label: String,
    allow_empty: bool,
    rows_given: u64,
    rows_before: u64,
}

struct Rows {
    reader: Box<dyn RecordBatchReader + Send>,
    _statement: ManagedStatement,
    /// What is left of a batch that is larger than [`BATCH_ROWS`].
    rest: Option<RecordBatch>,
}

impl QueryTable {
    /// Connects and asks for the columns of the query.
    pub(super) fn open(
        spec: &SourceSpec,
        asked: &DatabaseQuery,
        base_dir: &Path,
    ) -> Result<(QueryTable, SchemaRef), SourceError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let target = match asked.driver {
            DatabaseDriver::Postgresql => Target::of_server(&asked.uri, variable),
            DatabaseDriver::Sqlite => Target::of_file(&asked.uri, variable, base_dir),
        }?;
        let mut driver = DriverSearch::of_process(asked.driver).load(asked.driver)?;
        let unreachable = |error: adbc_core::error::Error| SourceError::NoConnection {
            database: target.shown.clone(),
            cause: target.scrub(&error.message),
        };
        let database = driver
            .new_database_with_opts([(OptionDatabase::Uri, OptionValue::String(target.uri.clone()))])
            .map_err(unreachable)?;
        let connection = database.new_connection().map_err(unreachable)?;
        let mut table = QueryTable {
            rows: None,
            connection,
            _database: database,
            driver: asked.driver,
            query: one_statement(&asked.query).to_owned(),
            columns: Vec::new(),
            label: format!("the query on {}", target.shown),
            target,
            allow_empty: spec.allow_empty,
            rows_given: 0,
            rows_before: 0,
        };
        let stored = table.describe()?;
        let schema = readable_schema(&table.label, &stored, spec.columns.as_deref())?;
        table.columns = stored.fields().iter().map(|field| field.name().clone()).collect();
        Ok((table, schema))
    }

    /// The columns of the query as it stands.
    fn describe(&mut self) -> Result<Schema, SourceError> {
        let query = self.query.clone();
        match self.driver {
            DatabaseDriver::Postgresql => {
                let mut statement = self.statement(&query)?;
                let schema = statement.execute_schema().map_err(|error| self.failed(&error.message))?;
                Ok(with_numbers(&schema))
            }
            // Its columns have no types of their own: the driver goes by the first rows.
            DatabaseDriver::Sqlite => Ok(self.run(&query)?.reader.schema().as_ref().clone()),
        }
    }

    /// The next rows, in the columns of `schema`.
    pub(super) fn next_batch(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>, SourceError> {
        if self.rows.is_none() {
            self.rows = Some(self.start(schema)?);
        }
        loop {
            let rows = self.rows.as_mut().expect("it was started above");
            let batch = match rows.rest.take() {
                Some(rest) => rest,
                None => match rows.reader.next() {
                    Some(Ok(batch)) => batch,
                    Some(Err(error)) => return Err(self.failed(&error.to_string())),
                    None if self.rows_given == 0 && !self.allow_empty => {
                        return Err(SourceError::Empty { location: self.label.clone() });
                    }
                    None => return Ok(None),
                },
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let count = batch.num_rows().min(BATCH_ROWS);
            rows.rest = (count < batch.num_rows()).then(|| batch.slice(count, batch.num_rows() - count));
            let batch = to_readable(&batch.slice(0, count), schema).map_err(|error| self.failed(&error.to_string()))?;
            self.rows_before = self.rows_given;
            self.rows_given += count as u64;
            return Ok(Some(batch));
        }
    }

    /// Runs the query for the columns of `schema`, which must still have the types that they had.
    fn start(&mut self, schema: &SchemaRef) -> Result<Rows, SourceError> {
        let wanted: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let all: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        // Rows of no columns are counted by any of them.
        let query =
            if wanted.is_empty() || wanted == all { self.query.clone() } else { narrowed(&self.query, &wanted) };
        let rows = self.run(&query)?;
        let names: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let found = readable_schema(&self.label, &with_numbers(&rows.reader.schema()), Some(&names))?;
        match first_difference(schema, &found) {
            None => Ok(rows),
            Some((column, cause)) => Err(self.failed(&format!("column {column:?} was not of one type: {cause}"))),
        }
    }

    fn run(&mut self, query: &str) -> Result<Rows, SourceError> {
        let mut statement = self.statement(query)?;
        let reader = statement.execute().map_err(|error| self.failed(&error.message))?;
        Ok(Rows { reader, _statement: statement, rest: None })
    }

    fn statement(&mut self, query: &str) -> Result<ManagedStatement, SourceError> {
        let driver = self.driver;
        let prepare = |connection: &mut ManagedConnection| -> adbc_core::error::Result<ManagedStatement> {
            let mut statement = connection.new_statement()?;
            if driver == DatabaseDriver::Sqlite {
                let rows = OptionValue::Int(BATCH_ROWS as i64);
                statement.set_option(OptionStatement::Other("adbc.sqlite.query.batch_rows".into()), rows)?;
            }
            statement.set_sql_query(query)?;
            Ok(statement)
        };
        prepare(&mut self.connection).map_err(|error| self.failed(&error.message))
    }

    /// Whether the query has been run for its rows.
    pub(super) fn is_started(&self) -> bool {
        self.rows.is_some()
    }

    /// The query, and how many of its rows come before the last batch.
    pub(super) fn place(&self) -> (&str, u64) {
        (&self.label, self.rows_before)
    }

    /// That the database refuses the query, or breaks off.
    pub(super) fn failed(&self, cause: &str) -> SourceError {
        SourceError::Query { database: self.target.shown.clone(), cause: self.target.scrub(cause) }
    }
}

impl std::fmt::Debug for QueryTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryTable")
            .field("database", &self.target.shown)
            .field("query", &self.query)
            .field("rows_given", &self.rows_given)
            .finish_non_exhaustive()
    }
}

/// The query without the semicolon that ends it.
fn one_statement(query: &str) -> &str {
    query.trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}

/// The same rows with only these columns. The line ends keep a comment at the query's end from swallowing the rest.
fn narrowed(query: &str, columns: &[&str]) -> String {
    let quoted: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
    format!("select {} from (\n{query}\n) as paceline_rows", quoted.join(", "))
}

/// PostgreSQL's `numeric` comes as text; it is a number, as a decimal of a file is.
fn with_numbers(schema: &Schema) -> Schema {
    let is_numeric = |field: &Field| {
        field.data_type().is_string()
            && field.metadata().get("ADBC:postgresql:typname").is_some_and(|name| name == "numeric")
    };
    let number = |field: &Field| {
        if is_numeric(field) { field.clone().with_data_type(DataType::Float64) } else { field.clone() }
    };
    Schema::new(schema.fields().iter().map(|field| number(field)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrowed_query_stays_one_statement() {
        assert_eq!(one_statement("select 1; \n;"), "select 1");
        let sql = narrowed("select * from t -- all", &["a", "say \"b\""]);
        assert_eq!(sql, "select \"a\", \"say \"\"b\"\"\" from (\nselect * from t -- all\n) as paceline_rows");
    }

    #[test]
    fn what_is_written_out_holds_no_secret() {
        let query = DatabaseQuery {
            driver: DatabaseDriver::Postgresql,
            uri: "postgresql://ada:word@db:5432/shop?sslmode=require".into(),
            query: "select 1".into(),
        };
        assert!(query.holds_password());
        let written = serde_json::to_string(&query).unwrap();
        assert_eq!(written, r#"{"driver":"postgresql","uri":"postgresql://db:5432/shop","query":"select 1"}"#);
    }
}
