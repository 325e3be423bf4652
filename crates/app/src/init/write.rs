//! A proposal as the text of a pipeline file.

use std::fmt::Write as _;

use paceline_core::Timestamp;

use super::Guess;
use super::roles::{Input, InputRole, Proposal, ProposedGoal, ProposedSplit, ProposedView};
use super::time::unit_word;
use crate::pipeline::Task;

/// The source's name in a proposed pipeline.
const SOURCE: &str = "rows";

impl Proposal {
    /// The pipeline file, called `name`, for the table at `path`.
    #[must_use]
    pub fn to_toml(&self, name: &str, path: &str) -> String {
        let mut text = Text(String::new());
        text.line("# Written by `paceline init` from a look at the table. Each guess has its reason beside it:");
        text.line("# read them, correct what is wrong, then run `paceline check` on this file.");
        text.line("");
        text.line(&format!("name = {}", quote(name)));
        text.line("");
        self.write_source(&mut text, path);
        for view in &self.views {
            write_view(&mut text, view, self.has_schedule());
        }
        self.write_goal(&mut text);
        self.write_split(&mut text);
        text.line("[optimize]");
        text.line("keep = 0.97      # lower end of the 95 % interval of retention");
        text.line("p99_ms = 10      # 99th percentile of one request on one thread");
        text.0
    }

    fn write_source(&self, text: &mut Text, path: &str) {
        text.line(&format!("[sources.{SOURCE}]"));
        text.line(&format!("path = {}", quote(path)));
        match &self.time {
            Some(time) => {
                text.reasoned(&format!("event_time = {}", quote(&time.value.name)), &time.reason);
                if let Some(unit) = time.value.unit {
                    text.line(&format!("time_unit = {}", quote(unit_word(unit))));
                }
            }
            None => text.line("# No column looks like the time at which a row happened."),
        }
        for condition in &self.conditions {
            text.line(&format!("# {}: {}", condition.value, condition.reason));
        }
        if !self.conditions.is_empty() {
            let all: Vec<&str> = self.conditions.iter().map(|condition| condition.value.as_str()).collect();
            text.line(&format!("where = {}", quote(&all.join(" and "))));
        }
        for (name, expression) in &self.derived {
            text.reasoned(&format!("columns.{} = {}", key(name), quote(&expression.value)), &expression.reason);
        }
        text.line("");
    }

    /// Views of a recommender are recomputed daily, as its lists are.
    fn has_schedule(&self) -> bool {
        matches!(self.goal, ProposedGoal::Recommend { .. })
    }

    fn write_goal(&self, text: &mut Text) {
        text.line("[model]");
        match &self.goal {
            ProposedGoal::Recommend { user, item, horizon } => {
                text.reasoned(
                    "task = \"recommend\"",
                    "users, items and times: the table looks like what users took up",
                );
                text.reasoned(&format!("user = {}", quote(&user.value)), &user.reason);
                text.reasoned(&format!("item = {}", quote(&item.value)), &item.reason);
                let label =
                    format!("label = {{ source = \"{SOURCE}\", horizon = \"{}\", new_only = true }}", horizon.value);
                text.reasoned(&label, &format!("items new to the user, {}", horizon.reason));
                text.line("teacher = [{ kind = \"lightgbm\" }, { kind = \"als\" }]");
                text.line("");
            }
            ProposedGoal::Rows { task, label, inputs } => {
                let why = match task {
                    Task::Classify => "the label has two values",
                    Task::Regress | Task::Rank | Task::Recommend => "the label is a number",
                };
                text.reasoned(&format!("task = {}", quote(task.name())), why);
                text.line(&format!("source = \"{SOURCE}\""));
                text.reasoned(&format!("label = {}", quote(&label.value)), &label.reason);
                text.line("teacher = [{ kind = \"lightgbm\" }]");
                text.line("columns = [");
                for input in inputs {
                    text.line(&format!("  {}", column_line(input)));
                }
                text.line("]");
                text.line("");
                write_encoders(text, inputs);
            }
        }
    }

    fn write_split(&self, text: &mut Text) {
        let Guess { value, reason } = &self.split;
        match value {
            ProposedSplit::Time { train_until, tune_until, report_until } => {
                text.line("[split]");
                text.line(&format!("# {}", one_line(reason)));
                text.line(&format!("train_until = {}", quote(&date(*train_until))));
                text.line(&format!("tune_until = {}", quote(&date(*tune_until))));
                text.line(&format!("report_until = {}", quote(&date(*report_until))));
            }
            ProposedSplit::Column { column, train, tune, report } => {
                text.line("[split.column]");
                text.reasoned(&format!("name = {}", quote(column)), reason);
                text.line(&format!("train = {}", list(train)));
                match tune.is_empty() {
                    true => text.reasoned("tune_fraction = 0.25", "no value says which rows tune"),
                    false => text.line(&format!("tune = {}", list(tune))),
                }
                text.line(&format!("report = {}", list(report)));
            }
            ProposedSplit::Random { group } => {
                text.line("[split.random]");
                text.line(&format!("# {}", one_line(reason)));
                if let Some(group) = group {
                    text.line(&format!("group = {}", quote(group)));
                }
                text.line("fractions = [0.6, 0.2, 0.2]   # train, tune, report");
            }
        }
        text.line("");
    }
}

fn write_view(text: &mut Text, view: &ProposedView, scheduled: bool) {
    text.line(&format!("[features.{}]", key(&view.name)));
    text.line(&format!("source = \"{SOURCE}\""));
    text.reasoned(&format!("entity = [{}]", quote(&view.entity.value)), &view.entity.reason);
    if scheduled {
        text.reasoned("schedule = \"1d\"", "recomputed daily; training sees the same age");
    }
    for (name, aggregate, of, days) in &view.features {
        let of = of.as_ref().map(|of| format!(", of = {}", quote(of))).unwrap_or_default();
        text.line(&format!("{} = {{ agg = \"{aggregate}\"{of}, window = \"{days}d\" }}", key(name)));
    }
    text.line("");
}

fn column_line(input: &Input) -> String {
    let column = quote(&input.column);
    match &input.role {
        InputRole::Number | InputRole::Encoded(_) => format!("{column},"),
        InputRole::LeftOut(reason) => format!("# {column},   left out: {}", one_line(reason)),
    }
}

fn write_encoders(text: &mut Text, inputs: &[Input]) {
    let mut encoded = inputs.iter().filter_map(|input| match &input.role {
        InputRole::Encoded(encoder) => Some((&input.column, encoder)),
        InputRole::Number | InputRole::LeftOut(_) => None,
    });
    let Some(first) = encoded.next() else { return };
    text.line("[encode]");
    for (column, encoder) in std::iter::once(first).chain(encoded) {
        text.reasoned(&format!("{} = {{ kind = \"{}\" }}", key(column), encoder.value), &encoder.reason);
    }
    text.line("");
}

struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        writeln!(self.0, "{line}").expect("a string takes all");
    }

    fn reasoned(&mut self, line: &str, reason: &str) {
        self.line(&format!("{line}   # {}", one_line(reason)));
    }
}

/// Text for a comment: column names may hold line breaks, which would end it.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Midnight as a date, any other time in full.
fn date(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
}

fn list(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(", "))
}

/// A TOML key, in quotes where it needs them.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { quote(name) }
}

/// A TOML text.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).expect("a string takes all"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A column in a SQL expression, in quotes where its name is no plain word or could be one of the language.
#[must_use]
pub fn identifier(name: &str) -> String {
    const OF_THE_LANGUAGE: [&str; 24] = [
        "all", "and", "any", "as", "between", "by", "case", "cast", "date", "else", "end", "false", "from", "group",
        "in", "is", "like", "not", "null", "or", "order", "then", "true", "when",
    ];
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && !OF_THE_LANGUAGE.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A SQL text.
#[must_use]
pub fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
