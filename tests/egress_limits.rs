//! What `limit_tx` refuses: a frame as a whole, counted once, and copies where they were to leave.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::packet::{FrameView, Gso};
use tapway::switch::{PortLimits, RateLimit};

/// Lets a port take so many bytes, and no more for a long time.
fn allow(lab: &mut Lab, host: &LabPort, burst: u32) {
    let tx = Some(RateLimit { bytes_per_s: 1, burst });
    lab.must(Command::SetPortLimits(host.port, PortLimits { rx: None, tx }));
}

/// A lab whose inside network takes packets of 576 bytes, and its server with a published port.
fn small_mtu() -> (Lab, LabPort, LabPort) {
    let mut lab = Lab::with(EngineConfig::with_sessions(64), |bridge| bridge.mtu = 576);
    let (router, host) = (lab.router(), lab.known_inside(2));
    lab.publish(17, 53, host.at(53));
    (lab, router, host)
}

/// The count of `limit_tx` at one port.
fn limited_at(lab: &Lab, host: &LabPort) -> u64 {
    let rows = lab.engine.drop_rows();
    let name = format!("host-{}", host.ip);
    rows.iter()
        .filter(|row| row.port == name && row.reason == "limit_tx")
        .map(|row| row.frames)
        .sum()
}

#[test]
fn a_frame_that_must_be_cut_leaves_as_a_whole_or_not_at_all() {
    twice(|| {
        let (mut lab, router, host) = small_mtu();
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &[7; 1400]);
        // 1 408 bytes behind three headers of 34.
        let wire = 1408 + 3 * 34;
        allow(&mut lab, &host, wire + 60);
        assert_eq!(lab.send(&router, &sent).len(), 3);
        // 60 bytes are left: not even enough for the last fragment, and none comes.
        assert!(lab.send(&router, &sent).is_empty());
        assert_eq!(lab.drops(), [("limit_tx".to_owned(), 1)].into());
        assert_eq!(lab.engine.totals().dropped, 1);
        lab
    });
}

#[test]
fn fragments_that_would_fit_one_by_one_do_not_leave_without_the_rest() {
    twice(|| {
        let (mut lab, router, host) = small_mtu();
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &[7; 1400]);
        let wire = 1408 + 3 * 34;
        allow(&mut lab, &host, 2 * wire - 1);
        assert_eq!(lab.send(&router, &sent).len(), 3);
        assert!(lab.send(&router, &sent).is_empty());
        // What the limit did not give is still there.
        let small = build::udp(router.to_gateway(), far(9), ext(53), &[7; 400]);
        assert_eq!(lab.send(&router, &small).len(), 1);
        assert_eq!(lab.drops(), [("limit_tx".to_owned(), 1)].into());
        assert_eq!(lab.engine.totals().dropped, 1);
        lab
    });
}

#[test]
fn a_super_frame_that_is_cut_counts_once_and_as_a_whole() {
    let (mut lab, router, host) = small_mtu();
    lab.alone();
    let datagram = udp_df_clear(router.to_gateway(), far(9), ext(53), &[7; 5 * 1000]);
    let (bytes, offload) = build::unfinished(&datagram);
    let frame = FrameView { bytes: &bytes, offload: offload.segmented(Gso::Udp, 1000) };
    // Five datagrams of 1 008 bytes, each in two fragments.
    let wire = 5 * (1008 + 2 * 34);
    allow(&mut lab, &host, 2 * wire - 1);
    assert_eq!(lab.send_view(&router, frame).len(), 10);
    assert!(lab.send_view(&router, frame).is_empty());
    assert_eq!(lab.drops(), [("limit_tx".to_owned(), 1)].into());
    assert_eq!(lab.engine.totals().dropped, 1);
    assert!(lab.is_balanced());
}

#[test]
fn a_copy_that_one_port_refuses_is_counted_there_and_the_frame_is_not_lost() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b, c) = (lab.known_inside(2), lab.known_inside(3), lab.known_inside(4));
        allow(&mut lab, &b, 60);
        let hello = ether(a.mac, MacAddr::BROADCAST, 0x88b5, &[0; 46]);
        assert_eq!(lab.send(&a, &hello).len(), 2);
        let before = lab.engine.totals();
        assert_eq!(only(&lab.send(&a, &hello), &c), hello);
        let after = lab.engine.totals();
        assert_eq!((after.flooded, after.dropped), (before.flooded + 1, before.dropped));
        assert_eq!((limited_at(&lab, &a), limited_at(&lab, &b)), (0, 1));
        // Refused by all, the frame is lost, and counted as such, once.
        lab.must(Command::RemovePort(c.port));
        assert!(lab.send(&a, &hello).is_empty());
        assert_eq!(lab.engine.totals().dropped, before.dropped + 1);
        assert_eq!((limited_at(&lab, &a), limited_at(&lab, &b)), (1, 1));
        lab
    });
}

#[test]
fn a_request_that_neither_tapway_nor_others_may_have_is_counted_once() {
    use tapway::testkit::dhcp::{ClientMessage, DISCOVER};
    let mut lab = Lab::with(EngineConfig::with_sessions(64), |bridge| {
        bridge.serves_dhcp = true;
        bridge.bridge.storm_limit = 1;
    });
    // Each worker has a limit of requests of its own.
    lab.alone();
    let (host, _) = (lab.inside(2), lab.inside(3));
    let discover = ClientMessage::new(DISCOVER, host.mac, 1).frame(host.mac);
    for _ in 0..50 {
        lab.send(&host, &discover);
    }
    assert_eq!(lab.dropped(DropReason::DhcpLimit), 10);
    assert_eq!(lab.drops().values().sum::<u64>(), lab.engine.totals().dropped);
    assert!(lab.is_balanced());
}
