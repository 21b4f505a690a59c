//! One worker's ends of the queues between all of them.
//!
//! What a pass hands over goes in parcels, one message for up to a burst of frames. Parcels are
//! used again: each comes back to its sender. Bounds: [`PARCELS`] on their way between two workers;
//! at the bound frames are lost under [`DropReason::HandOverQueueFull`], notices without a word.
//!
//! [`DropReason::HandOverQueueFull`]: crate::drop_reason::DropReason::HandOverQueueFull

use crossbeam_channel::{Receiver, Sender, bounded};

use super::parcel::Parcel;
use crate::engine::{Audience, Engine, Notice};
use crate::id::{PortId, WorkerId};
use crate::packet::{Burst, Origin, TxLists};
use crate::time::Instant;

/// Parcels on their way from one worker to another.
const PARCELS: usize = 64;

/// The way to another worker.
#[derive(Debug)]
struct Peer {
    worker: WorkerId,
    out: Sender<Parcel>,
    /// Empty parcels that come back.
    returned: Receiver<Parcel>,
    /// How many more may be made.
    unmade: usize,
    /// What is being filled.
    open: Option<Parcel>,
    /// Ports of frames whose worker is gone, to be counted.
    lost: Vec<PortId>,
}

/// The ends of one worker.
#[derive(Debug)]
pub struct Relay {
    own: WorkerId,
    peers: Vec<Peer>,
    inbox: Receiver<Parcel>,
    /// Where parcels go back to, by sender.
    returns: Vec<Option<Sender<Parcel>>>,
    /// A parcel that did not fit the last burst.
    backlog: Option<Parcel>,
}

impl Relay {
    /// The relays of `workers` workers, in the order of their ids.
    pub fn between(workers: usize) -> Vec<Self> {
        let workers = workers.clamp(1, WorkerId::MAX);
        let room = PARCELS * (workers - 1).max(1);
        let (outs, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(room)).unzip();
        let mut relays: Vec<Self> = inboxes
            .into_iter()
            .enumerate()
            .map(|(own, inbox)| Self {
                own: WorkerId(own as u8),
                peers: Vec::new(),
                inbox,
                returns: vec![None; workers],
                backlog: None,
            })
            .collect();
        for from in 0..workers {
            for (to, out) in outs.iter().enumerate().filter(|(to, _)| *to != from) {
                let (back, returned) = bounded(PARCELS);
                let worker = WorkerId(to as u8);
                let peer = Peer {
                    worker,
                    out: out.clone(),
                    returned,
                    unmade: PARCELS,
                    open: None,
                    lost: Vec::new(),
                };
                if let Some(relay) = relays.get_mut(from) {
                    relay.peers.push(peer);
                }
                if let Some(slot) = relays.get_mut(to).and_then(|r| r.returns.get_mut(from)) {
                    *slot = Some(back);
                }
            }
        }
        relays
    }

    /// Sends what a pass handed over, and the engine's notices; frames that find their queue full
    /// are counted by `engine`. Calls `wake` for each worker that something was sent to.
    pub fn dispatch(
        &mut self,
        engine: &mut Engine,
        (tx, burst): (&TxLists, &Burst),
        mut wake: impl FnMut(WorkerId),
    ) {
        let own = self.own;
        for handed in tx.handed() {
            let Some(peer) = self.peers.iter_mut().find(|peer| peer.worker == handed.to) else {
                continue;
            };
            let frame = tx.view(handed.frame, burst);
            let is_packed =
                peer.pack(own, &mut wake, |parcel| parcel.push(handed.port, frame, handed.origin));
            if !is_packed && handed.origin != Origin::Copy {
                engine.lose_handed(handed.port, 1);
            }
        }
        while let Some((audience, notice)) = engine.poll_notice() {
            self.notify(audience, notice, &mut wake);
        }
        for peer in &mut self.peers {
            peer.send(engine, &mut wake);
        }
    }

    fn notify(&mut self, audience: Audience, notice: Notice, wake: &mut impl FnMut(WorkerId)) {
        let own = self.own;
        let is_meant = |worker| match audience {
            Audience::All => true,
            Audience::One(one) => one == worker,
        };
        for peer in self.peers.iter_mut().filter(|peer| is_meant(peer.worker)) {
            peer.pack(own, wake, |parcel| parcel.push_notice(notice));
        }
    }

    /// Moves what other workers sent into a burst, as much as fits, and heeds their notices; true
    /// if there may be more.
    pub fn take(&mut self, engine: &mut Engine, now: Instant, burst: &mut Burst) -> bool {
        while let Some(mut parcel) = self.backlog.take().or_else(|| self.inbox.try_recv().ok()) {
            for notice in parcel.notices.drain(..) {
                engine.heed(now, parcel.from, notice);
            }
            if !parcel.unpack(burst) {
                self.backlog = Some(parcel);
                return true;
            }
            let back = self.returns.get(parcel.from.index()).and_then(Option::as_ref);
            if let Some(back) = back {
                parcel.clear();
                // A sender that is gone needs none.
                let _ = back.try_send(parcel);
            }
        }
        false
    }

    /// True if something of another worker waits.
    pub fn has_mail(&self) -> bool {
        self.backlog.is_some() || !self.inbox.is_empty()
    }
}

impl Peer {
    /// Packs something into the open parcel, or the next; false if there is none.
    fn pack(
        &mut self,
        own: WorkerId,
        wake: &mut impl FnMut(WorkerId),
        mut put: impl FnMut(&mut Parcel) -> bool,
    ) -> bool {
        if self.open.as_mut().is_some_and(&mut put) {
            return true;
        }
        if let Some(full) = self.open.take() {
            self.post(full, wake);
        }
        let Some(mut parcel) = self.fresh() else { return false };
        parcel.from = own;
        let is_packed = put(&mut parcel);
        self.open = Some(parcel);
        is_packed
    }

    fn fresh(&mut self) -> Option<Parcel> {
        if let Ok(parcel) = self.returned.try_recv() {
            return Some(parcel);
        }
        self.unmade = self.unmade.checked_sub(1)?;
        Some(Parcel::default())
    }

    fn send(&mut self, engine: &mut Engine, wake: &mut impl FnMut(WorkerId)) {
        if let Some(parcel) = self.open.take_if(|parcel| !parcel.is_empty()) {
            self.post(parcel, wake);
        }
        for port in self.lost.drain(..) {
            engine.lose_handed(port, 1);
        }
    }

    /// Posts a parcel. There is always room, as no more parcels than fit the queue are ever made;
    /// only a worker that is gone takes none.
    fn post(&mut self, parcel: Parcel, wake: &mut impl FnMut(WorkerId)) {
        match self.out.try_send(parcel) {
            Ok(()) => wake(self.worker),
            Err(error) => {
                let parcel = error.into_inner();
                let counted = parcel.ports().filter(|(_, origin)| *origin != Origin::Copy);
                self.lost.extend(counted.map(|(port, _)| port));
            }
        }
    }
}
