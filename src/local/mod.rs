//! What tapway answers itself: echo, and the refusal of closed ports.
//!
//! Pure: a datagram in, a datagram or the reason for silence out. Inside hosts are refused as a
//! kernel would; strangers outside get silence, except for echo.
#![warn(clippy::indexing_slicing)]

pub mod dhcp;
pub mod dns;
mod reassembly;

pub use reassembly::reassemble;

use crate::drop_reason::DropReason;
use crate::packet::icmp::{self, IcmpError};
use crate::packet::tcp::{self, ACK, SYN};
use crate::packet::{Ipv4, PROTOCOL_ICMP, Transport, checksum};

/// What becomes of a datagram addressed to tapway itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This datagram answers it.
    Answer(Vec<u8>),
    /// It ends, and this datagram refuses it.
    Refuse(DropReason, Vec<u8>),
    /// It ends, and this error may be sent.
    Report(DropReason, IcmpError),
    /// It ends.
    Drop(DropReason),
}

/// Answers a whole datagram; `id` is the identification of the answer.
pub fn answer(packet: &[u8], ipv4: &Ipv4, is_from_outside: bool, id: u16) -> Outcome {
    match ipv4.transport {
        Transport::Query { reply: true, .. } => Outcome::Drop(DropReason::NoSession),
        Transport::Query { .. } => echo(packet, ipv4, id),
        Transport::Truncated => Outcome::Drop(DropReason::TransportTruncated),
        Transport::Tcp { flags, .. } if is_from_outside => {
            let is_opening = flags & (SYN | ACK) == SYN;
            let reason =
                if is_opening { DropReason::UnsolicitedSyn } else { DropReason::NoSession };
            Outcome::Drop(reason)
        }
        Transport::Tcp { .. } => match tcp::reset(packet, usize::from(ipv4.header_len)) {
            Some(reset) => Outcome::Refuse(DropReason::LocalPortClosed, reset),
            None => Outcome::Drop(DropReason::LocalPortClosed),
        },
        Transport::Udp { .. } if is_from_outside => Outcome::Drop(DropReason::NoSession),
        Transport::Udp { .. } => {
            Outcome::Report(DropReason::LocalPortClosed, IcmpError::PortUnreachable)
        }
        Transport::Other if !is_from_outside && ipv4.protocol != PROTOCOL_ICMP => {
            Outcome::Report(DropReason::LocalProtocol, IcmpError::ProtocolUnreachable)
        }
        _ => Outcome::Drop(DropReason::LocalProtocol),
    }
}

fn echo(packet: &[u8], ipv4: &Ipv4, id: u16) -> Outcome {
    let header_len = usize::from(ipv4.header_len);
    let message = packet.get(header_len..).unwrap_or_default();
    if message.first() != Some(&icmp::ECHO_REQUEST) || !checksum::is_valid(message) {
        return Outcome::Drop(DropReason::LocalProtocol);
    }
    Outcome::Answer(icmp::echo_reply(packet, header_len, id))
}
