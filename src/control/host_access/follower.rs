//! Binds published ports on this host before a change holds, and lets go of those that are
//! published no longer after it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddrV4;

use super::server::Server;
use super::wanted::{Port, Wanted, wanted};
use crate::control::follower::{Follower, Stage};
use crate::control::rejection::{Rejection, RejectionKind};
use crate::io::{HostSocket, OpenError};

/// Follows the published ports.
#[derive(Debug, Default)]
pub struct HostPorts {
    bound: HashMap<Port, HostSocket>,
    /// Bound for a change that does not hold yet.
    fresh: HashMap<Port, HostSocket>,
    /// Let go of for that change: the same ports on other addresses.
    displaced: HashSet<Port>,
    /// Where ports are carried to.
    served: HashMap<Port, SocketAddrV4>,
    /// Those of TCP that clients can connect to.
    listening: HashSet<Port>,
    /// None until a port is served.
    server: Option<Server>,
}

impl HostPorts {
    /// Binds what is not yet bound.
    fn bind(&mut self, wanted: &Wanted) -> Result<(), Rejection> {
        for port in wanted.keys() {
            if self.bound.contains_key(port) {
                continue;
            }
            let mut bound = HostSocket::bind(port.is_tcp, port.at);
            if matches!(bound, Err(OpenError::Conflict { .. })) && self.displace(*port, wanted) {
                bound = HostSocket::bind(port.is_tcp, port.at);
            }
            self.fresh.insert(*port, bound.map_err(rejection)?);
        }
        Ok(())
    }

    /// Lets go of the same port on other addresses, if it is not wanted there; true if it was
    /// bound there.
    fn displace(&mut self, port: Port, wanted: &Wanted) -> bool {
        let is_other = |other: &&Port| {
            other.is_tcp == port.is_tcp && other.at.port() == port.at.port() && **other != port
        };
        let bound = self.bound.keys().filter(is_other);
        let in_the_way: Vec<Port> =
            bound.filter(|other| !wanted.contains_key(other)).copied().collect();
        for other in &in_the_way {
            self.release(*other);
            self.displaced.insert(*other);
        }
        !in_the_way.is_empty()
    }

    fn release(&mut self, port: Port) {
        if self.served.remove(&port).is_some()
            && let Some(server) = &self.server
        {
            server.stop(port);
        }
        self.listening.remove(&port);
        self.bound.remove(&port);
    }

    /// Goes over to what is wanted: everything of it is bound.
    fn settle(&mut self, wanted: &Wanted) {
        let gone: Vec<Port> =
            self.bound.keys().filter(|port| !wanted.contains_key(port)).copied().collect();
        gone.into_iter().for_each(|port| self.release(port));
        for (port, target) in wanted {
            let result = match target {
                Some(target) if self.served.get(port) == Some(target) => Ok(()),
                Some(target) => self.serve(*port, *target),
                None if self.listening.contains(port) || self.served.contains_key(port) => {
                    // What listens cannot be made to refuse again.
                    self.release(*port);
                    HostSocket::bind(port.is_tcp, port.at)
                        .map(|socket| drop(self.bound.insert(*port, socket)))
                }
                None => Ok(()),
            };
            if let Err(error) = result {
                tracing::error!(%port, %error, "a published port does not answer on this host");
            }
        }
    }

    fn serve(&mut self, port: Port, target: SocketAddrV4) -> Result<(), OpenError> {
        let failed = |error| OpenError::from_io(format!("serving {port}"), error);
        let Some(socket) = self.bound.get(&port) else { return Ok(()) };
        if port.is_tcp && self.listening.insert(port) {
            socket.listen().map_err(failed)?;
        }
        let socket = socket.try_clone().map_err(failed)?;
        if self.server.is_none() {
            self.server = Some(Server::start().map_err(failed)?);
        }
        if let Some(server) = &self.server {
            server.serve(port, socket, target);
            self.served.insert(port, target);
        }
        Ok(())
    }
}

impl Follower for HostPorts {
    fn name(&self) -> &'static str {
        "published ports on this host"
    }

    fn prepare(&mut self, stage: &mut Stage<'_>) -> Result<(), Rejection> {
        let bound = wanted(stage.new).and_then(|wanted| self.bind(&wanted));
        if bound.is_err() {
            self.roll_back(stage);
        }
        bound
    }

    fn commit(&mut self, stage: &mut Stage<'_>) {
        self.displaced.clear();
        self.bound.extend(self.fresh.drain());
        // It was wanted a moment ago.
        if let Ok(wanted) = wanted(stage.new) {
            self.settle(&wanted);
        }
    }

    fn roll_back(&mut self, stage: &mut Stage<'_>) {
        self.fresh.clear();
        for port in std::mem::take(&mut self.displaced) {
            match HostSocket::bind(port.is_tcp, port.at) {
                Ok(socket) => drop(self.bound.insert(port, socket)),
                Err(error) => tracing::error!(%port, %error, "a published port was lost"),
            }
        }
        if let Ok(wanted) = wanted(stage.old) {
            self.settle(&wanted);
        }
    }
}

fn rejection(error: OpenError) -> Rejection {
    let kind = match &error {
        OpenError::Permission { .. } => RejectionKind::Permission,
        OpenError::Conflict { .. } => RejectionKind::Conflict,
        OpenError::NotFound { .. } => RejectionKind::Wrong,
        OpenError::System { .. } => RejectionKind::Failed,
    };
    Rejection::new(kind, error, "")
}
