//! A host's `/etc/hosts`, as Docker writes it.

use std::net::Ipv4Addr;

use super::Link;

/// What every host's file begins with.
const USUAL_LINES: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The file of a host: the usual lines, those of its links, and its own addresses and names.
pub fn etc_hosts(own: &[(Ipv4Addr, &str)], links: &[Link]) -> String {
    let mut text = USUAL_LINES.to_owned();
    for link in links {
        text.push_str(&format!("{}\t{}\n", link.address, link.names()));
    }
    for (address, name) in own {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_dockers() {
        let link = |target: &str, alias: &str, last| Link {
            target: target.to_owned(),
            alias: alias.to_owned(),
            address: Ipv4Addr::new(172, 17, 0, last),
            ports: Vec::new(),
        };
        let links = [link("db", "database", 2), link("mq", "mq", 4)];
        let own = [(Ipv4Addr::new(172, 17, 0, 3), "web"), (Ipv4Addr::new(172, 22, 0, 2), "web")];
        assert_eq!(
            etc_hosts(&own, &links),
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n\
             172.17.0.2\tdatabase db\n\
             172.17.0.4\tmq\n\
             172.17.0.3\tweb\n\
             172.22.0.2\tweb\n"
        );
    }
}
