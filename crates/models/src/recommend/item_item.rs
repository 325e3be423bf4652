//! Item-item similarities: for each item its nearest neighbours.

use crate::ModelError;
use crate::tensors::{Tensor, TensorFile, Values};

/// Sparse similarities: neighbours of item `i` are `neighbours[offsets[i]..offsets[i + 1]]`, nearest first.
///
/// Similarities are finite and at or above 0; an item is not its own neighbour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemItem {
    offsets: Vec<u32>,
    neighbours: Vec<u32>,
    similarities: Vec<f32>,
}

impl ItemItem {
    /// From one list of (neighbour, similarity) per item.
    ///
    /// # Panics
    /// When a neighbour is not one of the items: the caller's bug.
    #[must_use]
    pub fn new(lists: &[Vec<(u32, f32)>]) -> Self {
        let mut table = ItemItem { offsets: vec![0], ..ItemItem::default() };
        for list in lists {
            for &(neighbour, similarity) in list {
                assert!((neighbour as usize) < lists.len(), "neighbour {neighbour} of {} items", lists.len());
                table.neighbours.push(neighbour);
                table.similarities.push(similarity);
            }
            table.offsets.push(u32::try_from(table.neighbours.len()).expect("fewer than 2^32 similarities"));
        }
        table
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Neighbours of `item` with their similarities, nearest first; none for an item outside the table.
    pub fn neighbours(&self, item: u32) -> impl Iterator<Item = (u32, f32)> + '_ {
        let item = item as usize;
        let range = if item < self.len() { self.offsets[item] as usize..self.offsets[item + 1] as usize } else { 0..0 };
        self.neighbours[range.clone()].iter().copied().zip(self.similarities[range].iter().copied())
    }

    /// Its arrays, named `NAME.offsets`, `NAME.neighbours` and `NAME.similarities`.
    pub(crate) fn tensors(&self, name: &str) -> [Tensor<'_>; 3] {
        [
            (format!("{name}.offsets"), vec![self.offsets.len()], Values::U32(&self.offsets)),
            (format!("{name}.neighbours"), vec![self.neighbours.len()], Values::U32(&self.neighbours)),
            (format!("{name}.similarities"), vec![self.similarities.len()], Values::F32(&self.similarities)),
        ]
    }

    /// Reads what [`ItemItem::tensors`] names, for `items` items; everything is checked.
    pub(crate) fn read(file: &TensorFile<'_>, name: &str, items: usize) -> Result<Self, ModelError> {
        let count = file.len(&format!("{name}.neighbours"))?;
        let table = ItemItem {
            offsets: file.positions(&format!("{name}.offsets"), &[items + 1])?,
            neighbours: file.positions(&format!("{name}.neighbours"), &[count])?,
            similarities: file.values(&format!("{name}.similarities"), &[count])?,
        };
        check_offsets(file, name, &table.offsets, count)?;
        if let Some(&neighbour) = table.neighbours.iter().find(|&&neighbour| neighbour as usize >= items) {
            return file.inconsistent(
                format!("a neighbour in {name}"),
                neighbour.to_string(),
                format!("below the number of items, {items}"),
            );
        }
        match table.similarities.iter().find(|similarity| **similarity < 0.0) {
            Some(similarity) => {
                file.inconsistent(format!("a similarity in {name}"), similarity.to_string(), "at least 0".into())
            }
            None => Ok(table),
        }
    }
}

/// Offsets of rows that follow each other and end at `count`.
pub(crate) fn check_offsets(
    file: &TensorFile<'_>,
    name: &str,
    offsets: &[u32],
    count: usize,
) -> Result<(), ModelError> {
    if offsets.first() == Some(&0) && offsets.is_sorted() && offsets.last().map(|&end| end as usize) == Some(count) {
        return Ok(());
    }
    file.inconsistent(format!("offsets of {name}"), "not in order".into(), format!("ascending from 0 to {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ItemItem {
        ItemItem::new(&[vec![(1, 0.5), (2, 0.25)], vec![], vec![(0, 0.125)]])
    }

    #[test]
    fn neighbours_of_an_item_outside_the_table_are_none() {
        assert_eq!(table().neighbours(0).collect::<Vec<_>>(), [(1, 0.5), (2, 0.25)]);
        assert_eq!(table().neighbours(7).count(), 0);
    }
}
