//! This host beside the containers, links, names, and two networks that do not meet.

use std::net::SocketAddrV4;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::super::DemoError;
use super::super::host::FULL_TTL;
use super::super::names::{self, Answer};
use super::super::stage::Stage;
use super::super::topology::{HTTP, HostName};
use super::super::transcript::Finding;
use super::{Script, ping_line, station};
use crate::control::model::HostIndex;
use crate::drop_reason::DropReason;
use crate::io::EtcFile;

/// What nginx2 calls nginx1.
const ALIAS: &str = "web";
/// Nobody's name (RFC 6761 6.4).
const UNKNOWN: &str = "nobody.invalid";
/// How long a question that goes to other resolvers may take: three of them, each given four
/// seconds, and a little.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(13);
const NO_FILES: &str = "a simulated host has no files; run as root, in namespaces";
const NO_RESOLVERS: &str = "simulated hosts have no resolver beyond; run as root, in namespaces";

impl<S: Stage> Script<'_, '_, S> {
    pub(super) fn fetch_from_here(&mut self) -> Result<(), DemoError> {
        if let Some(why) = self.stage.without_here() {
            let finding = Finding::Skipped(why.to_owned());
            self.transcript.mark(&finding);
            return Ok(());
        }
        let nginx1 = SocketAddrV4::new(HostName::Nginx1.address(), HTTP);
        let saw = (HostName::Nginx1, HostName::Here.address());
        let why = "nginx1 saw the host's own address in the network, not the gateway's";
        self.check_greeting(HostName::Here, nginx1, saw, why)
    }

    pub(super) fn show_link(&mut self) -> Result<(), DemoError> {
        self.check_file(
            HostName::Nginx2,
            EtcFile::Hosts,
            &[
                format!("{}\t{ALIAS} {}", HostName::Nginx1.address(), HostName::Nginx1.name()),
                format!("{}\t{}", HostName::Nginx2.address(), HostName::Nginx2.name()),
            ],
        )?;
        let linked = HostName::Nginx2.name();
        self.transcript.printed("The link as environment variables, which have Docker's names:");
        let index = HostIndex::of(self.stage.model());
        let host = index.host(linked).ok_or(DemoError::Missing(linked))?;
        let links = index.links(host);
        let variables = links.iter().flat_map(|link| link.environment(linked));
        let found: Vec<String> = variables.map(|(name, value)| format!("{name}={value}")).collect();
        self.transcript.printed(&found.join("\n"));
        let address = HostName::Nginx1.address();
        let expected =
            [format!("WEB_PORT_{HTTP}_TCP_ADDR={address}"), format!("WEB_NAME=/{linked}/{ALIAS}")];
        let why = "they tell of the port that nginx1 publishes";
        self.transcript.mark(&contains(&found, &expected, why));
        Ok(())
    }

    pub(super) fn ping_alias(&mut self) -> Result<(), DemoError> {
        if self.stage.host(HostName::Nginx2)?.etc(EtcFile::Hosts)?.is_none() {
            self.transcript.mark(&Finding::Skipped(NO_FILES.to_owned()));
            return Ok(());
        }
        let why = "the hosts file named it; the network itself has no names";
        self.check_ping_by_name(HostName::Nginx2, (HostName::Nginx1, ALIAS), ALIAS, why)
    }

    pub(super) fn show_resolver(&mut self) -> Result<(), DemoError> {
        let lines = ["nameserver 127.0.0.11", "options ndots:0"].map(str::to_owned);
        self.check_file(HostName::Web1, EtcFile::ResolvConf, &lines)
    }

    pub(super) fn ping_names(&mut self) -> Result<(), DemoError> {
        let why = "the name was found, and the address's name with its network";
        for (from, to) in [(HostName::Web2, HostName::Web1), (HostName::Web1, HostName::Web2)] {
            let full = format!("{}.dns", to.name());
            self.check_ping_by_name(from, (to, to.name()), &full, why)?;
        }
        Ok(())
    }

    pub(super) fn ask_unknown(&mut self) -> Result<(), DemoError> {
        let from = HostName::Web1;
        if self.stage.host(from)?.etc(EtcFile::ResolvConf)?.is_none() {
            self.transcript.mark(&Finding::Skipped(NO_RESOLVERS.to_owned()));
            return Ok(());
        }
        self.transcript.typed(from.name(), format!("host {UNKNOWN}"));
        self.transcript.flush().map_err(DemoError::Output)?;
        let mut host = self.stage.host(from)?;
        let answer = names::ask(host.as_mut(), UNKNOWN, RecordType::A, FORWARD_TIMEOUT)?;
        drop(host);
        let Some(answer) = answer else {
            self.transcript.printed(";; connection timed out; no servers could be reached");
            let expected = "an answer of this machine's resolvers, or SERVFAIL";
            self.transcript.mark(&Finding::failed(expected, "silence"));
            return Ok(());
        };
        let (line, why) = told(&answer);
        self.transcript.printed(&line);
        self.transcript.mark(&Finding::Passed(why.to_owned()));
        Ok(())
    }

    pub(super) fn ping_isolated(&mut self) -> Result<(), DemoError> {
        let before = self.dropped(DropReason::NetworkIsolated)?;
        let (from, dst) = (HostName::Web1, HostName::Nginx1.address());
        self.transcript.typed(from.name(), format!("ping -c 1 {dst}"));
        let pong = self.stage.host(from)?.ping(dst, FULL_TTL)?;
        self.transcript.printed(&ping_line(pong, None));
        self.transcript.mark(&match pong {
            None => Finding::Passed("no answer".to_owned()),
            Some(pong) => Finding::failed("no answer", format!("an answer of {}", pong.from())),
        });
        self.check_dropped(DropReason::NetworkIsolated, before)
    }

    /// Pings by a name; `full` is what its address is called.
    pub(super) fn check_ping_by_name(
        &mut self,
        from: HostName,
        (to, name): (HostName, &str),
        full: &str,
        why: &str,
    ) -> Result<(), DemoError> {
        self.transcript.typed(from.name(), format!("ping -c 1 {name}"));
        let expected = (station(to.address(), Some(full)), FULL_TTL);
        let mut host = self.stage.host(from)?;
        let Some(address) = names::address_of(host.as_mut(), name)? else {
            drop(host);
            let what = format!("ping: {name}: Temporary failure in name resolution");
            self.transcript.printed(&what);
            self.transcript.mark(&Finding::failed(expected.0, "no address"));
            return Ok(());
        };
        let pong = host.ping(address, FULL_TTL)?;
        let found = names::name_of(host.as_mut(), address)?;
        drop(host);
        self.transcript.printed(&format!("PING {name} ({address}) 56(84) bytes of data."));
        self.mark_ping(pong, found.as_deref(), expected, why);
        Ok(())
    }

    /// Shows a host's file, in which these lines must be.
    fn check_file(
        &mut self,
        at: HostName,
        file: EtcFile,
        expected: &[String],
    ) -> Result<(), DemoError> {
        self.transcript.typed(at.name(), format!("cat {}", file.path().display()));
        let Some(text) = self.stage.host(at)?.etc(file)? else {
            self.transcript.mark(&Finding::Skipped(NO_FILES.to_owned()));
            return Ok(());
        };
        self.transcript.printed(&text);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let why = "programs in the namespace find it there";
        self.transcript.mark(&contains(&lines, expected, why));
        Ok(())
    }
}

/// An answer about a name that nobody here has, as `host` prints it, and where it came from.
fn told(answer: &Answer) -> (String, &'static str) {
    let upstream = "a resolver of this machine was asked, and its answer passed on";
    let nobody = "no resolver of this machine has answered: that is said, rather than silence";
    match (answer.code, answer.addresses.first()) {
        (ResponseCode::ServFail, _) => (format!("Host {UNKNOWN} not found: 2(SERVFAIL)"), nobody),
        (ResponseCode::NXDomain, _) => (format!("Host {UNKNOWN} not found: 3(NXDOMAIN)"), upstream),
        (ResponseCode::NoError, Some(address)) => {
            (format!("{UNKNOWN} has address {address}"), upstream)
        }
        (code, _) => (format!("Host {UNKNOWN} not found: {}", u16::from(code)), upstream),
    }
}

/// Passed if all of the expected lines are there.
fn contains(lines: &[String], expected: &[String], why: &str) -> Finding {
    match expected.iter().find(|line| !lines.contains(line)) {
        None => Finding::Passed(why.to_owned()),
        Some(line) => Finding::failed(format!("the line \"{line}\""), "none such"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_must_be_there_whole() {
        let lines = ["172.17.0.2\tweb nginx1", "172.17.0.3\tnginx2"].map(str::to_owned);
        assert_eq!(contains(&lines, &lines[1..], "why"), Finding::Passed("why".to_owned()));
        for missing in ["172.17.0.2\tweb", "172.17.0.4\tnginx2"] {
            let expected = [lines[1].clone(), missing.to_owned()];
            let found = contains(&lines, &expected, "why");
            assert!(matches!(found, Finding::Failed { .. }), "{missing}");
        }
    }
}
