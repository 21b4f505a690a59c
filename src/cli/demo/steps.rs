//! The steps: what is done, and what must come of it. The same for every kind of host.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::host::{FULL_TTL, Fetch, Pong};
use super::stage::Stage;
use super::topology::{
    BRIDGE_GATEWAY, HTTP, HostName, ROUTER, ROUTER_UPLINK, Switch, TAPWAY, UNPUBLISHED, publish,
    published,
};
use super::transcript::{Finding, Transcript};
use super::{DemoError, Fault, http, tables};
use crate::control::render;
use crate::drop_reason::DropReason;
use crate::engine::Command;
use crate::nat::Endpoint;
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
        let steps: [(&str, Step<Self>); 10] = [
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

    fn ping_neighbour(&mut self) -> Result<(), DemoError> {
        self.check_ping(HostName::Nginx2, 0, "the TTL is whole: the frame was bridged, not routed")
    }

    fn ping_far(&mut self) -> Result<(), DemoError> {
        self.check_ping(HostName::Far, 2, "one TTL less for each router on the way back")
    }

    fn check_ping(&mut self, to: HostName, hops: u8, why: &str) -> Result<(), DemoError> {
        let dst = to.address();
        self.transcript.typed(HostName::Nginx1.name(), format!("ping -c 1 {dst}"));
        let pong = self.stage.host(HostName::Nginx1)?.ping(dst, FULL_TTL)?;
        self.transcript.printed(&ping_line(pong));
        let expected = format!("an answer of {dst} with ttl {}", FULL_TTL - hops);
        let found = match pong.map(|pong| pong.answer) {
            Some(ProbeAnswer::Echo { from, ttl }) => format!("an answer of {from} with ttl {ttl}"),
            Some(_) => "an ICMP error".to_owned(),
            None => "no answer".to_owned(),
        };
        self.transcript.mark(&Finding::equal(&expected, &found, why));
        Ok(())
    }

    fn trace_far(&mut self) -> Result<(), DemoError> {
        let dst = HostName::Far.address();
        self.transcript.typed(HostName::Nginx1.name(), format!("traceroute -I -n -q 1 {dst}"));
        let hops = self.stage.host(HostName::Nginx1)?.traceroute(dst)?;
        for (hop, pong) in hops.iter().enumerate() {
            self.transcript.printed(&hop_line(hop + 1, *pong));
        }
        let found: Vec<Option<Ipv4Addr>> =
            hops.iter().map(|hop| hop.map(|pong| pong.from())).collect();
        let expected = [BRIDGE_GATEWAY, ROUTER, dst].map(Some);
        let why = "tapway's gateway, the router, and the far host answered in this order";
        self.transcript.mark(&Finding::equal(&path(&expected), &path(&found), why));
        Ok(())
    }

    fn fetch_far(&mut self) -> Result<(), DemoError> {
        let far = SocketAddrV4::new(HostName::Far.address(), HTTP);
        let why = "the far host saw the router's address, as the internet does";
        self.check_greeting(HostName::Nginx1, far, (HostName::Far, ROUTER_UPLINK), why)?;
        self.transcript.typed(Switch::Router.name(), "tapway show sessions");
        let wanted = Endpoint::new(*far.ip(), far.port());
        let sessions = self.stage.read(Switch::Router, move |engine, now| {
            let mut rows = engine.session_rows(now, tables::MAX_SESSIONS);
            rows.retain(|row| row.dst == wanted);
            rows
        })?;
        self.transcript.printed(&render::sessions(&sessions));
        let sources: Vec<String> = sessions.iter().map(|row| row.src.ip.to_string()).collect();
        let why = "the router saw tapway's address: nginx1 was translated before";
        let found = Finding::equal(&TAPWAY.to_string(), &sources.join(", "), why);
        self.transcript.mark(&found);
        Ok(())
    }

    fn fetch_closed(&mut self) -> Result<(), DemoError> {
        let before = self.dropped_syns()?;
        self.check_silence(HTTP)?;
        self.transcript.typed(Switch::Tapway.name(), "tapway show drops");
        let rows = self.stage.read(Switch::Tapway, |engine, _| engine.drop_rows())?;
        self.transcript.printed(&render::drops(&rows));
        let name = DropReason::UnsolicitedSyn.name();
        let dropped = self.dropped_syns()? - before;
        self.transcript.mark(&if dropped > 0 {
            Finding::Passed(format!("{dropped} frames ended under the name {name}"))
        } else {
            Finding::failed(format!("frames dropped as {name}"), "none")
        });
        Ok(())
    }

    fn publish(&mut self) -> Result<(), DemoError> {
        let publish = publish()?;
        self.transcript.printed("[port.nginx1]");
        self.transcript.printed(&format!("publish = [\"{HTTP}:{HTTP}/tcp\"]"));
        if self.fault != Some(Fault::NotPublished) {
            self.stage.apply(Switch::Tapway, Command::Publish(publish))?;
        }
        let published = self.stage.read(Switch::Tapway, |engine, _| engine.publishes())?;
        self.transcript.mark(&if published.contains(&publish) {
            let (server, target) = (HostName::Nginx1.name(), publish.target);
            Finding::Passed(format!("port {HTTP} of every address of tapway is {server} {target}"))
        } else {
            Finding::failed("the port to be published", "no such entry")
        });
        Ok(())
    }

    fn fetch_published(&mut self) -> Result<(), DemoError> {
        let saw = (HostName::Nginx1, HostName::Mac.address());
        let why = "nginx1 answered, and saw the mac's own address";
        self.check_greeting(HostName::Mac, published(HTTP), saw, why)
    }

    fn fetch_other_port(&mut self) -> Result<(), DemoError> {
        self.check_silence(UNPUBLISHED)
    }

    fn hairpin_neighbour(&mut self) -> Result<(), DemoError> {
        let saw = (HostName::Nginx1, HostName::Nginx2.address());
        let why = "hairpin: nginx1 saw its neighbour's own address";
        self.check_greeting(HostName::Nginx2, published(HTTP), saw, why)
    }

    fn hairpin_self(&mut self) -> Result<(), DemoError> {
        let saw = (HostName::Nginx1, BRIDGE_GATEWAY);
        let why = "hairpin: a host cannot answer its own address, so it saw the gateway's";
        self.check_greeting(HostName::Nginx1, published(HTTP), saw, why)
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

    /// Lets the mac try a port of tapway that must keep silent.
    fn check_silence(&mut self, port: u16) -> Result<(), DemoError> {
        let fetch = self.fetch(HostName::Mac, published(port), SILENCE_TIMEOUT)?;
        self.transcript.mark(&match fetch {
            Fetch::Silence => Finding::Passed("no answer".to_owned()),
            Fetch::Refused => Finding::failed("no answer", "a refusal"),
            Fetch::Body(body) => Finding::failed("no answer", body.trim_end()),
        });
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

    fn dropped_syns(&mut self) -> Result<u64, DemoError> {
        self.stage.read(Switch::Tapway, |engine, _| {
            let rows = engine.drop_rows().into_iter();
            rows.filter(|row| row.reason == DropReason::UnsolicitedSyn.name())
                .map(|row| row.frames)
                .sum()
        })
    }
}

/// A line as ping prints it.
fn ping_line(pong: Option<Pong>) -> String {
    let Some(pong) = pong else {
        return "1 packets transmitted, 0 received, 100% packet loss".to_owned();
    };
    match pong.answer {
        ProbeAnswer::Echo { from, ttl } => {
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

/// A line as traceroute prints it.
fn hop_line(hop: usize, pong: Option<Pong>) -> String {
    match pong {
        Some(pong) => format!("{hop:2}  {}  {}", pong.from(), millis(pong)),
        None => format!("{hop:2}  *"),
    }
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

fn path(hops: &[Option<Ipv4Addr>]) -> String {
    let names: Vec<String> = hops
        .iter()
        .map(|hop| hop.map_or_else(|| "*".to_owned(), |address| address.to_string()))
        .collect();
    names.join(", ")
}
