//! LightGBM's log, per thread: its callback is a thread-local of the library, and so is what is collected here.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};

/// Messages kept per call; a training that warns on every round would otherwise grow without limit.
const WARNINGS_MAX: usize = 100;

thread_local! {
    static LOG: RefCell<Log> = const { RefCell::new(Log { line: String::new(), warnings: Vec::new() }) };
}

struct Log {
    /// LightGBM sends a line in pieces: prefix, text, line end.
    line: String,
    warnings: Vec<String>,
}

/// The callback that LightGBM calls with each piece of its log, on the thread that called it.
pub(crate) extern "C" fn receive(piece: *const c_char) {
    if piece.is_null() {
        return;
    }
    // SAFETY: LightGBM passes a NUL-terminated string that lives until the callback returns.
    let piece = unsafe { CStr::from_ptr(piece) }.to_string_lossy();
    // `try_with`: a thread that is being torn down has no log any more, and panicking across C is not allowed.
    let _ = LOG.try_with(|log| {
        if let Ok(mut log) = log.try_borrow_mut() {
            log.push(&piece);
        }
    });
}

/// Takes the warnings that this thread collected since the last call.
pub(crate) fn take_warnings() -> Vec<String> {
    LOG.with_borrow_mut(|log| {
        log.line.clear();
        std::mem::take(&mut log.warnings)
    })
}

impl Log {
    fn push(&mut self, piece: &str) {
        for part in piece.split_inclusive('\n') {
            self.line.push_str(part);
            if part.ends_with('\n') {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Some((_, warning)) = line.split_once("[Warning] ") else { return };
        let warning = warning.trim().to_owned();
        if self.warnings.len() < WARNINGS_MAX && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_only_warnings_stay() {
        let pieces = [c"[LightGBM] [Info] ", c"hello", c"\n", c"[LightGBM] [Warning] ", c"few rows", c"\n"];
        for _ in 0..2 {
            pieces.iter().for_each(|piece| receive(piece.as_ptr()));
        }
        assert_eq!(take_warnings(), ["few rows"]);
        assert!(take_warnings().is_empty());
    }
}
