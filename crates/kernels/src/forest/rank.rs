//! From the values of a row to its slots.

use super::SLOT_THRESHOLDS;
use super::block::BlockSlot;

/// Ranks rows: writes one byte per slot.
#[derive(Debug, Clone)]
pub(super) struct Ranker {
    pub(super) zero_band: f64,
    pub(super) slot_count: usize,
    pub(super) numbers: Vec<NumberColumn>,
    pub(super) categories: Vec<CategoryColumn>,
    /// The same number columns in a faster form, where the processor and the columns allow it.
    #[cfg(target_arch = "x86_64")]
    pub(super) wide: Option<(crate::cpu::Avx512, super::wide_rank::WideRanker)>,
}

/// A column that is compared with thresholds.
#[derive(Debug, Clone)]
pub(super) struct NumberColumn {
    pub(super) column: usize,
    /// Strictly ascending; no threshold lies strictly inside the zero band.
    pub(super) thresholds: Vec<f64>,
    pub(super) slots: Vec<NumberSlot>,
}

#[derive(Debug, Clone)]
pub(super) struct NumberSlot {
    pub(super) slot: usize,
    /// Index of the slot's first threshold in the column.
    pub(super) start: usize,
    /// Number of the slot's thresholds.
    pub(super) len: usize,
    /// What the slot holds for NaN.
    pub(super) nan: u8,
    /// What it holds for zero.
    pub(super) zero: u8,
    /// Whether zero is missing here, so that `zero` is not simply the rank of 0.0.
    pub(super) zero_is_missing: bool,
}

/// A column that is looked up in sets of categories, one slot per set, at consecutive slots.
#[derive(Debug, Clone)]
pub(super) struct CategoryColumn {
    pub(super) column: usize,
    pub(super) first_slot: usize,
    pub(super) set_count: usize,
    /// Every category of any set, strictly ascending.
    pub(super) categories: Vec<u32>,
    /// For each of `categories`, and then for every other value, `set_count` slot values.
    pub(super) table: Vec<u8>,
}

impl Ranker {
    /// Ranks without categories and with no number columns: the empty forest's.
    pub(super) fn new(zero_band: f64) -> Self {
        Ranker {
            zero_band,
            slot_count: 0,
            numbers: Vec::new(),
            categories: Vec::new(),
            #[cfg(target_arch = "x86_64")]
            wide: None,
        }
    }

    /// Lays the number columns out for this processor, once all are there.
    pub(super) fn widen(&mut self) {
        #[cfg(target_arch = "x86_64")]
        {
            self.wide = crate::cpu::Avx512::detect()
                .and_then(|token| Some((token, super::wide_rank::WideRanker::build(&self.numbers)?)));
        }
    }

    pub(super) fn slot_count(&self) -> usize {
        self.slot_count
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = self
            .numbers
            .iter()
            .map(|column| size_of::<NumberColumn>() + size_of_val(&*column.thresholds) + size_of_val(&*column.slots));
        let categories = self
            .categories
            .iter()
            .map(|column| size_of::<CategoryColumn>() + size_of_val(&*column.categories) + size_of_val(&*column.table));
        #[cfg(target_arch = "x86_64")]
        let wide = self.wide.as_ref().map_or(0, |(_, wide)| wide.bytes());
        #[cfg(not(target_arch = "x86_64"))]
        let wide = 0;
        numbers.chain(categories).sum::<usize>() + wide
    }

    /// Writes the slots of one row.
    pub(super) fn rank_row(&self, row: &[f64], ranks: &mut [u8]) {
        assert!(ranks.len() >= self.slot_count, "{} bytes for {} slots", ranks.len(), self.slot_count);
        #[cfg(target_arch = "x86_64")]
        match &self.wide {
            Some((token, wide)) => wide.rank_row(*token, row, ranks),
            None => self.rank_numbers(row, |slot, rank| ranks[slot] = rank),
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.rank_numbers(row, |slot, rank| ranks[slot] = rank);
        self.rank_categories(row, |first, values| ranks[first..first + values.len()].copy_from_slice(values));
    }

    /// Writes the slots of up to 64 rows of `column_count` values; the bytes of absent rows stay as they are.
    pub(super) fn rank_block(&self, rows: &[f64], column_count: usize, slots: &mut [BlockSlot]) {
        assert!(slots.len() >= self.slot_count, "{} slots", slots.len());
        #[cfg(target_arch = "x86_64")]
        let numbers_done = self.wide.as_ref().is_some_and(|(token, wide)| {
            wide.rank_block(*token, rows, column_count, slots);
            true
        });
        #[cfg(not(target_arch = "x86_64"))]
        let numbers_done = false;
        for (index, row) in rows.chunks_exact(column_count).enumerate() {
            if !numbers_done {
                self.rank_numbers(row, |slot, rank| slots[slot].0[index] = rank);
            }
            self.rank_categories(row, |first, values| {
                for (slot, value) in slots[first..].iter_mut().zip(values) {
                    slot.0[index] = *value;
                }
            });
        }
    }

    #[inline]
    fn rank_numbers(&self, row: &[f64], mut write: impl FnMut(usize, u8)) {
        for column in &self.numbers {
            column.rank(row[column.column], self.zero_band, &mut write);
        }
    }

    /// Hands over the values of each category column's slots with the first of these slots.
    #[inline]
    fn rank_categories(&self, row: &[f64], mut write: impl FnMut(usize, &[u8])) {
        for column in &self.categories {
            write(column.first_slot, column.find(row[column.column]));
        }
    }
}

impl NumberColumn {
    #[inline]
    fn rank(&self, value: f64, zero_band: f64, write: &mut impl FnMut(usize, u8)) {
        if value.is_nan() {
            self.slots.iter().for_each(|slot| write(slot.slot, slot.nan));
        } else if value.abs() <= zero_band {
            self.slots.iter().for_each(|slot| write(slot.slot, slot.zero));
        } else {
            let rank = count_below(&self.thresholds, value);
            self.slots.iter().for_each(|slot| write(slot.slot, slot.value(rank)));
        }
    }
}

impl NumberSlot {
    /// The slot's value for a number with `rank` of the column's thresholds below it.
    #[inline]
    pub(super) fn value(&self, rank: usize) -> u8 {
        debug_assert!(self.len <= SLOT_THRESHOLDS);
        rank.saturating_sub(self.start).min(self.len) as u8
    }
}

impl CategoryColumn {
    /// The slots' values; the table's last row is for values in no set.
    fn find(&self, value: f64) -> &[u8] {
        let known = category(value).and_then(|category| self.categories.binary_search(&category).ok());
        let row = known.unwrap_or(self.categories.len());
        &self.table[row * self.set_count..(row + 1) * self.set_count]
    }
}

/// The category that a value stands for: its whole part, if that is a non-negative 32-bit signed integer.
pub(super) fn category(value: f64) -> Option<u32> {
    (value > -1.0 && value < 2_147_483_648.0).then_some(value as u32)
}

/// How many of the ascending `thresholds` are below `value`, which is not NaN. No branch depends on the data.
#[inline]
pub(super) fn count_below(thresholds: &[f64], value: f64) -> usize {
    let mut base = 0;
    let mut len = thresholds.len();
    while len > 1 {
        let half = len / 2;
        base += usize::from(thresholds[base + half - 1] < value) * half;
        len -= half;
    }
    base + usize::from(len == 1 && thresholds[base] < value)
}
