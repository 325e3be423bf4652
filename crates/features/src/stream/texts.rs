//! The texts that the rows of a stream hold, each once.

use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that an entry costs beside its text: two pointers with lengths, the code, the number of uses, the counts of the
/// shared text.
const ENTRY_BYTES: usize = 72;

/// Texts by code. A text stays as long as a row uses it.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    codes: HashMap<Arc<str>, u32>,
    entries: Vec<(Arc<str>, u64)>,
    free: Vec<u32>,
    bytes: usize,
}

impl Texts {
    /// The code of `text`, used once more.
    pub(crate) fn take(&mut self, text: &str) -> u64 {
        if let Some(&code) = self.codes.get(text) {
            self.entries[code as usize].1 += 1;
            return u64::from(code);
        }
        let text: Arc<str> = text.into();
        self.bytes += text.len() + ENTRY_BYTES;
        let code = self.free.pop().unwrap_or_else(|| {
            self.entries.push((Arc::from(""), 0));
            self.entries.len() as u32 - 1
        });
        self.entries[code as usize] = (text.clone(), 1);
        self.codes.insert(text, code);
        u64::from(code)
    }

    /// Gives one use back.
    pub(crate) fn release(&mut self, code: u64) {
        let (text, uses) = &mut self.entries[code as usize];
        *uses -= 1;
        if *uses == 0 {
            self.bytes -= text.len() + ENTRY_BYTES;
            self.codes.remove(text);
            *text = Arc::from("");
            self.free.push(code as u32);
        }
    }

    /// The text of a code in use.
    #[inline]
    pub(crate) fn get(&self, code: u64) -> &Arc<str> {
        &self.entries[code as usize].0
    }

    /// About the memory that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_with_its_last_use_and_its_code_is_used_again() {
        let mut texts = Texts::default();
        let (a, b, again) = (texts.take("a"), texts.take("b"), texts.take("a"));
        assert_eq!((a == again, a == b, &**texts.get(b)), (true, false, "b"));
        let both = texts.bytes();
        texts.release(a);
        assert_eq!((&**texts.get(a), texts.bytes()), ("a", both));
        texts.release(a);
        assert!(texts.bytes() < both);
        assert_eq!(texts.take("c"), a);
        texts.release(a);
        texts.release(b);
        assert_eq!(texts.bytes(), 0);
    }
}
