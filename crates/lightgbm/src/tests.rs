use super::*;

fn library() -> Library {
    let search = Search {
        environment: std::env::var_os("PACELINE_LIGHTGBM").map(Into::into),
        project: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../..").into()),
        ..Search::default()
    };
    search.open().unwrap_or_else(|error| panic!("{error}"))
}

const COLUMNS: usize = 3;

/// Rows of a small linear congruential sequence, and labels that depend on the first two columns.
fn table(row_count: usize) -> (Vec<f64>, Vec<f32>) {
    let mut state = 1_u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let rows: Vec<f64> = (0..row_count * COLUMNS).map(|_| draw()).collect();
    let labels = rows.chunks_exact(COLUMNS).map(|row| if row[0] + row[1] * row[1] > 0.8 { 1.0 } else { 0.0 }).collect();
    (rows, labels)
}

fn parameters() -> Parameters {
    Parameters::seeded(3).with("objective", "binary").with("num_leaves", 7).with("min_data_in_leaf", 5)
}

fn train(parameters: &Parameters, rounds: usize) -> Booster {
    let (rows, labels) = table(400);
    let names = ["age", "price", "noise"].map(str::to_owned);
    let spec = DatasetSpec { labels: &labels, names: Some(&names), ..DatasetSpec::default() };
    let data = Dataset::new(&library(), &rows, COLUMNS, &spec, parameters).unwrap();
    Booster::train(parameters, &data, &TrainSpec { rounds, validation: None }).unwrap()
}

#[test]
fn a_model_learns_round_trips_and_repeats() {
    let booster = train(&parameters(), 20);
    let text = booster.to_text().unwrap();
    assert!(text.contains("feature_names=age price noise"), "{text}");
    assert_eq!(text.matches("\nTree=").count(), 20);
    assert_eq!(train(&parameters(), 20).to_text().unwrap(), text, "a second training");

    let (rows, labels) = table(400);
    let scores = booster.predict(&rows, Output::Normal).unwrap();
    let right = scores.iter().zip(&labels).filter(|(score, label)| (**score > 0.5) == (**label == 1.0)).count();
    assert!(right > 380, "{right} of 400 right");

    let read_back = Booster::from_text(&library(), &text).unwrap();
    assert_eq!(read_back.predict(&rows, Output::Normal).unwrap(), scores);
    let raw = read_back.predict(&rows, Output::Raw).unwrap();
    assert_eq!(scores[7], 1.0 / (1.0 + (-raw[7]).exp()));
    let mut single = booster.single_row(Output::Raw).unwrap();
    for (row, raw) in rows.chunks_exact(COLUMNS).zip(raw) {
        assert_eq!(single.predict(row).unwrap().to_bits(), raw.to_bits());
    }
}

#[test]
fn validation_stops_early_and_keeps_the_best_round() {
    let (rows, labels) = table(300);
    // The validation labels have nothing to do with the rows, so more rounds only hurt.
    let noise: Vec<f32> = (0..300).map(|row| (row / 3 % 2) as f32).collect();
    let parameters = parameters();
    let library = library();
    let spec = DatasetSpec { labels: &labels, ..DatasetSpec::default() };
    let data = Dataset::new(&library, &rows, COLUMNS, &spec, &parameters).unwrap();
    let spec = DatasetSpec { labels: &noise, reference: Some(&data), ..DatasetSpec::default() };
    let validation = Dataset::new(&library, &rows, COLUMNS, &spec, &parameters).unwrap();
    let rounds = |metric: &str| {
        let validation = Some(Validation { data: &validation, patience: 4 });
        let parameters = parameters.clone().with("metric", metric);
        let booster = Booster::train(&parameters, &data, &TrainSpec { rounds: 200, validation }).unwrap();
        booster.to_text().unwrap().matches("\nTree=").count()
    };
    assert!((1..50).contains(&rounds("binary_logloss")), "a loss: {}", rounds("binary_logloss"));
    assert!((1..100).contains(&rounds("auc")), "higher is better: {}", rounds("auc"));
}

#[test]
fn higher_auc_is_the_better_round() {
    let (rows, labels) = table(400);
    let parameters = parameters().with("metric", "auc").with("learning_rate", 0.05);
    let library = library();
    let spec = DatasetSpec { labels: &labels, ..DatasetSpec::default() };
    let data = Dataset::new(&library, &rows, COLUMNS, &spec, &parameters).unwrap();
    let spec = DatasetSpec { reference: Some(&data), ..spec };
    let validation = Dataset::new(&library, &rows, COLUMNS, &spec, &parameters).unwrap();
    let validation = Some(Validation { data: &validation, patience: 5 });
    let booster = Booster::train(&parameters, &data, &TrainSpec { rounds: 30, validation }).unwrap();
    // On the training rows themselves the area rises round after round; read as a loss, the first round would be kept.
    assert!(booster.to_text().unwrap().matches("\nTree=").count() > 10);
}

#[test]
fn categorical_columns_split_by_sets() {
    let rows: Vec<f64> = (0..400).map(|row| f64::from(row % 10)).collect();
    let labels: Vec<f32> = rows.iter().map(|value| if [1.0, 4.0, 7.0].contains(value) { 1.0 } else { 0.0 }).collect();
    let spec = DatasetSpec { labels: &labels, categorical: &[0], ..DatasetSpec::default() };
    let parameters = parameters().with("min_data_per_group", 1);
    let data = Dataset::new(&library(), &rows, 1, &spec, &parameters).unwrap();
    let booster = Booster::train(&parameters, &data, &TrainSpec { rounds: 3, validation: None }).unwrap();
    assert!(booster.to_text().unwrap().contains("num_cat=1"));
}

#[test]
fn ranking_takes_groups() {
    let (rows, labels) = table(300);
    let groups = [100, 50, 150];
    let spec = DatasetSpec { labels: &labels, groups: Some(&groups), ..DatasetSpec::default() };
    let parameters = parameters().with("objective", "lambdarank");
    let data = Dataset::new(&library(), &rows, COLUMNS, &spec, &parameters).unwrap();
    let booster = Booster::train(&parameters, &data, &TrainSpec { rounds: 3, validation: None }).unwrap();
    assert!(booster.to_text().unwrap().contains("objective=lambdarank"));
}

#[test]
fn what_lightgbm_says_is_passed_on() {
    let (rows, labels) = table(50);
    let train = |parameters: Parameters| {
        let spec = DatasetSpec { labels: &labels, ..DatasetSpec::default() };
        let data = Dataset::new(&library(), &rows, COLUMNS, &spec, &parameters)?;
        Booster::train(&parameters, &data, &TrainSpec { rounds: 1, validation: None })
    };
    let refused = |parameters: Parameters| {
        let error = train(parameters).unwrap_err();
        assert!(matches!(error, LightGbmError::Refused { .. }));
        error.to_string()
    };
    assert!(refused(parameters().with("objective", "nonsense")).contains("nonsense"));
    assert!(refused(parameters().with("num_leaves", 1)).contains("num_leaves"));
    assert!(
        Booster::from_text(&library(), "nonsense").unwrap_err().to_string().contains("LGBM_BoosterLoadModelFromString")
    );

    let booster = train(parameters().with("no_such_parameter", 1)).unwrap();
    assert!(booster.warnings().iter().any(|warning| warning.contains("no_such_parameter")), "{:?}", booster.warnings());
}

#[test]
fn contradicting_sizes_are_refused_before_any_call() {
    let check = |what: &str, rows: &[f64], columns: usize, spec: DatasetSpec<'_>| {
        let error = Dataset::new(&library(), rows, columns, &spec, &parameters()).unwrap_err();
        assert!(matches!(&error, LightGbmError::Argument { what: found, .. } if *found == what), "{error}");
    };
    let rows = [0.0; 6];
    let two = DatasetSpec { labels: &[0.0, 1.0], ..DatasetSpec::default() };
    check("rows", &rows, 4, two);
    check("rows", &[], 3, two);
    check("rows", &rows, 0, two);
    check("labels", &rows, 3, DatasetSpec { labels: &[0.0], ..two });
    check("labels", &rows, 3, DatasetSpec { labels: &[0.0, f32::NAN], ..two });
    check("weights", &rows, 3, DatasetSpec { weights: Some(&[1.0]), ..two });
    check("weights", &rows, 3, DatasetSpec { weights: Some(&[1.0, -1.0]), ..two });
    check("groups", &rows, 3, DatasetSpec { groups: Some(&[1]), ..two });
    check("groups", &rows, 3, DatasetSpec { groups: Some(&[3, -1]), ..two });
    check("names", &rows, 3, DatasetSpec { names: Some(&[]), ..two });
    check("categorical", &rows, 3, DatasetSpec { categorical: &[3], ..two });
    let booster = train(&parameters(), 1);
    assert!(matches!(booster.predict(&rows[..4], Output::Raw), Err(LightGbmError::Argument { .. })));
}

#[test]
fn other_libraries_are_refused_by_name() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let error = Library::open(folder.as_ref()).unwrap_err();
    assert!(matches!(error, LightGbmError::NotFound { .. }), "{error}");
}
