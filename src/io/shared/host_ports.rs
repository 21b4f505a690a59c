//! The ports that the host itself uses, and which are left for translated traffic.
//!
//! Read from `/proc`, for the calling thread's namespace; nothing is set.

use std::fs;
use std::io;

use crate::packet::PortSpan;

/// Ports below are for servers.
const FIRST: u16 = 1024;
/// With so many ports a span is large enough to be preferred for lying high, where services are
/// rare: a host behind the NAPT takes one port per socket, whatever it talks to.
const AMPLE: u32 = 4096;
/// Fewer are of no use.
const FEWEST: u32 = 256;

/// What the host uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPorts {
    /// Those that the kernel chooses from for outgoing connections.
    pub ephemeral: PortSpan,
    /// Those of TCP and UDP that a socket waits on, in rising order.
    pub waiting: Vec<u16>,
}

/// Why there are no ports for translated traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortsError {
    /// The configured ones overlap those for outgoing connections.
    #[error("{0} overlaps {1}, from which this host's outgoing connections take their ports")]
    Ephemeral(PortSpan, PortSpan),
    /// A socket waits on one of the configured ones.
    #[error("a socket of this host waits on port {1} of {0}")]
    Waiting(PortSpan, u16),
    /// None is left.
    #[error(
        "beside {0} for outgoing connections and what sockets wait on, no {FEWEST} ports in a row are left"
    )]
    None(PortSpan),
}

impl HostPorts {
    /// Reads what the host uses now.
    pub(super) fn read() -> io::Result<Self> {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let mut ends = range.split_ascii_whitespace().filter_map(|end| end.parse().ok());
        let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut waiting = Vec::new();
        // A TCP socket that listens, and a UDP socket that is connected to nobody.
        for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
            // Without IPv6 its tables are not there.
            let table = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            waiting.extend(ports_in(&table.unwrap_or_default(), state));
        }
        waiting.sort_unstable();
        waiting.dedup();
        Ok(Self { ephemeral: PortSpan { first, last }, waiting })
    }

    /// Whether `span` can be tapway's.
    pub(super) fn check(&self, span: PortSpan) -> Result<(), PortsError> {
        if span.first <= self.ephemeral.last && self.ephemeral.first <= span.last {
            return Err(PortsError::Ephemeral(span, self.ephemeral));
        }
        match self.waiting.iter().find(|port| span.contains(**port)) {
            Some(port) => Err(PortsError::Waiting(span, *port)),
            None => Ok(()),
        }
    }

    /// The ports for translated traffic: the highest ample span that the host does not use, or
    /// the largest.
    pub(super) fn choose(&self) -> Result<PortSpan, PortsError> {
        let gaps = self.gaps();
        let ample = gaps.iter().rev().find(|gap| gap.count() >= AMPLE);
        let best = ample.or_else(|| gaps.iter().max_by_key(|gap| gap.count()));
        let best = best.filter(|gap| gap.count() >= FEWEST);
        best.copied().ok_or(PortsError::None(self.ephemeral))
    }

    /// What lies between the ports that the host uses, in rising order.
    fn gaps(&self) -> Vec<PortSpan> {
        let single = self.waiting.iter().map(|port| PortSpan { first: *port, last: *port });
        let mut used: Vec<PortSpan> = single.chain([self.ephemeral]).collect();
        used.sort_by_key(|span| span.first);
        let (mut gaps, mut next) = (Vec::new(), u32::from(FIRST));
        for span in used {
            if u32::from(span.first) > next {
                gaps.push(PortSpan { first: next as u16, last: span.first - 1 });
            }
            next = next.max(u32::from(span.last) + 1);
        }
        if let Ok(first) = u16::try_from(next) {
            gaps.push(PortSpan { first, last: u16::MAX });
        }
        gaps
    }
}

/// The local ports of the sockets in a table of `/proc/net` that are in a state.
fn ports_in(table: &str, state: &str) -> Vec<u16> {
    let rows = table.lines().skip(1).filter_map(|row| {
        let mut words = row.split_ascii_whitespace().skip(1);
        let (local, _, is) = (words.next()?, words.next()?, words.next()?);
        let (_, port) = local.rsplit_once(':')?;
        (is == state).then(|| u16::from_str_radix(port, 16).ok())?
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(first: u16, last: u16, waiting: &[u16]) -> HostPorts {
        HostPorts { ephemeral: PortSpan { first, last }, waiting: waiting.to_vec() }
    }

    #[test]
    fn translated_traffic_gets_what_the_host_does_not_use() {
        let chosen = |host: HostPorts| host.choose().map(|span| span.to_string());
        assert_eq!(chosen(host(32_768, 60_999, &[22, 5432])).unwrap(), "61000-65535");
        assert_eq!(chosen(host(32_768, 60_999, &[22, 5432, 63_000])).unwrap(), "5433-32767");
        assert_eq!(chosen(host(1024, 65_000, &[])).unwrap(), "65001-65535");
        let full = host(1024, 65_535, &[22]);
        assert_eq!(full.choose(), Err(PortsError::None(full.ephemeral)));
    }

    #[test]
    fn configured_ports_that_the_host_uses_are_refused() {
        let host = host(32_768, 60_999, &[22, 61_500]);
        let check = |text: &str| host.check(text.parse().unwrap()).map_err(|e| e.to_string());
        assert_eq!(check("62000-65535"), Ok(()));
        assert!(check("60000-65535").unwrap_err().contains("overlaps 32768-60999"));
        assert!(check("61000-65535").unwrap_err().contains("waits on port 61500"));
    }

    #[test]
    fn sockets_that_wait_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000\n\
                     1: 0A21A8C0:0016 0121A8C0:D2F0 01 00000000:00000000 02:000A9D1B\n";
        assert_eq!(ports_in(table, "0A"), [22]);
    }
}
