//! Compiled patterns of `like`, `ilike` and `~`.

use regex::{Regex, RegexBuilder};

/// How much memory a compiled pattern may take.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;

const NESTING_MAX: u32 = 50;

/// A pattern, compiled once. Matching takes time linear in the text whatever the pattern.
#[derive(Debug)]
pub(super) enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

impl Pattern {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(whole) => text == whole,
            Pattern::Prefix(start) => text.starts_with(start.as_str()),
            Pattern::Suffix(end) => text.ends_with(end.as_str()),
            Pattern::Contains(part) => text.contains(part.as_str()),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }

    /// A regular expression that may match anywhere in the text. On failure the reason.
    pub(super) fn regex(pattern: &str) -> Result<Pattern, String> {
        build(pattern, false).map(Pattern::Regex)
    }

    /// A `like` pattern, which must match the whole text: `%` is any text, `_` any character, and a character after
    /// `escape` is itself. On failure the reason.
    pub(super) fn like(pattern: &str, escape: Option<char>, ignore_case: bool) -> Result<Pattern, String> {
        let pieces = like_pieces(pattern, escape)?;
        if !ignore_case && let Some(simple) = simple_like(&pieces) {
            return Ok(simple);
        }
        let body: String = pieces.iter().map(LikePiece::to_regex).collect();
        build(&format!("^(?s:{body})$"), ignore_case).map(Pattern::Regex)
    }
}

fn build(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => format!("is too large a pattern (over {limit} bytes compiled)"),
            other => format!("is not a regular expression: {}", last_line(&other.to_string())),
        })
}

/// The parser's message draws the pattern over several lines; the reason is the last one.
fn last_line(message: &str) -> &str {
    message.lines().last().unwrap_or(message).trim_start_matches("error: ")
}

#[derive(Debug, PartialEq)]
enum LikePiece {
    AnyText,
    AnyCharacter,
    Character(char),
}

impl LikePiece {
    fn to_regex(&self) -> String {
        match self {
            LikePiece::AnyText => ".*".to_owned(),
            LikePiece::AnyCharacter => ".".to_owned(),
            LikePiece::Character(character) => regex::escape(character.encode_utf8(&mut [0; 4])),
        }
    }
}

fn like_pieces(pattern: &str, escape: Option<char>) -> Result<Vec<LikePiece>, String> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            _ if Some(character) == escape => {
                let escaped = characters.next();
                LikePiece::Character(escaped.ok_or_else(|| format!("ends with the escape character {character:?}"))?)
            }
            '%' => LikePiece::AnyText,
            '_' => LikePiece::AnyCharacter,
            other => LikePiece::Character(other),
        });
    }
    Ok(pieces)
}

/// Patterns that need no regular expression: `abc`, `abc%`, `%abc`, `%abc%`.
fn simple_like(pieces: &[LikePiece]) -> Option<Pattern> {
    let (open_start, rest) = match pieces {
        [LikePiece::AnyText, rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (open_end, middle) = match rest {
        [rest @ .., LikePiece::AnyText] => (true, rest),
        all => (false, all),
    };
    let character = |piece: &LikePiece| match piece {
        LikePiece::Character(character) => Some(*character),
        LikePiece::AnyText | LikePiece::AnyCharacter => None,
    };
    let literal: String = middle.iter().map(character).collect::<Option<_>>()?;
    Some(match (open_start, open_end) {
        (false, false) => Pattern::Exact(literal),
        (false, true) => Pattern::Prefix(literal),
        (true, false) => Pattern::Suffix(literal),
        (true, true) => Pattern::Contains(literal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of `like`, tried at every position.
    fn like_by_definition(pieces: &[LikePiece], text: &[char]) -> bool {
        match (pieces, text) {
            ([], _) => text.is_empty(),
            ([LikePiece::AnyText, rest @ ..], _) => {
                (0..=text.len()).any(|skip| like_by_definition(rest, &text[skip..]))
            }
            ([LikePiece::AnyCharacter, rest @ ..], [_, tail @ ..]) => like_by_definition(rest, tail),
            ([LikePiece::Character(wanted), rest @ ..], [found, tail @ ..]) => {
                wanted == found && like_by_definition(rest, tail)
            }
            (_, []) => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn like_agrees_with_its_definition(pattern in "[ab%_.\\\\\n]{0,6}", text in "[ab.%\n]{0,6}") {
            if let Ok(pieces) = like_pieces(&pattern, Some('\\')) {
                let expected = like_by_definition(&pieces, &text.chars().collect::<Vec<_>>());
                let compiled = Pattern::like(&pattern, Some('\\'), false).expect("a valid pattern");
                proptest::prop_assert_eq!(compiled.matches(&text), expected, "{:?} like {:?}", text, pattern);
                let regex = Pattern::like(&pattern, Some('\\'), true).expect("a valid pattern");
                proptest::prop_assert_eq!(regex.matches(&text.to_uppercase()), expected, "{:?} ilike {:?}", text, pattern);
            }
        }
    }

    #[test]
    fn patterns_have_limits_and_reasons() {
        let reason = |pattern: &str| Pattern::regex(pattern).expect_err("refused");
        assert_eq!(reason("(a"), "is not a regular expression: unclosed group");
        assert!(reason("((a{1000}){1000}){1000}").starts_with("is too large a pattern"));
        assert_eq!(
            Pattern::like("a\\", Some('\\'), false).expect_err("refused"),
            "ends with the escape character '\\\\'"
        );
    }
}
