//! Sums without rounding.
//!
//! Every sum is an integer times a power of two, so adding in another order, removing again, or taking the difference
//! of two running sums gives the same bits; rounding happens once, in [`super::rounding`]. Two forms:
//!
//! - **Fixed point** ([`FixedPoint`]): all values of a column are multiples of `2^low` and small enough that the
//!   absolute sum stays below `2^126`; then a value is an `i128`, a square a [`Square`] of 256 bits. Integers always
//!   qualify; so do floats whose largest and smallest magnitude are less than about 16 decimal digits apart.
//! - **Superaccumulator** ([`Superaccumulator`]): a two's complement integer wide enough for every double, or for every
//!   square of one, after Kulisch and Miranker, "The Arithmetic of the Digital Computer: A New Approach", SIAM Review
//!   28 (1986). Slower, without restriction; infinities are counted beside it.

/// Limbs of a superaccumulator that holds any sum of fewer than 2^64 doubles: 2^-1074 to 2^1024, 64 bits of headroom.
pub(crate) const SUM_LIMBS: usize = 35;
/// The same for squares: 2^-2148 to 2^2048.
pub(crate) const SQUARE_LIMBS: usize = 68;
/// Exponent of the lowest bit of a double.
pub(crate) const LOWEST_EXPONENT: i32 = -1074;

/// A finite double as `sign * mantissa * 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    pub negative: bool,
    pub mantissa: u64,
    pub exponent: i32,
}

impl Parts {
    /// Takes a finite value apart; infinities and NaN have no parts.
    #[inline]
    pub(crate) fn of(value: f64) -> Parts {
        debug_assert!(value.is_finite());
        let bits = value.to_bits();
        let field = ((bits >> 52) & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, exponent) =
            if field == 0 { (fraction, LOWEST_EXPONENT) } else { (fraction | 1 << 52, field - 1075) };
        Parts { negative: bits >> 63 == 1, mantissa, exponent }
    }
}

/// The exponents that the values of a column span: those of the lowest and of the position above the highest bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    low: i32,
    high: i32,
    finite: bool,
}

impl Span {
    /// The span of no value.
    pub(crate) const EMPTY: Span = Span { low: i32::MAX, high: i32::MIN, finite: true };

    /// Widens the span to hold `value`.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.finite = false;
            return;
        }
        let parts = Parts::of(value);
        if parts.mantissa != 0 {
            self.low = self.low.min(parts.exponent + parts.mantissa.trailing_zeros() as i32);
            self.high = self.high.max(parts.exponent + 64 - parts.mantissa.leading_zeros() as i32);
        }
    }

    /// The fixed point that holds the sum of `rows` such values, if there is one.
    pub(crate) fn fixed_point(self, rows: usize) -> Option<FixedPoint> {
        if !self.finite {
            return None;
        }
        if self.low > self.high {
            return Some(FixedPoint { low: 0 });
        }
        let headroom = (usize::BITS - rows.leading_zeros()) as i32;
        (self.high - self.low + headroom <= 126).then_some(FixedPoint { low: self.low })
    }
}

/// The scale of a column whose values are all multiples of `2^low`.
///
/// Invariant 1: the sum of the absolute values of all its rows is below `2^126 * 2^low`. So no running sum overflows,
/// and `n * sum of squares` and `sum * sum` stay below `2^252`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FixedPoint {
    low: i32,
}

impl FixedPoint {
    /// The scale of a column of integers.
    pub(crate) const INTEGERS: FixedPoint = FixedPoint { low: 0 };

    /// Bits that one value may have where 2^32 of them must keep invariant 1.
    const ROOMY_BITS: i32 = 94;

    /// A scale for up to 2^32 values, now of this span and later of any that [`FixedPoint::fits`], with the room to
    /// spare on both sides. `None` where the span is too wide for one, or holds an infinity.
    pub(crate) fn roomy(span: Span) -> Option<FixedPoint> {
        if !span.finite {
            return None;
        }
        let (low, high) = if span.low > span.high { (0, 0) } else { (span.low, span.high) };
        let room = FixedPoint::ROOMY_BITS - (high - low);
        (room >= 0).then(|| FixedPoint { low: (low - room / 2).max(LOWEST_EXPONENT) })
    }

    /// Whether a value keeps invariant 1 of a roomy scale.
    #[inline]
    pub(crate) fn fits(self, value: f64) -> bool {
        let mut span = Span::EMPTY;
        span.add(value);
        span.finite && (span.low > span.high || (span.low >= self.low && span.high <= self.low + Self::ROOMY_BITS))
    }

    /// Exponent of the unit.
    #[inline]
    pub(crate) fn exponent(self) -> i32 {
        self.low
    }

    /// `value` in units. Exact for the values the scale was made for.
    #[inline]
    pub(crate) fn units(self, value: f64) -> i128 {
        let parts = Parts::of(value);
        let shift = parts.exponent - self.low;
        // A zero may have any exponent; its shift is meaningless.
        let magnitude = if parts.mantissa == 0 {
            0
        } else if shift >= 0 {
            i128::from(parts.mantissa) << shift
        } else {
            i128::from(parts.mantissa >> -shift)
        };
        if parts.negative { -magnitude } else { magnitude }
    }
}

/// An unsigned integer of 256 bits: sums of squares in fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Square {
    low: u128,
    high: u128,
}

impl Square {
    /// Of no value.
    pub(crate) const ZERO: Square = Square { low: 0, high: 0 };

    /// `units * units`.
    #[inline]
    pub(crate) fn of(units: i128) -> Square {
        Square::product(units.unsigned_abs(), units.unsigned_abs())
    }

    #[inline]
    fn product(a: u128, b: u128) -> Square {
        const MASK: u128 = u64::MAX as u128;
        if (a | b) <= MASK {
            return Square { low: a * b, high: 0 };
        }
        let (a0, a1, b0, b1) = (a & MASK, a >> 64, b & MASK, b >> 64);
        let low = a0 * b0;
        let (middle, carried) = (a1 * b0).overflowing_add(a0 * b1);
        let (low, carry) = low.overflowing_add(middle << 64);
        let high = a1 * b1 + (middle >> 64) + (u128::from(carried) << 64) + u128::from(carry);
        Square { low, high }
    }

    /// The sum, modulo 2^256.
    #[inline]
    pub(crate) fn plus(self, other: Square) -> Square {
        let (low, carry) = self.low.overflowing_add(other.low);
        Square { low, high: self.high.wrapping_add(other.high).wrapping_add(u128::from(carry)) }
    }

    /// The difference, modulo 2^256.
    #[inline]
    pub(crate) fn minus(self, other: Square) -> Square {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        Square { low, high: self.high.wrapping_sub(other.high).wrapping_sub(u128::from(borrow)) }
    }

    /// The number that has these little-endian limbs.
    #[inline]
    pub(crate) fn from_limbs(limbs: [u64; 4]) -> Square {
        let pair = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
        Square { low: pair(limbs[0], limbs[1]), high: pair(limbs[2], limbs[3]) }
    }

    /// `self * factor`, modulo 2^256.
    #[inline]
    pub(crate) fn times(self, factor: u64) -> Square {
        let low = Square::product(self.low, u128::from(factor));
        Square { low: low.low, high: low.high.wrapping_add(self.high.wrapping_mul(u128::from(factor))) }
    }

    /// Little-endian limbs.
    #[inline]
    pub(crate) fn limbs(self) -> [u64; 4] {
        [self.low as u64, (self.low >> 64) as u64, self.high as u64, (self.high >> 64) as u64]
    }
}

/// A signed integer of `64 * LIMBS` bits in two's complement, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superaccumulator<const LIMBS: usize> {
    limbs: [u64; LIMBS],
}

impl<const LIMBS: usize> Superaccumulator<LIMBS> {
    /// Zero.
    pub(crate) const ZERO: Self = Superaccumulator { limbs: [0; LIMBS] };

    /// Adds, or subtracts where `negative`, `magnitude * 2^position`.
    #[inline]
    pub(crate) fn add(&mut self, negative: bool, magnitude: u128, position: u32) {
        let (limb, shift) = ((position / 64) as usize, position % 64);
        let low = magnitude << shift;
        let above = if shift == 0 { 0 } else { (magnitude >> (128 - shift)) as u64 };
        let words = [low as u64, (low >> 64) as u64, above];
        let mut carry = false;
        for (offset, target) in self.limbs[limb..].iter_mut().enumerate() {
            let word = words.get(offset).copied().unwrap_or(0);
            if offset >= words.len() && !carry {
                break;
            }
            let (partial, first, result, second);
            if negative {
                (partial, first) = target.overflowing_sub(word);
                (result, second) = partial.overflowing_sub(u64::from(carry));
            } else {
                (partial, first) = target.overflowing_add(word);
                (result, second) = partial.overflowing_add(u64::from(carry));
            }
            *target = result;
            carry = first || second;
        }
    }

    /// Adds all of `other`.
    pub(crate) fn add_all(&mut self, other: &Self) {
        let mut carry = false;
        for (target, &word) in self.limbs.iter_mut().zip(&other.limbs) {
            let (partial, first) = target.overflowing_add(word);
            let (result, second) = partial.overflowing_add(u64::from(carry));
            *target = result;
            carry = first || second;
        }
    }

    /// Sign and absolute value.
    pub(crate) fn magnitude(&self) -> (bool, [u64; LIMBS]) {
        let negative = self.limbs[LIMBS - 1] >> 63 == 1;
        if !negative {
            return (false, self.limbs);
        }
        let mut limbs = self.limbs;
        let mut carry = true;
        for limb in &mut limbs {
            let (result, overflowed) = (!*limb).overflowing_add(u64::from(carry));
            *limb = result;
            carry = overflowed;
        }
        (true, limbs)
    }
}

/// Exact sum and sum of squares of any doubles; infinities are counted beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moments {
    /// In units of `2^LOWEST_EXPONENT`.
    pub(crate) sum: Superaccumulator<SUM_LIMBS>,
    /// In units of `2^(2 * LOWEST_EXPONENT)`.
    pub(crate) squares: Superaccumulator<SQUARE_LIMBS>,
    /// Number of positive and of negative infinities.
    pub(crate) infinities: [i64; 2],
}

impl Moments {
    /// Of no value.
    pub(crate) const ZERO: Moments =
        Moments { sum: Superaccumulator::ZERO, squares: Superaccumulator::ZERO, infinities: [0, 0] };

    /// Adds `value`.
    pub(crate) fn add(&mut self, value: f64) {
        self.change(value, false);
    }

    /// Takes `value` back out.
    pub(crate) fn remove(&mut self, value: f64) {
        self.change(value, true);
    }

    fn change(&mut self, value: f64, remove: bool) {
        if value.is_infinite() {
            self.infinities[usize::from(value < 0.0)] += if remove { -1 } else { 1 };
            return;
        }
        let parts = Parts::of(value);
        let position = (parts.exponent - LOWEST_EXPONENT) as u32;
        let square = u128::from(parts.mantissa) * u128::from(parts.mantissa);
        self.sum.add(parts.negative != remove, u128::from(parts.mantissa), position);
        self.squares.add(remove, square, 2 * position);
    }

    /// Adds all of `other`.
    pub(crate) fn add_all(&mut self, other: &Moments) {
        self.sum.add_all(&other.sum);
        self.squares.add_all(&other.squares);
        self.infinities[0] += other.infinities[0];
        self.infinities[1] += other.infinities[1];
    }
}
