//! What a client asks.

use std::fmt;
use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpFlags, DhcpOpCode, DhcpPacket};

use super::{COOKIE, HEAD, option};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::packet::MacAddr;

/// Longest name of a host, in bytes: a DNS label.
pub const MAX_HOST_NAME: usize = 63;

const ETHERNET: u8 = 1;

/// The messages of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Who offers an address?
    Discover,
    /// I take it; I have it again; I keep it.
    Request,
    /// Somebody else uses it.
    Decline,
    /// I need it no more.
    Release,
    /// I have an address; tell me the rest.
    Inform,
}

/// Who a client is: its identifier (option 61), else its MAC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientId {
    /// By option 61.
    Identifier(Vec<u8>),
    /// By hardware address.
    Mac(MacAddr),
}

/// What a client asks, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpMessage {
    /// The message type.
    pub kind: RequestKind,
    /// The transaction, echoed in the answer.
    pub xid: u32,
    /// The client can take no unicast before it has an address.
    pub wants_broadcast: bool,
    /// The address that the client has and answers for; unspecified: none.
    pub client_ip: Ipv4Addr,
    /// The client's MAC.
    pub mac: MacAddr,
    /// Option 61.
    pub identifier: Option<Vec<u8>>,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 51, in seconds.
    pub lease_s: Option<u32>,
    /// Option 12, if it is a name.
    pub host_name: Option<String>,
    /// Option 55; empty: not said.
    pub parameters: Vec<u8>,
}

/// A message and where it came from: what an engine hands to control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpRequest {
    /// The client's network.
    pub network: NetworkId,
    /// The port it is behind.
    pub port: PortId,
    /// What it asks.
    pub message: DhcpMessage,
}

impl DhcpMessage {
    /// Reads the payload of a datagram to the server port.
    ///
    /// # Errors
    /// Why nobody can answer it.
    pub fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let packet = DhcpPacket::new_checked(payload).map_err(|_| DropReason::DhcpMalformed)?;
        let head = payload.first_chunk::<4>().ok_or(DropReason::DhcpMalformed)?;
        let is_ethernet = matches!(head, [_, ETHERNET, 6, _]);
        let is_request = packet.opcode() == DhcpOpCode::Request;
        if !is_request || !is_ethernet || packet.magic_number() != COOKIE {
            return Err(DropReason::DhcpMalformed);
        }
        if !packet.relay_agent_ip().is_unspecified() {
            return Err(DropReason::DhcpRelayed);
        }
        let mac = MacAddr(packet.client_hardware_address().0);
        if !mac.is_station() {
            return Err(DropReason::DhcpMalformed);
        }
        let mut message = Self {
            kind: RequestKind::Discover,
            xid: packet.transaction_id(),
            wants_broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
            client_ip: packet.client_ip(),
            mac,
            identifier: None,
            requested: None,
            server: None,
            lease_s: None,
            host_name: None,
            parameters: Vec::new(),
        };
        let mut kind = None;
        let mut rest = payload.get(HEAD..).unwrap_or_default();
        while let Some((number, data)) = next_option(&mut rest)? {
            if number == option::MESSAGE_TYPE {
                kind = Some(RequestKind::parse(data).ok_or(DropReason::DhcpMalformed)?);
            } else {
                message.take(number, data)?;
            }
        }
        message.kind = kind.ok_or(DropReason::DhcpMalformed)?;
        Ok(message)
    }

    /// Who the client is.
    pub fn client(&self) -> ClientId {
        match &self.identifier {
            Some(identifier) => ClientId::Identifier(identifier.clone()),
            None => ClientId::Mac(self.mac),
        }
    }

    /// True if the client wants to know this option, or did not say what it wants.
    pub(super) fn wants(&self, option: u8) -> bool {
        self.parameters.is_empty() || self.parameters.contains(&option)
    }

    /// Notes an option; one of another length than its kind has makes the message malformed.
    fn take(&mut self, number: u8, data: &[u8]) -> Result<(), DropReason> {
        let word = || data.try_into().map_err(|_| DropReason::DhcpMalformed);
        match number {
            option::REQUESTED_ADDRESS => self.requested = Some(Ipv4Addr::from(word()?)),
            option::SERVER_ID => self.server = Some(Ipv4Addr::from(word()?)),
            option::LEASE_TIME => self.lease_s = Some(u32::from_be_bytes(word()?)),
            // Two bytes at least (RFC 2132 9.14); a shorter one tells nobody apart.
            option::CLIENT_ID if data.len() >= 2 => self.identifier = Some(data.to_vec()),
            option::HOST_NAME => self.host_name = host_name(data),
            option::PARAMETERS => self.parameters = data.to_vec(),
            _ => {}
        }
        Ok(())
    }
}

impl RequestKind {
    const fn parse(data: &[u8]) -> Option<Self> {
        match data {
            [1] => Some(Self::Discover),
            [3] => Some(Self::Request),
            [4] => Some(Self::Decline),
            [7] => Some(Self::Release),
            [8] => Some(Self::Inform),
            _ => None,
        }
    }
}

/// As users read it: what `dhclient` and `udhcpc` show of it.
impl fmt::Display for ClientId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(out),
            Self::Identifier(bytes) => {
                write!(out, "id ")?;
                for (at, byte) in bytes.iter().enumerate() {
                    let colon = if at > 0 { ":" } else { "" };
                    write!(out, "{colon}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

/// The next option and its value; none behind the last. One that is cut off makes the message
/// malformed; an end that is missing does not.
fn next_option<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, DropReason> {
    loop {
        match **rest {
            [] | [option::END, ..] => return Ok(None),
            [option::PAD, ref behind @ ..] => *rest = behind,
            [number, len, ref behind @ ..] => {
                let split = behind.split_at_checked(usize::from(len));
                let (data, behind) = split.ok_or(DropReason::DhcpMalformed)?;
                *rest = behind;
                return Ok(Some((number, data)));
            }
            [_] => return Err(DropReason::DhcpMalformed),
        }
    }
}

/// The first label of what a client calls itself, in lower case; none if it is no label of letters,
/// digits and hyphens (RFC 1123 2.1).
fn host_name(data: &[u8]) -> Option<String> {
    let label = data.split(|byte| matches!(byte, b'.' | 0)).next()?;
    let is_name = (1..=MAX_HOST_NAME).contains(&label.len())
        && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && label.first() != Some(&b'-')
        && label.last() != Some(&b'-');
    is_name.then(|| String::from_utf8_lossy(label).to_ascii_lowercase())
}
