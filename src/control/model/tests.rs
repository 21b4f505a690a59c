//! From configurations to models.

use super::*;
use ipnet::Ipv4Net;

use crate::io::{DevicePlan, Netns, TapBackend, TapPlan};
use crate::nat::Endpoint;
use crate::switch::Guard;

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
