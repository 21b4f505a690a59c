//! The thread of the DHCP server, between the dataplane's requests and its commands.
//!
//! An address that its client did not have before is asked for by ARP, and offered only if nobody
//! has answered in time. Bounds: [`MAX_PROBES`] offers that wait for that; beyond it they go
//! unprobed.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::leases::tell;
use super::server::worth_telling;
use super::{Answer, Leases};
use crate::engine::Command;
use crate::io::{Clock, Dataplane};
use crate::local::dhcp::{DhcpReply, DhcpRequest, ReplyKind};
use crate::time::Instant;

/// How long an answer to an ARP request is waited for: hosts on one switch take milliseconds, and
/// clients wait seconds for an offer.
const PROBE: Duration = Duration::from_millis(400);
/// Between two looks at what is due: at leases, and at offers that wait.
const PERIOD: Duration = Duration::from_secs(1);
const SHORT_PERIOD: Duration = Duration::from_millis(100);
/// Offers that wait for a probe.
const MAX_PROBES: usize = 1024;
/// Addresses that are tried for one request.
const MAX_TRIES: u8 = 4;
/// Between two lines of the log about requests that cannot be granted.
const QUIET: Duration = Duration::from_secs(10);

/// The running DHCP server; dropping it stops the thread.
#[derive(Debug)]
pub struct DhcpService {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An offer that waits.
struct Probe {
    due: Instant,
    request: DhcpRequest,
    reply: DhcpReply,
    tries: u8,
}

struct Running {
    worker: Arc<Dataplane>,
    leases: Leases,
    probes: Vec<Probe>,
    quiet_until: Instant,
}

impl DhcpService {
    /// Starts the thread, which serves what `leases` is told to.
    ///
    /// # Errors
    /// If the process is out of threads.
    pub fn start(worker: Arc<Dataplane>, leases: Leases) -> std::io::Result<Self> {
        let (probes, quiet_until) = (Vec::new(), Instant::ZERO);
        let running = Running { worker, leases, probes, quiet_until };
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("dhcp".to_owned())
            .spawn(move || running.run(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for DhcpService {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ = thread.join();
        }
    }
}

impl Running {
    fn run(mut self, stop: &Receiver<()>) {
        let worker = self.worker.clone();
        let mut looked = Clock.now();
        loop {
            let period = if self.probes.is_empty() { PERIOD } else { SHORT_PERIOD };
            // Also under a flood of requests.
            if Clock.now().since(looked) >= period {
                looked = Clock.now();
                self.look_after(looked);
            }
            select! {
                recv(stop) -> _ => return,
                recv(worker.dhcp()) -> request => match request {
                    Ok(request) => self.answer(Clock.now(), request, 0),
                    Err(_) => return,
                },
                default(period) => {}
            }
        }
    }

    fn answer(&mut self, now: Instant, request: DhcpRequest, tries: u8) {
        let mut server = self.leases.lock();
        let wants_probe = server.wants_probe(&request);
        let answer = server.answer(now, &request);
        let commands = server.take_commands();
        drop(server);
        // What a host may call itself changes before it is told what it is called.
        tell(&self.worker, commands);
        match answer {
            Some(Answer::Reply(reply)) => {
                let is_probed = wants_probe && reply.kind == ReplyKind::Offer;
                if is_probed && self.probes.len() < MAX_PROBES {
                    self.probe(now, request, reply, tries);
                } else {
                    self.send(&request, &reply);
                }
            }
            Some(Answer::Silence(silence)) if worth_telling(silence) => {
                self.log(now, &request, &silence.to_string());
            }
            Some(Answer::Silence(silence)) => {
                tracing::debug!(client = %request.message.client(), %silence, "no DHCP answer");
            }
            None => {}
        }
    }

    fn probe(&mut self, now: Instant, request: DhcpRequest, reply: DhcpReply, tries: u8) {
        // A client that asks again takes the place of its former request.
        let client = request.message.client();
        let is_again = |probe: &Probe| {
            probe.request.network == request.network && probe.request.message.client() == client
        };
        if let Some(probe) = self.probes.iter_mut().find(|probe| is_again(probe))
            && probe.reply.your_ip == reply.your_ip
        {
            (probe.request, probe.reply) = (request, reply);
            return;
        }
        self.probes.retain(|probe| !is_again(probe));
        let ask = Command::AskNeighbour(request.network, reply.your_ip, request.port);
        tell(&self.worker, vec![ask]);
        self.probes.push(Probe { due: now + PROBE, request, reply, tries });
    }

    fn look_after(&mut self, now: Instant) {
        let mut server = self.leases.lock();
        server.expire(now);
        let commands = server.take_commands();
        drop(server);
        tell(&self.worker, commands);
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.probes).into_iter().partition(|probe| probe.due <= now);
        self.probes = rest;
        for probe in due {
            self.settle(now, probe);
        }
    }

    fn settle(&mut self, now: Instant, probe: Probe) {
        let Probe { request, reply, tries, .. } = probe;
        let (network, address) = (request.network, reply.your_ip);
        let found = self.worker.query(move |engine, now| engine.neighbour(now, network, address));
        let Ok(Some(mac)) = found else { return self.send(&request, &reply) };
        if mac == request.message.mac {
            return self.send(&request, &reply);
        }
        let name = self.leases.lock().network_name(network).to_owned();
        tracing::warn!(
            network = name,
            %address,
            %mac,
            "a host uses an address without a lease; another one is offered"
        );
        self.leases.lock().conflict(now, network, &request.message.client());
        if tries < MAX_TRIES {
            self.answer(now, request, tries + 1);
        }
    }

    fn send(&self, request: &DhcpRequest, reply: &DhcpReply) {
        let DhcpReply { kind, your_ip, .. } = reply;
        let client = request.message.client();
        tracing::debug!(%client, ?kind, address = %your_ip, "DHCP answer");
        let command = self.leases.lock().send(request, reply);
        tell(&self.worker, command.into_iter().collect());
    }

    fn log(&mut self, now: Instant, request: &DhcpRequest, why: &str) {
        if now < self.quiet_until {
            return;
        }
        self.quiet_until = now + QUIET;
        let server = self.leases.lock();
        let network = server.network_name(request.network);
        tracing::warn!(network, client = %request.message.client(), why, "no DHCP offer");
    }
}
