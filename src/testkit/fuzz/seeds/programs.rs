//! Programs for the engine: the tutorial's journeys, and what can go wrong on them.

use super::super::program::{Op, Packet};
use super::Seed;

const ROUTER: u8 = 0;
const MAC: u8 = 1;
const NGINX1: u8 = 2;
const NGINX2: u8 = 3;
const GUARDED: u8 = 4;
const ISOLATED: u8 = 5;
const PLAIN: u8 = 7;
const EXTERNAL: u8 = 9;
const STATIC: u8 = 11;
const GATEWAY: u8 = 12;
const GATEWAY2: u8 = 13;
const FAR: u8 = 14;
const ABSENT: u8 = 16;

/// To the gateway, TTL 64.
const UP: u8 = 0xc0;
/// To the target's MAC, TTL 64.
const ACROSS: u8 = 0xc4;
/// To everybody.
const ALL: u8 = 0xc5;

const UDP: u8 = 0;
const TCP: u8 = 1;
const ECHO: u8 = 3;
const ARP: u8 = 4;
const GRE: u8 = 6;
const FRAGMENTS: u8 = 8;

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const PUBLISH: u8 = 9;

fn packet(kind: u8, sender: u8, target: u8, hop: u8) -> Packet {
    Packet { kind, sender, target, hop, sport: 4, dport: 0, flags: SYN, size: 2, damage: vec![] }
}

const fn tunnelled(peer: u8, outside: u8, packet: Packet) -> Op {
    Op::Tunnelled { peer, outside, packet }
}

const fn command(kind: u8, a: u8, b: u8, c: u8) -> Op {
    Op::Command { kind, a, b, c }
}

/// The router and the hosts of the bridge ask for their gateways, so that all are known.
fn introductions() -> Vec<Op> {
    let asks = [(ROUTER, EXTERNAL), (MAC, EXTERNAL), (NGINX1, GATEWAY), (NGINX2, GATEWAY)];
    let more = [(GUARDED, GATEWAY), (ISOLATED, GATEWAY2)];
    let mut ops: Vec<Op> = asks
        .iter()
        .chain(&more)
        .map(|(host, gateway)| Op::Packet(packet(ARP, *host, *gateway, ALL)))
        .collect();
    ops.push(Op::Flush);
    ops
}

/// A program after the introductions.
fn program(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for op in introductions().iter().chain(ops) {
        op.encode(&mut bytes);
    }
    bytes
}

/// Programs for the engine.
pub fn engine() -> Vec<Seed> {
    let send = |kind, sender, target, hop| Op::Packet(packet(kind, sender, target, hop));
    let answer = |flags| Op::Answer { back: 0, flags };
    let wait = |step, times| Op::Wait { step, times };
    let mut many: Vec<Op> =
        (0..10).map(|sport| Op::Packet(Packet { sport, ..packet(UDP, NGINX1, FAR, UP) })).collect();
    many.extend(
        (0..10).map(|sport| Op::Packet(Packet { sport, dport: 3, ..packet(TCP, NGINX2, FAR, UP) })),
    );
    let fragments =
        |flags| Op::Packet(Packet { flags, size: 60, ..packet(FRAGMENTS, NGINX1, FAR, UP) });
    let error = Op::Error { back: 0, kind: 0, code: 4 };
    let broken = |damage: &[(u8, u8)]| {
        Op::Packet(Packet { damage: damage.to_vec(), ..packet(UDP, NGINX1, FAR, UP) })
    };
    let modes = |mode| {
        let open = [command(0, 1, mode, 0), send(UDP, NGINX1, FAR, UP), Op::Flush, answer(0)];
        program(&[&open[..], &[Op::Flush, send(UDP, MAC, EXTERNAL, UP), Op::Flush]].concat())
    };
    let asking =
        |kind, sender| Op::Packet(Packet { dport: 3, ..packet(kind, sender, GATEWAY, UP) });
    vec![
        ("nothing", Vec::new()),
        (
            "names",
            program(&[
                asking(UDP, NGINX1),
                asking(TCP, NGINX1),
                asking(TCP, NGINX2),
                Op::Flush,
                answer(0x10),
                wait(4, 1),
            ]),
        ),
        ("introductions", program(&[])),
        ("bridge", program(&[send(UDP, NGINX1, NGINX2, ACROSS), Op::Flush, answer(0), Op::Flush])),
        ("bridge_unknown", program(&[send(UDP, NGINX1, ABSENT, ACROSS), Op::Flush])),
        ("bridge_plain", program(&[send(UDP, PLAIN, PLAIN + 1, ACROSS), Op::Flush, answer(0)])),
        ("mac_moves", program(&[send(UDP, NGINX1, NGINX2, 0xc6), Op::Loop { back: 0, port: 1 }])),
        ("reserved_group", program(&[send(UDP, NGINX1, NGINX2, 0xc7), Op::Flush])),
        ("isolated", program(&[send(UDP, ISOLATED, ISOLATED + 1, ACROSS), Op::Flush])),
        (
            "guard_ip",
            program(&[Op::Packet(Packet {
                damage: vec![(29, 1)],
                ..packet(UDP, GUARDED, FAR, UP)
            })]),
        ),
        ("napt_udp", program(&[send(UDP, NGINX1, FAR, UP), Op::Flush, answer(0), Op::Flush])),
        (
            "napt_tcp",
            program(&[
                send(TCP, NGINX1, FAR, UP),
                Op::Flush,
                answer(SYN_ACK),
                Op::Flush,
                answer(0x10),
                Op::Flush,
                answer(0x11),
                Op::Flush,
                answer(0x14),
                wait(6, 0),
            ]),
        ),
        ("napt_echo", program(&[send(ECHO, NGINX1, FAR, UP), Op::Flush, answer(0), Op::Flush])),
        ("napt_gre", program(&[send(GRE, NGINX1, FAR, UP), Op::Flush, answer(0), Op::Flush])),
        ("napt_full", program(&many)),
        ("napt_expires", program(&[send(UDP, NGINX1, FAR, UP), wait(6, 1), answer(0), Op::Flush])),
        ("napt_eim_adf", modes(1)),
        ("napt_eim_eif", modes(2)),
        ("napt_apdm", modes(3)),
        ("routed_untranslated", modes(4)),
        ("pool", program(&[command(0, 0, 0, 1), send(UDP, NGINX1, FAR, UP), Op::Flush, answer(0)])),
        (
            "static",
            program(&[
                command(0, 0, 0, 2),
                send(TCP, MAC, STATIC, UP),
                Op::Flush,
                answer(SYN_ACK),
                send(UDP, NGINX2, FAR, UP),
                send(UDP, NGINX1, STATIC, UP),
                Op::Flush,
            ]),
        ),
        ("exempt", program(&[command(0, 1, 0, 32), send(UDP, NGINX1, FAR + 1, UP), Op::Flush])),
        (
            "publish",
            program(&[
                command(PUBLISH, NGINX1, 0, 1),
                send(TCP, MAC, EXTERNAL, UP),
                Op::Flush,
                answer(SYN_ACK),
                Op::Flush,
                command(11, NGINX1, 0, 1),
                send(TCP, MAC, EXTERNAL, UP),
            ]),
        ),
        ("publish_range", program(&[command(PUBLISH, NGINX1, 1, 5), send(UDP, MAC, EXTERNAL, UP)])),
        (
            "hairpin_published",
            program(&[
                command(PUBLISH, NGINX1, 0, 1),
                send(TCP, NGINX2, EXTERNAL, UP),
                Op::Flush,
                answer(SYN_ACK),
                send(TCP, NGINX1, EXTERNAL, UP),
                Op::Flush,
                answer(SYN_ACK),
                Op::Flush,
            ]),
        ),
        (
            "hairpin_dynamic",
            program(&[
                send(UDP, NGINX1, FAR, UP),
                Op::Packet(Packet { dport: 4, ..packet(UDP, NGINX2, EXTERNAL, UP) }),
                Op::Flush,
            ]),
        ),
        ("unsolicited", program(&[send(TCP, MAC, EXTERNAL, UP), send(UDP, MAC, EXTERNAL, UP)])),
        ("direct_routing", program(&[send(UDP, MAC, NGINX1, UP), Op::Flush])),
        ("networks_apart", program(&[send(UDP, NGINX1, ISOLATED, UP), Op::Flush])),
        (
            "hold_and_release",
            program(&[
                send(UDP, NGINX1, 17, UP),
                send(UDP, NGINX1, 17, UP),
                Op::Flush,
                answer(0),
                Op::Flush,
            ]),
        ),
        ("hold_and_fail", program(&[send(UDP, NGINX1, 17, UP), wait(4, 0), wait(5, 1)])),
        (
            "neighbours_full",
            program(&(9..26).map(|target| send(UDP, NGINX1, target, UP)).collect::<Vec<_>>()),
        ),
        ("fragments_in_order", program(&[fragments(0x30), Op::Flush])),
        ("fragments_backwards", program(&[fragments(0x31), Op::Flush])),
        ("fragments_one_missing", program(&[fragments(0x34), wait(5, 0)])),
        (
            "echo_fragments_to_gateway",
            program(&[Op::Packet(Packet {
                size: 200,
                flags: 0xf0,
                ..packet(FRAGMENTS, NGINX1, GATEWAY, UP)
            })]),
        ),
        (
            "too_big",
            program(&[
                command(6, 0, 60, 0),
                Op::Packet(Packet { size: 180, ..packet(UDP, NGINX1, FAR, UP) }),
            ]),
        ),
        ("ttl", program(&[send(UDP, NGINX1, FAR, 0), send(UDP, NGINX1, FAR, 0x40), Op::Flush])),
        (
            "ping_gateways",
            program(&[
                send(ECHO, NGINX1, GATEWAY, UP),
                send(ECHO, MAC, EXTERNAL, UP),
                send(ECHO, NGINX1, EXTERNAL, UP),
            ]),
        ),
        (
            "closed_ports",
            program(&[send(UDP, NGINX1, GATEWAY, UP), send(TCP, NGINX1, GATEWAY, UP)]),
        ),
        ("icmp_error_inbound", program(&[send(UDP, NGINX1, FAR, UP), Op::Flush, error.clone()])),
        (
            "icmp_error_outbound",
            program(&[
                command(PUBLISH, NGINX1, 1, 1),
                send(UDP, MAC, EXTERNAL, UP),
                Op::Flush,
                error,
                Op::Flush,
            ]),
        ),
        (
            "damaged",
            program(&[
                broken(&[(14, 0x20)]),
                broken(&[(17, 0x40)]),
                broken(&[(24, 1)]),
                broken(&[(12, 0x89)]),
                broken(&[(6, 1)]),
                Op::Flush,
            ]),
        ),
        (
            "raw",
            program(&[
                Op::Raw { port: 1, bytes: vec![0xff; 13] },
                Op::Raw { port: 8, bytes: vec![0xff; 60] },
            ]),
        ),
        (
            "ports_come_and_go",
            program(&[
                send(UDP, NGINX1, FAR, UP),
                command(5, 0, 0, 0),
                answer(0),
                command(5, 0, 1, 0),
                command(4, 1, 0, 0),
                command(3, 1, 3, 0),
                wait(1, 0),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
            ]),
        ),
        (
            "networks_come_and_go",
            program(&[
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
                command(2, 1, 0, 0),
                answer(0),
                command(0, 1, 0, 4),
                command(3, 1, 0, 0),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
            ]),
        ),
        (
            "routes",
            program(&[
                command(7, FAR, MAC, 24),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
                answer(0),
                command(8, FAR, 0, 24),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
            ]),
        ),
        ("ageing", program(&[wait(6, 0), send(UDP, NGINX1, NGINX2, ACROSS), wait(7, 1)])),
        (
            "storm",
            program(&[
                command(0, 1, 0, 16),
                command(4, 1, 0, 0),
                command(3, 1, 0, 0),
                send(UDP, NGINX1, NGINX2, ALL),
                send(UDP, NGINX1, NGINX2, ALL),
                send(UDP, NGINX1, NGINX2, ALL),
                Op::Flush,
            ]),
        ),
        (
            "tunnels",
            program(&[
                command(5, 9, 1, 0),
                tunnelled(0, 0, packet(UDP, NGINX1, NGINX2, ALL)),
                tunnelled(5, 0, packet(UDP, PLAIN, PLAIN + 1, ACROSS)),
                tunnelled(0, 3, packet(UDP, NGINX1, NGINX2, ACROSS)),
                tunnelled(2, 0, packet(UDP, NGINX1, NGINX2, ACROSS)),
                Op::Flush,
                send(UDP, PLAIN + 1, PLAIN, ACROSS),
                Op::Packet(Packet { size: 250, ..packet(UDP, NGINX2, ABSENT, ACROSS) }),
                send(ARP, NGINX2, ABSENT, ALL),
                Op::Flush,
                command(254, 1, ABSENT, 7),
                send(ARP, NGINX2, ABSENT, ALL),
                Op::Flush,
            ]),
        ),
        (
            "tunnels_by_uplink",
            program(&[
                command(252, 0, 2, 0),
                send(UDP, PLAIN, PLAIN + 1, ALL),
                Op::Flush,
                Op::Error { back: 0, kind: 0, code: 4 },
                tunnelled(0x85, 0, packet(UDP, PLAIN, PLAIN + 1, ACROSS)),
                tunnelled(0x85, 200, packet(UDP, PLAIN, PLAIN + 1, ACROSS)),
                Op::Flush,
                wait(5, 1),
                command(252, 0, 0, 0),
                send(UDP, PLAIN, PLAIN + 1, ALL),
            ]),
        ),
    ]
}
