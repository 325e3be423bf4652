use std::ffi::{CStr, c_int};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use crate::api::Api;
use crate::{LightGbmError, log};

/// The loaded library. Cheap to clone, usable from every thread.
#[derive(Clone)]
pub struct Library(Arc<Loaded>);

struct Loaded {
    api: Api,
    path: PathBuf,
    /// Keeps the function pointers of `api` valid.
    _library: libloading::Library,
}

impl Library {
    /// Loads the library at `path`.
    ///
    /// Before the first load it sets the environment variable `OMP_WAIT_POLICY` to `passive`, unless it is set: by
    /// default OpenMP's threads spin between parallel regions and take the cores from everything else in the process
    /// (small trainings ran several times slower on two cores). OpenMP reads it once, when it is loaded. Call this early,
    /// while no other thread runs C code that reads the environment; threads that use `std::env` are safe.
    ///
    /// # Errors
    /// [`LightGbmError::NotFound`] when the file is missing or cannot be loaded, with the loader's reason;
    /// [`LightGbmError::Incompatible`] when it is not LightGBM 4.
    pub fn open(path: &Path) -> Result<Self, LightGbmError> {
        let not_found = |problem: String| LightGbmError::NotFound { tried: vec![(path.to_owned(), problem)] };
        if !path.is_file() {
            return Err(not_found("no such file".to_owned()));
        }
        make_openmp_wait_passively();
        // SAFETY: loading runs the library's initialisers. The path names LightGBM by the caller's choice; its
        // initialisers and those of the OpenMP runtime have no preconditions.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
            let reason = error.to_string();
            let hint = if reason.contains("libgomp") { " (Debian, Ubuntu: apt-get install libgomp1)" } else { "" };
            not_found(format!("{reason}{hint}"))
        })?;
        let api = Api::resolve(&library, path)?;
        Ok(Library(Arc::new(Loaded { api, path: path.to_owned(), _library: library })))
    }

    /// Where it was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes one call, with this thread's log redirected, and turns its status into a result.
    ///
    /// A failure stands on stderr too: LightGBM writes its fatal messages there itself, past the callback.
    pub(crate) fn call(&self, function: &'static str, call: impl FnOnce(&Api) -> c_int) -> Result<(), LightGbmError> {
        let api = &self.0.api;
        // The callback is a thread-local of the library, so it is set before each call: a store into it is all that costs.
        // SAFETY: `receive` is a function, so it is valid for ever, and it never unwinds.
        unsafe { (api.register_log)(log::receive) };
        if call(api) == 0 {
            return Ok(());
        }
        // SAFETY: the last error is a thread-local, NUL-terminated buffer of the library; it is copied at once.
        let message = unsafe { CStr::from_ptr((api.last_error)()) }.to_string_lossy().trim().to_owned();
        Err(LightGbmError::Refused { function, message })
    }

    /// Values of two loaded libraries must not meet: a handle of one is garbage to the other.
    pub(crate) fn assert_same(&self, other: &Library) {
        assert!(Arc::ptr_eq(&self.0, &other.0), "{:?} and {:?} are two libraries", self.0.path, other.0.path);
    }

    pub(crate) fn api(&self) -> &Api {
        &self.0.api
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.0.path).finish()
    }
}

fn make_openmp_wait_passively() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("OMP_WAIT_POLICY").is_none() {
            // SAFETY: Rust's own readers of the environment are serialised with this write by the standard library's lock;
            // `Library::open` documents the rest: C code on another thread must not read the environment meanwhile.
            unsafe { std::env::set_var("OMP_WAIT_POLICY", "passive") };
        }
    });
}
