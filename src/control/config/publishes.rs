//! Which external ports the published ports of a configuration get.
//!
//! Those that name their ports are placed first. Then those that leave a choice take the smallest
//! free ones, in the order of the file, so a file always gives the same ports.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::ops::Range;

use super::{Config, Port};
use crate::control::publish_syntax::{PortRange, PublishSyntax};

/// Where ports that nobody chose come from (RFC 6335: dynamic ports), and Docker's choice.
const EPHEMERAL: PortRange = PortRange { first: 49_153, last: 65_535 };

/// A published port with its external ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The position of its port in [`Config::ports`].
    pub port: usize,
    /// Where it is written.
    pub span: Range<usize>,
    /// IP protocol number.
    pub protocol: u8,
    /// The address it answers on; none: every address of tapway.
    pub address: Option<Ipv4Addr>,
    /// External ports.
    pub external: PortRange,
    /// First port of the host.
    pub target: u16,
}

/// A published port that found no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// The position of its port in [`Config::ports`].
    pub port: usize,
    /// Where it is written.
    pub span: Range<usize>,
    /// The external ports it wanted.
    pub wanted: PortRange,
    /// What has them; none: every port of a range is taken.
    pub by: Option<Placed>,
}

/// Places the published ports of a configuration.
pub fn place(config: &Config) -> (Vec<Placed>, Vec<Misplaced>) {
    place_those(config, |_, _| true)
}

/// The external ports that one more published port gets beside those of a configuration and
/// `more`, which name theirs; none: all that it could have are taken.
pub fn settle(
    config: &Config,
    more: impl Iterator<Item = PublishSyntax>,
    syntax: &PublishSyntax,
) -> Option<PortRange> {
    let (mut places, _) = fill(config, |_, _| true);
    for other in more {
        let Some(external) = other.host else { continue };
        if places.in_the_way(&other, external).is_none() {
            places.insert(Placed {
                port: usize::MAX,
                span: 0..0,
                protocol: other.protocol,
                address: other.address,
                external,
                target: other.container.first,
            });
        }
    }
    places.first_free(syntax, syntax.host.unwrap_or(EPHEMERAL)).ok()
}

/// Places the published ports that `is_good` lets through; the others take no place.
pub(super) fn place_those(
    config: &Config,
    is_good: impl Fn(&Port, &PublishSyntax) -> bool,
) -> (Vec<Placed>, Vec<Misplaced>) {
    let (places, misplaced) = fill(config, is_good);
    (places.placed, misplaced)
}

fn fill(
    config: &Config,
    is_good: impl Fn(&Port, &PublishSyntax) -> bool,
) -> (Places, Vec<Misplaced>) {
    let is_good = &is_good;
    let all = config.ports.iter().enumerate().flat_map(|(port, spec)| {
        let good = spec.publish.iter().filter(move |syntax| is_good(spec, syntax.get_ref()));
        good.map(move |syntax| (port, syntax.span(), *syntax.get_ref()))
    });
    let (fixed, open): (Vec<_>, Vec<_>) = all.partition(|(_, _, syntax)| {
        syntax.host.is_some_and(|host| host.count() == syntax.container.count())
    });
    let mut places = Places::default();
    let mut misplaced = Vec::new();
    for (port, span, syntax) in fixed.into_iter().chain(open) {
        let wanted = syntax.host.unwrap_or(EPHEMERAL);
        match places.first_free(&syntax, wanted) {
            Ok(external) => places.insert(Placed {
                port,
                span,
                protocol: syntax.protocol,
                address: syntax.address,
                external,
                target: syntax.container.first,
            }),
            Err(by) => {
                let is_fixed = wanted.count() == syntax.container.count();
                misplaced.push(Misplaced { port, span, wanted, by: by.filter(|_| is_fixed) });
            }
        }
    }
    (places, misplaced)
}

/// What a search was for: protocol, address, ports to choose from, ports needed.
type Search = (u8, Option<Ipv4Addr>, (u16, u16), u32);

/// What is placed, found by its external ports.
#[derive(Default)]
struct Places {
    placed: Vec<Placed>,
    /// By protocol and address: positions in `placed` by the first external port. No two of a
    /// map overlap.
    by_port: HashMap<(u8, Option<Ipv4Addr>), BTreeMap<u16, usize>>,
    /// Where the last search of a kind ended: what was taken before stays so.
    reached: HashMap<Search, u32>,
}

impl Places {
    fn insert(&mut self, placed: Placed) {
        let ports = self.by_port.entry((placed.protocol, placed.address)).or_default();
        ports.insert(placed.external.first, self.placed.len());
        self.placed.push(placed);
    }

    /// The first place in `within`, or what is in the way last.
    fn first_free(
        &mut self,
        syntax: &PublishSyntax,
        within: PortRange,
    ) -> Result<PortRange, Option<Placed>> {
        let count = syntax.container.count();
        let search = (syntax.protocol, syntax.address, (within.first, within.last), count);
        let mut first = *self.reached.get(&search).unwrap_or(&u32::from(within.first));
        let mut blocker = None;
        while first + count - 1 <= u32::from(within.last) {
            let range = PortRange { first: first as u16, last: (first + count - 1) as u16 };
            let Some(other) = self.in_the_way(syntax, range) else {
                self.reached.insert(search, first);
                return Ok(range);
            };
            first = u32::from(other.external.last) + 1;
            blocker = Some(other.clone());
        }
        Err(blocker)
    }

    fn in_the_way(&self, syntax: &PublishSyntax, range: PortRange) -> Option<&Placed> {
        let meets = |ports: &BTreeMap<u16, usize>| {
            let (_, index) = ports.range(..=range.last).next_back()?;
            self.placed.get(*index).filter(|other| other.external.last >= range.first)
        };
        if syntax.address.is_some() {
            let both = [syntax.address, None];
            return both
                .into_iter()
                .find_map(|address| self.by_port.get(&(syntax.protocol, address)).and_then(meets));
        }
        let of_protocol =
            self.by_port.iter().filter(|((protocol, _), _)| *protocol == syntax.protocol);
        // One answer however the map is ordered: what is written first.
        of_protocol.filter_map(|(_, ports)| meets(ports)).min_by_key(|other| other.span.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_left_open_take_the_smallest_free_ones_after_those_that_are_named() {
        let text = r#"
            [network.bridge]
            subnet = "172.17.0.0/16"
            [port.a]
            address = "172.17.0.2"
            publish = ["80", "53/udp", "8000-8002:81", "9000-9001", "172.17.0.1::82"]
            [port.b]
            address = "172.17.0.3"
            publish = ["49153:1", "8000:2", "49155-49156:3-4", "8000-8002:5"]
        "#;
        let config = Config::parse("f", text).unwrap().config;
        let (placed, misplaced) = place(&config);
        let mut rows: Vec<String> = placed
            .iter()
            .map(|p| {
                format!("{} {} {} -> {} {}", p.span.start, p.protocol, p.external, p.port, p.target)
            })
            .collect();
        rows.sort();
        let rows: Vec<&str> =
            rows.iter().filter_map(|row| row.split_once(' ')).map(|(_, row)| row).collect();
        assert_eq!(
            rows,
            [
                "6 49154 -> 0 80",
                "17 49153 -> 0 53",
                "6 8001 -> 0 81",
                "6 49157-49158 -> 0 9000",
                "6 49159 -> 0 82",
                "6 49153 -> 1 1",
                "6 8000 -> 1 2",
                "6 49155-49156 -> 1 3",
                "6 8002 -> 1 5",
            ]
        );
        assert!(misplaced.is_empty());
    }
}
