//! Ranking with AVX-512: a value is compared with 16 pivots, then with the 16 thresholds between two of them. No branch and no
//! loop depends on the data or on the column, which is what makes it faster than a binary search.

use std::arch::x86_64::*;

use super::SLOT_THRESHOLDS;
use super::block::{BLOCK_ROWS, BlockSlot};
use super::rank::NumberColumn;
use crate::cpu::Avx512;

/// Thresholds compared at a time.
const STEP: usize = 16;

/// Number columns of which each has one run of thresholds and no slot that treats zero as missing; that is every column of
/// most forests.
#[derive(Debug, Clone)]
pub(super) struct WideRanker {
    slots: Vec<WideSlot>,
    /// For each slot its pivots, then its thresholds, in steps of [`STEP`], padded with infinity.
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct WideSlot {
    column: usize,
    /// The step with the pivots. There are as many steps of thresholds behind it as pivots can lead to.
    pivots: usize,
    nan: u8,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Step([f64; STEP]);

impl WideRanker {
    /// `None` when a column does not have the simple form. The slots of `columns` are numbered from 0.
    pub(super) fn build(columns: &[NumberColumn]) -> Option<Self> {
        let mut ranker = WideRanker { slots: Vec::new(), steps: Vec::new() };
        for column in columns {
            if column.thresholds.len() > SLOT_THRESHOLDS || column.slots.iter().any(|slot| slot.zero_is_missing) {
                return None;
            }
            for slot in &column.slots {
                assert_eq!(slot.slot, ranker.slots.len(), "number slots come first, in order");
                let pivots = ranker.steps.len();
                ranker.slots.push(WideSlot { column: column.column, pivots, nan: slot.nan });
                // The last step always ends with padding, so a value above all thresholds stops there.
                let step_count = column.thresholds.len() / STEP + 1;
                ranker.steps.resize(pivots + 1 + step_count, Step([f64::INFINITY; STEP]));
                for (index, &threshold) in column.thresholds.iter().enumerate() {
                    ranker.steps[pivots + 1 + index / STEP].0[index % STEP] = threshold;
                    if index % STEP == STEP - 1 {
                        ranker.steps[pivots].0[index / STEP] = threshold;
                    }
                }
            }
        }
        Some(ranker)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.steps)
    }

    /// Writes the number slots of a row.
    pub(super) fn rank_row(&self, token: Avx512, row: &[f64], ranks: &mut [u8]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
        fn run(ranker: &WideRanker, row: &[f64], ranks: &mut [u8]) {
            for (slot, rank) in ranker.slots.iter().zip(ranks) {
                *rank = ranker.rank(slot, row[slot.column]);
            }
        }
        let _ = token;
        // SAFETY: the token proves the enabled features.
        unsafe { run(self, row, ranks) }
    }

    /// Writes the number slots of up to 64 rows of `column_count` values.
    pub(super) fn rank_block(&self, token: Avx512, rows: &[f64], column_count: usize, slots: &mut [BlockSlot]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
        fn run(ranker: &WideRanker, rows: &[f64], column_count: usize, slots: &mut [BlockSlot]) {
            for (slot, ranks) in ranker.slots.iter().zip(slots) {
                for (row, rank) in rows.chunks_exact(column_count).zip(&mut ranks.0) {
                    *rank = ranker.rank(slot, row[slot.column]);
                }
            }
        }
        let _ = token;
        assert!(rows.len() <= BLOCK_ROWS * column_count, "rows of a block");
        // SAFETY: the token proves the enabled features.
        unsafe { run(self, rows, column_count, slots) }
    }

    /// The slot's value. Comparisons with NaN are false, so NaN counts nothing before it is replaced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi1,bmi2,popcnt")]
    fn rank(&self, slot: &WideSlot, value: f64) -> u8 {
        let wide = _mm512_set1_pd(value);
        let below = |step: &Step| {
            // SAFETY: both loads lie within the 16 numbers of the step.
            let (low, high) = unsafe { (_mm512_load_pd(step.0.as_ptr()), _mm512_load_pd(step.0.as_ptr().add(8))) };
            let low = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(low, wide);
            let high = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(high, wide);
            (u32::from(low) | u32::from(high) << 8).count_ones()
        };
        let step = below(&self.steps[slot.pivots]);
        let rank = step * STEP as u32 + below(&self.steps[slot.pivots + 1 + step as usize]);
        if value.is_nan() { slot.nan } else { rank as u8 }
    }
}
