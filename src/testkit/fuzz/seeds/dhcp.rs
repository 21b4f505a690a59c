//! Messages for the DHCP target.

use super::{A, SRC, Seed};
use crate::testkit::dhcp::{ClientMessage, DECLINE, DISCOVER, INFORM, RELEASE, REQUEST};

/// One of each kind, and what is wrong in each way.
pub fn dhcp() -> Vec<Seed> {
    let message = |kind| ClientMessage::new(kind, A, 0x1234_5678);
    let list = [1, 121, 3, 6, 12, 15, 26, 28, 51, 54];
    let full = message(DISCOVER)
        .option(61, &[1, 2, 0, 0, 0, 0, 1])
        .option(50, &SRC.octets())
        .option(51, &[0, 0, 14, 16])
        .option(12, b"web1.example")
        .option(55, &list);
    let cut = |len: usize| full.bytes.get(..len).unwrap_or_default().to_vec();
    let padded = [full.bytes.clone(), vec![0; 60]].concat();
    let mut long = message(DISCOVER);
    for number in 128..136 {
        long = long.option(number, &[7; 255]);
    }
    vec![
        ("discover", message(DISCOVER).bytes),
        ("discover_full", full.bytes.clone()),
        ("discover_padded", padded),
        ("discover_broadcast", message(DISCOVER).broadcast().bytes),
        ("discover_long", long.bytes),
        ("request", message(REQUEST).option(50, &SRC.octets()).option(54, &[172, 17, 0, 1]).bytes),
        ("request_renewing", message(REQUEST).client_ip(SRC).bytes),
        ("decline", message(DECLINE).option(50, &SRC.octets()).bytes),
        ("release", message(RELEASE).client_ip(SRC).bytes),
        ("inform", message(INFORM).client_ip(SRC).bytes),
        ("relayed", message(DISCOVER).relayed(SRC).bytes),
        ("empty", Vec::new()),
        ("head_only", cut(236)),
        ("no_options", cut(240)),
        ("option_cut", cut(250)),
        ("option_without_length", [cut(243), vec![50]].concat()),
        ("no_end", cut(full.bytes.len() - 1)),
        ("of_a_server", message(2).bytes),
        ("reply", message(DISCOVER).field(0, &[2]).bytes),
        ("token_ring", message(DISCOVER).field(1, &[6]).bytes),
        ("long_hardware", message(DISCOVER).field(2, &[16]).bytes),
        ("group_mac", message(DISCOVER).field(28, &[1]).bytes),
        ("cookie", message(DISCOVER).field(236, &[0]).bytes),
        ("address_of_three", message(REQUEST).option(50, &[1, 2, 3]).bytes),
        ("type_of_two", message(DISCOVER).option(53, &[1, 1]).bytes),
        ("identifier_empty", message(DISCOVER).option(61, &[]).bytes),
        ("name_wild", message(DISCOVER).option(12, b"-\xff\0a").bytes),
    ]
}
