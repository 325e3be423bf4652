use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use rand::RngExt;

use paceline_core::random;
use paceline_features::encode::{Encoder, EncoderSpec, fit};
use paceline_models::Linear;
use paceline_models::column::Column;
use paceline_models::network::{NetworkOutput, Standardization};
use serde_json::json;

use super::*;

fn city() -> Encoder {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["Ashford", "Brackwell"]));
    fit(&EncoderSpec::OneHot { categories_max: 8 }, "city", &values, None).expect("fits").encoder
}

fn spec() -> ModelSpec {
    let column = |name: &str, kind| RequestColumn { name: name.to_owned(), kind };
    let named = |name: &str, text: &str| NamedExpression { name: name.to_owned(), expression: text.to_owned() };
    let number = |column: &str| ModelInput { column: column.to_owned(), encoder: None };
    let mut spec = ModelSpec::new(RowTask::Regress, "amount", "mae".to_owned(), "sum.linear.json");
    spec.columns = vec![
        column("income", Type::Float),
        column("contracts", Type::Int),
        column("secured", Type::Bool),
        column("city", Type::Text),
        column("time", Type::Timestamp),
        column("person.orders", Type::Int),
    ];
    spec.expressions = vec![
        named("each", "income / (contracts + 1)"),
        named("request.late", "extract(hour from time) >= 18 and each > 1"),
    ];
    spec.inputs = vec![
        number("income"),
        number("each"),
        number("request.late"),
        number("secured"),
        ModelInput { column: "city".to_owned(), encoder: Some(city()) },
        number("person.orders"),
    ];
    spec.views = vec![ViewFeatures {
        name: "person".to_owned(),
        entity: vec!["person_id".to_owned()],
        features: vec!["orders".to_owned()],
    }];
    spec
}

/// So different that a score shows every input.
fn weights() -> impl Iterator<Item = f64> {
    (0..9).map(|at| 4_f64.powi(at))
}

/// Adds all inputs by their weights.
fn artifact() -> BTreeMap<String, Vec<u8>> {
    // One that changes nothing; training fits another.
    let inputs = 9;
    let unchanged = Standardization {
        means: vec![0.0; inputs],
        scales: vec![1.0; inputs],
        log_scales: vec![0.0; inputs],
        indicated: Vec::new(),
    };
    let linear = Linear::new(unchanged, weights().collect(), 0.0, NetworkOutput::Identity).expect("sizes fit");
    [(MODEL_FILE.to_owned(), spec().to_bytes()), ("sum.linear.json".to_owned(), linear.to_bytes())].into()
}

fn row() -> Map<String, Json> {
    let row = json!({
        "income": 3.0, "contracts": 1, "secured": true, "city": "Brackwell", "time": "2024-03-01T19:00:00Z",
        "person.orders": 2, "person_id": 17,
    });
    row.as_object().expect("an object").clone()
}

fn with(column: &str, value: Json) -> Map<String, Json> {
    let mut row = row();
    row.insert(column.to_owned(), value);
    row
}

#[test]
fn a_score_is_what_the_declared_steps_give() {
    let predictor = Predictor::from_files(&artifact()).expect("whole");
    let names =
        ["income", "each", "request.late", "secured", "city=Ashford", "city=Brackwell", "city.other", "city.null"];
    assert_eq!(predictor.inputs().names()[..8], names);
    let check = |row: Map<String, Json>, expected: [f64; 9]| {
        let (mut values, mut inputs) = (Vec::new(), [0.0; 9]);
        predictor.read(Row { fields: &row, features: &[] }, 0, &mut values).expect("fits");
        predictor.inputs().fill(&values, 0, &mut Workspace::default(), &mut inputs).expect("fits");
        let shown = |inputs: &[f64]| inputs.iter().map(|input| input.to_string()).collect::<Vec<_>>();
        assert_eq!(shown(&inputs), shown(&expected), "{row:?}");
        // A missing number counts as the mean, which is 0 here.
        let known = inputs.iter().map(|input| if input.is_nan() { 0.0 } else { *input });
        let sum: f64 = known.zip(weights()).map(|(input, weight)| weight * input).sum();
        assert_eq!(predictor.predict(std::slice::from_ref(&row)).expect("fits"), [sum], "{row:?}");
    };
    check(row(), [3.0, 1.5, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 2.0]);
    check(with("income", json!(2)), [2.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 2.0]);
    check(with("contracts", json!(2.0)), [3.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 2.0]);
    check(with("city", json!("Elsewhere")), [3.0, 1.5, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 2.0]);
    check(with("city", json!(null)), [3.0, 1.5, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
    check(with("time", json!("2024-03-01 12:30:00")), [3.0, 1.5, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 2.0]);
    let nan = f64::NAN;
    check(with("income", json!(null)), [nan, nan, nan, 1.0, 0.0, 1.0, 0.0, 0.0, 2.0]);
    check(with("person.orders", json!(null)), [3.0, 1.5, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, nan]);
}

#[test]
fn batches_single_rows_typed_rows_and_fetched_features_give_equal_bits() {
    let predictor = Predictor::from_files(&artifact()).expect("whole");
    let mut random = random::stream(1, "predict");
    let mut draw = || {
        let mut row = with("income", json!(100.0 * random.random::<f64>()));
        row.insert("contracts".to_owned(), json!(random.random_range(0..5)));
        row.insert("secured".to_owned(), json!(random.random_bool(0.5)));
        row.insert("city".to_owned(), json!(["Ashford", "Brackwell", "x"][random.random_range(0..3)]));
        row.insert("time".to_owned(), json!(Timestamp(random.random_range(0..1_i64 << 50)).to_string()));
        row
    };
    let rows: Vec<Map<String, Json>> = (0..257).map(|_| draw()).collect();
    let batch = predictor.predict(&rows).expect("fit");
    let bits = |scores: &[f64]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
    let singles: Vec<f64> =
        rows.iter().flat_map(|row| predictor.predict(std::slice::from_ref(row)).expect("fits")).collect();
    assert_eq!(bits(&batch), bits(&singles));

    let mut workspace = Workspace::default();
    let mut values = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        predictor.read(Row { fields: row, features: &[] }, number, &mut values).expect("fits");
    }
    assert_eq!(bits(&batch), bits(&predictor.predict_values(&values, &mut workspace).expect("fit")));

    let without: Vec<Map<String, Json>> =
        rows.iter().cloned().map(|mut row| row.remove("person.orders").map(|_| row).expect("was there")).collect();
    let fetched = [Value::Int(2)];
    let joined: Vec<Row<'_>> = without.iter().map(|fields| Row { fields, features: &fetched }).collect();
    assert_eq!(bits(&batch), bits(&predictor.predict_rows(&joined, &mut workspace).expect("fit")));
}

#[test]
fn mistakes_name_row_column_value_and_what_is_expected() {
    let predictor = Predictor::from_files(&artifact()).expect("whole");
    let refuse = |bad: Map<String, Json>| predictor.predict(&[row(), bad]).expect_err("refused").to_string();
    let check = |column: &str, value: Json, parts: &[&str]| {
        let message = refuse(with(column, value));
        for part in ["row 1", &format!("{column:?}")].iter().chain(parts) {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    };
    check("income", json!("much"), &["\"much\" is not a number or null"]);
    check("contracts", json!(1.5), &["1.5 is not a whole number or null"]);
    check("contracts", json!(1e300), &["is not a whole number or null"]);
    check("secured", json!(1), &["1 is not true, false or null"]);
    check("city", json!(5), &["5 is not a text or null"]);
    check("city", json!(["x".repeat(100)]), &["...", "is not a text or null"]);
    check("time", json!("noon"), &["\"noon\" is not a time as ISO 8601 text"]);
    check("incme", json!(1), &["unknown column", "income, contracts"]);
    let mut short = row();
    short.remove("city");
    assert!(refuse(short).contains("row 1: column \"city\" is missing; it is a text, and null"));
    let fields = row();
    let features = [Value::Int(1), Value::Int(2)];
    let joined = Row { fields: &fields, features: &features };
    let error = predictor.predict_rows(&[joined], &mut Workspace::default()).expect_err("two features");
    assert!(error.to_string().contains("2 features were fetched, the model's views have 1"), "{error}");
    let many = vec![row(); ROWS_MAX + 1];
    assert!(predictor.predict(&many).expect_err("too many").to_string().contains("4097 rows in one request"));
    assert_eq!(predictor.predict(&[]), Ok(Vec::new()));
    let infinite = [Input::Float(f64::INFINITY), Input::Null, Input::Null, Input::Null, Input::Null, Input::Null];
    let error = predictor.predict_values(&infinite, &mut Workspace::default()).expect_err("infinite");
    assert!(error.to_string().contains("row 0, column \"income\": inf is not a number"), "{error}");
}

#[test]
fn damaged_artifacts_are_refused_and_never_panic() {
    let files = artifact();
    let text = String::from_utf8(files[MODEL_FILE].clone()).expect("JSON");
    let check = |from: &str, to: &str, part: &str| {
        assert!(text.contains(from), "{from} in {text}");
        let mut files = files.clone();
        files.insert(MODEL_FILE.to_owned(), text.replacen(from, to, 1).into_bytes());
        let error = Predictor::from_files(&files).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    check("\"version\": 1", "\"version\": 2", "format version 2");
    check("\"task\": \"regress\"", "\"task\": \"guess\"", "damaged");
    check("sum.linear.json", "other.linear.json", "\"other.linear.json\" is missing");
    check("\"name\": \"contracts\"", "\"name\": \"income\"", "\"income\" is there twice");
    check("hour from time)", "hour from tim)", "expression \"request.late\" is");
    check("\"column\": \"each\"", "\"column\": \"none\"", "column \"none\"");
    check("\"name\": \"city\"", "\"name\": \"town\"", "column \"city\"");
    check("\"orders\"", "\"visits\"", "the features of the views");
    check("\"Ashford\"", "\"Zzz\"", "ascending");
    let mut other = files.clone();
    other.insert("sum.linear.json".to_owned(), Column { index: 0, column_count: 3 }.to_bytes());
    assert!(Predictor::from_files(&other).expect_err("not linear").to_string().contains("sum.linear.json"));
    assert!(Predictor::from_files(&BTreeMap::new()).expect_err("empty").to_string().contains("no file \"model.json\""));

    let mut random = random::stream(2, "damage");
    for _ in 0..2_000 {
        let mut files = files.clone();
        let bytes = files.get_mut(MODEL_FILE).expect("there");
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] = random.random(),
            1 => bytes.truncate(at),
            _ => drop(bytes.remove(at)),
        }
        if let Ok(predictor) = Predictor::from_files(&files) {
            // Whatever it is now, it answers or refuses.
            let _ = predictor.predict(&[row()]);
        }
    }
}
