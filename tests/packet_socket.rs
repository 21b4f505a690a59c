//! Packet sockets on a veth, whose peer sends what hosts of one kernel send each other: partial
//! checksums, super-frames, tags.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use etherparse::{SlicedPacket, TransportSlice};
use netns::{Name, must, skipped};
use tapway::drop_reason::DropReason;
use tapway::engine::{Command, Engine, EngineConfig, NetworkSpec, PortSpec};
use tapway::id::{NetworkId, PortId};
use tapway::io::{
    Broker, Clock, Dataplane, DataplaneSettings, DevicePlan, LinuxBroker, Loss, Namespace, Netns,
    OpenError, PortIo, PortPlan, ReceiveError, TapBackend, TapPlan,
};
use tapway::packet::{FrameView, Headers, MacAddr, VNET_HEADER};
use tapway::switch::PortRole;

const OWN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x42]);

/// A veth between a peer's namespace and the one with tapway's device.
struct Link {
    peer: Name,
    near: Name,
}

impl Link {
    fn new() -> Self {
        let (peer, near) = (Name::made(), Name::made());
        let device = ["ip", "-n", &near, "link", "add", "dev0", "type", "veth"];
        must(&[&device[..], &["peer", "name", "eth0", "netns", &peer]].concat());
        peer.exec(&["ip", "addr", "add", "10.79.0.1/24", "dev", "eth0"]);
        peer.exec(&["ip", "link", "set", "eth0", "up"]);
        let mac = OWN_MAC.to_string();
        peer.exec(&["ip", "neigh", "add", "10.79.0.2", "lladdr", &mac, "dev", "eth0"]);
        near.exec(&["ip", "addr", "add", "10.79.0.9/24", "dev", "dev0"]);
        near.exec(&["ip", "link", "set", "dev0", "up"]);
        Self { peer, near }
    }

    fn plan(&self) -> DevicePlan {
        DevicePlan {
            netns: Some(self.near.to_string()),
            device: "dev0".to_owned(),
            mac: OWN_MAC,
            addresses: vec!["10.79.0.2".parse().unwrap()],
            receive_buffer: 1 << 20,
        }
    }

    fn open(&self) -> Box<dyn PortIo> {
        LinuxBroker::new().open("up", &PortPlan::Device(self.plan())).unwrap().io
    }

    /// Sends whole frames from the peer's side.
    fn sender(&self) -> Box<dyn PortIo> {
        let plan = DevicePlan {
            netns: Some(self.peer.to_string()),
            device: "eth0".to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0, 0x43]),
            addresses: vec!["10.79.0.3".parse().unwrap()],
            receive_buffer: 1 << 16,
        };
        LinuxBroker::new().open("peer", &PortPlan::Device(plan)).unwrap().io
    }
}

fn receive(io: &mut dyn PortIo) -> Option<Vec<u8>> {
    let mut room = vec![0; VNET_HEADER + io.max_frame()];
    for _ in 0..100 {
        match io.receive(&mut room) {
            Ok(got) => {
                let FrameView { bytes, offload } = got.frame_in(&room);
                let mut frame = bytes.to_vec();
                let headers = Headers::parse(&frame).unwrap();
                let offload = offload.admit(&headers, &mut frame).unwrap();
                return Some(FrameView { bytes: &frame, offload }.to_complete());
            }
            Err(ReceiveError::Empty) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error:?}"),
        }
    }
    None
}

fn frame(dst: MacAddr, kind: [u8; 2]) -> Vec<u8> {
    let mut frame = [dst.0, [2, 0, 0, 0, 0, 0x43]].concat();
    frame.extend(kind);
    frame.extend(0..50);
    frame
}

#[test]
fn datagram_of_a_host_on_this_kernel_arrives_with_a_whole_checksum() {
    if skipped() {
        return;
    }
    let link = Link::new();
    let mut device = link.open();
    link.peer.udp("10.79.0.1:1000").send_to(b"odd", "10.79.0.2:2000").unwrap();
    let frame = receive(&mut *device).unwrap();
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("{packet:?}") };
    let sum = udp.to_header().calc_checksum_ipv4_raw([10, 79, 0, 1], [10, 79, 0, 2], b"odd");
    assert_eq!((udp.payload(), udp.checksum()), (&b"odd"[..], sum.unwrap()));
}

#[test]
fn tags_that_the_kernel_took_off_are_put_back() {
    if skipped() {
        return;
    }
    let link = Link::new();
    let (mut device, mut sender) = (link.open(), link.sender());
    for tag in [vec![0x81, 0x00, 0x60, 0x05], vec![0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x06]]
    {
        let mut tagged = frame(OWN_MAC, [0x88, 0xb5]);
        tagged.splice(12..12, tag);
        sender.send(&tagged).unwrap();
        assert_eq!(receive(&mut *device), Some(tagged));
    }
}

#[test]
fn only_frames_for_tapway_and_for_groups_are_heard() {
    if skipped() {
        return;
    }
    let link = Link::new();
    let (mut device, mut sender) = (link.open(), link.sender());
    sender.send(&frame(MacAddr([2, 0, 0, 0, 0, 0x44]), [0x88, 0xb5])).unwrap();
    sender.send(&frame(MacAddr([2, 0, 0, 1, 0, 0x42]), [0x88, 0xb5])).unwrap();
    for dst in [OWN_MAC, MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        let frame = frame(dst, [0x88, 0xb5]);
        sender.send(&frame).unwrap();
        assert_eq!(receive(&mut *device), Some(frame));
    }
    assert_eq!(receive(&mut *device), None);
}

#[test]
fn frames_beyond_the_receive_buffer_are_counted_as_ring_overrun() {
    if skipped() {
        return;
    }
    let link = Link::new();
    let plan = DevicePlan { receive_buffer: 20_000, ..link.plan() };
    let mut device = LinuxBroker::new().open("up", &PortPlan::Device(plan)).unwrap().io;
    let mut sender = link.sender();
    for _ in 0..300 {
        sender.send(&frame(OWN_MAC, [0x88, 0xb5])).unwrap();
    }
    let received = std::iter::from_fn(|| receive(&mut *device)).count() as u64;
    assert!((1..300).contains(&received), "{received}");
    let expected = vec![Loss { reason: DropReason::RingOverrun, frames: 300 - received }];
    assert_eq!(device.poll_losses(), expected);
    assert_eq!(device.poll_losses(), vec![]);
}

#[test]
fn device_that_is_down_comes_back_and_one_that_is_deleted_is_gone() {
    if skipped() {
        return;
    }
    let link = Link::new();
    let (mut device, mut sender) = (link.open(), link.sender());
    link.near.exec(&["ip", "link", "set", "dev0", "down"]);
    assert_eq!(device.send(&frame(OWN_MAC, [0x88, 0xb5])), Err(DropReason::TxError));
    assert_eq!(receive(&mut *device), None);
    link.near.exec(&["ip", "link", "set", "dev0", "up"]);
    let frame = frame(OWN_MAC, [0x88, 0xb5]);
    sender.send(&frame).unwrap();
    assert_eq!(receive(&mut *device), Some(frame.clone()));
    link.near.exec(&["ip", "link", "del", "dev0"]);
    assert!(matches!(device.receive(&mut [0; 64]), Err(ReceiveError::Gone(_))));
    assert_eq!(device.send(&frame), Err(DropReason::TxDeviceGone));
}

#[test]
fn address_or_mac_of_the_host_is_refused() {
    if skipped() {
        return;
    }
    let link = Link::new();
    let mac = link.near.exec(&["cat", "/sys/class/net/dev0/address"]).trim().parse().unwrap();
    let plans = [
        (DevicePlan { mac, ..link.plan() }, "is that of dev0"),
        (
            DevicePlan {
                addresses: vec!["10.79.0.2".parse().unwrap(), "10.79.0.9".parse().unwrap()],
                ..link.plan()
            },
            "belongs to this host",
        ),
    ];
    for (plan, why) in plans {
        let refusal = LinuxBroker::new().open("up", &PortPlan::Device(plan)).err().unwrap();
        assert!(matches!(refusal, OpenError::Conflict { .. }), "{refusal}");
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
    let plan = DevicePlan { device: "nope0".to_owned(), ..link.plan() };
    let refusal = LinuxBroker::new().open("up", &PortPlan::Device(plan)).err().unwrap();
    assert!(matches!(refusal, OpenError::NotFound { .. }), "{refusal}");
}

#[test]
fn tcp_of_a_host_on_this_kernel_goes_through_in_segments() {
    if skipped() {
        return;
    }
    let link = Link::new();
    let host = Name::made();
    let mut broker = LinuxBroker::new();
    let tap = PortPlan::Tap(TapPlan {
        netns: Some(Netns::named(&*host, false)),
        interface: "eth0".to_owned(),
        mac: Some(OWN_MAC),
        mtu: 1500,
        address: Some("10.79.0.2/24".parse().unwrap()),
        gateway: None,
        backend: TapBackend::Own,
        queues: 1,
        offload: true,
    });
    let engine = Engine::new(EngineConfig::with_sessions(16), 1, Clock.now());
    let worker = Dataplane::spawn(engine, DataplaneSettings::default()).unwrap();
    worker.apply(Command::AddNetwork(NetworkId(0), NetworkSpec::new("n", None))).unwrap();
    let plans = [("host", tap), ("up", PortPlan::Device(link.plan()))];
    for (id, (name, plan)) in plans.into_iter().enumerate() {
        let spec = PortSpec {
            name: name.to_owned(),
            network: NetworkId(0),
            mtu: 1500,
            guard: None,
            host: None,
            static_macs: Vec::new(),
            role: PortRole::Hosts,
            is_up: true,
        };
        let id = PortId(id as u16);
        worker.apply(Command::AddPort(id, spec)).unwrap();
        worker.attach(id, broker.open(name, &plan).unwrap().io).unwrap();
    }
    // A socket belongs to the namespace of the thread that made it.
    let inside = Namespace::named(&host).unwrap();
    let listener = inside.run(|| Ok(TcpListener::bind("10.79.0.2:80").unwrap())).unwrap();
    let outside = Namespace::named(&link.peer).unwrap();
    let mut client = outside.run(|| Ok(TcpStream::connect("10.79.0.2:80").unwrap())).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let sent: Vec<u8> = (0..2_000_000_u32).map(|at| (at / 7) as u8).collect();
    transfer(&mut client, &mut server, &sent);
    transfer(&mut server, &mut client, &sent);
    let drops = worker.query(|engine, _| engine.drop_rows()).unwrap();
    let oversize = drops.iter().filter(|row| row.reason == "oversize").count();
    assert_eq!(oversize, 0, "{drops:?}");
}

fn transfer(from: &mut TcpStream, to: &mut TcpStream, sent: &[u8]) {
    to.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut received = vec![0; sent.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(sent).unwrap());
        to.read_exact(&mut received).unwrap();
    });
    assert!(received == sent, "what arrived differs");
}
