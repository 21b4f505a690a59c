//! Which frames of a shared interface are tapway's, as programs of the classic packet filter.
//!
//! Two programs say the same: one at the interface's ingress takes TCP and UDP for tapway's ports
//! before the host's stack, and one at tapway's packet socket lets just those through, and copies
//! of what only the engine can tell apart: ARP, ICMP but for echo requests, and fragments.
//!
//! Ports are found by a tree of comparisons over blocks of [`BLOCK`] spans: some twenty steps for
//! a thousand spans. Bound: [`MAX_STEPS`], the kernel's; that is some 3000 separate ports.

use std::net::Ipv4Addr;

use libc::sock_filter;

use crate::packet::{
    ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP,
    PortSpan, icmp,
};

/// Steps of one program (BPF_MAXINSNS).
pub(super) const MAX_STEPS: usize = 4096;
/// Spans compared one after the other at the end of the tree.
const BLOCK: usize = 16;

/// Says to the ingress hook: it is gone (TC_ACT_STOLEN, linux/pkt_cls.h).
const STOLEN: u32 = 4;
/// Says to the ingress hook: go on (TC_ACT_UNSPEC).
const GO_ON: u32 = u32::MAX;
/// Says to the socket: all of the frame.
const WHOLE: u32 = u32::MAX;
/// Says to the socket: nothing of it.
const NOTHING: u32 = 0;

/// Where things are in a frame without tags.
const AT_ETHERTYPE: u32 = 12;
const AT_IPV4: u32 = ETHERNET_HEADER as u32;
const AT_FRAGMENT: u32 = AT_IPV4 + 6;
const AT_PROTOCOL: u32 = AT_IPV4 + 9;
const AT_DESTINATION: u32 = AT_IPV4 + 16;
/// The bits of the fragment field that later fragments have, and those that any has.
const LATER_FRAGMENT: u32 = 0x1fff;
const ANY_FRAGMENT: u32 = 0x3fff;
/// Kinds of packets (linux/if_packet.h): to this host, and the last of those it takes.
const PACKET_HOST: u32 = 0;
const PACKET_MULTICAST: u32 = 2;

/// What is tapway's of the host's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    pub address: Ipv4Addr,
    /// In rising order, none touching another; as all of `tcp` and `udp`.
    pub tcp: Vec<PortSpan>,
    pub udp: Vec<PortSpan>,
}

impl Takes {
    /// What the ingress hook runs. The first step holds `mark` and does nothing.
    pub(super) fn at_ingress(&self, mark: u32) -> Vec<sock_filter> {
        let mut steps = vec![step(libc::BPF_LD | libc::BPF_IMM, mark)];
        steps.push(of_packet(libc::SKF_AD_PKTTYPE));
        steps.extend(unless(libc::BPF_JEQ, PACKET_HOST, GO_ON));
        steps.push(load(libc::BPF_W, AT_DESTINATION));
        steps.extend(unless(libc::BPF_JEQ, self.address.to_bits(), GO_ON));
        steps.push(load(libc::BPF_H, AT_FRAGMENT));
        steps.extend(if_so(libc::BPF_JSET, LATER_FRAGMENT, GO_ON));
        steps.push(load(libc::BPF_B, AT_PROTOCOL));
        steps.extend(self.by_port(STOLEN, GO_ON));
        steps
    }

    /// What the packet socket runs.
    pub(super) fn at_socket(&self) -> Vec<sock_filter> {
        let mut steps = vec![of_packet(libc::SKF_AD_PKTTYPE)];
        steps.extend(if_so(libc::BPF_JGT, PACKET_MULTICAST, NOTHING));
        steps.push(of_packet(libc::SKF_AD_VLAN_TAG_PRESENT));
        steps.extend(unless(libc::BPF_JEQ, 0, NOTHING));
        steps.push(load(libc::BPF_H, AT_ETHERTYPE));
        steps.extend(if_so(libc::BPF_JEQ, u32::from(ETHERTYPE_ARP), WHOLE));
        steps.extend(unless(libc::BPF_JEQ, u32::from(ETHERTYPE_IPV4), NOTHING));
        steps.push(load(libc::BPF_W, AT_DESTINATION));
        steps.extend(unless(libc::BPF_JEQ, self.address.to_bits(), NOTHING));
        steps.push(load(libc::BPF_H, AT_FRAGMENT));
        steps.extend(if_so(libc::BPF_JSET, ANY_FRAGMENT, WHOLE));
        steps.push(load(libc::BPF_B, AT_PROTOCOL));
        let mut of_icmp = vec![header_len(), load_behind_header(libc::BPF_B, 0)];
        of_icmp.extend(if_so(libc::BPF_JEQ, u32::from(icmp::ECHO_REQUEST), NOTHING));
        of_icmp.push(finish(WHOLE));
        steps.push(jump(libc::BPF_JEQ, u32::from(PROTOCOL_ICMP), 0, of_icmp.len() as u8));
        steps.extend(of_icmp);
        steps.extend(self.by_port(WHOLE, NOTHING));
        steps
    }

    /// With the protocol loaded: `yes` for tapway's ports.
    fn by_port(&self, yes: u32, no: u32) -> Vec<sock_filter> {
        let port = [header_len(), load_behind_header(libc::BPF_H, 2)];
        let udp = [port.to_vec(), among(&self.udp, (yes, no))].concat();
        let mut steps = vec![jump(libc::BPF_JEQ, u32::from(PROTOCOL_TCP), 0, 1)];
        let otherwise = unless(libc::BPF_JEQ, u32::from(PROTOCOL_UDP), no);
        steps.push(skip(otherwise.len() + udp.len()));
        steps.extend(otherwise);
        steps.extend(udp);
        steps.extend(port);
        steps.extend(among(&self.tcp, (yes, no)));
        steps
    }
}

/// With a port loaded: whether it is in one of the spans.
fn among(spans: &[PortSpan], (yes, no): (u32, u32)) -> Vec<sock_filter> {
    let (low, high) = spans.split_at(spans.len() / 2);
    let (true, Some(middle)) = (spans.len() > BLOCK, high.first()) else {
        return among_few(spans, (yes, no));
    };
    let (first, low, high) = (middle.first, among(low, (yes, no)), among(high, (yes, no)));
    // Conditional jumps reach 255 steps only.
    let head = [jump(libc::BPF_JGE, u32::from(first), 0, 1), skip(low.len())];
    [&head[..], &low, &high].concat()
}

fn among_few(spans: &[PortSpan], (yes, no): (u32, u32)) -> Vec<sock_filter> {
    let size = |span: &PortSpan| if span.count() == 1 { 1 } else { 2 };
    // From the end of each span's steps to the last step but one, which says no.
    let mut rest: usize = spans.iter().map(size).sum();
    let mut steps = Vec::new();
    for span in spans {
        let (first, last) = (u32::from(span.first), u32::from(span.last));
        rest -= size(span);
        let to_yes = rest as u8 + 1;
        if first == last {
            steps.push(jump(libc::BPF_JEQ, first, to_yes, 0));
        } else {
            steps.push(jump(libc::BPF_JGE, first, 0, 1));
            steps.push(jump(libc::BPF_JGT, last, 0, to_yes));
        }
    }
    steps.extend([finish(no), finish(yes)]);
    steps
}

/// Ends with `verdict` unless the comparison holds.
fn unless(comparison: u32, value: u32, verdict: u32) -> [sock_filter; 2] {
    [jump(comparison, value, 1, 0), finish(verdict)]
}

/// Ends with `verdict` if the comparison holds.
fn if_so(comparison: u32, value: u32, verdict: u32) -> [sock_filter; 2] {
    [jump(comparison, value, 0, 1), finish(verdict)]
}

const fn load(size: u32, at: u32) -> sock_filter {
    step(libc::BPF_LD | size | libc::BPF_ABS, at)
}

/// What the kernel knows of the packet besides its bytes.
const fn of_packet(what: libc::c_int) -> sock_filter {
    load(libc::BPF_W, (libc::SKF_AD_OFF + what).cast_unsigned())
}

/// Loads the length of the IPv4 header into the index.
const fn header_len() -> sock_filter {
    step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, AT_IPV4)
}

const fn load_behind_header(size: u32, at: u32) -> sock_filter {
    step(libc::BPF_LD | size | libc::BPF_IND, AT_IPV4 + at)
}

const fn skip(steps: usize) -> sock_filter {
    step(libc::BPF_JMP | libc::BPF_JA, steps as u32)
}

const fn finish(verdict: u32) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, verdict)
}

const fn jump(comparison: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { jt: yes, jf: no, ..step(libc::BPF_JMP | comparison | libc::BPF_K, value) }
}

const fn step(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Endpoint;
    use crate::packet::MacAddr;
    use crate::testkit::build::{self, Hop};

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 10);
    const PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 1);

    /// Runs a program over a frame, as the kernel does.
    fn run(program: &[sock_filter], frame: &[u8], kind: u32) -> u32 {
        let (mut a, mut x, mut at) = (0, 0, 0);
        let bytes = |from: u32, count: u32| {
            let from = from as usize;
            let bytes = frame.get(from..from + count as usize)?;
            Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
        };
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            let size = match code & 0x18 {
                libc::BPF_W => 4,
                libc::BPF_H => 2,
                _ => 1,
            };
            match code & 7 {
                libc::BPF_RET => return k,
                libc::BPF_LDX => x = bytes(k, 1).unwrap() % 16 * 4,
                libc::BPF_LD => {
                    let ad = k.wrapping_sub(libc::SKF_AD_OFF.cast_unsigned()).cast_signed();
                    let loaded = match code & 0xe0 {
                        libc::BPF_IMM => Some(k),
                        libc::BPF_IND => bytes(x + k, size),
                        _ if ad == libc::SKF_AD_PKTTYPE => Some(kind),
                        _ if ad == libc::SKF_AD_VLAN_TAG_PRESENT => Some(0),
                        _ => bytes(k, size),
                    };
                    let Some(loaded) = loaded else { return 0 };
                    a = loaded;
                }
                libc::BPF_JMP => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JA => {
                            at += k as usize;
                            continue;
                        }
                        libc::BPF_JEQ => a == k,
                        libc::BPF_JGT => a > k,
                        libc::BPF_JGE => a >= k,
                        _ => a & k != 0,
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
                other => panic!("{other}"),
            }
        }
    }

    fn hop() -> Hop {
        Hop::new(MacAddr::from_ipv4(PEER), MacAddr::from_ipv4(HOST))
    }

    fn spans(list: &[(u16, u16)]) -> Vec<PortSpan> {
        list.iter().map(|(first, last)| PortSpan { first: *first, last: *last }).collect()
    }

    #[test]
    fn both_programs_say_of_each_port_what_the_spans_say() {
        let many: Vec<(u16, u16)> =
            (1..400).map(|at| (at * 100, at * 100 + if at % 3 == 0 { 7 } else { 0 })).collect();
        let lists = [vec![], vec![(80, 80)], vec![(1, 65_535)], vec![(61_000, 65_535)], many];
        for list in lists {
            let takes = Takes { address: HOST, tcp: spans(&list), udp: spans(&[(53, 54)]) };
            let (ingress, socket) = (takes.at_ingress(7), takes.at_socket());
            assert!(ingress.len() <= MAX_STEPS, "{}", ingress.len());
            for port in (0..=u16::MAX).filter(|port| *port < 2000 || port % 7 < 3) {
                let (src, dst) = (Endpoint::new(PEER, 9), Endpoint::new(HOST, port));
                let tcp = build::tcp(hop(), src, dst, 2, b"");
                let is_ours = takes.tcp.iter().any(|span| span.contains(port));
                assert_eq!(run(&ingress, &tcp, 0) == STOLEN, is_ours, "{port}");
                assert_eq!(run(&socket, &tcp, 0) == WHOLE, is_ours, "{port}");
                let udp = build::udp(hop(), src, dst, b"");
                let is_ours = (53..=54).contains(&port);
                assert_eq!(run(&ingress, &udp, 0) == STOLEN, is_ours, "{port}");
                assert_eq!(run(&socket, &udp, 0) == WHOLE, is_ours, "{port}");
            }
        }
    }

    #[test]
    fn only_the_hosts_own_frames_are_taken_and_copies_of_what_may_be_about_flows() {
        let takes = Takes { address: HOST, tcp: spans(&[(80, 80)]), udp: spans(&[(53, 53)]) };
        let (ingress, socket) = (takes.at_ingress(7), takes.at_socket());
        let (src, dst) = (Endpoint::new(PEER, 9), Endpoint::new(HOST, 80));
        let syn = build::tcp(hop(), src, dst, 2, b"");
        let elsewhere = build::tcp(hop(), src, Endpoint::new(PEER, 80), 2, b"");
        for (frame, kind) in [(&syn, 3), (&elsewhere, 0)] {
            assert_eq!((run(&ingress, frame, kind), run(&socket, frame, kind)), (GO_ON, NOTHING));
        }
        let whole = build::udp(hop(), src, Endpoint::new(HOST, 53), &[1; 3000]);
        let pieces = build::fragments(&whole, 1, 1400);
        assert_eq!((run(&ingress, &pieces[0], 0), run(&socket, &pieces[0], 0)), (STOLEN, WHOLE));
        let arp = build::arp_request(MacAddr::from_ipv4(PEER), PEER, HOST);
        let copied = [&pieces[1], &build::echo(hop(), PEER, HOST, 1, true), &arp];
        for frame in copied {
            assert_eq!(run(&socket, frame, 1), WHOLE);
        }
        assert_eq!(run(&ingress, &pieces[1], 0), GO_ON);
        assert_eq!(run(&socket, &build::echo(hop(), PEER, HOST, 1, false), 0), NOTHING);
    }

    #[test]
    fn three_thousand_separate_ports_have_room() {
        let list: Vec<(u16, u16)> = (1..=3000).map(|at| (at * 2, at * 2)).collect();
        let takes = Takes { address: HOST, tcp: spans(&list), udp: Vec::new() };
        assert!(takes.at_ingress(0).len() <= MAX_STEPS, "{}", takes.at_ingress(0).len());
    }
}
