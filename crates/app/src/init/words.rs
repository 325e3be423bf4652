//! What column names say.

/// Names of people and accounts that do something again and again.
const USERS: [&str; 14] = [
    "user",
    "customer",
    "client",
    "visitor",
    "member",
    "account",
    "buyer",
    "household",
    "reader",
    "listener",
    "patient",
    "subscriber",
    "shopper",
    "player",
];

/// Names of things that are chosen.
const ITEMS: [&str; 16] = [
    "item",
    "product",
    "sku",
    "article",
    "movie",
    "film",
    "song",
    "track",
    "book",
    "isbn",
    "asin",
    "stockcode",
    "show",
    "game",
    "recipe",
    "listing",
];

/// Names of times, the most telling first.
const TIMES: [&str; 12] =
    ["timestamp", "datetime", "time", "date", "ts", "at", "created", "day", "dt", "dteday", "when", "on"];

/// Names that only a label has.
const LABELS: [&str; 7] = ["label", "target", "y", "outcome", "response", "class", "ground"];

/// Names of what people often predict.
const PREDICTED: [&str; 28] = [
    "income",
    "churn",
    "churned",
    "default",
    "fraud",
    "survived",
    "click",
    "clicked",
    "conversion",
    "converted",
    "cnt",
    "count",
    "price",
    "sales",
    "rating",
    "score",
    "delay",
    "demand",
    "amount",
    "revenue",
    "salary",
    "cost",
    "quality",
    "diagnosis",
    "approved",
    "purchase",
    "purchased",
    "bought",
];

/// Names of parts of a date, which say when or of when, but are seldom predicted.
const CALENDAR: [&str; 10] = ["year", "yr", "month", "mnth", "quarter", "season", "week", "weekday", "hour", "minute"];

/// Names of a column that says which rows train.
const SPLITS: [&str; 7] = ["split", "part", "partition", "fold", "set", "subset", "usage"];

/// The words of a name: `userId`, `user_id` and `User ID` are `user` and `id`.
pub fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before_lower = false;
    for c in name.chars() {
        let begins = words.is_empty() || (c.is_uppercase() && before_lower);
        before_lower = c.is_lowercase() || c.is_numeric();
        match (c.is_alphanumeric(), begins) {
            (false, _) => words.push(String::new()),
            (true, true) => words.push(c.to_lowercase().collect()),
            (true, false) => {
                if let Some(word) = words.last_mut() {
                    word.extend(c.to_lowercase());
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn word_among<'w>(name: &str, known: &[&'w str]) -> Option<&'w str> {
    let words = words_of(name);
    known.iter().copied().find(|known| words.iter().any(|word| word == known))
}

/// Words that say that a column describes something of a user or item instead of naming it.
const ATTRIBUTES: [&str; 9] = ["feature", "type", "kind", "segment", "group", "age", "country", "category", "affinity"];

fn is_attribute(name: &str) -> bool {
    words_of(name).iter().any(|word| ATTRIBUTES.contains(&word.as_str()))
}

/// The word of `name` by which it names a user.
pub fn user_word(name: &str) -> Option<&'static str> {
    word_among(name, &USERS).filter(|_| !is_attribute(name))
}

/// The word of `name` by which it names an item.
pub fn item_word(name: &str) -> Option<&'static str> {
    word_among(name, &ITEMS).filter(|_| !is_attribute(name))
}

/// How telling `name` is of a time, from 0 for the most; `None` for not at all.
pub fn time_rank(name: &str) -> Option<usize> {
    let words = words_of(name);
    TIMES.iter().position(|known| words.iter().any(|word| word == known))
}

/// Whether `name` names a label, and by which word.
pub fn label_word(name: &str) -> Option<&'static str> {
    word_among(name, &LABELS)
}

/// The word of `name` that people often predict.
pub fn predicted_word(name: &str) -> Option<&'static str> {
    word_among(name, &PREDICTED)
}

/// Whether `name` names a part of a date.
pub fn is_calendar_name(name: &str) -> bool {
    word_among(name, &CALENDAR).is_some()
}

/// Whether `name` names a column of parts.
pub fn is_split_name(name: &str) -> bool {
    word_among(name, &SPLITS).is_some()
}

/// Whether `name` names an identifier.
pub fn is_id_name(name: &str) -> bool {
    word_among(name, &["id", "uuid", "guid", "key", "index", "instant", "row", "number", "no"]).is_some()
}

/// The part that a value of a split column means.
pub fn part_of(value: &str) -> Option<Part> {
    match value.to_lowercase().as_str() {
        "train" | "training" | "fit" => Some(Part::Train),
        "tune" | "tuning" | "valid" | "validation" | "val" | "dev" => Some(Part::Tune),
        "test" | "testing" | "report" | "eval" | "holdout" => Some(Part::Report),
        _ => None,
    }
}

/// A part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Rows that train.
    Train,
    /// Rows that tune.
    Tune,
    /// Rows that report.
    Report,
}
