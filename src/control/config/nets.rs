//! Subnets of a configuration, and a lookup that stays fast when there are thousands.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::UPLINK_NAME;
use super::read::Draft;

/// A subnet that tapway is in.
pub(super) struct Subnet<'d> {
    /// The network's name.
    pub name: &'d str,
    /// The subnet, without host bits.
    pub net: Ipv4Net,
    /// Where it is written.
    pub span: Range<usize>,
}

/// All subnets: the uplink's, then those of the networks in the order of the file.
pub(super) fn subnets(draft: &Draft) -> impl Iterator<Item = Subnet<'_>> {
    let uplink = draft.config.uplink.iter().filter_map(|uplink| {
        let address = uplink.address.as_ref()?;
        Some(Subnet { name: UPLINK_NAME, net: address.get_ref().trunc(), span: address.span() })
    });
    let networks = draft.config.networks.iter().filter_map(|network| {
        let subnet = &network.router.as_ref()?.subnet;
        let (net, span) = (subnet.get_ref().trunc(), subnet.span());
        Some(Subnet { name: network.name.get_ref(), net, span })
    });
    uplink.chain(networks)
}

/// Numbered subnets. Each lookup costs at most one probe of a hash table per prefix length,
/// however many subnets there are.
#[derive(Default)]
pub(super) struct Nets {
    /// The first subnet that is exactly this.
    exact: HashMap<Ipv4Net, usize>,
    /// The first subnet that is this or inside it.
    inside: HashMap<Ipv4Net, usize>,
}

impl Nets {
    pub(super) fn of(subnets: &[Subnet<'_>]) -> Self {
        let mut nets = Self::default();
        for (index, subnet) in subnets.iter().enumerate() {
            nets.insert(subnet.net, index);
        }
        nets
    }

    /// Enters a subnet; numbers must rise.
    pub(super) fn insert(&mut self, net: Ipv4Net, index: usize) {
        self.exact.entry(net).or_insert(index);
        for around in around(net) {
            self.inside.entry(around).or_insert(index);
        }
    }

    /// The lowest number of those that share an address with a subnet: nets overlap only if one
    /// is inside the other.
    pub(super) fn first_overlapping(&self, net: Ipv4Net) -> Option<usize> {
        let outer = around(net).filter_map(|around| self.exact.get(&around).copied());
        outer.chain(self.inside.get(&net).copied()).min()
    }

    /// The lowest number of those that an address is in.
    pub(super) fn first_around(&self, address: Ipv4Addr) -> Option<usize> {
        around(Ipv4Net::from(address)).filter_map(|net| self.exact.get(&net).copied()).min()
    }
}

/// A subnet and all that it is inside of.
fn around(net: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    (0..=net.prefix_len())
        .filter_map(move |prefix| Ipv4Net::new(net.addr(), prefix).ok().map(|net| net.trunc()))
}
