use std::ffi::{c_char, c_int};
use std::marker::PhantomData;
use std::ptr;

use crate::api::{self, BoosterHandle, FastConfigHandle};
use crate::dataset::c_text;
use crate::{Dataset, Library, LightGbmError, Parameters, log};

/// How long to train.
#[derive(Debug, Clone, Copy)]
pub struct TrainSpec<'a> {
    /// Trees at most; training ends earlier when no split improves the fit.
    pub rounds: usize,
    /// Data that stops the training early.
    pub validation: Option<Validation<'a>>,
}

/// Early stopping: training ends when the first metric has not improved for `patience` rounds, and the trees after the
/// best round are dropped.
#[derive(Debug, Clone, Copy)]
pub struct Validation<'a> {
    /// Rows binned with the training data as `reference`.
    pub data: &'a Dataset,
    /// Rounds without improvement, at least 1.
    pub patience: usize,
}

/// What [`Booster::predict`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// In the objective's space: a probability, a value, a ranking score.
    Normal,
    /// The sum of the leaves.
    Raw,
}

impl Output {
    fn code(self) -> c_int {
        match self {
            Output::Normal => 0,
            Output::Raw => 1,
        }
    }
}

/// A model. It holds no training data: after training it is read back from its own text, so what is in memory is what
/// the text says.
#[derive(Debug)]
pub struct Booster {
    library: Library,
    handle: BoosterHandle,
    column_count: usize,
    warnings: Vec<String>,
}

// SAFETY: LightGBM ties no booster to a thread (only its errors and its log are thread-local), and without `Sync` one
// thread at a time uses it.
unsafe impl Send for Booster {}

impl Booster {
    /// Trains on `data`.
    ///
    /// # Errors
    /// [`LightGbmError::Refused`] with LightGBM's message for unknown objectives, labels outside the objective's range
    /// and the like; [`LightGbmError::Argument`] when the validation has no metric or no patience.
    pub fn train(parameters: &Parameters, data: &Dataset, spec: &TrainSpec<'_>) -> Result<Self, LightGbmError> {
        let library = data.library();
        log::take_warnings();
        let (text, warnings) = {
            let session = Session::begin(parameters, data, spec.validation.map(|validation| validation.data))?;
            let kept = match spec.validation {
                None => session.update(spec.rounds).map(|()| ALL_ROUNDS)?,
                Some(validation) => session.update_until_worse(spec.rounds, validation.patience)?,
            };
            (session.handle.to_text(kept)?, log::take_warnings())
        };
        let mut booster = Booster::from_text(library, &text)?;
        booster.warnings = warnings;
        Ok(booster)
    }

    /// Reads a model in LightGBM's text format.
    ///
    /// # Errors
    /// [`LightGbmError::Refused`] when LightGBM cannot read it. LightGBM trusts the text: only give it models from a
    /// source that you trust (`paceline-models` has a reader that checks everything).
    pub fn from_text(library: &Library, text: &str) -> Result<Self, LightGbmError> {
        let text = c_text(text)?;
        let mut rounds: c_int = 0;
        let mut handle: BoosterHandle = ptr::null_mut();
        library.call("LGBM_BoosterLoadModelFromString", |api| {
            // SAFETY: the text ends with NUL, the results go to locals.
            unsafe { (api.booster_load)(text.as_ptr(), &mut rounds, &mut handle) }
        })?;
        let mut booster = Booster { library: library.clone(), handle, column_count: 0, warnings: Vec::new() };
        let mut column_count: c_int = 0;
        library.call("LGBM_BoosterGetNumFeature", |api| {
            // SAFETY: a live booster, and a local for the result.
            unsafe { (api.booster_features)(handle, &mut column_count) }
        })?;
        booster.column_count = usize::try_from(column_count).unwrap_or(0);
        Ok(booster)
    }

    /// The model in LightGBM's text format; equal models give equal texts.
    ///
    /// # Errors
    /// [`LightGbmError::Refused`] when LightGBM cannot write it.
    pub fn to_text(&self) -> Result<String, LightGbmError> {
        Handle { library: &self.library, raw: self.handle }.to_text(ALL_ROUNDS)
    }

    /// Number of values a row must have.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.column_count
    }

    /// What LightGBM warned about while training, without repetitions.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Predictions of row-major `rows` by LightGBM itself, on one thread: one per row, for a model of several classes one
    /// per row and class.
    ///
    /// # Errors
    /// [`LightGbmError::Argument`] when `rows` is not a whole number of rows; [`LightGbmError::Refused`] for the rest.
    pub fn predict(&self, rows: &[f64], output: Output) -> Result<Vec<f64>, LightGbmError> {
        if self.column_count == 0 || !rows.len().is_multiple_of(self.column_count) {
            return Err(LightGbmError::Argument {
                what: "rows",
                found: format!("{} values", rows.len()),
                expected: format!("a multiple of {}, the model's columns", self.column_count),
            });
        }
        let row_count = rows.len() / self.column_count;
        let mut class_count: c_int = 1;
        self.library.call("LGBM_BoosterGetNumClasses", |api| {
            // SAFETY: a live booster, and a local for the result.
            unsafe { (api.booster_classes)(self.handle, &mut class_count) }
        })?;
        let mut predictions = vec![0.0; row_count * class_count.max(1) as usize];
        let mut length = 0;
        self.library.call("LGBM_BoosterPredictForMat", |api| {
            // SAFETY: `rows` holds row_count * column_count values; for these outputs LightGBM writes one value per row and
            // class, which is what `predictions` has room for.
            unsafe {
                (api.booster_predict)(
                    self.handle,
                    rows.as_ptr().cast(),
                    api::FLOAT64,
                    row_count as i32,
                    self.column_count as i32,
                    api::ROW_MAJOR,
                    output.code(),
                    0,
                    ALL_ROUNDS,
                    ONE_THREAD.as_ptr(),
                    &mut length,
                    predictions.as_mut_ptr(),
                )
            }
        })?;
        assert_eq!(
            length as usize,
            predictions.len(),
            "LightGBM wrote another number of predictions than it announced"
        );
        Ok(predictions)
    }

    /// LightGBM's fastest way to score one row at a time.
    ///
    /// # Errors
    /// [`LightGbmError::Argument`] for a model of several classes.
    pub fn single_row(&self, output: Output) -> Result<SingleRow<'_>, LightGbmError> {
        let mut class_count: c_int = 1;
        self.library.call("LGBM_BoosterGetNumClasses", |api| {
            // SAFETY: a live booster, and a local for the result.
            unsafe { (api.booster_classes)(self.handle, &mut class_count) }
        })?;
        if class_count > 1 {
            return Err(LightGbmError::Argument {
                what: "model",
                found: format!("{class_count} classes"),
                expected: "a model with one output".to_owned(),
            });
        }
        let mut handle: FastConfigHandle = ptr::null_mut();
        self.library.call("LGBM_BoosterPredictForMatSingleRowFastInit", |api| {
            // SAFETY: a live booster that outlives the result (its lifetime says so), and a local for the result.
            unsafe {
                (api.booster_fast_init)(
                    self.handle,
                    output.code(),
                    0,
                    ALL_ROUNDS,
                    api::FLOAT64,
                    self.column_count as i32,
                    ONE_THREAD.as_ptr(),
                    &mut handle,
                )
            }
        })?;
        Ok(SingleRow { library: &self.library, handle, column_count: self.column_count, booster: PhantomData })
    }
}

impl Drop for Booster {
    fn drop(&mut self) {
        // SAFETY: the handle came from LGBM_BoosterLoadModelFromString and is freed once.
        unsafe { (self.library.api().booster_free)(self.handle) };
    }
}

/// A prepared call for one row at a time; see [`Booster::single_row`].
#[derive(Debug)]
pub struct SingleRow<'a> {
    library: &'a Library,
    handle: FastConfigHandle,
    column_count: usize,
    booster: PhantomData<&'a Booster>,
}

impl SingleRow<'_> {
    /// The prediction of one row.
    ///
    /// # Errors
    /// [`LightGbmError::Refused`] when LightGBM fails.
    ///
    /// # Panics
    /// When `row` has another number of values than the model has columns: the caller's bug.
    pub fn predict(&mut self, row: &[f64]) -> Result<f64, LightGbmError> {
        assert_eq!(row.len(), self.column_count, "values of a row");
        let mut length = 0;
        let mut prediction = 0.0;
        self.library.call("LGBM_BoosterPredictForMatSingleRowFast", |api| {
            // SAFETY: the row has the number of values that the call was prepared for, and the model has one output.
            unsafe { (api.booster_fast)(self.handle, row.as_ptr().cast(), &mut length, &mut prediction) }
        })?;
        Ok(prediction)
    }
}

impl Drop for SingleRow<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from LGBM_BoosterPredictForMatSingleRowFastInit and is freed once.
        unsafe { (self.library.api().fast_free)(self.handle) };
    }
}

/// LightGBM's code for "no limit on the rounds".
const ALL_ROUNDS: c_int = -1;
const ONE_THREAD: &std::ffi::CStr = c"num_threads=1 verbosity=0";

/// A booster of the C API, owned elsewhere.
struct Handle<'a> {
    library: &'a Library,
    raw: BoosterHandle,
}

impl Handle<'_> {
    fn to_text(&self, rounds: c_int) -> Result<String, LightGbmError> {
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let mut length = 0;
            self.library.call("LGBM_BoosterSaveModelToString", |api| {
                // SAFETY: LightGBM writes at most the stated number of bytes and says how many it needs, NUL included.
                unsafe {
                    (api.booster_save)(
                        self.raw,
                        0,
                        rounds,
                        0,
                        buffer.len() as i64,
                        &mut length,
                        buffer.as_mut_ptr().cast::<c_char>(),
                    )
                }
            })?;
            let length = usize::try_from(length).unwrap_or(0);
            if length <= buffer.len() {
                buffer.truncate(length.saturating_sub(1));
                break;
            }
            buffer.resize(length, 0);
        }
        String::from_utf8(buffer).map_err(|error| LightGbmError::Argument {
            what: "feature names",
            found: error.to_string(),
            expected: "UTF-8".to_owned(),
        })
    }
}

/// A training: a booster of the C API together with the data that it points to. LightGBM keeps raw pointers to both
/// datasets, so this never leaves [`Booster::train`].
struct Session<'a> {
    handle: Handle<'a>,
    data: PhantomData<&'a Dataset>,
}

impl<'a> Session<'a> {
    fn begin(
        parameters: &Parameters,
        data: &'a Dataset,
        validation: Option<&'a Dataset>,
    ) -> Result<Self, LightGbmError> {
        let library = data.library();
        let parameters = c_text(&parameters.to_text()?)?;
        let mut raw: BoosterHandle = ptr::null_mut();
        library.call("LGBM_BoosterCreate", |api| {
            // SAFETY: a live dataset that outlives the session, a NUL-terminated text, a local for the result.
            unsafe { (api.booster_create)(data.handle(), parameters.as_ptr(), &mut raw) }
        })?;
        let session = Session { handle: Handle { library, raw }, data: PhantomData };
        if let Some(validation) = validation {
            library.assert_same(validation.library());
            library.call("LGBM_BoosterAddValidData", |api| {
                // SAFETY: both live; the dataset outlives the session.
                unsafe { (api.booster_add_valid)(raw, validation.handle()) }
            })?;
        }
        Ok(session)
    }

    /// One round; whether training has ended because no split improves the fit.
    fn update_once(&self) -> Result<bool, LightGbmError> {
        let mut finished: c_int = 0;
        self.handle.library.call("LGBM_BoosterUpdateOneIter", |api| {
            // SAFETY: a live booster with its data, and a local for the result.
            unsafe { (api.booster_update)(self.handle.raw, &mut finished) }
        })?;
        Ok(finished == 1)
    }

    fn update(&self, rounds: usize) -> Result<(), LightGbmError> {
        for _ in 0..rounds {
            if self.update_once()? {
                break;
            }
        }
        Ok(())
    }

    /// Trains with early stopping and returns the number of rounds to keep.
    fn update_until_worse(&self, rounds: usize, patience: usize) -> Result<c_int, LightGbmError> {
        let names = self.metric_names()?;
        let Some(first) = names.first().filter(|_| patience > 0) else {
            return Err(LightGbmError::Argument {
                what: "validation",
                found: format!("{} metrics, patience {patience}", names.len()),
                expected: "a metric (parameter `metric`) and a patience of at least 1 round".to_owned(),
            });
        };
        let sign = if higher_is_better(first) { 1.0 } else { -1.0 };
        let (mut best, mut best_round) = (f64::NEG_INFINITY, 0);
        for round in 1..=rounds {
            let finished = self.update_once()?;
            let goodness = sign * self.validation_metric(names.len())?;
            if goodness > best {
                (best, best_round) = (goodness, round);
            }
            if finished || round - best_round >= patience {
                break;
            }
        }
        // A metric that is never a number leaves no best round; then every round is kept.
        Ok(if best_round == 0 { ALL_ROUNDS } else { best_round as c_int })
    }

    fn validation_metric(&self, metric_count: usize) -> Result<f64, LightGbmError> {
        let mut values = vec![f64::NAN; metric_count];
        let mut length: c_int = 0;
        self.handle.library.call("LGBM_BoosterGetEval", |api| {
            // SAFETY: LightGBM writes one value per metric; dataset 0 is the training data, 1 the validation data.
            unsafe { (api.booster_eval)(self.handle.raw, 1, &mut length, values.as_mut_ptr()) }
        })?;
        Ok(values[0])
    }

    fn metric_names(&self) -> Result<Vec<String>, LightGbmError> {
        const NAME_BYTES_MAX: usize = 256;
        let mut count: c_int = 0;
        self.handle.library.call("LGBM_BoosterGetEvalCounts", |api| {
            // SAFETY: a live booster, and a local for the result.
            unsafe { (api.booster_eval_counts)(self.handle.raw, &mut count) }
        })?;
        let mut buffers = vec![vec![0_u8; NAME_BYTES_MAX]; usize::try_from(count).unwrap_or(0)];
        let mut pointers: Vec<*mut c_char> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr().cast()).collect();
        let mut needed = 0;
        self.handle.library.call("LGBM_BoosterGetEvalNames", |api| {
            // SAFETY: as many buffers as stated, each of the stated size; LightGBM cuts longer names.
            unsafe {
                (api.booster_eval_names)(
                    self.handle.raw,
                    pointers.len() as c_int,
                    &mut count,
                    NAME_BYTES_MAX,
                    &mut needed,
                    pointers.as_mut_ptr(),
                )
            }
        })?;
        Ok(buffers
            .into_iter()
            .map(|buffer| {
                let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
                String::from_utf8_lossy(&buffer[..end]).into_owned()
            })
            .collect())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from LGBM_BoosterCreate and is freed once, before the data it points to.
        unsafe { (self.handle.library.api().booster_free)(self.handle.raw) };
    }
}

/// LightGBM's metrics are losses but for these families.
fn higher_is_better(metric: &str) -> bool {
    ["auc", "ndcg", "map@", "average_precision", "r2"].iter().any(|family| metric.starts_with(family))
}
