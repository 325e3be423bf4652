//! Why a source table cannot be read.

use arrow::datatypes::{DataType, TimeUnit};
use thiserror::Error;

/// Why a source cannot be read. Every variant names the file or column and, where there is one, the row and the value.
///
/// Rows count from 1; a CSV header is not counted.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("{location}: no such file, and no files below it{}", did_you_mean(near))]
    NotFound {
        /// As the pipeline wrote it.
        location: String,
        /// Names in the same directory that look alike.
        near: Vec<String>,
    },
    /// The location is not one that can be read.
    #[error("{location:?} cannot be read as a location: {cause}")]
    BadLocation {
        /// As the pipeline wrote it.
        location: String,
        /// What is wrong and what can be read.
        cause: String,
    },
    /// The file's name does not say what is in it.
    #[error("{file}: neither .parquet nor .csv; set the source's format")]
    UnknownFormat {
        /// The file.
        file: String,
    },
    /// One location holds both formats.
    #[error("{first_file} and {other_file} differ in format; name one of them with a glob such as *.parquet")]
    MixedFormats {
        /// The first file.
        first_file: String,
        /// The first that differs.
        other_file: String,
    },
    /// There is no row.
    #[error("{location}: the table has no rows")]
    Empty {
        /// As the pipeline wrote it.
        location: String,
    },
    /// A requested column does not exist.
    #[error("{file}: no column {column:?}{}; it has {}", did_you_mean(near), columns.join(", "))]
    NoSuchColumn {
        /// The file.
        file: String,
        /// The requested column.
        column: String,
        /// Names that look alike.
        near: Vec<String>,
        /// All columns of the file.
        columns: Vec<String>,
    },
    /// Two columns have one name, so that it is not known which one is meant.
    #[error("{file}: two columns are called {column:?}; rename or drop one of them")]
    RepeatedColumn {
        /// The file.
        file: String,
        /// The name.
        column: String,
    },
    /// A column's type cannot be used.
    #[error(
        "{file}: column {column:?} has type {data_type}, which is not supported; leave it out, or write it as \
         numbers, text, booleans or times"
    )]
    UnsupportedType {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// Its Arrow type.
        data_type: DataType,
    },
    /// Two files of one source differ in a column.
    #[error("{other_file} and {first_file} differ in column {column:?}: {cause}")]
    FilesDisagree {
        /// The first file by path, whose columns count.
        first_file: String,
        /// The file that differs.
        other_file: String,
        /// The column.
        column: String,
        /// How.
        cause: String,
    },
    /// A CSV cell is not of its column's type.
    #[error(
        "{file}, row {row}: column {column:?} is {expected}, but holds {value:?}; correct the value, or write the \
         table as Parquet, whose columns have types"
    )]
    BadCell {
        /// The file.
        file: String,
        /// The row, from 1, header not counted.
        row: u64,
        /// The column.
        column: String,
        /// The cell.
        value: String,
        /// The type that the column has.
        expected: &'static str,
    },
    /// A CSV file does not begin with column names.
    #[error("{file}: the first line must name the columns: {cause}")]
    BadHeader {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The bytes are not what the format says.
    #[error("{file} cannot be read as {format}: {cause}; {}", damaged_advice(format))]
    Damaged {
        /// The file.
        file: String,
        /// Parquet or CSV.
        format: &'static str,
        /// What the decoder said.
        cause: String,
    },
    /// The server has no such bucket.
    #[error("{location}: {server} has no bucket {bucket:?}; check its name, AWS_REGION and AWS_ENDPOINT_URL")]
    NoSuchBucket {
        /// The URL.
        location: String,
        /// The bucket.
        bucket: String,
        /// Who said so.
        server: String,
    },
    /// The bucket lies in another region than the one that was asked.
    #[error("{location}: {server} does not hold the bucket {bucket:?} itself; set AWS_REGION to the bucket's region")]
    WrongRegion {
        /// The URL.
        location: String,
        /// The bucket.
        bucket: String,
        /// Who said so.
        server: String,
    },
    /// Nothing says who asks for an object.
    #[error(
        "{location}: no keys are set and this machine has no role; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
         AWS_SKIP_SIGNATURE=true for what everybody may read"
    )]
    NoIdentity {
        /// The URL.
        location: String,
    },
    /// The server knows who asks, or does not, and refuses.
    #[error(
        "{location}: {server} denies access: {reason}; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, that they may \
         list the bucket and read the object, and that the object exists: without the right to list, a missing one is \
         denied too"
    )]
    AccessDenied {
        /// The URL.
        location: String,
        /// Who refused.
        server: String,
        /// What it said.
        reason: String,
    },
    /// Nobody answers; retrying may help.
    #[error(
        "{location}: no answer from {server}: {cause}; is that server up and reachable from here? AWS_ENDPOINT_URL and \
         AWS_REGION say which one is asked"
    )]
    Unreachable {
        /// The URL.
        location: String,
        /// Who was asked.
        server: String,
        /// What the network said.
        cause: String,
    },
    /// The library that speaks with a database is not there.
    #[error(
        "no ADBC driver for {driver}, looked for at {tried}; `make setup` brings it into .runtime/lib of the project, \
         `pip install {wheel}` into Python's packages, or {variable} names the library"
    )]
    NoDriver {
        /// The driver.
        driver: &'static str,
        /// Every place and what was wrong there.
        tried: String,
        /// The Python package that holds it.
        wheel: String,
        /// The environment variable that names it.
        variable: &'static str,
    },
    /// The database does not let in who asks, or does not answer; retrying may help.
    #[error("{database} cannot be opened: {cause}; is it up, and are host, port, user and password in `uri` right?")]
    NoConnection {
        /// Which database, without user and password.
        database: String,
        /// What the driver said.
        cause: String,
    },
    /// The database refuses the query, or broke off.
    #[error("the query on {database} failed: {cause}; correct `query`, or try it in the database's own shell")]
    Query {
        /// Which database, without user and password.
        database: String,
        /// What the database said.
        cause: String,
    },
    /// The storage failed; retrying may help.
    #[error("{location} cannot be read: {cause}")]
    Storage {
        /// File or directory.
        location: String,
        /// What the storage said.
        cause: String,
    },
    /// A time is missing.
    #[error(
        "column {column:?} gives the time of each row, but {count} of {rows} rows have none, the first is row {row}; \
         drop them with `where = \"{column} is not null\"`"
    )]
    NullTime {
        /// The column.
        column: String,
        /// The first row without time, from 1.
        row: usize,
        /// How many rows have none.
        count: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// A text is not a time, or a number is a time outside the supported years.
    #[error("column {column:?}, row {row}: {cause}")]
    BadTime {
        /// The column.
        column: String,
        /// The row, from 1.
        row: usize,
        /// What is wrong, with the value.
        cause: String,
    },
    /// Integers are times only with a unit.
    #[error(
        "column {column:?} holds integers such as {example}; say their unit with time_unit = \"s\", \"ms\", \"us\" or \
         \"ns\"{}", unit_hint(*likely)
    )]
    UnitMissing {
        /// The column.
        column: String,
        /// One of its values.
        example: i64,
        /// The unit that puts the values into plausible years.
        likely: Option<TimeUnit>,
    },
    /// The column's type is no time.
    #[error(
        "column {column:?} has type {data_type}, which is no time; it must be a timestamp, a date, ISO 8601 text, or \
         integers with a time_unit"
    )]
    NotATimeColumn {
        /// The column.
        column: String,
        /// Its Arrow type.
        data_type: DataType,
    },
}

/// At most three of `candidates` that look like `name`, best first: those that a third of its letters turn into it, and
/// those that go on after it, as when the extension was forgotten.
pub(super) fn near_names<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lower = name.to_lowercase();
    let edits_max = (lower.chars().count() / 3).max(1);
    let edits = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let goes_on = !lower.is_empty() && candidate.starts_with(&lower);
        if goes_on { 1 } else { strsim::damerau_levenshtein(&lower, &candidate) }
    };
    let mut scored: Vec<(usize, &str)> = candidates.into_iter().map(|name| (edits(name), name)).collect();
    // What is there under the very name, such as an empty folder, is not what was meant.
    scored.retain(|(edits, candidate)| *edits <= edits_max && *candidate != name);
    scored.sort_unstable();
    scored.into_iter().take(3).map(|(_, candidate)| candidate.to_owned()).collect()
}

fn damaged_advice(format: &str) -> &'static str {
    match format {
        "CSV" => "a text that holds a comma, a quote or a line end stands in quotes",
        _ => "is the file whole?",
    }
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

fn unit_hint(likely: Option<TimeUnit>) -> String {
    let Some(unit) = likely else { return String::new() };
    let name = match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    format!("; by their size it is {name:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_alike_and_best_first() {
        let names = ["transactions.parquet", "transaction.csv", "users.csv", "Sales.csv"];
        assert_eq!(near_names("transactons.parquet", names)[0], "transactions.parquet");
        assert_eq!(near_names("sales.csv", names), ["Sales.csv"]);
        assert_eq!(near_names("users", names), ["users.csv"]);
        assert_eq!(near_names("zzz", names), Vec::<String>::new());
    }
}
