//! A machine with a tapway and one without, and a network over both.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::net::IpAddr;

use crate::hosts::{Namespace, Switch, unique};
use crate::machines::{Station, address, cable, must, reaches, stream};
use crate::vteps::VNI;

/// The machines in the underlay, tapway's first.
pub const NEAR: &str = "192.0.2.1";
pub const FAR: &str = "192.0.2.2";
/// A host of each in the network.
pub const WEB: Station = Station { mac: "02:42:0a:00:00:0a", address: "10.0.0.10" };
pub const DB: Station = Station { mac: "02:00:00:00:00:14", address: "10.0.0.20" };
/// What fits into a tunnel over Ethernet.
pub const INNER_MTU: u16 = 1450;

/// tapway's machine with two hosts, and the other machine.
pub struct Lab {
    pub switch: Switch,
    pub near: Namespace,
    pub far: Namespace,
    pub web: String,
    pub dock: String,
}

impl Lab {
    /// Both machines on one cable.
    pub fn new() -> Self {
        Self::with("")
    }

    /// The same with more keys of the network's `vxlan`.
    pub fn with(more: &str) -> Self {
        let (near, far) = (Namespace::new("n"), Namespace::new("f"));
        cable((&near, "eth0"), (&far, "eth0"), 1500);
        address(&near, "eth0", &format!("{NEAR}/24"));
        address(&far, "eth0", &format!("{FAR}/24"));
        Self::start((near, far), ("[vxlan]\nunderlay = \"socket\"\n", FAR), more)
    }

    /// With the machines, what tapway's underlay and its peer are, and more keys of the network's
    /// `vxlan`.
    pub fn start(
        (near, far): (Namespace, Namespace),
        (underlay, peer): (&str, &str),
        more: &str,
    ) -> Self {
        let (web, dock) = (unique("a"), unique("b"));
        let switch = Switch::start_in(
            Some(&near.0),
            &format!(
                "{underlay}[network.blue]\nsubnet = \"10.0.0.0/24\"\n\
                 vxlan = {{ vni = {VNI}, peers = [\"{peer}\"]{more} }}\n\
                 [port.web]\nnetwork = \"blue\"\nnetns = \"{web}\"\naddress = \"{}\"\n\
                 [port.dock]\nnetwork = \"blue\"\nnetns = \"{dock}\"\n",
                WEB.address
            ),
        );
        Self { switch, near, far, web, dock }
    }

    /// A ping each way, then so many bytes by TCP.
    pub fn talks_with(&self, host: &str, len: u64) {
        DB.appears(host);
        reaches(&self.web, DB.address);
        reaches(host, WEB.address);
        stream(&self.web, (host, ip(DB.address)), len);
        stream(host, (&self.web, ip(WEB.address)), len);
        let full = ["ping", "-n", "-c", "1", "-W", "3", "-M", "do", "-s", "1422", DB.address];
        must(&self.web, &full);
    }

    /// The ports behind which a MAC is.
    pub fn ports_of(&self, mac: &str) -> Vec<String> {
        let rows = self.switch.json("fdb");
        let rows = rows.as_array().unwrap().iter().filter(|row| row["mac"] == mac);
        rows.map(|row| row["port"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends the switch: every frame that came is accounted for, and those that were lost are lost
    /// for reasons that are meant.
    pub fn ends(self, allowed: &[&str]) {
        let drops = self.switch.json("drops");
        for row in drops.as_array().unwrap() {
            let reason = row["reason"].as_str().unwrap();
            assert!(allowed.contains(&reason), "{row}");
        }
        let totals = self.switch.json("stats")["totals"].clone();
        let count = |name: &str| totals[name].as_u64().unwrap();
        let ended = ["forwarded", "flooded", "local", "dropped", "waiting"].map(count);
        assert_eq!(count("received"), ended.iter().sum::<u64>(), "{totals}");
        assert_eq!(self.switch.stop(), Some(0));
    }
}

pub fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}
