//! tapway's place on an uplink that is shared with the host: the configuration names a device, and
//! the device says the rest.

use ipnet::Ipv4Net;

use super::{Model, UPLINK};
use crate::engine::Gateway;
use crate::io::{PortPlan, SharedPlan, Station};

impl Model {
    /// The interface that is shared with the host, if the uplink is one.
    pub fn shared_plan(&self) -> Option<&SharedPlan> {
        match &self.uplink()?.plan {
            PortPlan::Shared(plan) => Some(plan),
            _ => None,
        }
    }

    /// True unless the place on a shared uplink is still open.
    pub fn is_placed(&self) -> bool {
        self.shared_plan().is_none() || self.uplink_address().is_some()
    }

    /// Takes the host's place on the shared uplink, in place of `before`.
    pub fn take_place(&mut self, before: Option<&Station>, station: &Station) {
        let Some((_, spec)) = self.networks.iter_mut().find(|(id, _)| *id == UPLINK) else {
            return;
        };
        spec.mtu = station.mtu;
        spec.gateway = Some(Gateway {
            mac: station.mac,
            address: station.address,
            pool: Vec::new(),
            statics: Vec::new(),
            shared: Some(station.ports),
        });
        let default = |gateway| (Ipv4Net::default(), gateway);
        let former = before.and_then(|before| before.gateway).map(default);
        self.routes.retain(|route| Some(*route) != former);
        let has_other = self.routes.iter().any(|(to, _)| *to == Ipv4Net::default());
        if let Some(gateway) = station.gateway.filter(|_| !has_other) {
            self.routes.insert(0, default(gateway));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::Config;
    use crate::packet::{MacAddr, PortSpan};
    use std::net::Ipv4Addr;

    #[test]
    fn a_shared_uplink_is_where_the_host_is_and_goes_where_it_goes() {
        let text = include_str!("../../../tools/configs/shared.toml");
        let mut model = Model::new(&Config::parse("f", text).unwrap().config);
        assert!(!model.is_placed() && model.routes.is_empty());
        let station = |address: &str, gateway: Option<[u8; 4]>| Station {
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            address: address.parse().unwrap(),
            gateway: gateway.map(Ipv4Addr::from),
            mtu: 1400,
            ports: PortSpan { first: 61_000, last: 65_535 },
        };
        let first = station("192.168.33.10/24", Some([192, 168, 33, 1]));
        model.take_place(None, &first);
        assert!(model.is_placed());
        let spec = model.network(UPLINK).unwrap();
        assert_eq!((spec.mtu, spec.gateway.as_ref().unwrap().shared), (1400, Some(first.ports)));
        assert_eq!(model.routes, [(Ipv4Net::default(), Ipv4Addr::new(192, 168, 33, 1))]);
        let second = station("10.0.0.2/8", Some([10, 0, 0, 1]));
        model.take_place(Some(&first), &second);
        assert_eq!(model.uplink_address(), Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(model.routes, [(Ipv4Net::default(), Ipv4Addr::new(10, 0, 0, 1))]);
        model.take_place(Some(&second), &station("10.0.0.2/8", None));
        assert_eq!(model.routes, []);
    }
}
