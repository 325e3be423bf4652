//! Every function and null rule by example, in both executions.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Date64Array, DictionaryArray, Float16Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeStringArray, NullArray, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type};
use paceline_core::{Timestamp, Value};

use super::{EvaluationError, Input, Program, Scratch, Type, columns_of, filter, with_column};

/// Columns with one row of values; `n...` are null.
fn columns() -> Vec<(&'static str, Type, Input<'static>)> {
    let noon = "2011-09-03T12:34:56.5Z".parse::<Timestamp>().expect("a time");
    vec![
        ("i", Type::Int, Input::Int(7)),
        ("j", Type::Int, Input::Int(-3)),
        ("big", Type::Int, Input::Int(i64::MAX)),
        ("small", Type::Int, Input::Int(i64::MIN)),
        ("x", Type::Float, Input::Float(2.5)),
        ("y", Type::Float, Input::Float(-0.5)),
        ("zero", Type::Float, Input::Float(0.0)),
        ("huge", Type::Float, Input::Float(1e308)),
        ("nan", Type::Float, Input::Float(f64::NAN)),
        ("inf", Type::Float, Input::Float(f64::INFINITY)),
        ("t", Type::Bool, Input::Bool(true)),
        ("f", Type::Bool, Input::Bool(false)),
        ("s", Type::Text, Input::Text("Blue Mug")),
        ("word", Type::Text, Input::Text("straße")),
        ("digits", Type::Text, Input::Text(" 42 ")),
        ("empty", Type::Text, Input::Text("")),
        ("at", Type::Timestamp, Input::Timestamp(noon)),
        ("item.price_mean", Type::Float, Input::Float(10.0)),
        ("user.price_std", Type::Float, Input::Null),
        ("user", Type::Text, Input::Text("u1")),
        ("time", Type::Int, Input::Int(1)),
        ("date", Type::Int, Input::Int(2)),
        ("day", Type::Int, Input::Int(3)),
        ("Order Id", Type::Int, Input::Int(4)),
        ("ni", Type::Int, Input::Null),
        ("nx", Type::Float, Input::Null),
        ("nb", Type::Bool, Input::Null),
        ("ns", Type::Text, Input::Null),
        ("nat", Type::Timestamp, Input::Null),
    ]
}

fn array_of(kind: Type, input: Input<'_>) -> ArrayRef {
    match (kind, input) {
        (Type::Bool, Input::Bool(value)) => Arc::new(BooleanArray::from(vec![value])),
        (Type::Int, Input::Int(value)) => Arc::new(Int64Array::from(vec![value])),
        (Type::Float, Input::Float(value)) => Arc::new(Float64Array::from(vec![value])),
        (Type::Text, Input::Text(value)) => Arc::new(StringArray::from(vec![value])),
        (Type::Timestamp, Input::Timestamp(at)) => Arc::new(TimestampMicrosecondArray::from(vec![at.0])),
        _ => Arc::new(NullArray::new(1)),
    }
}

/// The value at `row`, as [`Program::eval_row`] would give it.
pub(super) fn value_at(array: &ArrayRef, kind: Type, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match kind {
        Type::Bool => Value::Bool(array.as_boolean().value(row)),
        Type::Int => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        Type::Float => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        Type::Text => Value::Text(array.as_string::<i32>().value(row).into()),
        Type::Timestamp => Value::Int(array.as_primitive::<TimestampMicrosecondType>().value(row)),
    }
}

/// The value of `expression` in both executions, which must agree.
fn value_of(expression: &str) -> (Value, Type) {
    let columns = columns();
    let typed: Vec<(&str, Type)> = columns.iter().map(|(name, kind, _)| (*name, *kind)).collect();
    let program = Program::compile(expression, &typed).unwrap_or_else(|mistakes| panic!("{expression}: {mistakes:?}"));
    let find = |name: &str| columns.iter().find(|column| column.0 == name).expect("a column that is read").2;
    let inputs: Vec<Input<'_>> = program.columns().map(|(name, _)| find(name)).collect();
    let row = program.eval_row(&inputs, &mut Scratch::default()).expect("the row fits");
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, kind, input)| (*name, array_of(*kind, *input))));
    let block = program.eval_block(&batch.expect("equal lengths")).expect("the batch fits");
    let block = value_at(&block, program.output_type(), 0);
    assert!(row.bit_equal(&block), "{expression}: {row:?} for a row, {block:?} in a block");
    (row, program.output_type())
}

fn check(examples: &[(&str, Value)]) {
    for (expression, expected) in examples {
        let (found, _) = value_of(expression);
        assert!(found.bit_equal(expected), "{expression}: {found:?} instead of {expected:?}");
    }
}

const NULL: Value = Value::Null;
const TRUE: Value = Value::Bool(true);
const FALSE: Value = Value::Bool(false);

fn int(value: i64) -> Value {
    Value::Int(value)
}

fn float(value: f64) -> Value {
    Value::Float(value)
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

#[test]
fn literals_names_and_precedence() {
    check(&[
        ("12", int(12)),
        ("-9223372036854775808", int(i64::MIN)),
        ("1.5e2", float(150.0)),
        ("'it''s'", text("it's")),
        ("true", TRUE),
        ("cast(null as text)", NULL),
        ("1 + 2 * 3 - 4", int(3)),
        ("(1 + 2) * 3", int(9)),
        ("-i * -1", int(7)),
        ("+i", int(7)),
        ("not f and t", TRUE),
        ("t or f and f", TRUE),
        ("i = 7 and x > 2", TRUE),
        ("x>-1 and i*-2<0 and j=-3 and i<>-7 and i+-j=10 and i--j\n=i and not i<=-j", TRUE),
        ("item.price_mean", float(10.0)),
        ("\"item.price_mean\"", float(10.0)),
        ("item.price_mean - coalesce(user.price_std, 0)", float(10.0)),
        ("user", text("u1")),
        ("user = 'u1'", TRUE),
        ("time + date * day", int(7)),
        ("\"Order Id\"", int(4)),
        ("i -- a comment", int(7)),
        ("i /* a comment */ + 1", int(8)),
    ]);
}

#[test]
fn arithmetic_of_whole_numbers() {
    check(&[
        ("i + j", int(4)),
        ("i - j", int(10)),
        ("i * j", int(-21)),
        ("i / j", int(-2)),
        ("j / 2", int(-1)),
        ("i % j", int(1)),
        ("j % i", int(-3)),
        ("i / 0", NULL),
        ("i % 0", NULL),
        ("big + 1", NULL),
        ("small - 1", NULL),
        ("big * 2", NULL),
        ("small / -1", NULL),
        ("small % -1", int(0)),
        ("-small", NULL),
        ("abs(small)", NULL),
        ("abs(j)", int(3)),
        ("i + ni", NULL),
        ("ni / 0", NULL),
        ("i + null", NULL),
        ("floor(j)", int(-3)),
        ("ceil(i)", int(7)),
        ("round(i)", int(7)),
    ]);
}

#[test]
fn arithmetic_of_floats_is_finite_or_null() {
    check(&[
        ("x + i", float(9.5)),
        ("i / 2.0", float(3.5)),
        ("x * y", float(-1.25)),
        ("x % 1", float(0.5)),
        ("y % 0.3", float(-0.5 % 0.3)),
        ("x / zero", NULL),
        ("zero / zero", NULL),
        ("x % zero", NULL),
        ("huge * 10", NULL),
        ("huge * 10 - huge * 10", NULL),
        ("nan", NULL),
        ("inf", NULL),
        ("nan is null", TRUE),
        ("coalesce(inf, 1)", float(1.0)),
        ("-zero", float(-0.0)),
        ("-zero = zero", TRUE),
        ("x + nx", NULL),
        ("abs(y)", float(0.5)),
        ("ln(1)", float(0.0)),
        ("ln(zero)", NULL),
        ("ln(y)", NULL),
        ("exp(0)", float(1.0)),
        ("exp(1000)", NULL),
        ("exp(-1000)", float(0.0)),
        ("sqrt(6.25)", float(2.5)),
        ("sqrt(y)", NULL),
        ("power(2, 10)", float(1024.0)),
        ("power(zero, -1)", NULL),
        ("power(y, 0.5)", NULL),
        ("power(nx, 0)", NULL),
        ("floor(y)", float(-1.0)),
        ("ceil(y)", float(-0.0)),
        ("round(x)", float(2.0)),
        ("round(3.5)", float(4.0)),
        ("round(y)", float(-0.0)),
        ("round(0.125, 2)", float(0.12)),
        ("round(1234.5, -2)", float(1200.0)),
        ("round(150, -2)", float(200.0)),
        ("round(huge, 15)", float(1e308)),
        ("ln(nx)", NULL),
    ]);
}

#[test]
fn comparison_and_three_valued_logic() {
    check(&[
        ("i = 7", TRUE),
        ("i <> 7", FALSE),
        ("i != 7", FALSE),
        ("i < x", FALSE),
        ("i >= x", TRUE),
        ("j <= -3", TRUE),
        ("f < t", TRUE),
        ("s = 'Blue Mug'", TRUE),
        ("s < 'blue'", TRUE),
        ("'B' > 'a'", FALSE),
        ("empty < s", TRUE),
        ("at >= '2011-09-03'", TRUE),
        ("at < timestamp '2011-09-03 12:35'", TRUE),
        ("'2011-01-01' < at", TRUE),
        ("i = ni", NULL),
        ("ni = ni", NULL),
        ("ni <> 1", NULL),
        ("null = null", NULL),
        ("s = ns", NULL),
        ("t and nb", NULL),
        ("f and nb", FALSE),
        ("nb and f", FALSE),
        ("t or nb", TRUE),
        ("f or nb", NULL),
        ("not nb", NULL),
        ("nb is null", TRUE),
        ("ns is null", TRUE),
        ("nat is null", TRUE),
        ("ni is not null", FALSE),
        ("null is null", TRUE),
        ("s is not null", TRUE),
        ("i between 7 and 8", TRUE),
        ("i between 8 and 7", FALSE),
        ("i not between 7 and 8", FALSE),
        ("i between ni and 3", FALSE),
        ("i between ni and 8", NULL),
        ("at between '2011-09-01' and '2011-10-01'", TRUE),
        ("i in (1, 7)", TRUE),
        ("i in (1, 2)", FALSE),
        ("i not in (1, 2)", TRUE),
        ("i in (1, null)", NULL),
        ("i in (7, null)", TRUE),
        ("i not in (1, null)", NULL),
        ("ni in (1, 2)", NULL),
        ("i in (1, 2, 3, 4, 7)", TRUE),
        ("i in (1, 2, 3, 4, 5)", FALSE),
        ("i in (1, 2, 3, 4, null)", NULL),
        ("i in (1, 2, 3, 4, j + 10)", TRUE),
        ("ni in (1, 2, 3, 4, 5)", NULL),
        ("x in (1, 2, 3, 4, 2.5)", TRUE),
        ("i in (1, 2.5, 7)", TRUE),
        ("s in ('a', 'b', 'c', 'Blue Mug')", TRUE),
        ("s in ('a', 'b', 'c', 'd')", FALSE),
        ("at in ('2011-09-03T12:34:56.5Z', '2012-01-01', '2012-01-02', '2012-01-03')", TRUE),
    ]);
}

#[test]
fn choosing_values() {
    check(&[
        ("coalesce(ni, j)", int(-3)),
        ("coalesce(ni, x)", float(2.5)),
        ("coalesce(ni, nx, 1)", float(1.0)),
        ("coalesce(ns, s)", text("Blue Mug")),
        ("coalesce(ns, '')", text("")),
        ("coalesce(null, 1)", int(1)),
        ("nullif(i, 7)", NULL),
        ("nullif(i, 8)", int(7)),
        ("nullif(i, ni)", int(7)),
        ("nullif(ni, 1)", NULL),
        ("nullif(empty, '')", NULL),
        ("nullif(s, '')", text("Blue Mug")),
        ("least(i, j, 0)", int(-3)),
        ("greatest(i, j, x)", float(7.0)),
        ("least(ni, 3)", int(3)),
        ("greatest(ni, null)", NULL),
        ("least(s, 'A')", text("A")),
        ("greatest(s, ns)", text("Blue Mug")),
        ("case when i > 5 then 'many' when i > 0 then 'some' else 'none' end", text("many")),
        ("case when nb then 1 else 2 end", int(2)),
        ("case when f then 1 end", NULL),
        ("case when f then 1 else 2.5 end", float(2.5)),
        ("case i when 1 then 'one' when 7 then 'seven' end", text("seven")),
        ("case ni when 1 then 'one' else 'other' end", text("other")),
        ("case when t then at else nat end is not null", TRUE),
        ("case s when 'Blue Mug' then t else f end", TRUE),
    ]);
}

#[test]
fn texts_and_patterns() {
    check(&[
        ("lower(s)", text("blue mug")),
        ("upper(word)", text("STRASSE")),
        ("length(word)", int(6)),
        ("length(empty)", int(0)),
        ("substr(s, 6)", text("Mug")),
        ("substr(s, 1, 4)", text("Blue")),
        ("substring(s from 6 for 2)", text("Mu")),
        ("substring(s, 6, 2)", text("Mu")),
        ("substr(word, 5, 1)", text("ß")),
        ("substr(s, -1, 3)", text("B")),
        ("substr(s, -5, 3)", text("")),
        ("substr(s, 100, 5)", text("")),
        ("substr(s, 1, -1)", NULL),
        ("substr(s, ni)", NULL),
        ("s || '!'", text("Blue Mug!")),
        ("s || empty || s", text("Blue MugBlue Mug")),
        ("s || ns", NULL),
        ("lower(ns)", NULL),
        ("length(ns)", NULL),
        ("s like 'Blue%'", TRUE),
        ("s like 'blue%'", FALSE),
        ("s ilike 'blue%'", TRUE),
        ("s like '%Mug'", TRUE),
        ("s like '%e M%'", TRUE),
        ("s like 'Blue_Mug'", TRUE),
        ("s like 'B%g'", TRUE),
        ("s like 'Blue'", FALSE),
        ("s not like 'Red%'", TRUE),
        ("s not ilike '%MUG'", FALSE),
        ("ns like '%'", NULL),
        ("'50%' like '50\\%'", TRUE),
        ("'500' like '50\\%'", FALSE),
        ("'50%' like '50!%' escape '!'", TRUE),
        ("'a\\' like 'a\\' escape ''", TRUE),
        ("s ~ 'u[eg]$'", TRUE),
        ("s ~ '^[0-9]{5}'", FALSE),
        ("s !~ '^[0-9]{5}'", TRUE),
        ("ns ~ 'a'", NULL),
        ("ns !~ 'a'", NULL),
        ("s ~ '(?i)blue'", TRUE),
        ("'85123A' ~ '^\\d{5}'", TRUE),
    ]);
}

#[test]
fn casts_give_null_where_they_cannot() {
    check(&[
        ("cast(x as bigint)", int(2)),
        ("cast(3.5 as int)", int(4)),
        ("cast(-2.5 as int)", int(-2)),
        ("huge::bigint", NULL),
        ("9223372036854775807.0::bigint", NULL),
        ("cast(-9223372036854775808.0 as bigint)", int(i64::MIN)),
        ("cast(i as double precision)", float(7.0)),
        ("cast(i as boolean)", TRUE),
        ("cast(t as int) + 1", int(2)),
        ("cast(t as float)", float(1.0)),
        ("cast(digits as int)", int(42)),
        ("cast(digits as double precision)", float(42.0)),
        ("cast('1e3' as double precision)", float(1000.0)),
        ("cast('1.5' as int)", NULL),
        ("cast(s as int)", NULL),
        ("cast('inf' as float)", NULL),
        ("cast('nan' as float)", NULL),
        ("cast('9223372036854775808' as bigint)", NULL),
        ("cast('Yes' as boolean)", TRUE),
        ("cast('off' as boolean)", FALSE),
        ("cast(s as boolean)", NULL),
        ("cast(i as text)", text("7")),
        ("cast(x as varchar)", text("2.5")),
        ("cast(1e21 as text)", text("1000000000000000000000")),
        ("cast(f as text)", text("false")),
        ("cast(at as text)", text("2011-09-03T12:34:56.500000Z")),
        ("cast(s || '' as timestamp)", NULL),
        ("extract(day from cast('2011-09-0' || cast(3 as text) as timestamp))", int(3)),
        ("cast(ni as text)", NULL),
        ("cast(ns as int)", NULL),
        ("cast(s as text)", text("Blue Mug")),
        ("cast(null as bigint)", NULL),
        ("cast('2011-09-03T12:34:56.5Z' as timestamp) = at", TRUE),
    ]);
}

#[test]
fn fields_of_a_time_are_in_utc() {
    check(&[
        ("extract(hour from at)", int(12)),
        ("extract(dow from at)", int(6)),
        ("extract(day from at)", int(3)),
        ("extract(month from at)", int(9)),
        ("extract(year from at)", int(2011)),
        ("extract(epoch from at)", float(1_315_053_296.5)),
        ("extract(hour from nat)", NULL),
        ("extract(hour from timestamp '1969-12-31 23:30')", int(23)),
        ("extract(dow from timestamp '1969-12-31')", int(3)),
        ("extract(year from timestamp '1969-12-31')", int(1969)),
        ("extract(epoch from timestamp '1969-12-31')", float(-86_400.0)),
        ("extract(hour from timestamp '2011-09-01T00:30:00+02:00')", int(22)),
        ("extract(day from timestamp '2012-02-29')", int(29)),
    ]);
}

#[test]
fn hashes_are_stable_and_distances_in_km() {
    // The hashes are computed by a second implementation from the definition in docs/expressions.md.
    check(&[
        ("hash_bucket(s, 1000)", int(300)),
        ("hash_bucket(i, 1000)", int(501)),
        ("hash_bucket(j, 2147483647)", int(350_035_077)),
        ("hash_bucket(empty, 16)", int(6)),
        ("hash_bucket(s, 1)", int(0)),
        ("hash_bucket(ns, 10)", NULL),
        ("hash_bucket(ni, 10)", NULL),
        ("haversine(0, 0, 0, 0)", float(0.0)),
        ("haversine(91, 0, 0, 0)", NULL),
        ("haversine(0, nx, 0, 0)", NULL),
        // Paris to London, 343.6 km on the mean sphere.
        ("round(haversine(48.8566, 2.3522, 51.5074, -0.1278), 1)", float(343.6)),
    ]);
}

#[test]
fn output_types_follow_the_operands() {
    for (expression, expected) in [
        ("i + j", Type::Int),
        ("i + x", Type::Float),
        ("i / j", Type::Int),
        ("coalesce(ni, 0.0)", Type::Float),
        ("ln(i)", Type::Float),
        ("i > 1", Type::Bool),
        ("lower(s)", Type::Text),
        ("coalesce(nat, at)", Type::Timestamp),
        ("case when t then null else i end", Type::Int),
        ("extract(hour from at)", Type::Int),
        ("extract(epoch from at)", Type::Float),
    ] {
        assert_eq!(value_of(expression).1, expected, "{expression}");
    }
}

/// Every Arrow type that is read, each with the value 3 (or "3", or three units after 1970), a null, and the value again.
#[test]
fn every_arrow_type_is_read() {
    let texts = [Some("3"), None, Some("3")];
    let keys = arrow::array::PrimitiveArray::<UInt8Type>::from(vec![Some(1), None, Some(1)]);
    let floats = [Some(3.0), None, Some(3.0)];
    let decimal = arrow::array::Decimal128Array::from(vec![Some(300), None, Some(300)]);
    let arrays: Vec<(ArrayRef, &str)> = vec![
        (Arc::new(Int8Array::from(vec![Some(3), None, Some(3)])), "c = 3"),
        (Arc::new(Int16Array::from(vec![Some(3), None, Some(3)])), "c = 3"),
        (Arc::new(Int32Array::from(vec![Some(3), None, Some(3)])), "c = 3"),
        (Arc::new(Int64Array::from(vec![Some(3), None, Some(3)])), "c = 3"),
        (Arc::new(UInt8Array::from(vec![Some(3), None, Some(3)])), "c = 3"),
        (Arc::new(UInt16Array::from(vec![Some(3), None, Some(3)])), "c = 3"),
        (Arc::new(UInt32Array::from(vec![Some(3), None, Some(3)])), "c = 3"),
        (Arc::new(UInt64Array::from(vec![Some(3), Some(u64::MAX), Some(3)])), "c = 3"),
        (Arc::new(Float16Array::from_iter(floats.map(|v| v.map(|v: f32| arrow_half(v))))), "c = 3"),
        (Arc::new(Float32Array::from(vec![Some(3.0), Some(f32::NAN), Some(3.0)])), "c = 3"),
        (Arc::new(Float64Array::from(vec![Some(3.0), Some(f64::NEG_INFINITY), Some(3.0)])), "c = 3"),
        (Arc::new(decimal.with_precision_and_scale(10, 2).expect("fits")), "c = 3"),
        (Arc::new(BooleanArray::from(vec![Some(true), None, Some(true)])), "c"),
        (Arc::new(StringArray::from(texts.to_vec())), "c = '3'"),
        (Arc::new(LargeStringArray::from(texts.to_vec())), "c = '3'"),
        (Arc::new(StringViewArray::from(texts.to_vec())), "c = '3'"),
        (Arc::new(DictionaryArray::<Int32Type>::from_iter(texts)), "c = '3'"),
        (Arc::new(DictionaryArray::new(keys, Arc::new(StringViewArray::from(vec!["2", "3"])))), "c = '3'"),
        (Arc::new(TimestampSecondArray::from(vec![Some(3), None, Some(3)])), "extract(epoch from c) = 3"),
        (
            Arc::new(TimestampMillisecondArray::from(vec![Some(3), None, Some(3)]).with_timezone("+02:00")),
            "extract(epoch from c) = 0.003",
        ),
        (Arc::new(TimestampMicrosecondArray::from(vec![Some(3), None, Some(3)])), "extract(epoch from c) = 0.000003"),
        (
            Arc::new(TimestampNanosecondArray::from(vec![Some(3_000), None, Some(3_999)])),
            "extract(epoch from c) = 0.000003",
        ),
        (Arc::new(Date32Array::from(vec![Some(3), None, Some(3)])), "extract(day from c) = 4"),
        (Arc::new(Date64Array::from(vec![Some(259_200_000), None, Some(259_200_000)])), "extract(day from c) = 4"),
    ];
    for (array, expression) in arrays {
        let name = array.data_type().to_string();
        let batch = RecordBatch::try_from_iter([("c", array)]).expect("one column");
        let program = Program::compile(expression, &columns_of(&batch.schema())).expect("compiles");
        let result = program.eval_block(&batch).expect("fits");
        let found: Vec<Option<bool>> = result.as_boolean().iter().collect();
        assert_eq!(found, [Some(true), None, Some(true)], "{name}");
    }
}

fn arrow_half(value: f32) -> <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native {
    <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native::from_f32(value)
}

fn sales() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("quantity", Arc::new(Int64Array::from(vec![Some(1), Some(0), None, Some(5)])) as ArrayRef),
        ("price", Arc::new(Float64Array::from(vec![2.0, 3.0, 4.0, f64::NAN]))),
    ])
    .expect("equal lengths")
}

#[test]
fn filter_keeps_what_is_true_and_with_column_appends() {
    let sales = sales();
    let columns = columns_of(&sales.schema());
    let program = |text| Program::compile(text, &columns).expect("compiles");
    let kept = filter(&program("quantity > 0"), &sales).expect("fits");
    assert_eq!(kept.column(0).as_primitive::<Int64Type>().values(), &[1, 5]);
    let more = with_column(&sales, "amount", &program("quantity * price")).expect("fits");
    assert_eq!(more.num_columns(), 3);
    let amounts: Vec<_> =
        more.column_by_name("amount").expect("is there").as_primitive::<Float64Type>().iter().collect();
    assert_eq!(amounts, [Some(2.0), Some(0.0), None, None]);
    let none = RecordBatch::new_empty(sales.schema());
    assert_eq!(filter(&program("quantity > 0"), &none).expect("fits").num_rows(), 0);
    assert_eq!(program("1").eval_block(&sales).expect("fits").len(), 4);
}

#[test]
fn rows_that_do_not_fit_are_refused_by_name() {
    let sales = sales();
    let program = |text| Program::compile(text, &[("quantity", Type::Text), ("shop", Type::Int)]).expect("compiles");
    let message = |result: Result<ArrayRef, EvaluationError>| result.expect_err("refused").to_string();
    assert_eq!(
        message(program("shop + 1").eval_block(&sales)),
        "expression `shop + 1` reads column \"shop\", which the rows do not have; they have: quantity, price"
    );
    assert_eq!(
        message(program("lower(quantity)").eval_block(&sales)),
        "expression `lower(quantity)` was compiled for column \"quantity\" as a text, but the rows hold Int64"
    );
    let row = program("lower(quantity)").eval_row(&[Input::Int(1)], &mut Scratch::default());
    assert_eq!(
        row.expect_err("refused").to_string(),
        "expression `lower(quantity)` was compiled for column \"quantity\" as a text, but the rows hold a whole number"
    );
    assert!(matches!(filter(&program("shop"), &sales), Err(EvaluationError::NotACondition { .. })));
    let one = Program::compile("1", &columns_of(&sales.schema())).expect("compiles");
    assert!(matches!(with_column(&sales, "price", &one), Err(EvaluationError::ColumnExists { .. })));
}

#[test]
fn a_scratch_serves_several_programs() {
    let program = |text| Program::compile(text, &[("a", Type::Int)]).expect("compiles");
    let mut scratch = Scratch::default();
    for round in 0..2 {
        for (program, expected) in [(program("a + 1"), int(round + 1)), (program("a * 10"), int(round * 10))] {
            assert_eq!(program.eval_row(&[Input::Int(round)], &mut scratch), Ok(expected));
        }
    }
}
