//! The stored form of a user's state and of a precomputed list: items by name, so that a record outlives the catalogue
//! that it was written under.

use paceline_core::value::{DecodeError, decode_values, encode_values};
use paceline_core::{KeyPart, Timestamp, Value};

use super::{Catalogue, HistoryItem, UserState};

fn item_value(item: &KeyPart) -> Value {
    match item {
        KeyPart::Int(item) => Value::Int(*item),
        KeyPart::Text(item) => Value::Text(item.as_str().into()),
    }
}

fn item_key(value: &Value) -> Option<KeyPart> {
    match value {
        Value::Int(item) => Some(KeyPart::Int(*item)),
        Value::Text(item) => Some(KeyPart::Text(item.to_string())),
        Value::Null | Value::Bool(_) | Value::Float(_) => None,
    }
}

/// Number of history entries, then per entry item, count, time of the last purchase in microseconds and whether it is
/// in the last basket; the rest are the user's factors.
#[must_use]
pub fn encode_user(state: &UserState, catalogue: &Catalogue) -> Vec<u8> {
    let mut values = vec![Value::Int(state.history.len() as i64)];
    for entry in &state.history {
        values.push(item_value(catalogue.item(entry.item)));
        values.push(Value::Int(i64::from(entry.count)));
        values.push(Value::Int(entry.last.0));
        values.push(Value::Bool(state.last_basket.contains(&entry.item)));
    }
    values.extend(state.factors.iter().map(|&factor| Value::Float(f64::from(factor))));
    encode_values(&values)
}

/// Reads what [`encode_user`] wrote; the user's number is left open. Items that `catalogue` does not hold are left out: they cannot be scored.
pub fn decode_user(bytes: &[u8], catalogue: &Catalogue) -> Result<UserState, DecodeError> {
    let values = decode_values(bytes)?;
    let damaged = DecodeError { at: 0 };
    let Some(Value::Int(entries)) = values.first() else { return Err(damaged) };
    let end = usize::try_from(*entries).ok().and_then(|entries| entries.checked_mul(4)?.checked_add(1));
    let Some(end) = end.filter(|&end| end <= values.len()) else { return Err(damaged) };
    let mut state = UserState::default();
    for entry in values[1..end].chunks_exact(4) {
        let [item, Value::Int(count), Value::Int(last), Value::Bool(in_last_basket)] = entry else {
            return Err(damaged);
        };
        let item = item_key(item).ok_or_else(|| damaged.clone())?;
        if let Some(item) = catalogue.index_of(&item) {
            let count = u32::try_from(*count).map_err(|_| damaged.clone())?;
            state.history.push(HistoryItem { item, count, last: Timestamp(*last) });
            if *in_last_basket {
                state.last_basket.push(item);
            }
        }
    }
    state.history.sort_unstable_by_key(|entry| entry.item);
    state.last_basket.sort_unstable();
    for factor in &values[end..] {
        let Value::Float(factor) = factor else { return Err(damaged) };
        state.factors.push(*factor as f32);
    }
    Ok(state)
}

/// Items with their scores, best first.
#[must_use]
pub fn encode_list(list: &[(KeyPart, f64)]) -> Vec<u8> {
    let values: Vec<Value> = list.iter().flat_map(|(item, score)| [item_value(item), Value::Float(*score)]).collect();
    encode_values(&values)
}

/// Reads what [`encode_list`] wrote.
pub fn decode_list(bytes: &[u8]) -> Result<Vec<(KeyPart, f64)>, DecodeError> {
    let values = decode_values(bytes)?;
    let pairs = values.chunks(2).map(|pair| match pair {
        [item, Value::Float(score)] => item_key(item).map(|item| (item, *score)),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or(DecodeError { at: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_survives_another_catalogue() {
        let catalogue = Catalogue::new(["a", "b", "c"].map(KeyPart::from));
        let entry = |item, count| HistoryItem { item, count, last: Timestamp(7) };
        let state = UserState {
            factors: vec![0.5, -1.25],
            history: vec![entry(0, 1), entry(2, 3)],
            last_basket: vec![2],
            number: None,
        };
        let bytes = encode_user(&state, &catalogue);
        assert_eq!(decode_user(&bytes, &catalogue), Ok(state.clone()));
        let other = Catalogue::new(["c", "d"].map(KeyPart::from));
        let moved = UserState { history: vec![entry(0, 3)], last_basket: vec![0], ..state };
        assert_eq!(decode_user(&bytes, &other), Ok(moved));
        assert_eq!(decode_user(&encode_user(&UserState::default(), &other), &other), Ok(UserState::default()));
    }

    #[test]
    fn damaged_records_are_errors() {
        let catalogue = Catalogue::new(["a"].map(KeyPart::from));
        for values in [
            vec![],
            vec![Value::Int(-1)],
            vec![Value::Int(i64::MAX)],
            vec![Value::Int(1), Value::Int(1)],
            vec![Value::Int(0), Value::Bool(true)],
            vec![Value::Int(1), Value::Null, Value::Int(1), Value::Int(1), Value::Bool(true)],
        ] {
            assert!(decode_user(&encode_values(&values), &catalogue).is_err(), "{values:?}");
        }
    }

    #[test]
    fn lists_round_trip() {
        let list = vec![(KeyPart::from("a"), 0.5), (KeyPart::Int(7), 0.25)];
        assert_eq!(decode_list(&encode_list(&list)), Ok(list));
        assert!(decode_list(&encode_values(&[Value::Int(1)])).is_err());
        assert!(decode_list(&encode_values(&[Value::Null, Value::Float(1.0)])).is_err());
    }
}
