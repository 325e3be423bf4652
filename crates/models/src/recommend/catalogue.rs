//! The items that can be recommended, numbered.

use std::collections::HashMap;

use paceline_core::KeyPart;

/// Items in a fixed order; the position is the item's index everywhere in the recommender.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    items: Vec<KeyPart>,
    index: HashMap<KeyPart, u32>,
}

impl Catalogue {
    /// Numbers `items` in the given order; a repeated item keeps its first position.
    pub fn new(items: impl IntoIterator<Item = KeyPart>) -> Self {
        let mut catalogue = Catalogue::default();
        for item in items {
            catalogue.insert(item);
        }
        catalogue
    }

    /// The index of `item`, appended when new.
    pub fn insert(&mut self, item: KeyPart) -> u32 {
        if let Some(&index) = self.index.get(&item) {
            return index;
        }
        let index = u32::try_from(self.items.len()).expect("fewer than 2^32 items");
        self.index.insert(item.clone(), index);
        self.items.push(item);
        index
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Index of an item, `None` when it is not in the catalogue.
    #[must_use]
    pub fn index_of(&self, item: &KeyPart) -> Option<u32> {
        self.index.get(item).copied()
    }

    /// The item at an index that this catalogue gave out.
    #[must_use]
    pub fn item(&self, index: u32) -> &KeyPart {
        &self.items[index as usize]
    }

    /// All items, by index.
    #[must_use]
    pub fn items(&self) -> &[KeyPart] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_first_position() {
        let catalogue = Catalogue::new(["a", "b", "a", "c"].map(KeyPart::from));
        assert_eq!(catalogue.len(), 3);
        assert_eq!(catalogue.index_of(&"c".into()), Some(2));
        assert_eq!(catalogue.index_of(&"d".into()), None);
        assert_eq!(catalogue.item(1), &KeyPart::from("b"));
    }
}
