//! The scalar kernels: what every operation does to one row's known values. `None` is null. Both executions call these,
//! so they cannot differ. Kernels of texts are in `text`.
//!
//! A float result that is NaN or infinite needs no care here: storing it makes it null.

use chrono::{DateTime, Datelike};
use paceline_core::Timestamp;

use super::operation::TimeField;

/// Mean radius of the Earth, (2 a + b) / 3 of the GRS 80 ellipsoid (Moritz, "Geodetic Reference System 1980").
const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// Powers of ten that are exact as floats and as far as `round` goes.
const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Truncates toward zero; null for a divisor of zero and for the one quotient that overflows.
pub(super) fn divide_int(a: i64, b: i64) -> Option<i64> {
    a.checked_div(b)
}

/// Takes the sign of `a`; null for a divisor of zero.
pub(super) fn remainder_int(a: i64, b: i64) -> Option<i64> {
    (b != 0).then(|| a.wrapping_rem(b))
}

/// Rounds to `digits` after the point (before it when negative), ties to even, on the binary value times the power of
/// ten. A value too large to be scaled has no digits to lose and stays.
pub(super) fn round_to(value: f64, digits: i8) -> f64 {
    let power = POWERS_OF_TEN[usize::from(digits.unsigned_abs())];
    if digits < 0 {
        return (value / power).round_ties_even() * power;
    }
    let scaled = value * power;
    if scaled.is_finite() { scaled.round_ties_even() / power } else { value }
}

/// Great-circle distance in km of two points in degrees, by the haversine formula (R. W. Sinnott, "Virtues of the
/// Haversine", Sky and Telescope 68, 1984) on a sphere. Null for a latitude outside of -90 to 90.
pub(super) fn haversine(latitude_1: f64, longitude_1: f64, latitude_2: f64, longitude_2: f64) -> Option<f64> {
    if latitude_1.abs() > 90.0 || latitude_2.abs() > 90.0 {
        return None;
    }
    let half_sine = |degrees: f64| (degrees.to_radians() / 2.0).sin();
    let latitudes = half_sine(latitude_2 - latitude_1);
    let longitudes = half_sine(longitude_2 - longitude_1);
    let cosines = latitude_1.to_radians().cos() * latitude_2.to_radians().cos();
    let square = latitudes * latitudes + cosines * (longitudes * longitudes);
    // Rounding can lift the square of antipodes above 1, where the arc sine ends.
    Some(2.0 * EARTH_RADIUS_KM * square.min(1.0).sqrt().asin())
}

/// The nearest whole number, ties to even; null outside of 64 bits.
pub(super) fn float_to_int(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let rounded = value.round_ties_even();
    (-LIMIT..LIMIT).contains(&rounded).then_some(rounded as i64)
}

pub(super) fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

pub(super) fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// `a` unless both are known and equal.
pub(super) fn null_if<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<T> {
    if a.is_some() && a == b { None } else { a }
}

/// The smaller one; the known one when the other is null; `a` of equals.
pub(super) fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The larger one; the known one when the other is null; `a` of equals.
pub(super) fn greatest<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b > a { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// A condition that is null counts as not true.
pub(super) fn select<T>(condition: Option<bool>, then: Option<T>, otherwise: Option<T>) -> Option<T> {
    if condition == Some(true) { then } else { otherwise }
}

/// A field of a timestamp in UTC; null outside of the calendar's years (about 262,000 around year 0).
pub(super) fn extract(field: TimeField, micros: i64) -> Option<i64> {
    let date = || DateTime::from_timestamp_micros(micros);
    match field {
        TimeField::Hour => Some(Timestamp(micros).hour()),
        TimeField::DayOfWeek => Some(Timestamp(micros).day_of_week()),
        TimeField::Day => date().map(|at| i64::from(at.day())),
        TimeField::Month => date().map(|at| i64::from(at.month())),
        TimeField::Year => date().map(|at| i64::from(at.year())),
    }
}

/// Seconds since 1970, fractions included.
pub(super) fn extract_epoch(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// The bucket of a whole number: that of its eight bytes, least significant first.
pub(super) fn hash_bucket_of_int(value: i64, buckets: u32) -> i64 {
    bucket(&value.to_le_bytes(), buckets)
}

/// The bucket of a text: that of its UTF-8 bytes.
pub(super) fn hash_bucket_of_text(text: &str, buckets: u32) -> i64 {
    bucket(text.as_bytes(), buckets)
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo), mixed by the finalizer of MurmurHash3 (Appleby), modulo `buckets`. FNV alone
/// leaves the low bits of short keys uneven. Models are trained on the buckets: this may never change.
fn bucket(bytes: &[u8], buckets: u32) -> i64 {
    let mut hash = fnv_1a(bytes);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    (hash % u64::from(buckets)) as i64
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_the_published_values() {
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv_1a(text.as_bytes()), hash, "{text:?}");
        }
    }

    #[test]
    fn buckets_are_even_and_within_reach() {
        const BUCKETS: u32 = 64;
        const KEYS: i64 = 64_000;
        for bucket_of in [(|key| hash_bucket_of_int(key, BUCKETS)) as fn(i64) -> i64, |key| {
            hash_bucket_of_text(&key.to_string(), BUCKETS)
        }] {
            let mut counts = [0_f64; BUCKETS as usize];
            (0..KEYS).for_each(|key| counts[bucket_of(key) as usize] += 1.0);
            let expected = KEYS as f64 / f64::from(BUCKETS);
            let chi_square: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
            // 63 degrees of freedom: mean 63, standard deviation 11.2.
            assert!(chi_square < 63.0 + 5.0 * 11.2, "{chi_square}");
        }
    }

    #[test]
    fn distances_are_those_of_a_sphere() {
        let quarter = std::f64::consts::FRAC_PI_2 * EARTH_RADIUS_KM;
        for ((from, to), km) in [
            (((0.0, 0.0), (0.0, 90.0)), quarter),
            (((0.0, 0.0), (90.0, 17.0)), quarter),
            (((10.0, 20.0), (-10.0, -160.0)), 2.0 * quarter),
            (((48.0, 2.0), (48.0, 362.0)), 0.0),
            (((0.0, 179.0), (0.0, -179.0)), quarter * 2.0 / 90.0),
        ] {
            let found = haversine(from.0, from.1, to.0, to.1).expect("latitudes are on the Earth");
            // The arc sine near 1 turns an error of 1e-16 in its argument into 1e-8 of an angle.
            assert!((found - km).abs() < 1e-3, "{from:?} to {to:?}: {found} instead of {km}");
        }
        assert_eq!(haversine(90.1, 0.0, 0.0, 0.0), None);
    }
}
