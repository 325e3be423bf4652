//! `paceline features build`: a training set.

use std::path::PathBuf;
use std::time::Instant;

use arrow::array::{Array as _, RecordBatch};
use clap::Args;
use paceline_store::TableWriter;
use serde_json::json;

use super::super::check_writable;
use super::{JoinArguments, Outcome, SpineArguments, counting, open};
use crate::messages::Terminal;
use crate::pipeline::Pipeline;
use crate::training_set;

/// Append every feature, as known at each row's time, to the rows of a spine.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The pipeline file; name, sources and features are enough.
    pipeline: PathBuf,
    #[command(flatten)]
    spine: SpineArguments,
    /// Where to write: a file that ends in .parquet or .csv. It is replaced whole or not at all.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    join: JoinArguments,
}

/// Writes a training set.
///
/// # Errors
/// When the pipeline, its sources or the spine have mistakes, or the file cannot be written.
pub fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let out = &arguments.out;
    check_writable(out)?;
    let pipeline = open(&arguments.pipeline, terminal)?;
    let (spine, means) = (arguments.spine.spec(), arguments.join.means()?);
    let progress = counting(terminal, "reading");
    let rows = training_set::build(&pipeline, &spine, &means, &mut |rows| progress.inc(rows))?;
    drop(progress);
    let schema = rows.schema();
    let progress = counting(terminal, &format!("writing {}", out.display()));
    let mut writer = TableWriter::create(out, &schema)?;
    let mut keyless = Keyless::of(&pipeline);
    for batch in rows {
        let batch = batch?;
        keyless.add(&batch);
        writer.write(&batch)?;
        progress.inc(batch.num_rows() as u64);
    }
    let rows = writer.finish()?;
    drop(progress);
    keyless.warn(rows, terminal);
    let features: usize = pipeline.views.iter().map(|view| view.features.len()).sum::<usize>();
    let features = features + pipeline.request_features.len();
    if terminal.wants_json() {
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        terminal.result_json(&json!({
            "out": out, "rows": rows, "features": features, "columns": columns,
            "rows_without_key": keyless.counts(), "seconds": started.elapsed().as_secs_f64(),
        }))?;
    } else {
        terminal.result(&format!("{}: {rows} rows with {features} features\n", out.display()))?;
    }
    Ok(Outcome::Success)
}

/// Spine rows whose key is null, by key column: they get the values of an unknown entity.
struct Keyless(Vec<(String, u64)>);

impl Keyless {
    fn of(pipeline: &Pipeline) -> Self {
        let mut keys: Vec<(String, u64)> = Vec::new();
        for key in pipeline.views.iter().flat_map(|view| &view.entity) {
            if !keys.iter().any(|(known, _)| known == key) {
                keys.push((key.clone(), 0));
            }
        }
        Keyless(keys)
    }

    fn add(&mut self, rows: &RecordBatch) {
        for (key, count) in &mut self.0 {
            *count += rows.column_by_name(key).map_or(0, |column| column.logical_null_count() as u64);
        }
    }

    fn counts(&self) -> serde_json::Map<String, serde_json::Value> {
        self.0.iter().filter(|(_, count)| *count > 0).map(|(key, count)| (key.clone(), (*count).into())).collect()
    }

    fn warn(&self, rows: u64, terminal: &Terminal) {
        for (key, count) in self.0.iter().filter(|(_, count)| *count > 0) {
            terminal.say(&format!(
                "warning: {count} of {rows} spine rows have no {key:?}; they get the values of an unknown entity (null, \
                 counts 0)"
            ));
        }
    }
}
