//! Machines with a tapway each on one LAN, and the network "blue" over all of them.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::path::Path;

use serde_json::Value;

use crate::hosts::{Namespace, Switch, inside, output, run, text, unique};
use crate::machines::{Station, address, cable, set};

/// Address of the LAN's own machine, which tests may use as a router.
pub const ROUTER: &str = "192.0.2.254";

/// What the machines' tapways use to reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underlay {
    Socket,
    Uplink,
}

/// A machine, its tapway, a host with an address of its own and a name, and a port for others.
pub struct Machine {
    pub switch: Switch,
    /// From 1.
    pub number: usize,
    pub web: String,
    pub dock: String,
    /// The MACs that the dock's device came with, each time it was made.
    dock_macs: Vec<String>,
    pub netns: Namespace,
}

/// The machines, and the LAN's bridge with the ports `p1`, `p2` ...
pub struct Lan {
    pub machines: Vec<Machine>,
    pub bridge: Namespace,
}

impl Machine {
    /// Its tapway, killed before, is started again.
    pub fn restart(&mut self) {
        self.switch.restart();
        self.dock_macs.extend(mac_at(&self.dock));
    }
}

/// What a machine's configuration is about.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub number: usize,
    pub count: usize,
    /// The names of its hosts' namespaces.
    pub web: &'a str,
    pub dock: &'a str,
}

impl Lan {
    /// Machines with all others as peers and their hosts as endpoints, up.
    pub fn start(count: usize, underlay: Underlay) -> Self {
        Self::with(count, |place| (underlay == Underlay::Socket, config(place, underlay)))
    }

    /// Machines with configurations of their own; true: `eth0` has the machine's address.
    pub fn with(count: usize, config: impl Fn(Place<'_>) -> (bool, String)) -> Self {
        let bridge = Namespace::new("l");
        set(&bridge, &["link", "add", "lan", "type", "bridge"]);
        set(&bridge, &["link", "set", "lan", "up"]);
        address(&bridge, "lan", &format!("{ROUTER}/24"));
        let machines = (1..=count).map(|number| {
            let (web, dock) = (unique("w"), unique("d"));
            let (has_address, config) = config(Place { number, count, web: &web, dock: &dock });
            let netns = join(&bridge, number, has_address);
            let switch = Switch::start_in(Some(&netns.0), &config);
            let dock_macs = mac_at(&dock).into_iter().collect();
            Machine { switch, number, web, dock, dock_macs, netns }
        });
        Self { machines: machines.collect(), bridge }
    }

    /// Every ordered pair of different machines.
    pub fn pairs(&self) -> impl Iterator<Item = (&Machine, &Machine)> {
        let all = || self.machines.iter();
        all().flat_map(move |a| all().map(move |b| (a, b))).filter(|(a, b)| a.number != b.number)
    }

    /// No table of any machine says anything that is not so; `roamer` is where a further station
    /// is, by the machine's number.
    pub fn has_nothing_stale(&self, roamer: Option<(Station, usize)>) {
        for machine in &self.machines {
            let is_blue = |row: &&Value| row["network"] == "blue";
            let rows = machine.switch.json("fdb");
            for row in rows.as_array().unwrap().iter().filter(is_blue) {
                let mac = row["mac"].as_str().unwrap();
                let home = self.home_of(mac, roamer);
                let home = home.unwrap_or_else(|| panic!("nobody's: {row}"));
                let port = row["port"].as_str().unwrap_or("gateway");
                if home == machine.number {
                    let own = ["gateway".to_owned(), web(home), format!("dock{home}")];
                    assert!(own.contains(&port.to_owned()), "at {}: {row}", machine.number);
                } else {
                    assert_eq!(port, tunnel(home), "at {}: {row}", machine.number);
                }
            }
            let rows = machine.switch.json("neigh");
            for row in rows.as_array().unwrap().iter().filter(is_blue) {
                let (address, mac) = (row["address"].as_str().unwrap(), row["mac"].as_str());
                let is_right = mac.is_none_or(|mac| self.mac_of(address, roamer) == mac);
                assert!(is_right, "at {}: {row}", machine.number);
            }
            let rows = machine.switch.json("peers");
            let rows = rows.as_array().unwrap().iter();
            let peers: Vec<&str> = rows.clone().filter_map(|row| row["peer"].as_str()).collect();
            let others = self.machines.iter().map(|other| other.number);
            let others: Vec<String> =
                others.filter(|other| *other != machine.number).map(vtep).collect();
            assert_eq!(peers, others, "at {}", machine.number);
            for row in rows {
                let is_well = row["is_up"] == true && row["mtu"] == 1450 && row["endpoints"] == 1;
                assert!(is_well, "at {}: {row}", machine.number);
            }
        }
    }

    fn home_of(&self, mac: &str, roamer: Option<(Station, usize)>) -> Option<usize> {
        if let Some((_, at)) = roamer.filter(|(station, _)| station.mac == mac) {
            return Some(at);
        }
        let is_own = |machine: &&Machine| {
            let addresses = [web_address(machine.number), gateway(machine.number)];
            machine.dock_macs.iter().any(|own| own == mac)
                || addresses.iter().any(|address| mac_of(address) == mac)
        };
        self.machines.iter().find(is_own).map(|machine| machine.number)
    }

    fn mac_of(&self, address: &str, roamer: Option<(Station, usize)>) -> String {
        let roams = roamer.filter(|(station, _)| station.address == address);
        roams.map_or_else(|| mac_of(address), |(station, _)| station.mac.to_owned())
    }

    /// Ends all: frames were lost for reasons only that are meant, and nothing is left.
    pub fn end(self, allowed: &[&str]) {
        for machine in self.machines {
            let drops = machine.switch.json("drops");
            for row in drops.as_array().unwrap() {
                let reason = row["reason"].as_str().unwrap();
                assert!(allowed.contains(&reason), "at {}: {row}", machine.number);
            }
            assert_eq!(machine.switch.stop(), Some(0));
            let left = run(&["ip", "netns", "list"]);
            for netns in [&machine.web, &machine.dock] {
                let mark = format!("/run/tapway/netns/{netns}");
                assert!(!left.contains(netns) && !Path::new(&mark).exists(), "{left}");
            }
            // It had a port of its own, and it is free again.
            let sockets = text(&inside(&machine.netns.0, &["ss", "-Hlnu"]));
            assert_eq!(sockets, "");
        }
    }
}

/// A machine on a LAN's bridge, without a tapway yet.
pub fn join(bridge: &Namespace, number: usize, has_address: bool) -> Namespace {
    let (netns, port) = (Namespace::new("m"), format!("p{number}"));
    cable((bridge, &port), (&netns, "eth0"), 1500);
    set(bridge, &["link", "set", &port, "master", "lan"]);
    if has_address {
        address(&netns, "eth0", &format!("{}/24", vtep(number)));
    }
    netns
}

fn config(place: Place<'_>, underlay: Underlay) -> String {
    let Place { number, count, web: web_netns, dock } = place;
    let others = || (1..=count).filter(|other| *other != number);
    let peers: Vec<String> = others().map(|other| format!("\"{}\"", vtep(other))).collect();
    let endpoints: String = others()
        .map(|other| {
            format!(
                "[[endpoint]]\nnetwork = \"blue\"\nname = \"{}\"\naddress = \"{}\"\npeer = \"{}\"\n",
                web(other),
                web_address(other),
                vtep(other)
            )
        })
        .collect();
    let (kind, uplink) = match underlay {
        Underlay::Socket => ("socket", String::new()),
        Underlay::Uplink => (
            "uplink",
            format!(
                "[uplink]\nkind = \"device\"\ndevice = \"eth0\"\naddress = \"{}/24\"\n\
                 gateway = \"{ROUTER}\"\n",
                vtep(number)
            ),
        ),
    };
    // Each of another kind: with one worker, two, three.
    format!(
        "[dataplane]\nworkers = {number}\n{uplink}[vxlan]\nunderlay = \"{kind}\"\npeers = [{}]\n\
         [network.blue]\nsubnet = \"10.0.0.0/24\"\ngateway = \"{}\"\nvxlan = 42\n\
         [port.{}]\nnetwork = \"blue\"\nnetns = \"{web_netns}\"\naddress = \"{}\"\n\
         [port.dock{number}]\nnetwork = \"blue\"\nnetns = \"{dock}\"\n{endpoints}",
        peers.join(", "),
        gateway(number),
        web(number),
        web_address(number),
    )
}

/// A machine's address in the underlay.
pub fn vtep(number: usize) -> String {
    format!("192.0.2.{number}")
}

/// The name of its host.
pub fn web(number: usize) -> String {
    format!("web{number}")
}

/// That host's address.
pub fn web_address(number: usize) -> String {
    format!("10.0.0.{number}0")
}

/// Its gateway's.
pub fn gateway(number: usize) -> String {
    format!("10.0.0.{number}")
}

/// The port that leads to it from others.
pub fn tunnel(number: usize) -> String {
    format!("blue@{}", vtep(number))
}

/// Whatever a TAP gets by itself.
fn mac_at(netns: &str) -> Option<String> {
    let link = output(&["ip", "-n", netns, "-o", "link", "show", "dev", "eth0"]);
    let link = text(&link);
    let mut words = link.split_whitespace().skip_while(|word| *word != "link/ether");
    words.nth(1).map(str::to_owned)
}

/// As tapway derives it.
fn mac_of(address: &str) -> String {
    let octets: Vec<String> =
        address.split('.').map(|octet| format!("{:02x}", octet.parse::<u8>().unwrap())).collect();
    format!("02:42:{}", octets.join(":"))
}
