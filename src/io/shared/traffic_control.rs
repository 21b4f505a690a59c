//! The filter at an interface's ingress, by rtnetlink (linux/pkt_sched.h, linux/pkt_cls.h).
//!
//! A filter needs a queueing discipline `clsact` to hang on. One that is there, whoever made it,
//! is used and left; one that tapway made goes with the filter if nobody else hangs on it by then.
//! Both facts must outlive a kill, so they are in the filter itself: it is tapway's by its
//! preference, its handle and the mark that its program begins with, and a bit of the mark says
//! who made the `clsact`. A filter of anybody else is never touched.

use std::io;

use libc::sock_filter;
use rtnetlink::sys::constants::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::packet::ETHERTYPE_IPV4;

/// Before filters that others may have at their usual preferences.
const PREFERENCE: u32 = 77;
/// "tapw".
const HANDLE: u32 = 0x7461_7077;
/// The first half of the mark, "ta"; the second says who made the `clsact`.
const MARK: u32 = 0x7461_0000;
const MADE_CLSACT: u32 = 1;

/// Where filters hang: the interface's `clsact`, its ingress and its egress.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FLAGS: u16 = 8;
/// The program says what becomes of the frame.
const ACT_DIRECT: u32 = 1;
const NESTED: u16 = 1 << 15;

const HEADER: usize = 16;
const TC_HEADER: usize = 20;

/// The filter of one interface.
#[derive(Debug)]
pub(super) struct IngressFilter {
    index: u32,
    socket: Socket,
    sequence: u32,
    made_clsact: bool,
}

impl IngressFilter {
    /// Prepares the ingress of an interface of the calling thread's namespace, and takes over
    /// what a tapway that was killed left there.
    ///
    /// # Errors
    /// What the kernel refused; `AlreadyExists` if somebody else's filter is in the way.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let mut filter = Self::at(index)?;
        let new = flags(libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        let place = Place { handle: CLSACT_HANDLE, parent: CLSACT, info: 0 };
        match filter.ask(libc::RTM_NEWQDISC, new, place, &text(TCA_KIND, "clsact")) {
            Ok(_) => filter.made_clsact = true,
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                filter.made_clsact = filter.left_mark()? == Some(MARK | MADE_CLSACT);
            }
            Err(error) => return Err(error),
        }
        Ok(filter)
    }

    /// The filter that a tapway left at an interface, if there is one.
    pub(super) fn left(index: u32) -> io::Result<Option<Self>> {
        let mut filter = Self::at(index)?;
        let mark = filter.left_mark()?;
        filter.made_clsact = mark == Some(MARK | MADE_CLSACT);
        Ok(mark.map(|_| filter))
    }

    fn at(index: u32) -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { index, socket, sequence: 0, made_clsact: false })
    }

    /// What its program must begin with.
    pub(super) const fn mark(&self) -> u32 {
        if self.made_clsact { MARK | MADE_CLSACT } else { MARK }
    }

    /// Sets the program, in place of the former one without a gap.
    pub(super) fn set(&mut self, program: &[sock_filter]) -> io::Result<()> {
        let mut steps = Vec::with_capacity(program.len() * 8);
        for sock_filter { code, jt, jf, k } in program {
            steps.extend(code.to_ne_bytes());
            steps.extend([*jt, *jf]);
            steps.extend(k.to_ne_bytes());
        }
        let options = [
            attribute(TCA_BPF_OPS_LEN, &(program.len() as u16).to_ne_bytes()),
            attribute(TCA_BPF_OPS, &steps),
            attribute(TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes()),
        ];
        let filter =
            [text(TCA_KIND, "bpf"), attribute(TCA_OPTIONS | NESTED, &options.concat())].concat();
        self.ask(libc::RTM_NEWTFILTER, flags(libc::NLM_F_CREATE), OURS, &filter).map(|_| ())
    }

    /// Removes the filter, and the `clsact` if tapway made it and nobody else uses it.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        match self.ask(libc::RTM_DELTFILTER, flags(0), OURS, &text(TCA_KIND, "bpf")) {
            // It was never set, or there is another one in its place.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {}
            other => drop(other?),
        }
        if !self.made_clsact || self.has_filters(INGRESS)? || self.has_filters(EGRESS)? {
            return Ok(());
        }
        let place = Place { handle: CLSACT_HANDLE, parent: CLSACT, info: 0 };
        self.ask(libc::RTM_DELQDISC, flags(0), place, &[]).map(|_| ())
    }

    /// The mark of a filter that a tapway left; none if there is none.
    fn left_mark(&mut self) -> io::Result<Option<u32>> {
        let found = match self.ask(libc::RTM_GETTFILTER, flags(0), OURS, &[]) {
            Ok(found) => found,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mark = found.first().and_then(|message| {
            let options = find(message.get(TC_HEADER..)?, TCA_OPTIONS)?;
            // The first step: code, two jumps, and the value.
            find(options, TCA_BPF_OPS)?.get(4..8)?.first_chunk().copied().map(u32::from_ne_bytes)
        });
        match mark {
            Some(mark) if mark & !MADE_CLSACT == MARK => Ok(Some(mark)),
            _ => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn has_filters(&mut self, parent: u32) -> io::Result<bool> {
        let place = Place { handle: 0, parent, info: 0 };
        let all = self.ask(libc::RTM_GETTFILTER, flags(libc::NLM_F_DUMP), place, &[])?;
        Ok(!all.is_empty())
    }

    /// Sends a request; gives back the messages that answer it, without their headers.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        place: Place,
        attributes: &[u8],
    ) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let is_dump = flags & libc::NLM_F_DUMP as u16 != 0;
        let length = (HEADER + TC_HEADER + attributes.len()) as u32;
        let mut request = Vec::with_capacity(length as usize);
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 8]);
        request.extend(self.index.to_ne_bytes());
        for word in [place.handle, place.parent, place.info] {
            request.extend(word.to_ne_bytes());
        }
        request.extend(attributes);
        self.socket.send(&request, 0)?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while let Some((kind, sequence, body, next)) = message(rest) {
                rest = next;
                if sequence != self.sequence {
                    continue;
                }
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(answers),
                    libc::NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        let failed = io::Error::from_raw_os_error(-code);
                        return if code == 0 { Ok(answers) } else { Err(failed) };
                    }
                    // The kernel filters a dump by interface only loosely.
                    _ if is_dump && index_of(body) != Some(self.index) => {}
                    _ => answers.push(body.to_vec()),
                }
            }
        }
    }
}

/// Whereof a request is.
#[derive(Clone, Copy)]
struct Place {
    handle: u32,
    parent: u32,
    info: u32,
}

/// tapway's filter: its preference, and the protocol in network order.
const OURS: Place = Place {
    handle: HANDLE,
    parent: INGRESS,
    info: PREFERENCE << 16 | ETHERTYPE_IPV4.to_be() as u32,
};

const fn flags(more: libc::c_int) -> u16 {
    (libc::NLM_F_REQUEST | libc::NLM_F_ACK | more) as u16
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 8);
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// The first message: its kind, sequence number and body, and what follows.
fn message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let sequence = u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, sequence, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn index_of(body: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*body.get(4..)?.first_chunk()?))
}

/// The value of the first attribute of a kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(4..length)?;
        if kind & !NESTED == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}
