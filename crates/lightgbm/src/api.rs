//! The functions of LightGBM's C API that are used, resolved once.
//!
//! Source: `include/LightGBM/c_api.h` of LightGBM 4; all return 0 for success and -1 for failure, after which
//! `LGBM_GetLastError` on the same thread tells why.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

use crate::LightGbmError;

pub(crate) const FLOAT32: c_int = 0;
pub(crate) const FLOAT64: c_int = 1;
pub(crate) const INT32: c_int = 2;
pub(crate) const ROW_MAJOR: c_int = 1;

pub(crate) type DatasetHandle = *mut c_void;
pub(crate) type BoosterHandle = *mut c_void;
pub(crate) type FastConfigHandle = *mut c_void;

macro_rules! api {
    ($($field:ident = $name:ident ( $($argument:ty),* ) -> $result:ty;)*) => {
        /// Function pointers into the loaded library; valid as long as it stays loaded.
        pub(crate) struct Api {
            $(pub(crate) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Api {
            pub(crate) fn resolve(library: &libloading::Library, path: &Path) -> Result<Self, LightGbmError> {
                Ok(Api {
                    $($field: {
                        // SAFETY: the signature is the one of LightGBM 4's c_api.h; the C API is stable within the
                        // major version, and a library without the function is refused here.
                        let symbol = unsafe {
                            library.get::<unsafe extern "C" fn($($argument),*) -> $result>(concat!(stringify!($name), "\0").as_bytes())
                        };
                        *symbol.map_err(|_| LightGbmError::Incompatible {
                            path: path.to_owned(),
                            function: stringify!($name),
                        })?
                    },)*
                })
            }
        }
    };
}

api! {
    last_error = LGBM_GetLastError() -> *const c_char;
    register_log = LGBM_RegisterLogCallback(extern "C" fn(*const c_char)) -> c_int;
    dataset_create = LGBM_DatasetCreateFromMat(*const c_void, c_int, i32, i32, c_int, *const c_char, DatasetHandle, *mut DatasetHandle) -> c_int;
    dataset_set_field = LGBM_DatasetSetField(DatasetHandle, *const c_char, *const c_void, c_int, c_int) -> c_int;
    dataset_set_names = LGBM_DatasetSetFeatureNames(DatasetHandle, *const *const c_char, c_int) -> c_int;
    dataset_free = LGBM_DatasetFree(DatasetHandle) -> c_int;
    booster_create = LGBM_BoosterCreate(DatasetHandle, *const c_char, *mut BoosterHandle) -> c_int;
    booster_add_valid = LGBM_BoosterAddValidData(BoosterHandle, DatasetHandle) -> c_int;
    booster_update = LGBM_BoosterUpdateOneIter(BoosterHandle, *mut c_int) -> c_int;
    booster_eval_counts = LGBM_BoosterGetEvalCounts(BoosterHandle, *mut c_int) -> c_int;
    booster_eval_names = LGBM_BoosterGetEvalNames(BoosterHandle, c_int, *mut c_int, usize, *mut usize, *mut *mut c_char) -> c_int;
    booster_eval = LGBM_BoosterGetEval(BoosterHandle, c_int, *mut c_int, *mut f64) -> c_int;
    booster_save = LGBM_BoosterSaveModelToString(BoosterHandle, c_int, c_int, c_int, i64, *mut i64, *mut c_char) -> c_int;
    booster_load = LGBM_BoosterLoadModelFromString(*const c_char, *mut c_int, *mut BoosterHandle) -> c_int;
    booster_features = LGBM_BoosterGetNumFeature(BoosterHandle, *mut c_int) -> c_int;
    booster_classes = LGBM_BoosterGetNumClasses(BoosterHandle, *mut c_int) -> c_int;
    booster_predict = LGBM_BoosterPredictForMat(BoosterHandle, *const c_void, c_int, i32, i32, c_int, c_int, c_int, c_int, *const c_char, *mut i64, *mut f64) -> c_int;
    booster_fast_init = LGBM_BoosterPredictForMatSingleRowFastInit(BoosterHandle, c_int, c_int, c_int, c_int, i32, *const c_char, *mut FastConfigHandle) -> c_int;
    booster_fast = LGBM_BoosterPredictForMatSingleRowFast(FastConfigHandle, *const c_void, *mut i64, *mut f64) -> c_int;
    fast_free = LGBM_FastConfigFree(FastConfigHandle) -> c_int;
    booster_free = LGBM_BoosterFree(BoosterHandle) -> c_int;
}
