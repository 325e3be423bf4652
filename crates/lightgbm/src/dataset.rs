use std::ffi::{CString, c_int, c_void};
use std::ptr;

use crate::api::{self, DatasetHandle};
use crate::{Library, LightGbmError, Parameters, log};

/// What belongs to the rows of a dataset.
#[derive(Debug, Clone, Copy, Default)]
pub struct DatasetSpec<'a> {
    /// One per row.
    pub labels: &'a [f32],
    /// One per row, or `None` for equal weights.
    pub weights: Option<&'a [f32]>,
    /// Rows of each ranking group, in row order; they sum to the number of rows. For ranking objectives only.
    pub groups: Option<&'a [i32]>,
    /// One name per column, or `None` for LightGBM's own.
    pub names: Option<&'a [String]>,
    /// Columns whose values are category codes (whole numbers from 0).
    pub categorical: &'a [usize],
    /// The training data whose bins are used: for validation data.
    pub reference: Option<&'a Dataset>,
}

/// Rows binned for training. Freed with the value.
#[derive(Debug)]
pub struct Dataset {
    library: Library,
    handle: DatasetHandle,
    warnings: Vec<String>,
}

// SAFETY: LightGBM ties no dataset to a thread (only its errors and its log are thread-local), and without `Sync` one
// thread at a time uses it.
unsafe impl Send for Dataset {}

impl Dataset {
    /// Bins `rows`, row-major with `column_count` values per row; NaN is missing.
    ///
    /// # Errors
    /// [`LightGbmError::Argument`] when the sizes contradict each other or a label or weight is not finite;
    /// [`LightGbmError::Refused`] for what LightGBM refuses.
    pub fn new(
        library: &Library,
        rows: &[f64],
        column_count: usize,
        spec: &DatasetSpec<'_>,
        parameters: &Parameters,
    ) -> Result<Self, LightGbmError> {
        let row_count = check(rows, column_count, spec)?;
        let parameters = c_text(&with_categorical(parameters, spec.categorical).to_text()?)?;
        log::take_warnings();
        let reference = spec.reference.map_or(ptr::null_mut(), |reference| {
            library.assert_same(&reference.library);
            reference.handle
        });
        let mut handle: DatasetHandle = ptr::null_mut();
        library.call("LGBM_DatasetCreateFromMat", |api| {
            // SAFETY: `rows` holds row_count * column_count values (checked), `parameters` ends with NUL, `reference` is
            // null or a live dataset, and the handle goes to a local.
            unsafe {
                (api.dataset_create)(
                    rows.as_ptr().cast(),
                    api::FLOAT64,
                    row_count as i32,
                    column_count as i32,
                    api::ROW_MAJOR,
                    parameters.as_ptr(),
                    reference,
                    &mut handle,
                )
            }
        })?;
        // From here on the handle is freed whatever happens.
        let mut dataset = Dataset { library: library.clone(), handle, warnings: Vec::new() };
        dataset.set_field(c"label", spec.labels.as_ptr().cast(), spec.labels.len(), api::FLOAT32)?;
        if let Some(weights) = spec.weights {
            dataset.set_field(c"weight", weights.as_ptr().cast(), weights.len(), api::FLOAT32)?;
        }
        if let Some(groups) = spec.groups {
            dataset.set_field(c"group", groups.as_ptr().cast(), groups.len(), api::INT32)?;
        }
        if let Some(names) = spec.names {
            dataset.set_names(names)?;
        }
        dataset.warnings = log::take_warnings();
        Ok(dataset)
    }

    /// What LightGBM warned about while binning.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn library(&self) -> &Library {
        &self.library
    }

    pub(crate) fn handle(&self) -> DatasetHandle {
        self.handle
    }

    fn set_field(
        &self,
        name: &std::ffi::CStr,
        values: *const c_void,
        count: usize,
        kind: c_int,
    ) -> Result<(), LightGbmError> {
        self.library.call("LGBM_DatasetSetField", |api| {
            // SAFETY: the callers pass the pointer and length of one slice of the type that `kind` names; LightGBM copies it.
            unsafe { (api.dataset_set_field)(self.handle, name.as_ptr(), values, count as c_int, kind) }
        })
    }

    fn set_names(&self, names: &[String]) -> Result<(), LightGbmError> {
        let owned = names.iter().map(|name| c_text(name)).collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<_> = owned.iter().map(|name| name.as_ptr()).collect();
        self.library.call("LGBM_DatasetSetFeatureNames", |api| {
            // SAFETY: one NUL-terminated string per column (checked), alive until `owned` drops; LightGBM copies them.
            unsafe { (api.dataset_set_names)(self.handle, pointers.as_ptr(), pointers.len() as c_int) }
        })
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        // SAFETY: the handle came from LGBM_DatasetCreateFromMat, is freed once, and nothing else keeps it (boosters hold
        // no data, see `Booster::train`).
        unsafe { (self.library.api().dataset_free)(self.handle) };
    }
}

pub(crate) fn c_text(text: &str) -> Result<CString, LightGbmError> {
    CString::new(text).map_err(|_| LightGbmError::Argument {
        what: "text",
        found: format!("{text:?}"),
        expected: "no NUL character".to_owned(),
    })
}

fn with_categorical(parameters: &Parameters, categorical: &[usize]) -> Parameters {
    if categorical.is_empty() {
        return parameters.clone();
    }
    let columns: Vec<String> = categorical.iter().map(usize::to_string).collect();
    parameters.clone().with("categorical_feature", columns.join(","))
}

/// The number of rows, once all sizes agree.
fn check(rows: &[f64], column_count: usize, spec: &DatasetSpec<'_>) -> Result<usize, LightGbmError> {
    let wrong = |what, found: String, expected: String| Err(LightGbmError::Argument { what, found, expected });
    if column_count == 0 || rows.is_empty() || !rows.len().is_multiple_of(column_count) {
        let found = format!("{} values for {column_count} columns", rows.len());
        return wrong("rows", found, "at least one row of at least one column".to_owned());
    }
    let row_count = rows.len() / column_count;
    if i32::try_from(row_count).is_err() || i32::try_from(column_count).is_err() {
        return wrong("rows", format!("{row_count} x {column_count}"), format!("at most {} each", i32::MAX));
    }
    if spec.labels.len() != row_count {
        return wrong("labels", spec.labels.len().to_string(), format!("one per row, {row_count}"));
    }
    if let Some(row) = spec.labels.iter().position(|label| !label.is_finite()) {
        return wrong("labels", format!("{} in row {row}", spec.labels[row]), "finite labels".to_owned());
    }
    if let Some(weights) = spec.weights {
        if weights.len() != row_count {
            return wrong("weights", weights.len().to_string(), format!("one per row, {row_count}"));
        }
        if let Some(row) = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            return wrong("weights", format!("{} in row {row}", weights[row]), "finite, not negative".to_owned());
        }
    }
    if let Some(groups) = spec.groups {
        let sum: i64 = groups.iter().map(|&rows| i64::from(rows)).sum();
        if sum != row_count as i64 || groups.iter().any(|&rows| rows < 0) {
            return wrong("groups", format!("sizes that sum to {sum}"), format!("sizes that sum to {row_count}"));
        }
    }
    if let Some(names) = spec.names
        && names.len() != column_count
    {
        return wrong("names", names.len().to_string(), format!("one per column, {column_count}"));
    }
    if let Some(column) = spec.categorical.iter().find(|&&column| column >= column_count) {
        return wrong("categorical", format!("column {column}"), format!("a column below {column_count}"));
    }
    Ok(row_count)
}
