//! The kernel's counters of one interface, by one netlink request that does not wait for anybody.

use std::io;

use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::stats::{StatsAttribute, StatsFilterMask, StatsMessage};
use rtnetlink::sys::constants::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// Room for one answer, in bytes; the kernel sends about 250.
const ANSWER_BYTES: usize = 4096;
/// Answers to former, failed requests that are skipped.
const MAX_STALE: usize = 4;

/// A netlink socket in an interface's namespace, for its counters.
#[derive(Debug)]
pub(super) struct LinkCounters {
    socket: Socket,
    index: u32,
    sequence: u32,
}

/// Frames that an interface dropped since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Received by the interface, for its host.
    pub rx: u64,
    /// To be sent by the interface.
    pub tx: u64,
}

impl LinkCounters {
    /// Of the interface `index` in the calling thread's namespace.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, index, sequence: 0 })
    }

    /// Its drops; the kernel answers a request for one interface before `send` returns.
    pub(super) fn read(&mut self) -> io::Result<Dropped> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&self.request(), 0)?;
        let mut room = Vec::with_capacity(ANSWER_BYTES);
        for _ in 0..MAX_STALE {
            room.clear();
            self.socket.recv(&mut room, 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&room)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewStats(stats)) => {
                    dropped_of(&stats).ok_or_else(|| io::ErrorKind::InvalidData.into())
                }
                NetlinkPayload::Error(error) => Err(error.to_io()),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn request(&self) -> Vec<u8> {
        let mut stats = StatsMessage::default();
        stats.header.ifindex = self.index;
        stats.header.filter_mask = StatsFilterMask::Link64;
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetStats(stats));
        request.header.flags = NLM_F_REQUEST;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        bytes
    }
}

fn dropped_of(stats: &StatsMessage) -> Option<Dropped> {
    stats.attributes.iter().find_map(|attribute| match attribute {
        StatsAttribute::Link64(all) => Some(Dropped { rx: all.rx_dropped, tx: all.tx_dropped }),
        _ => None,
    })
}
