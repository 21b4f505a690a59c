//! TCP through the translation (RFC 5382, RFC 7857): every segment passes, the state only
//! decides how long a session lives.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::packet::tcp::{ACK, FIN, RST, SYN};

/// A client inside, a server outside, and the connection between them.
struct Connection {
    lab: Lab,
    client: LabPort,
    router: LabPort,
}

impl Connection {
    fn new() -> Self {
        Self::on(Lab::new())
    }

    fn on(mut lab: Lab) -> Self {
        let (router, client) = (lab.router(), lab.known_inside(2));
        Self { lab, client, router }
    }

    fn out(&mut self, flags: u8) -> Vec<(PortId, Vec<u8>)> {
        let (from, to) = (self.client.at(5000), far(80));
        let segment = build::tcp(self.client.to_gateway(), from, to, flags, b"");
        self.lab.send(&self.client, &segment)
    }

    fn back(&mut self, flags: u8) -> Vec<(PortId, Vec<u8>)> {
        let segment = build::tcp(self.router.to_gateway(), far(80), ext(5000), flags, b"");
        self.lab.send(&self.router, &segment)
    }

    /// Segments in order, `true` from the client; all of them must pass.
    fn talk(&mut self, segments: &[(bool, u8)]) {
        for (is_out, flags) in segments {
            if *is_out {
                let out = self.out(*flags);
                assert_eq!(only_tcp(&out, &self.router).src, ext(5000), "{flags:#x}");
                assert_eq!(out[0].1[47], *flags);
            } else {
                let out = self.back(*flags);
                assert_eq!(only_tcp(&out, &self.client).dst, self.client.at(5000), "{flags:#x}");
                assert_eq!(out[0].1[47], *flags);
            }
        }
    }

    fn state(&self) -> String {
        let rows = self.lab.engine.session_rows(self.lab.now(), 10);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].state.clone()
    }

    /// Seconds the session has left.
    fn lifetime(&self) -> u64 {
        self.lab.engine.session_rows(self.lab.now(), 10)[0].expires_s
    }

    fn pass(&mut self, secs: u64) {
        let hosts = [&self.client, &self.router];
        pass(&mut self.lab, &hosts, Duration::from_secs(secs));
    }

    fn is_gone(&self) -> bool {
        self.lab.engine.session_usage().0 == 0
    }
}

const OPEN: [(bool, u8); 3] = [(true, SYN), (false, SYN | ACK), (true, ACK)];

#[test]
fn a_connection_opens_talks_and_closes_with_the_lifetimes_of_the_rfcs() {
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&OPEN[..1]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("SYN_SENT", 240));
        tcp.talk(&OPEN[1..2]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("SYN_RECV", 240));
        tcp.talk(&OPEN[2..]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("ESTABLISHED", 7440));
        // Half closed: data still passes towards the side that sent FIN.
        tcp.talk(&[(true, FIN | ACK), (false, ACK), (false, ACK), (true, ACK)]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("FIN_WAIT", 7440));
        tcp.talk(&[(false, FIN | ACK), (true, ACK)]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("TIME_WAIT", 240));
        // Retransmissions pass.
        tcp.talk(&[(false, FIN | ACK), (true, ACK), (true, FIN | ACK)]);
        tcp.pass(239);
        assert!(!tcp.is_gone());
        tcp.pass(3);
        assert!(tcp.is_gone());
        // After a tracked close the port rests for nobody.
        let other = tcp.lab.known_inside(3);
        let syn = build::tcp(other.to_gateway(), other.at(5000), far(80), SYN, b"");
        assert_eq!(only_tcp(&tcp.lab.send(&other, &syn), &tcp.router).src, ext(5000));
        tcp.lab
    });
}

#[test]
fn an_unanswered_attempt_lives_240_s() {
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&OPEN[..1]);
        tcp.pass(239);
        assert!(!tcp.is_gone());
        tcp.pass(3);
        assert!(tcp.is_gone());
        assert!(tcp.back(SYN | ACK).is_empty());
        tcp.lab
    });
}

#[test]
fn an_idle_connection_lives_two_hours_and_four_minutes() {
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&OPEN);
        tcp.lab.advance(Duration::from_secs(7439));
        assert!(!tcp.is_gone());
        tcp.lab.advance(Duration::from_secs(3));
        assert!(tcp.is_gone());
        tcp.lab
    });
}

#[test]
fn a_reset_passes_and_a_connection_that_goes_on_talking_lives() {
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&OPEN);
        tcp.talk(&[(false, RST)]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("CLOSE", 240));
        tcp.talk(&[(true, ACK), (false, ACK)]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("ESTABLISHED", 7440));
        tcp.talk(&[(true, RST)]);
        tcp.pass(242);
        assert!(tcp.is_gone());
        tcp.lab
    });
}

#[test]
fn a_new_connection_on_a_reset_four_tuple_starts_from_the_beginning() {
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&OPEN);
        tcp.talk(&[(true, FIN | ACK), (false, RST)]);
        tcp.talk(&OPEN[..1]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("SYN_SENT", 240));
        tcp.talk(&OPEN[1..]);
        // The old FIN does not count for the new connection.
        tcp.talk(&[(false, FIN | ACK)]);
        assert_eq!((tcp.state().as_str(), tcp.lifetime()), ("FIN_WAIT", 7440));
        tcp.lab
    });
}

#[test]
fn a_closed_four_tuple_opens_again_only_by_both_sides() {
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&OPEN);
        tcp.talk(&[(true, FIN | ACK), (false, FIN | ACK), (true, ACK)]);
        tcp.talk(&[(true, SYN)]);
        assert_eq!(tcp.state(), "TIME_WAIT");
        tcp.talk(&[(false, SYN | ACK), (true, ACK)]);
        assert_eq!(tcp.state(), "ESTABLISHED");
        tcp.lab
    });
}

#[test]
fn simultaneous_open_and_challenge_acks_pass() {
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&[(true, SYN), (false, SYN), (true, SYN | ACK), (false, SYN | ACK)]);
        tcp.talk(&[(true, ACK)]);
        assert_eq!(tcp.state(), "ESTABLISHED");
        tcp.lab
    });
    twice(|| {
        let mut tcp = Connection::new();
        tcp.talk(&[(true, SYN), (false, ACK), (true, RST), (true, SYN)]);
        tcp.talk(&OPEN[1..]);
        assert_eq!(tcp.state(), "ESTABLISHED");
        tcp.lab
    });
}

#[test]
fn a_connection_that_was_there_before_is_picked_up_by_an_outbound_segment() {
    twice(|| {
        let mut tcp = Connection::new();
        assert!(tcp.back(ACK).is_empty());
        assert_eq!(tcp.lab.dropped(DropReason::NoSession), 1);
        tcp.talk(&[(true, ACK), (false, ACK), (true, ACK)]);
        assert_eq!(tcp.state(), "ESTABLISHED");
        tcp.lab
    });
}

#[test]
fn an_unsolicited_syn_is_met_with_silence_and_does_not_disturb_hole_punching() {
    twice(|| {
        let mut tcp = Connection::new();
        assert!(tcp.back(SYN).is_empty());
        assert!(tcp.lab.advance(Duration::from_secs(5)).is_empty());
        // The outbound SYN matches: simultaneous open through the hole.
        tcp.talk(&[(true, SYN), (false, SYN), (true, SYN | ACK), (false, ACK)]);
        assert_eq!(tcp.lab.dropped(DropReason::UnsolicitedSyn), 1);
        // Another stranger's SYN to the mapping.
        let syn = build::tcp(tcp.router.to_gateway(), stranger(80), ext(5000), SYN, b"");
        assert!(tcp.lab.send(&tcp.router, &syn).is_empty());
        assert_eq!(tcp.lab.dropped(DropReason::Filtered), 1);
        tcp.lab
    });
}

#[test]
fn open_mappings_admit_strangers_connections() {
    twice(|| {
        let mut tcp = Connection::on(lab_with_mode(NatMode::EimEif));
        tcp.talk(&OPEN);
        let syn = build::tcp(tcp.router.to_gateway(), stranger(9), ext(5000), SYN, b"");
        let seen = only_tcp(&tcp.lab.send(&tcp.router, &syn), &tcp.client);
        assert_eq!((seen.src, seen.dst), (stranger(9), tcp.client.at(5000)));
        let answer =
            build::tcp(tcp.client.to_gateway(), tcp.client.at(5000), stranger(9), SYN | ACK, b"");
        assert_eq!(only_tcp(&tcp.lab.send(&tcp.client, &answer), &tcp.router).src, ext(5000));
        assert_eq!(tcp.lab.engine.session_usage().0, 2);
        tcp.lab
    });
}

#[test]
fn mappings_of_tcp_udp_and_icmp_are_independent() {
    twice(|| {
        let mut tcp = Connection::new();
        let (other, router) = (tcp.lab.known_inside(3), tcp.router);
        tcp.talk(&OPEN);
        assert_eq!(leave(&mut tcp.lab, (&other, &router), 5000, far(80)), ext(5000));
        let ping = build::echo(other.to_gateway(), other.ip, FAR, 5000, false);
        let seen = only_icmp(&tcp.lab.send(&other, &ping), &router);
        assert_eq!(seen.payload[4..6], 5000u16.to_be_bytes());
        tcp.lab
    });
}

#[test]
fn options_urgent_pointer_window_and_reserved_bits_stay() {
    twice(|| {
        let mut tcp = Connection::new();
        let (client, router) = (tcp.client, tcp.router);
        // Options, an urgent pointer and all flag bits, behind a well-formed header.
        let mut segment = vec![0; 40];
        segment[..4].copy_from_slice(&[0x13, 0x88, 0, 80]);
        segment[4..12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        segment[12..16].copy_from_slice(&[0xaf, 0xf2, 0x12, 0x34]);
        segment[18..20].copy_from_slice(&[0x56, 0x78]);
        segment[20..40]
            .copy_from_slice(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
        let sum = tapway::packet::checksum::transport(client.ip, FAR, 6, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let sent = packet(client.to_gateway(), client.ip, FAR, 6, &segment);
        for _ in 0..2 {
            let out = only(&tcp.lab.send(&client, &sent), &router);
            read(&out);
            assert_eq!(out[34..50], segment[..16]);
            assert_eq!(out[52..], segment[18..]);
        }
        tcp.lab
    });
}

#[test]
fn a_wrong_checksum_is_translated_and_stays_wrong() {
    twice(|| {
        let mut tcp = Connection::new();
        let (client, router) = (tcp.client, tcp.router);
        let mut sent = build::tcp(client.to_gateway(), client.at(5000), far(80), SYN, b"");
        sent[50] ^= 0x40;
        let mut out = only(&tcp.lab.send(&client, &sent), &router);
        assert_eq!(out[26..30], Lab::EXTERNAL.octets());
        out[50] ^= 0x40;
        let segment = &out[34..];
        let wrong = tapway::packet::checksum::transport(Lab::EXTERNAL, FAR, 6, segment);
        assert_eq!(wrong, 0, "only the bit that was wrong is");
        tcp.lab
    });
}
