//! Mistakes: where they are, what they say, that all are found, and the limits.

use super::{DEPTH_MAX, ExpressionError, Mistake, Program, TEXT_BYTES_MAX, TOKENS_MAX, Type};

const COLUMNS: [(&str, Type); 7] = [
    ("quantity", Type::Int),
    ("price", Type::Float),
    ("item.price_mean", Type::Float),
    ("user_id", Type::Text),
    ("seen", Type::Timestamp),
    ("returned", Type::Bool),
    ("größe", Type::Int),
];

fn mistakes(text: &str) -> Vec<ExpressionError> {
    Program::compile(text, &COLUMNS).expect_err(text)
}

/// Each mistake as the part of the text that it is about and its message.
fn check(text: &str, expected: &[(&str, &str)]) {
    let found = mistakes(text);
    let found: Vec<(&str, String)> =
        found.iter().map(|mistake| (&text[mistake.span.clone()], mistake.to_string())).collect();
    assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
    for ((part, message), (expected_part, expected_message)) in found.iter().zip(expected) {
        assert_eq!(part, expected_part, "{text}: {message}");
        assert!(message.contains(expected_message), "{text}: {message:?} does not say {expected_message:?}");
    }
}

#[test]
fn names_are_suggested() {
    check(
        "quantty * 2",
        &[("quantty", "unknown column \"quantty\"; did you mean \"quantity\"?; columns: quantity, price")],
    );
    check("Price", &[("Price", "did you mean \"price\"?")]);
    check("price_mean", &[("price_mean", "did you mean \"item.price_mean\"?")]);
    check("1 + item.price_men", &[("item.price_men", "did you mean \"item.price_mean\"?")]);
    check("weather", &[("weather", "unknown column \"weather\"; columns:")]);
    check("größ + 1", &[("größ", "did you mean \"größe\"?")]);
    check("sqr(price)", &[("sqr", "unknown function \"sqr\"; did you mean \"sqrt\"?")]);
    check("log(price)", &[("log", "write ln(x)")]);
    check("concat(user_id, 'a')", &[("concat", "write a || b")]);
    check("now()", &[("now", "no clock")]);
    check("frobnicate(price)", &[("frobnicate", "the functions are abs, ceil")]);
}

#[test]
fn all_mistakes_are_found_in_their_order() {
    check(
        "quantty + prise * ln(user_id) > 1 and pow(price, 2) = 4",
        &[
            ("quantty", "quantity"),
            ("prise", "did you mean \"price\"?"),
            ("user_id", "`user_id` is a text, but ln needs a number"),
            ("pow", "write power(base, exponent)"),
        ],
    );
    check(
        "case when price then 1 when returned then 'a' else seen end",
        &[
            ("price", "`price` is a number, but when needs a truth value; write a comparison, for example ... <> 0"),
            ("'a'", "`'a'` is a text, but case needs a whole number like `1`"),
            ("seen", "`seen` is a timestamp"),
        ],
    );
    check("largest(price, user_i)", &[("largest", "unknown function"), ("user_i", "user_id")]);
}

#[test]
fn types_are_checked_where_they_matter() {
    check(
        "price + user_id",
        &[("user_id", "`user_id` is a text, but + needs a number; write cast(... as double precision)")],
    );
    check("price + returned", &[("returned", "write cast(... as int)")]);
    check("price - seen", &[("seen", "write extract(epoch from ...), in seconds")]);
    check(
        "(quantity + 1) || 'a'",
        &[("(quantity + 1)", "is a whole number, but || needs a text; write cast(... as text)")],
    );
    check("user_id = quantity", &[("quantity", "`quantity` is a whole number, but = needs a text like `user_id`")]);
    check("seen > 'tomorrow'", &[("'tomorrow'", "is not a time; write '2011-09-01'")]);
    check("seen = user_id", &[("user_id", "but = needs a timestamp like `seen`")]);
    check("not price", &[("price", "but not needs a truth value")]);
    check("-user_id", &[("user_id", "but - needs a number")]);
    check("quantity in (1, 'a', 2)", &[("'a'", "but in needs a whole number")]);
    check("extract(hour from price)", &[("price", "but extract needs a timestamp")]);
    check("lower(quantity)", &[("quantity", "but lower needs a text")]);
    check("price like '1%'", &[("price", "but like needs a text")]);
    check("substr(user_id, 1.5)", &[("1.5", "but substr needs a whole number; write cast(... as bigint)")]);
    check("cast(price as boolean)", &[("price", "write a comparison, for example ... <> 0")]);
    check("cast(seen as bigint)", &[("seen", "write extract(epoch from ...)")]);
    check("cast(quantity as timestamp)", &[("quantity", "time_unit")]);
    check("hash_bucket(price, 10)", &[("price", "a text or a whole number")]);
    check("null", &[("null", "null of no known type")]);
    check("coalesce(null, null)", &[("coalesce(null, null)", "null of no known type")]);
}

#[test]
fn literals_and_counts_are_checked() {
    check("9223372036854775808", &[("9223372036854775808", "too large for a whole number of 64 bits")]);
    check("1e999", &[("1e999", "too large for a float")]);
    check("timestamp '2011-13-01'", &[("'2011-13-01'", "is not a time")]);
    check("user_id ~ '(a'", &[("'(a'", "is not a regular expression: unclosed group")]);
    check("user_id ~ 'a{1000}{1000}'", &[("'a{1000}{1000}'", "too large a pattern")]);
    check("user_id ~ user_id", &[("user_id", "patterns are compiled once")]);
    check("user_id like 'a\\'", &[("'a\\'", "ends with the escape character")]);
    check("user_id like 'a' escape 'xy'", &[("'xy'", "write one character in quotes")]);
    check("hash_bucket(user_id, 0)", &[("0", "is not a number of buckets")]);
    check("hash_bucket(user_id, quantity)", &[("quantity", "is not a number of buckets")]);
    check("round(price, 16)", &[("16", "is not a number of digits")]);
    check("sqrt(price, 2)", &[("sqrt(price, 2)", "sqrt takes one argument, but 2 are written")]);
    check("haversine(1, 2)", &[("haversine(1, 2)", "haversine takes four arguments")]);
    check("coalesce()", &[("coalesce()", "coalesce takes one or more arguments, but 0 are written")]);
}

#[test]
fn what_is_not_in_the_language_is_refused() {
    check("price ^ 2", &[("price ^ 2", "write power(base, exponent)")]);
    check("user_id ~* 'a'", &[("user_id ~* 'a'", "write text ~ '(?i)pattern'")]);
    check("returned is true", &[("returned", "write coalesce(condition, true)")]);
    check("extract(minute from seen)", &[("extract(minute from seen)", "the fields are hour, dow")]);
    check("cast(price as numeric(10, 2))", &[(" as numeric(10, 2))", "write double precision")]);
    check("try_cast(price as int)", &[("price", "write cast(value as type)")]);
    check("seen - interval '1 day'", &[("'1 day'", "extract(epoch from")]);
    check("(select 1)", &[("select 1", "an expression sees one row")]);
    check("sum(price) over ()", &[("sum(price)", "an expression sees one row")]);
    check("count(*)", &[("count(*)", "an expression sees one row")]);
    check("current_timestamp", &[("current_timestamp", "unknown function")]);
    check("x'ff'", &[("x'ff'", "the literal X'ff' is not supported")]);
    check("array[1, 2]", &[("1, 2", "is not supported")]);
}

#[test]
fn grammar_mistakes_have_a_place() {
    check("", &[("", "the expression is empty")]);
    check("  \n ", &[("  \n ", "the expression is empty")]);
    check("price +", &[("", "found the end of the expression")]);
    check("price quantity", &[("quantity", "unexpected `quantity` after the end of the expression")]);
    check("price * (1 + 2", &[("", "found the end of the expression")]);
    check("price * * 2", &[("*", "an expression")]);
    check("größe +\n  ) 2", &[(")", "an expression")]);
    check("price = 'abc", &[("'", "Unterminated string literal")]);
    check("price > 1; drop table sales", &[(";", "unexpected `;`")]);
    assert_eq!(mistakes("price * * 2")[0].span, 8..9);
    assert_eq!(mistakes("größe + quantty")[0].span, "größe + ".len().."größe + quantty".len());
    assert_eq!(mistakes("price +\n quantty")[0].span, 9..16);
    assert_eq!(mistakes("price>-quantty")[0].span, 7..14);
}

#[test]
fn limits_are_kept_and_named() {
    let long = format!("price{}", " ".repeat(TEXT_BYTES_MAX));
    assert!(matches!(mistakes(&long)[0].mistake, Mistake::TooLong { unit: "bytes", limit: TEXT_BYTES_MAX, .. }));
    let many = "1+".repeat(TOKENS_MAX / 2) + "1";
    assert!(matches!(mistakes(&many)[0].mistake, Mistake::TooLong { unit: "tokens", limit: TOKENS_MAX, .. }));
    let deep = |levels: usize| format!("{}price{}", "(".repeat(levels), ")".repeat(levels));
    assert!(Program::compile(&deep(DEPTH_MAX - 2), &COLUMNS).is_ok());
    for text in [
        deep(10 * DEPTH_MAX),
        "not ".repeat(10 * DEPTH_MAX) + "returned",
        format!("price{}", " is null".repeat(10 * DEPTH_MAX)),
        format!("price{}", "::float".repeat(10 * DEPTH_MAX)),
        format!("{}1{}", "case when returned then ".repeat(10 * DEPTH_MAX), " end".repeat(10 * DEPTH_MAX)),
        format!("{}price{}", "abs(".repeat(10 * DEPTH_MAX), ")".repeat(10 * DEPTH_MAX)),
    ] {
        let found = mistakes(&text);
        assert!(matches!(found[0].mistake, Mistake::TooDeep { limit: DEPTH_MAX }), "{}: {found:?}", &text[..40]);
    }
}

/// The stack of a test's thread, 2 MiB, is the smallest that a caller has.
#[test]
fn the_deepest_text_fits_on_a_small_stack() {
    let level = "returned or returned and quantity = 1 + 2 * -cast(case when not ";
    let deepest =
        |levels: usize| format!("{}returned{}", level.repeat(levels), " then 1 end as bigint)".repeat(levels));
    let fits = (1..=DEPTH_MAX).take_while(|levels| Program::compile(&deepest(*levels), &COLUMNS).is_ok()).count();
    assert!(fits >= 8, "only {fits} levels of everything at once");
    assert!(matches!(mistakes(&deepest(fits + 1))[0].mistake, Mistake::TooDeep { .. }));
}

#[test]
fn a_long_chain_is_not_deep_and_nothing_grows_exponentially() {
    let chain = "price + ".repeat(TOKENS_MAX / 2 - 2) + "price";
    assert!(Program::compile(&chain, &COLUMNS).is_ok());
    let items: Vec<String> = (0..TOKENS_MAX / 2 - 4).map(|item| item.to_string()).collect();
    assert!(Program::compile(&format!("quantity in ({})", items.join(",")), &COLUMNS).is_ok());
    let nested =
        (0..12).fold("quantity".to_owned(), |inner, _| format!("case {inner} when 1 then 2 when 3 then 4 else 5 end"));
    assert!(Program::compile(&nested, &COLUMNS).is_ok());
}

proptest::proptest! {
    /// Whatever is written, the answer is a program or mistakes within the text.
    #[test]
    fn any_text_gets_an_answer(text in "[a-z0-9 ()'\"+*/%<>=~!.,:;|ß\n-]{0,40}") {
        if let Err(mistakes) = Program::compile(&text, &COLUMNS) {
            proptest::prop_assert!(!mistakes.is_empty());
            for mistake in mistakes {
                proptest::prop_assert!(text.get(mistake.span.clone()).is_some(), "{:?} in {:?}", mistake.span, text);
            }
        }
    }

    /// Texts that are made of the language's own words reach deeper than random letters.
    #[test]
    fn any_words_get_an_answer(words in proptest::collection::vec(proptest::sample::select(vec![
        "price", "quantity", "user_id", "seen", "returned", "item.price_mean", "1", "2.5", "'a'", "null", "true", "+", "-", "*",
        "/", "%", "=", "<>", "<", "and", "or", "not", "is", "null", "in", "between", "like", "ilike", "~", "!~", "(", ")", ",",
        "case", "when", "then", "else", "end", "cast", "as", "int", "text", "timestamp", "::", "extract", "hour", "from",
        "coalesce(", "ln(", "substr(", "floor(", "hash_bucket(", "haversine(", "round(", "||", "escape", "for", "interval",
    ]), 0..14)) {
        let text = words.join(" ");
        if let Err(mistakes) = Program::compile(&text, &COLUMNS) {
            proptest::prop_assert!(!mistakes.is_empty());
            for mistake in mistakes {
                proptest::prop_assert!(text.get(mistake.span.clone()).is_some(), "{:?} in {:?}", mistake.span, text);
            }
        }
    }
}
