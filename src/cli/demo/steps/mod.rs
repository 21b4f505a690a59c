//! The steps: what is done, and what must come of it. The same for every kind of host; what a
//! host cannot do is skipped, and said.
//!
//! * `outside`: bridge, router, translation, a published port,
//! * `inside`: this host, links, names, two networks,
//! * `across`: a network that stretches over two Docker hosts.

mod across;
mod inside;
mod outside;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::host::{FULL_TTL, Fetch, Pong};
use super::stage::Stage;
use super::topology::{HTTP, HostName, Switch};
use super::transcript::{Finding, Transcript};
use super::{DemoError, Fault, http, tables};
use crate::control::render;
use crate::drop_reason::DropReason;
use crate::testkit::probe::ProbeAnswer;

/// How long an answer that must come may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long silence is listened to: long enough for a repeated SYN.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(1500);

/// The steps on a stage.
pub struct Script<'a, 'b, S> {
    stage: &'a mut S,
    transcript: &'a mut Transcript<'b>,
    fault: Option<Fault>,
}

type Step<S> = fn(&mut S) -> Result<(), DemoError>;

impl<'a, 'b, S: Stage> Script<'a, 'b, S> {
    /// The steps.
    pub const fn new(
        stage: &'a mut S,
        transcript: &'a mut Transcript<'b>,
        fault: Option<Fault>,
    ) -> Self {
        Self { stage, transcript, fault }
    }

    /// Plays all of them; a failed one does not stop the others.
    ///
    /// # Errors
    /// What kept it from going on.
    pub fn play(&mut self) -> Result<(), DemoError> {
        self.stage.start()?;
        for host in [HostName::Nginx1, HostName::Far] {
            self.stage.host(host)?.serve_http(HTTP)?;
        }
        let steps: [(&str, Step<Self>); 19] = [
            ("nginx1 pings nginx2: the bridge between them is no hop", Self::ping_neighbour),
            ("nginx1 pings a far host, through tapway and the router", Self::ping_far),
            ("The way there, router by router", Self::trace_far),
            ("HTTP from nginx1 to the far host, translated twice", Self::fetch_far),
            ("The mac tries port 80 of tapway, which nobody has published", Self::fetch_closed),
            (
                "Port 80 is published while everything runs (by the library's command)",
                Self::publish,
            ),
            ("The mac tries again, and nginx1 sees who it is", Self::fetch_published),
            ("Other ports stay closed", Self::fetch_other_port),
            ("nginx2 reaches its neighbour by tapway's address", Self::hairpin_neighbour),
            ("nginx1 reaches itself by tapway's address", Self::hairpin_self),
            ("The host that tapway runs on reaches nginx1, over tapway0", Self::fetch_from_here),
            ("nginx2 has a link to nginx1, which it calls web", Self::show_link),
            ("nginx2 pings nginx1 by the link's alias", Self::ping_alias),
            (
                "Every network but \"bridge\" has names: web1 of network \"dns\" has a resolver",
                Self::show_resolver,
            ),
            ("web1 and web2 ping each other by name", Self::ping_names),
            ("web1 asks for a name that is nobody's in its network", Self::ask_unknown),
            (
                "A part of \"dns\" is at a second Docker host: web3 there pings web1, by VXLAN",
                Self::ping_across,
            ),
            ("web1 pings web3 by its name", Self::ping_back_by_name),
            ("The two networks are isolated: web1 pings nginx1", Self::ping_isolated),
        ];
        for (title, step) in steps {
            self.transcript.step(title);
            step(self)?;
            self.transcript.flush().map_err(DemoError::Output)?;
        }
        self.stage.settle();
        tables::print(self.stage, self.transcript)?;
        self.transcript.flush().map_err(DemoError::Output)
    }

    /// Pings from nginx1 by address.
    fn check_ping(&mut self, to: HostName, hops: u8, why: &str) -> Result<(), DemoError> {
        let dst = to.address();
        self.transcript.typed(HostName::Nginx1.name(), format!("ping -c 1 {dst}"));
        let pong = self.stage.host(HostName::Nginx1)?.ping(dst, FULL_TTL)?;
        self.mark_ping(pong, None, (station(dst, None), FULL_TTL - hops), why);
        Ok(())
    }

    /// Shows an answer, and compares who sent it with which TTL.
    fn mark_ping(
        &mut self,
        pong: Option<Pong>,
        name: Option<&str>,
        (expected, ttl): (String, u8),
        why: &str,
    ) {
        self.transcript.printed(&ping_line(pong, name));
        let expected = format!("an answer of {expected} with ttl {ttl}");
        let found = match pong.map(|pong| pong.answer) {
            Some(ProbeAnswer::Echo { from, ttl }) => {
                format!("an answer of {} with ttl {ttl}", station(from, name))
            }
            Some(_) => "an ICMP error".to_owned(),
            None => "no answer".to_owned(),
        };
        self.transcript.mark(&Finding::equal(&expected, &found, why));
    }

    /// Fetches, and compares who answered and whom he saw.
    fn check_greeting(
        &mut self,
        from: HostName,
        at: SocketAddrV4,
        (server, saw): (HostName, Ipv4Addr),
        why: &str,
    ) -> Result<(), DemoError> {
        let fetch = self.fetch(from, at, ANSWER_TIMEOUT)?;
        let expected = format!("\"{}\"", http::greeting(server.name(), saw).trim_end());
        let found = match fetch {
            Fetch::Body(body) => format!("\"{}\"", body.trim_end()),
            Fetch::Refused => "a refusal".to_owned(),
            Fetch::Silence => "no answer".to_owned(),
        };
        self.transcript.mark(&Finding::equal(&expected, &found, why));
        Ok(())
    }

    fn fetch(
        &mut self,
        from: HostName,
        at: SocketAddrV4,
        timeout: Duration,
    ) -> Result<Fetch, DemoError> {
        let seconds = timeout.as_secs_f32();
        self.transcript.typed(from.name(), format!("curl -m {seconds} {}", url(at)));
        let fetch = self.stage.host(from)?.http_get(at, timeout)?;
        self.transcript.printed(&match &fetch {
            Fetch::Body(body) => body.clone(),
            Fetch::Refused => {
                format!("curl: (7) Failed to connect to {} port {}", at.ip(), at.port())
            }
            Fetch::Silence => {
                format!(
                    "curl: (28) Connection timed out after {} milliseconds",
                    timeout.as_millis()
                )
            }
        });
        Ok(fetch)
    }

    /// Shows the drops, of which some since `before` must be for `reason`.
    fn check_dropped(&mut self, reason: DropReason, before: u64) -> Result<(), DemoError> {
        let name = reason.name();
        self.transcript
            .typed(Switch::Tapway.name(), format!("tapway show drops | grep -A 2 {name}"));
        let rows = self.stage.read(Switch::Tapway, move |engine, _| {
            let rows = engine.drop_rows().into_iter();
            rows.filter(|row| row.reason == reason.name()).collect::<Vec<_>>()
        })?;
        if let Some((_heading, lines)) = render::drops(&rows).split_once('\n') {
            self.transcript.printed(lines);
        }
        let dropped = self.dropped(reason)?.saturating_sub(before);
        self.transcript.mark(&if dropped > 0 {
            Finding::Passed(format!("{dropped} frames ended under the name {name}"))
        } else {
            Finding::failed(format!("frames dropped as {name}"), "none")
        });
        Ok(())
    }

    fn dropped(&mut self, reason: DropReason) -> Result<u64, DemoError> {
        self.stage.read(Switch::Tapway, move |engine, _| {
            let rows = engine.drop_rows().into_iter();
            rows.filter(|row| row.reason == reason.name()).map(|row| row.frames).sum()
        })
    }
}

/// A line as ping prints it, with the name of who answered.
fn ping_line(pong: Option<Pong>, name: Option<&str>) -> String {
    let Some(pong) = pong else {
        return "1 packets transmitted, 0 received, 100% packet loss".to_owned();
    };
    match pong.answer {
        ProbeAnswer::Echo { from, ttl } => {
            let from = station(from, name);
            format!("64 bytes from {from}: icmp_seq=1 ttl={ttl} time={}", millis(pong))
        }
        ProbeAnswer::TimeExceeded { from } => {
            format!("From {from} icmp_seq=1 Time to live exceeded")
        }
        ProbeAnswer::Unreachable { from, code } => {
            format!("From {from} icmp_seq=1 Destination unreachable, code {code}")
        }
    }
}

/// An address with its name, as ping writes it.
fn station(address: Ipv4Addr, name: Option<&str>) -> String {
    name.map_or_else(|| address.to_string(), |name| format!("{name} ({address})"))
}

/// The address as one types it: a browser's port is left out.
fn url(at: SocketAddrV4) -> String {
    match at.port() {
        HTTP => format!("http://{}/", at.ip()),
        port => format!("http://{}:{port}/", at.ip()),
    }
}

fn millis(pong: Pong) -> String {
    format!("{:.3} ms", pong.rtt.as_secs_f64() * 1000.0)
}
