//! A slow, obvious evaluator that walks a tree, and random well-typed trees to compare with.
//!
//! It shares no code with the compiled program: numbers are computed in 128 bits, times with chrono's own fields, texts
//! on vectors of characters. Only the platform's `ln`, `exp` and `powf` are the same.

use chrono::{DateTime, Datelike, Timelike};
use paceline_core::Value;
use proptest::prelude::*;

use super::Type;

/// The columns of the random rows: two of each type.
pub(super) const COLUMNS: [(&str, Type); 10] = [
    ("b1", Type::Bool),
    ("view.b2", Type::Bool),
    ("i1", Type::Int),
    ("i2", Type::Int),
    ("x1", Type::Float),
    ("view.x2", Type::Float),
    ("s1", Type::Text),
    ("s2", Type::Text),
    ("t1", Type::Timestamp),
    ("t2", Type::Timestamp),
];

/// An expression with its type. Floats, ints and times of a row are as in [`COLUMNS`].
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Column(usize),
    Bool(Option<bool>),
    Int(Option<i64>),
    Float(Option<f64>),
    Text(Option<String>),
    /// A call of the function or operator of this name, with the type of its result.
    Call(&'static str, Type, Vec<Tree>),
}

impl Tree {
    pub(super) fn kind(&self) -> Type {
        match self {
            Tree::Column(index) => COLUMNS[*index].1,
            Tree::Bool(_) => Type::Bool,
            Tree::Int(_) => Type::Int,
            Tree::Float(_) => Type::Float,
            Tree::Text(_) => Type::Text,
            Tree::Call(_, kind, _) => *kind,
        }
    }

    /// The expression in SQL, with every operand in parentheses.
    pub(super) fn sql(&self) -> String {
        match self {
            Tree::Column(index) => COLUMNS[*index].0.to_owned(),
            Tree::Bool(Some(value)) => value.to_string(),
            // A sign binds less than a cast, so it needs parentheses.
            Tree::Int(Some(value)) => format!("({value})"),
            Tree::Float(Some(value)) => format!("({value:?})"),
            Tree::Text(Some(text)) => format!("'{}'", text.replace('\'', "''")),
            Tree::Bool(None) => "cast(null as boolean)".to_owned(),
            Tree::Int(None) => "cast(null as bigint)".to_owned(),
            Tree::Float(None) => "cast(null as double precision)".to_owned(),
            Tree::Text(None) => "null::text".to_owned(),
            Tree::Call(name, _, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(Tree::sql).collect();
                call_sql(name, &arguments)
            }
        }
    }
}

fn call_sql(name: &str, a: &[String]) -> String {
    match name {
        "+" | "-" | "*" | "/" | "%" | "=" | "<>" | "<" | "<=" | ">" | ">=" | "and" | "or" | "||" => {
            format!("({} {name} {})", a[0], a[1])
        }
        "negate" => format!("(- {})", a[0]),
        "not" => format!("(not {})", a[0]),
        "is null" | "is not null" => format!("({} {name})", a[0]),
        "between" => format!("({} between {} and {})", a[0], a[1], a[2]),
        "not between" => format!("({} not between {} and {})", a[0], a[1], a[2]),
        "in" => format!("({} in ({}))", a[0], a[1..].join(", ")),
        "not in" => format!("({} not in ({}))", a[0], a[1..].join(", ")),
        "case" => format!("case when {} then {} when {} then {} else {} end", a[0], a[1], a[2], a[3], a[4]),
        "case of" => format!("case {} when {} then {} when {} then {} end", a[0], a[1], a[2], a[3], a[4]),
        "to bool" => format!("cast({} as boolean)", a[0]),
        "to int" => format!("cast({} as bigint)", a[0]),
        "to float" => format!("{}::double precision", a[0]),
        "to text" => format!("cast({} as text)", a[0]),
        // A literal alone would be checked when it is compiled.
        "to timestamp" => format!("cast({} || '' as timestamp)", a[0]),
        "hour" | "dow" | "day" | "month" | "year" | "epoch" => format!("extract({name} from {})", a[0]),
        "round2" => format!("round({}, 2)", a[0]),
        "like" => format!("({} like 'a%b_')", a[0]),
        "ilike" => format!("({} not ilike '%A')", a[0]),
        "~" => format!("({} ~ '^[ab]+$')", a[0]),
        "!~" => format!("({} !~ 'b')", a[0]),
        "hash_bucket" => format!("hash_bucket({}, 7)", a[0]),
        function => format!("{function}({})", a.join(", ")),
    }
}

/// The value of `tree` in a row, by the rules of `docs/expressions.md`.
pub(super) fn evaluate(tree: &Tree, row: &[Value]) -> Value {
    match tree {
        Tree::Column(index) => match row[*index] {
            Value::Float(value) => float(value),
            _ => row[*index].clone(),
        },
        Tree::Bool(value) => value.map_or(Value::Null, Value::Bool),
        Tree::Int(value) => value.map_or(Value::Null, Value::Int),
        Tree::Float(value) => value.map_or(Value::Null, float),
        Tree::Text(text) => text.as_deref().map_or(Value::Null, |text| Value::Text(text.into())),
        Tree::Call(name, kind, arguments) => {
            let values: Vec<Value> = arguments.iter().map(|argument| evaluate(argument, row)).collect();
            let kinds: Vec<Type> = arguments.iter().map(Tree::kind).collect();
            call(name, *kind, &kinds, &values)
        }
    }
}

fn call(name: &str, kind: Type, kinds: &[Type], values: &[Value]) -> Value {
    match name {
        "and" | "or" => return logic(name == "and", &values[0], &values[1]),
        "is null" => return Value::Bool(values[0] == Value::Null),
        "is not null" => return Value::Bool(values[0] != Value::Null),
        "coalesce" => {
            let first = values.iter().find(|value| **value != Value::Null);
            return first.map_or(Value::Null, |value| widen(value, kind));
        }
        "nullif" => {
            let equal = compare(&values[0], &values[1]) == Some(std::cmp::Ordering::Equal);
            return if equal { Value::Null } else { widen(&values[0], kind) };
        }
        "least" | "greatest" => {
            let wanted = if name == "least" { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
            let mut best = Value::Null;
            for value in values.iter().filter(|value| **value != Value::Null) {
                let value = widen(value, kind);
                if best == Value::Null || compare(&value, &best) == Some(wanted) {
                    best = value;
                }
            }
            return best;
        }
        "case" => {
            let chosen = match (&values[0], &values[2]) {
                (Value::Bool(true), _) => &values[1],
                (_, Value::Bool(true)) => &values[3],
                _ => &values[4],
            };
            return widen(chosen, kind);
        }
        "case of" => {
            let is = |other: &Value| compare(&values[0], other) == Some(std::cmp::Ordering::Equal);
            return match () {
                () if is(&values[1]) => widen(&values[2], kind),
                () if is(&values[3]) => widen(&values[4], kind),
                () => Value::Null,
            };
        }
        "between" | "not between" => {
            let above = compare(&values[0], &values[1]).map_or(Value::Null, |order| Value::Bool(order.is_ge()));
            let below = compare(&values[0], &values[2]).map_or(Value::Null, |order| Value::Bool(order.is_le()));
            return negate_if(name == "not between", logic(true, &above, &below));
        }
        "in" | "not in" => {
            let mut found = Value::Bool(false);
            for item in &values[1..] {
                let equal = compare(&values[0], item).map_or(Value::Null, |order| Value::Bool(order.is_eq()));
                found = logic(false, &found, &equal);
            }
            return negate_if(name == "not in", found);
        }
        _ => {}
    }
    if values.contains(&Value::Null) {
        return Value::Null;
    }
    let order = || compare(&values[0], values.get(1).expect("two operands")).expect("both known");
    match name {
        "=" => Value::Bool(order().is_eq()),
        "<>" => Value::Bool(order().is_ne()),
        "<" => Value::Bool(order().is_lt()),
        "<=" => Value::Bool(order().is_le()),
        ">" => Value::Bool(order().is_gt()),
        ">=" => Value::Bool(order().is_ge()),
        "+" | "-" | "*" | "/" | "%" if kind == Type::Int => {
            whole_arithmetic(name, int_of(&values[0]), int_of(&values[1]))
        }
        "+" => float(number(&values[0]) + number(&values[1])),
        "-" => float(number(&values[0]) - number(&values[1])),
        "*" => float(number(&values[0]) * number(&values[1])),
        "/" => float(number(&values[0]) / number(&values[1])),
        "%" => float(number(&values[0]) % number(&values[1])),
        "negate" if kind == Type::Int => whole(-i128::from(int_of(&values[0]))),
        "negate" => float(-number(&values[0])),
        "abs" if kind == Type::Int => whole(i128::from(int_of(&values[0])).abs()),
        "abs" => float(number(&values[0]).abs()),
        "floor" | "ceil" | "round" if kind == Type::Int => values[0].clone(),
        "floor" => float(number(&values[0]).floor()),
        "ceil" => float(number(&values[0]).ceil()),
        "round" => float(half_to_even(number(&values[0]))),
        "round2" => {
            let scaled = number(&values[0]) * 100.0;
            if scaled.is_infinite() { values[0].clone() } else { float(half_to_even(scaled) / 100.0) }
        }
        "ln" => float(number(&values[0]).ln()),
        "exp" => float(number(&values[0]).exp()),
        "sqrt" => float(number(&values[0]).sqrt()),
        "power" => float(number(&values[0]).powf(number(&values[1]))),
        "haversine" => distance(values),
        "not" => Value::Bool(values[0] == Value::Bool(false)),
        "lower" => text(&characters(&values[0]).iter().flat_map(|c| c.to_lowercase()).collect::<Vec<_>>()),
        "upper" => text(&characters(&values[0]).iter().flat_map(|c| c.to_uppercase()).collect::<Vec<_>>()),
        "length" => Value::Int(characters(&values[0]).len() as i64),
        "||" => text(&[characters(&values[0]), characters(&values[1])].concat()),
        "substr" => substring(values),
        "like" => Value::Bool(matches!(characters(&values[0]).as_slice(), ['a', .., 'b', _])),
        "ilike" => Value::Bool(!matches!(characters(&values[0]).as_slice(), [.., 'a' | 'A'])),
        "~" => {
            let all = characters(&values[0]);
            Value::Bool(!all.is_empty() && all.iter().all(|c| ['a', 'b'].contains(c)))
        }
        "!~" => Value::Bool(!characters(&values[0]).contains(&'b')),
        "hash_bucket" => hash_bucket(&values[0], 7),
        "hour" | "dow" | "day" | "month" | "year" | "epoch" => time_field(name, int_of(&values[0])),
        "to bool" | "to int" | "to float" | "to text" | "to timestamp" => cast(kinds[0], kind, &values[0]),
        other => panic!("the reference does not know {other}"),
    }
}

fn logic(and: bool, a: &Value, b: &Value) -> Value {
    let deciding = Value::Bool(!and);
    if *a == deciding || *b == deciding {
        return deciding;
    }
    if *a == Value::Null || *b == Value::Null { Value::Null } else { Value::Bool(and) }
}

fn negate_if(negated: bool, value: Value) -> Value {
    match value {
        Value::Bool(value) => Value::Bool(value != negated),
        other => other,
    }
}

fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => number(a).partial_cmp(&number(b)),
    }
}

fn widen(value: &Value, kind: Type) -> Value {
    match (value, kind) {
        (Value::Int(value), Type::Float) => Value::Float(*value as f64),
        _ => value.clone(),
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        other => panic!("{other:?} is not a number"),
    }
}

fn int_of(value: &Value) -> i64 {
    match value {
        Value::Int(value) => *value,
        other => panic!("{other:?} is not a whole number"),
    }
}

fn characters(value: &Value) -> Vec<char> {
    match value {
        Value::Text(text) => text.chars().collect(),
        other => panic!("{other:?} is not a text"),
    }
}

fn text(characters: &[char]) -> Value {
    Value::Text(characters.iter().collect::<String>().into())
}

fn float(value: f64) -> Value {
    if value.is_finite() { Value::Float(value) } else { Value::Null }
}

fn whole(value: i128) -> Value {
    i64::try_from(value).map_or(Value::Null, Value::Int)
}

fn whole_arithmetic(name: &str, a: i64, b: i64) -> Value {
    let (a, b) = (i128::from(a), i128::from(b));
    match name {
        "+" => whole(a + b),
        "-" => whole(a - b),
        "*" => whole(a * b),
        _ if b == 0 => Value::Null,
        "/" => whole(a / b),
        _ => whole(a % b),
    }
}

fn half_to_even(value: f64) -> f64 {
    let below = value.floor();
    let rounded = match value - below {
        part if part < 0.5 => below,
        part if part > 0.5 => below + 1.0,
        _ if below % 2.0 == 0.0 => below,
        _ => below + 1.0,
    };
    rounded.copysign(value)
}

fn substring(values: &[Value]) -> Value {
    let count = values.get(2).map_or(i128::MAX / 2, |count| i128::from(int_of(count)));
    if count < 0 {
        return Value::Null;
    }
    let start = i128::from(int_of(&values[1]));
    let kept = |position: usize| (start..start + count).contains(&(position as i128 + 1));
    let all = characters(&values[0]);
    text(&all.iter().enumerate().filter(|(position, _)| kept(*position)).map(|(_, c)| *c).collect::<Vec<_>>())
}

fn distance(values: &[Value]) -> Value {
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| number(&values[index]));
    if a.abs() > 90.0 || c.abs() > 90.0 {
        return Value::Null;
    }
    let square = ((c - a).to_radians() / 2.0).sin().powi(2)
        + a.to_radians().cos() * c.to_radians().cos() * ((d - b).to_radians() / 2.0).sin().powi(2);
    float(2.0 * 6371.0088 * square.min(1.0).sqrt().asin())
}

fn hash_bucket(value: &Value, buckets: u64) -> Value {
    let bytes = match value {
        Value::Int(value) => value.to_le_bytes().to_vec(),
        Value::Text(text) => text.as_bytes().to_vec(),
        other => panic!("{other:?} has no hash"),
    };
    let mut hash: u128 = 0xcbf2_9ce4_8422_2325;
    let wrap = 1_u128 << 64;
    for byte in bytes {
        hash = ((hash ^ u128::from(byte)) * 0x100_0000_01b3) % wrap;
    }
    hash ^= hash >> 33;
    hash = hash * 0xff51_afd7_ed55_8ccd % wrap;
    hash ^= hash >> 33;
    hash = hash * 0xc4ce_b9fe_1a85_ec53 % wrap;
    hash ^= hash >> 33;
    Value::Int((hash % u128::from(buckets)) as i64)
}

fn time_field(name: &str, micros: i64) -> Value {
    let at = DateTime::from_timestamp_micros(micros).expect("the random times are in the calendar");
    match name {
        "hour" => Value::Int(i64::from(at.hour())),
        "dow" => Value::Int(i64::from(at.weekday().num_days_from_sunday())),
        "day" => Value::Int(i64::from(at.day())),
        "month" => Value::Int(i64::from(at.month())),
        "year" => Value::Int(i64::from(at.year())),
        _ => float(micros as f64 / 1_000_000.0),
    }
}

fn cast(from: Type, to: Type, value: &Value) -> Value {
    match (from, to, value) {
        (_, Type::Float, Value::Int(value)) => Value::Float(*value as f64),
        (_, Type::Float, Value::Bool(value)) => Value::Float(if *value { 1.0 } else { 0.0 }),
        (_, Type::Int, Value::Bool(value)) => Value::Int(if *value { 1 } else { 0 }),
        (_, Type::Bool, Value::Int(value)) => Value::Bool(*value != 0),
        (_, Type::Int, Value::Float(value)) => {
            let rounded = half_to_even(*value);
            // Every float below 2^127 is a whole number of 128 bits or has a fraction, which rounding took.
            if rounded.abs() < 1e38 { whole(rounded as i128) } else { Value::Null }
        }
        (Type::Timestamp, Type::Text, Value::Int(micros)) => {
            let at = DateTime::from_timestamp_micros(*micros).expect("the random times are in the calendar");
            let fraction = if micros.rem_euclid(1_000_000) == 0 { "" } else { "%.6f" };
            Value::Text(at.format(&format!("%Y-%m-%dT%H:%M:%S{fraction}Z")).to_string().into())
        }
        (_, Type::Text, Value::Bool(value)) => Value::Text(value.to_string().into()),
        (_, Type::Text, Value::Int(value)) => Value::Text(value.to_string().into()),
        (_, Type::Text, Value::Float(value)) => Value::Text(value.to_string().into()),
        (_, Type::Int, Value::Text(text)) => text.trim().parse().map_or(Value::Null, Value::Int),
        (_, Type::Float, Value::Text(text)) => text.trim().parse().map_or(Value::Null, float),
        (_, Type::Bool, Value::Text(text)) => match text.trim().to_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Value::Bool(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Value::Bool(false),
            _ => Value::Null,
        },
        (_, Type::Timestamp, Value::Text(text)) => {
            text.parse().map_or(Value::Null, |at: paceline_core::Timestamp| Value::Int(at.0))
        }
        (_, _, value) => value.clone(),
    }
}

/// A random value of a column.
pub(super) fn value(kind: Type) -> BoxedStrategy<Value> {
    let known = match kind {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int => int().prop_map(Value::Int).boxed(),
        Type::Float => prop_oneof![
            6 => finite().prop_map(Value::Float),
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Value::Float),
        ]
        .boxed(),
        Type::Text => short_text().prop_map(|text| Value::Text(text.into())).boxed(),
        // Years 1653 to 2286, and second marks.
        Type::Timestamp => prop_oneof![
            (-10_000_000_000_000_000..10_000_000_000_000_000_i64).prop_map(Value::Int),
            (-9_999_999_999..9_999_999_999_i64).prop_map(|seconds| Value::Int(seconds * 1_000_000)),
        ]
        .boxed(),
    };
    prop_oneof![4 => known, 1 => Just(Value::Null)].boxed()
}

fn int() -> BoxedStrategy<i64> {
    prop_oneof![8 => -5..20_i64, 2 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN)].boxed()
}

fn finite() -> BoxedStrategy<f64> {
    prop_oneof![
        6 => (-40..40_i32).prop_map(|quarters| f64::from(quarters) / 4.0),
        2 => proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL,
        2 => -100.0..100.0_f64,
        1 => Just(-0.0),
    ]
    .boxed()
}

fn short_text() -> BoxedStrategy<String> {
    prop_oneof![4 => "[abAß' ]{0,5}", 1 => "-?[0-9]{1,3}(\\.[0-9])?", 1 => Just("yes".to_owned()), 1 => Just("2011-09-01".to_owned())]
        .boxed()
}

/// A random expression of a type, `depth` levels deep at most.
pub(super) fn tree(kind: Type, depth: u32) -> BoxedStrategy<Tree> {
    let column = prop::sample::select((0..COLUMNS.len()).filter(|index| COLUMNS[*index].1 == kind).collect::<Vec<_>>());
    let column = column.prop_map(Tree::Column).boxed();
    let literal = match kind {
        Type::Bool => prop::option::weighted(0.8, any::<bool>()).prop_map(Tree::Bool).boxed(),
        Type::Int => prop::option::weighted(0.9, int()).prop_map(Tree::Int).boxed(),
        Type::Float => prop::option::weighted(0.9, finite()).prop_map(Tree::Float).boxed(),
        Type::Text => prop::option::weighted(0.9, short_text()).prop_map(Tree::Text).boxed(),
        Type::Timestamp => column.clone(),
    };
    let leaf = prop_oneof![3 => column, 2 => literal].boxed();
    if depth == 0 {
        return leaf;
    }
    let deeper = calls(kind).prop_flat_map(move |(name, kinds)| {
        let arguments: Vec<BoxedStrategy<Tree>> = kinds.iter().map(|kind| tree(*kind, depth - 1)).collect();
        arguments.prop_map(move |arguments| Tree::Call(name, kind, arguments))
    });
    prop_oneof![1 => leaf, 4 => deeper].boxed()
}

/// The calls that give a `kind`, with the types of their arguments.
fn calls(kind: Type) -> BoxedStrategy<(&'static str, Vec<Type>)> {
    use Type::{Bool, Float, Int, Text, Timestamp};
    let any_type = prop::sample::select(vec![Bool, Int, Float, Text, Timestamp]);
    let number = prop::sample::select(vec![Int, Float]);
    let choices = prop_oneof![
        Just(("coalesce", vec![kind; 3])),
        Just(("nullif", vec![kind; 2])),
        Just(("least", vec![kind; 3])),
        Just(("greatest", vec![kind; 2])),
        Just(("case", vec![Bool, kind, Bool, kind, kind])),
        any_type.clone().prop_map(move |of| ("case of", vec![of, of, kind, of, kind])),
    ];
    let fixed = |list: &[(&'static str, &[Type])]| {
        prop::sample::select(list.iter().map(|(name, kinds)| (*name, kinds.to_vec())).collect::<Vec<_>>())
    };
    match kind {
        Bool => {
            let relations = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
            prop_oneof![
                2 => choices,
                3 => fixed(&[("and", &[Bool, Bool]), ("or", &[Bool, Bool]), ("not", &[Bool])]),
                3 => (relations.clone(), any_type.clone()).prop_map(|(name, of)| (name, vec![of; 2])),
                1 => (relations, number.clone(), number).prop_map(|(name, a, b)| (name, vec![a, b])),
                2 => (prop::sample::select(vec!["is null", "is not null"]), any_type.clone())
                    .prop_map(|(name, of)| (name, vec![of])),
                2 => (prop::sample::select(vec!["between", "not between"]), any_type.clone())
                    .prop_map(|(name, of)| (name, vec![of; 3])),
                2 => (prop::sample::select(vec!["in", "not in"]), any_type, 2..9_usize)
                    .prop_map(|(name, of, count)| (name, vec![of; count])),
                2 => fixed(&[("like", &[Text]), ("ilike", &[Text]), ("~", &[Text]), ("!~", &[Text])]),
                1 => fixed(&[("to bool", &[Int]), ("to bool", &[Text]), ("to bool", &[Bool])]),
            ]
            .boxed()
        }
        Int => prop_oneof![
            2 => choices,
            4 => (prop::sample::select(vec!["+", "-", "*", "/", "%"])).prop_map(|name| (name, vec![Int; 2])),
            2 => (prop::sample::select(vec!["negate", "abs", "floor", "ceil", "round"])).prop_map(|name| (name, vec![Int])),
            1 => fixed(&[("length", &[Text]), ("hash_bucket", &[Text]), ("hash_bucket", &[Int])]),
            1 => fixed(&[("to int", &[Bool]), ("to int", &[Float]), ("to int", &[Text])]),
            2 => prop::sample::select(vec!["hour", "dow", "day", "month", "year"]).prop_map(|name| (name, vec![Timestamp])),
        ]
        .boxed(),
        Float => prop_oneof![
            2 => choices,
            4 => (prop::sample::select(vec!["+", "-", "*", "/", "%"]), mixed()).prop_map(|(name, kinds)| (name, kinds)),
            1 => (prop::sample::select(vec!["coalesce", "nullif", "least", "greatest"]), mixed()),
            3 => prop::sample::select(vec!["negate", "abs", "floor", "ceil", "round"]).prop_map(|name| (name, vec![Float])),
            2 => (prop::sample::select(vec!["ln", "exp", "sqrt", "round2"]), number).prop_map(|(name, of)| (name, vec![of])),
            1 => fixed(&[("power", &[Float, Float]), ("haversine", &[Float, Float, Float, Float])]),
            1 => fixed(&[("to float", &[Bool]), ("to float", &[Int]), ("to float", &[Text]), ("epoch", &[Timestamp])]),
        ]
        .boxed(),
        Text => prop_oneof![
            2 => choices,
            2 => fixed(&[("lower", &[Text]), ("upper", &[Text]), ("||", &[Text, Text])]),
            2 => fixed(&[("substr", &[Text, Int]), ("substr", &[Text, Int, Int])]),
            2 => any_type.prop_map(|of| ("to text", vec![of])),
        ]
        .boxed(),
        Timestamp => prop_oneof![3 => choices, 1 => Just(("to timestamp", vec![Text]))].boxed(),
    }
}

/// Two numbers of which at least one is a float.
fn mixed() -> impl Strategy<Value = Vec<Type>> {
    prop::sample::select(vec![
        vec![Type::Float, Type::Float],
        vec![Type::Int, Type::Float],
        vec![Type::Float, Type::Int],
    ])
}
