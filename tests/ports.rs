//! TAPs through a worker: what the kernel gives and takes, and every frame it loses by name.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;

use std::time::Duration;

use netns::{Name, skipped};
use tapway::drop_reason::DropReason;
use tapway::engine::{Command, Engine, EngineConfig, NetworkSpec, PortSpec};
use tapway::id::{NetworkId, PortId};
use tapway::io::{
    Broker, Clock, Dataplane, DataplaneSettings, LinuxBroker, Netns, Opened, PortIo, PortPlan,
    ReceiveError, TapBackend, TapPlan, WireEnd, WorkerEvent, wire,
};
use tapway::packet::{MacAddr, Received, VNET_HEADER};
use tapway::switch::PortRole;

const TAP: PortId = PortId(0);
const WIRE: PortId = PortId(1);
const HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0a]);
const FAR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0b]);

/// A worker with a network of two ports: a TAP, and a wire whose far end the test holds.
struct Bench {
    worker: Dataplane,
    far: WireEnd,
    broker: LinuxBroker,
    netns: Name,
}

impl Bench {
    /// The TAP is open but not yet attached: the worker reads nothing.
    fn start(backend: TapBackend) -> (Self, Opened) {
        Self::start_with(backend, true)
    }

    fn start_with(backend: TapBackend, offload: bool) -> (Self, Opened) {
        let netns = Name::made();
        let mut broker = LinuxBroker::new();
        let plan = TapPlan { offload, ..plan(&netns, backend) };
        let opened = broker.open("web", &PortPlan::Tap(plan)).unwrap();
        netns.exec(&[
            "ip",
            "neigh",
            "add",
            "10.77.0.2",
            "lladdr",
            "02:00:00:00:00:0b",
            "dev",
            "eth0",
        ]);
        let engine = Engine::new(EngineConfig::with_sessions(16), 1, Clock.now());
        let worker = Dataplane::spawn(engine, DataplaneSettings::default()).unwrap();
        worker.apply(Command::AddNetwork(NetworkId(0), NetworkSpec::new("n", None))).unwrap();
        for (id, name) in [(TAP, "web"), (WIRE, "far")] {
            let spec = PortSpec {
                name: name.to_owned(),
                network: NetworkId(0),
                mtu: 9000,
                guard: None,
                host: None,
                static_macs: Vec::new(),
                role: PortRole::Hosts,
                is_up: true,
            };
            worker.apply(Command::AddPort(id, spec)).unwrap();
        }
        let (near, far) = wire().unwrap();
        worker.attach(WIRE, Box::new(near)).unwrap();
        (Self { worker, far, broker, netns }, opened)
    }

    fn attached(backend: TapBackend) -> Self {
        let (bench, opened) = Self::start(backend);
        bench.worker.attach(TAP, opened.io).unwrap();
        bench
    }

    /// All drops of the TAP's port, once `frames` of them are there.
    fn drops(&self, frames: u64) -> Vec<(String, u64)> {
        for _ in 0..500 {
            let rows = self.worker.query(|engine, _| engine.drop_rows()).unwrap();
            let rows = rows.into_iter().filter(|row| row.port == "web");
            let drops: Vec<_> = rows.map(|row| (row.reason, row.frames)).collect();
            if drops.iter().map(|(_, frames)| frames).sum::<u64>() >= frames {
                return drops;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("fewer than {frames} drops");
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        receive(&mut self.far, Duration::from_secs(2))
    }
}

fn plan(netns: &Name, backend: TapBackend) -> TapPlan {
    TapPlan {
        netns: Some(Netns::named(&**netns, false)),
        interface: "eth0".to_owned(),
        mac: Some(HOST_MAC),
        mtu: 1500,
        address: Some("10.77.0.1/24".parse().unwrap()),
        gateway: Some("10.77.0.254".parse().unwrap()),
        backend,
        offload: true,
        queues: 1,
    }
}

fn receive(io: &mut dyn PortIo, patience: Duration) -> Option<Vec<u8>> {
    let mut room = vec![0; VNET_HEADER + io.max_frame()];
    for _ in 0..=patience.as_millis() {
        match io.receive(&mut room) {
            Ok(got) => return Some(got.frame_in(&room).bytes.to_vec()),
            Err(ReceiveError::Empty) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error:?}"),
        }
    }
    None
}

/// A frame for the host of an EtherType that a packet socket there may take.
fn frame(payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(HOST_MAC.0);
    frame.extend(FAR_MAC.0);
    frame.extend([0x08, 0x06]);
    frame.resize(14 + payload, 0);
    frame
}

fn drop_of(reason: DropReason, frames: u64) -> Vec<(String, u64)> {
    vec![(reason.name().to_owned(), frames)]
}

#[test]
fn frames_pass_both_ways_by_either_backend() {
    if skipped() {
        return;
    }
    for backend in [TapBackend::Own, TapBackend::TunTap] {
        let mut bench = Bench::attached(backend);
        let host = bench.netns.udp("10.77.0.1:1000");
        host.send_to(b"hello", "10.77.0.2:2000").unwrap();
        let mut frame = bench.receive().unwrap();
        assert_eq!(frame[..12], [FAR_MAC.0, HOST_MAC.0].concat());
        assert_eq!(&frame[42..], b"hello");
        // Back: exchange MACs, addresses and ports; the checksums stay right.
        let [dst, src] = [frame[..6].to_vec(), frame[6..12].to_vec()];
        frame[..12].copy_from_slice(&[src, dst].concat());
        let addresses = [frame[30..34].to_vec(), frame[26..30].to_vec()].concat();
        frame[26..34].copy_from_slice(&addresses);
        let ports = [frame[36..38].to_vec(), frame[34..36].to_vec()].concat();
        frame[34..38].copy_from_slice(&ports);
        bench.far.send(&frame).unwrap();
        host.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut room = [0; 16];
        let (len, from) = host.recv_from(&mut room).unwrap();
        assert_eq!((&room[..len], from.to_string()), (&b"hello"[..], "10.77.0.2:2000".to_owned()));
        assert_eq!(bench.drops(0), vec![]);
    }
}

#[test]
fn a_tap_is_set_up_as_planned_and_goes_with_its_broker() {
    if skipped() {
        return;
    }
    let (bench, opened) = Bench::start(TapBackend::Own);
    assert_eq!(opened.mtu, Some(1500));
    assert_eq!(opened.description, format!("tap eth0 netns {}", &*bench.netns));
    let link = bench.netns.exec(&["ip", "-o", "link", "show", "eth0"]);
    assert!(link.contains(",UP") && link.contains("mtu 1500"), "{link}");
    assert!(link.contains("02:00:00:00:00:0a"), "{link}");
    let address = bench.netns.exec(&["ip", "-o", "-4", "addr", "show", "eth0"]);
    assert!(address.contains("10.77.0.1/24"), "{address}");
    let route = bench.netns.exec(&["ip", "route", "show", "default"]);
    assert!(route.starts_with("default via 10.77.0.254 dev eth0"), "{route}");
    drop(opened);
    assert!(!bench.netns.exec(&["ip", "-o", "link"]).contains("eth0"));
    drop(bench.broker);
    assert!(bench.netns.exists(), "a namespace that tapway did not make stays");
}

#[test]
fn frame_larger_than_the_room_is_counted_as_truncated() {
    if skipped() {
        return;
    }
    let (bench, opened) = Bench::start_with(TapBackend::Own, false);
    bench.worker.attach(TAP, opened.io).unwrap();
    bench.netns.exec(&["ip", "link", "set", "eth0", "mtu", "60000"]);
    let host = bench.netns.udp("10.77.0.1:1000");
    // The largest that fits: 9234 bytes of frame are 9192 of payload.
    host.send_to(&[0; 9192], "10.77.0.2:2000").unwrap();
    host.send_to(&[0; 9193], "10.77.0.2:2000").unwrap();
    host.send_to(&[0; 20_000], "10.77.0.2:2000").unwrap();
    let mut expected = drop_of(DropReason::Oversize, 1);
    expected.extend(drop_of(DropReason::ReadTruncated, 2));
    assert_eq!(bench.drops(3), expected);
}

#[test]
fn frame_for_a_tap_that_is_down_is_a_tx_error_once() {
    if skipped() {
        return;
    }
    let mut bench = Bench::attached(TapBackend::Own);
    bench.far.send(&frame(46)).unwrap();
    bench.netns.exec(&["ip", "link", "set", "eth0", "down"]);
    for _ in 0..3 {
        bench.far.send(&frame(46)).unwrap();
    }
    assert_eq!(bench.drops(3), drop_of(DropReason::TxError, 3));
    bench.netns.exec(&["ip", "link", "set", "eth0", "up"]);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(bench.drops(3), drop_of(DropReason::TxError, 3), "not counted twice");
}

#[test]
fn deleted_tap_takes_its_port_down() {
    if skipped() {
        return;
    }
    let mut bench = Bench::attached(TapBackend::Own);
    bench.netns.exec(&["ip", "link", "del", "eth0"]);
    let event = bench.worker.events().recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(matches!(event, WorkerEvent::PortGone { port: TAP, .. }), "{event:?}");
    // Opened again by the same plan.
    let plan = PortPlan::Tap(plan(&bench.netns, TapBackend::Own));
    let opened = bench.broker.open("web", &plan).unwrap();
    bench.worker.attach(TAP, opened.io).unwrap();
    bench.worker.apply(Command::SetPortUp(TAP, true)).unwrap();
    bench.netns.exec(&[
        "ip",
        "neigh",
        "add",
        "10.77.0.2",
        "lladdr",
        "02:00:00:00:00:0b",
        "dev",
        "eth0",
    ]);
    bench.netns.udp("10.77.0.1:1000").send_to(b"back", "10.77.0.2:2000").unwrap();
    assert_eq!(&bench.receive().unwrap()[42..], b"back");
}

#[test]
fn frame_for_a_deleted_tap_is_counted_as_device_gone() {
    if skipped() {
        return;
    }
    let (bench, mut opened) = Bench::start(TapBackend::Own);
    bench.netns.exec(&["ip", "link", "del", "eth0"]);
    assert_eq!(opened.io.send(&frame(46)), Err(DropReason::TxDeviceGone));
    assert!(matches!(opened.io.receive(&mut [0; 64]), Err(ReceiveError::Gone(_))));
    // Through a worker that has not been told by the device: it never waits for this one.
    let (bench, opened) = Bench::start(TapBackend::Own);
    let mut far = bench.far;
    bench.worker.attach(TAP, Box::new(Unwatched(opened.io))).unwrap();
    bench.netns.exec(&["ip", "link", "del", "eth0"]);
    far.send(&frame(46)).unwrap();
    let event = bench.worker.events().recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(matches!(event, WorkerEvent::PortGone { port: TAP, .. }), "{event:?}");
    let rows = bench.worker.query(|engine, _| engine.drop_rows()).unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| (row.port, row.reason, row.frames)).collect();
    assert_eq!(rows, vec![("web".to_owned(), "tx_device_gone".to_owned(), 1)]);
}

/// A device that never has a frame to give.
struct Unwatched(Box<dyn PortIo>);

impl PortIo for Unwatched {
    fn raw_fd(&self) -> Option<i32> {
        None
    }

    fn max_frame(&self) -> usize {
        self.0.max_frame()
    }

    fn receive(&mut self, _: &mut [u8]) -> Result<Received, ReceiveError> {
        Err(ReceiveError::Empty)
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        self.0.send(frame)
    }

    fn sender(&self) -> std::io::Result<Box<dyn PortIo>> {
        self.0.sender()
    }
}

#[test]
fn frames_the_kernel_dropped_on_the_way_to_tapway_are_counted() {
    if skipped() {
        return;
    }
    let (mut bench, opened) = Bench::start(TapBackend::Own);
    bench.netns.exec(&["ip", "link", "set", "eth0", "txqueuelen", "10"]);
    let host = bench.netns.udp("10.77.0.1:1000");
    for _ in 0..25 {
        host.send_to(b"burst", "10.77.0.2:2000").unwrap();
    }
    bench.worker.attach(TAP, opened.io).unwrap();
    for _ in 0..10 {
        bench.receive().unwrap();
    }
    assert_eq!(bench.drops(1), drop_of(DropReason::DeviceTxDropped, 15));
    assert_eq!(bench.drops(1), drop_of(DropReason::DeviceTxDropped, 15), "reported once");
}

#[test]
fn frames_nobody_on_the_host_takes_are_counted() {
    if skipped() {
        return;
    }
    let mut bench = Bench::attached(TapBackend::Own);
    let mut frame = frame(46);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    for _ in 0..4 {
        bench.far.send(&frame).unwrap();
    }
    assert_eq!(bench.drops(4), drop_of(DropReason::DeviceRxDropped, 4));
}

#[test]
fn capture_is_replayed_whole_into_a_recorded_one() {
    use tapway::packet::pcap::{CapturedFrame, FrameDirection, Reader, Writer};
    let directory = tempfile::tempdir().unwrap();
    let (input, output) = (directory.path().join("in.pcapng"), directory.path().join("out.pcapng"));
    let frames: Vec<Vec<u8>> = (0..1000)
        .map(|number: u32| {
            let mut frame = [MacAddr::BROADCAST.0, FAR_MAC.0].concat();
            frame.extend([0x88, 0xb5]);
            frame.extend(number.to_be_bytes());
            frame.resize(60 + number as usize % 1000, 0);
            frame
        })
        .collect();
    let mut writer = Writer::new(std::fs::File::create(&input).unwrap(), 0).unwrap();
    writer.add_interface("a").unwrap();
    for frame in &frames {
        writer.write(&CapturedFrame::new(0, 1, FrameDirection::Received, frame)).unwrap();
    }
    let engine = Engine::new(EngineConfig::with_sessions(16), 1, Clock.now());
    let worker = Dataplane::spawn(engine, DataplaneSettings::default()).unwrap();
    worker.apply(Command::AddNetwork(NetworkId(0), NetworkSpec::new("n", None))).unwrap();
    let mut broker = LinuxBroker::new();
    let plans = [("out", PortPlan::Record(output.clone())), ("in", PortPlan::Replay(input))];
    for (id, (name, plan)) in plans.into_iter().enumerate() {
        let spec = PortSpec {
            name: name.to_owned(),
            network: NetworkId(0),
            mtu: 1500,
            guard: None,
            host: None,
            static_macs: Vec::new(),
            role: PortRole::Hosts,
            is_up: false,
        };
        worker.apply(Command::AddPort(PortId(id as u16), spec)).unwrap();
        worker.attach_up(PortId(id as u16), broker.open(name, &plan).unwrap().io).unwrap();
    }
    let event = worker.events().recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(matches!(event, WorkerEvent::PortGone { port: PortId(1), .. }), "{event:?}");
    assert_eq!(worker.query(|engine, _| engine.drop_rows()).unwrap(), []);
    let mut reader = Reader::new(std::fs::File::open(&output).unwrap()).unwrap();
    for frame in &frames {
        assert_eq!(reader.next_frame().unwrap().unwrap().data, frame);
    }
    assert!(reader.next_frame().unwrap().is_none());
}
