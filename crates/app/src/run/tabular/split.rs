//! Which rows train, tune and report.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;

use paceline_core::random;
use paceline_features::expression::{Input, Type};
use paceline_serve::predict::RowTask;

use super::frame::Frame;
use super::plan::Plan;
use crate::pipeline::{Split, TimeSplit, TunePart};
use crate::tables::typed::{TypedColumn, entity_key, key_columns};

/// Positions of rows in the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// What models learn from while steps are chosen.
    pub train: Vec<usize>,
    /// What chooses.
    pub tune: Vec<usize>,
    /// What the chosen models learn from at last: all of both that was known when the choice was made.
    pub refit: Vec<usize>,
    /// What neither has seen.
    pub report: Vec<usize>,
    /// Rows of training and tuning that were not known by the end of their part.
    pub late: usize,
}

impl Parts {
    /// Cuts the rows. Lists of a ranking are brought together.
    ///
    /// # Errors
    /// When a part is empty, or has one class only.
    pub fn of(plan: &Plan<'_>, frame: &Frame) -> Result<Parts> {
        let mut parts = match plan.split {
            Split::Time(split) => by_time(split, frame)?,
            Split::Column(split) => {
                let named = by_column(&split.column, frame)?;
                let is = |values: &[String], row: usize| {
                    named[row].as_ref().is_some_and(|value| values.iter().any(|known| known == value))
                };
                let rows = |values: &[String]| (0..frame.len()).filter(|&row| is(values, row)).collect::<Vec<_>>();
                let (train, report) = (rows(&split.train), rows(&split.report));
                match &split.tune {
                    TunePart::Values(values) => Parts { tune: rows(values), train, report, ..Parts::default() },
                    TunePart::FractionOfTrain(share) => {
                        let cut = draw(&train, plan.rows.group.as_deref(), frame, plan.pipeline.seed, &[1.0 - share])?;
                        let [train, tune] = cut.try_into().expect("one share makes two parts");
                        Parts { train, tune, report, ..Parts::default() }
                    }
                }
            }
            Split::Random(split) => {
                let all: Vec<usize> = (0..frame.len()).collect();
                // Without a group of its own a ranking keeps its lists whole.
                let group = split.group.as_deref().or(plan.rows.group.as_deref());
                let cut = draw(&all, group, frame, split.seed, &[split.train, split.tune])?;
                let [train, tune, report] = cut.try_into().expect("two shares make three parts");
                Parts { train, tune, report, ..Parts::default() }
            }
        };
        if parts.refit.is_empty() {
            parts.refit = [parts.train.as_slice(), &parts.tune].concat();
            parts.refit.sort_unstable();
        }
        if let Some(lists) = &frame.lists {
            for rows in [&mut parts.train, &mut parts.tune, &mut parts.refit, &mut parts.report] {
                rows.sort_by_key(|&row| lists[row]);
            }
        }
        parts.check(plan, frame)?;
        Ok(parts)
    }

    fn check(&self, plan: &Plan<'_>, frame: &Frame) -> Result<()> {
        for (name, rows) in [("training", &self.train), ("tuning", &self.tune), ("report", &self.report)] {
            if rows.is_empty() {
                let times = frame
                    .times
                    .as_ref()
                    .and_then(|times| Some((times.event.iter().min().copied()?, times.event.iter().max().copied()?)));
                let reach = times.map_or(String::new(), |(first, last)| format!("; they reach from {first} to {last}"));
                let late = match self.late {
                    0 => String::new(),
                    late => format!("; {late} rows were not known by the end of their part"),
                };
                bail!("[split] the {name} part has none of the {} rows{reach}{late}", frame.len());
            }
            let first = frame.labels[rows[0]];
            let is_constant = rows.iter().all(|&row| frame.labels[row] == first);
            if plan.task == RowTask::Classify && is_constant {
                bail!(
                    "[split] all {} rows of the {name} part have {:?} = {first}; a classifier needs both classes in every \
                     part",
                    rows.len(),
                    plan.rows.label
                );
            }
            let none_is_relevant = rows.iter().all(|&row| frame.labels[row] == 0.0);
            if plan.task == RowTask::Rank && none_is_relevant {
                bail!("[split] no row of the {name} part has {:?} above 0, so no list can be judged", plan.rows.label);
            }
        }
        Ok(())
    }
}

/// A row belongs to a part by when it happened; it can be learned from only if its label was known by the part's end.
fn by_time(split: &TimeSplit, frame: &Frame) -> Result<Parts> {
    let times = frame
        .times
        .as_ref()
        .with_context(|| format!("[split] by time, but [sources.{}] has no `event_time`", frame.table.name))?;
    let mut parts = Parts::default();
    for (row, (event, known)) in times.event.iter().zip(&times.known).enumerate() {
        if *event >= split.report_until {
            continue;
        }
        if *event >= split.tune_until {
            parts.report.push(row);
            continue;
        }
        if *known < split.tune_until {
            parts.refit.push(row);
        }
        let (part, until) = match *event < split.train_until {
            true => (&mut parts.train, split.train_until),
            false => (&mut parts.tune, split.tune_until),
        };
        if *known < until {
            part.push(row);
        } else {
            parts.late += 1;
        }
    }
    Ok(parts)
}

fn by_column(name: &str, frame: &Frame) -> Result<Vec<Option<String>>> {
    let array = frame.table.rows.column_by_name(name).with_context(|| format!("[split] no column {name:?}"))?;
    let column = TypedColumn::read(name, array, Type::Text)?;
    let value = |row: usize| match column.get(row) {
        Input::Text(text) => Some(text.to_owned()),
        _ => None,
    };
    Ok((0..frame.len()).map(value).collect())
}

/// Cuts `rows` by the seed into one part more than there are shares; rows of equal group stay together.
fn draw(rows: &[usize], group: Option<&str>, frame: &Frame, seed: u64, shares: &[f64]) -> Result<Vec<Vec<usize>>> {
    let keys = group.map(|group| key_columns(&frame.table.rows, &[group.to_owned()])).transpose()?;
    let mut numbers = HashMap::new();
    let units: Vec<usize> = rows
        .iter()
        .map(|&row| match keys.as_ref().and_then(|keys| entity_key(keys, row)) {
            // A row without a group stands alone.
            Some(key) => {
                let next = numbers.len();
                *numbers.entry((Some(key), 0)).or_insert(next)
            }
            None => {
                let next = numbers.len();
                *numbers.entry((None, row)).or_insert(next)
            }
        })
        .collect();
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.shuffle(&mut random::stream(seed, "split"));
    let mut part_of = vec![shares.len(); order.len()];
    let (mut begin, mut share) = (0, 0.0);
    for (part, fraction) in shares.iter().enumerate() {
        share += fraction;
        let end = ((share * order.len() as f64).round() as usize).min(order.len());
        order[begin..end].iter().for_each(|&unit| part_of[unit] = part);
        begin = end;
    }
    let mut parts = vec![Vec::new(); shares.len() + 1];
    for (&row, &unit) in rows.iter().zip(&units) {
        parts[part_of[unit]].push(row);
    }
    Ok(parts)
}
