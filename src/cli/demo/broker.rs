//! The broker of a real demo: that of `tapway run`, but that the uplink is a wire to the router.

use ipnet::Ipv4Net;

use crate::control::config::UPLINK_NAME;
use crate::io::{
    Broker, DeviceChange, EtcFile, LinuxBroker, NameSockets, Netns, OpenError, Opened, PortPlan,
    WireEnd, Written,
};

/// The broker.
pub struct DemoBroker {
    inner: LinuxBroker,
    /// None once it was opened: a wire has two ends for good.
    uplink: Option<WireEnd>,
}

impl DemoBroker {
    /// A broker that opens `uplink` as the uplink, and everything else by `inner`.
    pub const fn new(inner: LinuxBroker, uplink: WireEnd) -> Self {
        Self { inner, uplink: Some(uplink) }
    }
}

impl Broker for DemoBroker {
    fn open(&mut self, port: &str, plan: &PortPlan) -> Result<Opened, OpenError> {
        if port != UPLINK_NAME {
            return self.inner.open(port, plan);
        }
        let wire = self.uplink.take().ok_or_else(|| OpenError::NotFound {
            what: "the wire to the router".to_owned(),
            remedy: "; start the demo again".to_owned(),
        })?;
        let description = "wire to the router".to_owned();
        Ok(Opened { io: Box::new(wire), mtu: None, station: None, description })
    }

    fn close(&mut self, port: &str) {
        self.inner.close(port);
    }

    fn poll_changes(&mut self) -> Vec<DeviceChange> {
        self.inner.poll_changes()
    }

    fn write_file(&mut self, netns: &str, file: EtcFile, text: &str) -> Result<Written, OpenError> {
        self.inner.write_file(netns, file, text)
    }

    fn name_sockets(&mut self, netns: &Netns) -> Result<Option<NameSockets>, OpenError> {
        self.inner.name_sockets(netns)
    }

    fn outside_hint(&self, plan: &PortPlan) -> Option<String> {
        self.inner.outside_hint(plan)
    }

    fn host_routes(&self) -> Result<Vec<Ipv4Net>, OpenError> {
        self.inner.host_routes()
    }
}
