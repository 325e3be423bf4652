//! The ways to answer requests that the search may take, and how long each takes.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Number, Value as Json};

use paceline_core::{EntityKey, Rows, Value};
use paceline_features::expression::Input;
use paceline_learn::forest::{Booster, Library, Output};
use paceline_learn::search::Latency;
use paceline_serve::predict::{ModelSpec, Predictor, RequestColumn, Row, Workspace};

use super::encode::FittedInputs;
use super::frame::Frame;
use super::models::{Model, Student, Teacher};
use super::plan::Plan;
use crate::measure::{self, thread_cpu_seconds};

/// Distinct requests that latency is measured with.
const REQUESTS_MAX: usize = 512;
/// Requests per step at least and at most, and how long measuring may take in between.
const MEASURED_MIN: usize = 500;
const MEASURED_MAX: usize = 50_000;
const MEASURE_MAX: Duration = Duration::from_millis(1_500);

/// One way to answer requests.
#[derive(Clone)]
pub struct Candidate {
    /// Unique name.
    pub name: String,
    /// In a sentence.
    pub what: String,
    /// What scores.
    pub model: Model,
    /// How requests are answered.
    pub way: Way,
    /// Which student it is, if any.
    pub student: Option<Student>,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Views computed from raw rows, forests scored by LightGBM.
    AsWritten,
    /// Views fetched, forests scored by LightGBM.
    BatchFeatures,
    /// Views fetched, the published artifact.
    Published,
}

/// The steps that need no student, the pipeline as written first.
///
/// # Errors
/// As [`Teacher::ensemble`].
pub fn of_teacher(teacher: &Teacher, has_views: bool) -> Result<Vec<Candidate>> {
    let ensemble = teacher.ensemble()?;
    let step = |name: &str, what: String, model: &Model, way| Candidate {
        name: name.to_owned(),
        what,
        model: model.clone(),
        way,
        student: None,
    };
    let has_forest = teacher.weighted().any(|(member, _)| member.forest_text().is_some());
    let by_whom = if has_forest { ", forests scored by LightGBM" } else { "" };
    let features = if has_views { "every feature computed on request, " } else { "" };
    let mut steps =
        vec![step("as written", format!("{features}the whole teacher{by_whom}"), &ensemble, Way::AsWritten)];
    if has_views {
        let what = "features of views materialized before the request".to_owned();
        steps.push(step("batch features", what, &ensemble, Way::BatchFeatures));
    }
    if has_forest {
        let what = "the same models, forests compiled: equal scores".to_owned();
        steps.push(step("compiled", what, &ensemble, Way::Published));
    }
    if teacher.weighted().count() > 1 {
        let single = teacher.single_model();
        let what = format!("{} instead of the ensemble", teacher.single().name);
        steps.push(step("best single model", what, &single, Way::Published));
    }
    Ok(steps)
}

impl Candidate {
    /// A student as a step.
    pub fn of_student(student: Student, model: Model) -> Candidate {
        Candidate { name: student.name(), what: student.what(), model, way: Way::Published, student: Some(student) }
    }
}

/// The artifact of a model: `model.json` and the model's files.
pub fn artifact(
    plan: &Plan<'_>,
    frame: &Frame,
    inputs: &FittedInputs,
    model: &Model,
) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut spec = ModelSpec::new(plan.task, &plan.rows.label, plan.metric.to_string(), &model.file);
    spec.columns = frame.needs.columns.clone();
    spec.expressions = frame.needs.expressions.clone();
    spec.inputs = inputs.inputs.clone();
    spec.views = frame.views.clone();
    let mut files = model.files.clone();
    files.insert(paceline_serve::predict::MODEL_FILE.to_owned(), spec.to_bytes());
    files
}

/// A row as a request names it.
pub struct Request {
    /// What a client sends.
    pub fields: Map<String, Json>,
    /// The features of its views.
    pub features: Vec<Value>,
    keys: Vec<Option<EntityKey>>,
    row: usize,
}

/// Requests for the first of `rows`, spread evenly.
pub fn requests(frame: &Frame, rows: &[usize]) -> Vec<Request> {
    let count = rows.len().min(REQUESTS_MAX);
    let named = frame.needs.columns.len() - frame.views.iter().map(|view| view.features.len()).sum::<usize>();
    (0..count)
        .map(|at| {
            let row = rows[at * rows.len() / count];
            let values = frame.request(row);
            Request {
                fields: fields(&frame.needs.columns[..named], &values),
                features: frame.joined_features(row),
                keys: frame.keys(row),
                row,
            }
        })
        .collect()
}

/// Values as a client would send them.
pub fn fields(columns: &[RequestColumn], values: &[Input<'_>]) -> Map<String, Json> {
    let json = |value: &Input<'_>| match *value {
        Input::Null => Json::Null,
        Input::Bool(value) => Json::Bool(value),
        Input::Int(value) => Json::Number(value.into()),
        Input::Float(value) => Number::from_f64(value).map_or(Json::Null, Json::Number),
        Input::Text(text) => Json::String(text.to_owned()),
        Input::Timestamp(at) => Json::String(at.to_string()),
    };
    columns.iter().zip(values).map(|(column, value)| (column.name.clone(), json(value))).collect()
}

/// Where latency is measured.
pub struct Stand<'a> {
    /// LightGBM.
    pub library: &'a Library,
    /// The rows.
    pub frame: &'a Frame,
    /// The models that set the quality.
    pub teacher: &'a Teacher,
    /// Requests of tuning rows.
    pub requests: &'a [Request],
}

impl Stand<'_> {
    /// Wall time of one request on one thread, from decoded request to score.
    ///
    /// # Errors
    /// When a request does not fit the artifact, which would be a bug, or LightGBM scores otherwise than the compiled
    /// forest.
    pub fn latency(&self, predictor: &Predictor, way: Way) -> Result<Latency> {
        if way != Way::Published {
            return self.latency_by_library(predictor, way);
        }
        let mut workspace = Workspace::default();
        let mut failure = None;
        let samples = measure::measure(self.requests.len(), MEASURED_MIN, MEASURED_MAX, MEASURE_MAX, |at| {
            let Request { fields, features, .. } = &self.requests[at];
            match predictor.predict_rows(&[Row { fields, features }], &mut workspace) {
                Ok(scores) => drop(black_box(scores)),
                Err(error) => failure = Some(error),
            }
        });
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(samples.latency()),
        }
    }

    fn latency_by_library(&self, predictor: &Predictor, way: Way) -> Result<Latency> {
        let boosters = self
            .teacher
            .weighted()
            .map(|(member, _)| member.forest_text().map(|text| Booster::from_text(self.library, text)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let mut singles = boosters
            .iter()
            .map(|booster| booster.as_ref().map(|booster| booster.single_row(Output::Normal)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let mut workspace = Workspace::default();
        let mut inputs = vec![0.0; predictor.inputs().names().len()];
        let is_alone = singles.len() == 1;
        let mut answer = |request: &Request| -> Result<f64> {
            let computed;
            let features = match way {
                Way::AsWritten => {
                    computed = self.frame.compute_features(&request.keys, request.row)?;
                    &computed
                }
                Way::BatchFeatures | Way::Published => &request.features,
            };
            let mut values = Vec::with_capacity(predictor.spec().columns.len());
            predictor.read(Row { fields: &request.fields, features }, 0, &mut values)?;
            predictor.inputs().fill(&values, 0, &mut workspace, &mut inputs)?;
            let mut sum = 0.0;
            for ((member, weight), single) in self.teacher.weighted().zip(&mut singles) {
                let mut score = [0.0];
                match single {
                    Some(single) => score[0] = single.predict(&inputs)?,
                    None => member.scorer.score(Rows::new(&inputs, inputs.len()), &mut score),
                }
                if is_alone {
                    return Ok(score[0]);
                }
                sum += weight * member.transform.apply(score[0]);
            }
            Ok(self.teacher.output().apply(sum))
        };
        for request in self.requests {
            let row = Row { fields: &request.fields, features: &request.features };
            let (written, compiled) = (answer(request)?, predictor.predict_rows(&[row], &mut Workspace::default())?[0]);
            // Both add the same leaves in the same order; only the exponential of the output may differ in its last bit.
            if (written - compiled).abs() > 1e-12 * (1.0 + written.abs()) {
                bail!(
                    "LightGBM scores a row {written}, the compiled forest {compiled}; this is a bug, please report it"
                );
            }
        }
        let mut failure = None;
        let samples =
            measure::measure(self.requests.len(), MEASURED_MIN, MEASURED_MAX, MEASURE_MAX, |at| {
                match answer(&self.requests[at]) {
                    Ok(score) => drop(black_box(score)),
                    Err(error) => failure = Some(error),
                }
            });
        match failure {
            Some(error) => Err(error),
            None => Ok(samples.latency()),
        }
    }

    /// CPU time of the views' features of one request, computed from raw rows, in milliseconds; 0 without views.
    ///
    /// # Errors
    /// When the keys do not fit.
    pub fn features_cpu_ms(&self) -> Result<f64> {
        if self.frame.views.is_empty() {
            return Ok(0.0);
        }
        let begin = thread_cpu_seconds();
        for request in self.requests {
            black_box(self.frame.compute_features(&request.keys, request.row)?);
        }
        Ok((thread_cpu_seconds() - begin) * 1e3 / self.requests.len() as f64)
    }

    /// CPU time of decoding a request and laying it out without its views: request-time features, derived columns and
    /// encoders, in milliseconds.
    ///
    /// # Errors
    /// When a request does not fit the artifact, which would be a bug.
    pub fn layout_cpu_ms(&self, predictor: &Predictor) -> Result<f64> {
        let mut workspace = Workspace::default();
        let mut inputs = vec![0.0; predictor.inputs().names().len()];
        let begin = thread_cpu_seconds();
        for request in self.requests {
            let mut values = Vec::with_capacity(predictor.spec().columns.len());
            predictor.read(Row { fields: &request.fields, features: &request.features }, 0, &mut values)?;
            predictor.inputs().fill(&values, 0, &mut workspace, &mut inputs)?;
            black_box(&inputs);
        }
        Ok((thread_cpu_seconds() - begin) * 1e3 / self.requests.len() as f64)
    }
}

/// Proves that the artifact answers what was evaluated: bit-equal scores for requests of `rows`.
///
/// # Errors
/// When a score differs, which would be a bug.
pub fn prove_equal(frame: &Frame, rows: &[usize], predictor: &Predictor, evaluated: &[f64]) -> Result<()> {
    let count = rows.len().min(REQUESTS_MAX);
    let places: Vec<usize> = (0..count).map(|at| at * rows.len() / count).collect();
    let requests = requests(frame, rows);
    let mut workspace = Workspace::default();
    for (request, place) in requests.iter().zip(places) {
        let row = Row { fields: &request.fields, features: &request.features };
        let score = predictor.predict_rows(&[row], &mut workspace).context("a row of the source as a request")?[0];
        if score.to_bits() != evaluated[place].to_bits() {
            bail!(
                "row {} was evaluated with {}, but its request answers {score}; this is a bug, please report it",
                rows[place],
                evaluated[place]
            );
        }
    }
    Ok(())
}
