//! What a pointer in Redis says, as text.

use paceline_core::Timestamp;
use paceline_core::online::Version;

use super::layer::Kind;

/// Digits of a time in a pointer or before a pushed value.
pub(super) const TIME_DIGITS: usize = 20;

/// The current version of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) version: Version,
    /// The newest first; a key has the value of the first layer that knows it.
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) number: u64,
    /// Distinct keys.
    pub(super) rows: u64,
    pub(super) kind: Kind,
}

impl Pointer {
    pub(super) fn whole(version: Version, rows: u64) -> Pointer {
        Pointer { version, layers: vec![Layer { number: version.number, rows, kind: Kind::Rows }] }
    }

    pub(super) fn parse(text: &str) -> Option<Pointer> {
        let mut words = text.split(' ');
        let format = words.next()?;
        let version = Version { number: words.next()?.parse().ok()?, as_of: parse_time(words.next()?)? };
        match format {
            "1" => {
                let pointer = Pointer::whole(version, words.next()?.parse().ok()?);
                words.next().is_none().then_some(pointer)
            }
            "2" => Some(Pointer { version, layers: words.map(Layer::parse).collect::<Option<_>>()? }),
            _ => None,
        }
    }

    pub(super) fn to_text(&self) -> String {
        let Version { number, as_of } = self.version;
        let as_of = ordered_text(as_of);
        match self.layers[..] {
            [Layer { number: layer, rows, kind: Kind::Rows }] if layer == number => {
                format!("1 {number} {as_of} {rows}")
            }
            _ => {
                let layers = self
                    .layers
                    .iter()
                    .map(|layer| format!(" {}:{}:{}", layer.number, layer.rows, char::from(layer.kind.letter())));
                format!("2 {number} {as_of}{}", layers.collect::<String>())
            }
        }
    }
}

impl Layer {
    fn parse(text: &str) -> Option<Layer> {
        let mut parts = text.split(':');
        let layer = Layer {
            number: parts.next()?.parse().ok()?,
            rows: parts.next()?.parse().ok()?,
            kind: match parts.next()?.as_bytes() {
                [letter] => Kind::from_letter(*letter)?,
                _ => return None,
            },
        };
        parts.next().is_none().then_some(layer)
    }
}

const SIGN: u64 = 1 << 63;

pub(super) fn ordered_text(time: Timestamp) -> String {
    format!("{:020}", (time.0 as u64) ^ SIGN)
}

pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse::<u64>().ok().map(|biased| Timestamp((biased ^ SIGN) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_order_as_texts() {
        let times = [Timestamp::MIN, Timestamp(-1), Timestamp(0), Timestamp(1 << 60), Timestamp::MAX];
        let texts = times.map(ordered_text);
        assert!(texts.is_sorted() && texts.iter().all(|text| text.len() == 20), "{texts:?}");
        assert_eq!(texts.map(|text| parse_time(&text).unwrap()), times);
    }

    #[test]
    fn pointers_of_other_formats_are_not_guessed() {
        let version = Version { number: 3, as_of: Timestamp(5) };
        let whole = Pointer::whole(version, 9);
        let text = format!("1 3 {} 9", ordered_text(Timestamp(5)));
        assert_eq!((Pointer::parse(&text), whole.to_text()), (Some(whole), text));
        let layer = |number, rows, kind| Layer { number, rows, kind };
        let layered = Pointer { version, layers: vec![layer(3, 4, Kind::Changes), layer(1, 9, Kind::Rows)] };
        let text = format!("2 3 {} 3:4:c 1:9:r", ordered_text(Timestamp(5)));
        assert_eq!((Pointer::parse(&text), layered.to_text()), (Some(layered), text));
        for other in
            ["", "3 3 00000000000000000005 9", "1 3 5", "1 3 5 9 x", "2 3 5 3:4", "2 3 5 3:4:x", "2 3 5 3:4:c:"]
        {
            assert_eq!(Pointer::parse(other), None, "{other:?}");
        }
    }
}
