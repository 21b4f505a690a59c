//! What control knows of each port's device, shared by the supervisor that keeps it and the API
//! that shows it.

use std::sync::Arc;

use dashmap::DashMap;
use serde::{Deserialize, Serialize};

/// State of a port's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LinkState {
    /// Open and forwarding.
    Up,
    /// Gone or not there yet; tapway opens it again when it comes back.
    Down,
}

/// A port's device, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Kind, interface and namespace: `tap eth0 netns nginx1`.
    pub description: String,
    /// State.
    pub state: LinkState,
    /// The host's MAC and address, where configured.
    pub mac: Option<crate::packet::MacAddr>,
    /// The host's address, where configured.
    pub address: Option<std::net::Ipv4Addr>,
    /// Why it is down, or the last error.
    pub last_error: Option<String>,
}

/// Devices by port name. No guard is held across another call on the map.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    links: Arc<DashMap<String, LinkInfo, foldhash::quality::RandomState>>,
}

impl Registry {
    /// Enters or replaces a port's device.
    pub fn set(&self, port: &str, link: LinkInfo) {
        self.links.insert(port.to_owned(), link);
    }

    /// Changes a port's device, if it is there.
    pub fn update(&self, port: &str, change: impl FnOnce(&mut LinkInfo)) {
        if let Some(mut link) = self.links.get_mut(port) {
            change(&mut link);
        }
    }

    /// Removes a port's device.
    pub fn remove(&self, port: &str) {
        self.links.remove(port);
    }

    /// A port's device.
    pub fn get(&self, port: &str) -> Option<LinkInfo> {
        self.links.get(port).map(|link| link.clone())
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<(String, LinkInfo)> {
        let mut all: Vec<(String, LinkInfo)> =
            self.links.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
