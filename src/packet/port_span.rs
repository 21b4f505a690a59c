//! The external ports that translated traffic may have.

use std::fmt;
use std::str::FromStr;

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSpan {
    /// The first, at least 1.
    pub first: u16,
    /// The last, at least the first.
    pub last: u16,
}

/// The text is no span of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected FIRST-LAST, two ports in rising order")]
pub struct PortSpanError;

impl PortSpan {
    /// All that there are.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// True if a port is in it.
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// How many ports.
    pub const fn count(&self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }
}

impl FromStr for PortSpan {
    type Err = PortSpanError;

    fn from_str(text: &str) -> Result<Self, PortSpanError> {
        let (first, last) = text.split_once('-').ok_or(PortSpanError)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| PortSpanError);
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || last < first { Err(PortSpanError) } else { Ok(Self { first, last }) }
    }
}

impl fmt::Display for PortSpan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_as_it_is_written() {
        let span: PortSpan = "61000-65535".parse().unwrap();
        assert_eq!((span.to_string().as_str(), span.count()), ("61000-65535", 4536));
        assert!(span.contains(61_000) && span.contains(65_535) && !span.contains(60_999));
        for wrong in ["", "61000", "2-1", "0-5", "1-65536", "a-b"] {
            assert_eq!(wrong.parse::<PortSpan>(), Err(PortSpanError), "{wrong}");
        }
    }
}
