//! What the steps ask of a host, whatever it is made of.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::DemoError;
use crate::io::EtcFile;
use crate::testkit::probe::ProbeAnswer;

/// Routers that a traceroute looks for before it gives up.
pub const MAX_HOPS: u8 = 6;
/// The TTL that hosts send with, as Linux and smoltcp do.
pub const FULL_TTL: u8 = 64;

/// The end of one ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// What came back.
    pub answer: ProbeAnswer,
    /// How long it took.
    pub rtt: Duration,
}

/// The end of one HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The body of a success.
    Body(String),
    /// Somebody refused the connection, or cut it.
    Refused,
    /// Nobody answered in time.
    Silence,
}

/// A host of the demo.
pub trait Host {
    /// Sends one echo request and waits for what comes back; none if nothing does in time.
    ///
    /// # Errors
    /// What kept the host from trying.
    fn ping(&mut self, dst: Ipv4Addr, ttl: u8) -> Result<Option<Pong>, DemoError>;

    /// Fetches `/` by HTTP.
    ///
    /// # Errors
    /// What kept the host from trying.
    fn http_get(&mut self, at: SocketAddrV4, timeout: Duration) -> Result<Fetch, DemoError>;

    /// Serves HTTP on a port from now on: its name, and the client's address as it sees it.
    ///
    /// # Errors
    /// What kept the host from serving.
    fn serve_http(&mut self, port: u16) -> Result<(), DemoError>;

    /// A file under `/etc`, as the host's programs find it; none if it has no files.
    ///
    /// # Errors
    /// What kept the host from reading.
    fn etc(&mut self, file: EtcFile) -> Result<Option<String>, DemoError>;

    /// Sends a DNS message to the host's resolver, and waits for what comes back.
    ///
    /// # Errors
    /// What kept the host from asking.
    fn ask_resolver(
        &mut self,
        message: &[u8],
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>, DemoError>;

    /// Asks for the routers on the way, one TTL after the other, until the destination answers;
    /// none for one that keeps silent.
    ///
    /// # Errors
    /// As [`Host::ping`].
    fn traceroute(&mut self, dst: Ipv4Addr) -> Result<Vec<Option<Pong>>, DemoError> {
        let mut hops = Vec::new();
        for ttl in 1..=MAX_HOPS {
            let hop = self.ping(dst, ttl)?;
            hops.push(hop);
            if hop.is_some_and(|hop| !matches!(hop.answer, ProbeAnswer::TimeExceeded { .. })) {
                break;
            }
        }
        Ok(hops)
    }
}

impl Pong {
    /// Who answered.
    pub const fn from(&self) -> Ipv4Addr {
        match self.answer {
            ProbeAnswer::Echo { from, .. }
            | ProbeAnswer::TimeExceeded { from }
            | ProbeAnswer::Unreachable { from, .. } => from,
        }
    }
}
