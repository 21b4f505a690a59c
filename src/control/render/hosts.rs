//! Hosts that run as commands, as `docker ps` lists containers.

use crate::control::hosts::HostRow;

/// Titles of the columns.
const TITLES: [&str; 5] = ["NAME", "PID", "UP", "ADDRESSES", "PUBLISHED"];

/// One line for each host, under titles.
pub fn hosts(rows: &[HostRow]) -> String {
    let cells = |row: &HostRow| {
        let addresses = row.interfaces.iter().map(|interface| {
            let address = interface.address.map(|address| format!(" {address}"));
            format!("{}{}", interface.network, address.unwrap_or_default())
        });
        [
            row.name.clone(),
            row.pid.to_string(),
            duration(row.since_s),
            addresses.collect::<Vec<_>>().join(", "),
            row.publish.join(", "),
        ]
    };
    super::columns(&TITLES.map(str::to_owned), &rows.iter().map(cells).collect::<Vec<_>>())
}

/// The two largest units of a time.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::hosts::HostInterface;
    use std::net::Ipv4Addr;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let interface = |network: &str, last| HostInterface {
            name: "eth0".to_owned(),
            network: network.to_owned(),
            address: Some(Ipv4Addr::new(172, 17, 0, last)),
            mac: None,
        };
        let row = |name: &str, since_s, interfaces, publish| HostRow {
            name: name.to_owned(),
            pid: 4711,
            since_s,
            interfaces,
            publish,
            links: Vec::new(),
        };
        let both = vec![interface("bridge", 2), interface("back", 3)];
        let rows = [
            row("web", 59, both, vec!["8080:80".to_owned(), "53/udp".to_owned()]),
            row("database", 93_784, vec![interface("bridge", 10)], Vec::new()),
        ];
        assert_eq!(
            hosts(&rows),
            "NAME       PID    UP     ADDRESSES                            PUBLISHED\n\
             web        4711   59s    bridge 172.17.0.2, back 172.17.0.3   8080:80, 53/udp\n\
             database   4711   1d2h   bridge 172.17.0.10\n"
        );
        assert_eq!([61, 3661].map(duration), ["1m1s", "1h1m"]);
    }
}
