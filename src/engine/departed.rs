//! Who had which address, of hosts that are gone: their neighbours may still believe it.
//!
//! Bound: [`MAX_DEPARTED`] hosts, of which the one that went first is forgotten first.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use crate::id::NetworkId;
use crate::packet::MacAddr;

/// Hosts remembered: as many as may come and go while a neighbour believes a MAC.
const MAX_DEPARTED: usize = 4096;

/// MACs of hosts that are gone.
#[derive(Debug, Default)]
pub(super) struct Departed {
    macs: HashMap<(NetworkId, Ipv4Addr), (u64, MacAddr)>,
    order: VecDeque<(u64, (NetworkId, Ipv4Addr))>,
    last: u64,
}

impl Departed {
    /// A host is gone.
    pub(super) fn note(&mut self, network: NetworkId, ip: Ipv4Addr, mac: MacAddr) {
        let host = (network, ip);
        self.last += 1;
        self.macs.insert(host, (self.last, mac));
        self.order.push_back((self.last, host));
        while self.order.len() > MAX_DEPARTED
            && let Some((number, host)) = self.order.pop_front()
        {
            // It may have gone once more since.
            if self.macs.get(&host).is_some_and(|(last, _)| *last == number) {
                self.macs.remove(&host);
            }
        }
    }

    /// The MAC that an address had, told once.
    pub(super) fn take(&mut self, network: NetworkId, ip: Ipv4Addr) -> Option<MacAddr> {
        self.macs.remove(&(network, ip)).map(|(_, mac)| mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_told_once_and_the_oldest_forgotten_first() {
        let (network, mac) = (NetworkId(1), |last| MacAddr([2, 0, 0, 0, 0, last]));
        let ip = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number);
        let mut departed = Departed::default();
        departed.note(network, ip(0), mac(1));
        departed.note(network, ip(1), mac(1));
        departed.note(network, ip(1), mac(2));
        for number in 2..4096 {
            departed.note(network, ip(number), mac(3));
        }
        assert_eq!(departed.take(network, ip(0)), None);
        assert_eq!(departed.take(network, ip(1)), Some(mac(2)));
        assert_eq!(departed.take(network, ip(1)), None);
    }
}
