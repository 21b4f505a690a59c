//! Random frames, damaged frames, commands and time: whatever comes, the books balance, timers
//! move on, nothing private leaves, and nothing panics (tests are built with overflow checks).
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::time::Duration;

use proptest::prelude::*;
use support::*;
use tapway::nat::Publish;

/// One step of a scenario.
#[derive(Clone, Debug)]
enum Step {
    /// A known frame with some bytes changed, cut or grown.
    Frame { kind: u8, changes: Vec<(u16, u8)>, len: u16 },
    /// Bytes of any kind behind valid MACs.
    Noise { from: u8, bytes: Vec<u8> },
    /// Fragments of a datagram, some of them.
    Fragments { kind: u8, id: u16, size: u8, take: u8 },
    /// Time passes.
    Wait(u32),
    /// Something is configured.
    Configure(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let changes = proptest::collection::vec((0u16..80, any::<u8>()), 0..4);
    prop_oneof![
        6 => (any::<u8>(), changes, 0u16..200)
            .prop_map(|(kind, changes, len)| Step::Frame { kind, changes, len }),
        2 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(from, bytes)| Step::Noise { from, bytes }),
        2 => (any::<u8>(), 0u16..4, 1u8..20, any::<u8>())
            .prop_map(|(kind, id, size, take)| Step::Fragments { kind, id, size, take }),
        1 => (0u32..200_000).prop_map(Step::Wait),
        1 => any::<u8>().prop_map(Step::Configure),
    ]
}

struct World {
    lab: Lab,
    router: LabPort,
    a: LabPort,
    b: LabPort,
    other: LabPort,
}

impl World {
    fn new(mode: NatMode) -> Self {
        let mut config = EngineConfig::with_sessions(16);
        config.neighbours.total = 8;
        config.neighbours.unresolved_per_port = 3;
        config.fdb.total = 12;
        config.fdb.per_network = 8;
        config.fdb.per_port = 3;
        config.nat.ports_per_host = 5;
        config.flows = 8;
        let mut lab = Lab::with(config, |n| n.nat = NatPolicy::uniform(mode));
        lab.alone();
        add_other_network(&mut lab);
        set_uplink(&mut lab, &[], &[([172, 17, 0, 3], [192, 168, 33, 20])]);
        let router = lab.router();
        let (a, b) = (guarded(&mut lab, 2), lab.known_inside(3));
        let other = known_other(&mut lab, 2);
        lab.publish(17, 53, a.at(53));
        lab.publish(6, 80, b.at(80));
        Self { lab, router, a, b, other }
    }

    /// Whole frames of every kind that means something.
    fn frame(&self, kind: u8) -> (LabPort, Vec<u8>) {
        let (router, a, b, other) = (self.router, self.a, self.b, self.other);
        let (out, back) = (a.to_gateway(), router.to_gateway());
        let flags = [2, 18, 16, 17, 4, 1][usize::from(kind) % 6];
        let quoted = build::udp(Hop::new(a.gateway, a.mac), ext(5000), far(53), b"12345678");
        match kind % 24 {
            0 => (a, udp_df_clear(out, a.at(5000), far(53), &[7; 64])),
            1 => (router, udp_df_clear(back, far(53), ext(5000), &[7; 64])),
            2 => (a, build::tcp(out, a.at(5000), far(80), flags, b"x")),
            3 => (router, build::tcp(back, far(80), ext(5000), flags, b"x")),
            4 => (a, build::echo(out, a.ip, FAR, 7, false)),
            5 => (router, build::echo(back, FAR, Lab::EXTERNAL, 7, true)),
            6 => (router, build::udp(back, stranger(9), ext(53), b"published")),
            7 => (a, build::udp(out, a.at(53), stranger(9), b"answer")),
            8 => (b, build::udp(b.to_gateway(), b.at(9), ext(53), b"hairpin")),
            9 => (a, build::udp(a.to(&b), a.at(53), b.at(9), b"hairpin answer")),
            10 => (b, build::tcp(b.to_gateway(), b.at(9), ext(80), flags, b"self")),
            11 => (other, build::tcp(other.to_gateway(), other.at(9), ext(80), flags, b"")),
            12 => (router, icmp_error(back, (FAR, Lab::EXTERNAL), (3, 3), &quoted[14..])),
            13 => (a, icmp_error(out, (a.ip, FAR), (11, 0), &quoted[14..])),
            14 => (a, build::arp_request(a.mac, a.ip, Lab::GATEWAY)),
            15 => (b, build::arp_reply(b.mac, b.ip, (b.gateway, Lab::GATEWAY))),
            16 => (b, build::udp(b.to_gateway(), b.at(1), a.at(kind.into()), b"routed")),
            17 => (b, build::udp(b.to_gateway(), b.at(1), at([172, 17, 0, kind], 1), b"absent")),
            18 => (a, ether(a.mac, MacAddr::BROADCAST, 0x0806, &[kind; 30])),
            19 => (b, ether(MacAddr([2, kind, 0, 0, 0, 1]), b.gateway, 0x0800, &[0x45; 40])),
            20 => (router, packet(back, FAR, at([192, 168, 33, 20], 0).ip, 50, &[kind; 40])),
            21 => (b, packet(b.to_gateway(), b.ip, FAR, kind, &[kind; 40])),
            22 => (a, build::echo(out, a.ip, Lab::GATEWAY, 7, false)),
            _ => (other, build::udp(other.to_gateway(), other.at(kind.into()), far(53), b"")),
        }
    }

    fn host(&self, number: u8) -> LabPort {
        [self.router, self.a, self.b, self.other][usize::from(number) % 4]
    }

    fn run(&mut self, step: &Step) -> Vec<(PortId, Vec<u8>)> {
        match step {
            Step::Frame { kind, changes, len } => {
                let (from, mut frame) = self.frame(*kind);
                for (at, value) in changes {
                    if let Some(byte) = frame.get_mut(usize::from(*at)) {
                        *byte = *value;
                    }
                }
                if *len < 100 {
                    frame.truncate(frame.len().saturating_sub(usize::from(*len)).max(1));
                }
                if changes.len() % 2 == 1 && frame.len() > 80 {
                    fix_header_checksum(&mut frame);
                }
                self.lab.send(&from, &frame)
            }
            Step::Noise { from, bytes } => {
                let from = self.host(*from);
                let mut frame = [&from.gateway.0[..], &from.mac.0[..], bytes].concat();
                frame.truncate(100);
                self.lab.send(&from, &frame)
            }
            Step::Fragments { kind, id, size, take } => {
                let (from, frame) = self.frame(*kind);
                let pieces = build::fragments(&frame, *id, usize::from(*size) * 8);
                let chosen: Vec<_> = pieces
                    .into_iter()
                    .enumerate()
                    .filter(|(at, _)| take >> (at % 8) & 1 == 1)
                    .map(|(_, piece)| (from.port, piece))
                    .collect();
                self.lab.send_all(&chosen)
            }
            Step::Wait(millis) => self.lab.advance(Duration::from_millis(u64::from(*millis))),
            Step::Configure(what) => {
                self.configure(*what);
                Vec::new()
            }
        }
    }

    /// Changes something, or changes it back; refusals are part of it.
    fn configure(&mut self, what: u8) {
        let publish = Publish {
            protocol: 17,
            address: None,
            port: 5000,
            count: 10,
            network: BRIDGE,
            target: self.a.at(6000),
        };
        let route = "203.0.113.0/24".parse().unwrap();
        let command = match what % 12 {
            0 => Command::Publish(publish),
            1 => Command::Unpublish(publish),
            2 => Command::SetPortUp(self.a.port, false),
            3 => Command::SetPortUp(self.a.port, true),
            4 => Command::SetPortMtu(self.b.port, u16::from(what)),
            5 => Command::SetPortMtu(self.b.port, 1500),
            6 => Command::AddRoute(route, Lab::ROUTER),
            7 => Command::RemoveRoute(route),
            8 => Command::RemoveNetwork(OTHER),
            9 => Command::AddNetwork(OTHER, Lab::network_spec("other", OTHER_GATEWAY, 16)),
            10 => Command::RemovePort(self.other.port),
            _ => {
                Command::AddPort(self.other.port, PortSpec { network: OTHER, ..port_spec("again") })
            }
        };
        let _ = self.lab.apply(command);
    }

    fn check(&mut self, out: &[(PortId, Vec<u8>)]) {
        assert!(self.lab.is_balanced(), "{:?}", self.lab.engine.totals());
        for (port, frame) in out {
            // Nothing private leaves, and what is routed has a right header.
            if *port == self.router.port && frame.get(12..14) == Some(&[8, 0]) {
                assert!(tapway::packet::checksum::is_valid(
                    &frame[14..14 + usize::from(frame[14] & 0x0f) * 4]
                ));
                assert!(![172, 10].contains(&frame[26]), "{frame:02x?}");
            }
        }
        self.lab.run_timers();
        let now = self.lab.now();
        assert!(self.lab.engine.poll_timeout().is_none_or(|at| at > now));
    }
}

fn hold(mode: NatMode, steps: &[Step]) {
    let mut world = World::new(mode);
    for step in steps {
        let out = world.run(step);
        world.check(&out);
    }
    // When everybody is silent everything ends.
    world.lab.advance(Duration::from_secs(10_000));
    world.check(&[]);
    assert_eq!(world.lab.engine.session_usage().0, 0);
    assert_eq!(world.lab.engine.totals().waiting, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_books_balance(
        steps in proptest::collection::vec(step(), 1..120), mode in 0usize..4,
    ) {
        let modes = [NatMode::EimApdf, NatMode::EimEif, NatMode::EimAdf, NatMode::Apdm];
        hold(modes[mode], &steps);
    }

    #[test]
    fn the_same_steps_give_the_same_bytes(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let run = || {
            let mut world = World::new(NatMode::EimApdf);
            let out: Vec<_> = steps.iter().map(|step| world.run(step)).collect();
            (out, world.lab.engine.totals(), world.lab.drops())
        };
        prop_assert_eq!(run(), run());
    }
}
