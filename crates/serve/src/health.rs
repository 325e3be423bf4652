//! Whether the online store answers: after a failure no request waits for it until a probe has found it again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What requests and the probe found last.
#[derive(Debug, Default)]
pub struct StoreHealth {
    down: AtomicBool,
    errors: AtomicU64,
    cause: Mutex<String>,
}

impl StoreHealth {
    /// Whether the store failed and no probe has reached it since.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// Why it is down; `None` while it is not.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        self.is_down().then(|| self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Notes a failure. Its message holds no password: the stores see to that.
    pub fn failed(&self, cause: &str) {
        self.count_error();
        cause.clone_into(&mut self.cause.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.down.swap(true, Ordering::AcqRel) {
            tracing::error!(cause, "the online store is down; the popular list answers until it is back");
        }
    }

    /// Notes an error that says nothing about later reads.
    pub fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the store answers.
    pub fn answered(&self) {
        if self.down.swap(false, Ordering::AcqRel) {
            tracing::info!("the online store is back");
        }
    }

    /// Failures so far.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}
