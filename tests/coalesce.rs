//! What the coalescer joins, cutting gives back: random streams of several flows, with much that
//! is amiss.

use proptest::collection::vec;
use proptest::prelude::*;
use tapway::packet::{Offload, Offloads};
use tapway::testkit::fuzz::{check_coalesced, offloads_of, stream};

/// One frame of a stream; most are as they should be.
fn step(flows: u8) -> impl Strategy<Value = [u8; 4]> {
    let twist = prop_oneof![3 => Just(0u8), 1 => Just(213), 2 => any::<u8>()];
    let len = prop_oneof![6 => Just(0u8), 1 => any::<u8>()];
    (0..flows, len, twist, any::<u8>())
        .prop_map(|(flow, len, twist, amount)| [flow, len, twist, amount])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn joined_frames_cut_again_are_the_same_frames_in_the_same_order_per_flow(
        steps in (1u8..13).prop_flat_map(|flows| vec(step(flows), 0..80)),
        bits in prop_oneof![Just(0u8), any::<u8>()],
    ) {
        check_coalesced(&stream(&steps.concat()), offloads_of(bits));
    }
}

#[test]
fn stream_without_faults_is_joined_whole() {
    for flow in 0..12 {
        let frames = stream(&[flow, 0, 0, 0].repeat(44));
        assert_eq!((frames.len(), check_coalesced(&frames, Offloads::ALL)), (44, 44));
    }
}

#[test]
fn eight_interleaved_flows_are_joined_whole() {
    let round: Vec<u8> =
        [0, 1, 2, 4, 5, 6, 8, 9].iter().flat_map(|flow| [*flow, 0, 0, 0]).collect();
    let frames = stream(&round.repeat(8));
    assert_eq!((frames.len(), check_coalesced(&frames, Offloads::ALL)), (64, 64));
}

#[test]
fn stream_of_wrong_checksums_is_joined_nowhere() {
    let frames = stream(&[0, 0, 222, 2].repeat(20));
    assert!(frames.iter().all(|(_, offload)| *offload == Offload::NONE));
    assert_eq!(check_coalesced(&frames, Offloads::ALL), 0);
}
