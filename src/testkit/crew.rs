//! Several engines that carry one switch, stepped in one thread with the real queues between them.

use std::net::Ipv4Addr;

use std::time::Duration;

use crate::crew::{Relay, merge};
use crate::engine::{
    Command, CommandError, DropRow, Engine, EngineConfig, FdbRow, NeighbourRow, PortStats, Reply,
    Restored, SessionRow, Share, Snapshot, SnapshotError, Totals,
};
use crate::id::{PortId, WorkerId};
use crate::packet::{Burst, FrameView, Offload, TxLists};
use crate::time::Instant;

/// Rounds after which workers that still send each other something are in a loop.
const MAX_ROUNDS: usize = 64;

/// What one of the workers did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Frames its engine processed, its own and others'.
    pub frames: u64,
    /// Frames it handed over.
    pub handed_over: u64,
}

#[derive(Debug)]
struct Member {
    engine: Engine,
    relay: Relay,
    burst: Burst,
    tx: TxLists,
    work: Work,
}

/// The workers.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
}

impl Crew {
    /// `workers` engines with the same seed, at least one.
    pub fn new(workers: usize, config: EngineConfig, seed: u128, now: Instant) -> Self {
        let members = Share::of(workers).into_iter().zip(Relay::between(workers));
        let members = members.map(|(share, relay)| Member {
            engine: Engine::with_share(config, seed, now, share),
            relay,
            burst: Burst::new(),
            tx: TxLists::new(),
            work: Work::default(),
        });
        Self { members: members.collect() }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// False: there is always one.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Tells all of them.
    ///
    /// # Errors
    /// The refusal of the last; they refuse the same.
    pub fn apply(&mut self, now: Instant, command: &Command) -> Result<Reply, CommandError> {
        let mut sum = Ok(Reply::default());
        for member in &mut self.members {
            let reply = member.engine.apply(now, command.clone());
            sum = match (sum, reply) {
                (Ok(sum), Ok(reply)) => {
                    Ok(Reply { ended_sessions: sum.ended_sessions + reply.ended_sessions })
                }
                (_, reply) => reply,
            };
        }
        sum
    }

    /// Tells every engine what the way to a VTEP takes.
    pub fn lower_path_mtu(&mut self, now: Instant, peer: Ipv4Addr, mtu: u16) {
        for member in &mut self.members {
            member.engine.lower_path_mtu(now, peer, mtu);
        }
    }

    /// Lets one worker receive a burst, and all do what comes of it; gives back what they sent.
    ///
    /// # Panics
    /// If the burst is too large, or they never stop sending each other something.
    pub fn receive(
        &mut self,
        now: Instant,
        worker: WorkerId,
        frames: &[(PortId, Vec<u8>, Offload)],
    ) -> Vec<(PortId, Vec<u8>)> {
        let mut out = Vec::new();
        let at = worker.index() % self.members.len().max(1);
        if let Some(member) = self.members.get_mut(at) {
            member.burst.clear();
            for (port, bytes, offload) in frames {
                let view = FrameView { bytes, offload: *offload };
                assert!(member.burst.push_view(*port, view).is_ok(), "burst too large");
            }
            member.process(now, &mut out);
        }
        self.settle(now, &mut out);
        out
    }

    /// Does what is due; gives back what they sent.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(PortId, Vec<u8>)> {
        let mut out = Vec::new();
        for member in &mut self.members {
            member.run_timers(now, &mut out);
        }
        self.settle(now, &mut out);
        out
    }

    /// Lets time pass from timer to timer; gives back what they sent.
    pub fn advance(&mut self, from: Instant, by: Duration) -> Vec<(PortId, Vec<u8>)> {
        let end = from + by;
        let (mut now, mut out) = (from, self.handle_timeout(from));
        while let Some(at) = self.poll_timeout().filter(|at| *at <= end) {
            let is_last = now == end;
            now = now.max(at);
            out.extend(self.handle_timeout(now));
            if is_last {
                break;
            }
        }
        out
    }

    /// What all of them know.
    pub fn snapshot(&self, now: Instant) -> Option<Snapshot> {
        Snapshot::joined(self.members.iter().map(|member| member.engine.snapshot(now)))
    }

    /// Lets each take over what is its own; gives back what they could use together.
    ///
    /// # Errors
    /// As [`Engine::restore`].
    pub fn restore(&mut self, now: Instant, from: &Snapshot) -> Result<Restored, SnapshotError> {
        let mut sum = Restored::default();
        for member in &mut self.members {
            let restored = member.engine.restore(now, from)?;
            sum.sessions += restored.sessions;
            sum.left_out += restored.left_out;
        }
        Ok(sum)
    }

    /// When one of them wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.engine.poll_timeout()).min()
    }

    fn settle(&mut self, now: Instant, out: &mut Vec<(PortId, Vec<u8>)>) {
        for round in 0.. {
            let mut is_quiet = true;
            for member in &mut self.members {
                while member.relay.has_mail() {
                    is_quiet = false;
                    member.burst.clear();
                    member.relay.take(&mut member.engine, now, &mut member.burst);
                    member.process(now, out);
                }
            }
            if is_quiet {
                return;
            }
            assert!(round < MAX_ROUNDS, "the workers do not come to rest");
        }
    }

    /// What each of them did.
    pub fn work(&self) -> Vec<Work> {
        self.members.iter().map(|member| member.work).collect()
    }

    /// The engines.
    pub fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.members.iter().map(|member| &member.engine)
    }

    /// Outcomes of all frames.
    pub fn totals(&self) -> Totals {
        merge::totals(&self.engines().map(Engine::totals).collect::<Vec<_>>())
    }

    /// Counters of every port.
    pub fn port_stats(&self) -> Vec<(PortId, PortStats)> {
        merge::port_stats(self.engines().map(Engine::port_stats).collect())
    }

    /// Every drop reason that occurred.
    pub fn drop_rows(&self) -> Vec<DropRow> {
        merge::drop_rows(self.engines().map(Engine::drop_rows).collect())
    }

    /// All sessions.
    pub fn session_rows(&self, now: Instant) -> Vec<SessionRow> {
        let of_each = self.engines().map(|engine| engine.session_rows(now, usize::MAX)).collect();
        merge::session_rows(of_each, usize::MAX)
    }

    /// Every MAC.
    pub fn fdb_rows(&self, now: Instant) -> Vec<FdbRow> {
        merge::fdb_rows(self.engines().map(|engine| engine.fdb_rows(now)).collect())
    }

    /// Every neighbour.
    pub fn neighbour_rows(&self, now: Instant) -> Vec<NeighbourRow> {
        merge::neighbour_rows(self.engines().map(|engine| engine.neighbour_rows(now)).collect())
    }
}

impl Member {
    fn process(&mut self, now: Instant, out: &mut Vec<(PortId, Vec<u8>)>) {
        self.work.frames += self.burst.len() as u64;
        self.tx.clear();
        self.engine.process(now, &mut self.burst, &mut self.tx);
        self.send(out);
        self.run_timers(now, out);
    }

    /// What is due, as a released frame is, leaves at once.
    fn run_timers(&mut self, now: Instant, out: &mut Vec<(PortId, Vec<u8>)>) {
        while self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.burst.clear();
            self.tx.clear();
            self.engine.handle_timeout(now, &mut self.tx);
            self.send(out);
        }
    }

    fn send(&mut self, out: &mut Vec<(PortId, Vec<u8>)>) {
        self.work.handed_over += self.tx.handed().len() as u64;
        self.relay.dispatch(&mut self.engine, (&self.tx, &self.burst), |_| {});
        let mut scratch = Vec::new();
        for port in self.tx.ports() {
            for frame in self.tx.frames(*port, &self.burst) {
                frame.for_each_segment(&mut scratch, |frame| out.push((*port, frame.to_vec())));
            }
        }
    }
}
