//! Floods of small datagrams: 18 bytes, which makes the smallest Ethernet frame (60 bytes without
//! its checksum).

use std::net::{SocketAddrV4, UdpSocket};
use std::num::NonZeroU64;
use std::time::Duration;

use super::{Load, SOCKET_PATIENCE, Settings, Side, is_passing};
use crate::clock::{self, Deadline};
use crate::error::{BenchError, Context, Result};
use crate::interrupt;
use crate::system::{BURST, ReceiveBurst, SendBurst};
use crate::testbed::{FLOOD_PORT, Host, Route};

/// Payload of a datagram, in bytes.
const PAYLOAD: usize = 18;
/// The receiver's buffer, in bytes: about ten thousand datagrams with the kernel's overhead, so
/// that what is measured is the way there, not how soon the receiver is scheduled.
const RECEIVE_BUFFER: usize = 8 << 20;
/// A paced sender sends this many at once, then sleeps.
const PACED_BURST: f64 = 16.0;
/// A paced sender that was held up makes good at most this many: more at once would overflow
/// queues that the asked rate does not.
const MAX_ARREARS: f64 = 256.0;
/// How long datagrams under way may take to arrive.
const DRAIN: Duration = Duration::from_millis(100);

/// What became of datagrams sent at a steady rate.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Datagrams per second that the sender reached.
    pub rate: f64,
    /// Share of them that did not arrive.
    pub loss: f64,
}

fn receiver(host: &Host, port: u16) -> Result<UdpSocket> {
    let address = SocketAddrV4::new(host.address, port);
    let socket = host.netns.run(|| UdpSocket::bind(address).context(format!("{address}/udp")))?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
        .context("a receive buffer (needs CAP_NET_ADMIN)")?;
    socket.set_read_timeout(Some(SOCKET_PATIENCE)).context("a timeout")?;
    Ok(socket)
}

/// A socket of `host` connected to `target`.
pub fn connected(host: &Host, target: SocketAddrV4) -> Result<UdpSocket> {
    let address = SocketAddrV4::new(host.address, 0);
    host.netns.run(|| {
        let socket = UdpSocket::bind(address).context(format!("{address}/udp"))?;
        socket.connect(target).context(format!("connecting to {target}/udp"))?;
        socket.set_read_timeout(Some(SOCKET_PATIENCE)).context("a timeout")?;
        Ok(socket)
    })
}

fn payload() -> SendBurst {
    SendBurst::new(vec![0x5a; PAYLOAD].into_boxed_slice())
}

/// A load that receives and counts.
fn start_receiver(route: &Route, settings: Settings) -> Result<Load> {
    let socket = receiver(&route.server, FLOOD_PORT)?;
    let mut load = Load::new(settings);
    load.add(Side::Receiver, move |part| {
        let mut burst = ReceiveBurst::new();
        while part.goes_on() {
            if let Ok(count) = burst.receive(&socket) {
                part.add(count);
            }
        }
    })?;
    Ok(load)
}

/// Starts a flood; the load counts datagrams that arrive.
pub fn start(route: &Route, settings: Settings) -> Result<Load> {
    let mut load = start_receiver(route, settings)?;
    let socket = connected(&route.client, route.at(FLOOD_PORT))?;
    load.add(Side::Sender, move |part| {
        let mut burst = payload();
        while part.goes_on() {
            match burst.send(&socket, BURST) {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    })?;
    Ok(load)
}

/// Datagrams per second that arrive under flood, and CPU seconds per million of them.
pub fn measure(route: &Route, settings: Settings) -> Result<(f64, f64)> {
    let window = start(route, settings)?.watch()?;
    if window.count == 0.0 {
        return Err(BenchError::Peer("no datagram of a flood arrived".to_owned()));
    }
    Ok((window.count / window.seconds, window.cpu_s / (window.count / 1e6)))
}

/// Sends at `rate` datagrams per second for a while, and counts what arrives.
pub fn try_rate(route: &Route, rate: f64, settings: Settings) -> Result<Trial> {
    let mut load = start_receiver(route, settings)?;
    let socket = connected(&route.client, route.at(FLOOD_PORT))?;
    let (report, sent) = std::sync::mpsc::channel();
    load.add(Side::Sender, move |part| {
        let start = clock::now();
        let sent = send_paced(&socket, rate, settings.span, || part.goes_on());
        // Nobody listens after an interrupt.
        let _ = report.send((sent, start.elapsed()));
    })?;
    interrupt::sleep(settings.span)?;
    let (sent, span) = sent.recv().map_err(|_| BenchError::Peer("the sender failed".to_owned()))?;
    let received = drain(&load)?;
    let loss = 1.0 - (received as f64 / sent.max(1) as f64);
    Ok(Trial { rate: sent as f64 / span.as_secs_f64(), loss: loss.max(0.0) })
}

/// Waits until no more arrive; gives how many did.
fn drain(load: &Load) -> Result<u64> {
    loop {
        let before = load.count();
        interrupt::sleep(DRAIN)?;
        if load.count() == before {
            return Ok(before);
        }
    }
}

/// Gives how many were sent.
fn send_paced(socket: &UdpSocket, rate: f64, span: Duration, goes_on: impl Fn() -> bool) -> u64 {
    // Else the kernel may sleep 50 µs longer than asked.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut burst = payload();
    let (start, end) = (clock::now(), Deadline::after(span));
    let (mut sent, mut forgiven) = (0, 0.0);
    while !end.has_passed() && goes_on() {
        let mut due = start.elapsed().as_secs_f64() * rate - sent as f64 - forgiven;
        if due > MAX_ARREARS {
            forgiven += due - MAX_ARREARS;
            due = MAX_ARREARS;
        }
        if due < PACED_BURST {
            std::thread::sleep(Duration::from_secs_f64((PACED_BURST - due) / rate).min(DRAIN));
            continue;
        }
        sent += burst.send(socket, due as usize).unwrap_or(0) as u64;
    }
    sent
}
