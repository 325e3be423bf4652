//! Encoders fitted to the training rows, and the numbers that training sees.

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use rand::seq::SliceRandom;
use std::collections::HashSet;

use paceline_core::{Timestamp, random};
use paceline_features::encode::{self, EncoderSpec, Labels};
use paceline_features::expression::Type;
use paceline_serve::predict::{ModelInput, RowInputs};

use super::frame::Frame;
use super::plan::Plan;

/// A text column with no more distinct training values than this is encoded by their order when the pipeline says
/// nothing: trees cut such codes apart quickly. One with more is encoded by its mean label.
const ORDINAL_VALUES_MAX: usize = 64;

/// How rows become inputs, as learned from training rows.
pub struct FittedInputs {
    /// What the model sees, in order.
    pub inputs: Vec<ModelInput>,
    /// The program that computes it.
    pub layout: RowInputs,
}

/// Fits the encoders to the rows `train`, and lays those rows out. A target-encoded column shows each of them only labels
/// of other rows that were known before it; rows without times are taken in an order drawn by the seed.
///
/// # Errors
/// When an encoder does not suit its column, or a value cannot be an input.
pub fn fit(plan: &Plan<'_>, frame: &Frame, train: &[usize], say: &dyn Fn(&str)) -> Result<(FittedInputs, Vec<f64>)> {
    let positions: UInt32Array = train.iter().map(|&row| row as u32).collect();
    let labels: Vec<f64> = train.iter().map(|&row| f64::from(frame.labels[row])).collect();
    let (time, known) = learning_times(plan, frame, train);
    let labels = Labels { value: &labels, time: &time, known: &known };
    let mut inputs = Vec::with_capacity(frame.needs.inputs.len());
    // Where training sees other numbers than a request would: first place, width, numbers.
    let mut training_only: Vec<(usize, Vec<f64>)> = Vec::new();
    let mut place = 0;
    for (name, kind) in &frame.needs.inputs {
        let values = take(frame.array(name), &positions, None).with_context(|| format!("column {name:?}"))?;
        let declared = plan.pipeline.encoders.get(name).copied();
        let Some(spec) = declared.or_else(|| default_encoder(name, *kind, &values, say)) else {
            inputs.push(ModelInput { column: name.clone(), encoder: None });
            place += 1;
            continue;
        };
        let fitted = encode::fit(&spec, name, &values, Some(labels)).with_context(|| format!("[encode] {name}"))?;
        if matches!(spec, EncoderSpec::Target { .. }) {
            training_only.push((place, fitted.training));
        }
        place += fitted.encoder.width();
        inputs.push(ModelInput { column: name.clone(), encoder: Some(fitted.encoder) });
    }
    let layout = RowInputs::new(&frame.needs.columns, &frame.needs.expressions, &inputs)?;
    let mut matrix = frame.matrix(&layout, train)?;
    let width = layout.names().len();
    for (place, numbers) in training_only {
        for (row, number) in matrix.chunks_exact_mut(width).zip(numbers) {
            row[place] = number;
        }
    }
    Ok((FittedInputs { inputs, layout }, matrix))
}

/// When each row is seen and when its label is known.
fn learning_times(plan: &Plan<'_>, frame: &Frame, train: &[usize]) -> (Vec<Timestamp>, Vec<Timestamp>) {
    if let Some(times) = &frame.times {
        let of = |times: &[Timestamp]| train.iter().map(|&row| times[row]).collect();
        return (of(&times.event), of(&times.known));
    }
    let mut order: Vec<i64> = (0..train.len() as i64).collect();
    order.shuffle(&mut random::stream(plan.pipeline.seed, "order of target encoding"));
    let times: Vec<Timestamp> = order.into_iter().map(Timestamp).collect();
    (times.clone(), times)
}

/// For a text that the pipeline says nothing about.
fn default_encoder(name: &str, kind: Type, values: &ArrayRef, say: &dyn Fn(&str)) -> Option<EncoderSpec> {
    if kind != Type::Text {
        return None;
    }
    let texts = cast(values, &DataType::Utf8).ok()?;
    let distinct: HashSet<&str> = texts.as_string_opt::<i32>()?.iter().flatten().collect();
    let (spec, word) = if distinct.len() <= ORDINAL_VALUES_MAX {
        (EncoderSpec::Ordinal, "ordinal")
    } else {
        (EncoderSpec::Target { smoothing: 20.0 }, "target")
    };
    say(&format!(
        "{name:?} is a text of {} values without an encoder; taking {name:?} = {{ kind = \"{word}\" }} (say it in [encode])",
        distinct.len()
    ));
    Some(spec)
}
