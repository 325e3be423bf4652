//! Rows grouped by entity, in the order that decides ties.

use super::entity::NOBODY;

/// Row numbers of a table grouped by entity: those of entity `e` are `rows[starts[e]..starts[e + 1]]`.
#[derive(Debug, Default)]
pub(crate) struct Grouped {
    pub starts: Vec<u32>,
    pub rows: Vec<u32>,
}

impl Grouped {
    /// Groups rows by their entity, each group in file order; rows of nobody and those not `kept` are left out.
    ///
    /// A counting sort: two passes, no comparison.
    pub(crate) fn by_entity(entity_of: &[u32], entities: usize, kept: impl Fn(usize) -> bool) -> Grouped {
        let mut starts = vec![0u32; entities + 1];
        let belongs = |row: usize, entity: u32| entity != NOBODY && kept(row);
        for (row, &entity) in entity_of.iter().enumerate() {
            if belongs(row, entity) {
                starts[entity as usize + 1] += 1;
            }
        }
        for e in 0..entities {
            starts[e + 1] += starts[e];
        }
        let mut next = starts.clone();
        let mut rows = vec![0u32; starts[entities] as usize];
        for (row, &entity) in entity_of.iter().enumerate() {
            if belongs(row, entity) {
                let slot = &mut next[entity as usize];
                rows[*slot as usize] = row as u32;
                *slot += 1;
            }
        }
        Grouped { starts, rows }
    }

    /// Where the rows of an entity lie.
    #[inline]
    pub(crate) fn range(&self, entity: u32) -> std::ops::Range<usize> {
        self.starts[entity as usize] as usize..self.starts[entity as usize + 1] as usize
    }

    /// Sorts every group by `key`, then by position, and returns the keys in that order.
    ///
    /// Files are mostly written in time order, so a group is looked at before it is sorted.
    pub(crate) fn sort_by_key<K: Ord + Copy>(&mut self, key: impl Fn(u32) -> K) -> Vec<K> {
        let mut keys: Vec<K> = self.rows.iter().map(|&row| key(row)).collect();
        let mut pairs: Vec<(K, u32)> = Vec::new();
        for bounds in self.starts.windows(2) {
            let range = bounds[0] as usize..bounds[1] as usize;
            let (rows, keys) = (&mut self.rows[range.clone()], &mut keys[range]);
            if keys.is_sorted() {
                continue;
            }
            pairs.clear();
            pairs.extend(keys.iter().copied().zip(rows.iter().copied()));
            pairs.sort_unstable();
            for ((key, row), (sorted_key, sorted_row)) in keys.iter_mut().zip(rows).zip(&pairs) {
                (*key, *row) = (*sorted_key, *sorted_row);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keep_file_order_and_ties_keep_position() {
        let mut grouped = Grouped::by_entity(&[1, 0, 1, NOBODY, 1, 0], 3, |row| row != 5);
        assert_eq!((grouped.starts.clone(), grouped.rows.clone()), (vec![0, 1, 4, 4], vec![1, 0, 2, 4]));
        let time = [5, 9, 3, 0, 5, 0];
        assert_eq!(grouped.sort_by_key(|row| time[row as usize]), vec![9, 3, 5, 5]);
        assert_eq!(grouped.rows, vec![1, 2, 0, 4]);
    }
}
