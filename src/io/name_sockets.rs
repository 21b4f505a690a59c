//! Sockets at which a host's resolver is expected, opened in the host's namespace.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::{Namespace, OpenError, netlink};

/// Where a host's own resolver is; Docker's address.
pub const HOST_RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;

/// Sockets at [`HOST_RESOLVER`] in a namespace; they keep it alive. Both are non-blocking.
#[derive(Debug)]
pub struct NameSockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For connections.
    pub tcp: TcpListener,
    /// The namespace's inode.
    pub namespace: u64,
}

impl NameSockets {
    /// Opens them in a namespace.
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if something listens there already, or what the system refused.
    pub fn open(namespace: &Namespace) -> Result<Self, OpenError> {
        let place = namespace.place();
        let inode = namespace.inode();
        namespace.run(move || {
            // An adopted namespace may have lost it.
            netlink::set_loopback_up()?;
            let what = format!("{HOST_RESOLVER}:{PORT} in {place}");
            bind(inode).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => OpenError::Conflict {
                    what: format!("{what} is in use"),
                    remedy: "stop the resolver that listens there".to_owned(),
                },
                _ => OpenError::from_io(what, error),
            })
        })
    }
}

fn bind(namespace: u64) -> io::Result<NameSockets> {
    let udp = UdpSocket::bind((HOST_RESOLVER, PORT))?;
    let tcp = TcpListener::bind((HOST_RESOLVER, PORT))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok(NameSockets { udp, tcp, namespace })
}
