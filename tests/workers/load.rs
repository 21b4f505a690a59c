//! How evenly work falls on the workers, and what becomes of too much.

use std::collections::HashMap;
use std::time::Duration;

use tapway::id::WorkerId;
use tapway::packet::TxLists;
use tapway::time::Instant;

use super::bench::*;
use super::support::*;

/// One thread plays N workers: how evenly the work falls on them, and how much is handed over if
/// the kernel's choice of a queue knows nothing of owners.
#[test]
fn work_spreads_over_up_to_sixteen_workers() {
    const HOSTS: usize = 256;
    eprintln!("workers  frames/worker min..max  skew  handed over");
    for workers in [1, 2, 4, 8, 16] {
        let mut bench = bench(workers, 7, |_| {});
        let hosts: Vec<LabPort> = (0..HOSTS).map(|_| bench.host()).collect();
        let mut mapped = HashMap::new();
        for (index, host) in hosts.iter().enumerate() {
            mapped.insert(index, bench.leave(host, 5000, far(53)));
        }
        let before = bench.crew.work();
        for round in 0..8 {
            for (index, host) in hosts.iter().enumerate() {
                bench.leave(host, 5000, far(60 + round));
                let answer = build::udp(router().to_gateway(), far(53), mapped[&index], b"in");
                only_udp(&bench.send(&router(), &answer), host);
            }
        }
        let work: Vec<(u64, u64)> = bench
            .crew
            .work()
            .iter()
            .zip(before)
            .map(|(now, then)| (now.frames - then.frames, now.handed_over - then.handed_over))
            .collect();
        let sent = (HOSTS * 8 * 2) as u64;
        let handed: u64 = work.iter().map(|(_, handed)| handed).sum();
        let frames = work.iter().map(|(frames, _)| *frames);
        let (least, most) = (frames.clone().min().unwrap(), frames.clone().max().unwrap());
        // Each handed frame costs both; what an engine did for its own hosts is the rest.
        assert_eq!(frames.sum::<u64>(), sent + handed);
        let mean = (sent + handed) as f64 / workers as f64;
        let skew = most as f64 / mean;
        let share = handed as f64 / sent as f64;
        eprintln!("{workers:>7}  {least:>13}..{most:<7}  {skew:>4.2}  {:>4.0} %", share * 100.0);
        assert!(skew < 1.6, "{work:?}");
        assert!(share <= 1.0 - 1.0 / workers as f64 + 0.1, "{share}");
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    }
}

#[test]
fn a_full_queue_between_workers_is_a_named_loss() {
    use tapway::crew::Relay;
    use tapway::engine::{Engine, Share};
    use tapway::packet::{Burst, HandOver, Origin};
    let now = Instant::from_secs(1000);
    let config = EngineConfig::with_sessions(16);
    let share = Share::of(2).remove(0);
    let mut engine = Engine::with_share(config, 1, now, share);
    let mut spec = Lab::network_spec("bridge", Lab::GATEWAY, 16);
    spec.is_outside = false;
    engine.apply(now, Command::AddNetwork(BRIDGE, spec)).unwrap();
    engine.apply(now, Command::AddPort(ROUTER, port_spec("p"))).unwrap();
    let mut relays = Relay::between(2);
    let relay = &mut relays[0];
    let (mut burst, mut tx) = (Burst::new(), TxLists::new());
    for _ in 0..100 {
        burst.clear();
        tx.clear();
        for _ in 0..64 {
            burst.push(ROUTER, &[0; 60]).unwrap();
        }
        for frame in 0..64 {
            let frame = tapway::packet::FrameRef::Burst(frame);
            tx.hand_over(HandOver { to: WorkerId(1), frame, port: ROUTER, origin: Origin::Owned });
        }
        relay.dispatch(&mut engine, (&tx, &burst), |_| {});
    }
    let lost: u64 = engine.drop_rows().iter().map(|row| row.frames).sum();
    assert_eq!(lost, 36 * 64, "{:?}", engine.drop_rows());
}

/// A host is held to the limit of its port, not of each queue of its port.
#[test]
fn a_storm_is_limited_over_all_workers_together() {
    for workers in WORKERS {
        let mut bench = bench(workers, 3, |bridge| bridge.bridge.storm_limit = 20);
        let (host, _other) = (bench.host(), bench.host());
        bench.advance(Duration::from_secs(10));
        let flooded = (0..200u8)
            .filter(|n| {
                let to = MacAddr::BROADCAST;
                let frame = ether(host.mac, to, 0x88b5, &[*n; 46]);
                !bench.send(&host, &frame).is_empty()
            })
            .count();
        // 20 at once, and one for each of the 200 ms.
        assert!((20..=24).contains(&flooded), "{workers} workers: {flooded}");
        assert_eq!(bench.drops(), [("storm_limit".to_owned(), 200 - flooded as u64)]);
        bench.assert_balanced();
    }
}
