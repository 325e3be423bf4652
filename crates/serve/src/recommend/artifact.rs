//! A recommender as files: what `run` publishes and `serve` loads.
//!
//! | file | content |
//! |---|---|
//! | `recommender.json` | everything else by name: candidate counts, views with their columns, request-time features, selected columns, the scorer's file |
//! | `items.json`, `users.json` | keys, in the order of their numbers |
//! | `retriever.safetensors` | the candidate stage |
//! | model files | as `recommender.json` names them, see [`paceline_models::read_scorer`] |

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use paceline_core::{KeyPart, Timestamp};
use paceline_models::recommend::{CandidateCounts, Catalogue, Retriever};
use paceline_models::{ModelError, ScorerFileError, read_scorer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::tables::{UserNumbers, ViewColumns};
use super::{LayoutError, NamedType, Recommender, RowLayout};

/// Version of the layout of these files.
pub const VERSION: u32 = 1;

const DESCRIPTION: &str = "recommender.json";
const ITEMS: &str = "items.json";
const USERS: &str = "users.json";
const RETRIEVER: &str = "retriever.safetensors";

/// Why files are not a recommender. Publish it again, or load another version.
#[derive(Debug, Error)]
pub enum RecommenderFileError {
    /// A file is not there.
    #[error("the artifact has no file {0:?}")]
    Missing(&'static str),
    /// A file cannot be read.
    #[error("{file}: {cause}")]
    Unreadable {
        /// The file.
        file: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// Another version wrote it.
    #[error("{DESCRIPTION} has format version {found}; this program reads version {VERSION}: publish it again")]
    Version {
        /// The version of the file.
        found: u32,
    },
    /// The candidate stage cannot be read.
    #[error("{RETRIEVER}: {0}")]
    Retriever(#[from] ModelError),
    /// The scorer cannot be read.
    #[error(transparent)]
    Scorer(#[from] ScorerFileError),
    /// The columns cannot be laid out.
    #[error("{DESCRIPTION}: {0}")]
    Layout(#[from] LayoutError),
    /// The files contradict each other.
    #[error("{part} is {found}, but must be {must}")]
    Inconsistent {
        /// Which part.
        part: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        must: String,
    },
}

/// A request-time feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFeature {
    /// Its name, without `request.`.
    pub name: String,
    /// The expression.
    pub expression: String,
}

/// How a recommender is put together from its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// [`VERSION`] at writing.
    pub version: u32,
    /// As of when the candidate stage is.
    pub as_of: Timestamp,
    /// Candidates per source; `None` ranks the whole catalogue.
    pub candidates: Option<CandidateCounts>,
    /// Whether items that the user owns are left out.
    pub new_only: bool,
    /// Views of users, in the layout's order.
    pub user_views: Vec<ViewColumns>,
    /// Views of items, in the layout's order.
    pub item_views: Vec<ViewColumns>,
    /// Request-time features.
    pub request_features: Vec<RequestFeature>,
    /// The columns that the scorer reads, in order.
    pub columns: Vec<String>,
    /// The scorer's file.
    pub scorer: String,
}

/// What is published.
#[derive(Debug)]
pub struct RecommenderParts<'a> {
    /// How the rest is put together.
    pub description: Description,
    /// The items.
    pub catalogue: &'a Catalogue,
    /// The users that the candidate stage was fitted on, in the order of their numbers.
    pub users: &'a [KeyPart],
    /// The candidate stage.
    pub retriever: &'a Retriever,
    /// The scorer's files.
    pub models: BTreeMap<String, Vec<u8>>,
}

/// What was loaded: everything a request needs but the tables of the online store.
#[derive(Clone)]
pub struct PublishedRecommender {
    /// How it was put together.
    pub description: Description,
    /// Answers.
    pub recommender: Recommender,
    /// The items.
    pub catalogue: Arc<Catalogue>,
    /// The users that the candidate stage was fitted on.
    pub users: Arc<UserNumbers>,
    /// Whether users' keys are whole numbers.
    pub users_are_numbers: bool,
}

/// The artifact's files.
///
/// # Errors
/// [`RecommenderFileError`] when the parts do not fit together: what is written can always be read.
pub fn pack(parts: &RecommenderParts<'_>) -> Result<BTreeMap<String, Vec<u8>>, RecommenderFileError> {
    let json = |value: &[KeyPart]| serde_json::to_vec(value).expect("keys are plain data");
    let mut files = parts.models.clone();
    let description = serde_json::to_vec_pretty(&parts.description).expect("a description is plain data");
    files.insert(DESCRIPTION.to_owned(), description);
    files.insert(ITEMS.to_owned(), json(parts.catalogue.items()));
    files.insert(USERS.to_owned(), json(parts.users));
    files.insert(RETRIEVER.to_owned(), parts.retriever.to_bytes());
    unpack(&files)?;
    Ok(files)
}

/// Reads what [`pack`] wrote; everything is checked, so that no file can make a request panic.
///
/// # Errors
/// [`RecommenderFileError`], naming the file.
pub fn unpack(files: &BTreeMap<String, Vec<u8>>) -> Result<PublishedRecommender, RecommenderFileError> {
    let description = read_description(content(files, DESCRIPTION)?)?;
    let items = read_keys(files, ITEMS)?;
    let users = read_keys(files, USERS)?;
    let retriever = Retriever::from_bytes(content(files, RETRIEVER)?)?;
    if retriever.item_count() != items.len() {
        return inconsistent("the number of items in the candidate stage", retriever.item_count(), items.len());
    }
    let scorer = read_scorer(&description.scorer, files)?;
    if scorer.column_count() != description.columns.len() {
        return inconsistent("the number of columns of the scorer", scorer.column_count(), description.columns.len());
    }
    let expressions: Vec<(String, String)> =
        description.request_features.iter().map(|f| (f.name.clone(), f.expression.clone())).collect();
    let mut layout = RowLayout::new(&types(&description.user_views), &types(&description.item_views), &expressions)?;
    layout.select(&description.columns)?;
    let recommender = Recommender {
        retriever: Arc::new(retriever),
        candidates: description.candidates,
        layout: Arc::new(layout),
        scorer,
        new_only: description.new_only,
    };
    Ok(PublishedRecommender {
        recommender,
        catalogue: Arc::new(Catalogue::new(items)),
        users_are_numbers: matches!(users.first(), Some(KeyPart::Int(_))),
        users: Arc::new(UserNumbers::new(&users)),
        description,
    })
}

/// Full names and types of the columns of `views`, in order.
#[must_use]
pub fn types(views: &[ViewColumns]) -> Vec<NamedType> {
    let full = |view: &ViewColumns, name: &str| format!("{}.{name}", view.name);
    views
        .iter()
        .flat_map(|view| view.columns.iter().map(|column| (full(view, &column.name), column.kind)).collect::<Vec<_>>())
        .collect()
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn read_description(bytes: &[u8]) -> Result<Description, RecommenderFileError> {
    let unreadable =
        |error: serde_json::Error| RecommenderFileError::Unreadable { file: DESCRIPTION, cause: error.to_string() };
    let Version { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if version != VERSION {
        return Err(RecommenderFileError::Version { found: version });
    }
    let description: Description = serde_json::from_slice(bytes).map_err(unreadable)?;
    if description.columns.is_empty() {
        return inconsistent("the number of columns of a row", 0, "at least 1");
    }
    for column in description.user_views.iter().chain(&description.item_views).flat_map(|view| &view.columns) {
        if column.missing != paceline_core::Value::Null && column.missing != paceline_core::Value::Int(0) {
            return inconsistent(
                "the value of a feature of an unknown entity",
                format!("{:?}", column.missing),
                "null or 0",
            );
        }
    }
    Ok(description)
}

/// Keys without repetition, all of one kind.
fn read_keys(files: &BTreeMap<String, Vec<u8>>, file: &'static str) -> Result<Vec<KeyPart>, RecommenderFileError> {
    let keys: Vec<KeyPart> = serde_json::from_slice(content(files, file)?)
        .map_err(|error| RecommenderFileError::Unreadable { file, cause: error.to_string() })?;
    let mut seen = HashSet::with_capacity(keys.len());
    let kind = keys.first().map(std::mem::discriminant);
    for key in &keys {
        let cause = if !seen.insert(key) {
            format!("{key} is there twice")
        } else if Some(std::mem::discriminant(key)) != kind {
            format!("{key} is of another type than the first key")
        } else {
            continue;
        };
        return Err(RecommenderFileError::Unreadable { file, cause });
    }
    Ok(keys)
}

fn content<'a>(files: &'a BTreeMap<String, Vec<u8>>, file: &'static str) -> Result<&'a [u8], RecommenderFileError> {
    files.get(file).map(Vec::as_slice).ok_or(RecommenderFileError::Missing(file))
}

fn inconsistent<T>(part: &'static str, found: impl ToString, must: impl ToString) -> Result<T, RecommenderFileError> {
    Err(RecommenderFileError::Inconsistent { part, found: found.to_string(), must: must.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use paceline_models::column::Column;

    fn files() -> BTreeMap<String, Vec<u8>> {
        let model = testing::model();
        let scorer = Column { index: 2, column_count: 3 };
        let description = Description {
            request_features: vec![RequestFeature { name: "share".into(), expression: "item.lines / 2.0".into() }],
            ..model.description
        };
        let parts = RecommenderParts {
            catalogue: &testing::catalogue(),
            users: &[1.into(), 2.into()],
            retriever: &testing::retriever(),
            models: [(description.scorer.clone(), scorer.to_bytes())].into(),
            description,
        };
        pack(&parts).expect("parts that fit")
    }

    #[test]
    fn files_round_trip() {
        let read = unpack(&files()).expect("its own files");
        let model = testing::model();
        assert_eq!(read.description.columns, model.description.columns);
        assert_eq!(read.description.request_features.len(), 1);
        assert_eq!(read.catalogue.items(), model.catalogue.items());
        assert_eq!(*read.recommender.retriever, testing::retriever());
        assert_eq!((read.users.of(&2.into()), read.users.of(&3.into()), read.users_are_numbers), (Some(1), None, true));
        assert_eq!(files(), files(), "the same bytes each time");
    }

    #[test]
    fn wrong_files_are_refused_by_name() {
        let check = |file: &str, from: &str, to: &str, part: &str| {
            let mut files = files();
            let text = String::from_utf8(files[file].clone()).expect("JSON");
            assert!(text.contains(from), "{from} in {text}");
            files.insert(file.to_owned(), text.replace(from, to).into_bytes());
            let error = unpack(&files).err().expect(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        check(DESCRIPTION, "\"version\": 1", "\"version\": 9", "format version 9; this program reads version 1");
        check(DESCRIPTION, "\"new_only\"", "\"newonly\"", "unknown field");
        check(
            DESCRIPTION,
            "candidate.popular",
            "candidate.unpopular",
            "the model wants column \"candidate.unpopular\"",
        );
        check(DESCRIPTION, "item.lines / 2.0", "item.lines /", "request-time feature \"share\"");
        check(DESCRIPTION, "popular.column.json", "gone.column.json", "\"gone.column.json\" is missing");
        check(DESCRIPTION, "\"missing\": 0", "\"missing\": \"x\"", "the value of a feature of an unknown entity");
        check(
            "popular.column.json",
            "\"column_count\":3",
            "\"column_count\":4",
            "columns of the scorer is 4, but must be 3",
        );
        check(ITEMS, "105", "104", "items.json: 104 is there twice");
        check(ITEMS, ",105", "", "the number of items in the candidate stage is 6, but must be 5");
        check(USERS, "2", "\"b\"", "users.json: b is of another type than the first key");
        for file in files().into_keys() {
            let mut files = files();
            files.remove(&file);
            let error = unpack(&files).err().expect("a file is gone").to_string();
            assert!(error.contains(&file), "{file}: {error}");
        }
    }

    /// Any single changed or missing byte gives an error or a recommender that answers without panicking.
    #[test]
    fn damaged_files_never_panic() {
        use crate::recommend::{Request, Workspace};
        use paceline_core::Value;
        use paceline_models::recommend::UserState;
        let good = files();
        for (name, content) in &good {
            for at in 0..content.len() {
                let mut changed = content.clone();
                changed[at] ^= 0x15;
                let mut files = good.clone();
                files.insert(name.clone(), content[..at].to_vec());
                assert!(unpack(&files).is_err(), "{name} cut at {at}");
                files.insert(name.clone(), changed);
                let Ok(model) = unpack(&files) else { continue };
                if types(&model.description.user_views).len() != 1 || types(&model.description.item_views).len() != 1 {
                    continue;
                }
                let (state, user) = (UserState { number: Some(1), ..UserState::default() }, [Value::Int(1)]);
                let now = Timestamp(0);
                let items = model.recommender.layout.item_table(vec![Value::Int(1); 6]);
                let request = Request { user: &user, state: &state, items: &items, now, k: 3, excluded: &[] };
                model.recommender.answer(request, &mut Workspace::default());
            }
        }
    }
}
