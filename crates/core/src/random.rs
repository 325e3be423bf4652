//! Seeded randomness. There is no other source of it in the libraries.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::Digest;

/// The generator used everywhere.
pub type Random = Xoshiro256PlusPlus;

/// An independent stream for `purpose`: changing how much one stage draws never changes what another draws.
#[must_use]
pub fn stream(seed: u64, purpose: &str) -> Random {
    let digest = Digest::of_parts([seed.to_le_bytes().as_slice(), purpose.as_bytes()]).to_string();
    let folded = u64::from_str_radix(&digest[..16], 16).expect("a digest is hexadecimal");
    Random::seed_from_u64(folded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose| stream(seed, purpose).random::<u64>();
        assert_eq!(draw(1, "als"), draw(1, "als"));
        assert_ne!(draw(1, "als"), draw(2, "als"));
        assert_ne!(draw(1, "als"), draw(1, "network"));
    }
}
