//! What a network's addresses are.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::AddressRange;

/// The addresses of a network: which there are, which may be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// The network's name, for errors.
    pub network: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// tapway's own address in it, never given out.
    pub gateway: Option<Ipv4Addr>,
    /// Where addresses come from that nobody wished for; none: the whole subnet. A wish may lie
    /// outside of it, as Docker's `--ip` may lie outside of `--ip-range`.
    pub range: Option<AddressRange>,
    /// Never given out, nor granted to a wish.
    pub exclude: Vec<AddressRange>,
}

impl PoolSettings {
    /// A pool of a whole subnet.
    pub fn new(network: impl Into<String>, subnet: Ipv4Net) -> Self {
        let network = network.into();
        Self { network, subnet: subnet.trunc(), gateway: None, range: None, exclude: Vec::new() }
    }

    /// Why an address of the subnet can be nobody's; none: it can.
    pub(super) fn reserved(&self, address: Ipv4Addr) -> Option<&'static str> {
        let has_ends = self.subnet.prefix_len() < 31;
        if has_ends && address == self.subnet.network() {
            return Some("the subnet's own address");
        }
        if has_ends && address == self.subnet.broadcast() {
            return Some("the broadcast address");
        }
        if self.gateway == Some(address) {
            return Some("the gateway's");
        }
        self.exclude.iter().any(|range| range.contains(address)).then_some("excluded")
    }
}
