//! `/etc/resolv.conf`: which resolvers this host has, and what hosts are told instead (resolv.conf(5)).

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::forwarder::{MAX_UPSTREAMS, at_usual_port};
use crate::io::HOST_RESOLVER;
use crate::local::dns::DNS_PORT;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Longest list of domains, in bytes.
const MAX_SEARCH: usize = 4096;

/// The resolvers of this host, as far as they were read.
#[derive(Clone, Debug)]
pub struct HostResolvers {
    path: PathBuf,
    /// What the file was when it was read.
    version: Option<Version>,
    servers: Vec<SocketAddr>,
    search: String,
}

/// What tells a file from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Default for HostResolvers {
    fn default() -> Self {
        Self::at(Path::new(RESOLV_CONF))
    }
}

impl HostResolvers {
    /// Those of a file, not read yet.
    pub fn at(path: &Path) -> Self {
        let (version, servers, search) = (None, Vec::new(), String::new());
        Self { path: path.to_owned(), version, servers, search }
    }

    /// Reads the file if it is another one by now; true if it says something else.
    pub fn refresh(&mut self) -> bool {
        let version = fs::metadata(&self.path).ok().map(|found| Version {
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        });
        if version == self.version && version.is_some() {
            return false;
        }
        self.version = version;
        let mut text = Vec::new();
        let file = File::open(&self.path).map(|file| file.take(MAX_FILE));
        // One that is not there says what an empty one says.
        let _ = file.and_then(|mut file| file.read_to_end(&mut text));
        let (servers, search) = parse(&String::from_utf8_lossy(&text));
        let is_other = (&servers, &search) != (&self.servers, &self.search);
        (self.servers, self.search) = (servers, search);
        is_other
    }

    /// Who is asked, in order.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The domains that short names are tried in, as in the file; may be empty.
    pub fn search(&self) -> &str {
        &self.search
    }
}

/// What hosts with a resolver of their own find in their file.
pub fn own_file(search: &str) -> String {
    let search = match search {
        "" => String::new(),
        search => format!("search {search}\n"),
    };
    format!("{search}nameserver {HOST_RESOLVER}\noptions ndots:0\n")
}

fn parse(text: &str) -> (Vec<SocketAddr>, String) {
    let mut servers = Vec::new();
    let mut search = String::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let server = words.next().and_then(server);
                servers.extend(server.filter(|_| servers.len() < MAX_UPSTREAMS));
            }
            // The last one counts.
            Some("search" | "domain") => {
                search = words.filter(|word| is_domain(word)).collect::<Vec<_>>().join(" ");
            }
            _ => {}
        }
    }
    if servers.is_empty() {
        servers.push(at_usual_port(Ipv4Addr::LOCALHOST.into()));
    }
    if search.len() > MAX_SEARCH {
        search.clear();
    }
    (servers, search)
}

fn is_domain(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_graphic())
}

/// An address, perhaps of this link only: `fe80::1%eth0`.
fn server(word: &str) -> Option<SocketAddr> {
    let Some((address, zone)) = word.split_once('%') else {
        return word.parse::<IpAddr>().ok().map(at_usual_port);
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let index = zone.parse().ok().or_else(|| {
        let index = fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?;
        index.trim().parse().ok()
    })?;
    Some(SocketAddrV6::new(address, DNS_PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_domains_are_read_as_the_c_library_reads_them() {
        let text = "; comment\n# nameserver 192.0.2.9\ndomain old.example\n\
                    search a.example b.example\nnameserver 192.0.2.1\nnameserver nonsense\n\
                    nameserver 2001:db8::1\nnameserver fe80::1%7\nnameserver 192.0.2.4\n\
                    options edns0\n";
        let (servers, search) = parse(text);
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]);
        assert_eq!(search, "a.example b.example");
        assert_eq!(parse("").0, [at_usual_port(Ipv4Addr::LOCALHOST.into())]);
    }

    #[test]
    fn a_file_that_changes_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut host = HostResolvers::at(&path);
        assert!(host.refresh(), "what is not there is the resolver on this host");
        assert!(!host.refresh());
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert!(host.refresh() && !host.refresh());
        let new = dir.path().join("new");
        fs::write(&new, "nameserver 192.0.2.2\n").unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(host.refresh());
        assert_eq!(host.servers()[0].to_string(), "192.0.2.2:53");
    }

    #[test]
    fn hosts_are_sent_to_their_own_resolver() {
        let expected = "search a.example\nnameserver 127.0.0.11\noptions ndots:0\n";
        assert_eq!(own_file("a.example"), expected);
        assert_eq!(own_file(""), "nameserver 127.0.0.11\noptions ndots:0\n");
    }
}
