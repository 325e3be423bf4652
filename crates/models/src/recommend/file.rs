//! The file of the candidate stage.

use serde::{Deserialize, Serialize};

use super::similar_users::Circles;
use super::{ItemItem, Retriever, SimilarUsers};
use crate::ModelError;
use crate::tensors::{self, TensorFile, Values};

const KIND: &str = "retriever";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    items: usize,
    dimensions: usize,
    half_life_days: f64,
    taste_half_life_days: f64,
    circles: Circles,
    similar_users_half_life_days: f64,
    /// Whether items have groups.
    groups: bool,
}

impl Retriever {
    /// The file's bytes: safetensors.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let items = self.item_count();
        let header = Header {
            version: VERSION,
            items,
            dimensions: self.dimensions,
            half_life_days: self.half_life_days,
            taste_half_life_days: self.taste_half_life_days,
            circles: self.similar_users.circles(),
            similar_users_half_life_days: self.similar_users.half_life_days(),
            groups: !self.groups.is_empty(),
        };
        let available: Vec<u32> = self.available.iter().map(|&available| u32::from(available)).collect();
        let similar_users = self.similar_users.arrays();
        let mut tensors = vec![
            ("available".to_owned(), vec![items], Values::U32(&available)),
            ("first_buyers".to_owned(), vec![items], Values::F32(&self.first_buyers)),
            ("groups".to_owned(), vec![self.groups.len()], Values::U32(&self.groups)),
            ("item_factors".to_owned(), vec![items, self.dimensions], Values::F32(&self.item_factors)),
            ("popularity".to_owned(), vec![items], Values::F32(&self.popularity)),
        ];
        tensors.extend(self.bought_next.tensors("bought_next"));
        tensors.extend(self.bought_together.tensors("bought_together"));
        tensors.extend(self.also_bought.tensors("also_bought"));
        tensors.extend(similar_users.tensors());
        tensors::write(&header, &tensors)
    }

    /// Reads what [`Retriever::to_bytes`] wrote; everything is checked, so that a damaged file cannot make a request
    /// panic.
    ///
    /// # Errors
    /// [`ModelError`] when the bytes are damaged, of another version, or contradict each other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let file = TensorFile::open(KIND, bytes, VERSION)?;
        let header: Header = file.header()?;
        let Header { items, dimensions, half_life_days, taste_half_life_days, circles, .. } = header;
        for (name, days) in [
            ("half_life_days", half_life_days),
            ("taste_half_life_days", taste_half_life_days),
            ("similar_users_half_life_days", header.similar_users_half_life_days),
        ] {
            if !(days.is_finite() && days > 0.0) {
                return file.inconsistent(name.to_owned(), days.to_string(), "finite and above 0".into());
            }
        }
        if circles.close > circles.wide {
            return file.inconsistent(
                "circles".into(),
                format!("{circles:?}"),
                "the wide one at least as large".into(),
            );
        }
        let groups = file.positions("groups", &[if header.groups { items } else { 0 }])?;
        // Groups are numbered without gaps, so a number beyond that of items would only waste memory.
        if let Some(group) = groups.iter().find(|&&group| group as usize >= items) {
            return file.inconsistent("a group".into(), group.to_string(), format!("below {items}"));
        }
        Ok(Retriever {
            item_factors: file.values("item_factors", &[items, dimensions])?,
            dimensions,
            bought_next: ItemItem::read(&file, "bought_next", items)?,
            bought_together: ItemItem::read(&file, "bought_together", items)?,
            also_bought: ItemItem::read(&file, "also_bought", items)?,
            similar_users: SimilarUsers::read(&file, items, circles, header.similar_users_half_life_days)?,
            groups,
            popularity: file.values("popularity", &[items])?,
            first_buyers: file.values("first_buyers", &[items])?,
            available: file.positions("available", &[items])?.into_iter().map(|flag| flag != 0).collect(),
            half_life_days,
            taste_half_life_days,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Neighbour;
    use super::*;

    fn retriever() -> Retriever {
        let users = [
            Neighbour { taste: vec![(0, 1.0), (2, 0.5)], recent: vec![(2, [0.5, 0.75])] },
            Neighbour::default(),
            Neighbour { taste: vec![(1, 1.0)], recent: vec![(0, [1.0, 1.0]), (1, [0.25, 0.5])] },
        ];
        Retriever {
            item_factors: vec![1.0, 0.0, 0.9, 0.1, 0.5, 0.5],
            dimensions: 2,
            bought_next: ItemItem::new(&[vec![(1, 0.5), (2, 0.25)], vec![], vec![(0, 0.125)]]),
            bought_together: ItemItem::new(&[vec![], vec![], vec![]]),
            also_bought: ItemItem::new(&[vec![(1, 0.5)], vec![(0, 0.5)], vec![]]),
            similar_users: SimilarUsers::new(&users, 3, Circles { wide: 4, close: 2 }, 180.0),
            groups: vec![0, 1, 0],
            popularity: vec![3.0, 0.0, 1.0],
            first_buyers: vec![1.0, 0.0, 0.0],
            available: vec![true, false, true],
            half_life_days: 90.0,
            taste_half_life_days: 180.0,
        }
    }

    #[test]
    fn files_round_trip() {
        for retriever in [retriever(), Retriever { groups: vec![], ..retriever() }] {
            let bytes = retriever.to_bytes();
            assert_eq!(Retriever::from_bytes(&bytes).as_ref(), Ok(&retriever));
            assert_eq!(retriever.to_bytes(), bytes, "the same bytes each time");
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = retriever().to_bytes();
        for length in 0..good.len() {
            assert!(Retriever::from_bytes(&good[..length]).is_err(), "cut at {length}");
        }
        let check = |change: &dyn Fn(&mut Retriever), part: &str| {
            let mut damaged = retriever();
            change(&mut damaged);
            let error = Retriever::from_bytes(&damaged.to_bytes()).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&|r| r.groups[1] = 7, "a group is 7, but must be below 3");
        check(&|r| r.half_life_days = 0.0, "half_life_days is 0");
        check(&|r| r.popularity[1] = f32::NAN, "value 1 of tensor \"popularity\" is NaN");
        check(&|r| r.also_bought = ItemItem::new(&[vec![(3, 0.5)], vec![], vec![], vec![]]), "also_bought.offsets");
        check(&|r| r.also_bought = ItemItem::new(&[vec![(1, -0.5)], vec![], vec![]]), "a similarity in also_bought");
    }

    /// Any single changed byte gives an error or a retriever that answers without panicking.
    #[test]
    fn a_changed_byte_never_panics() {
        use super::super::{HistoryItem, Scratch, UserState};
        use paceline_core::Timestamp;
        let good = retriever().to_bytes();
        let history = (0..3).map(|item| HistoryItem { item, count: 1, last: Timestamp(0) }).collect();
        let user = UserState { factors: vec![1.0, 0.5], history, last_basket: vec![1], number: Some(1) };
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x15;
            if let Ok(retriever) = Retriever::from_bytes(&bytes) {
                retriever.score(&user, Timestamp(1), true, &[], &mut Scratch::default());
            }
        }
    }
}
