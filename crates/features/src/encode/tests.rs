use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int32Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use paceline_core::Value;

use super::*;

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Bits, so that NaN equals NaN.
fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Fits, then compares block, single values, every string type and the serialized encoder.
fn check(spec: EncoderSpec, values: &[Option<&str>], new: &[Option<&str>], expected: &[f64], names: &[&str]) {
    let encoder = fit(&spec, "c", &texts(values), None).expect("fits").encoder;
    assert_eq!(encoder.names(), names);
    assert_eq!(bits(&encoder.transform(&texts(new)).expect("a text")), bits(expected), "{spec:?}");
    for data_type in [
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
    ] {
        let other = cast(&texts(new), &data_type).expect("a string type");
        assert_eq!(bits(&encoder.transform(&other).expect("a text")), bits(expected), "{data_type}");
    }
    let json = serde_json::to_string(&encoder).expect("plain data");
    let read: Encoder = serde_json::from_str(&json).expect("what was written");
    assert_eq!(read, encoder);
    for (value, expected) in new.iter().zip(expected.chunks(encoder.width())) {
        let mut out = vec![7.0; encoder.width()];
        read.encode(&value.map_or(Value::Null, |value| Value::Text(value.into())), &mut out).expect("a text");
        assert_eq!(bits(&out), bits(expected), "{value:?}");
    }
}

#[test]
fn ordinal_is_sorted_and_unseen_is_below_all() {
    let values = [Some("b"), None, Some("a"), Some("b")];
    let new = [Some("a"), Some("b"), Some("c"), None];
    check(EncoderSpec::Ordinal, &values, &new, &[0.0, 1.0, -1.0, f64::NAN], &["c.ordinal"]);
}

#[test]
fn one_hot_keeps_the_most_frequent_and_names_the_rest() {
    let values = [Some("b"), Some("c"), Some("a"), Some("c"), Some("a"), None];
    let new = [Some("a"), Some("b"), None];
    let expected = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let spec = EncoderSpec::OneHot { categories_max: 2 };
    check(spec, &values, &new, expected.as_flattened(), &["c=a", "c=c", "c.other", "c.null"]);
}

#[test]
fn hashed_values_stay_where_saved_models_expect_them() {
    // FNV-1a of "a" is 0xaf63dc4c8601ec8c (reference vectors of the hash's authors).
    assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    let expected = [(0xaf63_dc4c_8601_ec8c_u64 % 10) as f64, (0x8594_4171_f739_67e8_u64 % 10) as f64, f64::NAN];
    check(EncoderSpec::Hashed { buckets: 10 }, &[], &[Some("a"), Some("foobar"), None], &expected, &["c.hashed"]);
}

fn times(values: &[i64]) -> Vec<Timestamp> {
    values.iter().copied().map(Timestamp).collect()
}

#[test]
fn target_training_values_see_only_labels_known_before() {
    let column = texts(&[Some("a"), Some("a"), Some("b"), Some("a"), None, Some("a")]);
    let label = [1.0, 0.0, 1.0, f64::NAN, 1.0, 1.0];
    let (time, known) = (times(&[0, 10, 20, 30, 40, 15]), times(&[10, 20, 25, 35, 41, 90]));
    let labels = Labels { value: &label, time: &time, known: &known };
    let fitted = fit(&EncoderSpec::Target { smoothing: 2.0 }, "c", &column, Some(labels)).expect("fits");
    let smoothed = |sum: f64, n: f64, prior: f64| (sum + 2.0 * prior) / (n + 2.0);
    let expected = [
        f64::NAN,                      // nothing known at 0
        f64::NAN,                      // the label of row 0 is known at 10, not before
        1.0,                           // no "b" yet: the prior, from row 0
        smoothed(1.0, 2.0, 2.0 / 3.0), // rows 0 and 1 of "a", prior from rows 0, 1, 2
        2.0 / 3.0,                     // no null yet
        smoothed(1.0, 1.0, 1.0),       // row 0
    ];
    assert_eq!(bits(&fitted.training), bits(&expected));
    let prior = 4.0 / 5.0;
    let new = texts(&[Some("a"), Some("b"), Some("z"), None]);
    let encoded = fitted.encoder.transform(&new).expect("a text");
    let expected = [smoothed(2.0, 3.0, prior), smoothed(1.0, 1.0, prior), prior, smoothed(1.0, 1.0, prior)];
    assert_eq!(bits(&encoded), bits(&expected));
}

#[test]
fn a_label_never_reaches_its_own_row() {
    let column: ArrayRef = Arc::new(Int32Array::from_iter_values((0..40).map(|row| row % 3)));
    let time = times(&(0..40).collect::<Vec<_>>());
    let training = |label: &[f64]| {
        let labels = Labels { value: label, time: &time, known: &time };
        fit(&EncoderSpec::Target { smoothing: 1.0 }, "c", &column, Some(labels)).expect("fits").training
    };
    let label: Vec<f64> = (0..40).map(|row| f64::from(row * 7 % 5 == 0)).collect();
    let before = training(&label);
    for row in 0..40 {
        let mut changed = label.clone();
        changed[row] = 1.0 - changed[row];
        let after = training(&changed);
        assert_eq!(bits(&before[..=row]), bits(&after[..=row]), "row {row} and those before it");
        assert!(row == 39 || bits(&before[row + 1..]) != bits(&after[row + 1..]), "later rows do see row {row}");
    }
}

#[test]
fn integers_and_truth_values_are_categories_and_floats_are_not() {
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let encoder = fit(&EncoderSpec::Ordinal, "flag", &flags, None).expect("fits").encoder;
    let mut out = [0.0];
    encoder.encode(&Value::Bool(true), &mut out).expect("a truth value");
    assert_eq!(out, [1.0]);
    let message = |result: Result<(), FeatureError>| result.expect_err("a misfit").to_string();
    assert_eq!(
        message(encoder.encode(&Value::Float(1.5), &mut out)),
        "column \"flag\": 1.5 cannot be encoded, expected an integer or a truth value"
    );
    assert_eq!(
        message(encoder.transform(&texts(&[Some("a")])).map(|_| ())),
        "the encoder of flag cannot use column \"flag\" of the table to encode: it is Utf8, expected an integer or a truth value"
    );
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    assert!(matches!(fit(&EncoderSpec::Ordinal, "f", &floats, None), Err(FeatureError::ColumnType { .. })));
}

#[test]
fn declarations_without_meaning_are_refused() {
    let column = texts(&[Some("a")]);
    for (spec, part) in [
        (EncoderSpec::Hashed { buckets: 0 }, "at least 1 bucket"),
        (EncoderSpec::Target { smoothing: -1.0 }, "smoothing"),
        (EncoderSpec::Target { smoothing: 1.0 }, "needs labels"),
    ] {
        let error = fit(&spec, "c", &column, None).expect_err("no meaning").to_string();
        assert!(error.starts_with("encoder of column c: ") && error.contains(part), "{error}");
    }
    let parsed: EncoderSpec = serde_json::from_str(r#"{"kind": "one_hot"}"#).expect("a default");
    assert_eq!(parsed, EncoderSpec::OneHot { categories_max: 64 });
}

#[test]
fn a_damaged_encoder_is_found() {
    let target = fit(
        &EncoderSpec::Target { smoothing: 1.0 },
        "c",
        &texts(&[Some("a"), Some("b")]),
        Some(Labels { value: &[0.0, 1.0], time: &[Timestamp(1), Timestamp(2)], known: &[Timestamp(1), Timestamp(2)] }),
    );
    let target = serde_json::to_string(&target.expect("fits").encoder).expect("plain data");
    let ordinal = fit(&EncoderSpec::Ordinal, "c", &texts(&[Some("a"), Some("b")]), None).expect("fits").encoder;
    let ordinal = serde_json::to_string(&ordinal).expect("plain data");
    let check = |json: &str, from: &str, to: &str, kind: Type, part: &str| {
        assert!(json.contains(from), "{from} in {json}");
        let encoder: Encoder = serde_json::from_str(&json.replacen(from, to, 1)).expect("still an encoder");
        match encoder.check(kind) {
            Ok(()) => assert_eq!(part, "", "{to}"),
            Err(error) => assert!(!part.is_empty() && error.to_string().contains(part), "{error}"),
        }
    };
    check(&ordinal, "", "", Type::Text, "");
    check(&target, "", "", Type::Text, "");
    check(&ordinal, "", "", Type::Int, "it takes a text, the column is a whole number");
    check(&ordinal, "\"a\",\"b\"", "\"b\",\"a\"", Type::Text, "ascending");
    check(&ordinal, "\"a\",\"b\"", "\"a\",\"a\"", Type::Text, "ascending");
    check(&target, "\"a\",\"b\"", "\"a\"", Type::Text, "one finite code each");
}
