//! From an exact integer to the nearest double, once: round half to even (IEEE 754, roundTiesToEven).
//!
//! Numerators are magnitudes in little-endian limbs. Quotients and roots are computed to at least 55 bits by integer
//! division and integer square root, and whatever was cut off is kept as one sticky bit, so the result is the correctly
//! rounded one.

use super::exact::{FixedPoint, LOWEST_EXPONENT, Moments, SQUARE_LIMBS, Square};
use crate::Aggregate;

/// A sum, mean or standard deviation of `count` fixed-point values; NaN (null) when there are too few.
///
/// # Panics
/// For any other aggregate: a bug.
#[inline]
pub(crate) fn fixed(aggregate: Aggregate, count: u64, units: i128, squares: Square, scale: FixedPoint) -> f64 {
    match aggregate {
        Aggregate::Sum | Aggregate::Mean if count == 0 => f64::NAN,
        Aggregate::Std if count < 2 => f64::NAN,
        Aggregate::Sum => sum(units, scale),
        Aggregate::Mean => mean(units, scale, count),
        Aggregate::Std => standard_deviation(units, squares, scale, count),
        other => panic!("{} is no sum", other.name()),
    }
}

/// The same of any doubles; NaN (null) also where infinities cancel.
pub(crate) fn wide(aggregate: Aggregate, count: u64, moments: &Moments) -> f64 {
    match aggregate {
        Aggregate::Sum | Aggregate::Mean if count == 0 => f64::NAN,
        Aggregate::Std if count < 2 => f64::NAN,
        Aggregate::Sum => moments.rounded_sum(),
        Aggregate::Mean => moments.rounded_mean(count),
        Aggregate::Std => moments.rounded_standard_deviation(count),
        other => panic!("{} is no sum", other.name()),
    }
}

/// The sum of fixed-point values.
#[inline]
fn sum(units: i128, scale: FixedPoint) -> f64 {
    let exponent = scale.exponent();
    if (-1022..=1023).contains(&exponent) {
        // The conversion rounds; the product is exact or overflows, because a subnormal result has at most 52 bits.
        return units as f64 * f64::from_bits(((exponent + 1023) as u64) << 52);
    }
    quotient(units < 0, &[units.unsigned_abs() as u64, (units.unsigned_abs() >> 64) as u64], exponent, 1)
}

/// The mean of `count` fixed-point values with this sum; `count` is not zero.
#[inline]
fn mean(units: i128, scale: FixedPoint, count: u64) -> f64 {
    const EXACT: u128 = 1 << 53;
    let (magnitude, exponent) = (units.unsigned_abs(), scale.exponent());
    if magnitude <= EXACT && u128::from(count) <= EXACT && exponent.abs() <= 900 {
        // Both operands are exact, so the division rounds once; the result is normal, so scaling it is exact.
        return units as f64 / count as f64 * f64::from_bits(((exponent + 1023) as u64) << 52);
    }
    quotient(units < 0, &[magnitude as u64, (magnitude >> 64) as u64], exponent, count)
}

/// The sample standard deviation of `count >= 2` fixed-point values: `sqrt((n * sum x^2 - (sum x)^2) / (n (n - 1)))`.
#[inline]
fn standard_deviation(units: i128, squares: Square, scale: FixedPoint, count: u64) -> f64 {
    let numerator = squares.times(count).minus(Square::of(units)).limbs();
    root_of_quotient(&numerator, 2 * scale.exponent(), count * (count - 1))
}

impl Moments {
    /// The sum, NaN when infinities of both signs meet.
    fn rounded_sum(&self) -> f64 {
        self.infinite().unwrap_or_else(|| {
            let (negative, magnitude) = self.sum.magnitude();
            quotient(negative, &magnitude, LOWEST_EXPONENT, 1)
        })
    }

    /// The mean of `count` values, NaN when infinities of both signs meet; `count` is not zero.
    fn rounded_mean(&self, count: u64) -> f64 {
        self.infinite().unwrap_or_else(|| {
            let (negative, magnitude) = self.sum.magnitude();
            quotient(negative, &magnitude, LOWEST_EXPONENT, count)
        })
    }

    /// The sample standard deviation of `count >= 2` values, NaN when one is infinite.
    fn rounded_standard_deviation(&self, count: u64) -> f64 {
        if self.infinite().is_some() {
            return f64::NAN;
        }
        let (_, sum) = self.sum.magnitude();
        let (_, squares) = self.squares.magnitude();
        // n * sum x^2 - (sum x)^2, limb by limb; never negative by the inequality of Cauchy and Schwarz.
        let mut numerator = [0u64; SQUARE_LIMBS + 4];
        let mut carry = 0u128;
        for (target, &limb) in numerator.iter_mut().zip(squares.iter().chain(std::iter::repeat(&0))) {
            let product = u128::from(limb) * u128::from(count) + carry;
            *target = product as u64;
            carry = product >> 64;
        }
        for (i, &a) in sum.iter().enumerate().filter(|(_, limb)| **limb != 0) {
            let (mut carry, mut borrow) = (0u128, false);
            for (target, &b) in numerator[i..].iter_mut().zip(sum.iter().chain(std::iter::repeat(&0))) {
                let product = u128::from(a) * u128::from(b) + carry;
                carry = product >> 64;
                let (partial, first) = target.overflowing_sub(product as u64);
                let (result, second) = partial.overflowing_sub(u64::from(borrow));
                *target = result;
                borrow = first || second;
            }
        }
        root_of_quotient(&numerator, 2 * LOWEST_EXPONENT, count * (count - 1))
    }

    fn infinite(&self) -> Option<f64> {
        match (self.infinities[0] > 0, self.infinities[1] > 0) {
            (false, false) => None,
            (true, false) => Some(f64::INFINITY),
            (false, true) => Some(f64::NEG_INFINITY),
            (true, true) => Some(f64::NAN),
        }
    }
}

/// The leading bits of a magnitude: `limbs` whose highest bit is set (up to `slack` zero bits above it), the exponent
/// of the lowest of them, and whether anything below was cut off.
struct Leading<const N: usize> {
    limbs: [u64; N],
    exponent: i32,
    sticky: bool,
}

/// `None` for zero. With `even`, the exponent comes out even, at the price of one leading zero bit.
#[inline]
fn leading<const N: usize>(magnitude: &[u64], exponent: i32, even: bool) -> Option<Leading<N>> {
    let top = magnitude.iter().rposition(|&limb| limb != 0)?;
    let bits = 64 * (top as i32 + 1) - magnitude[top].leading_zeros() as i32;
    // Position of the lowest bit that is kept; negative when zeros are appended instead.
    let mut lowest = bits - 64 * N as i32;
    if even && (exponent + lowest) % 2 != 0 {
        lowest += 1;
    }
    let limb_at = |index: i32| if index < 0 { 0 } else { magnitude.get(index as usize).copied().unwrap_or(0) };
    let (first, shift) = (lowest.div_euclid(64), lowest.rem_euclid(64) as u32);
    let mut limbs = [0; N];
    for (i, limb) in (first..).zip(limbs.iter_mut()) {
        *limb = if shift == 0 { limb_at(i) } else { limb_at(i) >> shift | limb_at(i + 1) << (64 - shift) };
    }
    let cut_limb = limb_at(first) & ((1u64 << shift) - 1);
    let sticky = cut_limb != 0 || (first > 0 && magnitude[..first as usize].iter().any(|&limb| limb != 0));
    Some(Leading { limbs, exponent: exponent + lowest, sticky })
}

/// `numerator * 2^exponent / divisor`, rounded once; an exact zero is `+0.0`.
fn quotient(negative: bool, numerator: &[u64], exponent: i32, divisor: u64) -> f64 {
    let Some(Leading { limbs: [low, high], exponent, sticky }) = leading::<2>(numerator, exponent, false) else {
        return 0.0;
    };
    let top = u128::from(high) << 64 | u128::from(low);
    let (quotient, remainder) = (top / u128::from(divisor), top % u128::from(divisor));
    round(negative, quotient, sticky || remainder != 0, exponent)
}

/// `sqrt(numerator * 2^exponent / divisor)`, rounded once.
///
/// The floor of a square root depends only on the floor of its argument, so both steps may cut and keep a sticky bit.
fn root_of_quotient(numerator: &[u64], exponent: i32, divisor: u64) -> f64 {
    debug_assert!(exponent % 2 == 0);
    let Some(Leading { limbs, exponent, mut sticky }) = leading::<3>(numerator, exponent, true) else {
        return 0.0;
    };
    let mut quotient = [0u64; 3];
    let mut remainder = 0u64;
    for i in (0..3).rev() {
        let part = u128::from(remainder) << 64 | u128::from(limbs[i]);
        quotient[i] = (part / u128::from(divisor)) as u64;
        remainder = (part % u128::from(divisor)) as u64;
    }
    sticky |= remainder != 0;
    let Some(Leading { limbs: [low, high], exponent, sticky: cut }) = leading::<2>(&quotient, exponent, true) else {
        unreachable!("the numerator has at least 191 bits and the divisor at most 64");
    };
    let square = u128::from(high) << 64 | u128::from(low);
    let root = square.isqrt();
    round(false, root, sticky || cut || root * root != square, exponent / 2)
}

/// `magnitude * 2^exponent`, and a little more where `sticky`, to the nearest double.
#[inline]
fn round(negative: bool, magnitude: u128, sticky: bool, exponent: i32) -> f64 {
    let bits = 128 - magnitude.leading_zeros() as i32;
    // Exponent of the result's lowest bit: 53 bits, fewer where it is subnormal.
    let lowest = (bits + exponent - 53).max(LOWEST_EXPONENT);
    let cut = lowest - exponent;
    let mantissa = if cut <= 0 {
        debug_assert!(!sticky, "at least 55 bits are computed wherever bits were cut off");
        (magnitude as u64) << -cut
    } else if cut > 128 {
        0
    } else {
        let kept = if cut == 128 { 0 } else { (magnitude >> cut) as u64 };
        let half = 1u128 << (cut - 1);
        let below = magnitude & (half - 1) != 0 || sticky;
        let up = magnitude & half != 0 && (below || kept & 1 == 1);
        kept + u64::from(up)
    };
    let unsigned = if lowest + 53 > 1024 {
        f64::INFINITY
    } else {
        // The implicit bit of a normal mantissa, or a carry out of it, adds one to the exponent field by itself.
        f64::from_bits((((lowest - LOWEST_EXPONENT) as u64) << 52) + mantissa)
    };
    if negative { -unsigned } else { unsigned }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: i128 = (1 << 53) + 1;

    fn check(aggregate: Aggregate, count: u64, units: i128, expected: f64) {
        let found = fixed(aggregate, count, units, Square::ZERO, FixedPoint::INTEGERS);
        assert_eq!(found.to_bits(), expected.to_bits(), "{aggregate:?} {count} {units}: {found:e}, not {expected:e}");
    }

    #[test]
    fn ties_go_to_even_and_the_smallest_remainder_decides() {
        let even = 2f64.powi(53);
        check(Aggregate::Sum, 1, HALF, even);
        check(Aggregate::Sum, 1, HALF << 60, even * 2f64.powi(60));
        check(Aggregate::Sum, 1, (HALF << 60) + 1, (even + 2.0) * 2f64.powi(60));
        check(Aggregate::Mean, 1_000, 1_000 * (HALF << 60), even * 2f64.powi(60));
        // A thousandth above the tie, which only the remainder of the division shows.
        check(Aggregate::Mean, 1_000, 1_000 * (HALF << 60) + 1, (even + 2.0) * 2f64.powi(60));
        check(Aggregate::Mean, 1_000, -1_000 * (HALF << 60) - 1, -(even + 2.0) * 2f64.powi(60));
        check(Aggregate::Mean, 3, 1, 1.0 / 3.0);
        check(Aggregate::Mean, 7, 0, 0.0);
    }

    #[test]
    fn too_few_values_are_null() {
        for (aggregate, count) in [(Aggregate::Sum, 0), (Aggregate::Mean, 0), (Aggregate::Std, 0), (Aggregate::Std, 1)]
        {
            check(aggregate, count, 0, f64::NAN);
            assert!(wide(aggregate, count, &Moments::ZERO).is_nan());
        }
    }

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::ZERO;
        values.iter().for_each(|&value| moments.add(value));
        moments
    }

    #[test]
    fn the_ends_of_the_range_round_as_ieee_says() {
        let least = f64::from_bits(1);
        let check = |aggregate, values: &[f64], expected: f64| {
            let found = wide(aggregate, values.len() as u64, &of(values));
            assert_eq!(found.to_bits(), expected.to_bits(), "{aggregate:?} {values:?}: {found:e}, not {expected:e}");
        };
        check(Aggregate::Mean, &[least, 0.0], 0.0);
        check(Aggregate::Mean, &[least, least, 0.0], least);
        check(Aggregate::Mean, &[3.0 * least, 0.0], 2.0 * least);
        check(Aggregate::Mean, &[least, 0.0, 0.0], 0.0);
        check(Aggregate::Sum, &[f64::MAX, f64::MAX, -f64::MAX], f64::MAX);
        check(Aggregate::Sum, &[f64::MAX, f64::MAX], f64::INFINITY);
        // Half a unit in the last place above the largest double is a tie, and infinity is the even one.
        check(Aggregate::Sum, &[f64::MAX, 2f64.powi(970)], f64::INFINITY);
        check(Aggregate::Sum, &[f64::MAX, 2f64.powi(970), -least], f64::MAX);
        check(Aggregate::Mean, &[f64::MAX, f64::MAX], f64::MAX);
        check(Aggregate::Std, &[f64::MAX, -f64::MAX], f64::INFINITY);
        check(Aggregate::Std, &[least, least, least], 0.0);
        check(Aggregate::Sum, &[1e300, 1.0, -1e300], 1.0);
    }

    #[test]
    fn what_is_added_can_be_taken_back() {
        let values = [1e300, -0.1, f64::from_bits(7), -3e-200, f64::INFINITY, f64::NEG_INFINITY];
        let mut moments = of(&values);
        values.iter().rev().for_each(|&value| moments.remove(value));
        assert_eq!(moments, Moments::ZERO);
    }
}
