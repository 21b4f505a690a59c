//! What passes between a network's hosts over two machines as it is, besides plain IPv4: tagged
//! frames where they may, classes and the marks of congestion.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/machines.rs"]
mod machines;
#[path = "support/pair.rs"]
mod pair;
#[path = "support/vteps.rs"]
mod vteps;

use std::net::Ipv4Addr;
use std::time::Duration;

use hosts::{inside, wait_for};
use machines::{Recording, must, reaches};
use pair::{DB, INNER_MTU, Lab, NEAR};
use tapway::io::{Broker, DevicePlan, LinuxBroker, PortIo, PortPlan};
use tapway::packet::{MacAddr, VNET_HEADER};
use vteps::{Kernel, Vtep, skip_unless_vxlan};

const TOOLS: [&str; 6] = ["ip", "nsenter", "ping", "tcpdump", "ethtool", "busybox"];

/// A station of its own beside a host, at the host's device.
struct Tagged {
    io: Box<dyn PortIo>,
    mac: MacAddr,
}

impl Tagged {
    fn at(netns: &str, last: u8) -> Self {
        let mac = MacAddr([2, 0, 0, 0, 7, last]);
        let plan = PortPlan::Device(DevicePlan {
            netns: Some(netns.to_owned()),
            device: "eth0".to_owned(),
            mac,
            addresses: vec![Ipv4Addr::new(10, 7, 0, last)],
            receive_buffer: 1 << 20,
        });
        Self { io: LinuxBroker::new().open("tagged", &plan).unwrap().io, mac }
    }

    /// Sends a frame in VLAN 7 until the other has it, or a second is over.
    fn reaches(&mut self, other: &mut Self) -> bool {
        let ethernet = [&other.mac.0[..], &self.mac.0, &[0x81, 0, 0, 7, 0x88, 0xb5]].concat();
        let frame = [&ethernet[..], &[0x5a; 46]].concat();
        let mut room = vec![0; VNET_HEADER + other.io.max_frame()];
        for _ in 0..50 {
            self.io.send(&frame).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            while let Ok(got) = other.io.receive(&mut room) {
                if got.frame_in(&room).bytes == frame {
                    return true;
                }
            }
        }
        false
    }
}

#[test]
fn tagged_frames_pass_where_they_may_and_are_lost_by_name_elsewhere() {
    if skip_unless_vxlan(&TOOLS) {
        return;
    }
    for carries_tags in [false, true] {
        let lab = Lab::with(&format!(", vlan_tags = {carries_tags}"));
        let kernel = Kernel::new(&lab.far, &["remote", NEAR], INNER_MTU);
        DB.appears(kernel.host());
        reaches(&lab.web, DB.address);
        let (mut near, mut far) = (Tagged::at(&lab.dock, 10), Tagged::at(kernel.host(), 20));
        assert_eq!(near.reaches(&mut far), carries_tags, "out");
        assert_eq!(far.reaches(&mut near), carries_tags, "in");
        // Those out went to the other hosts here at least: they are flooded.
        let lost = if carries_tags { 0 } else { 50 };
        assert_eq!(lab.switch.dropped("vxlan_tagged"), lost);
        drop(kernel);
        // No kernel here speaks what is inside.
        lab.ends(&["port_down", "vxlan_tagged", "device_rx_dropped"]);
    }
}

#[test]
fn class_and_congestion_of_the_way_pass_between_the_packets_outside_and_inside() {
    if skip_unless_vxlan(&[&TOOLS[..], &["nft"]].concat()) {
        return;
    }
    let lab = Lab::new();
    let kernel = Kernel::new(&lab.far, &["remote", NEAR, "tos", "inherit"], INNER_MTU);
    DB.appears(kernel.host());
    reaches(&lab.web, DB.address);
    let wire = Recording::start(&lab.far.0, "eth0", "udp");
    let host = Recording::start(&lab.web, "eth0", "icmp");
    let ping = |tos: &str| {
        let ping = ["ping", "-n", "-c", "1", "-W", "1", "-Q", tos, DB.address];
        inside(&lab.web, &ping).status.success()
    };
    // AF11, by a sender that takes marks; its echo returns in the same class.
    assert!(ping("0x2a"));
    wait_for("its datagrams", || wire.packets("ip[1] == 0x2a").len() == 2);
    assert_eq!(host.packets("icmp[0] == 0 and ip[1] == 0x2a").len(), 1);
    // The way back is congested.
    let mark = "add table ip way; add chain ip way out { type filter hook output priority 0; }; \
        add rule ip way out udp dport 4789 ip ecn set ce";
    must(&lab.far.0, &["nft", mark]);
    assert!(ping("0x2a"));
    wait_for("the mark", || host.packets("icmp[0] == 0 and ip[1] == 0x2b").len() == 1);
    assert!(!ping("0"), "who does not take marks gets nothing instead");
    assert!(lab.switch.dropped("vxlan_ecn") >= 1);
    must(&lab.far.0, &["nft", "delete", "table", "ip", "way"]);
    assert!(ping("0"));
    drop(kernel);
    lab.ends(&["port_down", "vxlan_ecn"]);
}
