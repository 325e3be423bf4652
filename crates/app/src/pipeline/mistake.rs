//! Mistakes in a pipeline file: where, what, and what to try.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Severity};
use serde::Serialize;

/// Something wrong, or only suspicious, at one place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Bytes of the file that it is about.
    pub span: Range<usize>,
    /// Dotted path of the key, such as `features.user.ttl`; empty for the whole file.
    pub key: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

/// All mistakes of one file, in the order of the file.
#[derive(Debug, Clone)]
pub struct Mistakes {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

/// A mistake with its place in lines and columns, for `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlacedMistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path of the key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How much a list of mistakes weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The pipeline cannot run.
    Error,
    /// It can, but perhaps not as meant.
    Warning,
}

impl Mistakes {
    /// Sorts `mistakes` by place; those of one place stay in their order. Equal ones are kept once.
    #[must_use]
    pub fn new(path: PathBuf, text: String, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span.start);
        let mut seen = HashSet::new();
        mistakes.retain(|mistake| seen.insert((mistake.span.clone(), mistake.message.clone())));
        Mistakes { path, text, mistakes }
    }

    /// Lines and columns for `--json`.
    #[must_use]
    pub fn placed(&self) -> Vec<PlacedMistake> {
        let place = |mistake: &Mistake| {
            let (line, column) = line_and_column(&self.text, mistake.span.start);
            let Mistake { key, message, help, .. } = mistake.clone();
            PlacedMistake { line, column, key, message, help }
        };
        self.mistakes.iter().map(place).collect()
    }

    /// One line per mistake, `file:line:column: error: message`, its help below, no count.
    #[must_use]
    pub fn render_plain(&self, weight: Weight) -> String {
        let mut out = String::new();
        for PlacedMistake { line, column, message, help, .. } in self.placed() {
            let file = self.path.display();
            writeln!(out, "{file}:{line}:{column}: {}: {message}", weight.word()).expect("a string takes all");
            if let Some(help) = help {
                writeln!(out, "  help: {help}").expect("a string takes all");
            }
        }
        out
    }

    /// Each mistake under the line that it is about, for a terminal.
    #[must_use]
    pub fn render_graphical(&self, weight: Weight, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_context_lines(1);
        let source = NamedSource::new(self.path.display().to_string(), self.text.clone());
        let mut out = String::new();
        for mistake in &self.mistakes {
            let severity = match weight {
                Weight::Error => Severity::Error,
                Weight::Warning => Severity::Warning,
            };
            let label = LabeledSpan::new_primary_with_span(None, mistake.span.clone());
            let mut diagnostic = MietteDiagnostic::new(&mistake.message).with_severity(severity).with_label(label);
            diagnostic.help.clone_from(&mistake.help);
            let report = miette::Report::new(diagnostic).with_source_code(source.clone());
            if handler.render_report(&mut out, report.as_ref()).is_err() {
                return self.render_plain(weight);
            }
        }
        out
    }

    /// `3 mistakes`, `1 warning`.
    #[must_use]
    pub fn count(&self, weight: Weight) -> String {
        let noun = match weight {
            Weight::Error => "mistake",
            Weight::Warning => "warning",
        };
        let count = self.mistakes.len();
        format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
    }
}

impl Weight {
    fn word(self) -> &'static str {
        match self {
            Weight::Error => "error",
            Weight::Warning => "warning",
        }
    }
}

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.render_plain(Weight::Error), self.count(Weight::Error))
    }
}

impl std::error::Error for Mistakes {}

/// Line and column of byte `offset`, both from 1, the column in characters.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A message of another crate as message and advice: what follows its first semicolon says what to try.
#[must_use]
pub fn split_help(message: &str) -> (String, Option<String>) {
    match message.split_once("; ") {
        Some((what, help)) => (what.to_owned(), Some(help.to_owned())),
        None => (message.to_owned(), None),
    }
}

/// `did you mean ...`, for a word that may be a typo of one of `known`; otherwise the known words.
#[must_use]
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match known.len() {
        0 => None,
        1..=24 => Some(format!("known: {}", known.join(", "))),
        count => Some(format!("{count} are known, such as {}", known[..12].join(", "))),
    }
}

/// The one of `known` that `word` is probably a typo of: at most a third of its letters are wrong.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= candidate.chars().count().max(word.chars().count()).max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
