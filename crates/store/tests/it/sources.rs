//! Tables on disk, read back.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, NullArray, RecordBatch, StringArray, StringViewArray, TimestampMillisecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use proptest::prelude::*;

use paceline_core::Timestamp;
use paceline_store::sources::CsvType;
use paceline_store::{
    Format, SourceError, SourceReader, SourceSpec, TableWriter, WriteError, to_timestamps, write_table,
};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn read_all(spec: &SourceSpec, directory: &Path) -> Result<RecordBatch, SourceError> {
    let reader = SourceReader::open(spec, directory)?;
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
    Ok(concat_batches(&schema, &batches).unwrap())
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// The message of opening and reading `location` to the end.
fn failure(files: &[(&str, &str)], spec: &SourceSpec) -> String {
    let directory = directory(files);
    read_all(spec, directory.path()).unwrap_err().to_string()
}

#[test]
fn parquet_types_become_the_documented_ones() {
    let directory = tempfile::tempdir().unwrap();
    let stored = batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ("price", Arc::new(Decimal128Array::from(vec![150, -25]).with_precision_and_scale(10, 2).unwrap())),
        ("city", Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("Rome"), None]))),
        ("name", Arc::new(StringViewArray::from(vec!["a", "b"]))),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1]).with_timezone("UTC"))),
        ("none", Arc::new(NullArray::new(2))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
        ("weight", Arc::new(Float64Array::from(vec![f64::NAN, 1.0]))),
    ]);
    write_table(&directory.path().join("t.parquet"), &stored.schema(), std::slice::from_ref(&stored)).unwrap();

    let mut reader = SourceReader::open(&SourceSpec::new("t", "t.parquet"), directory.path()).unwrap();
    let read = reader.next().unwrap().unwrap();
    let types: Vec<String> = read.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Int32", "Float64", "Utf8", "Utf8View", "Timestamp(ms, \"UTC\")", "Null", "Boolean", "Float64"]);
    assert_eq!(read.column(1).as_primitive::<Float64Type>().values(), &[1.5, -0.25]);
    assert_eq!(read.column(2).as_string::<i32>(), &StringArray::from(vec![Some("Rome"), None]));
    assert_eq!(read.column(7).as_primitive::<Float64Type>(), &Float64Array::from(vec![None, Some(1.0)]));
    assert_eq!(reader.nan_counts().get("weight"), Some(&1));
    assert!(reader.next().is_none());
}

#[test]
fn a_projection_keeps_the_requested_order() {
    let directory = directory(&[("t.csv", "a,b,c\n1,x,2.5\n")]);
    let stored = read_all(&SourceSpec::new("t", "t.csv"), directory.path()).unwrap();
    write_table(&directory.path().join("t.parquet"), &stored.schema(), &[stored]).unwrap();
    for location in ["t.csv", "t.parquet"] {
        let read = read_all(&SourceSpec::new("t", location).with_columns(["c", "a"]), directory.path()).unwrap();
        let names: Vec<&str> = read.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["c", "a"], "{location}");
        assert_eq!(read.column(0).as_primitive::<Float64Type>().values(), &[2.5], "{location}");
        assert_eq!(read.column(1).as_primitive::<Int64Type>().values(), &[1], "{location}");

        let none = read_all(&SourceSpec::new("t", location).with_columns(Vec::<String>::new()), directory.path());
        assert_eq!(none.map(|batch| batch.num_columns()).unwrap(), 0, "{location}");
    }
}

#[test]
fn csv_types_are_inferred_widened_over_files_and_can_be_declared() {
    let files = [
        ("1.csv", "\u{feff}id,code,price,flag,note,empty\n1,007,2,true,,\n2,010,NaN,FALSE,\"a, \"\"b\"\"\nc\",\n"),
        ("2.csv", "price,id,code,flag,note,empty\r\n2.5,3,x,true,z,\r\n"),
    ];
    let directory = directory(&files);
    let mut reader = SourceReader::open(&SourceSpec::new("t", "*.csv"), directory.path()).unwrap();
    let schema = reader.schema();
    let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
    let (integer, text, float, boolean) = (DataType::Int64, DataType::Utf8, DataType::Float64, DataType::Boolean);
    assert_eq!(
        types,
        [&integer, &text, &float, &boolean, &text, &DataType::Null],
        "a column without any value is null"
    );
    let batches: Vec<RecordBatch> = reader.by_ref().collect::<Result<_, _>>().unwrap();
    let read = concat_batches(&schema, &batches).unwrap();
    assert_eq!(read.column(0).as_primitive::<Int64Type>(), &Int64Array::from(vec![1, 2, 3]));
    assert_eq!(read.column(1).as_string::<i32>(), &StringArray::from(vec!["007", "010", "x"]));
    assert_eq!(read.column(2).as_primitive::<Float64Type>(), &Float64Array::from(vec![Some(2.0), None, Some(2.5)]));
    assert_eq!(read.column(4).as_string::<i32>(), &StringArray::from(vec![None, Some("a, \"b\"\nc"), Some("z")]));
    assert_eq!(reader.nan_counts().get("price"), Some(&1));

    let mut declared = SourceSpec::new("t", "1.csv");
    declared.types.insert("id".into(), CsvType::Text);
    let read = read_all(&declared, directory.path()).unwrap();
    assert_eq!(read.column(0).as_string::<i32>(), &StringArray::from(vec!["1", "2"]));
}

#[test]
fn a_bad_cell_after_the_sample_is_named() {
    let mut content = String::from("id,price\n");
    for id in 1..=70_000 {
        content.push_str(&format!("{id},1.5\n"));
    }
    content.push_str("85123A,1\n");
    let directory = directory(&[("t.csv", &content)]);
    let mut reader = SourceReader::open(&SourceSpec::new("t", "t.csv"), directory.path()).unwrap();
    let outcome: Vec<_> = reader.by_ref().collect();
    match outcome.last() {
        Some(Err(SourceError::BadCell { file, row: 70_001, column, value, expected: "an integer" })) => {
            assert_eq!((file.as_str(), column.as_str(), value.as_str()), ("t.csv", "id", "85123A"));
        }
        other => panic!("{other:?}"),
    }
    assert!(reader.next().is_none(), "the stream ends after an error");
}

#[test]
fn wrong_tables_say_what_is_wrong() {
    let one = SourceSpec::new("t", "a.csv");
    let all = SourceSpec::new("t", ".");
    for (what, message, parts) in [
        ("missing", failure(&[("b.csv", "x\n")], &one), ["a.csv: no such file", "did you mean b.csv?"]),
        ("no rows", failure(&[("a.csv", "x,y\n")], &one), ["a.csv", "the table has no rows"]),
        ("no bytes", failure(&[("a.csv", "")], &one), ["a.csv", "the file is empty"]),
        ("values first", failure(&[("a.csv", "1,2.5\n3,4\n")], &one), ["must name the columns", "1, 2.5"]),
        ("unnamed", failure(&[("a.csv", "a,,c\n1,2,3\n")], &one), ["must name the columns", "column 2 has no name"]),
        ("twice", failure(&[("a.csv", "a,b,a\n1,2,3\n")], &one), ["must name the columns", "\"a\" stands there twice"]),
        ("semicolons", failure(&[("a.csv", "a;b\n1;2\n")], &one), ["\"a;b\"", "separated by commas"]),
        ("ragged", failure(&[("a.csv", "a,b\n1,2\n3\n")], &one), ["a.csv cannot be read as CSV", "line 3"]),
        ("not text", failure(&[("a.parquet", "hello")], &all), ["a.parquet cannot be read as Parquet", ""]),
        ("a wrong end", failure(&[("a.parquet", "twelve bytes")], &all), ["a.parquet cannot be read as Parquet", ""]),
        ("no format", failure(&[("a.txt", "x\n1\n")], &all), ["a.txt", "set the source's format"]),
        ("mixed", failure(&[("a.csv", "x\n1\n"), ("b.parquet", "")], &all), ["a.csv and b.parquet", "*.parquet"]),
        (
            "columns differ",
            failure(&[("a.csv", "x,y\n1,2\n"), ("b.csv", "x\n1\n")], &all),
            ["b.csv and a.csv differ in column \"y\"", "no such column"],
        ),
        (
            "a wrong column",
            failure(&[("a.csv", "user_id,price\n1,2\n")], &one.clone().with_columns(["userid"])),
            ["no column \"userid\"", "did you mean user_id?"],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "{what}: {message}");
        }
    }
}

#[test]
fn unsupported_types_and_disagreeing_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, column: ArrayRef| {
        let table = batch(vec![("v", column), ("w", Arc::new(Int64Array::from(vec![1])))]);
        write_table(&directory.path().join(name), &table.schema(), &[table]).unwrap();
    };
    write("bytes.parquet", Arc::new(BinaryArray::from(vec![b"x".as_slice()])));
    write("p1.parquet", Arc::new(Int64Array::from(vec![1])));
    write("p2.parquet", Arc::new(Float64Array::from(vec![1.0])));

    let read = |spec: SourceSpec| read_all(&spec, directory.path());
    let message = read(SourceSpec::new("t", "bytes.parquet")).unwrap_err().to_string();
    assert!(message.contains("bytes.parquet: column \"v\" has type Binary"), "{message}");
    assert_eq!(read(SourceSpec::new("t", "bytes.parquet").with_columns(["w"])).unwrap().num_rows(), 1);

    let message = read(SourceSpec::new("t", "p*.parquet")).unwrap_err().to_string();
    assert!(message.contains("p2.parquet and p1.parquet differ in column \"v\": Float64 and Int64"), "{message}");
}

#[test]
fn an_empty_table_can_be_allowed() {
    let directory = directory(&[("a.csv", "x,y\n")]);
    let table = batch(vec![("x", Arc::new(Float64Array::from(Vec::<f64>::new())))]);
    write_table(&directory.path().join("b.parquet"), &table.schema(), &[]).unwrap();
    for location in ["a.csv", "b.parquet"] {
        let mut spec = SourceSpec::new("t", location);
        assert!(matches!(read_all(&spec, directory.path()), Err(SourceError::Empty { .. })), "{location}");
        spec.allow_empty = true;
        assert_eq!(read_all(&spec, directory.path()).unwrap().num_rows(), 0, "{location}");
    }
}

#[test]
fn a_failed_write_leaves_the_old_table() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.csv");
    let old = batch(vec![("x", Arc::new(Int64Array::from(vec![1])))]);
    assert_eq!(write_table(&path, &old.schema(), std::slice::from_ref(&old)).unwrap(), 1);

    let other = batch(vec![("y", Arc::new(Int64Array::from(vec![1])))]);
    let error = write_table(&path, &old.schema(), &[old.clone(), other]).unwrap_err();
    assert!(error.to_string().contains("differs from the others in column \"x\""), "{error}");
    drop(TableWriter::create(&path, &old.schema()).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x\n1\n");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");

    let unnamed = write_table(&directory.path().join("out"), &old.schema(), &[]);
    assert!(matches!(unnamed, Err(WriteError::UnknownFormat { .. })));
    let nowhere = write_table(&directory.path().join("no/out.csv"), &old.schema(), &[]);
    assert!(matches!(nowhere, Err(WriteError::Disk { .. })));
}

fn finite() -> impl Strategy<Value = Option<f64>> {
    proptest::option::of(prop_oneof![any::<f64>().prop_filter("NaN reads as null", |x| !x.is_nan()), Just(-0.0)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// What is written is what is read, in both formats, to the last bit.
    #[test]
    fn tables_survive_the_round_trip(
        rows in proptest::collection::vec((proptest::option::of(any::<i64>()), finite(), "[a-z,\"\n é]{1,6}x"), 1..60)
    ) {
        let table = batch(vec![
            ("i", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)))),
            ("f", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.1)))),
            ("t", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.2)))),
        ]);
        let directory = tempfile::tempdir().unwrap();
        for name in ["t.parquet", "t.csv"] {
            let path = directory.path().join(name);
            write_table(&path, &table.schema(), &[table.slice(0, rows.len() / 2), table.slice(rows.len() / 2, rows.len() - rows.len() / 2)]).unwrap();
            let mut spec = SourceSpec::new("t", name);
            spec.types = [("i", CsvType::Integer), ("f", CsvType::Float), ("t", CsvType::Text)].map(|(k, v)| (k.to_owned(), v)).into();
            let read = read_all(&spec, directory.path()).unwrap();
            let bits = |batch: &RecordBatch| -> Vec<Option<u64>> {
                batch.column(1).as_primitive::<Float64Type>().iter().map(|x| x.map(f64::to_bits)).collect()
            };
            prop_assert_eq!(bits(&read), bits(&table), "{}", name);
            prop_assert_eq!(read.column(0), table.column(0), "{}", name);
            prop_assert_eq!(read.column(2), table.column(2), "{}", name);
        }
    }
}

#[test]
fn the_retail_table_streams() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/online-retail-ii");
    if !root.join("transactions.parquet").exists() {
        println!("skipped: {} is not there", root.display());
        return;
    }
    let mut reader = SourceReader::open(&SourceSpec::new("sales", "transactions.parquet"), &root).unwrap();
    let time_column = reader.schema().index_of("timestamp").unwrap();
    let mut rows = 0;
    for batch in reader.by_ref() {
        let batch = batch.unwrap();
        assert!(batch.num_rows() <= 32_768);
        rows += batch.num_rows();
        let unit = Some(arrow::datatypes::TimeUnit::Second);
        let times = to_timestamps("timestamp", batch.column(time_column), unit).unwrap();
        let years = "2009-12-01".parse::<Timestamp>().unwrap()..="2011-12-31".parse().unwrap();
        assert!(times.iter().all(|time| years.contains(time)));
    }
    assert!(rows > 500_000, "{rows}");
    assert_eq!(Format::of_path(&reader.files()[0].path), Some(Format::Parquet));
}
