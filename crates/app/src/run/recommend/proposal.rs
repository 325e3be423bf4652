//! What the search may try: one way to answer requests.

use std::sync::Arc;

use paceline_core::Scorer;
use paceline_models::recommend::CandidateCounts;

/// One step that the search may take.
#[derive(Clone)]
pub struct Proposal {
    /// Unique name.
    pub name: String,
    /// One sentence.
    pub what: String,
    /// Candidates per source, `None` for the whole catalogue.
    pub candidates: Option<CandidateCounts>,
    /// The rank stage, as it is timed.
    pub scorer: Arc<dyn Scorer>,
    /// A scorer with the same answers, by which quality is measured: the compiled form of what LightGBM scores.
    pub judged_by: Arc<dyn Scorer>,
    /// Whether every feature is computed from raw rows when the request comes.
    pub features_on_request: bool,
    /// Bytes of the model files.
    pub bytes: u64,
}

impl Proposal {
    /// Features from the store, and a scorer that is judged as it is timed.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        what: impl Into<String>,
        candidates: Option<CandidateCounts>,
        scorer: &Arc<dyn Scorer>,
        bytes: u64,
    ) -> Proposal {
        Proposal {
            name: name.into(),
            what: what.into(),
            candidates,
            scorer: Arc::clone(scorer),
            judged_by: Arc::clone(scorer),
            features_on_request: false,
            bytes,
        }
    }

    /// Whether both give the same answers: where features are computed, and by which code the same model is scored,
    /// changes the latency alone.
    #[must_use]
    pub fn answers_like(&self, other: &Proposal) -> bool {
        Arc::ptr_eq(&self.judged_by, &other.judged_by) && self.candidates == other.candidates
    }
}

/// How many candidates are tried, as factors of what the pipeline asks for.
const CANDIDATE_FACTORS: [f64; 4] = [2.0, 1.0, 0.5, 0.25];

/// The numbers of candidates that are tried, most first; equal ones once.
#[must_use]
pub fn candidate_sizes(asked: &CandidateCounts) -> Vec<CandidateCounts> {
    let mut sizes: Vec<CandidateCounts> = CANDIDATE_FACTORS.iter().map(|&factor| asked.scaled(factor)).collect();
    sizes.dedup();
    sizes
}

/// How many candidates there are at most: no source names an item that another one named, and every source has enough.
#[must_use]
pub fn candidates_max(counts: &CandidateCounts) -> usize {
    counts.als + counts.item_item + counts.last_basket + counts.similar_users + counts.popular
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_and_repeat_none() {
        let none = CandidateCounts { als: 0, item_item: 0, last_basket: 0, similar_users: 0, popular: 0 };
        let sizes =
            |counts: CandidateCounts| -> Vec<usize> { candidate_sizes(&counts).iter().map(candidates_max).collect() };
        assert_eq!(sizes(CandidateCounts { als: 75, popular: 10, ..none }), [170, 85, 43, 22]);
        assert_eq!(sizes(CandidateCounts { popular: 2, ..none }), [4, 2, 1]);
    }
}
