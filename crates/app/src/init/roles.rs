//! What each column is for.

use anyhow::{anyhow, bail};
use paceline_core::{Period, Timestamp};
use paceline_features::expression::Type;

use super::Guess;
use super::leakage::{Label, suspicion};
use super::table::{Column, Table, Values};
use super::time::{TimeColumn, guess_time, times_of};
use super::words::{
    Part, is_calendar_name, is_id_name, is_split_name, item_word, label_word, part_of, predicted_word, user_word,
    words_of,
};
use super::write::{identifier, sql_text};
use crate::pipeline::Task;
use crate::pipeline::mistake::suggest;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// A text column with at most this many values gets a 0/1 column for each.
const ONE_HOT_MAX: usize = 16;

/// A pipeline that was guessed.
#[derive(Debug)]
pub struct Proposal {
    /// The event time.
    pub time: Option<Guess<TimeColumn>>,
    /// Conditions that rows must meet, joined by `and`.
    pub conditions: Vec<Guess<String>>,
    /// Derived columns: name and expression.
    pub derived: Vec<(String, Guess<String>)>,
    /// Feature views.
    pub views: Vec<ProposedView>,
    /// What is predicted.
    pub goal: ProposedGoal,
    /// Which rows train, tune and report.
    pub split: Guess<ProposedSplit>,
}

/// Windowed aggregates of one entity.
#[derive(Debug)]
pub struct ProposedView {
    /// Its name.
    pub name: String,
    /// Its key column.
    pub entity: Guess<String>,
    /// Name, aggregate, column and window in days.
    pub features: Vec<(String, &'static str, Option<String>, u32)>,
}

/// What is predicted.
#[derive(Debug)]
pub enum ProposedGoal {
    /// What each user takes up next.
    Recommend {
        /// Key column of users.
        user: Guess<String>,
        /// Key column of items.
        item: Guess<String>,
        /// How far ahead.
        horizon: Guess<Period>,
    },
    /// A column of the rows.
    Rows {
        /// Classify or regress.
        task: Task,
        /// The label's column, which may be derived.
        label: Guess<String>,
        /// Every other column.
        inputs: Vec<Input>,
    },
}

/// A column that the model may see.
#[derive(Debug)]
pub struct Input {
    /// Its name.
    pub column: String,
    /// What the model makes of it.
    pub role: InputRole,
}

/// What the model makes of a column.
#[derive(Debug, PartialEq, Eq)]
pub enum InputRole {
    /// It reads the numbers.
    Number,
    /// It reads what an encoder makes of the texts.
    Encoded(Guess<&'static str>),
    /// It does not see it, and why.
    LeftOut(String),
}

/// Which rows train, tune and report.
#[derive(Debug)]
pub enum ProposedSplit {
    /// By time.
    Time {
        /// Rows before it train.
        train_until: Timestamp,
        /// Rows before it tune.
        tune_until: Timestamp,
        /// Rows before it report.
        report_until: Timestamp,
    },
    /// By the values of a column.
    Column {
        /// The column.
        column: String,
        /// Values of training rows.
        train: Vec<String>,
        /// Values of tuning rows; without any, a share of the training rows tunes.
        tune: Vec<String>,
        /// Values of report rows.
        report: Vec<String>,
    },
    /// By a seeded draw, rows of one group together.
    Random {
        /// The group's column.
        group: Option<String>,
    },
}

/// Guesses a pipeline for `table`; `label` is the column to predict, if the user named it.
///
/// # Errors
/// When no column can be predicted, or the named one cannot.
pub fn propose(table: &Table, label: Option<&str>) -> anyhow::Result<Proposal> {
    if let Some(name) = label
        && table.column(name).is_none()
    {
        let known = table.columns.iter().map(|column| column.name.as_str());
        let help = suggest(name, known).map(|help| format!("; {help}")).unwrap_or_default();
        bail!("--label: the table has no column {name:?}{help}");
    }
    let time = guess_time(table);
    if label.is_none()
        && let Some(time) = &time
        && let Some((user, item)) = guess_user_and_item(table)
    {
        let recommender = propose_recommender(table, time.clone(), user, item);
        // Logs of a few days, such as shown items and clicks, still have something to predict row by row.
        return recommender.or_else(|too_short| propose_rows(table, Some(time.clone()), None).map_err(|_| too_short));
    }
    propose_rows(table, time, label)
}

fn guess_user_and_item(table: &Table) -> Option<(Guess<String>, Guess<String>)> {
    let is_key = |column: &&Column| matches!(column.kind, Type::Int | Type::Text) && column.distinct > 1;
    // Keys of transactions repeat: in a table of users each user stands once.
    let repeats = |column: &&Column| column.distinct * 2 <= column.known();
    let mut keys = table.columns.iter().filter(is_key).filter(repeats);
    let user = keys.clone().find_map(|column| Some((column, user_word(&column.name)?)))?;
    let item =
        keys.find_map(|column| Some((column, item_word(&column.name).filter(|_| column.name != user.0.name)?)))?;
    let guess = |(column, word): (&Column, &str)| {
        let reason = format!("{} values that repeat, and its name says {word:?}", column.distinct);
        Guess::new(column.name.clone(), reason)
    };
    Some((guess(user), guess(item)))
}

fn propose_recommender(
    table: &Table,
    time: Guess<TimeColumn>,
    user: Guess<String>,
    item: Guess<String>,
) -> anyhow::Result<Proposal> {
    let days = time.value.span_seconds() / SECONDS_PER_DAY;
    let horizon = match days {
        days if days >= 270.0 => Guess::new(Period::Months(1), "a calendar month ahead, for the data spans many"),
        days if days >= 63.0 => Guess::new(Period::days(7), "a week ahead, for the data spans few months"),
        days if days >= 9.0 => Guess::new(Period::days(1), "a day ahead, for the data spans few weeks"),
        _ => bail!(
            "{:?} and {:?} look like users and items, but the times of {:?} span {days:.1} days, too few to recommend \
             from; name a column to predict with --label",
            user.value,
            item.value,
            time.value.name
        ),
    };
    let mut conditions = not_null(table, [&time.value.name, &user.value, &item.value]);
    let quantity = positive_only(table, &["quantity", "qty"], "those below are returns or corrections");
    let price = positive_only(table, &["price", "amount"], "those are gifts or corrections");
    conditions.extend([&quantity, &price].into_iter().flatten().filter_map(|(_, condition)| condition.clone()));
    let mut derived = Vec::new();
    if let (Some((quantity, _)), Some((price, _))) = (&quantity, &price)
        && table.column("amount").is_none()
    {
        let expression = format!("{} * {}", identifier(quantity), identifier(price));
        derived.push(("amount".to_owned(), Guess::new(expression, "what a row is worth")));
    }
    let numbers = numeric_measures(table, &time.value.name, [&user.value, &item.value]);
    let split = recommender_split(&time.value, horizon.value);
    Ok(Proposal {
        conditions,
        views: vec![
            view("user", &user, Some(&item.value), &numbers, days),
            view("item", &item, Some(&user.value), &numbers, days),
        ],
        derived,
        goal: ProposedGoal::Recommend { user, item, horizon },
        split,
        time: Some(time),
    })
}

/// The first column with one of these words, and the condition that keeps its positive rows where there are others.
fn positive_only(table: &Table, words: &[&str], why: &str) -> Option<(String, Option<Guess<String>>)> {
    let is_meant = |column: &&Column| words_of(&column.name).iter().any(|word| words.contains(&word.as_str()));
    let column = table.columns.iter().filter(|column| matches!(column.kind, Type::Int | Type::Float)).find(is_meant)?;
    let (low, _) = column.range()?;
    let reason = format!("{:?} is also 0 or below: {why}", column.name);
    let condition = (low <= 0.0).then(|| Guess::new(format!("{} > 0", identifier(&column.name)), reason));
    Some((column.name.clone(), condition))
}

fn not_null<'c>(table: &Table, columns: impl IntoIterator<Item = &'c String>) -> Vec<Guess<String>> {
    let condition = |name: &String| {
        let column = table.column(name)?;
        let share = 100.0 * column.nulls as f64 / table.rows as f64;
        let reason = format!("{share:.1} % of the rows have no {name:?}");
        (column.nulls > 0).then(|| Guess::new(format!("{} is not null", identifier(name)), reason))
    };
    columns.into_iter().filter_map(condition).collect()
}

/// At most three columns of numbers whose mean says something.
fn numeric_measures(table: &Table, time: &str, keys: [&String; 2]) -> Vec<String> {
    let is_measure = |column: &&Column| {
        matches!(column.kind, Type::Int | Type::Float | Type::Bool)
            && column.distinct > 1
            && column.name != time
            && !keys.contains(&&column.name)
            && !is_id_name(&column.name)
    };
    table.columns.iter().filter(is_measure).take(3).map(|column| column.name.clone()).collect()
}

/// Counts over short and long windows that the data can fill, distinct `others`, and means of `numbers`.
fn view(name: &str, entity: &Guess<String>, others: Option<&String>, numbers: &[String], days: f64) -> ProposedView {
    let windows: Vec<u32> = [1, 7, 30, 90, 365].into_iter().filter(|window| f64::from(*window) <= days / 2.0).collect();
    let windows = if windows.is_empty() { vec![1] } else { windows };
    let longest = windows[windows.len() - 1];
    let mut features = Vec::new();
    for window in windows.iter().rev().take(3).rev() {
        features.push((format!("rows_{window}d"), "count", None, *window));
        if let Some(others) = others {
            let plural = if name == "user" { "items" } else { "users" };
            features.push((format!("{plural}_{window}d"), "count_distinct", Some(others.clone()), *window));
        }
    }
    for number in numbers {
        features.push((format!("{}_mean_{longest}d", plain(number)), "mean", Some(number.clone()), longest));
    }
    features.push(("since_last".to_owned(), "seconds_since_last", None, longest));
    ProposedView { name: name.to_owned(), entity: entity.clone(), features }
}

/// A name that can stand in an expression.
fn plain(name: &str) -> String {
    words_of(name).join("_")
}

fn recommender_split(time: &TimeColumn, horizon: Period) -> Guess<ProposedSplit> {
    let (_, last) = time.range();
    let report_until = match horizon {
        Period::Months(_) => month_of(last),
        Period::Micros(_) => day_of(last),
    };
    let tune_until = report_until - horizon;
    let train_until = tune_until - horizon - horizon;
    Guess::new(
        ProposedSplit::Time { train_until, tune_until, report_until },
        "the last full label window reports, the two before it tune",
    )
}

fn day_of(at: Timestamp) -> Timestamp {
    let day = Period::days(1);
    (at + Period::Micros(1)).last_scheduled_before(day).unwrap_or(at)
}

fn month_of(at: Timestamp) -> Timestamp {
    let first = at.year_month().and_then(|(year, month)| format!("{year:04}-{month:02}-01").parse().ok());
    first.unwrap_or_else(|| day_of(at))
}

fn propose_rows(table: &Table, time: Option<Guess<TimeColumn>>, label: Option<&str>) -> anyhow::Result<Proposal> {
    let split_column = guess_split_column(table);
    let label_guess = match label {
        Some(name) => Guess::new(name.to_owned(), "you named it"),
        None => guess_label(table, time.as_ref(), split_column.as_ref())?,
    };
    let column = table.column(&label_guess.value).ok_or_else(|| anyhow!("the label was taken from the table"))?;
    let time = time.filter(|time| time.value.name != column.name);
    let (task, label_name, derived) = task_of(column, &label_guess)?;
    let mut conditions = not_null(table, [&column.name]);
    conditions.extend(time.iter().flat_map(|time| not_null(table, [&time.value.name])));
    let numbers =
        Label { name: column.name.clone(), values: label_numbers(column, task), is_class: task == Task::Classify };
    let used = [Some(&column.name), time.as_ref().map(|time| &time.value.name), split_column.as_ref().map(|s| &s.0)];
    let others = table.columns.iter().filter(|other| !used.contains(&Some(&other.name)));
    let inputs: Vec<Input> =
        others.map(|other| Input { column: other.name.clone(), role: role_of(table, other, &numbers) }).collect();
    if inputs.iter().all(|input| matches!(input.role, InputRole::LeftOut(_))) {
        bail!("no column is left to predict {:?} from; name another column with --label", column.name);
    }
    let group = table.columns.iter().find(|other| {
        matches!(other.kind, Type::Int | Type::Text)
            && user_word(&other.name).is_some()
            && other.distinct * 2 <= other.known()
    });
    let views = match (&time, group) {
        (Some(time), Some(group)) if group.name != column.name => {
            let reason = format!("{} values that repeat, and its name says so", group.distinct);
            let entity = Guess::new(group.name.clone(), reason);
            vec![view("history", &entity, None, &[], time.value.span_seconds() / SECONDS_PER_DAY)]
        }
        _ => Vec::new(),
    };
    let split = rows_split(split_column, time.as_ref().map(|time| &time.value), group.map(|group| group.name.clone()));
    let label = Guess::new(label_name, label_guess.reason);
    Ok(Proposal { time, conditions, derived, views, goal: ProposedGoal::Rows { task, label, inputs }, split })
}

type PartValues = [Vec<String>; 3];

fn guess_split_column(table: &Table) -> Option<(String, PartValues)> {
    table.columns.iter().filter(|column| is_split_name(&column.name) && column.nulls == 0).find_map(|column| {
        let texts = column.texts().filter(|texts| texts.len() <= 16)?;
        let mut values = PartValues::default();
        for text in texts {
            values[part_of(text)? as usize].push(text.clone());
        }
        let complete = !values[Part::Train as usize].is_empty() && !values[Part::Report as usize].is_empty();
        complete.then(|| (column.name.clone(), values))
    })
}

fn guess_label(
    table: &Table,
    time: Option<&Guess<TimeColumn>>,
    split: Option<&(String, PartValues)>,
) -> anyhow::Result<Guess<String>> {
    let mut best: Option<(u32, Guess<String>)> = None;
    for (index, column) in table.columns.iter().enumerate() {
        let is_taken = time.is_some_and(|time| time.value.name == column.name)
            || split.is_some_and(|(name, _)| *name == column.name);
        let is_two_valued = column.distinct == 2;
        let is_predictable =
            column.distinct > 1 && (column.kind != Type::Text || is_two_valued) && column.kind != Type::Timestamp;
        if is_taken || !is_predictable || user_word(&column.name).is_some() || item_word(&column.name).is_some() {
            continue;
        }
        // The place alone makes no label of an identifier or of a year.
        let is_last = index + 1 == table.columns.len() && !is_id_name(&column.name) && !is_calendar_name(&column.name);
        let mut score = u32::from(is_last);
        let mut reasons = Vec::new();
        if let Some(word) = label_word(&column.name) {
            (score, reasons) = (score + 10, vec![format!("its name says {word:?}")]);
        } else if let Some(word) = predicted_word(&column.name) {
            (score, reasons) = (score + 6, vec![format!("{word:?} is often predicted")]);
        }
        if is_two_valued {
            score += 2;
            reasons.push("it has two values".to_owned());
        }
        if is_last {
            reasons.push("it is the last column".to_owned());
        }
        // Of two equal ones the later is taken: what happens later tends to stand later.
        if score > 0 && best.as_ref().is_none_or(|(other, _)| score >= *other) {
            best = Some((score, Guess::new(column.name.clone(), reasons.join(", and "))));
        }
    }
    // In a list of items or users the last column is a property like the others.
    let list = if time.is_none() { listed(table) } else { None };
    match (best, list) {
        (Some((score, guess)), list) if score > 1 || list.is_none() => Ok(guess),
        (_, Some((column, word))) => bail!(
            "each {column:?} stands once and no column looks like a time or a label, so the table lists what each {word} is \
             like; give `init` the table of what happened, with users, items and times or with a label, or name a column \
             to predict with --label COLUMN"
        ),
        (_, None) => bail!("no column looks like a label; name one with --label COLUMN"),
    }
}

/// The column of a user or item each of which has a row of its own, with the word that says so.
fn listed(table: &Table) -> Option<(&str, &'static str)> {
    let named = |column: &Column| item_word(&column.name).or_else(|| user_word(&column.name));
    let stands_once = |column: &&Column| column.nulls == 0 && column.distinct == table.rows && table.rows > 1;
    table.columns.iter().filter(stands_once).find_map(|column| Some((column.name.as_str(), named(column)?)))
}

/// The task of a label, the column that carries it, and how that is derived.
type LabelPlan = (Task, String, Vec<(String, Guess<String>)>);

fn task_of(column: &Column, guess: &Guess<String>) -> anyhow::Result<LabelPlan> {
    let name = column.name.as_str();
    match (column.kind, &column.values) {
        (Type::Bool, _) if column.distinct == 2 => Ok((Task::Classify, name.to_owned(), Vec::new())),
        (Type::Timestamp, _) => {
            bail!("{name:?} is a column of times, which cannot be predicted; derive a number from it")
        }
        (_, Values::Numbers(_)) if column.distinct < 2 => {
            bail!("{name:?} has {} values, so there is nothing to predict", column.distinct)
        }
        (_, Values::Numbers(_)) if column.distinct == 2 => {
            let (low, high) = column.range().unwrap_or_default();
            if (low, high) == (0.0, 1.0) {
                return Ok((Task::Classify, name.to_owned(), Vec::new()));
            }
            let expression = format!("{} = {high}", identifier(name));
            Ok(derived_class(name, expression, format!("the larger of its two values, {low} and {high}")))
        }
        (_, Values::Numbers(_)) => Ok((Task::Regress, name.to_owned(), Vec::new())),
        (_, Values::Texts { distinct, codes }) if distinct.len() == 2 => {
            let second = codes.iter().flatten().filter(|code| **code == 1).count();
            let rarer = &distinct[usize::from(second * 2 <= column.known())];
            let expression = format!("{} = {}", identifier(name), sql_text(rarer));
            Ok(derived_class(name, expression, format!("the rarer of its two values, {rarer:?}")))
        }
        (_, Values::Texts { distinct, .. }) => bail!(
            "{:?} has {} texts, and a label has two classes; derive one, such as columns.is_first = \"{} = {}\", and name it",
            guess.value,
            distinct.len(),
            identifier(name),
            sql_text(distinct.first().map_or("", String::as_str))
        ),
    }
}

fn derived_class(name: &str, expression: String, reason: String) -> LabelPlan {
    let derived = format!("{}_is_class", plain(name));
    (Task::Classify, derived.clone(), vec![(derived, Guess::new(expression, reason))])
}

fn label_numbers(column: &Column, task: Task) -> Vec<f64> {
    let (_, high) = column.range().unwrap_or_default();
    match &column.values {
        Values::Numbers(numbers) if task == Task::Classify => {
            numbers.iter().map(|number| if number.is_nan() { f64::NAN } else { f64::from(*number == high) }).collect()
        }
        Values::Numbers(numbers) => numbers.clone(),
        Values::Texts { codes, .. } => codes.iter().map(|code| code.map_or(f64::NAN, f64::from)).collect(),
    }
}

fn role_of(table: &Table, column: &Column, label: &Label) -> InputRole {
    let left_out = |reason: &str| InputRole::LeftOut(reason.to_owned());
    if column.known() == 0 {
        return left_out("it has no value in any row");
    }
    if column.distinct == 1 && column.nulls == 0 {
        return left_out("all rows have the same");
    }
    if column.kind == Type::Timestamp || (column.kind == Type::Text && times_of(column).is_some()) {
        return left_out("it is a time; derive numbers from it, such as hour(...)");
    }
    if column.distinct == column.known() && counts_up(column) {
        return left_out("it numbers the rows");
    }
    if let Some(word) = user_word(&column.name).filter(|_| is_id_name(&column.name)) {
        return InputRole::LeftOut(format!("it names a {word}, of whom a model would learn nothing about others"));
    }
    if let Some(reason) = suspicion(table, column, label) {
        return InputRole::LeftOut(format!("LEAK? {reason}"));
    }
    let Values::Texts { distinct, .. } = &column.values else { return InputRole::Number };
    match distinct.len() {
        count if count * 2 > column.known() => left_out("most rows have a text of their own"),
        count if count <= ONE_HOT_MAX => InputRole::Encoded(Guess::new("one_hot", format!("{count} values"))),
        count => InputRole::Encoded(Guess::new("target", format!("{count} values, too many for a column each"))),
    }
}

fn counts_up(column: &Column) -> bool {
    column.kind == Type::Int && column.numbers().is_some_and(|numbers| numbers.is_sorted_by(|a, b| a < b))
}

fn rows_split(
    column: Option<(String, PartValues)>,
    time: Option<&TimeColumn>,
    group: Option<String>,
) -> Guess<ProposedSplit> {
    if let Some((column, [train, tune, report])) = column {
        let reason = format!("{column:?} says which rows train and which test");
        return Guess::new(ProposedSplit::Column { column, train, tune, report }, reason);
    }
    let Some(time) = time else {
        let reason = match &group {
            Some(group) => format!("no column says when a row happened; rows of one {group:?} stay together"),
            None => "no column says when a row happened".to_owned(),
        };
        return Guess::new(ProposedSplit::Random { group }, reason);
    };
    let (_, last) = time.range();
    let by_day = time.span_seconds() > 20.0 * SECONDS_PER_DAY;
    let cut = |share: f64| if by_day { day_of(time.quantile(share)) } else { time.quantile(share) };
    let (train_until, tune_until) = (cut(0.6), cut(0.8));
    let report_until = if by_day { day_of(last) + Period::days(1) } else { last + Period::Micros(1) };
    if time.range().0 < train_until && train_until < tune_until && tune_until <= last {
        let split = ProposedSplit::Time { train_until, tune_until, report_until };
        return Guess::new(
            split,
            "60 % of the rows train, 20 % tune and the last 20 % report: a model serves the future",
        );
    }
    let reason = format!("{:?} has too few distinct times to split by", time.name);
    Guess::new(ProposedSplit::Random { group }, reason)
}
