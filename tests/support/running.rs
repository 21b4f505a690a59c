//! The tutorial's Docker host, running: a worker, two memory wires and the API on a socket.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command as Process, Output};
use std::sync::Arc;
use std::time::Duration;

use tapway::control::api::{self, ApiHandle, ApiState, Client};
use tapway::control::registry::{LinkInfo, LinkState, Registry};
use tapway::engine::{Command, Engine, EngineConfig, PortSpec, Share};
use tapway::id::{NetworkId, PortId};
use tapway::io::{Clock, Dataplane, DataplaneSettings, PortIo, ReceiveError, WireEnd, wire};
use tapway::nat::{Endpoint, Publish};
use tapway::packet::MacAddr;
use tapway::packet::tcp::SYN;
use tapway::switch::PortRole;
use tapway::testkit::Lab;
use tapway::testkit::build::{self, Hop};

pub const HOST: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
pub const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const UPLINK: NetworkId = NetworkId(0);
const BRIDGE: NetworkId = NetworkId(1);
const UPLINK_PORT: PortId = PortId(0);
const HOST_PORT: PortId = PortId(1);

pub struct Running {
    /// None once it was stopped.
    pub api: Option<ApiHandle>,
    pub state: ApiState,
    pub router: WireEnd,
    pub host: WireEnd,
    pub socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Running {
    /// Configured, published port 80, no traffic yet.
    pub fn start() -> Self {
        let engine = Engine::new(EngineConfig::with_sessions(1024), 0x5eed, Clock.now());
        Self::with(Dataplane::spawn(engine, DataplaneSettings::default()).unwrap())
    }

    /// The same carried by several workers.
    pub fn start_with_workers(workers: u8) -> Self {
        let (config, settings) = (EngineConfig::with_sessions(1024), DataplaneSettings::default());
        let engines = Share::of(workers.into())
            .into_iter()
            .map(|share| Engine::with_share(config, 0x5eed, Clock.now(), share));
        let settings = DataplaneSettings { workers, ..settings };
        Self::with(Dataplane::spawn_crew(engines.collect(), settings).unwrap())
    }

    fn with(dataplane: Dataplane) -> Self {
        let worker = Arc::new(dataplane);
        let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
        uplink.is_outside = true;
        let target = Endpoint::new(HOST, 80);
        let publish =
            Publish { protocol: 6, address: None, port: 80, count: 1, network: BRIDGE, target };
        let port = |name: &str, network, static_macs| PortSpec {
            name: name.to_owned(),
            network,
            mtu: 1500,
            guard: None,
            host: None,
            static_macs,
            role: PortRole::Hosts,
            is_up: false,
        };
        for command in [
            Command::AddNetwork(UPLINK, uplink),
            Command::AddNetwork(BRIDGE, Lab::network_spec("bridge", Lab::GATEWAY, 16)),
            Command::AddRoute(ipnet::Ipv4Net::default(), Lab::ROUTER),
            Command::AddPort(UPLINK_PORT, port("uplink", UPLINK, Vec::new())),
            Command::AddPort(HOST_PORT, port("nginx1", BRIDGE, vec![MacAddr::from_ipv4(HOST)])),
            Command::Publish(publish),
        ] {
            worker.apply(command).unwrap();
        }
        let (near_router, router) = wire().unwrap();
        let (near_host, host) = wire().unwrap();
        worker.attach(UPLINK_PORT, Box::new(near_router)).unwrap();
        worker.attach(HOST_PORT, Box::new(near_host)).unwrap();
        // Up once they have a device, or the gateway's announcement would be lost.
        for port in [UPLINK_PORT, HOST_PORT] {
            worker.apply(Command::SetPortUp(port, true)).unwrap();
        }
        let registry = Registry::default();
        registry.set(
            "nginx1",
            LinkInfo {
                description: "tap eth0 netns nginx1".to_owned(),
                state: LinkState::Up,
                mac: Some(MacAddr::from_ipv4(HOST)),
                address: Some(HOST),
                last_error: None,
            },
        );
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("tapway.sock");
        let state = ApiState::new(worker, registry);
        let api = Some(api::serve(&socket, state.clone()).unwrap());
        Self { api, state, router, host, socket, _directory: directory }
    }

    /// A query and its answer, an echo without one, and a SYN to a port nobody published.
    pub fn traffic(&mut self) {
        let (router, host) = (self.router_hop(), self.host_hop());
        self.router_sends(&build::arp_request(router.src_mac, Lab::ROUTER, Lab::EXTERNAL));
        self.host_sends(&build::arp_request(host.src_mac, HOST, Lab::GATEWAY));
        let (near, far) = (Endpoint::new(HOST, 5000), Endpoint::new(FAR, 53));
        self.host_sends(&build::udp(host, near, far, b"query"));
        receive(&mut self.router, |frame| frame.ends_with(b"query"));
        let external = Endpoint::new(Lab::EXTERNAL, 5000);
        self.router_sends(&build::udp(router, far, external, b"answer"));
        receive(&mut self.host, |frame| frame.ends_with(b"answer"));
        self.host_sends(&build::echo(host, HOST, FAR, 77, false));
        receive(&mut self.router, |frame| frame.get(23) == Some(&1));
        self.closed_port();
    }

    /// A SYN from outside to port 81.
    pub fn closed_port(&mut self) {
        let (src, dst) = (Endpoint::new(Lab::ROUTER, 40_000), Endpoint::new(Lab::EXTERNAL, 81));
        let before = self.dropped();
        self.router_sends(&build::tcp(self.router_hop(), src, dst, SYN, b""));
        for _ in 0..2000 {
            if self.dropped() > before {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the SYN was not dropped");
    }

    pub fn router_sends(&mut self, frame: &[u8]) {
        self.router.send(frame).unwrap();
    }

    pub fn host_sends(&mut self, frame: &[u8]) {
        self.host.send(frame).unwrap();
    }

    pub fn router_hop(&self) -> Hop {
        Hop::new(MacAddr::from_ipv4(Lab::ROUTER), MacAddr::from_ipv4(Lab::EXTERNAL))
    }

    pub fn host_hop(&self) -> Hop {
        Hop::new(MacAddr::from_ipv4(HOST), MacAddr::from_ipv4(Lab::GATEWAY))
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket).unwrap()
    }

    /// The command of the built binary on this socket.
    pub fn tapway(&self, arguments: &[&str]) -> Process {
        let mut process = Process::new(env!("CARGO_BIN_EXE_tapway"));
        process.env("TAPWAY_SOCKET", &self.socket).args(arguments);
        process
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.tapway(arguments).output().unwrap()
    }

    /// Its stdout, if it ends well.
    pub fn shown(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn dropped(&self) -> u64 {
        self.state.worker.query(|engine, _| engine.totals().dropped).unwrap()
    }
}

/// The next frame of a kind.
pub fn receive(end: &mut WireEnd, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut room = [0; 9216];
    for _ in 0..5000 {
        match end.receive(&mut room) {
            Ok(got) => {
                let frame = got.frame_in(&room).bytes;
                if is_wanted(frame) {
                    return frame.to_vec();
                }
            }
            Err(ReceiveError::Empty) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the frame did not come");
}
