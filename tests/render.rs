//! The text of `tapway show` against golden files, and its NAT rules against iptables itself.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/skip.rs"]
mod skip;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use skip::skip;
use tapway::control::api::{LinkRow, SessionUsage, StatsView};
use tapway::control::live::PeerOrigin;
use tapway::control::registry::{LinkInfo, LinkState};
use tapway::control::render;
use tapway::control::tunnel_tables::{PeerRow, TunnelTraffic, VxlanRow};
use tapway::drop_reason::DropReason;
use tapway::engine::{
    DropRow, FdbRow, NatNetworkRow, NatView, NeighbourRow, PortStats, PublishRow, RouteRow,
    SessionRow, StaticNatRow, Totals, UplinkRow,
};
use tapway::nat::{Endpoint, NatMode};
use tapway::packet::MacAddr;
use tapway::packet::vxlan::Vni;
use tapway::route::{NeighbourState, RouteKind};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn assert_golden(name: &str, text: &str) {
    let golden = std::fs::read_to_string(path(name)).unwrap_or_default();
    assert!(text == golden, "{name} is now:\n{text}");
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

fn at(text: &str, port: u16) -> Endpoint {
    Endpoint::new(ip(text), port)
}

fn ports() -> Vec<PortStats> {
    vec![
        PortStats {
            port: "uplink".to_owned(),
            network: "uplink".to_owned(),
            is_up: true,
            mtu: 1500,
            rx_frames: 12,
            rx_bytes: 1_234,
            rx_segments: 12,
            tx_frames: 9,
            tx_bytes: 900,
            tx_segments: 9,
            dropped: 4,
            limit_rx: None,
            limit_tx: None,
        },
        PortStats {
            port: "nginx1".to_owned(),
            network: "bridge".to_owned(),
            is_up: true,
            mtu: 9000,
            rx_frames: 12_345_678,
            rx_bytes: 98_765_432_100,
            rx_segments: 123_456_789,
            tx_frames: 1,
            tx_bytes: 42,
            tx_segments: 1,
            dropped: 0,
            limit_rx: None,
            limit_tx: None,
        },
        PortStats {
            port: "nginx2".to_owned(),
            network: "bridge".to_owned(),
            is_up: false,
            mtu: 1500,
            ..PortStats::default()
        },
    ]
}

#[test]
fn links_are_printed_as_by_ip() {
    let device = |description: &str, address: Option<&str>, error: Option<&str>| LinkInfo {
        description: description.to_owned(),
        state: if error.is_none() { LinkState::Up } else { LinkState::Down },
        mac: address.map(|address| MacAddr::from_ipv4(ip(address))),
        address: address.map(ip),
        last_error: error.map(str::to_owned),
    };
    let devices = [
        None,
        Some(device(
            "tap eth0 netns nginx1 offloads csum,tso4,tso6,ecn,uso io io_uring",
            Some("172.17.0.2"),
            None,
        )),
        Some(device("tap eth0 netns nginx2", None, Some("the namespace is gone"))),
    ];
    let rows: Vec<LinkRow> = (0..)
        .zip(ports())
        .zip(devices)
        .map(|((index, stats), device)| LinkRow { index, stats, device })
        .collect();
    assert_golden("link.txt", &render::links(&rows));
}

#[test]
fn fdb_is_printed_as_by_bridge() {
    let row = |address: &str, port: Option<&str>, is_static| FdbRow {
        mac: mac(address),
        port: port.map(str::to_owned),
        network: "bridge".to_owned(),
        is_static,
        age_s: 3,
    };
    let rows = [
        row("02:42:ac:11:00:01", None, true),
        row("02:42:ac:11:00:02", Some("nginx1"), true),
        row("02:42:ac:11:00:03", Some("nginx2"), false),
    ];
    assert_golden("fdb.txt", &render::fdb(&rows));
}

#[test]
fn neighbours_are_printed_as_by_ip() {
    use NeighbourState::{Delay, Failed, Incomplete, Probe, Reachable, Stale};
    let states = [Reachable, Stale, Delay, Probe, Incomplete, Failed];
    let rows: Vec<NeighbourRow> = (2..)
        .zip(states)
        .map(|(last, state)| {
            let address = Ipv4Addr::new(172, 17, 0, last);
            let is_known = !matches!(state, Incomplete | Failed);
            NeighbourRow {
                address,
                network: "bridge".to_owned(),
                mac: is_known.then(|| MacAddr::from_ipv4(address)),
                state,
            }
        })
        .collect();
    assert_golden("neigh.txt", &render::neighbours(&rows));
}

#[test]
fn routes_are_printed_as_by_ip() {
    let row = |destination: &str, via: Option<&str>, network: &str, source: &str| RouteRow {
        destination: destination.parse().unwrap(),
        via: via.map(ip),
        network: network.to_owned(),
        kind: if via.is_some() { RouteKind::Static } else { RouteKind::Connected },
        source: Some(ip(source)),
    };
    let rows = [
        row("0.0.0.0/0", Some("192.168.33.1"), "uplink", "192.168.33.10"),
        row("10.9.0.0/16", Some("172.17.0.9"), "bridge", "172.17.0.1"),
        row("10.9.1.1/32", Some("172.17.0.8"), "bridge", "172.17.0.1"),
        row("172.17.0.0/16", None, "bridge", "172.17.0.1"),
        row("192.168.33.0/24", None, "uplink", "192.168.33.10"),
    ];
    assert_golden("route.txt", &render::routes(&rows));
}

#[test]
fn sessions_are_printed_as_by_conntrack() {
    let row = |protocol, state: &str, src, dst, reply: (Endpoint, Endpoint)| SessionRow {
        protocol,
        expires_s: 29,
        state: state.to_owned(),
        network: "bridge".to_owned(),
        src,
        dst,
        reply_src: reply.0,
        reply_dst: reply.1,
        is_answered: true,
    };
    let (near, far) = ("172.17.0.2", "203.0.113.7");
    let back = |sport, dport| (at(far, sport), at("192.168.33.10", dport));
    let mut rows = vec![
        row(6, "ESTABLISHED", at(near, 50_000), at(far, 443), back(443, 50_000)),
        row(6, "SYN_RECV", at(near, 50_001), at(far, 443), back(443, 50_001)),
        row(17, "", at(near, 5000), at(far, 53), back(53, 61_000)),
        row(1, "", at(near, 77), at(far, 77), back(77, 78)),
        row(47, "", at(near, 0), at(far, 0), back(0, 0)),
        row(99, "", at(near, 0), at(far, 0), back(0, 0)),
    ];
    if let Some(established) = rows.first_mut() {
        established.expires_s = 431_999;
    }
    let mut unanswered = row(6, "SYN_SENT", at(near, 50_002), at(far, 81), back(81, 50_002));
    unanswered.is_answered = false;
    rows.push(unanswered);
    assert_golden("sessions.txt", &render::sessions(&rows));
}

#[test]
fn drops_are_printed_with_their_remedy() {
    let row = |port: &str, reason: DropReason, frames| DropRow {
        port: port.to_owned(),
        reason: reason.name().to_owned(),
        frames,
        when: reason.when().to_owned(),
        remedy: reason.remedy().to_owned(),
    };
    let rows = [
        row("uplink", DropReason::UnsolicitedSyn, 3),
        row("nginx1", DropReason::TxQueueFull, 123_456_789),
    ];
    assert_golden("drops.txt", &render::drops(&rows));
    assert_eq!(render::drops(&[]), "no frame was dropped\n");
}

#[test]
fn stats_show_the_outcome_of_every_frame() {
    let totals = Totals {
        received: 12_345_690,
        forwarded: 12_345_600,
        flooded: 40,
        local: 45,
        dropped: 4,
        waiting: 1,
        handed_over: 0,
        taken_over: 0,
        unknown_port: 0,
        generated: 7,
    };
    let sessions = SessionUsage { used: 12, limit: 262_144 };
    let view = StatsView { totals, workers: vec![totals], sessions, ports: ports() };
    assert_golden("stats.txt", &render::stats(&view));
    let other = Totals { received: 7, taken_over: 123_456_789, ..Totals::default() };
    let workers = vec![Totals { handed_over: 123_456_789, ..totals }, other];
    assert_golden("stats_workers.txt", &render::stats(&StatsView { workers, ..view }));
}

fn nat_network(network: &str, subnet: &str) -> NatNetworkRow {
    NatNetworkRow {
        network: network.to_owned(),
        subnet: subnet.parse().unwrap(),
        tcp: NatMode::EimApdf,
        udp: NatMode::EimApdf,
        icmp: NatMode::EimApdf,
        other: NatMode::EimApdf,
        exempt: Vec::new(),
    }
}

fn uplink(pool: &[&str]) -> Option<UplinkRow> {
    let pool = pool.iter().map(|address| ip(address)).collect();
    Some(UplinkRow { network: "uplink".to_owned(), address: ip("192.168.33.10"), pool })
}

/// The tutorial's published port, another address, ranges, a static translation, exemptions.
fn nat_view() -> NatView {
    let publish = |protocol, address: Option<&str>, port, count, target| PublishRow {
        protocol,
        address: address.map(ip),
        port,
        count,
        network: "bridge".to_owned(),
        target,
    };
    NatView {
        uplink: uplink(&[]),
        networks: vec![
            nat_network("bridge", "172.17.0.0/16"),
            NatNetworkRow {
                icmp: NatMode::None,
                exempt: vec!["10.0.0.0/8".parse().unwrap(), "198.51.100.1/32".parse().unwrap()],
                ..nat_network("lab", "172.18.0.0/16")
            },
        ],
        publishes: vec![
            publish(6, None, 80, 1, at("172.17.0.2", 80)),
            publish(6, Some("192.168.33.10"), 8080, 1, at("172.17.0.3", 80)),
            publish(17, None, 5000, 11, at("172.17.0.2", 5000)),
            publish(17, None, 6000, 11, at("172.17.0.2", 7000)),
        ],
        statics: vec![StaticNatRow {
            network: "lab".to_owned(),
            inside: ip("172.18.0.5"),
            external: ip("192.168.33.30"),
        }],
    }
}

/// A pool of addresses, and a network of which only TCP is translated.
fn nat_pool_view() -> NatView {
    NatView {
        uplink: uplink(&["192.168.33.20", "192.168.33.21", "192.168.33.22", "192.168.33.23"]),
        networks: vec![
            nat_network("bridge", "172.17.0.0/16"),
            NatNetworkRow {
                udp: NatMode::None,
                icmp: NatMode::None,
                other: NatMode::None,
                ..nat_network("lab", "172.18.0.0/16")
            },
        ],
        ..NatView::default()
    }
}

#[test]
fn nat_rules_are_printed_as_by_iptables() {
    assert_golden("nat.txt", &render::nat(&nat_view()));
    assert_golden("nat-pool.txt", &render::nat(&nat_pool_view()));
}

/// Loads the same rules into iptables, in a network namespace that ends with the command.
#[test]
fn iptables_itself_prints_the_same_rules() {
    for (name, view) in [("nat.rules", nat_view()), ("nat-pool.rules", nat_pool_view())] {
        let script = "iptables-restore < \"$0\" && iptables -t nat -L -n";
        let mut command = Command::new("unshare");
        let listed = match command.args(["-n", "sh", "-c", script]).arg(path(name)).output() {
            Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                return skip(why);
            }
            Err(error) => return skip(format_args!("unshare: {error}")),
        };
        assert_eq!(render::nat(&view), by_name(&listed), "{name}");
    }
}

/// A listing without the chains that tapway leaves out, with protocols by name whatever the
/// version of iptables.
fn by_name(listing: &str) -> String {
    let is_shown =
        |chain: &&str| !["Chain INPUT", "Chain OUTPUT"].iter().any(|name| chain.starts_with(name));
    let chains: Vec<&str> = listing.trim_end_matches('\n').split("\n\n").filter(is_shown).collect();
    let mut text = chains.join("\n\n") + "\n";
    for (number, name) in [("0   ", "all "), ("1   ", "icmp"), ("6   ", "tcp "), ("17  ", "udp ")] {
        text = text.replace(&format!(" {number} --  "), &format!(" {name} --  "));
    }
    text
}

#[test]
fn networks_over_several_hosts_and_their_peers_are_columns() {
    let traffic = TunnelTraffic {
        rx_frames: 12_345_678,
        rx_bytes: 98_765_432_100,
        rx_segments: 123_456_789,
        tx_frames: 9,
        tx_bytes: 900,
        tx_segments: 9,
        dropped: 4,
    };
    let network = |name: &str, number, address: Option<&str>, group: Option<&str>| VxlanRow {
        network: name.to_owned(),
        vni: Vni::try_from(number).unwrap(),
        underlay: if group.is_some() { "socket" } else { "uplink" }.to_owned(),
        address: address.map(ip),
        port: 4789,
        mtu: 1450,
        peers: 2,
        group: group.map(ip),
        accepts_any: group.is_some(),
        endpoints: 1,
        traffic: if group.is_some() { TunnelTraffic::default() } else { traffic },
    };
    let rows = [
        network("blue", 42, Some("192.0.2.1"), None),
        network("backbone", 16_777_215, None, Some("239.1.1.1")),
    ];
    assert_golden("vxlan.txt", &render::vxlan(&rows));
    let peer = |name: &str, at: &str, from, is_up| PeerRow {
        network: name.to_owned(),
        vni: Vni::try_from(42).unwrap(),
        peer: ip(at),
        from,
        is_up,
        error: None,
        mtu: 1450,
        macs: 3,
        endpoints: 1,
        traffic: if is_up { traffic } else { TunnelTraffic::default() },
    };
    let rows = [
        peer("blue", "192.0.2.2", PeerOrigin::Configured, true),
        peer("blue", "192.0.2.3", PeerOrigin::Live, false),
        peer("backbone", "239.1.1.1", PeerOrigin::Group, true),
        peer("backbone", "192.0.2.4", PeerOrigin::Learned, true),
    ];
    assert_golden("peers.txt", &render::peers(&rows));
}
