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
