//! An uplink that shares the address of tapway's host.
//!
//! The host's kernel answers ARP and echo there, and takes all but tapway's external ports and
//! the published ones. Of ARP, ICMP and fragments tapway gets copies: it reads what is about its
//! own flows, and the rest ends as [`DropReason::HostsOwn`]. It answers, defends and announces
//! nothing.

use super::pipeline::{Frame, Verdict};
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::packet::{Arp, ArpOperation, Ipv4, PROTOCOL_TCP, PROTOCOL_UDP};

impl Engine {
    /// Reads the copy of an ARP message: who asks the host, and who answers tapway.
    pub(super) fn arp_copy(&mut self, pass: &Pass<'_>, frame: &Frame, arp: &Arp) -> Verdict {
        let own = Verdict::Dropped(DropReason::HostsOwn);
        let Some(interface) = self.interfaces.get(frame.network) else { return own };
        let (network, ip, mac) = (frame.network, arp.sender_ip, arp.sender_mac);
        let is_neighbour = interface.subnet.contains(&ip)
            && !ip.is_unspecified()
            && interface.address != ip
            && interface.mac != mac;
        if !is_neighbour {
            return own;
        }
        let is_answer = arp.operation == ArpOperation::Reply
            && arp.target_ip == interface.address
            && frame.headers.dst == interface.mac;
        let is_wanted = if is_answer {
            self.neighbours.heard_reply(pass.now, network, ip, mac)
        } else {
            self.neighbours.merge(pass.now, network, ip, mac)
        };
        if !is_wanted {
            return own;
        }
        self.tell_neighbour(network, (ip, mac), is_answer);
        Verdict::Local
    }

    /// True if a packet for an address of tapway came in by an uplink whose address is the host's
    /// as well, and the host takes it itself.
    pub(super) fn is_hosts_own(&self, frame: &Frame, ipv4: &Ipv4) -> bool {
        let interface = self.interfaces.get(frame.network);
        let Some(span) = interface.and_then(|interface| interface.shared) else { return false };
        if ipv4.fragment_offset > 0 || !matches!(ipv4.protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
            return true;
        }
        let Some(key) = ipv4.datagram_key(frame.network) else { return true };
        !span.contains(key.dport)
    }
}
