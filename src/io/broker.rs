//! Privileged acts behind one trait, so that the dataplane can drop every privilege later.

use ipnet::Ipv4Net;

use super::{
    EtcFile, NameSockets, Netns, OpenError, PortIo, PortPlan, SharedPlan, Station, TakenPorts,
    Written,
};

/// An open device.
pub struct Opened {
    /// What the worker reads and writes.
    pub io: Box<dyn PortIo>,
    /// The device's MTU in bytes, if it has one of its own.
    pub mtu: Option<u16>,
    /// Where tapway is on an interface that it shares with the host.
    pub station: Option<Station>,
    /// One line for `show link`: kind, interface, namespace.
    pub description: String,
}

/// What became of a port's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChange {
    /// Its MTU is another one now, in bytes.
    Mtu {
        /// The port.
        port: String,
        /// The new MTU.
        mtu: u16,
    },
    /// Its host set it down: it takes no frames and gives none.
    Down {
        /// The port.
        port: String,
        /// Why.
        why: String,
    },
    /// It is up again, perhaps before its being down was told.
    Up {
        /// The port.
        port: String,
    },
    /// It has another name now.
    Renamed {
        /// The port.
        port: String,
        /// Its former name.
        from: String,
        /// Its name.
        to: String,
    },
    /// Its host has another address, MAC or router there now.
    Moved {
        /// The port.
        port: String,
        /// Where the host, and so tapway, is.
        station: Station,
    },
    /// It is there, but must be opened again: its namespace went, or it was replaced.
    Lost {
        /// The port.
        port: String,
        /// Why.
        why: String,
    },
}

impl DeviceChange {
    /// The port whose device changed.
    pub fn port(&self) -> &str {
        match self {
            Self::Mtu { port, .. }
            | Self::Down { port, .. }
            | Self::Up { port }
            | Self::Renamed { port, .. }
            | Self::Moved { port, .. }
            | Self::Lost { port, .. } => port,
        }
    }
}

/// Opens devices and removes what it made.
pub trait Broker: Send {
    /// Opens a port's device and sets it up. Called again after the device vanished.
    ///
    /// # Errors
    /// Why not; nothing is left behind.
    fn open(&mut self, port: &str, plan: &PortPlan) -> Result<Opened, OpenError>;

    /// Where tapway is to be on an interface that it shares with the host, and the external ports
    /// that are left there; the same ports for a port's name as long as tapway runs.
    ///
    /// # Errors
    /// If it cannot be shared.
    fn survey(&mut self, port: &str, plan: &SharedPlan) -> Result<Station, OpenError> {
        let _ = port;
        Err(OpenError::Permission { what: format!("sharing {}", plan.device) })
    }

    /// Takes these published ports away from the host, and no others, where a port's interface is
    /// shared with it. Before the port is opened it is noted for then.
    ///
    /// # Errors
    /// Why not; what was taken before stays taken.
    fn take_ports(&mut self, port: &str, taken: &[TakenPorts]) -> Result<(), OpenError> {
        let _ = (port, taken);
        Ok(())
    }

    /// Removes what was made for a port: interface addresses go with the TAP, a namespace of
    /// tapway's own is removed when its last port is closed.
    fn close(&mut self, port: &str);

    /// What became of open devices since the last call. Asked for once a second: what a reader
    /// would not notice, such as another MTU or a namespace whose name is gone.
    fn poll_changes(&mut self) -> Vec<DeviceChange> {
        Vec::new()
    }

    /// Writes a file that commands in a network namespace of tapway's own making find under `/etc`
    /// (`ip netns exec`), or changes it in place. It goes with the namespace.
    ///
    /// # Errors
    /// If tapway did not make the namespace, or the system refuses.
    fn write_file(&mut self, netns: &str, file: EtcFile, text: &str) -> Result<Written, OpenError> {
        let _ = (file, text);
        Err(OpenError::Conflict {
            what: format!("network namespace {netns} is not tapway's"),
            remedy: "nothing to do: there are no namespaces here".to_owned(),
        })
    }

    /// Opens the sockets of a resolver in a host's namespace; none if the namespace is somebody
    /// else's, or the broker has none.
    ///
    /// # Errors
    /// If something listens there already, or the system refuses.
    fn name_sockets(&mut self, netns: &Netns) -> Result<Option<NameSockets>, OpenError> {
        let _ = netns;
        Ok(None)
    }

    /// Whether hosts behind a TAP uplink in tapway's own namespace can reach beyond this host,
    /// and what to set if not; none if there is nothing to say.
    fn outside_hint(&self, plan: &PortPlan) -> Option<String>;

    /// Destinations that tapway's own namespace routes, so that no network is put there. A broker
    /// without a host knows none.
    ///
    /// # Errors
    /// If they cannot be read.
    fn host_routes(&self) -> Result<Vec<Ipv4Net>, OpenError> {
        Ok(Vec::new())
    }
}
