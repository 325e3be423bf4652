use crate::views::Views;
use std::sync::Arc;

use paceline_core::value::encode_values;
use paceline_core::{OnlineStore, Timestamp, Value};
use paceline_features::expression::Type;
use serde_json::{Value as Json, json};

use super::{FeatureError, FeatureRequest, FeatureSet, KeyColumn, OnlineFeatures, ServedView};
use crate::recommend::artifact::RequestFeature;
use crate::recommend::tables::{ViewColumn, ViewColumns};
use crate::testing::{MemoryStore, PIPELINE};

fn column(name: &str, kind: Type, missing: Value) -> ViewColumn {
    ViewColumn { name: name.into(), kind, missing }
}

/// Users with orders, a price and the time of their first row; items with a price.
pub(crate) fn set() -> FeatureSet {
    let view = |name: &str, key: &str, columns: Vec<ViewColumn>| ServedView {
        columns: ViewColumns { name: name.into(), columns },
        entity: vec![KeyColumn { name: key.into(), is_number: true }],
        is_pushed: false,
    };
    let user = vec![
        column("orders", Type::Int, Value::Int(0)),
        column("price", Type::Float, Value::Null),
        column("first", Type::Timestamp, Value::Null),
    ];
    let expression = |name: &str, text: &str| RequestFeature { name: name.to_owned(), expression: text.to_owned() };
    FeatureSet {
        views: vec![
            view("user", "user_id", user),
            view("item", "item_id", vec![column("price", Type::Float, Value::Null)]),
        ],
        request_features: vec![
            expression("ratio", "item.price / user.price"),
            expression("twice", "2 * request.ratio"),
            expression("discount", "item.price - offer"),
            expression("age_s", "extract(epoch from time) - extract(epoch from user.first)"),
        ],
        ..FeatureSet::default()
    }
}

fn features(store: &Arc<MemoryStore>) -> OnlineFeatures {
    features_of(store, set())
}

fn features_of(store: &Arc<MemoryStore>, set: FeatureSet) -> OnlineFeatures {
    let user = |orders: i64, price: Value| encode_values(&[Value::Int(orders), price, Value::Int(5_000_000)]);
    let price = |price: f64| encode_values(&[Value::Float(price)]);
    store.write("shop.user", Timestamp(20_000_000), vec![(1, user(3, Value::Float(2.0))), (2, user(1, Value::Null))]);
    store.write("shop.item", Timestamp(30_000_000), vec![(100, price(5.0)), (101, price(7.0))]);
    OnlineFeatures::new(PIPELINE.to_owned(), set, Views::of_store(PIPELINE, Arc::clone(store) as Arc<dyn OnlineStore>))
}

fn ask(features: &OnlineFeatures, request: Json) -> Result<Json, FeatureError> {
    let request: FeatureRequest = serde_json::from_value(request).expect("the form of a request");
    let answer = features.answer(&request, Timestamp(65_000_000))?;
    Ok(serde_json::to_value(answer).expect("JSON"))
}

#[test]
fn values_statuses_and_times_stand_in_columns() {
    let features = features(&Arc::default());
    let answer = ask(
        &features,
        json!({"features": ["user:price", "user:orders", "user:first"], "entities": {"user_id": [2, 9, 1, null]}}),
    );
    let answer = answer.expect("known features");
    assert_eq!(answer["metadata"]["feature_names"], json!(["user_id", "price", "orders", "first"]));
    let times = json!(["1970-01-01T00:00:20Z", "1970-01-01T00:00:20Z", "1970-01-01T00:00:20Z", "1970-01-01T00:00:20Z"]);
    let column =
        |values: Json, statuses: Json| json!({"values": values, "statuses": statuses, "event_timestamps": times});
    assert_eq!(answer["results"][0]["values"], json!([2, 9, 1, null]));
    assert_eq!(answer["results"][0]["statuses"], json!(["PRESENT", "PRESENT", "PRESENT", "NULL_VALUE"]));
    let found = |known: &str| json!([known, "NOT_FOUND", "PRESENT", "NOT_FOUND"]);
    assert_eq!(answer["results"][1], column(json!([null, null, 2.0, null]), found("NULL_VALUE")));
    assert_eq!(
        answer["results"][2],
        column(json!([1, 0, 3, 0]), found("PRESENT")),
        "a count of an unknown entity is 0"
    );
    let first = "1970-01-01T00:00:05Z";
    assert_eq!(answer["results"][3], column(json!([first, null, first, null]), found("PRESENT")));
}

#[test]
fn request_time_features_read_views_fields_and_the_time() {
    let features = features(&Arc::default());
    let names = ["request:ratio", "request:twice", "request:discount", "request:age_s"];
    let answer = ask(
        &features,
        json!({
            "features": names, "full_feature_names": true,
            "entities": {"user_id": [1, 2, 1], "item_id": [100, 100, 999]}, "request_context": {"offer": [1, 1.5, 2]},
        }),
    );
    let answer = answer.expect("everything is given");
    let shown = ["item_id", "user_id", "request__ratio", "request__twice", "request__discount", "request__age_s"];
    assert_eq!(answer["metadata"]["feature_names"], json!(shown));
    let values = |at: usize| &answer["results"][at]["values"];
    assert_eq!(values(2), &json!([2.5, null, null]));
    assert_eq!(values(3), &json!([5.0, null, null]));
    assert_eq!(values(4), &json!([4.0, 3.5, null]));
    assert_eq!(values(5), &json!([60.0, 60.0, 60.0]));
    assert_eq!(answer["results"][2]["statuses"], json!(["PRESENT", "NULL_VALUE", "NULL_VALUE"]));
    assert_eq!(answer["results"][2]["event_timestamps"][0], "1970-01-01T00:00:20Z", "the oldest view");
}

#[test]
fn a_view_that_is_only_pushed_makes_no_request_time_feature_old() {
    let mut set = set();
    set.views[0].is_pushed = true;
    let features = features_of(&Arc::default(), set);
    let asked = json!({"features": ["request:ratio"], "entities": {"user_id": [1], "item_id": [100]}});
    let answer = ask(&features, asked).expect("both keys are given");
    assert_eq!(answer["results"][2]["event_timestamps"], json!(["1970-01-01T00:00:30Z"]), "that of the items");
}

#[test]
fn a_field_called_time_is_not_the_time_of_the_request() {
    let features = features(&Arc::default());
    let ask = |time: Json| {
        ask(
            &features,
            json!({"features": ["request:age_s"], "entities": {"user_id": [1]}, "request_context": {"time": [time]}}),
        )
    };
    let refused = ask(json!("1970-01-01T00:00:06Z")).expect_err("a text").to_string();
    assert!(refused.contains("\"age_s\" cannot be computed"), "{refused}");
}

#[test]
fn a_service_is_a_view_or_all_views_whose_keys_are_given() {
    let features = features(&Arc::default());
    let names = |service: &str| {
        let answer = ask(&features, json!({"feature_service": service, "entities": {"user_id": [1]}}));
        answer.map(|answer| answer["metadata"]["feature_names"].clone())
    };
    assert_eq!(names("user").expect("a view"), json!(["user_id", "orders", "price", "first"]));
    assert_eq!(names("shop").expect("the pipeline"), json!(["user_id", "orders", "price", "first"]));
    assert!(names("shops").expect_err("neither").to_string().contains("there are user, item, and shop for all"));
}

#[test]
fn mistakes_name_what_is_wrong() {
    let store = Arc::new(MemoryStore::default());
    let features = features(&store);
    let check = |request: Json, part: &str| {
        let error = ask(&features, request).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    let user = json!({"user_id": [1]});
    check(json!({"features": ["user.price"], "entities": user}), "is not VIEW:FEATURE");
    check(json!({"features": ["users:price"], "entities": user}), "no view \"users\"; there are: user, item");
    check(json!({"features": ["user:prices"], "entities": user}), "no \"prices\"; there are: orders, price, first");
    check(json!({"features": ["request:x"], "entities": user}), "there are: ratio, twice, discount, age_s");
    check(json!({"features": ["item:price"], "entities": user}), "`entities` lacks \"item_id\", a key column of view");
    check(
        json!({"features": ["user:price"], "entities": {"user_id": ["1"]}}),
        "entities[\"user_id\"][0] is \"1\", not",
    );
    check(json!({"features": ["user:price"], "entities": {}}), "`entities` is empty");
    check(json!({"features": ["user:price"], "entities": {"user_id": [1], "x": [1, 2]}}), "\"x\" has 2");
    check(json!({"features": [], "entities": user}), "no feature is asked for");
    check(json!({"entities": user}), "either `features` or `feature_service`");
    check(json!({"features": ["user:price"], "entities": {"user_id": vec![1; 10_001]}}), "at most 10000");
    check(
        json!({"features": ["user:price", "item:price"], "entities": {"user_id": [1], "item_id": [100]}}),
        "two columns of the answer would be called \"price\"",
    );
    check(json!({"features": ["request:ratio"], "entities": user}), "\"ratio\" cannot be computed: ");
    check(
        json!({"features": ["request:discount"], "entities": {"item_id": [100, 100]}, "request_context": {"offer": [1, "x"]}}),
        "\"offer\": value 1, \"x\", is of another type",
    );
    check(
        json!({"features": ["request:discount"], "entities": {"item_id": [100]}, "request_context": {"offer": [[1]]}}),
        "is no single value",
    );
    store.set_down(true);
    check(json!({"features": ["user:price"], "entities": user}), "features cannot be fetched");
}

#[test]
fn pushed_rows_are_checked_and_read_at_once() {
    use super::{PushError, PushRequest};
    let features = features(&Arc::default());
    let now = Timestamp(65_000_000);
    let request = |rows: Json| -> PushRequest {
        serde_json::from_value(json!({"view": "user", "rows": rows})).expect("the form of a push")
    };
    let row =
        json!({"user_id": 1, "time": "1970-01-01T00:00:40Z", "orders": 9, "price": 4, "first": "1970-01-01T00:00:06Z"});
    let checked = features.check_push(&request(json!([row])), now).expect("it fits");
    features.push(&checked).expect("the store is up");
    let asked = json!({"features": ["user:orders", "user:price", "user:first"], "entities": {"user_id": [1, 2]}});
    let answer = ask(&features, asked).expect("known features");
    assert_eq!(answer["results"][1]["values"], json!([9, 1]));
    assert_eq!(answer["results"][2]["values"], json!([4.0, null]), "a whole number is a float where one is declared");
    let times = json!(["1970-01-01T00:00:40Z", "1970-01-01T00:00:20Z"]);
    assert_eq!(answer["results"][3]["event_timestamps"], times);

    let many: Vec<Json> = (0..150).map(|_| json!({"user_id": 1})).collect();
    match features.check_push(&request(many.into()), now) {
        Err(PushError::Rows { count, mistakes }) => assert_eq!((count, mistakes.len()), (600, 100)),
        other => panic!("{other:?}"),
    }
    for (rows, part) in [(json!([]), "0 rows"), (vec![row; 1_001].into(), "1001 rows; a push has 1 to 1000")] {
        let error = features.check_push(&request(rows), now).expect_err("a wrong number of rows");
        assert!(error.to_string().contains(part), "{error}");
    }
}
