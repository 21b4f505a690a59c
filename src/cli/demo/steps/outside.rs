//! The tutorial's own steps: the bridge, the way outside and back, a published port.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::super::desired::publish;
use super::super::host::{Fetch, Pong};
use super::super::stage::Stage;
use super::super::topology::{
    BRIDGE_GATEWAY, HTTP, HostName, ROUTER, ROUTER_UPLINK, Switch, TAPWAY, UNPUBLISHED, published,
};
use super::super::transcript::Finding;
use super::super::{DemoError, Fault, tables};
use super::{SILENCE_TIMEOUT, Script, millis};
use crate::control::render;
use crate::drop_reason::DropReason;
use crate::engine::Command;
use crate::nat::Endpoint;

impl<S: Stage> Script<'_, '_, S> {
    pub(super) fn ping_neighbour(&mut self) -> Result<(), DemoError> {
        let why = "the TTL is whole: the frame was bridged, not routed";
        self.check_ping(HostName::Nginx2, 0, why)
    }

    pub(super) fn ping_far(&mut self) -> Result<(), DemoError> {
        self.check_ping(HostName::Far, 2, "one TTL less for each router on the way back")
    }

    pub(super) fn trace_far(&mut self) -> Result<(), DemoError> {
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

    pub(super) fn fetch_far(&mut self) -> Result<(), DemoError> {
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

    pub(super) fn fetch_closed(&mut self) -> Result<(), DemoError> {
        let before = self.dropped(DropReason::UnsolicitedSyn)?;
        self.check_silence(HTTP)?;
        self.check_dropped(DropReason::UnsolicitedSyn, before)
    }

    pub(super) fn publish(&mut self) -> Result<(), DemoError> {
        let publish = publish()?;
        self.transcript.printed("[port.nginx1]");
        self.transcript.printed(&format!("publish = [\"{TAPWAY}:{HTTP}:{HTTP}/tcp\"]"));
        if self.fault != Some(Fault::NotPublished) {
            self.stage.apply(Switch::Tapway, Command::Publish(publish))?;
        }
        let published = self.stage.read(Switch::Tapway, |engine, _| engine.publishes())?;
        self.transcript.mark(&if published.contains(&publish) {
            let (server, target) = (HostName::Nginx1.name(), publish.target);
            Finding::Passed(format!("port {HTTP} of {TAPWAY} is {server} {target}"))
        } else {
            Finding::failed("the port to be published", "no such entry")
        });
        Ok(())
    }

    pub(super) fn fetch_published(&mut self) -> Result<(), DemoError> {
        let saw = (HostName::Nginx1, HostName::Mac.address());
        let why = "nginx1 answered, and saw the mac's own address";
        self.check_greeting(HostName::Mac, published(HTTP), saw, why)
    }

    pub(super) fn fetch_other_port(&mut self) -> Result<(), DemoError> {
        self.check_silence(UNPUBLISHED)
    }

    pub(super) fn hairpin_neighbour(&mut self) -> Result<(), DemoError> {
        let saw = (HostName::Nginx1, HostName::Nginx2.address());
        let why = "hairpin: nginx1 saw its neighbour's own address";
        self.check_greeting(HostName::Nginx2, published(HTTP), saw, why)
    }

    pub(super) fn hairpin_self(&mut self) -> Result<(), DemoError> {
        let saw = (HostName::Nginx1, BRIDGE_GATEWAY);
        let why = "hairpin: a host cannot answer its own address, so it saw the gateway's";
        self.check_greeting(HostName::Nginx1, published(HTTP), saw, why)
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
}

/// A line as traceroute prints it.
fn hop_line(hop: usize, pong: Option<Pong>) -> String {
    match pong {
        Some(pong) => format!("{hop:2}  {}  {}", pong.from(), millis(pong)),
        None => format!("{hop:2}  *"),
    }
}

fn path(hops: &[Option<Ipv4Addr>]) -> String {
    let names: Vec<String> = hops
        .iter()
        .map(|hop| hop.map_or_else(|| "*".to_owned(), |address| address.to_string()))
        .collect();
    names.join(", ")
}
