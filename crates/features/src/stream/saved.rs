//! Saved state as bytes: an envelope that is checked on reading, and rows.
//!
//! Envelope: four letters (`PLSN` a snapshot, `PLSP` a spilled part), a version, 12 digits of the digest of what the
//! stream is, the content, and 12 digits of the digest of everything before. Integers are little-endian, texts and keys
//! have their length (u32) before them. A row: event time, available time, position, with event ids the time until which
//! it counts, then per column a byte (1 with a value, 0 null) and the value, where it is kept: eight bytes, or a text.

use paceline_core::Digest;

use super::layout::{AVAILABLE, EVENT, Kind, Layout, POSITION};
use super::texts::Texts;
use crate::FeatureError;

/// Version of both forms.
const VERSION: u8 = 1;
const DIGITS: usize = 12;

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Snapshot,
    Part,
}

impl Form {
    fn letters(self) -> &'static [u8; 4] {
        match self {
            Form::Snapshot => b"PLSN",
            Form::Part => b"PLSP",
        }
    }

    /// An error that says what is wrong.
    pub(crate) fn refuse(self, problem: impl Into<String>) -> FeatureError {
        let what = match self {
            Form::Snapshot => "snapshot",
            Form::Part => "spilled state of an entity",
        };
        FeatureError::SavedState { what, problem: problem.into() }
    }
}

/// Bytes being written.
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(form: Form, fingerprint: &str) -> Writer {
        let mut bytes = form.letters().to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(fingerprint.as_bytes());
        Writer { bytes }
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.u64(value as u64);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn row(&mut self, row: &[u64], layout: &Layout, texts: &Texts) {
        for place in [EVENT, AVAILABLE, POSITION].into_iter().chain(layout.until) {
            self.u64(row[place]);
        }
        for column in &layout.columns {
            let is_valid = column.is_valid(row);
            self.bytes.push(u8::from(is_valid));
            if !is_valid || column.value.is_none() {
                continue;
            }
            match column.kind {
                Kind::Text => self.bytes(texts.get(column.word(row)).as_bytes()),
                _ => self.u64(column.word(row)),
            }
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let check = Digest::of(&self.bytes).short();
        self.bytes.extend_from_slice(check.as_bytes());
        self.bytes
    }
}

/// Bytes being read.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    form: Form,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the envelope.
    pub(crate) fn open(form: Form, bytes: &'a [u8], fingerprint: &str) -> Result<Reader<'a>, FeatureError> {
        let too_short = || form.refuse(format!("it is only {} bytes long", bytes.len()));
        let (letters, rest) = bytes.split_at_checked(form.letters().len()).ok_or_else(too_short)?;
        if letters != form.letters() {
            return Err(form.refuse("it is something else"));
        }
        let (&version, rest) = rest.split_first().ok_or_else(too_short)?;
        if version != VERSION {
            return Err(form.refuse(format!("its version is {version}, not {VERSION}")));
        }
        let end = rest.len().checked_sub(DIGITS).ok_or_else(too_short)?;
        let (checked, check) = bytes.split_at(bytes.len() - DIGITS);
        if Digest::of(checked).short().as_bytes() != check {
            return Err(form.refuse("it is damaged"));
        }
        let (found, rest) = rest[..end].split_at_checked(DIGITS).ok_or_else(too_short)?;
        if found != fingerprint.as_bytes() {
            return Err(form.refuse("it was written for other views, columns or another max_lateness"));
        }
        Ok(Reader { form, rest })
    }

    /// Whether all is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], FeatureError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.form.refuse("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FeatureError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FeatureError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FeatureError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FeatureError> {
        Ok(self.u64()? as i64)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FeatureError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// Reads a row into `words`, as [`super::rows::Rows::insert`] wants them; `take` gives the code of a text.
    pub(crate) fn row(
        &mut self,
        layout: &Layout,
        mut take: impl FnMut(&str) -> u64,
        words: &mut Vec<u64>,
    ) -> Result<(), FeatureError> {
        words.clear();
        words.resize(layout.words, 0);
        for place in [EVENT, AVAILABLE, POSITION].into_iter().chain(layout.until) {
            words[place] = self.u64()?;
        }
        for column in &layout.columns {
            if self.u8()? == 0 {
                continue;
            }
            words[column.count] = 1;
            let Some(place) = column.value else { continue };
            words[place] = match column.kind {
                Kind::Text => {
                    let text = std::str::from_utf8(self.bytes()?);
                    take(text.map_err(|_| self.form.refuse("a text in it is not UTF-8"))?)
                }
                Kind::Float => {
                    let word = self.u64()?;
                    if f64::from_bits(word).is_nan() {
                        return Err(self.form.refuse("a number in it is NaN"));
                    }
                    word
                }
                Kind::Integer | Kind::Truth | Kind::Time | Kind::Other => self.u64()?,
            };
        }
        Ok(())
    }
}
