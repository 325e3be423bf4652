use paceline_core::random::{Random, stream};
use paceline_core::{Rows, Scorer};
use paceline_lightgbm::{Output, Search};
use paceline_models::forest::Forest;
use rand::RngExt;

use super::*;

fn library() -> Library {
    let search = Search {
        environment: std::env::var_os("PACELINE_LIGHTGBM").map(Into::into),
        project: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../..").into()),
        ..Search::default()
    };
    search.open().unwrap_or_else(|error| panic!("{error}"))
}

const COLUMNS: usize = 5;

/// Owned training data; `view` borrows it.
struct Table {
    values: Vec<f64>,
    labels: Vec<f32>,
    names: Vec<String>,
    categorical: Vec<usize>,
    groups: Option<Vec<u32>>,
}

impl Table {
    /// Columns: a number with NaN, a count with many zeros, a number with tiny values around zero, a number without
    /// missing values, a category code.
    fn draw(seed: u64, row_count: usize) -> Self {
        let mut random = stream(seed, "forest test table");
        let mut values = Vec::new();
        let mut labels = Vec::new();
        for _ in 0..row_count {
            let missing = random.random_bool(0.3);
            let a = if missing { f64::NAN } else { random.random_range(-2.0..2.0) };
            let b = if random.random_bool(0.5) { 0.0 } else { f64::from(random.random_range(-3..9_i32)) };
            let c = random.random_range(-1.0..1.0) * 10_f64.powi(-random.random_range(0..4) * 12);
            let d: f64 = random.random_range(0.0..1.0);
            let category = random.random_range(0..40_u32);
            values.extend([a, b, c, d, f64::from(category)]);
            let signal = if missing { 0.6 } else { a } + 0.2 * b + c * d + if category % 7 < 3 { 0.8 } else { -0.4 };
            labels.push(signal as f32);
        }
        let names = ["a", "b", "c", "d", "category"].map(str::to_owned).to_vec();
        Table { values, labels, names, categorical: Vec::new(), groups: None }
    }

    fn map_labels(mut self, map: impl Fn(f32) -> f32) -> Self {
        self.labels.iter_mut().for_each(|label| *label = map(*label));
        self
    }

    fn view(&self) -> TrainingRows<'_> {
        TrainingRows {
            rows: Rows::new(&self.values, COLUMNS),
            labels: &self.labels,
            weights: None,
            groups: self.groups.as_deref(),
            names: &self.names,
            categorical: &self.categorical,
        }
    }
}

/// Values that a comparison can get wrong: the model's own thresholds and their neighbours, zeros, infinities, NaN.
fn hard_values(text: &str) -> Vec<f64> {
    let thresholds =
        text.lines().filter_map(|line| line.strip_prefix("threshold=")).flat_map(str::split_ascii_whitespace);
    let mut values = vec![f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e-36, -1e-36, 1e-35, -1e-35, 2e-35];
    values.extend([-0.5, -1.0, 1e10, 3e9, 2_147_483_647.0, 39.9, 40.0, f64::MIN_POSITIVE, f64::MAX]);
    for threshold in thresholds {
        let threshold: f64 = threshold.parse().unwrap();
        values.extend([threshold, threshold.next_up(), threshold.next_down(), -threshold]);
    }
    values
}

fn hard_rows(text: &str, row_count: usize, random: &mut Random) -> Vec<f64> {
    let values = hard_values(text);
    (0..row_count * COLUMNS)
        .map(|place| match random.random_range(0..4) {
            0 => random.random_range(-4.0..4.0),
            1 if place % COLUMNS == 4 => f64::from(random.random_range(0..45_u32)),
            _ => values[random.random_range(0..values.len())],
        })
        .collect()
}

/// Our scores of a model equal those of the library that wrote it: raw scores to the bit, outputs to a rounding of the
/// exponential.
#[track_caller]
fn check_equal(text: &str) {
    let booster = Booster::from_text(&library(), text).unwrap();
    let forest = Forest::from_lightgbm(text).unwrap();
    let values = hard_rows(text, 500, &mut stream(11, "hard rows"));
    let rows = Rows::new(&values, COLUMNS);
    let mut scores = vec![f64::NAN; rows.len()];

    forest.score_raw(rows, &mut scores);
    for ((row, ours), theirs) in rows.iter().zip(&scores).zip(booster.predict(&values, Output::Raw).unwrap()) {
        assert_eq!(ours.to_bits(), theirs.to_bits(), "raw score {ours} against {theirs} for {row:?}");
    }
    forest.score(rows, &mut scores);
    for ((row, ours), theirs) in rows.iter().zip(&scores).zip(booster.predict(&values, Output::Normal).unwrap()) {
        let equal = ours.to_bits() == theirs.to_bits() || (ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs.abs();
        assert!(equal, "output {ours} against {theirs} for {row:?}");
        let mut one = [f64::NAN];
        forest.score(Rows::new(row, COLUMNS), &mut one);
        assert_eq!(one[0].to_bits(), ours.to_bits(), "one row against a block");
    }
}

fn small(kind: ForestKind, objective: ForestObjective) -> ForestSpec {
    ForestSpec { trees: 30, leaves: 15, min_rows_in_leaf: 5, seed: 5, ..ForestSpec::new(kind, objective) }
}

fn labeled(objective: ForestObjective, seed: u64, row_count: usize) -> Table {
    let table = Table::draw(seed, row_count);
    match objective {
        ForestObjective::Binary => table.map_labels(|label| f32::from(u8::from(label > 0.3))),
        ForestObjective::CrossEntropy => table.map_labels(|label| 1.0 / (1.0 + (-label).exp())),
        ForestObjective::Regression => table,
        ForestObjective::LambdaRank | ForestObjective::RankXendcg => {
            let mut table = table.map_labels(|label| (label + 1.0).clamp(0.0, 4.0).floor());
            table.groups = Some(vec![row_count as u32 / 10; 10]);
            table
        }
    }
}

#[test]
fn every_kind_and_objective_scores_as_lightgbm_does() {
    use ForestKind::{Boosted, ExtraTrees, RandomForest};
    use ForestObjective::{Binary, CrossEntropy, LambdaRank, RankXendcg, Regression};
    for (kind, objective) in [
        (Boosted, Binary),
        (Boosted, CrossEntropy),
        (Boosted, Regression),
        (Boosted, LambdaRank),
        (Boosted, RankXendcg),
        (RandomForest, Binary),
        (RandomForest, CrossEntropy),
        (RandomForest, Regression),
        (ExtraTrees, Binary),
        (ExtraTrees, Regression),
    ] {
        let mut table = labeled(objective, 1, 1_000);
        table.categorical = if kind == ExtraTrees { Vec::new() } else { vec![4] };
        let text = fit(&library(), &small(kind, objective), table.view(), None).unwrap();
        assert_eq!(text.matches("\nTree=").count(), 30, "{kind:?} {objective:?}");
        check_equal(&text);
    }
}

/// Trains past [`ForestSpec`], with any of LightGBM's parameters.
fn train_with(set: &[(&str, &str)], categorical: &[usize]) -> String {
    let table = Table::draw(2, 1_500).map_labels(|label| label.exp());
    let mut parameters = Parameters::seeded(1).with("num_leaves", 31).with("min_data_in_leaf", 3);
    for (name, value) in set {
        parameters = parameters.with(name, *value);
    }
    let spec = DatasetSpec { labels: &table.labels, categorical, ..DatasetSpec::default() };
    let data = Dataset::new(&library(), &table.values, COLUMNS, &spec, &parameters).unwrap();
    Booster::train(&parameters, &data, &TrainSpec { rounds: 25, validation: None }).unwrap().to_text().unwrap()
}

#[test]
fn every_missing_type_and_transform_scores_as_lightgbm_does() {
    for objective in ["regression", "regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie"]
    {
        check_equal(&train_with(&[("objective", objective)], &[4]));
    }
    let text = train_with(&[("objective", "regression"), ("reg_sqrt", "true")], &[]);
    assert!(text.contains("objective=regression sqrt"));
    check_equal(&text);
    check_equal(&train_with(&[("objective", "regression"), ("zero_as_missing", "true")], &[]));
    check_equal(&train_with(&[("objective", "regression"), ("zero_as_missing", "true")], &[4]));
    check_equal(&train_with(&[("objective", "regression"), ("use_missing", "false")], &[4]));
    // More thresholds in a column than one slot holds, and large trees.
    check_equal(&train_with(&[("objective", "regression"), ("max_bin", "2000"), ("num_leaves", "400")], &[]));
}

#[test]
fn the_text_depends_on_the_seed_and_not_on_the_threads() {
    let table = labeled(ForestObjective::Binary, 3, 2_000);
    let text = |seed, threads| {
        let spec = ForestSpec { seed, threads, ..small(ForestKind::RandomForest, ForestObjective::Binary) };
        fit(&library(), &spec, table.view(), None).unwrap()
    };
    let one = text(1, 1);
    assert_eq!(one, text(1, 2), "threads");
    assert_ne!(one, text(2, 1), "seeds");
}

#[test]
fn a_validation_stops_the_training() {
    let table = labeled(ForestObjective::Binary, 4, 400);
    let other = labeled(ForestObjective::Binary, 5, 400);
    let spec = ForestSpec {
        trees: 500,
        leaves: 31,
        min_rows_in_leaf: 2,
        patience: 5,
        ..small(ForestKind::Boosted, ForestObjective::Binary)
    };
    let text = fit(&library(), &spec, table.view(), Some(other.view())).unwrap();
    let forest = Forest::from_lightgbm(&text).unwrap();
    assert!((1..400).contains(&forest.tree_count()), "{} trees", forest.tree_count());
    assert_eq!(forest.feature_names(), table.names);
}

#[test]
fn weights_count() {
    let table = labeled(ForestObjective::Regression, 6, 500);
    let weights: Vec<f32> = (0..500).map(|row| if row < 250 { 1.0 } else { 0.0 }).collect();
    let half = TrainingRows {
        rows: Rows::new(&table.values[..250 * COLUMNS], COLUMNS),
        labels: &table.labels[..250],
        ..table.view()
    };
    let spec = ForestSpec { trees: 1, leaves: 2, ..small(ForestKind::Boosted, ForestObjective::Regression) };
    let score = |training: TrainingRows<'_>| {
        let forest = Forest::from_lightgbm(&fit(&library(), &spec, training, None).unwrap()).unwrap();
        let mut scores = [0.0];
        forest.score(Rows::new(&table.values[..COLUMNS], COLUMNS), &mut scores);
        scores[0]
    };
    let weighted = score(TrainingRows { weights: Some(&weights), ..table.view() });
    // Rows without weight still shape the bins, so the split may move a little, but the mean cannot.
    assert!((weighted - score(half)).abs() < 0.2 * (weighted - score(table.view())).abs().max(0.05), "{weighted}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let check = |spec: &ForestSpec, training: TrainingRows<'_>, expected: &str| {
        let error = fit(&library(), spec, training, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} (expected {expected})");
    };
    let table = labeled(ForestObjective::Binary, 7, 50);
    let boosted = small(ForestKind::Boosted, ForestObjective::Binary);
    check(&ForestSpec { leaves: 1, ..boosted.clone() }, table.view(), "leaves = 1");
    check(&ForestSpec { trees: 0, ..boosted.clone() }, table.view(), "trees = 0");
    check(&ForestSpec { learning_rate: f64::NAN, ..boosted.clone() }, table.view(), "learning_rate = NaN");
    check(&ForestSpec { feature_fraction: 0.0, ..boosted.clone() }, table.view(), "feature_fraction = 0");
    let whole = ForestSpec { kind: ForestKind::RandomForest, ..boosted.clone() };
    check(&whole, table.view(), "whose trees would else be equal");
    check(&small(ForestKind::ExtraTrees, ForestObjective::LambdaRank), table.view(), "lambdarank");
    check(&small(ForestKind::Boosted, ForestObjective::LambdaRank), table.view(), "groups");
    check(&boosted, TrainingRows { groups: Some(&[50]), ..table.view() }, "groups");
    let mut labels = table.labels.clone();
    labels[3] = 0.5;
    check(&boosted, TrainingRows { labels: &labels, ..table.view() }, "0.5 in row 3");
    let other = Table::draw(1, 10);
    let narrow = TrainingRows { rows: Rows::new(&other.values[..10], 1), ..other.view() };
    let error = fit(&library(), &boosted, table.view(), Some(narrow)).unwrap_err().to_string();
    assert!(error.contains("1 columns, training has 5"), "{error}");
}
