//! The desired state against a switch over memory wires.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::*;
use crate::control::config::Origin;
use crate::control::learned_peers::LearnedPeers;
use crate::control::registry::Registry;
use crate::control::rejection::RejectionKind;
use crate::control::switch::Switch;
use crate::control::switch::tests::{FakeBroker, mtu_of, wait_for};
use crate::control::tables;
use crate::control::tunnel_tables::TunnelTables;
use crate::packet::MacAddr;
use crate::packet::vxlan::{Outer, Vni};
use crate::testkit::build;

const TEXT: &str = "
[vxlan]
address = \"192.0.2.1\"
[network.blue]
subnet = \"10.0.0.0/24\"
vxlan = { vni = 42, peers = [\"192.0.2.2\"] }
[network.open]
vxlan = { vni = 43, accept = \"any\" }
[network.alone]
[port.a]
network = \"open\"
[[endpoint]]
network = \"blue\"
address = \"10.0.0.9\"
peer = \"192.0.2.2\"
";

fn peer(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn host(last: u8, peer_at: u8) -> RemoteHost {
    let address = Ipv4Addr::new(10, 0, 0, last);
    RemoteHost { address, name: Some(format!("h{last}")), mac: None, peer: peer(peer_at) }
}

struct Running {
    control: Control,
    switch: Switch,
    broker: FakeBroker,
    registry: Registry,
}

fn start(directory: &Path) -> Running {
    let file = directory.join("f.toml");
    std::fs::write(&file, TEXT).unwrap();
    let store = Store::in_directory(&directory.join("state")).unwrap();
    let desired = Desired::load(&Origin::File(file), &store, &[]).unwrap();
    let (broker, registry) = (FakeBroker::default(), Registry::default());
    // The path to every peer is narrow.
    broker.world().mtu = Some(1400);
    let (learned, learner) = LearnedPeers::new();
    let model = crate::control::model::Model::clone(desired.model());
    let (own, followers) = (Box::new(broker.clone()), vec![Box::new(learned) as Box<_>]);
    let switch = Switch::start(model, own, registry.clone(), followers).unwrap();
    let control = Control::new(desired, switch.orders().clone(), store);
    learner.start(control.clone()).unwrap();
    Running { control, switch, broker, registry }
}

impl Running {
    /// What changed, as it is printed.
    fn edit(
        &self,
        edit: impl FnOnce(&mut Draft<'_>) -> Result<(), crate::control::rejection::Rejection>,
    ) -> Vec<String> {
        let edited = self.control.edit(edit).unwrap_or_else(|error| panic!("{error}"));
        edited.rows.iter().map(ToString::to_string).collect()
    }

    fn refused(
        &self,
        edit: impl FnOnce(&mut Draft<'_>) -> Result<(), crate::control::rejection::Rejection>,
    ) -> (RejectionKind, String) {
        let rejection = self.control.edit(edit).unwrap_err();
        (rejection.kind, rejection.to_string())
    }

    fn statics(&self) -> Vec<(String, String)> {
        let rows = tables::fdb(self.switch.worker()).unwrap().into_iter();
        let rows = rows.filter(|row| row.is_static);
        let mut all: Vec<_> =
            rows.filter_map(|row| Some((row.mac.to_string(), row.port?))).collect();
        all.sort();
        all
    }
}

#[test]
fn peers_and_endpoints_may_be_said_again_and_touch_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let lab = start(directory.path());
    let opens = lab.broker.world().opens;
    let added = lab.edit(|draft| draft.put_peer("blue", peer(3)));
    assert_eq!(added, ["+ peer 192.0.2.3 network blue"]);
    assert!(lab.edit(|draft| draft.put_peer("blue", peer(3))).is_empty());
    assert!(lab.edit(|draft| draft.put_peer("blue", peer(2))).is_empty(), "the file's own");
    let added = lab.edit(|draft| draft.put_endpoint("blue", host(7, 3)));
    assert_eq!(added, ["+ endpoint 10.0.0.7 network blue 02:42:0a:00:00:07 peer 192.0.2.3"]);
    assert!(lab.edit(|draft| draft.put_endpoint("blue", host(7, 3))).is_empty());
    let moved = lab.edit(|draft| draft.put_endpoint("blue", host(7, 2)));
    assert_eq!(moved, ["~ endpoint 10.0.0.7 network blue 02:42:0a:00:00:07 peer 192.0.2.2"]);
    let at = |port: &str| port.to_owned();
    assert_eq!(
        lab.statics(),
        [
            (at("02:42:0a:00:00:07"), at("blue@192.0.2.2")),
            (at("02:42:0a:00:00:09"), at("blue@192.0.2.2"))
        ]
    );
    assert_eq!(lab.broker.world().opens, opens + 1, "the new tunnel, and no other device");
    assert_eq!(mtu_of(&lab.switch, "blue@192.0.2.2"), (1400, true), "as its path says");
    let names = lab.control.model().names.rows();
    assert_eq!((names[0].name.as_str(), names.len()), ("h7", 1));
    // What all of them shall be, whatever was there before; the file's stay.
    let remote = || Remote { peers: vec![peer(4)], endpoints: vec![host(8, 4), host(6, 2)] };
    let changed = lab.edit(|draft| draft.set_remote("blue", remote()));
    assert_eq!(
        changed,
        [
            "- peer 192.0.2.3 network blue",
            "+ peer 192.0.2.4 network blue",
            "- endpoint 10.0.0.7 network blue 02:42:0a:00:00:07 peer 192.0.2.2",
            "+ endpoint 10.0.0.6 network blue 02:42:0a:00:00:06 peer 192.0.2.2",
            "+ endpoint 10.0.0.8 network blue 02:42:0a:00:00:08 peer 192.0.2.4",
        ]
    );
    assert!(lab.edit(|draft| draft.set_remote("blue", remote())).is_empty());
    let exported = lab.control.export().unwrap();
    assert_eq!(exported.matches("[[peer]]").count(), 1, "{exported}");
    assert_eq!(exported.matches("[[endpoint]]").count(), 3, "{exported}");
    assert_eq!(lab.control.diff().unwrap().len(), 3);
    lab.edit(|draft| draft.remove_endpoint("blue", Ipv4Addr::new(10, 0, 0, 8)));
    lab.edit(|draft| draft.remove_peer("blue", peer(4)));
    // Kept over a restart.
    lab.control.reload().unwrap();
    let Running { control, switch, .. } = lab;
    switch.stop();
    drop(control);
    let reread = || Store::in_directory(&directory.path().join("state"));
    wait_for(|| reread().is_ok());
    let kept = reread().unwrap().load().unwrap().made;
    assert_eq!((kept.peer.len(), kept.endpoint.len()), (0, 1));
}

#[test]
fn what_is_wrong_beyond_this_host_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let lab = start(directory.path());
    let before = lab.control.export().unwrap();
    use RejectionKind::{Conflict, NotFound, Wrong};
    lab.edit(|draft| draft.put_peer("blue", peer(3)));
    lab.edit(|draft| draft.put_endpoint("blue", host(7, 3)));
    let no = |said: (RejectionKind, String), kind, text: &str| {
        assert_eq!(said, (kind, text.to_owned()));
    };
    no(
        lab.refused(|draft| draft.put_peer("red", peer(3))),
        NotFound,
        "there is no network red; there are blue, open, alone",
    );
    no(
        lab.refused(|draft| draft.put_peer("alone", peer(3))),
        Conflict,
        "network alone is on this host only; give it a number: `vxlan` in the file, or `tapway \
         network create --vxlan`",
    );
    no(
        lab.refused(|draft| draft.put_peer("blue", "2001:db8::1".parse().unwrap())),
        Wrong,
        "peer.address: 2001:db8::1: tunnels are not yet over IPv6; use an IPv4 address of the \
         endpoint",
    );
    no(
        lab.refused(|draft| draft.put_peer("blue", peer(1))),
        Wrong,
        "network.blue.vxlan.peers: 192.0.2.1 is tapway's own address; name the other endpoints \
         only",
    );
    no(
        lab.refused(|draft| draft.remove_peer("blue", peer(2))),
        Conflict,
        "peer 192.0.2.2 of network blue is in the configuration file, not made live; remove it \
         there and run `tapway reload`",
    );
    no(
        lab.refused(|draft| draft.remove_peer("blue", peer(3))),
        Conflict,
        "10.0.0.7 is known to be behind 192.0.2.3; `tapway network endpoint rm blue 10.0.0.7` \
         first",
    );
    no(
        lab.refused(|draft| draft.remove_peer("blue", peer(9))),
        NotFound,
        "192.0.2.9 is no peer of network blue; `tapway show peers` lists them",
    );
    no(
        lab.refused(|draft| draft.put_endpoint("blue", host(9, 3))),
        Conflict,
        "endpoint 10.0.0.9 of network blue is in the configuration file, not made live; remove \
         it there and run `tapway reload`",
    );
    no(
        lab.refused(|draft| draft.put_endpoint("blue", host(8, 5))),
        NotFound,
        "endpoint.peer: 192.0.2.5 is no peer of network blue; add it to the network's `peers`",
    );
    no(
        lab.refused(|draft| draft.remove_endpoint("blue", Ipv4Addr::new(10, 0, 0, 8))),
        NotFound,
        "network blue has no endpoint 10.0.0.8; `tapway network inspect` lists them",
    );
    lab.edit(|draft| draft.set_remote("blue", Remote::default()));
    assert_eq!(lab.control.export().unwrap(), before);
}

#[test]
fn who_sends_frames_of_a_network_that_accepts_any_is_a_peer_until_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let lab = start(directory.path());
    let inner = build::arp_request(
        MacAddr([2, 0, 0, 0, 0, 9]),
        Ipv4Addr::new(10, 9, 0, 1),
        Ipv4Addr::new(10, 9, 0, 2),
    );
    let outer = |number: u32| {
        let outer = Outer {
            src: Ipv4Addr::new(192, 0, 2, 9),
            dst: Ipv4Addr::new(192, 0, 2, 1),
            sport: 50_000,
            dport: 4789,
            tos: 0,
            vni: Vni::try_from(number).unwrap(),
        };
        [outer.headers((MacAddr::ZERO, MacAddr::ZERO), inner.len()).as_slice(), &inner].concat()
    };
    let stranger = Ipv4Addr::new(192, 0, 2, 9);
    let is_peer = |network: &str| {
        let config = lab.control.config();
        let vxlan = config.network(network).unwrap().vxlan.clone().unwrap();
        vxlan.peer(stranger).is_some()
    };
    // Blue accepts peers only; what open learns after it is the proof that blue did not.
    lab.broker.send("vxlan", &outer(42));
    lab.broker.send("vxlan", &outer(43));
    wait_for(|| is_peer("open"));
    assert!(!is_peer("blue"));
    lab.broker.send("vxlan", &outer(43));
    assert_eq!(lab.broker.receive("a"), inner);
    let ports = || {
        let ports = tables::ports(lab.switch.worker()).unwrap();
        ports.into_iter().map(|(_, stats)| stats).collect::<Vec<_>>()
    };
    let peers = || {
        let (config, model) = (lab.control.config(), lab.control.model());
        let fdb = tables::fdb(lab.switch.worker()).unwrap();
        TunnelTables::new(&config, &model, &ports()).peers(&fdb, &lab.registry)
    };
    let row = peers().into_iter().find(|row| row.network == "open").unwrap();
    assert_eq!((row.from, row.macs, row.endpoints, row.is_up), (PeerOrigin::Learned, 1, 0, true));
    assert_eq!((row.traffic.rx_frames, row.traffic.rx_bytes), (1, inner.len() as u64));
    let (config, model) = (lab.control.config(), lab.control.model());
    let networks = TunnelTables::new(&config, &model, &ports()).networks();
    let sums: Vec<_> = networks
        .iter()
        .map(|row| (row.network.as_str(), row.peers, row.endpoints, row.traffic.rx_frames))
        .collect();
    assert_eq!(sums, [("blue", 1, 1, 0), ("open", 1, 0, 1)]);
    // It is nobody's wish: not exported, not kept, and gone when it is removed.
    assert!(!lab.control.export().unwrap().contains("192.0.2.9"));
    assert!(!directory.path().join("state/live.toml").exists());
    let gone = lab.edit(|draft| draft.remove_peer("open", peer(9)));
    assert_eq!(gone, ["- peer 192.0.2.9 network open"]);
    // One that is wished for stays as any other, and so does one that a known host is behind.
    lab.broker.send("vxlan", &outer(43));
    wait_for(|| is_peer("open"));
    let behind = RemoteHost { mac: Some(MacAddr([2, 0, 0, 0, 0, 9])), ..host(1, 9) };
    lab.edit(|draft| draft.put_endpoint("open", behind));
    assert!(lab.control.export().unwrap().contains("192.0.2.9"));
    lab.edit(|draft| draft.set_remote("open", Remote::default()));
    lab.broker.send("vxlan", &outer(43));
    wait_for(|| is_peer("open"));
    assert!(lab.edit(|draft| draft.put_peer("open", peer(9))).is_empty());
    assert_eq!(peers().last().unwrap().from, PeerOrigin::Live);
}

#[test]
fn a_network_learns_no_more_peers_than_it_may_have() {
    let mut text = "[network.open]\nvxlan = { vni = 43, accept = \"any\" }\n".to_owned();
    for at in 0..1023 {
        text += &format!(
            "[[peer]]\nnetwork = \"open\"\naddress = \"10.0.{}.{}\"\n",
            at / 250,
            at % 250 + 1
        );
    }
    let learn = |text: &str| {
        let config = crate::control::config::Config::parse("f", text).unwrap().config;
        let (made, processes) = (Made::default(), crate::control::model::Processes::new());
        let mut draft = Draft { made, processes, config: &config };
        let is_learned = draft.learn_peer("open", Ipv4Addr::new(192, 0, 2, 9));
        (is_learned, draft.made.peer.len())
    };
    assert_eq!(learn(&text), (true, 1));
    text += "[[peer]]\nnetwork = \"open\"\naddress = \"10.1.0.1\"\n";
    assert_eq!(learn(&text), (false, 0));
    text += "[[peer]]\nnetwork = \"open\"\naddress = \"10.1.0.2\"\n";
    let errors = crate::control::config::Config::parse("f", &text).unwrap_err().to_string();
    assert!(errors.contains("network.open.vxlan.peers: more than 1024 peers"), "{errors}");
}
