//! Duplicates and corrections: which version of an event is known when.

use arrow::array::{DynComparator, make_comparator};
use arrow::compute::SortOptions;

use super::column::column_named;
use super::entity::{EntityDictionary, NOBODY};
use super::order::Grouped;
use super::times::SourceTimes;
use crate::{FeatureError, SourceTable};

/// `known_until` of a row that nothing replaces.
pub(crate) const FOREVER: i64 = i64::MAX;
/// `known_until` of a row that is never known: a duplicate, or one replaced before it was known.
pub(crate) const NEVER: i64 = i64::MIN;

/// For each row, until when (inclusively) it counts: the available time of the version that replaces it.
///
/// Versions of one id are ordered by available time, then position, whatever their entity and event time. A version
/// with the content of the one before it (event time and every column but the id and the available time) is ignored;
/// any other replaces it. `None` when no row has a second version.
pub(crate) fn known_until(source: &SourceTable, id_column: &str) -> Result<Option<Vec<i64>>, FeatureError> {
    let times = SourceTimes::of(source)?;
    let table = format!("source {:?}", source.name);
    let needed_by = || "event_id".to_owned();
    column_named(&source.rows, id_column, &table, needed_by)?;
    let (ids, id_of) = EntityDictionary::of_source(&source.rows, &[id_column.to_owned()], &table, "event_id")?;
    let mut versions = Grouped::by_entity(&id_of, ids.len(), |_| true);
    if versions.rows.len() == ids.len() {
        return Ok(None);
    }
    versions.sort_by_key(|row| times.available(row));

    let content = Content::of(source, id_column)?;
    let mut until = vec![FOREVER; source.rows.num_rows()];
    for bounds in versions.starts.windows(2).filter(|bounds| bounds[1] - bounds[0] > 1) {
        let rows = &versions.rows[bounds[0] as usize..bounds[1] as usize];
        let mut current = rows[0];
        for &next in &rows[1..] {
            if content.is_same(current, next) {
                until[next as usize] = NEVER;
            } else {
                let replaced_at = times.available(next);
                until[current as usize] = if replaced_at <= times.known_from(current) { NEVER } else { replaced_at };
                current = next;
            }
        }
    }
    debug_assert!(id_of.iter().zip(&until).all(|(&id, &until)| id != NOBODY || until == FOREVER));
    Ok(Some(until))
}

/// Tells whether two rows say the same.
struct Content<'a> {
    source: &'a SourceTable,
    columns: Vec<DynComparator>,
}

impl<'a> Content<'a> {
    fn of(source: &'a SourceTable, id_column: &str) -> Result<Self, FeatureError> {
        let schema = source.rows.schema_ref();
        let is_content = |name: &str| name != id_column && source.available_time_column.as_deref() != Some(name);
        let columns = schema
            .fields()
            .iter()
            .zip(source.rows.columns())
            .filter(|(field, _)| is_content(field.name()))
            .map(|(field, array)| {
                make_comparator(array, array, SortOptions::default()).map_err(FeatureError::arrow(format!(
                    "column {:?} of source {:?}",
                    field.name(),
                    source.name
                )))
            })
            .collect::<Result<_, _>>()?;
        Ok(Content { source, columns })
    }

    fn is_same(&self, a: u32, b: u32) -> bool {
        let (a, b) = (a as usize, b as usize);
        let same_time = self.source.event_time.as_ref().is_none_or(|times| times[a] == times[b]);
        same_time && self.columns.iter().all(|compare| compare(a, b).is_eq())
    }
}
