//! Names that are nobody's here: which upstreams are asked for them, and who may ask how much.
//!
//! Up to [`MAX_UPSTREAMS`] in order; one that fails, refuses or is silent hands on to the next, and
//! any other answer is final. Who asks what is being asked already waits for that answer: many
//! equal questions at once would make a forged answer more likely to fit (RFC 5452 5). Bounds:
//! [`MAX_FLIGHTS`] questions on their way at once, [`MAX_FLIGHTS_OF_HOST`] of one host or of those
//! behind one port; more are refused, so that no host keeps the others from asking.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use hickory_proto::op::ResponseCode;

use super::cache::{Cache, Key, key_of};
use super::counters::{Counters, count};
use super::exchange::{ask, outgoing};
use super::resolv_conf::HostResolvers;
use crate::id::PortId;
use crate::io::Clock;
use crate::local::dns::records::question;
use crate::local::dns::{DNS_PORT, Query, Transport, limit, refusal};
use crate::packet::put;
use crate::time::Instant;

/// Upstreams that are asked about one name.
pub(super) const MAX_UPSTREAMS: usize = 3;
/// Questions on their way at once: as many as Docker's.
const MAX_FLIGHTS: usize = 1024;
/// Of those, of one host.
const MAX_FLIGHTS_OF_HOST: usize = 256;
/// Between two looks at this host's file of resolvers.
const LOOK: Duration = Duration::from_secs(1);
const HEADER_LEN: usize = 12;

/// Who is asked about names that are nobody's here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// Configured ones, in order; empty: those of this host.
    pub configured: Vec<SocketAddr>,
    /// Addresses that are tapway's own: asked there, a question would come back.
    pub own: Vec<IpAddr>,
}

/// The way to the upstreams.
pub(super) struct Forwarder {
    pub(super) counters: Arc<Counters>,
    upstreams: RefCell<Upstreams>,
    host: RefCell<HostResolvers>,
    last_look: Cell<Option<Instant>>,
    cache: RefCell<Cache>,
    flights: RefCell<Flights>,
    journeys: RefCell<HashMap<Key, WeakShared<Journey>, foldhash::quality::RandomState>>,
}

/// A question on its way to the upstreams; none comes back if all fail.
type Journey = LocalBoxFuture<'static, Option<Rc<[u8]>>>;

/// Questions on their way.
#[derive(Default)]
struct Flights {
    all: usize,
    by_host: HashMap<Asker, usize, foldhash::quality::RandomState>,
}

/// The host that asks, or those behind one port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// In a namespace with a socket of its own.
    Namespace(Rc<str>),
    /// At a gateway, by the port: where that is not guarded its host may use any address.
    Gateway(PortId),
}

/// A place among the questions on their way; given back when dropped.
struct Flight<'a> {
    forwarder: &'a Forwarder,
    asker: Asker,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.forwarder.flights.borrow_mut();
        flights.all -= 1;
        if let Some(count) = flights.by_host.get_mut(&self.asker) {
            *count -= 1;
            if *count == 0 {
                flights.by_host.remove(&self.asker);
            }
        }
    }
}

impl Forwarder {
    pub(super) fn new(counters: Arc<Counters>, host: HostResolvers) -> Self {
        Self {
            counters,
            upstreams: RefCell::default(),
            host: RefCell::new(host),
            last_look: Cell::new(None),
            cache: RefCell::default(),
            flights: RefCell::default(),
            journeys: RefCell::default(),
        }
    }

    pub(super) fn set_upstreams(&self, upstreams: Upstreams) {
        if *self.upstreams.borrow() != upstreams {
            self.upstreams.replace(upstreams);
            self.cache.borrow_mut().clear();
        }
    }

    /// The answer to a question whose bytes are `asked`, as the asker can take it.
    pub(super) async fn resolve(
        self: &Rc<Self>,
        asker: Asker,
        (query, asked): (&Query, &[u8]),
        transport: Transport,
    ) -> Vec<u8> {
        count(&self.counters.unknown_names);
        let upstreams = self.upstreams_now();
        if let Some(answer) = self.cache.borrow_mut().get(Clock.now(), query, asked) {
            count(&self.counters.from_cache);
            return hand_out(query, asked, answer, transport);
        }
        let Some(_flight) = self.take_off(asker) else {
            count(&self.counters.too_many);
            return refusal(query, ResponseCode::Refused);
        };
        let Some(message) = outgoing(query, asked) else {
            return refusal(query, ResponseCode::FormErr);
        };
        let answer = match key_of(query, asked) {
            Some(key) => self.join(key, upstreams, message).await,
            None => self.clone().travel(upstreams, message).await,
        };
        let Some(answer) = answer else { return refusal(query, ResponseCode::ServFail) };
        self.cache.borrow_mut().keep(Clock.now(), query, asked, &answer);
        hand_out(query, asked, answer.to_vec(), transport)
    }

    /// The answer of a journey that is under way, or of one that begins.
    fn join(
        self: &Rc<Self>,
        key: Key,
        upstreams: Vec<SocketAddr>,
        message: Vec<u8>,
    ) -> Shared<Journey> {
        let mut journeys = self.journeys.borrow_mut();
        if let Some(journey) = journeys.get(&key).and_then(WeakShared::upgrade) {
            return journey;
        }
        // Those that nobody waits for any more are over.
        journeys.retain(|_, journey| journey.upgrade().is_some());
        let journey = self.clone().travel(upstreams, message).boxed_local().shared();
        journeys.extend(journey.downgrade().map(|journey| (key, journey)));
        journey
    }

    /// Asks one upstream after the other.
    async fn travel(
        self: Rc<Self>,
        upstreams: Vec<SocketAddr>,
        message: Vec<u8>,
    ) -> Option<Rc<[u8]>> {
        for upstream in upstreams {
            match ask(upstream, message.clone(), &self.counters).await {
                Ok(answer) if has_failed(&answer) => count(&self.counters.failed),
                Ok(answer) => return Some(answer.into()),
                Err(error) => {
                    count(&self.counters.unanswered);
                    tracing::debug!(%upstream, %error, "an upstream resolver did not answer");
                }
            }
        }
        count(&self.counters.given_up);
        None
    }

    /// The upstreams as they are by now. What is remembered of others is forgotten.
    fn upstreams_now(&self) -> Vec<SocketAddr> {
        let upstreams = self.upstreams.borrow();
        if !upstreams.configured.is_empty() {
            return upstreams.configured.iter().copied().take(MAX_UPSTREAMS).collect();
        }
        let now = Clock.now();
        if self.last_look.get().is_none_or(|last| now.since(last) >= LOOK) {
            self.last_look.set(Some(now));
            if self.host.borrow_mut().refresh() {
                self.cache.borrow_mut().clear();
            }
        }
        let host = self.host.borrow();
        let others = host.servers().iter().filter(|server| !upstreams.own.contains(&server.ip()));
        others.copied().take(MAX_UPSTREAMS).collect()
    }

    fn take_off(&self, asker: Asker) -> Option<Flight<'_>> {
        let mut flights = self.flights.borrow_mut();
        if flights.all >= MAX_FLIGHTS {
            return None;
        }
        let of_host = flights.by_host.entry(asker.clone()).or_default();
        if *of_host >= MAX_FLIGHTS_OF_HOST {
            return None;
        }
        *of_host += 1;
        flights.all += 1;
        Some(Flight { forwarder: self, asker })
    }
}

/// True if another upstream may know better.
fn has_failed(answer: &[u8]) -> bool {
    let code = answer.get(3).map_or(0, |flags| flags & 0x0f);
    matches!(
        ResponseCode::from(0, code),
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp
    )
}

/// An upstream's answer as the answer to this asker: its id, its letters, what it can take.
fn hand_out(query: &Query, asked: &[u8], mut answer: Vec<u8>, transport: Transport) -> Vec<u8> {
    put(&mut answer, 0, &query.metadata.id.to_be_bytes());
    if let Some(question) = question(asked) {
        put(&mut answer, HEADER_LEN, question);
    }
    limit(query, answer, transport)
}

/// An upstream at the usual port.
pub(super) const fn at_usual_port(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, DNS_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_cannot_take_all_the_places() {
        let forwarder = Forwarder::new(Arc::default(), HostResolvers::default());
        let asker = |port| Asker::Gateway(PortId(port));
        let held: Vec<_> = (0..2000).filter_map(|_| forwarder.take_off(asker(1))).collect();
        assert_eq!(held.len(), MAX_FLIGHTS_OF_HOST);
        assert!(forwarder.take_off(asker(2)).is_some());
        let others: Vec<_> = (2..=9).flat_map(|last| std::iter::repeat_n(last, 200)).collect();
        let more: Vec<_> =
            others.into_iter().filter_map(|last| forwarder.take_off(asker(last))).collect();
        assert_eq!(held.len() + more.len(), MAX_FLIGHTS);
        drop((held, more));
        assert!(forwarder.flights.borrow().by_host.is_empty());
        assert_eq!(forwarder.flights.borrow().all, 0);
    }

    #[test]
    fn a_question_is_not_put_to_tapway_itself() {
        let text = "nameserver 192.0.2.1\nnameserver 172.22.0.1\nnameserver 192.0.2.2\n";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        std::fs::write(&path, text).unwrap();
        let forwarder = Forwarder::new(Arc::default(), HostResolvers::at(&path));
        let own = vec![IpAddr::from([172, 22, 0, 1])];
        forwarder.set_upstreams(Upstreams { configured: Vec::new(), own });
        let expected = [1, 2].map(|last| at_usual_port(IpAddr::from([192, 0, 2, last])));
        assert_eq!(forwarder.upstreams_now(), expected);
    }
}
