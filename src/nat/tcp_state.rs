//! The life of a TCP connection, as far as a NAT must know it (RFC 6146 3.5.2, RFC 7857 2).
//!
//! Liberal: no window check, and every segment passes. Only the lifetime depends on the state.
//! A reset is believed for the transitory time; a connection that goes on talking lives.

use super::Direction;
use crate::packet::tcp::{FIN, RST, SYN};

const SYN_ORIGINAL: u8 = 1;
const SYN_REPLY: u8 = 1 << 1;
const FIN_ORIGINAL: u8 = 1 << 2;
const FIN_REPLY: u8 = 1 << 3;
const RESET: u8 = 1 << 4;
const ANSWERED: u8 = 1 << 5;
const CONFIRMED: u8 = 1 << 6;
const BOTH_SYN: u8 = SYN_ORIGINAL | SYN_REPLY;
const BOTH_FIN: u8 = FIN_ORIGINAL | FIN_REPLY;

/// What decides a connection's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpPhase {
    /// Not answered, or answered and not confirmed.
    Opening,
    /// Both sides have talked.
    Established,
    /// Both sides have finished, or one has reset.
    Closing,
}

/// State of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpState(u8);

impl TcpState {
    /// The state as a byte, for snapshots.
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// The state of a snapshot.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x7f)
    }

    /// What decides its lifetime.
    pub const fn phase(self) -> TcpPhase {
        if self.0 & RESET != 0 || self.0 & BOTH_FIN == BOTH_FIN {
            TcpPhase::Closing
        } else if self.0 & CONFIRMED != 0 {
            TcpPhase::Established
        } else {
            TcpPhase::Opening
        }
    }

    /// True if a segment with these flags can change the state.
    pub const fn wants(self, flags: u8) -> bool {
        flags & (SYN | FIN | RST) != 0 || !matches!(self.phase(), TcpPhase::Established)
    }

    /// The state after a segment.
    #[must_use]
    pub const fn after(self, direction: Direction, flags: u8) -> Self {
        let mut bits = self.0;
        let (syn, fin) = match direction {
            Direction::Original => (SYN_ORIGINAL, FIN_ORIGINAL),
            Direction::Reply => (SYN_REPLY, FIN_REPLY),
        };
        if flags & RST != 0 {
            return Self(bits | RESET);
        }
        if bits & RESET != 0 && flags & SYN != 0 {
            bits = 0; // a new connection on the same four-tuple
        }
        bits &= !RESET;
        if matches!(direction, Direction::Reply) {
            bits |= ANSWERED;
        } else if bits & ANSWERED != 0 && flags & SYN == 0 {
            bits |= CONFIRMED;
        }
        if flags & SYN != 0 {
            bits |= syn;
            // Both sides open the closed four-tuple anew (RFC 6191).
            if bits & BOTH_FIN == BOTH_FIN && bits & BOTH_SYN == BOTH_SYN {
                bits = BOTH_SYN | ANSWERED;
            }
        }
        if flags & FIN != 0 && bits & fin == 0 {
            bits |= fin;
            if bits & BOTH_FIN == BOTH_FIN {
                bits &= !BOTH_SYN;
            }
        }
        Self(bits)
    }

    /// The name of the state as `conntrack -L` prints it.
    pub const fn name(self) -> &'static str {
        match self.0 {
            bits if bits & RESET != 0 => "CLOSE",
            bits if bits & BOTH_FIN == BOTH_FIN => "TIME_WAIT",
            bits if bits & BOTH_FIN != 0 => "FIN_WAIT",
            bits if bits & CONFIRMED != 0 => "ESTABLISHED",
            bits if bits & ANSWERED != 0 => "SYN_RECV",
            _ => "SYN_SENT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tcp::ACK;
    use Direction::{Original as O, Reply as R};

    fn phase(segments: &[(Direction, u8)]) -> TcpPhase {
        segments
            .iter()
            .fold(TcpState::default(), |state, (direction, flags)| state.after(*direction, *flags))
            .phase()
    }

    const OPEN: [(Direction, u8); 3] = [(O, SYN), (R, SYN | ACK), (O, ACK)];

    #[test]
    fn a_connection_opens_and_closes() {
        assert_eq!(phase(&OPEN[..1]), TcpPhase::Opening);
        assert_eq!(phase(&OPEN[..2]), TcpPhase::Opening);
        assert_eq!(phase(&OPEN), TcpPhase::Established);
        let half = [&OPEN[..], &[(O, FIN | ACK), (R, ACK), (R, ACK)]].concat();
        assert_eq!(phase(&half), TcpPhase::Established);
        let closed = [&half[..], &[(R, FIN | ACK), (O, ACK)]].concat();
        assert_eq!(phase(&closed), TcpPhase::Closing);
        let one_sided = [&closed[..], &[(O, SYN)]].concat();
        assert_eq!(phase(&one_sided), TcpPhase::Closing);
        let reopened = [&one_sided[..], &[(R, SYN | ACK), (O, ACK)]].concat();
        assert_eq!(phase(&reopened), TcpPhase::Established);
    }

    #[test]
    fn a_forged_reset_does_not_end_a_connection_that_goes_on() {
        let reset = [&OPEN[..], &[(R, RST)]].concat();
        assert_eq!(phase(&reset), TcpPhase::Closing);
        assert_eq!(phase(&[&reset[..], &[(O, ACK)]].concat()), TcpPhase::Established);
    }

    #[test]
    fn simultaneous_open_and_challenge_ack_go_on() {
        assert_eq!(
            phase(&[(O, SYN), (R, SYN), (O, SYN | ACK), (R, SYN | ACK), (O, ACK)]),
            TcpPhase::Established
        );
        let challenged = [(O, SYN), (R, ACK), (O, RST), (O, SYN), (R, SYN | ACK), (O, ACK)];
        assert_eq!(phase(&challenged), TcpPhase::Established);
    }
}
