//! `tapway run` by an ordinary user: the switch runs in a user namespace of his.
//!
//! TAPs, networks and the hosts of his `tapway exec` are in there; nothing leads out of it. What a
//! configuration asks for outside of it is refused before anything is made.

use std::path::{Path, PathBuf};

use super::{Exit, Failure, socket_place};
use crate::control::config::DEFAULT_SOCKET;
use crate::control::model::Model;
use crate::io::{Netns, PortPlan, TapPlan, UserNamespace, is_privileged};

/// Enters a user namespace if the process lacks the privileges of a switch; gives the socket it is
/// to listen on in place of root's. The process must have one thread only.
///
/// # Errors
/// [`Exit::NoPermission`] if the kernel forbids it, or the configuration asks for more.
pub(super) fn confine(model: &Model, socket: &Path) -> Result<Option<PathBuf>, Failure> {
    if is_privileged() {
        return Ok(None);
    }
    let beyond: Vec<String> = model
        .ports
        .iter()
        .filter_map(|port| Some(format!("port {}: {}", port.spec.name, beyond(&port.plan)?)))
        .collect();
    if !beyond.is_empty() {
        let lines = beyond.join("\n");
        let what = format!("not started: an ordinary user's switch cannot have\n{lines}");
        return Err(Failure::new(Exit::NoPermission, what));
    }
    let own = match socket_place::user_socket() {
        _ if socket != Path::new(DEFAULT_SOCKET) => socket.to_owned(),
        Some(own) => own,
        None => {
            let what = "an ordinary user's switch has no place for its socket: set \
                XDG_RUNTIME_DIR, or choose one by --socket";
            return Err(Failure::new(Exit::NoPermission, what));
        }
    };
    UserNamespace::enter().map_err(|error| Failure::new(Exit::NoPermission, error))?;
    Ok(Some(own))
}

/// Why a device cannot be had in a user namespace.
fn beyond(plan: &PortPlan) -> Option<String> {
    match plan {
        PortPlan::Tap(TapPlan { netns: Some(Netns::Named { name, .. }), .. }) => Some(format!(
            "network namespace {name}; leave the port out and start its host by `tapway exec`, or \
             run tapway as root"
        )),
        PortPlan::Device(device) => {
            Some(format!("device {} of this host; run tapway as root", device.device))
        }
        PortPlan::Shared(shared) => {
            Some(format!("device {} of this host; run tapway as root", shared.device))
        }
        PortPlan::Tap(_)
        | PortPlan::Vxlan(_)
        | PortPlan::Tunnel(_)
        | PortPlan::Replay(_)
        | PortPlan::Record(_) => None,
    }
}
