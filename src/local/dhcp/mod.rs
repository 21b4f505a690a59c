//! DHCPv4 messages (RFC 2131, RFC 2132, RFC 3442): reading what clients send, writing answers.
//!
//! Without state: who gets which address is control's decision. Only requests of clients on the
//! own Ethernet are read; what a relay passed on is refused. Options that are split over several
//! instances (RFC 3396) or over `sname` and `file` (option 52) are not put together: no client
//! needs either for its request. Bounds: one datagram in, one of at most [`MAX_REPLY`] bytes out.

mod message;
mod reply;

pub use message::{ClientId, DhcpMessage, DhcpRequest, MAX_HOST_NAME, RequestKind};
pub use reply::{DhcpReply, MAX_REPLY, MIN_REPLY, Parameters, ReplyKind};

/// Where servers listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;

/// Bytes before the options.
const HEAD: usize = 240;
/// The last four of them (RFC 2131 section 3).
const COOKIE: u32 = 0x6382_5363;

/// Option numbers (RFC 2132, RFC 3442).
mod option {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const CLASSLESS_ROUTES: u8 = 121;
    pub const END: u8 = 255;
}
