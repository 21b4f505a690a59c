//! From configurations to models.

use super::*;
use ipnet::Ipv4Net;

use crate::engine::Underlay;
use crate::io::{DevicePlan, Netns, TapBackend, TapPlan};
use crate::nat::Endpoint;
use crate::switch::{Guard, PortRole};

fn model(text: &str) -> Model {
    Model::new(&Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}")).config)
}

fn tap(model: &Model, at: usize) -> &TapPlan {
    match &model.ports[at].plan {
        PortPlan::Tap(plan) => plan,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_tutorial_becomes_an_uplink_a_network_and_two_guarded_ports() {
    let model = model(include_str!("../../../tools/configs/tutorial.toml"));
    let [(uplink, outside), (bridge, inside)] = model.networks.as_slice() else {
        panic!("{:?}", model.networks)
    };
    assert_eq!((*uplink, *bridge), (NetworkId(0), NetworkId(1)));
    assert!(outside.is_outside && !inside.is_outside);
    let gateway = inside.gateway.as_ref().unwrap();
    assert_eq!(gateway.mac.to_string(), "02:42:ac:11:00:01");
    assert_eq!(gateway.address.to_string(), "172.17.0.1/16");
    let router = Ipv4Addr::new(192, 168, 33, 1);
    assert_eq!(model.routes, [(Ipv4Net::default(), router)]);
    let far_end = tap(&model, 0);
    assert_eq!(far_end.address.unwrap().to_string(), "192.168.33.1/24");
    assert_eq!(far_end.gateway, None);
    assert_eq!(far_end.mac, Some(MacAddr::from_ipv4(router)));
    let nginx1 = Ipv4Addr::new(172, 17, 0, 2);
    let mac = MacAddr::from_ipv4(nginx1);
    assert_eq!(
        *tap(&model, 1),
        TapPlan {
            netns: Some(Netns::named("nginx1", true)),
            interface: "eth0".to_owned(),
            mac: Some(mac),
            mtu: 1500,
            address: Some("172.17.0.2/16".parse().unwrap()),
            gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
            backend: TapBackend::Own,
            queues: 1,
            offload: true,
        }
    );
    assert_eq!(model.ports[1].spec.guard, Some(Guard { mac, address: nginx1 }));
    let publish = Publish {
        protocol: 6,
        address: None,
        port: 80,
        count: 1,
        network: *bridge,
        target: Endpoint::new(nginx1, 80),
    };
    assert_eq!(model.publishes, [publish]);
}

#[test]
fn a_port_in_this_host_changes_no_route_of_it() {
    let model = model(
        "[network.bridge]\nsubnet = \"10.1.0.0/24\"\nmtu = 1400\n\
         [port.vm]\naddress = \"10.1.0.2\"\nguard = false\n[port.raw]\n[port.play]\n\
         kind = \"replay\"\nfile = \"a.pcap\"",
    );
    let vm = tap(&model, 0);
    assert_eq!((vm.interface.as_str(), vm.mtu, vm.gateway), ("vm", 1400, None));
    assert_eq!(vm.address.unwrap().to_string(), "10.1.0.2/24");
    assert_eq!((model.ports[0].id, model.ports[0].spec.guard), (PortId(1), None));
    let raw = tap(&model, 1);
    assert_eq!((raw.mac, raw.address, raw.gateway), (None, None, None));
    assert_eq!(model.ports[2].plan, PortPlan::Replay("a.pcap".into()));
    assert_eq!(model.networks[0].1.gateway.as_ref().unwrap().address.to_string(), "10.1.0.1/24");
    assert!(model.uplink().is_none() && model.routes.is_empty());
}

#[test]
fn a_device_uplink_has_its_own_mac_pool_and_static_translations() {
    let model = model(
        "[uplink]\nkind = \"device\"\ndevice = \"eth1\"\naddress = \"192.0.2.10/24\"\n\
         gateway = \"192.0.2.1\"\nnat_addresses = [\"192.0.2.11\"]\n\
         static_nat = [{ external = \"192.0.2.20\", inside = \"10.2.0.5\" }]\n\
         [network.a]\nsubnet = \"10.1.0.0/24\"\n[network.b]\nsubnet = \"10.2.0.0/24\"",
    );
    let own = Ipv4Addr::new(192, 0, 2, 10);
    assert_eq!(
        model.uplink().unwrap().plan,
        PortPlan::Device(DevicePlan {
            netns: None,
            device: "eth1".to_owned(),
            mac: MacAddr::from_ipv4(own),
            addresses: vec![own, Ipv4Addr::new(192, 0, 2, 11), Ipv4Addr::new(192, 0, 2, 20),],
            receive_buffer: 4 * 1024 * 1024,
        })
    );
    let gateway = model.networks[0].1.gateway.as_ref().unwrap();
    assert_eq!(gateway.pool, [Ipv4Addr::new(192, 0, 2, 11)]);
    let inside = Ipv4Addr::new(10, 2, 0, 5);
    assert_eq!(gateway.statics, [(NetworkId(2), inside, Ipv4Addr::new(192, 0, 2, 20))]);
}

#[test]
fn a_network_over_several_hosts_has_a_tunnel_to_each_peer_and_all_one_underlay() {
    let text = "[vxlan]\naddress = \"192.0.2.1\"\nnetns = \"under\"\ndevice = \"eth1\"\n\
        peers = [\"192.0.2.3\", \"192.0.2.2\"]\n\
        [network.a]\nsubnet = \"10.1.0.0/24\"\nvxlan = 7\ndhcp = true\n\
        [network.b]\nvxlan = { vni = 8, group = \"239.1.1.1\", peers = [\"192.0.2.2\"], vlan_tags = true }\n\
        [[endpoint]]\nnetwork = \"a\"\nname = \"DB\"\naddress = \"10.1.0.7\"\npeer = \"192.0.2.2\"\n";
    let model = model(text);
    let [underlay, ends @ ..] = model.ports.as_slice() else { panic!("{:?}", model.ports) };
    assert_eq!((underlay.spec.role, underlay.spec.network), (PortRole::Underlay, NetworkId::NONE));
    let PortPlan::Vxlan(sockets) = &underlay.plan else { panic!("{underlay:?}") };
    assert_eq!(sockets.groups, [Ipv4Addr::new(239, 1, 1, 1)]);
    assert_eq!((sockets.address, sockets.port), (Ipv4Addr::new(192, 0, 2, 1), 4789));
    let vtep = model.vtep.unwrap();
    assert_eq!((vtep.address, vtep.underlay), (sockets.address, Underlay::Port(underlay.id)));
    let floods = |entry: &PortEntry| match entry.spec.role {
        PortRole::Tunnel(tunnel) => tunnel.floods,
        _ => panic!("{entry:?}"),
    };
    let names: Vec<_> =
        ends.iter().map(|end| (end.spec.name.as_str(), floods(end), end.spec.mtu)).collect();
    let expected = [
        ("a@192.0.2.2", true, 1450),
        ("a@192.0.2.3", true, 1450),
        ("b@192.0.2.2", false, 1450),
        ("b@239.1.1.1", true, 1450),
    ];
    assert_eq!(names, expected);
    let db = Ipv4Addr::new(10, 1, 0, 7);
    assert_eq!(ends[0].spec.static_macs, [MacAddr::from_ipv4(db)]);
    assert!(ends.iter().skip(1).all(|end| end.spec.static_macs.is_empty()));
    let PortPlan::Tunnel(plan) = &ends[0].plan else { panic!("{:?}", ends[0]) };
    assert_eq!((plan.mtu, plan.netns.as_deref(), plan.vni.get()), (None, Some("under"), 7));
    let specs: Vec<_> = model.networks.iter().map(|(_, spec)| spec.vxlan.unwrap()).collect();
    assert!(!specs[0].accepts_any && specs[1].accepts_any && specs[1].carries_tags);
    assert_eq!(model.names.rows()[0].addresses, [db]);
    assert_eq!(model.dhcp[0].exclude, [db.into()]);
    assert_eq!(model.dhcp[0].parameters.mtu, 1450);
}

#[test]
fn by_the_uplink_there_are_no_sockets_and_the_uplink_says_what_fits() {
    let model = model(
        "[uplink]\naddress = \"192.0.2.10/24\"\ngateway = \"192.0.2.1\"\nmtu = 1400\n\
         [vxlan]\nunderlay = \"uplink\"\nport = 4790\n[network.a]\nvxlan = 7\n\
         [[peer]]\nnetwork = \"a\"\naddress = \"203.0.113.1\"\n",
    );
    let vtep = model.vtep.unwrap();
    let own = Ipv4Addr::new(192, 0, 2, 10);
    assert_eq!((vtep.address, vtep.port, vtep.underlay), (own, 4790, Underlay::Uplink));
    let [_, tunnel] = model.ports.as_slice() else { panic!("{:?}", model.ports) };
    let PortPlan::Tunnel(plan) = &tunnel.plan else { panic!("{tunnel:?}") };
    assert_eq!((plan.mtu, tunnel.spec.mtu), (Some(1350), 1350));
}
