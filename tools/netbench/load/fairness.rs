//! What a flood by one host leaves to the others.

use super::{Settings, rtt, tcp, udp};
use crate::clock;
use crate::error::{BenchError, Result};
use crate::figure::Figure;
use crate::testbed::{Route, Testbed};

/// One bystander floods another with small UDP; meanwhile the third sends a TCP stream to the
/// server, and the client exchanges single bytes with it.
pub fn measure(testbed: &Testbed, settings: Settings) -> Result<Vec<(Figure, f64)>> {
    let [flooder, flooded, streamer] = testbed.bystanders.as_slice() else {
        return Err(BenchError::Peer("the fairness scenario needs five hosts".to_owned()));
    };
    let server = &testbed.route.server;
    let stream = tcp::start(&Route::direct(streamer, server), 1, settings)?;
    let flood = udp::start(&Route::direct(flooder, flooded), settings)?;
    let (start, bytes, datagrams) = (clock::now(), stream.count(), flood.count());
    let trips = rtt::measure(&testbed.route, settings)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(vec![
        (Figure::FairTcp, (stream.count() - bytes) as f64 * 8.0 / seconds / 1e9),
        (Figure::FairP50, trips.p50),
        (Figure::FairP99, trips.p99),
        (Figure::FairFlood, (flood.count() - datagrams) as f64 / seconds / 1e3),
    ])
}
