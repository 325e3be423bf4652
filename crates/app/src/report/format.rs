//! How figures and names are written for people.

use super::types::Interval;

/// `text` safe inside HTML and SVG, in text and in quoted attributes. Control characters become spaces.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            control if control.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// Three significant digits without an exponent: 451, 24.3, 0.0741.
pub(super) fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // Rounding first, so that 9.996 counts as 10.0.
    let digits = |value: f64| value.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits(value) - 2);
    let rounded = (value / scale).round() * scale;
    let decimals = (2 - digits(rounded)).clamp(0, 12) as usize;
    format!("{rounded:.decimals$}")
}

/// Milliseconds in the unit that reads best, with `micro` as the prefix for a millionth.
pub(super) fn latency(ms: f64, micro: &str) -> String {
    match ms {
        ms if ms >= 1_000.0 => format!("{} s", significant(ms / 1_000.0)),
        ms if ms >= 1.0 => format!("{} ms", significant(ms)),
        ms if ms >= 0.001 => format!("{} {micro}s", significant(ms * 1_000.0)),
        ms => format!("{} ns", significant(ms * 1_000_000.0)),
    }
}

/// A ratio as a factor: 1, 2.5, 412, 5,300.
pub(super) fn times(factor: f64) -> String {
    if factor >= 1_000.0 { thousands((factor / 10.0).round() as u64 * 10) } else { trim_zeros(&significant(factor)) }
}

fn trim_zeros(number: &str) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number.to_owned() }
}

/// A fraction of 1 in percent with one decimal, without the sign.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// The same rounded downwards, for what must not look as if it reached a floor.
pub(super) fn percent_down(share: f64) -> String {
    format!("{:.1}", (1_000.0 * share + 1e-9).floor() / 10.0)
}

/// An interval of fractions in percent, its lower end rounded downwards: `97.1 to 100.2`.
pub(super) fn percent_range(interval: Interval) -> String {
    format!("{} to {}", percent_down(interval.low), percent(interval.high))
}

/// A metric's value with four decimals.
pub(super) fn metric(value: f64) -> String {
    format!("{value:.4}")
}

/// An interval of a metric: `0.1154 to 0.1323`.
pub(super) fn metric_range(interval: Interval) -> String {
    format!("{} to {}", metric(interval.low), metric(interval.high))
}

/// 1,067,370.
pub(super) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in binary units: 812 B, 74.1 KiB, 3.20 MiB.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{} {}", significant(value), UNITS[unit])
}

/// An age in the largest whole unit: 7 days, 1 hour, 90 minutes.
pub(super) fn age(seconds: u64) -> String {
    let (count, unit) = match seconds {
        s if s >= 86_400 && s.is_multiple_of(86_400) => (s / 86_400, "day"),
        s if s >= 3_600 && s.is_multiple_of(3_600) => (s / 3_600, "hour"),
        s if s >= 60 && s.is_multiple_of(60) => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (value, expected) in [
            (451.4, "451"),
            (24.31, "24.3"),
            (9.996, "10.0"),
            (0.074_12, "0.0741"),
            (0.0, "0"),
            (1_234.0, "1230"),
            (-2.346, "-2.35"),
        ] {
            assert_eq!(significant(value), expected);
        }
        for (ms, expected) in [(2_345.0, "2.35 s"), (451.0, "451 ms"), (0.074, "74.0 us"), (0.000_58, "580 ns")] {
            assert_eq!(latency(ms, "u"), expected);
        }
        for (share, down) in [(0.97, "97.0"), (0.9699, "96.9"), (1.0, "100.0"), (0.0, "0.0")] {
            assert_eq!(percent_down(share), down);
        }
        for (factor, expected) in
            [(1.0, "1"), (2.53, "2.53"), (411.7, "412"), (5_304.0, "5,300"), (100.0, "100"), (0.5, "0.5")]
        {
            assert_eq!(times(factor), expected);
        }
        for (count, expected) in [(0, "0"), (999, "999"), (1_067_370, "1,067,370")] {
            assert_eq!(thousands(count), expected);
        }
        for (count, expected) in [(812, "812 B"), (75_900, "74.1 KiB"), (3_355_443, "3.20 MiB"), (1 << 40, "1.00 TiB")]
        {
            assert_eq!(bytes(count), expected);
        }
        for (seconds, expected) in [(604_800, "7 days"), (3_600, "1 hour"), (5_400, "90 minutes"), (61, "61 seconds")] {
            assert_eq!(age(seconds), expected);
        }
    }

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(escape("<b a=\"x\" b='y'>&\n"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp; ");
    }
}
