//! Candidates, rows, scores, order.

use std::sync::Arc;

use paceline_core::{Rows, Scorer, Timestamp, Value};
use paceline_models::recommend::{CandidateCounts, Ranked, Retriever, Scratch, UserState, rank};

use super::{ItemTable, RowLayout, RowScratch};

/// A recommender ready to answer.
#[derive(Clone)]
pub struct Recommender {
    /// The candidate stage.
    pub retriever: Arc<Retriever>,
    /// Candidates per source; `None` ranks the whole catalogue.
    pub candidates: Option<CandidateCounts>,
    /// What makes a row.
    pub layout: Arc<RowLayout>,
    /// The rank stage.
    pub scorer: Arc<dyn Scorer>,
    /// Whether items that the user owns are left out.
    pub new_only: bool,
}

/// One question to a recommender.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The values of the user's views, in the layout's order.
    pub user: &'a [Value],
    /// What the user did so far.
    pub state: &'a UserState,
    /// The features of all items.
    pub items: &'a ItemTable,
    /// The time of the request.
    pub now: Timestamp,
    /// How many items are wanted.
    pub k: usize,
    /// Items that may not be answered.
    pub excluded: &'a [u32],
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Source scores of all items for the last user.
    pub retrieval: Scratch,
    /// Candidates of the last user.
    pub candidates: Vec<u32>,
    /// Rows of the last user.
    pub rows: RowScratch,
    scores: Vec<f64>,
}

impl Recommender {
    /// The `k` best items for the user, best first; fewer when there are fewer candidates.
    pub fn answer(&self, request: Request<'_>, workspace: &mut Workspace) -> Vec<Ranked> {
        let Request { user, state, items, now, k, excluded } = request;
        let Workspace { retrieval, candidates, rows, scores } = workspace;
        self.retriever.score(state, now, self.new_only, excluded, retrieval);
        match &self.candidates {
            Some(counts) => self.retriever.candidates(counts, retrieval, candidates),
            None => self.retriever.whole_catalogue(retrieval, candidates),
        }
        if candidates.is_empty() {
            return Vec::new();
        }
        self.layout.fill(user, items, retrieval, candidates, rows);
        scores.clear();
        scores.resize(candidates.len(), 0.0);
        self.scorer.score(Rows::new(&rows.rows, self.layout.names().len()), scores);
        rank(candidates, scores, k)
    }
}
