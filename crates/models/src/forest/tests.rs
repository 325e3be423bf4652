use super::*;

/// Two trees over two columns: a numerical split of each missing type and a categorical one.
const MODEL: &str = "tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=regression
feature_names=price kind
feature_infos=[0:9] 0:1:33
tree_sizes=400 300

Tree=0
num_leaves=4
num_cat=1
split_feature=0 1 0
split_gain=1 1 1
threshold=2.5 0 0
decision_type=10 1 4
left_child=1 -1 -2
right_child=2 -3 -4
leaf_value=1 2 4 8
leaf_weight=1 1 1 1
leaf_count=1 1 1 1
internal_value=0 0 0
internal_weight=0 0 0
internal_count=4 2 2
cat_boundaries=0 2
cat_threshold=1 2
is_linear=0
shrinkage=1


Tree=1
num_leaves=1
num_cat=0
split_feature=
split_gain=
threshold=
decision_type=
left_child=
right_child=
leaf_value=100
leaf_weight=
leaf_count=
internal_value=
internal_weight=
internal_count=
is_linear=0
shrinkage=1


end of trees

feature_importances:
price=2

parameters:
[boosting: gbdt]
end of parameters
";

fn score(text: &str, row: [f64; 2]) -> f64 {
    let forest = Forest::from_lightgbm(text).unwrap();
    let mut scores = [f64::NAN];
    forest.score(Rows::new(&row, 2), &mut scores);
    scores[0]
}

#[test]
fn splits_follow_their_definition() {
    // Category set of the first tree: words 1 and 2, so categories 0 and 33.
    for (row, expected) in [
        ([2.5, 0.0], 101.0),
        ([2.5, 33.9], 101.0),
        ([2.5, 1.0], 104.0),
        ([2.5, f64::NAN], 104.0),
        ([2.5, -1.0], 104.0),
        ([2.5, 1e30], 104.0),
        // NaN goes left by default at the root.
        ([f64::NAN, 33.0], 101.0),
        // Right of the root only values above 2.5 arrive, which lie above the zero threshold.
        ([2.6, 0.0], 108.0),
        ([f64::INFINITY, 0.0], 108.0),
    ] {
        assert_eq!(score(MODEL, row), expected, "{row:?}");
    }
    let forest = Forest::from_lightgbm(MODEL).unwrap();
    assert_eq!((forest.tree_count(), forest.leaf_count(), forest.column_count()), (2, 5, 2));
    assert_eq!(forest.feature_names(), ["price", "kind"]);
}

#[test]
fn zero_as_missing_follows_the_default_direction() {
    // The root becomes a split with missing type zero: decision 4 sends zero and NaN right, 6 left.
    for (decision, zero) in [("4", 108.0), ("6", 101.0)] {
        let text = MODEL.replace("decision_type=10", &format!("decision_type={decision}"));
        for missing in [0.0, -0.0, f64::NAN, 1e-36, -1e-36] {
            assert_eq!(score(&text, [missing, 0.0]), zero, "{decision} {missing}");
        }
        assert_eq!(score(&text, [1e-34, 0.0]), 101.0);
    }
    // Missing type none reads NaN as zero.
    assert_eq!(score(&MODEL.replace("decision_type=10", "decision_type=0"), [f64::NAN, 0.0]), 101.0);
}

#[test]
fn averages_and_transforms() {
    let averaged = MODEL.replace("objective=", "average_output\nobjective=");
    assert_eq!(score(&averaged, [2.5, 0.0]), 50.5);
    for (objective, expected) in [
        ("regression sqrt", 50.5 * 50.5),
        ("poisson", 50.5_f64.exp()),
        ("lambdarank", 50.5),
        ("cross_entropy", 1.0),
        ("cross_entropy_lambda", 50.5),
        ("binary sigmoid:0.001", 1.0 / (1.0 + (-0.0505_f64).exp())),
    ] {
        let text = averaged.replace("objective=regression", &format!("objective={objective}"));
        let found = score(&text, [2.5, 0.0]);
        assert!((found - expected).abs() <= 1e-12 * expected, "{objective}: {found}, expected {expected}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(MODEL.contains(from), "{from}");
        let error = Forest::from_lightgbm(&MODEL.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{from} -> {to}: {error} (expected {expected})");
    };
    check("tree\n", "mojo\n", "line 1, \"tree\": a LightGBM model begins with");
    check("version=v4", "version=v9", "line 2: format version \"v9\" is not supported");
    check("num_class=1", "num_class=3", "line 3: a model of 3 outputs");
    check("objective=regression", "objective=multiclassova", "objective \"multiclassova\" is not supported");
    check("objective=regression", "objective=binary sigmoid:-1", "sigmoid \"-1\"");
    check("max_feature_idx=1", "max_feature_idx=-1", "line 6, \"max_feature_idx\"");
    check("max_feature_idx=1", "max_feature_idx=18446744073709551615", "limit is 1048576");
    check("price kind", "price", "\"feature_names\": 1 names");
    check("tree_sizes=400 300", "tree_sizes=1 2 3", "3 trees are announced, 2 follow");
    check("Tree=1", "Tree=2", "\"Tree=1 or end of trees\"");
    check("num_leaves=4", "num_leaves=0", "at least one leaf");
    check("num_leaves=4", "num_leaves=5", "\"leaf_value\": 4 numbers, expected 5");
    check("num_leaves=4", "num_leaves=999999999", "the limit is 131072");
    check("split_feature=0 1 0", "split_feature=0 2 0", "feature 2 of 2");
    check("threshold=2.5 0 0", "threshold=nan 0 0", "node 0: NaN");
    check("threshold=2.5 0 0", "threshold=2.5 1 0", "names set 1 of 1");
    check("threshold=2.5 0 0", "threshold=2.5 -1 0", "names set -1");
    check("threshold=2.5 0 0", "threshold=2.5x 0 0", "\"2.5x\" is not a number");
    check("decision_type=10", "decision_type=14", "unknown missing type");
    check("left_child=1 -1 -2", "left_child=0 -1 -2", "does not come after its parent");
    check("left_child=1 -1 -2", "left_child=2 -1 -2", "node 2 has two parents");
    check("left_child=1 -1 -2", "left_child=1 -1 -9", "leaf 8 does not exist");
    check("left_child=1 -1 -2", "left_child=1 -1 -9223372036854775808", "does not exist");
    check("leaf_value=1 2 4 8", "leaf_value=1 2 inf 8", "inf is not finite");
    check("leaf_value=1 2 4 8", "leaf_value=1 2 4 8\nleaf_value=1", "twice");
    check("cat_boundaries=0 2", "cat_boundaries=0 3", "\"cat_threshold\": 2 numbers, expected 3");
    check("cat_boundaries=0 2", "cat_boundaries=2 0", "ascend");
    check("cat_boundaries=0 2", "cat_boundaries=0 99999999999", "limit is");
    check("is_linear=0", "is_linear=1", "a linear tree is not supported");
    check("decision_type=10 1 4", "", "\"decision_type\": the line is missing");
}

#[test]
fn no_cut_and_no_damage_panics() {
    // Every cut before the end of the trees is an error, not another model.
    let end = MODEL.find("end of trees").unwrap();
    for cut in 0..end {
        assert!(Forest::from_lightgbm(&MODEL[..cut]).is_err(), "cut at byte {cut}");
    }
    // Any byte replaced: an error or a model, but no panic.
    for place in 0..end {
        for byte in [b'0', b'9', b'-', b' ', b'=', b'\n', b'e'] {
            let mut damaged = MODEL.as_bytes().to_vec();
            damaged[place] = byte;
            if let Ok(forest) = Forest::from_lightgbm(std::str::from_utf8(&damaged).unwrap()) {
                let values = vec![1.0; forest.column_count()];
                forest.score(Rows::new(&values, forest.column_count()), &mut [0.0]);
            }
        }
    }
}
