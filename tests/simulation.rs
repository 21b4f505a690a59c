//! smoltcp hosts and engines under a virtual clock, on wires that lose, repeat and reorder.
#![expect(clippy::unwrap_used, reason = "what a test takes for granted may fail it")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ipnet::Ipv4Net;
use tapway::engine::{Command, Engine, EngineConfig, PortSpec};
use tapway::id::PortId;
use tapway::nat::{Endpoint, Publish};
use tapway::switch::PortRole;
use tapway::testkit::probe::ProbeAnswer;
use tapway::testkit::{
    BRIDGE, EngineId, ExchangeId, HostId, HostSpec, Lab, Plug, Progress, UPLINK, WireQuality, World,
};

const SERVER: SocketAddrV4 = SocketAddrV4::new(Lab::ROUTER, 8080);
const BAD_WIRE: WireQuality = WireQuality {
    delay: Duration::from_micros(200),
    loss: 20,
    duplication: 10,
    reordering: 100,
    lateness: Duration::from_millis(3),
};

/// The tutorial's Docker host with a server outside and two hosts inside.
struct Scene {
    world: World,
    tapway: EngineId,
    outside: HostId,
    inside: [HostId; 2],
}

impl Scene {
    fn new(seed: u128, quality: WireQuality) -> Self {
        let mut world = World::new(seed);
        let mut engine = Engine::new(EngineConfig::with_sessions(1024), seed, world.now());
        let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
        uplink.is_outside = true;
        let bridge = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        let mut commands = vec![
            Command::AddNetwork(UPLINK, uplink),
            Command::AddNetwork(BRIDGE, bridge),
            Command::AddRoute(Ipv4Net::default(), Lab::ROUTER),
        ];
        for (port, network) in [(0, UPLINK), (1, BRIDGE), (2, BRIDGE)] {
            let spec = PortSpec {
                name: format!("p{port}"),
                network,
                mtu: 1500,
                guard: None,
                host: None,
                static_macs: Vec::new(),
                role: PortRole::Hosts,
                is_up: true,
            };
            commands.push(Command::AddPort(PortId(port), spec));
        }
        for command in commands {
            engine.apply(world.now(), command).unwrap();
        }
        let tapway = world.add_engine(engine);
        let mut host = |port, address: Ipv4Addr, prefix, gateway| {
            let address = Ipv4Net::new(address, prefix).unwrap();
            let host = world.add_host(&HostSpec::new(address, Some(gateway)));
            world.connect(Plug::Engine(tapway, PortId(port)), Plug::Host(host), quality);
            host
        };
        let outside = host(0, Lab::ROUTER, 24, Lab::EXTERNAL);
        let inside = [2, 3].map(|last| {
            host(u16::from(last) - 1, Ipv4Addr::new(172, 17, 0, last), 16, Lab::GATEWAY)
        });
        Self { world, tapway, outside, inside }
    }

    /// Lets a host return what it is sent behind its length, with the sender's address before.
    fn echo_server(&mut self, host: HostId, port: u16) {
        let service = |client: SocketAddrV4, request: &[u8]| {
            let len = u32::from_be_bytes(request.get(..4)?.try_into().ok()?) as usize;
            let data = request.get(4..4 + len)?;
            Some([client.ip().octets().as_slice(), data].concat())
        };
        self.world.host(host).unwrap().serve(port, Box::new(service));
    }

    fn exchange(&mut self, from: HostId, to: SocketAddrV4, data: &[u8]) -> ExchangeId {
        let request = [&(data.len() as u32).to_be_bytes(), data].concat();
        self.world.host(from).unwrap().exchange(to, &request).unwrap()
    }

    /// Runs until each exchange has `len` bytes; what each received.
    fn finish(&mut self, len: usize, exchanges: &[(HostId, ExchangeId)]) -> Vec<Vec<u8>> {
        let is_over = |world: &mut World| {
            exchanges.iter().all(|(host, id)| {
                let (progress, received) = world.host(*host).unwrap().progress(*id);
                progress == Progress::Failed || received.len() >= len
            })
        };
        assert!(self.world.run_until(Duration::from_secs(600), is_over), "never finished");
        exchanges
            .iter()
            .map(|(host, id)| {
                let (progress, received) = self.world.host(*host).unwrap().progress(*id);
                assert_ne!(progress, Progress::Failed);
                received.to_vec()
            })
            .collect()
    }
}

fn data(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251 + salt * 7) as u8).collect()
}

#[test]
fn tcp_through_napt_arrives_intact_over_wires_that_lose_and_reorder() {
    let mut ends = Vec::new();
    for seed in [1, 2, 3, 1] {
        let mut scene = Scene::new(seed, BAD_WIRE);
        scene.echo_server(scene.outside, 8080);
        let sent = [data(200_000, 1), data(200_000, 2)];
        let exchanges: Vec<(HostId, ExchangeId)> = (0..2)
            .map(|at| (scene.inside[at], scene.exchange(scene.inside[at], SERVER, &sent[at])))
            .collect();
        for (received, sent) in scene.finish(200_004, &exchanges).iter().zip(&sent) {
            assert_eq!(received[..4], Lab::EXTERNAL.octets(), "the server saw another client");
            assert!(received[4..] == sent[..], "seed {seed}: bytes differ");
        }
        let counts = scene.world.counts();
        assert!(counts.lost > 0 && counts.late > 0 && counts.duplicated > 0, "{counts:?}");
        let totals = scene.world.engine(scene.tapway).unwrap().totals();
        ends.push((scene.world.now(), counts, totals));
    }
    assert_eq!(ends[0], ends[3], "the same seed gave another run");
    assert_ne!(ends[0], ends[1]);
}

#[test]
fn published_port_and_hairpin_carry_data_over_bad_wires() {
    let mut scene = Scene::new(9, BAD_WIRE);
    let [server, neighbour] = scene.inside;
    scene.echo_server(server, 80);
    let publish = Publish {
        protocol: 6,
        address: None,
        port: 80,
        count: 1,
        network: BRIDGE,
        target: Endpoint::new(Ipv4Addr::new(172, 17, 0, 2), 80),
    };
    let now = scene.world.now();
    let engine = scene.world.engine(scene.tapway).unwrap();
    engine.apply(now, Command::Publish(publish)).unwrap();
    let clients = [
        (scene.outside, Lab::ROUTER),
        (neighbour, Ipv4Addr::new(172, 17, 0, 3)),
        (server, Lab::GATEWAY),
    ];
    let published = SocketAddrV4::new(Lab::EXTERNAL, 80);
    let sent = data(60_000, 5);
    let exchanges: Vec<(HostId, ExchangeId)> =
        clients.iter().map(|(host, _)| (*host, scene.exchange(*host, published, &sent))).collect();
    for (received, (_, seen)) in scene.finish(60_004, &exchanges).iter().zip(clients) {
        assert_eq!(received[..4], seen.octets());
        assert!(received[4..] == sent[..]);
    }
}

#[test]
fn pings_lose_one_ttl_per_hop_and_routers_answer_at_the_end_of_it() {
    let mut scene = Scene::new(4, WireQuality::perfect(Duration::from_micros(50)));
    let [host, neighbour] = scene.inside;
    let address = scene.world.host(neighbour).unwrap().address();
    let mut ping = |dst, ttl| {
        let probe = scene.world.host(host).unwrap().probe(dst, ttl);
        let mut answer = None;
        scene.world.run_until(Duration::from_secs(5), |world| {
            answer = world.host(host).unwrap().probe_answer(probe);
            answer.is_some()
        });
        answer
    };
    assert_eq!(ping(address, 64), Some(ProbeAnswer::Echo { from: address, ttl: 64 }));
    assert_eq!(ping(Lab::ROUTER, 64), Some(ProbeAnswer::Echo { from: Lab::ROUTER, ttl: 63 }));
    assert_eq!(ping(Lab::ROUTER, 1), Some(ProbeAnswer::TimeExceeded { from: Lab::GATEWAY }));
    let nobody = Ipv4Addr::new(172, 17, 0, 9);
    assert_eq!(ping(nobody, 64), None);
}
