//! Answers of other users, found by how near their factors are.

use paceline_kernels::dot::dot;

/// Lists of users by the direction of their factors: what a similarity cache holds. Users without factors (none, or all
/// zero) are near nobody.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarityCache {
    dimensions: usize,
    /// Unit vectors, row-major; zeros for a user without factors.
    directions: Vec<f32>,
    lists: Vec<Vec<u32>>,
}

impl SimilarityCache {
    /// Entry `i` has the factors and the list of `entries[i]`.
    ///
    /// # Panics
    /// When factors are neither empty nor of width `dimensions`.
    #[must_use]
    pub fn new<'a>(dimensions: usize, entries: impl IntoIterator<Item = (&'a [f32], Vec<u32>)>) -> Self {
        let (mut directions, mut lists) = (Vec::new(), Vec::new());
        for (factors, list) in entries {
            match direction(factors) {
                Some(direction) => {
                    assert_eq!(direction.len(), dimensions, "width of a user's factors");
                    directions.extend(direction);
                }
                None => directions.resize(directions.len() + dimensions, 0.0),
            }
            lists.push(list);
        }
        SimilarityCache { dimensions, directions, lists }
    }

    /// The entry with the largest cosine to `factors`, and that cosine, by comparing with every one; `except` is left
    /// out (a user is always nearest to herself). Of equally near entries the first. `None` for a user without factors
    /// or when nobody else has any.
    #[must_use]
    pub fn nearest(&self, factors: &[f32], except: Option<usize>) -> Option<(usize, f32)> {
        let direction = direction(factors).filter(|direction| direction.len() == self.dimensions)?;
        let mut best: Option<(usize, f32)> = None;
        for (entry, other) in self.directions.chunks_exact(self.dimensions).enumerate() {
            let cosine = dot(&direction, other);
            if Some(entry) != except && cosine != 0.0 && best.is_none_or(|(_, least)| cosine > least) {
                best = Some((entry, cosine));
            }
        }
        best
    }

    /// The list of an entry.
    ///
    /// # Panics
    /// When there is no such entry.
    #[must_use]
    pub fn list(&self, entry: usize) -> &[u32] {
        &self.lists[entry]
    }
}

fn direction(factors: &[f32]) -> Option<Vec<f32>> {
    let length = dot(factors, factors).sqrt();
    (length > 0.0).then(|| factors.iter().map(|factor| factor / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_other_user_is_found_whatever_the_length() {
        let users: [&[f32]; 5] = [&[3.0, 0.0], &[0.0, 0.5], &[], &[2.0, 2.0], &[0.0, 0.0]];
        let cache = SimilarityCache::new(2, users.iter().zip(0u32..).map(|(factors, user)| (*factors, vec![user])));
        let check = |factors: &[f32], except, expected: Option<(usize, f32)>| match (
            cache.nearest(factors, except),
            expected,
        ) {
            (Some((entry, cosine)), Some((wanted, near))) => {
                assert_eq!(entry, wanted, "{factors:?}");
                assert!((cosine - near).abs() < 1e-6, "{cosine} is not {near}");
            }
            (found, expected) => assert_eq!(found, expected, "{factors:?}"),
        };
        check(&[10.0, 0.0], None, Some((0, 1.0)));
        check(&[10.0, 0.0], Some(0), Some((3, 0.5f32.sqrt())));
        check(&[1.0, 3.0], None, Some((1, 3.0 / 10f32.sqrt())));
        check(&[], None, None);
        check(&[0.0, 0.0], None, None);
        check(&[1.0], None, None);
        assert_eq!(cache.list(3), [3]);
        assert_eq!(SimilarityCache::new(2, [(users[2], vec![])]).nearest(&[1.0, 0.0], None), None);
    }
}
