//! `/etc/resolv.conf` of hosts whose networks have no names: this host's own resolvers, without
//! those on its loopback interface, which nobody else reaches. As Docker's for its default
//! network, but for one thing: where no resolver is left, none is made up.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;

/// Where this host's resolvers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What systemd's resolver asks itself, where [`RESOLV_CONF`] names that resolver only.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";
/// Where systemd's resolver answers.
const SYSTEMD: &str = "127.0.0.53";
/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// The file for a host that asks this host's resolvers.
pub fn etc_resolv_conf() -> String {
    let own = read(RESOLV_CONF);
    match nameservers(&own).all(|server| server == SYSTEMD) && nameservers(&own).count() > 0 {
        true => without_loopback(&read(BEHIND_SYSTEMD)),
        false => without_loopback(&own),
    }
}

fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    // One that is not there says what an empty one says.
    let _ = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn nameservers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(nameserver)
}

fn nameserver(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| *word == "nameserver").and(words.next())
}

fn without_loopback(text: &str) -> String {
    let is_loopback = |line: &str| {
        let address = nameserver(line).and_then(|address| address.parse::<IpAddr>().ok());
        address.is_some_and(|address| address.is_loopback())
    };
    let is_kept = |line: &&str| {
        !line.trim().is_empty() && !line.starts_with(['#', ';']) && !is_loopback(line)
    };
    text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_that_others_reach_and_all_options_stay() {
        let text = "# by hand\nnameserver 127.0.0.1\nnameserver ::1\n\n  nameserver 10.0.0.1\n\
                    search example.org corp\noptions edns0 ndots:2\nnameserver 2001:db8::1\n";
        assert_eq!(
            without_loopback(text),
            "  nameserver 10.0.0.1\nsearch example.org corp\noptions edns0 ndots:2\n\
             nameserver 2001:db8::1\n"
        );
        assert_eq!(nameservers(text).collect::<Vec<_>>().len(), 4);
    }
}
