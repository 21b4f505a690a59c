//! One byte to and fro, by UDP: the latency of the path and of two wake-ups.

use std::net::{SocketAddrV4, UdpSocket};

use super::{Load, SOCKET_PATIENCE, Settings, Side, is_passing, udp};
use crate::clock::{self, Deadline};
use crate::error::{BenchError, Context, Result};
use crate::interrupt;
use crate::testbed::{ECHO_PORT, Host, Route};

/// Round trips that may be lost before the measurement is given up.
const MAX_LOST: usize = 20;

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// A load that echoes datagrams.
pub fn start_echo(host: &Host, settings: Settings) -> Result<Load> {
    let address = SocketAddrV4::new(host.address, ECHO_PORT);
    let socket = host.netns.run(|| UdpSocket::bind(address).context(format!("{address}/udp")))?;
    socket.set_read_timeout(Some(SOCKET_PATIENCE)).context("a timeout")?;
    let mut load = Load::new(settings);
    load.add(Side::Receiver, move |part| {
        let mut room = [0; 16];
        while part.goes_on() {
            if let Ok((len, from)) = socket.recv_from(&mut room) {
                // Lost or not: the client finds out.
                let _ = socket.send_to(&room[..len.min(room.len())], from);
            }
        }
    })?;
    Ok(load)
}

/// One round trip.
pub fn probe(socket: &UdpSocket) -> Result<()> {
    round_trip(socket, 1).context("UDP echo")
}

/// Round trips for the settings' span.
pub fn measure(route: &Route, settings: Settings) -> Result<RoundTrips> {
    let _echo = start_echo(&route.server, settings)?;
    let socket = udp::connected(&route.client, route.at(ECHO_PORT))?;
    let pinger = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            Side::Sender.settle(settings);
            ping(&socket, Deadline::after(settings.warm_up))?;
            ping(&socket, Deadline::after(settings.span))
        });
        thread.join()
    });
    let times = pinger.map_err(|_| BenchError::Peer("the pinger panicked".to_owned()))??;
    percentiles(times)
}

/// Nanoseconds of each round trip until then.
fn ping(socket: &UdpSocket, end: Deadline) -> Result<Vec<u64>> {
    let (mut times, mut lost, mut number) = (Vec::with_capacity(1 << 20), 0, 0_u8);
    while !end.has_passed() {
        interrupt::check()?;
        number = number.wrapping_add(1);
        let start = clock::now();
        match round_trip(socket, number) {
            Ok(()) => times.push(start.elapsed().as_nanos() as u64),
            Err(error) if is_passing(&error) && lost < MAX_LOST => lost += 1,
            Err(error) => {
                return Err(BenchError::System { what: "UDP echo".to_owned(), error });
            }
        }
    }
    Ok(times)
}

fn round_trip(socket: &UdpSocket, number: u8) -> std::io::Result<()> {
    socket.send(&[number])?;
    let mut room = [0; 16];
    // A late answer to an earlier one is passed over.
    while socket.recv(&mut room)? != 1 || room[0] != number {}
    Ok(())
}

fn percentiles(mut times: Vec<u64>) -> Result<RoundTrips> {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map(|ns| *ns as f64 / 1e3);
    let lost = || BenchError::Peer("no echo came back".to_owned());
    Ok(RoundTrips { p50: at(50).ok_or_else(lost)?, p99: at(99).ok_or_else(lost)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let trips = percentiles((1..=1000).rev().map(|us| us * 1000).collect()).unwrap();
        assert_eq!((trips.p50, trips.p99), (501.0, 991.0));
        assert!(percentiles(Vec::new()).is_err());
    }
}
