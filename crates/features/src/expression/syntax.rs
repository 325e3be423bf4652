//! From text to a syntax tree, and from places in the tree back to bytes of the text.

use std::collections::HashSet;
use std::ops::Range;

use sqlparser::ast::{Expr, Spanned};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::error::{ExpressionError, Mistake};

/// Longest expression text, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most tokens of an expression.
pub const TOKENS_MAX: usize = 4096;
/// Deepest nesting of parentheses, calls and cases. It bounds the stack that parsing and compiling take.
pub const DEPTH_MAX: usize = 40;

/// How far the parser may recurse: a level of nesting takes a step for every level of precedence that is written in it.
pub(super) const RECURSION_MAX: usize = 4 * DEPTH_MAX;

/// An expression text with its tokens (spaces and comments left out).
#[derive(Debug)]
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
    tokens: Vec<(Token, Range<usize>)>,
    line_starts: Vec<usize>,
    is_ascii: bool,
}

impl<'t> Source<'t> {
    /// Parses `text`. Words that name a column are read as names even where SQL reserves them (`user`, `time`).
    pub(super) fn parse(text: &'t str, columns: &HashSet<&str>) -> Result<(Source<'t>, Expr), ExpressionError> {
        let whole = 0..text.len();
        let mistake = |span: Range<usize>, mistake| ExpressionError { span, mistake };
        if text.len() > TEXT_BYTES_MAX {
            let too_long = Mistake::TooLong { found: text.len(), unit: "bytes", limit: TEXT_BYTES_MAX };
            return Err(mistake(whole, too_long));
        }
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut source = Source { text, tokens: Vec::new(), line_starts, is_ascii: text.is_ascii() };
        let dialect = PostgreSqlDialect {};
        let mut tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
            let start = source.byte(error.location);
            mistake(source.character_at(start), Mistake::Syntax { reason: error.message })
        })?;
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        let mut tokens: Vec<TokenWithSpan> = tokens.into_iter().flat_map(|token| split_sign(&dialect, token)).collect();
        if tokens.len() > TOKENS_MAX {
            let too_long = Mistake::TooLong { found: tokens.len(), unit: "tokens", limit: TOKENS_MAX };
            return Err(mistake(whole, too_long));
        }
        if tokens.is_empty() {
            return Err(mistake(whole, Mistake::Syntax { reason: "the expression is empty".to_owned() }));
        }
        source.tokens = tokens.iter().map(|token| (token.token.clone(), source.bytes(token.span))).collect();
        if let Some(place) = source.first_too_deep() {
            return Err(mistake(place, Mistake::TooDeep { limit: DEPTH_MAX }));
        }
        read_column_names_as_names(&mut tokens, columns);
        let mut parser = Parser::new(&dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
        let tree = parser.parse_expr().map_err(|error| source.explain(error))?;
        let rest = parser.peek_token();
        if rest.token != Token::EOF {
            let span = source.bytes(rest.span);
            let reason = format!("unexpected `{}` after the end of the expression", rest.token);
            return Err(mistake(span, Mistake::Syntax { reason }));
        }
        Ok((source, tree))
    }

    /// The first token that is nested too deeply. The parser has a limit too, but reads a `not` beyond it as a name.
    fn first_too_deep(&self) -> Option<Range<usize>> {
        // Prefix operators that wait for their operand: within each open parenthesis or case, and here.
        let mut outer: Vec<usize> = Vec::new();
        let mut waiting = 0;
        let mut outer_waiting = 0;
        for (token, place) in &self.tokens {
            let keyword = if let Token::Word(word) = token { word.keyword } else { Keyword::NoKeyword };
            match (token, keyword) {
                (Token::LParen, _) | (_, Keyword::CASE) => {
                    outer.push(waiting);
                    outer_waiting += waiting;
                    waiting = 0;
                }
                (Token::RParen, _) | (_, Keyword::END) => {
                    outer_waiting -= outer.pop().unwrap_or(0);
                    waiting = 0;
                }
                (Token::Plus | Token::Minus, _) | (_, Keyword::NOT) => waiting += 1,
                _ => waiting = 0,
            }
            if outer.len() + outer_waiting + waiting > DEPTH_MAX {
                return Some(place.clone());
            }
        }
        None
    }

    /// The bytes of a place in the tree; the whole text where the parser does not say.
    pub(super) fn bytes(&self, span: Span) -> Range<usize> {
        if span == Span::empty() {
            return 0..self.text.len();
        }
        let start = self.byte(span.start);
        start..self.byte(span.end).max(start)
    }

    /// The bytes of a part of the tree, as far as the parser knows them.
    pub(super) fn bytes_of(&self, part: &Expr) -> Range<usize> {
        self.bytes(part.span())
    }

    /// `span` and the token before it.
    pub(super) fn with_token_before(&self, span: Range<usize>) -> Range<usize> {
        let before = self.tokens.iter().rev().find(|(_, token)| token.end <= span.start);
        before.map_or(span.start, |(_, token)| token.start)..span.end
    }

    /// `span` and `count` tokens after it.
    pub(super) fn with_tokens_after(&self, span: Range<usize>, count: usize) -> Range<usize> {
        let after = self.tokens.iter().filter(|(_, token)| token.start >= span.end).take(count).last();
        span.start..after.map_or(span.end, |(_, token)| token.end)
    }

    /// `span`, extended forward to the end of the next pair of parentheses.
    pub(super) fn to_closing_parenthesis(&self, span: Range<usize>) -> Range<usize> {
        let mut depth = 0_usize;
        for (token, place) in self.tokens.iter().filter(|(_, token)| token.start >= span.start) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 1 && place.start >= span.end => return span.start..place.end,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        span
    }

    /// A call such as `floor(...)` whose first argument is at `argument`.
    pub(super) fn call(&self, keyword: &str, argument: Range<usize>) -> Range<usize> {
        let is_keyword = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(keyword));
        let name = self.tokens.iter().rev().find(|(token, place)| place.end <= argument.start && is_keyword(token));
        let start = name.map_or(argument.start, |(_, place)| place.start);
        self.to_closing_parenthesis(start..argument.end)
    }

    fn byte(&self, at: Location) -> usize {
        let line = usize::try_from(at.line).unwrap_or(1).max(1) - 1;
        let column = usize::try_from(at.column).unwrap_or(1).max(1) - 1;
        let start = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        if self.is_ascii {
            return (start + column).min(self.text.len());
        }
        self.text[start..].char_indices().nth(column).map_or(self.text.len(), |(byte, _)| start + byte)
    }

    fn character_at(&self, byte: usize) -> Range<usize> {
        byte..byte + self.text[byte..].chars().next().map_or(0, char::len_utf8)
    }

    /// The parser writes the place into the message; it is taken out again.
    fn explain(&self, error: ParserError) -> ExpressionError {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return ExpressionError { span: 0..self.text.len(), mistake: Mistake::TooDeep { limit: DEPTH_MAX } };
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let located = message.rsplit_once(" at Line: ").and_then(|(reason, place)| {
            let (line, column) = place.split_once(", Column: ")?;
            let start = self.byte(Location::new(line.parse().ok()?, column.parse().ok()?));
            let token = self.tokens.iter().find(|(_, token)| token.contains(&start));
            Some((token.map_or_else(|| self.character_at(start), |(_, token)| token.clone()), reason.to_owned()))
        });
        // Only the end of the text has no place.
        let (span, reason) = located.unwrap_or((self.text.len()..self.text.len(), message));
        let reason = reason.replace("found: EOF", "found the end of the expression");
        ExpressionError { span, mistake: Mistake::Syntax { reason } }
    }
}

/// Words of the grammar itself: a column of such a name must be quoted.
const GRAMMAR: [Keyword; 22] = [
    Keyword::AND,
    Keyword::AS,
    Keyword::BETWEEN,
    Keyword::CASE,
    Keyword::CAST,
    Keyword::ELSE,
    Keyword::END,
    Keyword::ESCAPE,
    Keyword::FALSE,
    Keyword::FOR,
    Keyword::FROM,
    Keyword::ILIKE,
    Keyword::IN,
    Keyword::IS,
    Keyword::LIKE,
    Keyword::NOT,
    Keyword::NULL,
    Keyword::OR,
    Keyword::THEN,
    Keyword::TRUE,
    Keyword::WHEN,
    Keyword::EXTRACT,
];

/// Splits the sign from an operator before it: `price>-1`. In PostgreSQL no operator of these characters ends in a sign.
fn split_sign(dialect: &PostgreSqlDialect, token: TokenWithSpan) -> Vec<TokenWithSpan> {
    let Token::CustomBinaryOperator(operator) = &token.token else { return vec![token] };
    let Some((last, sign)) = operator.char_indices().last().filter(|(last, sign)| *last > 0 && "+-".contains(*sign))
    else {
        return vec![token];
    };
    let Ok(head) = Tokenizer::new(dialect, &operator[..last]).tokenize() else { return vec![token] };
    let [head] = head.as_slice() else { return vec![token] };
    let middle = Location::new(token.span.end.line, token.span.end.column - 1);
    let sign = if sign == '-' { Token::Minus } else { Token::Plus };
    let mut parts = split_sign(dialect, TokenWithSpan::new(head.clone(), Span::new(token.span.start, middle)));
    parts.push(TokenWithSpan::new(sign, Span::new(middle, token.span.end)));
    parts
}

/// Takes the special meaning from words that are part of a dotted name or that name a column, unless they stand where
/// only the keyword can: before a parenthesis or a text, as a type, as a field of a time.
fn read_column_names_as_names(tokens: &mut [TokenWithSpan], columns: &HashSet<&str>) {
    for position in 0..tokens.len() {
        let before = position.checked_sub(1).map(|before| tokens[before].token.clone());
        let after = tokens.get(position + 1).map(|after| after.token.clone());
        let is_keyword =
            |token: &Option<Token>, keyword| matches!(token, Some(Token::Word(word)) if word.keyword == keyword);
        let dotted = before == Some(Token::Period) || after == Some(Token::Period);
        let elsewhere = matches!(after, Some(Token::LParen | Token::SingleQuotedString(_)))
            || before == Some(Token::DoubleColon)
            || is_keyword(&before, Keyword::AS)
            || is_keyword(&after, Keyword::FROM);
        if let Token::Word(word) = &mut tokens[position].token {
            let is_column = columns.contains(word.value.as_str()) && !GRAMMAR.contains(&word.keyword) && !elsewhere;
            if dotted || is_column {
                word.keyword = Keyword::NoKeyword;
            }
        }
    }
}
