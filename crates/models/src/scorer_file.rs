//! Models as files: the ending of a name says which kind of model it holds.
//!
//! | ending | kind |
//! |---|---|
//! | `.txt` | [`Forest`], LightGBM's text format |
//! | `.safetensors` | [`Network`] |
//! | `.linear.json` | [`Linear`] |
//! | `.column.json` | [`Column`] |
//! | `ensemble.json` | [`Ensemble`] of the other kinds, whose files lie beside it |
//!
//! ```
//! use paceline_models::{column::Column, read_scorer};
//!
//! let column = Column { index: 1, column_count: 3 };
//! let files = [("last_price.column.json".to_owned(), column.to_bytes())].into();
//! assert_eq!(read_scorer("last_price.column.json", &files)?.column_count(), 3);
//! # Ok::<(), paceline_models::ScorerFileError>(())
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use paceline_core::Scorer;
use thiserror::Error;

use crate::column::Column;
use crate::ensemble::EnsembleSpec;
use crate::forest::Forest;
use crate::{Ensemble, Linear, Network};

/// Why a scorer cannot be read from its files.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScorerFileError {
    /// A file that is named is not there.
    #[error("model file {name:?} is missing; there are: {known}")]
    Missing {
        /// The missing file.
        name: String,
        /// The files there are.
        known: String,
    },
    /// The ending means no kind of model, or none that may stand here.
    #[error(
        "{name:?} is no model file here: a name ends with .txt (LightGBM), .safetensors (network), .linear.json, \
         .column.json or ensemble.json, and an ensemble holds no other ensemble"
    )]
    UnknownKind {
        /// The file.
        name: String,
    },
    /// The content is damaged.
    #[error("model file {name:?}: {cause}")]
    Unreadable {
        /// The file.
        name: String,
        /// What is wrong.
        cause: String,
    },
}

/// Reads the model in the file `name`; an ensemble's members are taken from `files` too.
///
/// # Errors
/// [`ScorerFileError`], naming the file; no content makes it panic.
pub fn read_scorer(name: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Arc<dyn Scorer>, ScorerFileError> {
    if !name.ends_with("ensemble.json") {
        return read_single(name, files);
    }
    let unreadable = |cause: String| ScorerFileError::Unreadable { name: name.to_owned(), cause };
    let spec = EnsembleSpec::from_bytes(content(name, files)?).map_err(|error| unreadable(error.to_string()))?;
    let members = spec.members.iter().map(|member| read_single(&member.file, files)).collect::<Result<_, _>>()?;
    Ok(Arc::new(Ensemble::new(spec, members).map_err(|error| unreadable(error.to_string()))?))
}

fn read_single(name: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Arc<dyn Scorer>, ScorerFileError> {
    let unreadable = |cause: String| ScorerFileError::Unreadable { name: name.to_owned(), cause };
    if name.ends_with(".txt") {
        let text = std::str::from_utf8(content(name, files)?).map_err(|error| unreadable(error.to_string()))?;
        return Ok(Arc::new(Forest::from_lightgbm(text).map_err(|error| unreadable(error.to_string()))?));
    }
    if name.ends_with(".safetensors") {
        let network = Network::from_bytes(content(name, files)?);
        return Ok(Arc::new(network.map_err(|error| unreadable(error.to_string()))?));
    }
    if name.ends_with(".linear.json") {
        let linear = Linear::from_bytes(content(name, files)?);
        return Ok(Arc::new(linear.map_err(|error| unreadable(error.to_string()))?));
    }
    if name.ends_with(".column.json") {
        let column = Column::from_bytes(content(name, files)?);
        return Ok(Arc::new(column.map_err(|error| unreadable(error.to_string()))?));
    }
    Err(ScorerFileError::UnknownKind { name: name.to_owned() })
}

fn content<'a>(name: &str, files: &'a BTreeMap<String, Vec<u8>>) -> Result<&'a [u8], ScorerFileError> {
    files.get(name).map(Vec::as_slice).ok_or_else(|| ScorerFileError::Missing {
        name: name.to_owned(),
        known: files.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use paceline_core::Rows;

    use super::*;
    use crate::ensemble::{EnsembleOutput, Member, ScoreTransform};

    fn ensemble_of(members: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let member =
            |file: &&str| Member { file: (*file).to_owned(), weight: 2.0, transform: ScoreTransform::Identity };
        let spec = EnsembleSpec::new(members.iter().map(member).collect(), EnsembleOutput::Identity).expect("members");
        [
            ("ensemble.json".to_owned(), spec.to_bytes()),
            ("a.column.json".to_owned(), Column { index: 0, column_count: 2 }.to_bytes()),
            ("b.column.json".to_owned(), Column { index: 1, column_count: 2 }.to_bytes()),
            ("cut.txt".to_owned(), b"tree\n".to_vec()),
            ("odd.txt".to_owned(), vec![0xff]),
            ("cut.safetensors".to_owned(), vec![1, 2, 3]),
            ("cut.linear.json".to_owned(), b"{".to_vec()),
        ]
        .into()
    }

    #[test]
    fn an_ensemble_is_read_with_its_members() {
        let scorer = read_scorer("ensemble.json", &ensemble_of(&["a.column.json", "b.column.json"])).expect("whole");
        let mut scores = [0.0];
        scorer.score(Rows::new(&[3.0, 4.0], 2), &mut scores);
        assert_eq!(scores, [14.0]);
    }

    #[test]
    fn mistakes_name_the_file() {
        let check = |members: &[&str], root: &str, part: &str| {
            let error = read_scorer(root, &ensemble_of(members)).err().expect(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        check(
            &["a.column.json", "c.column.json"],
            "ensemble.json",
            "\"c.column.json\" is missing; there are: a.column",
        );
        check(&["ensemble.json"], "ensemble.json", "\"ensemble.json\" is no model file here");
        check(&["a.column.json"], "model.pkl", "\"model.pkl\" is no model file here");
        check(&["a.column.json"], "none.txt", "\"none.txt\" is missing");
        check(&["a.column.json"], "cut.txt", "\"cut.txt\": ");
        check(&["a.column.json"], "odd.txt", "\"odd.txt\": ");
        check(&["a.column.json"], "cut.safetensors", "\"cut.safetensors\": ");
        check(&["a.column.json"], "cut.linear.json", "\"cut.linear.json\": ");
    }
}
