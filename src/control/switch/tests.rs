//! The switch over memory wires, with a broker that can be told to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::*;
use crate::control::config::Config;
use crate::control::registry::LinkState;
use crate::drop_reason::DropReason;
use crate::io::{
    DeviceChange, Netns, Opened, PortIo, PortPlan, ReceiveError, TransmitFile, WireEnd,
    WriteMethod, wire,
};
use crate::packet::{MacAddr, Received};
use crate::testkit::build;

/// Longest wait for what another thread does.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

pub(super) const CONFIG: &str = "
[uplink]
address = \"192.168.33.10/24\"
gateway = \"192.168.33.1\"
[network.bridge]
subnet = \"172.17.0.0/16\"
[port.a]
address = \"172.17.0.2\"
[port.b]
netns = \"b\"
address = \"172.17.0.3\"
";
const A: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

/// What the far side of the broker sees and decides.
#[derive(Default)]
pub(in crate::control) struct World {
    /// Far ends of what is open, by port.
    pub(in crate::control) ends: BTreeMap<String, WireEnd>,
    /// What `open` says to a port.
    refusals: BTreeMap<String, fn() -> OpenError>,
    /// Interfaces that cannot be made.
    pub(super) bad_interfaces: BTreeSet<String>,
    pub(super) closed: BTreeSet<String>,
    changes: Vec<DeviceChange>,
    pub(in crate::control) mtu: Option<u16>,
    pub(in crate::control) opens: usize,
    /// Whether the last `open` was to make a missing namespace.
    creates: Option<bool>,
    /// Ports that are written to as files which io_uring cannot write without waiting.
    files: BTreeSet<String>,
}

/// A wire whose frames leave by a file that refuses all of them.
struct FilePort {
    wire: WireEnd,
    file: std::fs::File,
}

impl PortIo for FilePort {
    fn raw_fd(&self) -> Option<RawFd> {
        self.wire.raw_fd()
    }

    fn max_frame(&self) -> usize {
        self.wire.max_frame()
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        self.wire.receive(room)
    }

    fn transmit_file(&self) -> Option<TransmitFile> {
        Some(TransmitFile { fd: self.file.as_raw_fd(), has_header: false })
    }

    fn send(&mut self, _: &[u8]) -> Result<(), DropReason> {
        Err(DropReason::TxError)
    }

    fn sender(&self) -> std::io::Result<Box<dyn PortIo>> {
        self.wire.sender()
    }
}

#[derive(Clone, Default)]
pub(in crate::control) struct FakeBroker(Arc<Mutex<World>>);

impl FakeBroker {
    pub(in crate::control) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Sends a frame into a port from the outside.
    pub(in crate::control) fn send(&self, port: &str, frame: &[u8]) {
        self.world().ends.get_mut(port).unwrap().send(frame).unwrap();
    }

    /// The next frame out of a port.
    pub(in crate::control) fn receive(&self, port: &str) -> Vec<u8> {
        let mut room = [0; 2048];
        let mut frame = Vec::new();
        wait_for(|| match self.world().ends.get_mut(port).unwrap().receive(&mut room) {
            Ok(received) => {
                frame = received.frame_in(&room).bytes.to_vec();
                true
            }
            Err(_) => false,
        });
        frame
    }
}

impl Broker for FakeBroker {
    fn open(&mut self, port: &str, plan: &PortPlan) -> Result<Opened, OpenError> {
        let mut world = self.world();
        world.opens += 1;
        if let PortPlan::Tap(tap) = plan {
            world.creates = match tap.netns {
                Some(Netns::Named { create, .. }) => Some(create),
                _ => None,
            };
            if world.bad_interfaces.contains(&tap.interface) {
                return Err(OpenError::NotFound {
                    what: tap.interface.clone(),
                    remedy: String::new(),
                });
            }
        }
        if let Some(refuse) = world.refusals.get(port) {
            return Err(refuse());
        }
        let (near, far) = wire().unwrap();
        world.ends.insert(port.to_owned(), far);
        let io: Box<dyn PortIo> = if world.files.contains(port) {
            let file = std::fs::File::options().write(true).open("/dev/full").unwrap();
            Box::new(FilePort { wire: near, file })
        } else {
            Box::new(near)
        };
        Ok(Opened { io, mtu: world.mtu, station: None, description: format!("wire {port}") })
    }

    fn close(&mut self, port: &str) {
        self.world().closed.insert(port.to_owned());
    }

    fn poll_changes(&mut self) -> Vec<DeviceChange> {
        std::mem::take(&mut self.world().changes)
    }

    fn outside_hint(&self, _plan: &PortPlan) -> Option<String> {
        None
    }
}

pub(in crate::control) fn wait_for(mut is_so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if is_so() {
            return;
        }
        std::thread::sleep(STEP);
    }
    panic!("it did not happen within {PATIENCE:?}");
}

fn model() -> Model {
    Model::new(&Config::parse("f", CONFIG).unwrap().config)
}

pub(super) fn start(broker: &FakeBroker) -> (Switch, Registry) {
    let registry = Registry::default();
    let switch =
        Switch::start(model(), Box::new(broker.clone()), registry.clone(), Vec::new()).unwrap();
    (switch, registry)
}

/// A asks for the gateway's MAC and gets it; announcements before the answer are skipped.
pub(super) fn gateway_answers(broker: &FakeBroker) {
    let request = build::arp_request(MacAddr::from_ipv4(A), A, GATEWAY);
    broker.send("a", &request);
    let to_a = MacAddr::from_ipv4(A).0;
    while broker.receive("a")[..6] != to_a {}
}

pub(in crate::control) fn mtu_of(switch: &Switch, port: &str) -> (u16, bool) {
    let stats = switch.worker().query(|engine, _| engine.port_stats()).unwrap();
    let (_, stats) = stats.into_iter().find(|(_, stats)| stats.port == port).unwrap();
    (stats.mtu, stats.is_up)
}

pub(super) fn state(registry: &Registry, port: &str) -> LinkState {
    registry.get(port).unwrap().state
}

#[test]
fn what_is_shown_of_a_link_follows_when_io_uring_is_given_up() {
    let broker = FakeBroker::default();
    broker.world().files.insert("b".to_owned());
    let (switch, registry) = start(&broker);
    let description = || registry.get("b").unwrap().description;
    assert_eq!(description(), "wire b offloads none io io_uring");
    // More than one frame at once, sooner or later.
    let hello = build::arp_request(MacAddr::from_ipv4(A), A, A);
    wait_for(|| {
        (0..16).for_each(|_| broker.send("a", &hello));
        description() == "wire b offloads none io write"
    });
    assert_eq!(switch.worker().write_method(), WriteMethod::Write);
    assert_eq!(registry.get("a").unwrap().description, "wire a");
}

#[test]
fn frames_pass_and_stopping_closes_every_device() {
    let broker = FakeBroker::default();
    let (switch, registry) = start(&broker);
    gateway_answers(&broker);
    let link = registry.get("a").unwrap();
    assert_eq!((link.state, link.address), (LinkState::Up, Some(A)));
    assert_eq!(link.description, "wire a");
    assert!(!switch.has_ended());
    switch.stop();
    let mut world = broker.world();
    assert_eq!(world.closed.iter().collect::<Vec<_>>(), ["a", "b", "uplink"]);
    for end in world.ends.values_mut() {
        let mut room = [0; 2048];
        while end.receive(&mut room).is_ok() {}
        assert!(matches!(end.receive(&mut room), Err(ReceiveError::Gone(_))));
    }
    assert_eq!(state(&registry, "a"), LinkState::Down);
}

#[test]
fn every_port_that_cannot_be_opened_is_told_and_the_others_are_closed_again() {
    let broker = FakeBroker::default();
    let missing: fn() -> OpenError =
        || OpenError::NotFound { what: "namespace x".to_owned(), remedy: "; make it".to_owned() };
    let denied: fn() -> OpenError = || OpenError::Permission { what: "/dev/net/tun".to_owned() };
    broker.world().refusals.insert("a".to_owned(), missing);
    broker.world().refusals.insert("uplink".to_owned(), denied);
    let error = Switch::start(model(), Box::new(broker.clone()), Registry::default(), Vec::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "port uplink: /dev/net/tun: permission denied; run as root, or give the binary \
         CAP_NET_ADMIN and CAP_SYS_ADMIN\nport a: namespace x does not exist; make it"
    );
    let mut world = broker.world();
    assert_eq!(world.closed.iter().collect::<Vec<_>>(), ["b"]);
    let end = world.ends.get_mut("b").unwrap();
    assert!(matches!(end.receive(&mut [0; 64]), Err(ReceiveError::Gone(_))));
}

#[test]
fn a_device_that_goes_takes_only_its_port_down_until_it_is_back() {
    let broker = FakeBroker::default();
    let (switch, registry) = start(&broker);
    assert_eq!(broker.world().creates, Some(true));
    let busy: fn() -> OpenError =
        || OpenError::Conflict { what: "eth0".to_owned(), remedy: "it is still going".to_owned() };
    broker.world().refusals.insert("b".to_owned(), busy);
    drop(broker.world().ends.remove("b"));
    wait_for(|| {
        registry.get("b").unwrap().last_error.as_deref() == Some("eth0: it is still going")
    });
    assert_eq!(state(&registry, "b"), LinkState::Down);
    assert!(!mtu_of(&switch, "b").1);
    assert_eq!(state(&registry, "a"), LinkState::Up);
    gateway_answers(&broker);

    broker.world().refusals.clear();
    broker.world().mtu = Some(1400);
    wait_for(|| state(&registry, "b") == LinkState::Up);
    assert_eq!(mtu_of(&switch, "b"), (1400, true));
    assert_eq!(registry.get("b").unwrap().last_error, None);
    // A namespace that was removed is not made again.
    assert_eq!(broker.world().creates, Some(false));
    // It announces the gateway on the new device.
    assert_eq!(broker.receive("b")[6..12], MacAddr::from_ipv4(GATEWAY).0);
    assert!(broker.world().closed.is_empty());
}

#[test]
fn changes_of_a_device_are_followed() {
    let broker = FakeBroker::default();
    let (switch, registry) = start(&broker);
    assert_eq!(mtu_of(&switch, "a"), (1500, true));
    let a = || "a".to_owned();
    broker.world().changes.push(DeviceChange::Mtu { port: a(), mtu: 1280 });
    wait_for(|| mtu_of(&switch, "a").0 == 1280);
    let before = broker.world().opens;
    let why = "its namespace is gone".to_owned();
    {
        // The wire breaks at the same moment: the worker tells of it too, and only once counts.
        let mut world = broker.world();
        drop(world.ends.remove("a"));
        world.changes.push(DeviceChange::Lost { port: a(), why });
    }
    wait_for(|| broker.world().opens > before);
    wait_for(|| state(&registry, "a") == LinkState::Up);
    assert_eq!(mtu_of(&switch, "a"), (1500, true));
    gateway_answers(&broker);
    assert_eq!(broker.world().opens, before + 1);
}

#[test]
fn a_capture_that_has_ended_is_not_opened_again() {
    let broker = FakeBroker::default();
    let text = "[network.bridge]\n[port.play]\nkind = \"replay\"\nfile = \"x.pcap\"";
    let model = Model::new(&Config::parse("f", text).unwrap().config);
    let registry = Registry::default();
    let _switch =
        Switch::start(model, Box::new(broker.clone()), registry.clone(), Vec::new()).unwrap();
    drop(broker.world().ends.remove("play"));
    wait_for(|| state(&registry, "play") == LinkState::Down);
    // Longer than between two attempts.
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(broker.world().opens, 1);
}
