//! `/etc/hosts`.

use std::fmt::Write as _;

use crate::control::api::NamesReport;

/// As lines of a hosts file, aliases without the full name; what the resolver counted as comments.
pub fn names(report: &NamesReport) -> String {
    let mut text = String::new();
    for row in &report.names {
        for address in &row.addresses {
            let (name, network) = (&row.name, &row.network);
            let _ = match row.is_alias {
                true => writeln!(text, "{address:<15} {name} # alias in {network}"),
                false => writeln!(text, "{address:<15} {name}.{network} {name}"),
            };
        }
    }
    for (counter, value) in report.resolver.rows() {
        if value > 0 {
            let _ = writeln!(text, "# resolver: {} {value}", counter.replace('_', " "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::resolver::ResolverStats;
    use crate::local::dns::NameRow;
    use std::net::Ipv4Addr;

    #[test]
    fn names_are_lines_of_a_hosts_file() {
        let row = |name: &str, last: &[u8], is_alias| NameRow {
            network: "dns".to_owned(),
            name: name.to_owned(),
            addresses: last.iter().map(|last| Ipv4Addr::new(172, 22, 0, *last)).collect(),
            is_alias,
        };
        let names_ = vec![row("web1", &[2], false), row("www", &[2, 3], true)];
        let resolver = ResolverStats { queries: 7, from_cache: 1, ..ResolverStats::default() };
        let expected = "172.22.0.2      web1.dns web1\n\
                        172.22.0.2      www # alias in dns\n\
                        172.22.0.3      www # alias in dns\n\
                        # resolver: queries 7\n\
                        # resolver: from cache 1\n";
        assert_eq!(names(&NamesReport { names: names_, resolver }), expected);
    }
}
