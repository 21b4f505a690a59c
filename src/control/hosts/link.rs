//! Links: a host is told where another one is, by its environment and its hosts file.
//!
//! The variables are those of Docker's links, in Docker's order. Those it makes of the target's own
//! environment (`ALIAS_ENV_...`) are not among them: tapway does not know that.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::ExposedPort;

/// `name[:alias]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkSyntax {
    /// The host that is linked to.
    pub target: String,
    /// What it is called by the linking host.
    pub alias: String,
}

/// What is wrong with a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkSyntaxError {
    /// Too many parts, or an empty one.
    #[error("\"{0}\" is not a link; write NAME or NAME:ALIAS")]
    Form(String),
    /// The alias cannot be a host's name.
    #[error("alias \"{0}\": use letters, digits, - _ . and start with a letter or digit")]
    Alias(String),
}

/// A link whose target was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The target's name.
    pub target: String,
    /// What the linking host calls it.
    pub alias: String,
    /// Where the target is.
    pub address: Ipv4Addr,
    /// The ports it serves.
    pub ports: Vec<ExposedPort>,
}

impl FromStr for LinkSyntax {
    type Err = LinkSyntaxError;

    fn from_str(text: &str) -> Result<Self, LinkSyntaxError> {
        let (target, alias) = text.split_once(':').unwrap_or((text, text));
        if target.is_empty() || alias.is_empty() || alias.contains(':') {
            return Err(LinkSyntaxError::Form(text.to_owned()));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let starts_well = alias.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || !alias.chars().all(is_plain) || alias.len() > 63 {
            return Err(LinkSyntaxError::Alias(alias.to_owned()));
        }
        Ok(Self { target: target.to_owned(), alias: alias.to_owned() })
    }
}

impl fmt::Display for LinkSyntax {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.target, self.alias)
    }
}

impl Link {
    /// The variables that `host`, which has the link, finds in its environment.
    pub fn environment(&self, host: &str) -> Vec<(String, String)> {
        let alias = self.alias.to_uppercase().replace('-', "_");
        let mut ports = self.ports.clone();
        ports.sort_unstable();
        ports.dedup();
        let mut variables = Vec::with_capacity(2 + 4 * ports.len());
        if let Some(first) = ports.first() {
            variables.push((format!("{alias}_PORT"), self.url(*first)));
        }
        let mut start = 0;
        for (at, port) in ports.iter().enumerate() {
            let prefix = prefix(&alias, *port);
            variables.push((prefix.clone(), self.url(*port)));
            variables.push((format!("{prefix}_ADDR"), self.address.to_string()));
            variables.push((format!("{prefix}_PORT"), port.port.to_string()));
            variables.push((format!("{prefix}_PROTO"), port.transport.name().to_owned()));
            // Docker tells of a range where it has ended: after the first port beyond it, or after
            // the last port of all.
            let ranges = ports.get(start..at).unwrap_or_default();
            let continues = ranges.last().is_some_and(|before| follows(*before, *port));
            let is_last = at + 1 == ports.len();
            let range = match (continues, is_last) {
                (true, true) => ports.get(start..=at).unwrap_or_default(),
                (true, false) => &[],
                (false, _) => ranges,
            };
            if let [first, .., last] = range {
                variables.extend(self.range(&alias, *first, *last));
            }
            if !continues {
                start = at;
            }
        }
        variables.push((format!("{alias}_NAME"), format!("/{host}/{}", self.alias)));
        variables
    }

    /// The names of its line in the linking host's hosts file.
    pub fn names(&self) -> String {
        if self.alias == self.target {
            return self.target.clone();
        }
        format!("{} {}", self.alias, self.target)
    }

    fn range(&self, alias: &str, first: ExposedPort, last: ExposedPort) -> [(String, String); 4] {
        let prefix = prefix(alias, first);
        [
            (format!("{prefix}_START"), self.url(first)),
            (format!("{prefix}_PORT_START"), first.port.to_string()),
            (format!("{prefix}_END"), self.url(last)),
            (format!("{prefix}_PORT_END"), last.port.to_string()),
        ]
    }

    fn url(&self, port: ExposedPort) -> String {
        format!("{}://{}:{}", port.transport.name(), self.address, port.port)
    }
}

fn prefix(alias: &str, port: ExposedPort) -> String {
    format!("{alias}_PORT_{}_{}", port.port, port.transport.name().to_uppercase())
}

fn follows(before: ExposedPort, port: ExposedPort) -> bool {
    before.transport == port.transport && before.port.checked_add(1) == Some(port.port)
}

#[cfg(test)]
mod tests {
    use super::super::ExposeSyntax;
    use super::*;

    fn environment(alias: &str, ports: &[&str]) -> String {
        let ports = ports.iter().flat_map(|text| text.parse::<ExposeSyntax>().unwrap().each());
        let link = Link {
            target: "db".to_owned(),
            alias: alias.to_owned(),
            address: Ipv4Addr::new(172, 17, 0, 2),
            ports: ports.collect(),
        };
        let lines: Vec<String> =
            link.environment("web").iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.join("\n")
    }

    #[test]
    fn one_port_gives_the_variables_of_dockers_manual() {
        assert_eq!(
            environment("database", &["5432"]),
            "DATABASE_PORT=tcp://172.17.0.2:5432\n\
             DATABASE_PORT_5432_TCP=tcp://172.17.0.2:5432\n\
             DATABASE_PORT_5432_TCP_ADDR=172.17.0.2\n\
             DATABASE_PORT_5432_TCP_PORT=5432\n\
             DATABASE_PORT_5432_TCP_PROTO=tcp\n\
             DATABASE_NAME=/web/database"
        );
        assert_eq!(environment("db", &[]), "DB_NAME=/web/db");
    }

    #[test]
    fn tcp_comes_first_and_the_alias_is_made_a_variable() {
        let text = environment("my-db.1", &["53/udp", "80", "22", "80"]);
        let names: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
        assert_eq!(text.lines().next(), Some("MY_DB.1_PORT=tcp://172.17.0.2:22"));
        let ports: Vec<&&str> = names.iter().filter(|name| name.ends_with("_PROTO")).collect();
        assert_eq!(
            ports,
            [
                &"MY_DB.1_PORT_22_TCP_PROTO",
                &"MY_DB.1_PORT_80_TCP_PROTO",
                &"MY_DB.1_PORT_53_UDP_PROTO"
            ]
        );
    }

    #[test]
    fn ranges_are_told_as_docker_does() {
        let text = environment("db", &["6379-6381", "9000", "9000-9001/udp"]);
        let ranges: Vec<&str> =
            text.lines().filter(|line| line.contains("_START") || line.contains("_END")).collect();
        assert_eq!(
            ranges,
            [
                "DB_PORT_6379_TCP_START=tcp://172.17.0.2:6379",
                "DB_PORT_6379_TCP_PORT_START=6379",
                "DB_PORT_6379_TCP_END=tcp://172.17.0.2:6381",
                "DB_PORT_6379_TCP_PORT_END=6381",
                "DB_PORT_9000_UDP_START=udp://172.17.0.2:9000",
                "DB_PORT_9000_UDP_PORT_START=9000",
                "DB_PORT_9000_UDP_END=udp://172.17.0.2:9001",
                "DB_PORT_9000_UDP_PORT_END=9001",
            ]
        );
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.iter().position(|line| line.starts_with("DB_PORT_6379_TCP_PORT_END"));
        let next = lines.iter().position(|line| line.starts_with("DB_PORT_9000_TCP_PROTO"));
        assert!(next < end, "a range is told after the first port beyond it: {text}");
    }

    #[test]
    fn links_are_read() {
        let link: LinkSyntax = "db:database".parse().unwrap();
        assert_eq!((link.target.as_str(), link.alias.as_str()), ("db", "database"));
        assert_eq!("db".parse::<LinkSyntax>().unwrap().to_string(), "db:db");
        for bad in ["", ":", "db:", ":x", "a:b:c"] {
            assert!(matches!(bad.parse::<LinkSyntax>(), Err(LinkSyntaxError::Form(_))), "{bad}");
        }
        for bad in ["db:a b", "db:-x", "db:a\nb"] {
            assert!(matches!(bad.parse::<LinkSyntax>(), Err(LinkSyntaxError::Alias(_))), "{bad}");
        }
    }
}
