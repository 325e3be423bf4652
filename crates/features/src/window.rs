//! One definition of a window, and how it is evaluated over the rows of one entity.
//!
//! An entity's rows lie in order (event time, available time, position). A row counts at `t` when
//! `known_from < t <= known_until`, where `known_from` is the later of event and available time, and `known_until` the
//! available time of the version that replaces it. The window is `[t - w, t)` in event time; since a known row's event
//! time is before `t`, it is always a *suffix* of the known rows, and that is what all four evaluations build on:
//!
//! - [`in_order`]: rows become known in their order (no late rows, no corrections; a constant delay is fine). The known
//!   rows are a prefix, a window is a range of positions, and one pass with running sums answers every spine row.
//! - [`late`]: rows become known out of order, or stop counting. A tree over positions, updated as time passes.
//! - [`scan`]: one entity at one time, from the raw rows: what a request does.
//! - [`kept`]: one entity at one time, from the rows and running sums that a [`crate::stream`] keeps current. It needs
//!   every row that it holds to be known and not replaced; where one is not, the stream lets [`scan`] do it.
//!
//! All four give the same bits: sums are exact ([`exact`]) and rounded once ([`rounding`]), everything else picks a row.

use paceline_core::Timestamp;

pub(crate) mod cells;
pub(crate) mod exact;
pub(crate) mod in_order;
pub(crate) mod kept;
pub(crate) mod late;
pub(crate) mod rounding;
pub(crate) mod scan;

/// The rows of one entity in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntityRows<'a> {
    /// Their positions in the source.
    pub rows: &'a [u32],
    /// Their event times; never decreasing.
    pub event: &'a [i64],
    /// The later of event and available time of each.
    pub known_from: &'a [i64],
    /// By position in the source; `None` when nothing is ever replaced.
    pub known_until: Option<&'a [i64]>,
}

impl EntityRows<'_> {
    /// Whether the row at this position counts at `t`.
    pub(crate) fn counts(&self, position: usize, t: Timestamp) -> bool {
        // A replaced row counts up to the time at which its replacement is known, inclusively.
        let until = self.known_until.map_or(i64::MAX, |until| until[self.rows[position] as usize]);
        self.known_from[position] < t.0 && t.0 <= until
    }

    /// Whether rows become known in their order and stay so, which [`in_order`] needs.
    pub(crate) fn is_in_order(&self) -> bool {
        let stays = |row: &u32| self.known_until.is_none_or(|until| until[*row as usize] == i64::MAX);
        // The same slice means that every row is known at its event time.
        (std::ptr::eq(self.event, self.known_from) || self.known_from.is_sorted()) && self.rows.iter().all(stays)
    }
}
