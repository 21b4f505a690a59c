//! Two TAPs joined without an engine: what is read from one is written to the other. The ceiling
//! that benchmarks compare a switch with, and the least use of `Devices` and `Egress`.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netns::{Name, skipped};
use tapway::id::PortId;
use tapway::io::{
    Devices, Egress, Faults, Namespace, Netns, Tap, TapBackend, TapPlan, WriteChoice,
};
use tapway::packet::{Burst, FrameRef, TxLists};

fn open(netns: &Name, address: &str) -> Tap {
    let plan = TapPlan {
        netns: Some(Netns::named(&**netns, false)),
        interface: "eth0".to_owned(),
        mac: None,
        mtu: 1500,
        address: Some(address.parse().unwrap()),
        gateway: None,
        backend: TapBackend::Own,
        queues: 1,
        offload: true,
    };
    Tap::open(&Namespace::named(netns).unwrap(), &plan).unwrap().0
}

/// Forwards between ports 0 and 1 until told to stop; gives the frames and the segments.
fn forward(mut devices: Devices, stop: &AtomicBool) -> (u64, u64) {
    let (mut egress, _) = Egress::open(WriteChoice::Auto).unwrap();
    let (mut burst, mut tx, mut faults) = (Burst::new(), TxLists::new(), Faults::default());
    let mut frames = 0;
    while !stop.load(Ordering::Relaxed) {
        devices.wait(Some(Duration::from_millis(10))).unwrap();
        while devices.has_ready() {
            burst.clear();
            tx.clear();
            devices.gather(&mut burst, &mut faults);
            for index in 0..burst.len() {
                let PortId(from) = burst.port(index).unwrap();
                tx.push(PortId(1 - from), FrameRef::Burst(index as u16));
            }
            frames += burst.len() as u64;
            egress.send(&mut tx, &mut burst, &mut devices, &mut faults);
        }
    }
    assert!(faults.gone.is_empty(), "{faults:?}");
    (frames, faults.drops.len() as u64)
}

#[test]
fn two_taps_are_joined_without_an_engine() {
    if skipped() {
        return;
    }
    const BYTES: usize = 8_000_000;
    let (near, far) = (Name::made(), Name::made());
    let mut devices = Devices::new().unwrap();
    devices.attach(PortId(0), Box::new(open(&near, "10.77.0.1/24"))).unwrap();
    devices.attach(PortId(1), Box::new(open(&far, "10.77.0.2/24"))).unwrap();
    let stop = AtomicBool::new(false);
    let (frames, drops) = std::thread::scope(|scope| {
        let forwarder = scope.spawn(|| forward(devices, &stop));
        let listener = Namespace::named(&far).unwrap();
        let listener = listener.run(|| Ok(TcpListener::bind("10.77.0.2:80").unwrap())).unwrap();
        let client = Namespace::named(&near).unwrap();
        let mut client = client.run(|| Ok(TcpStream::connect("10.77.0.2:80").unwrap())).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sent: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
        let mut received = vec![0; BYTES];
        scope.spawn(move || client.write_all(&sent).map(|()| sent).unwrap());
        server.read_exact(&mut received).unwrap();
        assert!(received.iter().enumerate().all(|(at, byte)| *byte == (at / 7) as u8));
        stop.store(true, Ordering::Relaxed);
        forwarder.join().unwrap()
    });
    assert_eq!(drops, 0);
    // In segments of 1448 bytes it would be 5525 frames, and the acknowledgements.
    assert!(frames < 3000, "{frames}");
}
