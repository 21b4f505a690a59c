//! The whole engine, driven by a program, and what must hold whatever the program is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use super::program::{Op, Program};
use super::{frames, world};
use crate::engine::{Command, Engine, Totals};
use crate::id::{NetworkId, PortId};
use crate::nat::{NatMode, NatPolicy};
use crate::packet::{Burst, FrameView, Headers, Ipv4, Layer, MacAddr, Offload, TxLists, ipv4};
use crate::testkit::build;
use crate::time::Instant;

/// Most operations of a program.
const MAX_OPS: usize = 512;
/// Frames sent by the engine that a program can refer to.
const REMEMBERED: usize = 16;
/// Rounds in which all that is due at one instant must be done.
const MAX_ROUNDS: usize = 64;
/// Bytes of an Ethernet header with two tags.
const MAX_L2: usize = 22;

/// What a run came to; two runs of one program must come to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Outcomes.
    pub totals: Totals,
    /// Hash of every frame sent, with its port, in order.
    pub sent: u64,
    /// Commands that were accepted.
    pub commands: u64,
}

/// Runs a program.
///
/// # Panics
/// If a received frame has no outcome, a table exceeds its bound, timers make no progress, an
/// inside address leaves untranslated, or a frame is sent that no device would take.
pub fn engine(data: &[u8]) -> Digest {
    run(data, false)
}

/// The same with transport checksums left to be done, as a host on the same kernel sends frames:
/// it must come to the same.
///
/// # Panics
/// As [`engine`].
pub fn engine_unfinished(data: &[u8]) -> Digest {
    run(data, true)
}

fn run(data: &[u8], leaves_checksums: bool) -> Digest {
    let mut run = Run::new(leaves_checksums);
    for op in Program(data).take(MAX_OPS) {
        run.step(op);
    }
    run.flush();
    run.check_tables();
    run.check_snapshot();
    Digest { totals: run.engine.totals(), sent: run.hash.finish(), commands: run.commands }
}

struct Run<H> {
    engine: Engine,
    now: Instant,
    burst: Burst,
    tx: TxLists,
    /// Frames the engine sent, the latest first.
    sent: VecDeque<(PortId, Vec<u8>)>,
    /// Mode of each inside network; none once it has been without translation, as sessions of
    /// that time may live on.
    translated: [Option<NatPolicy>; 4],
    hash: H,
    commands: u64,
    /// Hosts leave checksums to whoever delivers the frame.
    leaves_checksums: bool,
}

impl Run<foldhash::quality::FoldHasher<'static>> {
    fn new(leaves_checksums: bool) -> Self {
        let now = Instant::from_secs(1000);
        let mut run = Self {
            engine: Engine::new(world::config(), 0x5eed, now),
            now,
            burst: Burst::new(),
            tx: TxLists::new(),
            sent: VecDeque::new(),
            translated: [const { None }; 4],
            hash: FixedState::with_seed(0).build_hasher(),
            commands: 0,
            leaves_checksums,
        };
        for command in world::setup() {
            run.apply(command);
        }
        run
    }
}

impl<H: Hasher> Run<H> {
    fn step(&mut self, op: Op) {
        match op {
            Op::Packet(packet) => {
                for (port, frame) in frames::frames(&packet) {
                    self.push(port, &frame);
                }
            }
            Op::Tunnelled { peer, outside, packet } => {
                for (port, frame) in frames::tunnelled(peer, outside, &packet) {
                    self.push(port, &frame);
                }
            }
            Op::Raw { port, bytes } => self.push(PortId(u16::from(port % world::PORTS)), &bytes),
            Op::Answer { back, flags } => {
                self.push_about(back, |frame| frames::answer(frame, flags));
            }
            Op::Error { back, kind, code } => {
                self.push_about(back, |frame| frames::error_about(frame, kind, code));
            }
            Op::Loop { back, port } => {
                if let Some((_, frame)) = self.sent.get(usize::from(back)).cloned() {
                    self.push(PortId(u16::from(port % world::PORTS)), &frame);
                }
            }
            Op::Flush => self.flush(),
            Op::Wait { step, times } => {
                self.flush();
                let step = world::pick(&world::STEPS, step).unwrap_or_default();
                self.wait(step * (u32::from(times % 16) + 1));
            }
            Op::Command { kind, a, b, c } => {
                self.flush();
                self.apply(world::command(kind, a, b, c));
                self.check_books();
            }
        }
    }

    fn push(&mut self, port: PortId, frame: &[u8]) {
        if frame.is_empty() {
            return;
        }
        let (bytes, offload) = match (self.leaves_checksums, port) {
            (false, _) => (frame.to_vec(), Offload::NONE),
            (true, world::UNDERLAY) => build::unfinished_inside(frame),
            (true, _) => build::unfinished(frame),
        };
        let view = FrameView { bytes: &bytes, offload };
        if self.burst.push_view(port, view).is_err() {
            self.flush();
            let _ = self.burst.push_view(port, view);
        }
    }

    fn push_about(&mut self, back: u8, make: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        let about = self.sent.get(usize::from(back));
        if let Some((port, frame)) = about.and_then(|(port, frame)| Some((*port, make(frame)?))) {
            self.push(port, &frame);
        }
    }

    fn apply(&mut self, command: Command) {
        let network = match &command {
            Command::AddNetwork(id, spec) => Some((*id, spec.nat.clone())),
            _ => None,
        };
        let is_new =
            network.as_ref().is_some_and(|(id, _)| self.engine.network_name(*id).is_empty());
        if self.engine.apply(self.now, command).is_err() {
            return;
        }
        self.commands += 1;
        if let Some((id, policy)) = network
            && let Some(slot) = self.translated.get_mut(id.index())
        {
            let modes = [policy.tcp, policy.udp, policy.icmp, policy.other];
            let always = !modes.contains(&NatMode::None) && policy.exempt.is_empty();
            *slot = (always && (is_new || slot.is_some())).then_some(policy);
        }
    }

    fn flush(&mut self) {
        if self.burst.is_empty() {
            return;
        }
        let before = self.engine.totals();
        let pushed = self.burst.len() as u64;
        self.tx.clear();
        self.engine.process(self.now, &mut self.burst, &mut self.tx);
        assert_eq!(self.engine.totals().received, before.received + pushed);
        self.after_pass();
        self.burst.clear();
    }

    /// Lets time pass; timers run when they are due.
    fn wait(&mut self, by: std::time::Duration) {
        let end = self.now + by;
        self.run_timers();
        // Whoever has frequent timers is not followed for hours: they run late then.
        for _ in 0..MAX_ROUNDS {
            match self.engine.poll_timeout() {
                Some(at) if at < end => self.now = at.max(self.now),
                _ => break,
            }
            self.run_timers();
        }
        self.now = end;
        self.run_timers();
        self.check_tables();
    }

    /// Does what is due now. Afterwards the next deadline must lie in the future.
    fn run_timers(&mut self) {
        self.tx.clear();
        let mut rounds = 0;
        loop {
            self.engine.handle_timeout(self.now, &mut self.tx);
            self.after_pass();
            self.tx.clear();
            if self.engine.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
            rounds += 1;
            assert!(
                rounds < MAX_ROUNDS,
                "timers make no progress: {:?} at {:?}",
                self.engine.poll_timeout(),
                self.now
            );
        }
    }

    fn after_pass(&mut self) {
        self.check_books();
        let mtus: HashMap<PortId, u16> =
            self.engine.port_stats().into_iter().map(|(port, stats)| (port, stats.mtu)).collect();
        for port in self.tx.ports() {
            let Some(mtu) = mtus.get(port) else { panic!("sent to {port}, which is not there") };
            for frame in self.tx.frames(*port, &self.burst) {
                let frame = &frame.to_complete()[..];
                self.hash.write_u16(port.0);
                self.hash.write(frame);
                let most = usize::from(*mtu) + MAX_L2;
                // What fits the underlay the tunnels say.
                let is_bound = *port != world::UNDERLAY;
                assert!(
                    !is_bound || frame.len() <= most,
                    "{} bytes for an MTU of {mtu}",
                    frame.len()
                );
                self.check_sent(*port, frame);
                self.sent.push_front((*port, frame.to_vec()));
            }
        }
        self.sent.truncate(REMEMBERED);
        while self.engine.poll_event().is_some() {}
        // Whatever the other resolver says.
        while let Some(asked) = self.engine.poll_name_query() {
            let answer = Command::AnswerName(asked.from, asked.message);
            assert!(self.engine.apply(self.now, answer).is_ok());
        }
    }

    fn check_books(&self) {
        let totals = self.engine.totals();
        let Totals { received, forwarded, flooded, local, dropped, waiting, .. } = totals;
        assert_eq!(received, forwarded + flooded + local + dropped + waiting, "{totals:?}");
    }

    fn check_sent(&self, port: PortId, frame: &[u8]) {
        let Ok(headers) = Headers::parse(frame) else { panic!("sent {frame:02x?}") };
        let network = world::network_of(port.0);
        let is_own = network.0 < 3 && headers.src == world::gateway_mac(network);
        if !is_own {
            return;
        }
        match headers.layer {
            Layer::Arp => {}
            Layer::Ipv4(packet) => self.check_routed(port, &packet, frame),
            layer => panic!("tapway sent {layer:?}: {frame:02x?}"),
        }
    }

    /// A packet that tapway routed or made.
    fn check_routed(&self, port: PortId, packet: &Ipv4, frame: &[u8]) {
        let bytes = frame.get(14..).unwrap_or_default();
        assert!(ipv4::header_is_valid(bytes, packet.header_len), "IPv4 checksum: {frame:02x?}");
        assert!(packet.ttl > 0, "TTL 0: {frame:02x?}");
        assert_eq!(usize::from(packet.total_len), bytes.len(), "trailer: {frame:02x?}");
        if world::network_of(port.0) != NetworkId(0) {
            return;
        }
        for (index, policy) in self.translated.iter().enumerate().skip(1) {
            let subnet = world::subnet(NetworkId(index as u16));
            // tapway itself answers a ping to its inside address, whoever asks.
            let is_inside = subnet
                .is_some_and(|(subnet, own)| subnet.contains(&packet.src) && packet.src != own);
            assert!(!(is_inside && policy.is_some()), "inside address outside: {frame:02x?}");
        }
    }

    fn check_tables(&self) {
        let (sessions, most) = self.engine.session_usage();
        assert!(sessions <= most && most <= world::SESSIONS);
        assert_eq!(self.engine.session_rows(self.now, usize::MAX).len(), sessions);
        let fdb = self.engine.fdb_rows(self.now);
        assert!(fdb.iter().filter(|row| row.port.is_some()).count() <= world::MACS);
        let macs: HashSet<(&str, MacAddr)> =
            fdb.iter().map(|row| (row.network.as_str(), row.mac)).collect();
        assert_eq!(macs.len(), fdb.len(), "a MAC is twice in the FDB: {fdb:?}");
        assert!(self.engine.neighbour_rows(self.now).len() <= world::NEIGHBOURS);
    }

    /// A snapshot is taken back by an engine of the same topology, and not more than it holds.
    fn check_snapshot(&self) {
        let snapshot = self.engine.snapshot(self.now);
        let mut other = Engine::new(world::config(), 0xfeed, self.now);
        for command in world::setup() {
            let _ = other.apply(self.now, command);
        }
        let (sessions, _) = self.engine.session_usage();
        match other.restore(self.now, &snapshot) {
            Ok(restored) => assert!(restored.sessions <= sessions),
            Err(error) => panic!("own snapshot refused: {error}"),
        }
    }
}
