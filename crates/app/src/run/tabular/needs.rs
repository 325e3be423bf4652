//! What a request must bring so that the model's inputs can be computed: the file's columns behind the derived ones.

use std::collections::HashSet;

use anyhow::{Context, Result, anyhow, bail};
use arrow::datatypes::Schema;

use paceline_features::expression::{Program, Type};
use paceline_serve::predict::{NamedExpression, RequestColumn};

use super::plan::Plan;
use crate::pipeline::Teacher;
use crate::tables::readable_columns;

/// The event time of a row, for request-time features.
pub const TIME: &str = "time";

/// Columns in, columns out.
#[derive(Debug, Clone, PartialEq)]
pub struct Needs {
    /// What a request names: columns of the source's files, the event time where a request-time feature reads it, then
    /// the features of all views.
    pub columns: Vec<RequestColumn>,
    /// Derived columns and request-time features, each after what it reads.
    pub expressions: Vec<NamedExpression>,
    /// What the model sees, with its type.
    pub inputs: Vec<(String, Type)>,
}

impl Needs {
    /// Resolves the model's columns over a source's `schema` (derived columns included) and the views' `features`.
    /// `warn` hears of what is suspicious.
    ///
    /// # Errors
    /// When the model would see its label, has no input, or `time` means two things.
    pub fn of(plan: &Plan<'_>, schema: &Schema, features: &[(String, Type)], warn: &dyn Fn(&str)) -> Result<Needs> {
        let source = plan.pipeline.source(&plan.rows.source).context("the model's source was checked")?;
        let table = readable_columns(schema);
        let mut inputs: Vec<(String, Type)> = table.iter().filter(|(name, _)| is_seen(plan, name)).cloned().collect();
        // A model that was trained elsewhere reads its inputs in its own order.
        if let (Teacher::Import(_), Some(order)) = (plan.teacher, &plan.rows.columns) {
            inputs.sort_by_key(|(name, _)| order.iter().position(|column| column == name));
        }
        inputs.extend(features.iter().cloned());
        let mut resolver = Resolver {
            label: &plan.rows.label,
            source: &source.name,
            columns: Vec::new(),
            expressions: Vec::new(),
            derived: Vec::new(),
            done: HashSet::new(),
        };
        for column in &source.columns {
            let before = &table[..position(&table, &column.name)?];
            let program = compile(&column.name, &column.expression, before)?;
            resolver.derived.push((column.name.clone(), column.expression.clone(), program));
        }
        resolver.label_is_hidden(&inputs, warn)?;

        let mut requests = Vec::new();
        let mut known: Vec<(String, Type)> = features.to_vec();
        for feature in &plan.pipeline.request_features {
            let name = format!("request.{}", feature.name);
            let beside = [(TIME.to_owned(), Type::Timestamp)];
            let all: Vec<(String, Type)> = known.iter().chain(&beside).chain(&table).cloned().collect();
            let program = compile(&name, &feature.expression, &all)?;
            known.push((name.clone(), program.output_type()));
            inputs.push((name.clone(), program.output_type()));
            requests.push((name, feature.expression.clone(), program));
        }
        for (name, _) in &inputs {
            if let Some(at) = table.iter().position(|(column, _)| column == name) {
                resolver.need_column(&table[at], &table)?;
            }
        }
        for (name, expression, program) in requests {
            for (read, kind) in program.columns() {
                if features.iter().any(|(feature, _)| feature == read) || read.starts_with("request.") {
                    continue;
                }
                if read == TIME && kind == Type::Timestamp {
                    resolver.need_time(source.event_time.as_deref(), &table)?;
                } else {
                    resolver.need_column(&table[position(&table, read)?], &table)?;
                }
            }
            resolver.expressions.push(NamedExpression { name, expression });
        }
        let Resolver { mut columns, expressions, .. } = resolver;
        columns.extend(features.iter().map(|(name, kind)| RequestColumn { name: name.clone(), kind: *kind }));
        if inputs.is_empty() {
            bail!("[model] the model sees no column: {:?} has none beside {:?}", source.name, plan.rows.not_inputs);
        }
        Ok(Needs { columns, expressions, inputs })
    }
}

fn is_seen(plan: &Plan<'_>, name: &str) -> bool {
    let named = plan.rows.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name));
    named && !plan.rows.not_inputs.iter().any(|hidden| hidden == name)
}

fn compile(name: &str, expression: &str, columns: &[(String, Type)]) -> Result<Program> {
    Program::compile(expression, columns).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("{name}: {}", errors.join("; "))
    })
}

fn position(table: &[(String, Type)], name: &str) -> Result<usize> {
    table.iter().position(|(column, _)| column == name).with_context(|| format!("no usable column {name:?}"))
}

struct Resolver<'a> {
    label: &'a str,
    source: &'a str,
    columns: Vec<RequestColumn>,
    expressions: Vec<NamedExpression>,
    /// Name, expression and program of the source's derived columns.
    derived: Vec<(String, String, Program)>,
    /// Columns of the table that a request can bring or compute already.
    done: HashSet<String>,
}

impl Resolver<'_> {
    /// Adds a column of the table: read from the file, or derived after what it reads.
    fn need_column(&mut self, (name, kind): &(String, Type), table: &[(String, Type)]) -> Result<()> {
        if *name == self.label {
            bail!("[sources.{}] an input of the model is computed from its label {name:?}", self.source);
        }
        if !self.done.insert(name.clone()) {
            return Ok(());
        }
        let Some((_, expression, program)) = self.derived.iter().find(|(derived, _, _)| derived == name).cloned()
        else {
            return self.add(name, *kind);
        };
        for (read, _) in program.columns() {
            self.need_column(&table[position(table, read)?], table)?;
        }
        self.expressions.push(NamedExpression { name: name.clone(), expression });
        Ok(())
    }

    /// Adds the event time under its own name.
    fn need_time(&mut self, event_time: Option<&str>, table: &[(String, Type)]) -> Result<()> {
        let source = self.source;
        let event_time = event_time
            .with_context(|| format!("[features.request] reads `time`, but [sources.{source}] has no `event_time`"))?;
        if event_time != TIME && table.iter().any(|(name, _)| name == TIME) {
            bail!(
                "[features.request] `time` is the event time {event_time:?}, but [sources.{source}] has another column of \
                 that name; leave it out of the files or rename it"
            );
        }
        self.add(TIME, Type::Timestamp)
    }

    fn add(&mut self, name: &str, kind: Type) -> Result<()> {
        match self.columns.iter().find(|column| column.name == name) {
            None => self.columns.push(RequestColumn { name: name.to_owned(), kind }),
            Some(column) if column.kind == kind => {}
            Some(column) => bail!(
                "[sources.{}] {name:?} is read as {} by a derived column and as {kind} by a request-time feature; derive \
                 what the feature needs in the source",
                self.source,
                column.kind
            ),
        }
        Ok(())
    }

    /// Refuses a model that sees the one column from which its label is computed, and warns of one of several.
    fn label_is_hidden(&self, inputs: &[(String, Type)], warn: &dyn Fn(&str)) -> Result<()> {
        let Some((_, expression, program)) = self.derived.iter().find(|(name, _, _)| name == self.label) else {
            return Ok(());
        };
        let reads: Vec<&str> = program.columns().map(|(name, _)| name).collect();
        let seen: Vec<&str> =
            reads.iter().copied().filter(|read| inputs.iter().any(|(name, _)| name == read)).collect();
        match (reads.as_slice(), seen.as_slice()) {
            (_, []) => Ok(()),
            ([_], [seen]) => bail!(
                "[model] label {:?} is `{expression}`, and the model would see {seen:?}; add it to `exclude`",
                self.label
            ),
            _ => {
                warn(&format!(
                    "[model] label {:?} is `{expression}`, and the model sees {seen:?} of it; exclude what is not known \
                     when a prediction is wanted",
                    self.label
                ));
                Ok(())
            }
        }
    }
}
