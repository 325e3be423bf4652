//! `paceline check`: all mistakes of a pipeline at once, and what its sources hold.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Outcome;
use crate::messages::Terminal;
use crate::pipeline::mistake::split_help;
use crate::pipeline::rows::check_rows;
use crate::pipeline::{Goal, Mistakes, Pipeline, PipelineFile, SourceInput, Teacher, Weight};
use crate::tables::profile::SourceProfile;

/// Find all mistakes of a pipeline at once: in the file, in its expressions and in the tables that it names.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
}

/// What was found.
struct Report {
    pipeline: Option<Pipeline>,
    profiles: Vec<SourceProfile>,
    mistakes: Mistakes,
    warnings: Mistakes,
}

/// Checks a pipeline and prints what its sources hold. Mistakes are [`Outcome::Failure`].
///
/// # Errors
/// When the pipeline file cannot be read.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let report = check(PipelineFile::read(&arguments.pipeline)?, terminal);
    terminal.mistakes(&report.warnings, Weight::Warning);
    terminal.mistakes(&report.mistakes, Weight::Error);
    let is_right = report.mistakes.mistakes.is_empty();
    if terminal.wants_json() {
        terminal.result_json(&json!({
            "ok": is_right,
            "name": report.pipeline.as_ref().map(|pipeline| &pipeline.name),
            "digest": report.pipeline.as_ref().filter(|_| is_right).map(Pipeline::digest),
            "mistakes": report.mistakes.placed(),
            "warnings": report.warnings.placed(),
            "sources": report.profiles,
        }))?;
    } else {
        let sources: String = report.profiles.iter().map(describe_source).collect();
        let summary = report.pipeline.as_ref().filter(|_| is_right).map(describe_pipeline).unwrap_or_default();
        terminal.result(&format!("{sources}{summary}"))?;
    }
    Ok(if is_right { Outcome::Success } else { Outcome::Failure })
}

/// Rows are only read once the file itself is right: until then it is not known which rows are meant.
fn check(mut file: PipelineFile, terminal: &Terminal) -> Report {
    let schemas = file.read_schemas();
    let (pipeline, warnings) = match file.check(Some(&schemas)) {
        Ok(checked) => checked,
        Err(mistakes) => {
            return Report { pipeline: None, profiles: Vec::new(), mistakes, warnings: file.answer(Vec::new()) };
        }
    };
    let mut mistakes = Vec::new();
    let mut profiles = Vec::new();
    for source in &pipeline.sources {
        let progress = terminal.progress(&format!("reading {}", source.place()), None);
        match SourceProfile::read(source, file.folder(), |rows| progress.inc(rows)) {
            Ok(profile) => profiles.push(profile),
            Err(error) => {
                let (message, help) = split_help(&format!("{}", error.root_cause()));
                let key = match source.input {
                    SourceInput::Files { .. } => "path",
                    SourceInput::Database { .. } => "adbc",
                };
                mistakes.push(file.mistake(&["sources", &source.name, key], message, help));
            }
        }
    }
    let found = check_rows(&file, &pipeline, &profiles);
    mistakes.extend(found.mistakes);
    let warnings = [warnings, found.warnings].concat();
    Report { pipeline: Some(pipeline), profiles, mistakes: file.answer(mistakes), warnings: file.answer(warnings) }
}

fn describe_source(profile: &SourceProfile) -> String {
    let mut text = format!("[sources.{}] {} rows", profile.name, grouped(profile.rows_read));
    if profile.rows != profile.rows_read {
        write!(text, ", {} kept by `where`", grouped(profile.rows)).expect("a string takes all");
    }
    match profile.event_time {
        Some(range) => writeln!(text, ", {} to {}", range.first, range.last),
        None => writeln!(text, ", no times"),
    }
    .expect("a string takes all");
    let width = profile.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
    for column in &profile.columns {
        let kind = column.kind.map_or_else(|| "unreadable".to_owned(), |kind| kind.to_string());
        let share = 100.0 * column.nulls as f64 / profile.rows.max(1) as f64;
        let mut notes = Vec::new();
        if column.nulls > 0 {
            notes.push(format!("{} null ({share:.1} %)", grouped(column.nulls)));
        }
        if column.nans > 0 {
            notes.push(format!("{} NaN in the files", grouped(column.nans)));
        }
        if column.is_constant {
            notes.push("one value only".to_owned());
        }
        writeln!(text, "  {:width$}  {kind:14}  {}", column.name, notes.join(", ")).expect("a string takes all");
    }
    // Columns without notes end in blanks otherwise.
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

fn describe_pipeline(pipeline: &Pipeline) -> String {
    let features: usize = pipeline.views.iter().map(|view| view.features.len()).sum();
    let mut parts = vec![
        counted(features, "feature"),
        counted(pipeline.views.len(), "view"),
        counted(pipeline.request_features.len(), "request feature"),
    ];
    if let Some(model) = &pipeline.model {
        let teachers = match &model.teacher {
            Teacher::Train(teachers) => counted(teachers.len(), "teacher"),
            Teacher::Import(path) => format!("the model {path}"),
        };
        let what = match &model.goal {
            Goal::Recommend(goal) => format!("recommends {}", goal.item),
            Goal::Rank(rows) => format!("ranks by {}", rows.label),
            Goal::Classify(rows) => format!("classifies {}", rows.label),
            Goal::Regress(rows) => format!("predicts {}", rows.label),
        };
        parts.push(format!("{what} with {teachers}, measured by {}", model.metric));
    }
    format!("{} is right: {}\n", pipeline.name, parts.join(", "))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A count with commas between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
