//! `limit_rx`, `limit_tx` and `limit_burst` of a port.

use toml::Spanned;

use super::problem::Problems;
use super::section::Section;
use crate::switch::{PortLimits, RateLimit};

const RATE: &str = "a rate such as \"100mbit\"";
const BURST: &str = "a size such as \"256k\"";
/// Bits per second: from a modem's to what a counter of bytes holds.
const RATES: std::ops::RangeInclusive<u64> = 8_000..=32_000_000_000;
/// Bytes: from a super-frame, as a larger frame than a burst costs no more than that, to a second of
/// the highest rate.
const BURSTS: std::ops::RangeInclusive<u64> = 65_536..=4_000_000_000;
/// The default burst: this part of a second of the rate, and not less than two super-frames. TCP
/// that has lost a whole window waits for 200 ms, its least timeout, and must find what it has
/// missed meanwhile; with less, one connection over a short way gets a fraction of the rate.
const BURST_PARTS: u64 = 4;
const LEAST_BURST: u64 = 131_072;

pub(super) fn read<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> PortLimits {
    let rx = read_quantity(problems, section, "limit_rx", (RATE, bits));
    let tx = read_quantity(problems, section, "limit_tx", (RATE, bits));
    let burst = read_quantity(problems, section, "limit_burst", (BURST, bytes));
    if let Some(burst) = burst.as_ref().filter(|_| rx.is_none() && tx.is_none())
        && !section.has_failed(&["limit_rx", "limit_tx"])
    {
        let what = "there is no limit that it could be about";
        let remedy = "add `limit_rx` or `limit_tx`, or remove it";
        problems.error(burst.span(), section.key("limit_burst"), what, remedy);
    }
    let limit = |rate: Spanned<u64>| {
        let bytes_per_s = rate.into_inner() / 8;
        let standard = (bytes_per_s / BURST_PARTS).max(LEAST_BURST);
        let burst = burst.as_ref().map_or(standard, |burst| *burst.get_ref());
        RateLimit { bytes_per_s: bytes_per_s as u32, burst: burst as u32 }
    };
    PortLimits { rx: rx.map(limit), tx: tx.map(limit) }
}

fn read_quantity<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
    key: &'static str,
    (expected, parse): (&str, fn(&str) -> Option<u64>),
) -> Option<Spanned<u64>> {
    let text = section.take::<String>(problems, key, expected)?;
    let span = text.span();
    if let Some(quantity) = parse(text.get_ref()) {
        return Some(Spanned::new(span, quantity));
    }
    let what = format!("\"{}\" is not {expected}", text.get_ref());
    let remedy = match key {
        "limit_burst" => "use 64k to 3800m, in bytes, with k or m for 1024 of them or 1024 k",
        _ => "use 8kbit to 32gbit: a number and bit, kbit, mbit or gbit",
    };
    problems.error(span, section.key(key), what, remedy);
    section.fail(key);
    None
}

/// Bits per second, by the words of `tc`.
fn bits(text: &str) -> Option<u64> {
    let units = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];
    quantity(text, &units).filter(|bits| RATES.contains(bits))
}

fn bytes(text: &str) -> Option<u64> {
    quantity(text, &[("k", 1 << 10), ("m", 1 << 20), ("", 1)])
        .filter(|bytes| BURSTS.contains(bytes))
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    number.trim_end().parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_bursts_are_read_as_tc_reads_them() {
        assert_eq!(bits("100mbit"), Some(100_000_000));
        assert_eq!(bits("1 Gbit"), Some(1_000_000_000));
        assert_eq!((bits("8000bit"), bits("64kbit")), (Some(8000), Some(64_000)));
        for wrong in ["", "100", "mbit", "1mbps", "-1mbit", "0mbit", "33gbit", "1.5mbit"] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
        assert_eq!(
            (bytes("256k"), bytes("65536"), bytes("2m")),
            (Some(262_144), Some(65_536), Some(2_097_152))
        );
        assert_eq!((bytes("1"), bytes("1x")), (None, None));
    }
}
