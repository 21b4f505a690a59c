//! DNS messages: queries of every kind, and answers.

use super::Seed;

const HEADER: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0";
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

/// Messages, each with how it came and where from.
pub fn dns() -> Vec<Seed> {
    let ask = |name: &[u8], kind: u8| [b"\0\0", HEADER, name, &[0, 0, kind, 0, 1]].concat();
    let own = ask(b"\x01a", 1);
    let with = |at: usize, byte: u8| {
        let mut seed = own.clone();
        if let Some(place) = seed.get_mut(at) {
            *place = byte;
        }
        seed
    };
    let edns = |opt: &[u8]| [with(13, 1), opt.to_vec()].concat();
    let options: &[u8] = b"\0\0\x29\x10\0\0\0\0\0\0\x0a\0\x0a\0\x02ck\0\x03\0\0";
    let reverse = ask(b"\x013\x010\x0217\x03172\x07in-addr\x04arpa", 12);
    let answer: &[u8] = b"\0\0\x12\x34\x81\x80\0\x01\0\x02\0\x01\0\x01\x01x\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\x01\x2c\0\x03\x01y\0\xc0\x1d\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01\
        \0\0\x06\0\x01\0\0\0\x1e\0\x16\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x1e\
        \0\0\x29\x04\xd0\0\0\0\0\0\0";
    vec![
        ("empty", Vec::new()),
        ("own", own.clone()),
        ("own_full_name", ask(b"\x01A\x03Net", 1)),
        ("own_aaaa", ask(b"\x01a", 28)),
        ("own_any", ask(b"\x01a", 255)),
        ("link", ask(b"\x01l", 1)),
        ("many_by_udp", ask(b"\x01m", 1)),
        ("many_by_tcp", [&[1], ask(b"\x01m", 1).get(1..).unwrap_or_default()].concat()),
        ("reverse", reverse.clone()),
        ("reverse_nobody", ask(b"\x019\x010\x0217\x03172\x07in-addr\x04arpa", 12)),
        ("reverse_foreign", ask(b"\x011\x011\x011\x011\x07in-addr\x04arpa", 12)),
        ("foreign", ask(b"\x04test", 1)),
        ("foreign_internal", [&[0, 1], ask(b"\x04test", 1).get(2..).unwrap_or_default()].concat()),
        ("root", ask(b"", 2)),
        ("edns", edns(OPT)),
        ("edns_twice", [with(13, 2), OPT.to_vec(), OPT.to_vec()].concat()),
        ("edns_version", edns(b"\0\0\x29\x04\xd0\0\x01\0\0\0\0")),
        ("edns_options", edns(options)),
        ("edns_option_cut", edns(b"\0\0\x29\x10\0\0\0\0\0\0\x03\0\x03\0")),
        ("additional_missing", with(13, 1)),
        ("two_questions", with(7, 2)),
        ("no_question", with(7, 0)),
        ("update", with(4, 0x29)),
        ("transfer", ask(b"\x01a", 252)),
        ("class_chaos", with(20, 3)),
        ("pointer_to_itself", with(14, 0xc0)),
        ("label_too_long", with(14, 0x40)),
        ("an_answer", with(4, 0x81)),
        ("upstream", answer.to_vec()),
        ("upstream_cut", answer.get(..answer.len() - 20).unwrap_or_default().to_vec()),
    ]
}
