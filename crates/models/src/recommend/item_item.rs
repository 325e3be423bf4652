//! Item-item similarities: for each item its nearest neighbours.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use thiserror::Error;

/// Why a file is not a table of item-item similarities.
#[derive(Debug, Error)]
pub enum ItemItemError {
    /// Not a safetensors file, or without one of the three tensors.
    #[error("item-item file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// The tensors contradict each other.
    #[error("item-item file: {0}")]
    Content(String),
}

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

    /// The file's bytes: safetensors with `offsets` and `neighbours` (u32) and `similarities` (f32).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes_u32 = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let offsets = bytes_u32(&self.offsets);
        let neighbours = bytes_u32(&self.neighbours);
        let similarities: Vec<u8> = self.similarities.iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = |dtype, len: usize, data| TensorView::new(dtype, vec![len], data).expect("lengths agree");
        let tensors = [
            ("neighbours", view(Dtype::U32, self.neighbours.len(), &neighbours)),
            ("offsets", view(Dtype::U32, self.offsets.len(), &offsets)),
            ("similarities", view(Dtype::F32, self.similarities.len(), &similarities)),
        ];
        safetensors::serialize(tensors, None).expect("plain tensors serialize")
    }

    /// Reads what [`ItemItem::to_bytes`] wrote; everything is checked, so a damaged file is an error and never a panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ItemItemError> {
        let tensors = SafeTensors::deserialize(bytes)?;
        let words = |name: &str, dtype: Dtype| -> Result<Vec<[u8; 4]>, ItemItemError> {
            let tensor = tensors.tensor(name)?;
            if tensor.dtype() != dtype {
                return Err(ItemItemError::Content(format!(
                    "tensor {name} is {:?}, expected {dtype:?}",
                    tensor.dtype()
                )));
            }
            Ok(tensor.data().chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]).collect())
        };
        let table = ItemItem {
            offsets: words("offsets", Dtype::U32)?.into_iter().map(u32::from_le_bytes).collect(),
            neighbours: words("neighbours", Dtype::U32)?.into_iter().map(u32::from_le_bytes).collect(),
            similarities: words("similarities", Dtype::F32)?.into_iter().map(f32::from_le_bytes).collect(),
        };
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<(), ItemItemError> {
        let content = |text: String| Err(ItemItemError::Content(text));
        if self.offsets.first() != Some(&0) || !self.offsets.is_sorted() {
            return content("offsets do not start at 0 or decrease".to_owned());
        }
        if self.offsets.last().map(|&end| end as usize) != Some(self.neighbours.len())
            || self.neighbours.len() != self.similarities.len()
        {
            return content("offsets, neighbours and similarities have different lengths".to_owned());
        }
        if let Some(&neighbour) = self.neighbours.iter().find(|&&neighbour| neighbour as usize >= self.len()) {
            return content(format!("neighbour {neighbour} of {} items", self.len()));
        }
        match self.similarities.iter().find(|similarity| !similarity.is_finite() || **similarity < 0.0) {
            Some(similarity) => content(format!("similarity {similarity}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ItemItem {
        ItemItem::new(&[vec![(1, 0.5), (2, 0.25)], vec![], vec![(0, 0.125)]])
    }

    #[test]
    fn bytes_round_trip() {
        let read = ItemItem::from_bytes(&table().to_bytes()).expect("its own bytes");
        assert_eq!(read, table());
        assert_eq!(read.neighbours(0).collect::<Vec<_>>(), [(1, 0.5), (2, 0.25)]);
        assert_eq!(read.neighbours(7).count(), 0);
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = table().to_bytes();
        assert!(ItemItem::from_bytes(&good[..good.len() - 1]).is_err());
        let damaged = [
            ItemItem { offsets: vec![0, 3, 2, 3], ..table() },
            ItemItem { offsets: vec![0, 2, 2, 9], ..table() },
            ItemItem { neighbours: vec![1, 2, 3], ..table() },
            ItemItem { similarities: vec![0.5, f32::NAN, 0.1], ..table() },
        ];
        for table in damaged {
            assert!(matches!(ItemItem::from_bytes(&table.to_bytes()), Err(ItemItemError::Content(_))), "{table:?}");
        }
    }
}
