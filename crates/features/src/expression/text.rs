//! Scalar kernels of texts. Results are appended to a buffer, so that a text costs no allocation of its own.

use std::fmt::Write;

use paceline_core::Timestamp;

/// Upper case to lower case, character by character (so no final sigma).
pub(super) fn lower(text: &str, out: &mut String) {
    out.extend(text.chars().flat_map(char::to_lowercase));
}

/// Lower case to upper case, character by character.
pub(super) fn upper(text: &str, out: &mut String) {
    out.extend(text.chars().flat_map(char::to_uppercase));
}

/// Number of characters (Unicode scalar values).
pub(super) fn length(text: &str) -> i64 {
    text.chars().count() as i64
}

/// The characters from position `start` on; the first is 1, and earlier positions are before the text.
pub(super) fn substring_from(text: &str, start: i64) -> &str {
    let skipped = usize::try_from(start.saturating_sub(1)).unwrap_or(0);
    &text[byte_of_character(text, skipped)..]
}

/// The characters at positions `start` to `start + count - 1`, as far as the text has them; null for a negative count.
pub(super) fn substring(text: &str, start: i64, count: i64) -> Option<&str> {
    if count < 0 {
        return None;
    }
    let end = start.saturating_add(count).max(start.max(1));
    let rest = substring_from(text, start);
    let kept = usize::try_from(end - start.max(1)).unwrap_or(0);
    Some(&rest[..byte_of_character(rest, kept)])
}

fn byte_of_character(text: &str, position: usize) -> usize {
    text.char_indices().nth(position).map_or(text.len(), |(byte, _)| byte)
}

/// A number in decimal, spaces around it allowed; what is infinite or not a number becomes null when it is stored.
pub(super) fn to_float(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// A whole number, spaces around it allowed.
pub(super) fn to_int(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// true, t, yes, y, on, 1 or false, f, no, n, off, 0, in any case.
pub(super) fn to_bool(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 6]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is_one_of(["true", "t", "yes", "y", "on", "1"]) {
        return Some(true);
    }
    is_one_of(["false", "f", "no", "n", "off", "0"]).then_some(false)
}

/// ISO 8601; without an offset it means UTC.
pub(super) fn to_timestamp(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(|at| at.0)
}

pub(super) fn of_bool(value: bool, out: &mut String) {
    out.push_str(if value { "true" } else { "false" });
}

pub(super) fn of_int(value: i64, out: &mut String) {
    write!(out, "{value}").expect("a string takes every text");
}

/// The shortest decimal digits that read back as the same float, never with an exponent.
pub(super) fn of_float(value: f64, out: &mut String) {
    write!(out, "{value}").expect("a string takes every text");
}

/// ISO 8601 in UTC.
pub(super) fn of_timestamp(micros: i64, out: &mut String) {
    write!(out, "{}", Timestamp(micros)).expect("a string takes every text");
}
