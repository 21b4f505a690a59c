//! The names of a network, as hosts ask for them by DNS (RFC 1034, 1035).
//!
//! Pure: (names, the asker's places in networks, a query) -> an answer, the wish to ask another resolver, or
//! silence. What a host may see are the names of the networks it is in; an own name is answered
//! for every type, so that AAAA of an address that is none is "no data" and is asked nowhere else.
//! Sockets, other resolvers and their cache are in `control`.
//!
//! Not served: zone transfers, updates, DNSSEC of own names, SRV. Bounds: a query is at most
//! [`MAX_QUERY`] bytes with [`query::MAX_RECORDS`] records, a name has at most
//! [`name_table::MAX_ADDRESSES`] addresses, an answer by UDP is at most [`MAX_UDP_ANSWER`] bytes.

mod answer;
pub mod name_table;
pub mod query;
pub mod records;
pub mod tcp;

pub use answer::{Reply, Transport, limit, refusal, reply};
pub use name_table::{NameRow, NameTable, Place};
pub use query::{Query, QueryError};

/// The port that is asked.
pub const DNS_PORT: u16 = 53;
/// Longest query that is read, in bytes: a name of 255 bytes, and options many times as long as
/// those in use.
pub const MAX_QUERY: usize = 2048;
/// Longest answer by UDP, in bytes, whatever a query says it can take (RFC 6891 6.2.5).
pub const MAX_UDP_ANSWER: usize = 4096;
/// What every resolver takes by UDP, in bytes (RFC 1035 4.2.1).
pub const MIN_UDP_ANSWER: usize = 512;
