//! `[sources.*]`.

use std::path::Path;

use paceline_core::Period;

use super::Checker;
use crate::pipeline::checked::{NamedExpression, Source, SourceInput};
use crate::pipeline::raw::{Format, RawSource};

impl Checker<'_> {
    pub(super) fn sources(&mut self) -> Vec<Source> {
        let raw = self.raw;
        if raw.sources.is_empty() && self.tree.get("sources").is_some_and(|node| node.is_empty_table()) {
            self.mistake(&["sources"], "[sources] is empty".to_owned(), "declare a table, such as [sources.sales]");
        }
        raw.sources.iter().filter_map(|(name, source)| self.source(name, source)).collect()
    }

    fn source(&mut self, name: &str, raw: &RawSource) -> Option<Source> {
        self.name_is_plain(&["sources", name], "a source");
        self.times(name, raw);
        for column in raw.columns.keys() {
            self.name_is_plain(&["sources", name, "columns", column], "a column");
        }
        let input = self.input(name, raw)?;
        let columns = raw
            .columns
            .iter()
            .map(|(name, expression)| NamedExpression { name: name.clone(), expression: expression.clone() });
        Some(Source {
            name: name.to_owned(),
            input,
            event_time: raw.event_time.clone(),
            time_unit: raw.time_unit,
            available_time: raw.available_time.clone(),
            event_id: raw.event_id.clone(),
            max_lateness: raw.max_lateness.unwrap_or(Period::days(1)),
            filter: raw.filter.clone(),
            columns: columns.collect(),
        })
    }

    fn input(&mut self, name: &str, raw: &RawSource) -> Option<SourceInput> {
        let said = self.tree.nearest(&["sources", name]);
        let [has_path, has_adbc, has_format] = ["path", "adbc", "format"].map(|key| said.get(key).is_some());
        match (has_path, has_adbc) {
            (false, false) => self.mistake_in_key(
                &["sources", name],
                format!("[sources.{name}] lacks `path`"),
                "name a Parquet or CSV file, a directory of them, or a pattern with `*`; a database is asked by `adbc`",
            ),
            (true, true) => self.mistake_in_key(
                &["sources", name, "path"],
                format!("[sources.{name}] has `path` beside `adbc`"),
                "its rows come from files or from a query, so remove one of them",
            ),
            _ => {}
        }
        let Some(adbc) = &raw.adbc else {
            let path = raw.path.clone()?;
            return Some(SourceInput::Files { format: self.format(name, raw, &path)?, path });
        };
        if has_format {
            self.mistake_in_key(
                &["sources", name, "format"],
                format!("`format` has no meaning in [sources.{name}], which reads no file"),
                "remove it",
            );
        }
        let adbc = adbc.to_store()?;
        if adbc.holds_password() {
            self.warn(
                &["sources", name, "adbc", "uri"],
                format!("the password of [sources.{name}] stands in the file, for everybody who reads it"),
                "write ${NAME} for it, which stands for the value of the environment variable NAME",
            );
        }
        Some(SourceInput::Database { adbc })
    }

    fn format(&mut self, name: &str, raw: &RawSource, path: &str) -> Option<Format> {
        if raw.format.is_some() {
            return raw.format;
        }
        let ending = Path::new(path).extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            None | Some("parquet" | "pq") => Some(Format::Parquet),
            Some("csv") => Some(Format::Csv),
            Some(ending) => {
                self.mistake(
                    &["sources", name, "path"],
                    format!("`path` ends in {ending:?}, from which the format cannot be told"),
                    "add format = \"parquet\" or format = \"csv\"",
                );
                None
            }
        }
    }

    fn times(&mut self, name: &str, raw: &RawSource) {
        if raw.event_time.is_some() {
            return;
        }
        if self.tree.nearest(&["sources", name]).get("event_time").is_some() {
            return;
        }
        for (key, given) in [
            ("available_time", raw.available_time.is_some()),
            ("time_unit", raw.time_unit.is_some()),
            ("event_id", raw.event_id.is_some()),
            ("max_lateness", raw.max_lateness.is_some()),
        ] {
            if given {
                self.mistake_in_key(
                    &["sources", name, key],
                    format!("`{key}` has no meaning in [sources.{name}], which has no `event_time`"),
                    "name the column of the event time with `event_time`",
                );
            }
        }
        // Rows that are only learned from need no time when they are not split by it.
        let is_viewed = self.raw.features.views.values().any(|view| view.source.as_deref() == Some(name));
        if !is_viewed && self.raw.model.as_ref().is_some_and(|model| model.source.as_deref() == Some(name)) {
            return;
        }
        self.warn(
            &["sources", name],
            format!("[sources.{name}] has no `event_time`, so its rows count as known at any time"),
            "if its rows have a time, name the column: otherwise training may see the future",
        );
    }
}
