//! Item-item similarities from what the same users bought.

use paceline_core::Timestamp;
use paceline_models::recommend::ItemItem;

use super::Purchases;

/// How similarities are fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemItemSpec {
    /// Neighbours kept per item.
    pub neighbours: usize,
    /// After this many days a purchase counts half.
    pub half_life_days: f64,
    /// Of a user with a longer history only the newest so many items are paired, so that the work is bounded by
    /// `users * items_per_user_max^2`.
    pub items_per_user_max: usize,
    /// Added to the product of the norms, so that two rare items bought once together are not "identical".
    pub shrinkage: f64,
}

impl Default for ItemItemSpec {
    fn default() -> Self {
        ItemItemSpec { neighbours: 200, half_life_days: 180.0, items_per_user_max: 400, shrinkage: 5.0 }
    }
}

/// Cosine similarity of items over users as known before `t`: with `x(u, i) = sqrt(w)` for the recency weight `w` of
/// the user's last purchase of the item,
/// `sim(i, j) = sum_u x(u, i) x(u, j) / (|x(., i)| |x(., j)| + shrinkage)`
/// (Sarwar et al., "Item-based collaborative filtering recommendation algorithms", 2001, with recency weights).
#[must_use]
pub fn fit_item_item(purchases: &Purchases, t: Timestamp, spec: &ItemItemSpec) -> ItemItem {
    let items = purchases.item_count();
    let mut users_of_item: Vec<Vec<(u32, f32)>> = vec![Vec::new(); items];
    let mut items_of_user: Vec<Vec<(u32, f32)>> = Vec::with_capacity(purchases.user_count());
    let mut squared_norms = vec![0.0f64; items];
    for user in 0..purchases.user_count() as u32 {
        let mut history = purchases.state_at(user, t).history;
        history.sort_by(|a, b| b.last.cmp(&a.last).then(a.item.cmp(&b.item)));
        history.truncate(spec.items_per_user_max);
        let weighted: Vec<(u32, f32)> = history
            .iter()
            .map(|item| {
                let age_days = t.seconds_since(item.last) / 86_400.0;
                (item.item, (-age_days / spec.half_life_days / 2.0).exp2() as f32)
            })
            .collect();
        for &(item, weight) in &weighted {
            users_of_item[item as usize].push((user, weight));
            squared_norms[item as usize] += f64::from(weight) * f64::from(weight);
        }
        items_of_user.push(weighted);
    }
    let mut together = vec![0.0f64; items];
    let mut touched: Vec<u32> = Vec::new();
    let lists: Vec<Vec<(u32, f32)>> = (0..items)
        .map(|item| {
            for &(user, weight) in &users_of_item[item] {
                for &(other, other_weight) in &items_of_user[user as usize] {
                    if together[other as usize] == 0.0 {
                        touched.push(other);
                    }
                    together[other as usize] += f64::from(weight) * f64::from(other_weight);
                }
            }
            let mut list: Vec<(u32, f32)> = Vec::with_capacity(touched.len());
            for other in touched.drain(..) {
                let product = std::mem::take(&mut together[other as usize]);
                if other as usize != item {
                    let norms = (squared_norms[item] * squared_norms[other as usize]).sqrt();
                    list.push((other, (product / (norms + spec.shrinkage)) as f32));
                }
            }
            let nearer = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if list.len() > spec.neighbours && spec.neighbours > 0 {
                list.select_nth_unstable_by(spec.neighbours - 1, nearer);
            }
            list.truncate(spec.neighbours);
            list.sort_unstable_by(nearer);
            list
        })
        .collect();
    ItemItem::new(&lists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::Purchase;

    fn fit(rows: &[(u32, u32, i64)], spec: &ItemItemSpec) -> ItemItem {
        let day = |day: i64| Timestamp::from_seconds(day * 86_400);
        let rows = rows.iter().map(|&(user, item, time)| Purchase { user, item, time: day(time), known: day(time) });
        fit_item_item(&Purchases::new(rows.collect(), 4, 4), day(100), spec)
    }

    #[test]
    fn without_decay_and_shrinkage_it_is_the_cosine() {
        let spec = ItemItemSpec { half_life_days: 1e12, shrinkage: 0.0, ..ItemItemSpec::default() };
        let rows = [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (1, 2, 1), (2, 0, 1), (3, 3, 1)];
        let table = fit(&rows, &spec);
        let neighbours: Vec<_> = table.neighbours(0).collect();
        assert_eq!(neighbours.iter().map(|n| n.0).collect::<Vec<_>>(), [1, 2]);
        // Item 0 has 3 users, item 1 two of them, item 2 one.
        assert!((neighbours[0].1 - 2.0 / 6.0f32.sqrt()).abs() < 1e-6);
        assert!((neighbours[1].1 - 1.0 / 3.0f32.sqrt()).abs() < 1e-6);
        assert_eq!(table.neighbours(3).count(), 0);
    }

    #[test]
    fn newer_purchases_count_more_and_the_future_nothing() {
        let spec = ItemItemSpec { half_life_days: 10.0, shrinkage: 0.5, neighbours: 1, ..ItemItemSpec::default() };
        let rows = [(0, 0, 99), (0, 1, 99), (1, 0, 10), (1, 2, 10), (2, 0, 100), (2, 3, 100)];
        let table = fit(&rows, &spec);
        assert_eq!(table.neighbours(0).map(|n| n.0).collect::<Vec<_>>(), [1]);
        assert_eq!(table.neighbours(3).count(), 0, "day 100 is not before day 100");
    }
}
