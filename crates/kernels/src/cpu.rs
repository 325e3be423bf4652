//! Proof that the processor has an instruction set: a token that only detection gives out.
//!
//! A function compiled for an instruction set is called with its token in hand, so the call cannot come without the check.

/// 256-bit integer and float vectors.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

/// 512-bit vectors with byte compares and byte permutes: Ice Lake, Zen 4 and later.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        // Eight questions once instead of on every call.
        static HAS: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
            std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512vl")
                && std::arch::is_x86_feature_detected!("avx512vbmi")
                && std::arch::is_x86_feature_detected!("bmi1")
                && std::arch::is_x86_feature_detected!("bmi2")
                && std::arch::is_x86_feature_detected!("popcnt")
        });
        HAS.then_some(Avx512(()))
    }
}

/// Defines a function whose body is compiled three times, for AVX-512, AVX2 and the baseline, and that runs the best one
/// this processor has. The body is plain Rust with a fixed order of operations and no fused multiply-add, so all three
/// give the same bits; only the width of the vectors that the compiler makes of it differs.
macro_rules! multiversion {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($argument: $kind),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($argument: $kind),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $kind),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            if $crate::cpu::Avx512::detect().is_some() {
                // SAFETY: the token proves the enabled features.
                return unsafe { avx512($($argument),*) };
            }
            #[cfg(target_arch = "x86_64")]
            if $crate::cpu::Avx2::detect().is_some() {
                // SAFETY: the token proves the enabled feature.
                return unsafe { avx2($($argument),*) };
            }
            portable($($argument),*)
        }
    };
}

pub(crate) use multiversion;
