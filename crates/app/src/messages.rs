//! How commands speak: results on stdout, everything else on stderr, colour and progress only where someone looks.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::pipeline::{Mistakes, Weight};

/// Where a command's words go.
#[derive(Debug, Clone)]
pub struct Terminal {
    json: bool,
    is_watched: bool,
    has_color: bool,
}

impl Terminal {
    /// Looks at stderr and at `NO_COLOR` (<https://no-color.org>) and `TERM`.
    #[must_use]
    pub fn detect(json: bool) -> Self {
        let is_watched = io::stderr().is_terminal();
        Terminal { json, is_watched, has_color: is_watched && !colors_refused() }
    }

    /// Whether results are asked for as JSON.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        self.json
    }

    /// Writes a result, ending its last line. A reader that has gone away (`| head`) is no failure.
    ///
    /// # Errors
    /// When stdout takes no text.
    pub fn result(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// Writes a result as indented JSON.
    ///
    /// # Errors
    /// When it cannot be serialized or stdout takes no text.
    pub fn result_json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        self.result(&serde_json::to_string_pretty(value)?)
    }

    /// How wide a result may be in columns, and whether it may have colors: as stdout's terminal is, 100 without colors
    /// when it is none. `COLUMNS` says otherwise.
    #[must_use]
    pub fn result_look(&self) -> (usize, bool) {
        let is_terminal = io::stdout().is_terminal();
        let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let seen = || console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        let width = told.or_else(|| seen().filter(|_| is_terminal)).unwrap_or(100);
        (width, is_terminal && !colors_refused())
    }

    /// Writes a message.
    pub fn say(&self, text: &str) {
        // A message that nobody can receive is no reason to stop.
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
    }

    /// Shows mistakes or warnings, and how many there are.
    pub fn mistakes(&self, mistakes: &Mistakes, weight: Weight) {
        if mistakes.mistakes.is_empty() {
            return;
        }
        let text = match self.is_watched {
            true => mistakes.render_graphical(weight, self.has_color),
            false => mistakes.render_plain(weight),
        };
        self.say(&format!("{text}{} in {}", mistakes.count(weight), mistakes.path.display()));
    }

    /// Says why a command failed: on stderr for people, with `--json` on stdout for programs too.
    pub fn failure(&self, error: &anyhow::Error) {
        let mistakes = error.downcast_ref::<Mistakes>();
        match mistakes {
            Some(mistakes) => self.mistakes(mistakes, Weight::Error),
            None => self.say(&format!("error: {}", chain(error))),
        }
        if self.json {
            let placed = mistakes.map(Mistakes::placed);
            let message = mistakes.map_or_else(|| chain(error), |mistakes| mistakes.count(Weight::Error));
            // The exit code says failure even when stdout is gone.
            let _ = self.result_json(&serde_json::json!({ "error": message, "mistakes": placed }));
        }
    }

    /// A bar for long work of `total` steps, or a spinner when the number is not known. Invisible unless stderr is a
    /// terminal; gone when it is dropped.
    #[must_use]
    pub fn progress(&self, what: &str, total: Option<u64>) -> ProgressBar {
        let target = if self.is_watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = match total {
            Some(total) => ProgressBar::with_draw_target(Some(total), target)
                .with_style(style("{msg} {wide_bar} {human_pos}/{human_len} {eta}")),
            None => ProgressBar::with_draw_target(None, target).with_style(style("{spinner} {msg} {human_pos}")),
        };
        if self.is_watched {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar.with_message(what.to_owned()).with_finish(indicatif::ProgressFinish::AndClear)
    }
}

fn colors_refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are valid")
}

/// The error and its causes, each once: libraries often repeat the cause in their own message.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
