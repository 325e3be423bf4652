//! A pipeline's sources as Arrow batches: read, derived columns added, filtered, times parsed.

pub mod events;
pub mod profile;
pub mod times;
pub mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::{and, concat_batches, filter_record_batch, is_not_null, not, nullif, or, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use paceline_core::{Digest, Timestamp};
use paceline_features::SourceTable;
use paceline_features::expression::{Program, Type, with_column};
use paceline_store::SourceReader;

use crate::pipeline::{Source, TimeUnit};
use times::Place;

/// The rows of one source, batch by batch.
#[derive(Debug)]
pub struct SourceRows<'a> {
    source: &'a Source,
    reader: SourceReader,
    columns: Vec<(String, Type)>,
    preparation: Preparation,
}

/// What becomes of a source's rows: derived columns, `where`, times.
#[derive(Debug, Clone)]
struct Preparation {
    derived: Vec<(String, Program)>,
    filter: Option<Program>,
    refused: Refused,
}

/// What becomes of rows that `where` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// They are left out.
    Dropped,
    /// They stay without any value but their event id and times, so that they count for nobody but may still replace
    /// an earlier row with the same id. One without a time can replace nothing and is left out.
    Blanked,
}

/// One batch of a source.
#[derive(Debug)]
pub struct Batch {
    /// How many rows the files had there.
    pub rows_read: usize,
    /// How many of them `where` keeps.
    pub rows_kept: usize,
    /// The rows that `where` keeps, with derived columns.
    pub rows: RecordBatch,
    /// Event time of each row; `None` for a static source.
    pub event_time: Option<Vec<Timestamp>>,
    /// Available time of each row, where the source has one.
    pub available_time: Option<Vec<Timestamp>>,
    /// Which of the rows that were read are in `rows`; `None` for all.
    stays: Option<BooleanArray>,
}

impl<'a> SourceRows<'a> {
    /// Opens a source of a pipeline whose paths begin in `folder`.
    ///
    /// # Errors
    /// When its files cannot be read or its expressions do not fit their columns.
    pub fn open(source: &'a Source, folder: &Path) -> anyhow::Result<Self> {
        let reader =
            SourceReader::open(&source.to_spec(), folder).with_context(|| format!("[sources.{}]", source.name))?;
        let mut columns = readable_columns(&reader.schema());
        let mut derived = Vec::new();
        let compile = |what: &str, text: &str, columns: &[(String, Type)]| {
            Program::compile(text, columns).map_err(|errors| {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                anyhow!("[sources.{}] {what}: {}", source.name, errors.join("; "))
            })
        };
        for column in &source.columns {
            let program = compile(&column.name, &column.expression, &columns)?;
            columns.push((column.name.clone(), program.output_type()));
            derived.push((column.name.clone(), program));
        }
        let filter = source.filter.as_ref().map(|text| compile("where", text, &columns)).transpose()?;
        let preparation = Preparation { derived, filter, refused: Refused::Dropped };
        Ok(SourceRows { source, reader, columns, preparation })
    }

    /// As [`SourceRows::open`]; where rows have ids, those that `where` refuses stay as rows of nobody.
    ///
    /// # Errors
    /// As [`SourceRows::open`].
    pub fn open_whole(source: &'a Source, folder: &Path) -> anyhow::Result<Self> {
        let mut rows = SourceRows::open(source, folder)?;
        if source.event_id.is_some() {
            rows.preparation.refused = Refused::Blanked;
        }
        Ok(rows)
    }

    /// As [`SourceRows::open`], for joining features that read `wanted` columns: other columns are only read where an
    /// event id makes the whole row count, and then rows that `where` refuses stay as rows of nobody.
    ///
    /// # Errors
    /// As [`SourceRows::open`], and when a wanted column does not exist.
    pub fn open_for_features(
        source: &'a Source,
        folder: &Path,
        wanted: &BTreeSet<&str>,
    ) -> anyhow::Result<SourceRows<'a>> {
        let mut rows = SourceRows::open_whole(source, folder)?;
        if source.event_id.is_some() {
            return Ok(rows);
        }
        let times = source.event_time.iter().chain(&source.available_time).map(String::as_str);
        let mut needed: BTreeSet<String> = wanted.iter().copied().chain(times).map(str::to_owned).collect();
        let read_by = |program: &Program| program.columns().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        needed.extend(rows.preparation.filter.iter().flat_map(read_by));
        // From the last to the first, since each may read those before it.
        let mut derived = Vec::new();
        for (name, program) in rows.preparation.derived.into_iter().rev() {
            if needed.remove(&name) {
                needed.extend(read_by(&program));
                derived.insert(0, (name, program));
            }
        }
        rows.preparation.derived = derived;
        let schema = rows.reader.schema();
        let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        if let Some(missing) = needed.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("[sources.{}] has no column {missing:?}; it has {}", source.name, known.join(", "));
        }
        let read: Vec<String> = known.into_iter().filter(|name| needed.contains(*name)).map(str::to_owned).collect();
        rows.reader = rows.reader.with_columns(&read);
        Ok(rows)
    }

    /// The columns as the files have them.
    #[must_use]
    pub fn file_schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    /// Names and types of all columns, derived ones included, whether they are read or not.
    #[must_use]
    pub fn columns(&self) -> &[(String, Type)] {
        &self.columns
    }

    /// How many files there are, and their size together in bytes.
    #[must_use]
    pub fn files(&self) -> (usize, u64) {
        let files = self.reader.files();
        (files.len(), files.iter().map(|file| file.bytes).sum())
    }

    /// How many NaN were read as null so far, by column.
    #[must_use]
    pub fn nan_counts(&self) -> &BTreeMap<String, u64> {
        self.reader.nan_counts()
    }

    fn into_preparation(self) -> Preparation {
        self.preparation
    }
}

impl Preparation {
    /// `place` says for messages which file the batch is of, and how many of its rows come before.
    fn prepare(&self, source: &Source, batch: RecordBatch, place: (&str, u64)) -> anyhow::Result<Batch> {
        let rows_read = batch.num_rows();
        let mut rows = batch;
        for (name, program) in &self.derived {
            rows = with_column(&rows, name, program)?;
        }
        let (mut rows_kept, mut stays) = (rows_read, None);
        if let Some(condition) = &self.filter {
            let kept = where_true(condition.eval_block(&rows)?.as_boolean());
            rows_kept = kept.true_count();
            let mask = match self.refused {
                Refused::Dropped => kept,
                Refused::Blanked => {
                    let mask = or(&kept, &is_timed(source, &rows)?)?;
                    rows = blank(source, &rows, &not(&kept)?)?;
                    mask
                }
            };
            rows = filter_record_batch(&rows, &mask)?;
            stays = Some(mask);
        }
        let times = |column: &Option<String>| {
            let read = |column: &String| {
                let array = rows.column_by_name(column).with_context(|| format!("no column {column:?}"))?;
                let unit = source.time_unit.map(TimeUnit::to_arrow);
                let place = Place { file: place, stays: stays.as_ref() };
                let advice = format!("drop such rows with where = \"{column} is not null\"");
                times::read(column, array, unit, place, &advice)
            };
            column.as_ref().map(read).transpose()
        };
        let event_time = times(&source.event_time)?;
        let available_time = times(&source.available_time)?;
        Ok(Batch { rows_read, rows_kept, rows, event_time, available_time, stays })
    }
}

/// Which rows have their times.
fn is_timed(source: &Source, rows: &RecordBatch) -> anyhow::Result<BooleanArray> {
    let mut timed = BooleanArray::from(vec![true; rows.num_rows()]);
    for column in source.event_time.iter().chain(&source.available_time) {
        timed = and(&timed, &is_not_null(&rows[column.as_str()])?)?;
    }
    Ok(timed)
}

fn blank(source: &Source, rows: &RecordBatch, refused: &BooleanArray) -> anyhow::Result<RecordBatch> {
    let stays = [&source.event_time, &source.available_time, &source.event_id];
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
        let is_kept = stays.into_iter().flatten().any(|name| name == field.name());
        if is_kept { Ok(column.clone()) } else { nullif(column, refused) }
    });
    Ok(RecordBatch::try_new(nullable(&rows.schema()), columns.collect::<Result<_, _>>()?)?)
}

impl Iterator for SourceRows<'_> {
    type Item = anyhow::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        let prepared = batch
            .map_err(anyhow::Error::from)
            .and_then(|batch| self.preparation.prepare(self.source, batch, self.reader.place()));
        Some(prepared.with_context(|| format!("[sources.{}]", self.source.name)))
    }
}

impl Batch {
    /// The batch as a piece of its source.
    #[must_use]
    pub fn into_table(self, source: &Source) -> SourceTable {
        SourceTable {
            name: source.name.clone(),
            rows: self.rows,
            event_time: self.event_time,
            available_time: self.available_time,
            available_time_column: source.available_time.clone(),
            event_id: source.event_id.clone(),
        }
    }
}

/// A whole source in memory. With an event id, rows that `where` refuses stay as rows of nobody.
///
/// # Errors
/// When it cannot be read, or `where` keeps no row.
pub fn load(source: &Source, folder: &Path) -> anyhow::Result<SourceTable> {
    load_described(source, folder).map(|(table, _)| table)
}

/// What was read for a source in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Digest of the content of the files, or of the rows of the query.
    pub digest: Digest,
    /// Rows of the files, before `where`.
    pub rows_read: usize,
}

/// A whole source in memory, and what it was read from.
///
/// # Errors
/// As [`load`].
pub fn load_described(source: &Source, folder: &Path) -> anyhow::Result<(SourceTable, Reading)> {
    described(SourceRows::open_whole(source, folder)?)
}

/// The rows that `where` keeps and no others, for a model that learns from them.
///
/// # Errors
/// As [`load`].
pub fn load_kept(source: &Source, folder: &Path) -> anyhow::Result<(SourceTable, Reading)> {
    described(SourceRows::open(source, folder)?)
}

fn described(mut rows: SourceRows<'_>) -> anyhow::Result<(SourceTable, Reading)> {
    let (table, rows_read) = gather(&mut rows)?;
    let digest = rows.reader.digest().with_context(|| format!("[sources.{}]", table.name))?;
    Ok((table, Reading { digest, rows_read }))
}

/// As [`load`], for features that read `wanted` columns.
///
/// # Errors
/// As [`SourceRows::open_for_features`], and when `where` keeps no row.
pub fn load_for_features(source: &Source, folder: &Path, wanted: &BTreeSet<&str>) -> anyhow::Result<SourceTable> {
    let mut rows = SourceRows::open_for_features(source, folder, wanted)?;
    gather(&mut rows).map(|(table, _)| table)
}

/// All rows in memory, and how many there were before `where`.
fn gather(rows: &mut SourceRows<'_>) -> anyhow::Result<(SourceTable, usize)> {
    let source = rows.source;
    let (mut rows_read, mut rows_kept) = (0, 0);
    let mut batches = Vec::new();
    let mut event_time = source.event_time.as_ref().map(|_| Vec::new());
    let mut available_time = source.available_time.as_ref().map(|_| Vec::new());
    for batch in rows {
        let batch = batch?;
        rows_read += batch.rows_read;
        rows_kept += batch.rows_kept;
        extend(&mut event_time, batch.event_time);
        extend(&mut available_time, batch.available_time);
        batches.push(batch.rows);
    }
    let Some(schema) = batches.first().map(RecordBatch::schema).filter(|_| rows_kept > 0) else {
        return Err(keeps_nothing(source, rows_read));
    };
    let rows = concat_batches(&schema, &batches).with_context(|| format!("[sources.{}]", source.name))?;
    let batch = Batch { rows_read, rows_kept, rows, event_time, available_time, stays: None };
    Ok((batch.into_table(source), rows_read))
}

/// That `where` keeps no row.
#[must_use]
pub fn keeps_nothing(source: &Source, rows_read: usize) -> anyhow::Error {
    anyhow!("[sources.{}] `where` keeps none of its {rows_read} rows", source.name)
}

/// Names and types of the columns that can be read. A column without any value has no type of its own and reads as
/// numbers.
#[must_use]
pub fn readable_columns(schema: &Schema) -> Vec<(String, Type)> {
    let kind = |data_type: &DataType| match data_type {
        DataType::Null => Some(Type::Float),
        other => Type::of_arrow(other),
    };
    let column = |field: &FieldRef| Some((field.name().clone(), kind(field.data_type())?));
    schema.fields().iter().filter_map(column).collect()
}

/// Null is not true.
fn where_true(condition: &BooleanArray) -> BooleanArray {
    if condition.null_count() > 0 { prep_null_mask_filter(condition) } else { condition.clone() }
}

fn nullable(schema: &Schema) -> SchemaRef {
    let nullable = |field: &FieldRef| Field::clone(field).with_nullable(true);
    Arc::new(Schema::new(schema.fields().iter().map(nullable).collect::<Vec<_>>()))
}

fn extend(times: &mut Option<Vec<Timestamp>>, more: Option<Vec<Timestamp>>) {
    if let (Some(times), Some(more)) = (times, more) {
        times.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    use super::profile::SourceProfile;
    use super::*;
    use crate::pipeline::PipelineFile;

    const ROWS: &str =
        "user,price,quantity,at,seen\n1,2.5,2,1000,1500\n2,NaN,1,3000,2000\n1,,1,2000,2500\n3,1,0,500,700\n";

    /// The one source of a pipeline over `ROWS`, with `keys` beside its path, in a folder.
    fn source(keys: &str) -> (Source, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sales.csv"), ROWS).unwrap();
        let text = format!("name = \"t\"\n[sources.sales]\npath = \"sales.csv\"\n{keys}");
        let mut file = PipelineFile::parse(&folder.path().join("p.toml"), text);
        let schemas = file.read_schemas();
        let (pipeline, _) = file.check(Some(&schemas)).unwrap();
        (pipeline.sources[0].clone(), folder)
    }

    const TIMED: &str = "event_time = \"at\"\navailable_time = \"seen\"\ntime_unit = \"s\"\nwhere = \"amount is null or amount > 0\"\ncolumns.amount = \"price * quantity\"\n";

    #[test]
    fn rows_are_filtered_derived_and_timed() {
        let (source, folder) = source(TIMED);
        let (table, reading) = load_described(&source, folder.path()).unwrap();
        assert_eq!(reading, Reading { digest: Digest::of(ROWS.as_bytes()), rows_read: 4 });
        let times = |seconds: &[i64]| Some(seconds.iter().map(|s| Timestamp::from_seconds(*s)).collect::<Vec<_>>());
        assert_eq!(table.event_time, times(&[1000, 3000, 2000]));
        assert_eq!(table.available_time, times(&[1500, 2000, 2500]));
        let amounts = table.rows.column_by_name("amount").unwrap().as_primitive::<Float64Type>();
        assert_eq!(amounts.iter().collect::<Vec<_>>(), [Some(5.0), None, None]);
    }

    #[test]
    fn a_profile_counts_what_where_keeps() {
        let (source, folder) = source(TIMED);
        let mut heard = 0;
        let profile = SourceProfile::read(&source, folder.path(), |rows| heard += rows).unwrap();
        assert_eq!((profile.rows_read, profile.rows, heard), (4, 3, 4));
        let range = profile.event_time.unwrap();
        assert_eq!((range.first, range.last), (Timestamp::from_seconds(1000), Timestamp::from_seconds(3000)));
        assert_eq!(profile.available_before_event, Some(1));
        let figures = |name: &str| {
            let column = profile.column(name).unwrap();
            (column.nulls, column.nans, column.is_constant)
        };
        assert_eq!(figures("price"), (2, 1, true));
        assert_eq!(figures("user"), (0, 0, false));
        assert_eq!(figures("amount"), (2, 0, true));
    }

    #[test]
    fn a_refused_row_with_an_event_id_stays_as_a_row_of_nobody() {
        let keys = "event_time = \"at\"\ntime_unit = \"s\"\nevent_id = \"quantity\"\nwhere = \"user < 3\"\n";
        let (source, folder) = source(keys);
        let table = load(&source, folder.path()).unwrap();
        let users = table.rows.column_by_name("user").unwrap().as_primitive::<arrow::datatypes::Int64Type>();
        assert_eq!(users.iter().collect::<Vec<_>>(), [Some(1), Some(2), Some(1), None]);
        let ids = table.rows.column_by_name("quantity").unwrap();
        assert_eq!((ids.null_count(), table.event_time.unwrap().len()), (0, 4));
    }

    #[test]
    fn only_the_columns_that_features_read_are_read() {
        let (source, folder) = source(TIMED);
        let names = |wanted: &[&str]| -> Vec<String> {
            let rows = SourceRows::open_for_features(&source, folder.path(), &wanted.iter().copied().collect());
            let batch = rows.unwrap().next().unwrap().unwrap();
            batch.rows.schema().fields().iter().map(|field| field.name().clone()).collect()
        };
        // `where` reads the derived column, which reads price and quantity.
        assert_eq!(names(&["user"]), ["user", "price", "quantity", "at", "seen", "amount"]);
        let plain = Source { filter: None, ..source.clone() };
        let rows = SourceRows::open_for_features(&plain, folder.path(), &["user"].into()).unwrap();
        assert_eq!(rows.file_schema().fields().len(), 3);
        let error = SourceRows::open_for_features(&plain, folder.path(), &["usr"].into()).unwrap_err();
        assert!(error.to_string().contains("no column \"usr\""), "{error}");
    }

    #[test]
    fn a_bad_time_is_placed_by_file_and_row_also_behind_where() {
        let (source, folder) = source("event_time = \"at\"\ntime_unit = \"s\"\nwhere = \"quantity < 9\"\n");
        let text = "user,price,quantity,at,seen\n1,1,9,soon,\n1,1,1,2024-01-01,\n1,1,1,later,\n";
        std::fs::write(folder.path().join("sales.csv"), text).unwrap();
        let error = format!("{:#}", load(&source, folder.path()).unwrap_err());
        assert!(error.contains("sales.csv, row 3: column \"at\": \"later\" is not a time"), "{error}");
        std::fs::write(folder.path().join("sales.csv"), text.replace("later", "")).unwrap();
        let error = format!("{:#}", load(&source, folder.path()).unwrap_err());
        assert!(error.contains("sales.csv, row 3: column \"at\" is null; drop such rows"), "{error}");
    }

    #[test]
    fn a_condition_that_keeps_nothing_is_an_error_with_its_count() {
        let (source, folder) = source("where = \"price > 99\"\n");
        let message = load(&source, folder.path()).unwrap_err().to_string();
        assert_eq!(message, "[sources.sales] `where` keeps none of its 4 rows");
    }
}
