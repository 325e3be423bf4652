//! A version of a table as layers: what the changes since its last whole publish wrote, and that publish.
//!
//! A change writes one new layer instead of the table. Before its version becomes current, older layers that are not
//! [`MERGE_FACTOR`] times as large are merged into it, so the layers' sizes grow geometrically from the newest to the
//! oldest: a read looks into a number of layers that grows with the logarithm of the table, and a row is written again
//! about as often.

/// A layer that is more than this many times as large as what a change has written is left as it is.
pub(super) const MERGE_FACTOR: usize = 4;

/// How the values of a layer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As they are: a whole publish.
    Rows,
    /// With a byte before them that says whether the key has a value or was removed.
    Changes,
}

const REMOVED: u8 = 0;
const PRESENT: u8 = 1;

impl Kind {
    pub(super) fn letter(self) -> u8 {
        match self {
            Kind::Rows => b'r',
            Kind::Changes => b'c',
        }
    }

    pub(super) fn from_letter(letter: u8) -> Option<Kind> {
        [Kind::Rows, Kind::Changes].into_iter().find(|kind| kind.letter() == letter)
    }

    /// The value that a layer's bytes stand for, `None` for a removed key.
    pub(super) fn value(self, mut stored: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Kind::Rows => Some(stored),
            Kind::Changes if stored.first() == Some(&PRESENT) => {
                stored.remove(0);
                Some(stored)
            }
            Kind::Changes => None,
        }
    }
}

/// A value as a layer of changes holds it.
pub(super) fn tagged(value: Option<Vec<u8>>) -> Vec<u8> {
    match value {
        Some(mut value) => {
            value.insert(0, PRESENT);
            value
        }
        None => vec![REMOVED],
    }
}
