//! What is guessed about tables with known roles, and about real ones.

use std::path::{Path, PathBuf};

use super::{Table, propose};
use crate::pipeline::PipelineFile;

/// What `init` writes for a table; it must pass the check of any pipeline file.
fn proposed(location: &Path, label: Option<&str>) -> String {
    let table = Table::read(&location.display().to_string()).unwrap();
    let text = propose(&table, label).unwrap().to_toml("test", &location.display().to_string());
    let mut file = PipelineFile::parse(Path::new("pipeline.toml"), text.clone());
    let schemas = file.read_schemas();
    if let Err(mistakes) = file.check(Some(&schemas)) {
        panic!("{mistakes}\n\n{text}");
    }
    text
}

fn proposed_for_csv(csv: &str, label: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    std::fs::write(&path, csv).unwrap();
    proposed(&path, label)
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// A table of the shared data, or `None` with a printed reason.
fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path);
    if !path.exists() {
        println!("skipped: {} is missing", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn census_rows_are_classified_by_their_own_split() {
    let Some(path) = shared("adult/adult.parquet") else { return };
    has(
        &proposed(&path, None),
        &[
            "columns.income_is_class = \"income = '>50K'\"",
            "task = \"classify\"",
            "label = \"income_is_class\"",
            "[split.column]\nname = \"split\"",
            "train = [\"train\"]",
            "report = [\"test\"]",
            "tune_fraction = 0.25",
            "native_country = { kind = \"target\" }",
            "sex = { kind = \"one_hot\" }",
        ],
    );
}

#[test]
fn parts_of_the_rental_count_leak_into_it() {
    let Some(path) = shared("bike-sharing/hour.parquet") else { return };
    has(
        &proposed(&path, None),
        &[
            "event_time = \"dteday\"",
            "label = \"cnt\"",
            "task = \"regress\"",
            "# \"casual\",   left out: LEAK?",
            "# \"registered\",   left out: LEAK?",
            "# \"instant\",   left out: it numbers the rows",
            "\"temp\",",
        ],
    );
}

#[test]
fn what_is_recorded_after_landing_leaks_into_the_delay() {
    let Some(path) = shared("nycflights13-100k/flights.parquet") else { return };
    has(
        &proposed(&path, None),
        &[
            "event_time = \"time_hour\"",
            "time_unit = \"s\"",
            "label = \"arr_delay\"",
            "where = \"arr_delay is not null\"",
            "# \"dep_delay\",   left out: LEAK?",
            "# \"dep_time\",   left out: LEAK?",
            "# \"arr_time\",   left out: LEAK?",
            "# \"air_time\",   left out: LEAK?",
            "# \"year\",   left out: all rows have the same",
            "\"sched_dep_time\",",
        ],
    );
}

#[test]
fn sales_and_ratings_are_recommended_from() {
    if let Some(path) = shared("online-retail-ii/transactions.parquet") {
        has(
            &proposed(&path, None),
            &[
                "task = \"recommend\"",
                "user = \"user_id\"",
                "item = \"item_id\"",
                "event_time = \"timestamp\"",
                "where = \"user_id is not null and quantity > 0 and price > 0\"",
                "columns.amount = \"quantity * price\"",
                "report_until = \"2011-12-01\"",
            ],
        );
    }
    if let Some(path) = shared("movielens-small/ratings.parquet") {
        has(&proposed(&path, None), &["task = \"recommend\"", "user = \"user_id\"", "item = \"item_id\""]);
    }
}

#[test]
fn a_column_that_names_the_class_in_no_order_is_found() {
    // Codes 0, 2, 4 mean one class and 1, 3, 5 the other; their order says nothing.
    let rows: String = (0..600).map(|row| format!("{},{},{}\n", row % 6, row * 7 % 100, row % 6 % 2)).collect();
    has(
        &proposed_for_csv(&format!("code,noise,target\n{rows}"), None),
        &["# \"code\",   left out: LEAK? alone it (nearly) knows \"target\": AUC 1.000", "  \"noise\","],
    );
}

#[test]
fn differences_are_found_and_honest_columns_stay() {
    let rows: String = (0..500)
        .map(|row| {
            let (gross, cost, weather) = (row * 37 % 211, row * 53 % 97, row * 11 % 13);
            format!("{gross},{cost},{weather},{}\n", gross - cost)
        })
        .collect();
    let text = proposed_for_csv(&format!("gross,cost_then,weather,profit\n{rows}"), Some("profit"));
    has(&text, &["# \"gross\",   left out: LEAK?", "# \"cost_then\",   left out: LEAK?", "  \"weather\","]);
}

#[test]
fn repeated_customers_get_a_history_or_stay_in_one_part() {
    let timed: String = (0..300)
        .map(|row| format!("{},{},{},2024-01-{:02}\n", row % 20, row * 7 % 31, row * 13 % 7 % 2, 1 + row / 10))
        .collect();
    has(
        &proposed_for_csv(&format!("customer_id,age,churned,day\n{timed}"), None),
        &[
            "[features.history]",
            "entity = [\"customer_id\"]",
            "# \"customer_id\",   left out: it names a customer",
            "train_until = \"2024-01-19\"",
            "report_until = \"2024-01-31\"",
        ],
    );
    let untimed: String = (0..300).map(|row| format!("{},{},{}\n", row % 20, row * 7 % 31, row * 13 % 7 % 2)).collect();
    has(
        &proposed_for_csv(&format!("customer_id,age,churned\n{untimed}"), None),
        &["[split.random]", "group = \"customer_id\""],
    );
}

#[test]
fn difficult_names_are_quoted() {
    let rows: String =
        (0..60).map(|row| format!("{},{},{}\n", row * 7 % 13, ["it's", "no", "no"][row % 3], row * 3 % 11)).collect();
    let text = proposed_for_csv(&format!("\"Größe, \"\"cm\"\"\",Is Label,order\n{rows}"), Some("Is Label"));
    has(&text, &["columns.is_label_is_class = \"\\\"Is Label\\\" = 'it''s'\""]);
}

#[test]
fn what_cannot_be_predicted_is_refused_with_advice() {
    let refused = |csv: &str, label: Option<&str>, part: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, csv).unwrap();
        let table = Table::read(&path.display().to_string()).unwrap();
        let message = propose(&table, label).expect_err(part).to_string();
        assert!(message.contains(part), "{message}");
    };
    refused("a,b\n1,x\n2,y\n3,z\n", Some("c"), "the table has no column \"c\"");
    refused("a,b\n1,x\n2,y\n3,z\n", Some("b"), "\"b\" has 3 texts, and a label has two classes");
    refused("a,b\n1,5\n2,5\n3,5\n", Some("b"), "there is nothing to predict");
    refused("a,b\nx,u\ny,v\nz,w\n", None, "name one with --label COLUMN");
    refused("a,b\n1,0\n2,1\n3,0\n", Some("b"), "no column is left");
}

#[test]
fn a_list_of_items_is_told_from_what_happened() {
    let rows: String = (0..60).map(|row| format!("{row},Title {row},{},{}\n", row * 7 % 13, 1990 + row % 30)).collect();
    let propose_csv = |head: &str, label: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("items.csv");
        std::fs::write(&path, format!("{head}\n{rows}")).unwrap();
        propose(&Table::read(&path.display().to_string()).unwrap(), label)
    };
    for head in ["item_id,title,weight,year", "movie,title,year,weight", "item_id,title,shelf,imdbId"] {
        let message = propose_csv(head, None).expect_err(head).to_string();
        assert!(message.contains("stands once and no column looks like a time or a label"), "{head}: {message}");
    }
    // Where a name says so, or the user does, there is something to predict.
    has(&propose_csv("item_id,title,price,year", None).unwrap().to_toml("t", "items.csv"), &["label = \"price\""]);
    has(&propose_csv("item_id,title,age,year", Some("year")).unwrap().to_toml("t", "items.csv"), &["label = \"year\""]);
    for table in ["movielens-small/items.parquet", "movietweetings-100k/items.parquet"] {
        let Some(path) = shared(table) else { continue };
        let table = Table::read(&path.display().to_string()).unwrap();
        let message = propose(&table, None).expect_err("a list of movies").to_string();
        assert!(message.contains("each \"item_id\" stands once"), "{message}");
    }
}

#[test]
fn samples_are_even_and_bounded() {
    let rows: String = (0..250_001).map(|row| format!("{row}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    std::fs::write(&path, format!("n\n{rows}")).unwrap();
    let table = Table::read(&path.display().to_string()).unwrap();
    assert_eq!((table.rows_read, table.rows), (250_001, 125_001));
    let numbers = table.columns[0].numbers().unwrap();
    assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == 2.0), "every second row, in order");
    assert_eq!(table.columns[0].range(), Some((0.0, 250_000.0)));
}
