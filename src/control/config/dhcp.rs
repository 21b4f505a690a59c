//! `dhcp` of a network: `true`, `false`, or a table.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::problem::Problems;
use super::read::{BOOL, TEXT};
use super::section::Section;
use super::{Dhcp, Network};
use crate::control::addresses::AddressRange;

const RANGE: &str = "a range of addresses such as 172.17.0.100-172.17.0.199";
/// Leases, in seconds: from what a client can renew in time to what counts as for ever.
const LEASE: RangeInclusive<u64> = 60..=31_536_000;
const DEFAULT_LEASE_S: u32 = 86_400;

/// None: the network is not served.
pub(super) fn read<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> Option<Dhcp> {
    let standard = Dhcp { lease_s: DEFAULT_LEASE_S, ..Dhcp::default() };
    if !section.is_table("dhcp") {
        let is_served = section.take::<bool>(problems, "dhcp", BOOL)?;
        let span = is_served.span();
        return is_served.into_inner().then_some(Dhcp { span, ..standard });
    }
    let mut table = section.take_section(problems, "dhcp")?;
    let span = table.span();
    let range = table.take::<AddressRange>(problems, "range", RANGE);
    let exclude = table.take_list::<AddressRange>(problems, "exclude", RANGE);
    let lease = table.take_number(problems, "lease_s", LEASE);
    let domain = table.take::<String>(problems, "domain", TEXT);
    table.finish(problems);
    let lease_s = lease.map_or(DEFAULT_LEASE_S, |lease| lease.into_inner() as u32);
    Some(Dhcp { span, range, exclude, lease_s, domain: domain.map(Spanned::into_inner) })
}

/// What is wrong with it in its network.
pub(super) fn check(problems: &mut Problems<'_>, network: &Network) {
    let Some(dhcp) = &network.dhcp else { return };
    let key = format!("network.{}.dhcp", network.name.get_ref());
    let Some(router) = &network.router else {
        let what = "a network without `subnet` has no addresses to lease";
        problems.error(dhcp.span.clone(), key, what, "add the subnet, or remove it");
        return;
    };
    let subnet = *router.subnet.get_ref();
    let ranges = dhcp.range.iter().map(|range| ("range", range));
    for (part, range) in ranges.chain(dhcp.exclude.iter().map(|range| ("exclude", range))) {
        let (first, last) = (range.get_ref().first(), range.get_ref().last());
        if !subnet.contains(&first) || !subnet.contains(&last) {
            let what = format!("{} is not in the subnet {}", range.get_ref(), subnet.trunc());
            let remedy = "choose a part of the subnet";
            problems.error(range.span(), format!("{key}.{part}"), what, remedy);
        }
    }
}
