//! A test by its name.

use std::time::Duration;

use super::{SOCKET_PATIENCE, udp};
use super::{Settings, connect, fairness, rtt, search, tcp};
use crate::error::Result;
use crate::figure::{Figure, Test};
use crate::testbed::{ECHO_PORT, Route, STREAM_PORT, Testbed};
use crate::{clock, cpu, interrupt};

/// How long a switch may take from its start until packets pass.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// What is still done after traffic ends, before rest begins.
const SETTLE: Duration = Duration::from_millis(500);

/// Waits until TCP and UDP pass.
///
/// # Errors
/// The last attempt's, or why the switch has ended.
pub fn wait_until_reachable(testbed: &mut Testbed, settings: Settings) -> Result<()> {
    let end = clock::Deadline::after(START_PATIENCE);
    loop {
        testbed.check()?;
        let reached = reach(&testbed.route, settings);
        if reached.is_ok() || end.has_passed() {
            return reached;
        }
        interrupt::sleep(SOCKET_PATIENCE / 5)?;
    }
}

/// One connection and one echo; fails, too, while the hosts have no addresses yet.
fn reach(route: &Route, settings: Settings) -> Result<()> {
    let listener = tcp::listen(&route.server, STREAM_PORT)?;
    let _echo = rtt::start_echo(&route.server, settings)?;
    tcp::connect(&route.client, route.at(STREAM_PORT))?;
    tcp::accept(&listener)?;
    rtt::probe(&udp::connected(&route.client, route.at(ECHO_PORT))?)
}

/// Runs one test.
///
/// # Errors
/// Why there is no figure.
pub fn measure(
    test: Test,
    testbed: &mut Testbed,
    settings: Settings,
) -> Result<Vec<(Figure, f64)>> {
    testbed.check()?;
    let route = &testbed.route;
    let figures = match test {
        Test::Tcp1 => {
            let (gbit, cpu) = tcp::measure(route, 1, settings)?;
            vec![(Figure::Tcp1, gbit), (Figure::Tcp1Cpu, cpu)]
        }
        Test::Tcp4 => {
            let (gbit, cpu) = tcp::measure(route, 4, settings)?;
            vec![(Figure::Tcp4, gbit), (Figure::Tcp4Cpu, cpu)]
        }
        Test::Udp => {
            let (rate, cpu) = udp::measure(route, settings)?;
            vec![(Figure::Flood, rate / 1e3), (Figure::FloodCpu, cpu)]
        }
        Test::Lossless => {
            vec![(Figure::Lossless, search::lossless_rate(route, settings)? / 1e3)]
        }
        Test::Connects => vec![(Figure::Connects, connect::measure(route, settings)? / 1e3)],
        Test::Rtt => {
            let trips = rtt::measure(route, settings)?;
            vec![(Figure::RttP50, trips.p50), (Figure::RttP99, trips.p99)]
        }
        Test::Rest => vec![(Figure::Rest, cores_at_rest(testbed, settings)?)],
        Test::Fairness => fairness::measure(testbed, settings)?,
    };
    testbed.check()?;
    Ok(figures)
}

/// Cores that the switch's own processes use without traffic; the kernel as a switch has none.
fn cores_at_rest(testbed: &Testbed, settings: Settings) -> Result<f64> {
    interrupt::sleep(SETTLE)?;
    let pids = testbed.pids();
    let (start, before) = (clock::now(), cpu::processes_s(&pids));
    interrupt::sleep(settings.span)?;
    Ok((cpu::processes_s(&pids) - before) / start.elapsed().as_secs_f64())
}
