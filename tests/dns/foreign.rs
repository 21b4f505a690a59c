//! Names that are nobody's here.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tapway::io::Clock;

use crate::bench::{Bench, GATEWAY, OWN, dig, eventually, short};
use crate::netns::{Name, skipped};
use crate::upstream::Upstream;

fn settings(upstreams: &[&Upstream]) -> String {
    let quoted: Vec<String> = upstreams.iter().map(|upstream| upstream.quoted()).collect();
    format!("[dns]\nupstreams = [{}]\n", quoted.join(", "))
}

#[test]
fn other_names_come_from_upstream_and_are_remembered() {
    let upstream = Upstream::start("127.0.0.1:0", 1);
    let Some(bench) = Bench::start(&settings(&[&upstream])) else { return };
    for (at, server) in [OWN, GATEWAY].into_iter().enumerate() {
        let server = format!("@{server}");
        let name = format!("a{at}.test");
        assert_eq!(short(&bench.web1, &[&server, &name]), ["192.0.2.1"]);
        assert_eq!(short(&bench.web1, &[&server, "+tcp", &name]), ["192.0.2.1"]);
        assert_eq!(short(&bench.web2, &[&server, &name.to_uppercase()]), ["192.0.2.1"]);
        assert_eq!(upstream.asked(&format!("{name}.")).len(), 1, "the others were remembered");
        let big = format!("big.{at}.test");
        assert_eq!(
            short(&bench.web1, &[&server, "+noedns", &big]).len(),
            60,
            "by TCP, as it was cut"
        );
        let answer = dig(&bench.web1, &[&server, &format!("nx.{at}.test")]);
        assert!(answer.contains("status: NXDOMAIN"), "{answer}");
        let again = dig(&bench.web2, &[&server, &format!("nx.{at}.test")]);
        assert!(again.contains("status: NXDOMAIN"), "{again}");
        assert_eq!(upstream.asked(&format!("nx.{at}.test.")).len(), 1);
        assert_eq!(short(&bench.web1, &[&server, &format!("lie.{at}.test")]), ["192.0.2.1"]);
    }
    let stats = bench.report().resolver;
    assert!(stats.from_cache >= 8 && stats.mismatched == 4, "{stats:?}");
    // What is known here was asked nowhere else, of whatever type.
    assert_eq!(short(&bench.web1, &["AAAA", "web2"]), [""; 0]);
    assert!(upstream.all().iter().all(|asked| asked.name.ends_with(".test.")));
}

#[test]
fn flags_and_letters_go_to_upstream_and_back() {
    let upstream = Upstream::start("127.0.0.1:0", 1);
    let Some(bench) = Bench::start(&settings(&[&upstream])) else { return };
    let answer = dig(&bench.web1, &["+dnssec", "+cdflag", "+adflag", "MiXed.tEsT"]);
    assert!(answer.contains("MiXed.tEsT.\t\t300\tIN\tA\t192.0.2.1"), "{answer}");
    assert!(answer.contains(" ad ") || answer.contains(" ad;"), "{answer}");
    let asked = upstream.asked("mixed.test.").remove(0);
    assert!(asked.is_dnssec_ok && asked.checking_disabled && asked.name == "MiXed.tEsT.");
    let plain = dig(&bench.web1, &["+noedns", "plain.test"]);
    assert!(plain.contains("192.0.2.1") && !plain.contains("EDNS"), "{plain}");
    assert!(!upstream.asked("plain.test.").remove(0).is_dnssec_ok);
}

#[test]
fn ids_and_ports_cannot_be_guessed() {
    let upstream = Upstream::start("127.0.0.1:0", 1);
    let Some(bench) = Bench::start(&settings(&[&upstream])) else { return };
    let names: Vec<String> = (0..20).map(|at| format!("n{at}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(short(&bench.web1, &names).len(), 20);
    let asked = upstream.all();
    let ids: BTreeSet<u16> = asked.iter().map(|asked| asked.id).collect();
    let ports: BTreeSet<u16> = asked.iter().map(|asked| asked.from.port()).collect();
    assert!(ids.len() >= 19 && ports.len() >= 15, "{ids:?} {ports:?}");
    let is_row = |sorted: &BTreeSet<u16>| {
        let numbers: Vec<u16> = sorted.iter().copied().collect();
        numbers.windows(2).all(|pair| pair[1] - pair[0] == 1)
    };
    assert!(!is_row(&ids), "{ids:?}");
}

#[test]
fn the_next_upstream_is_asked_where_one_fails_and_none_is_servfail() {
    let (first, second) = (Upstream::start("127.0.0.1:0", 1), Upstream::start("127.0.0.1:0", 2));
    let dead = "\"127.0.0.1:9\"";
    let settings =
        format!("[dns]\nupstreams = [{dead}, {}, {}]\n", first.quoted(), second.quoted());
    let Some(bench) = Bench::start(&settings) else { return };
    assert_eq!(short(&bench.web1, &["a.test"]), ["192.0.2.1"], "nobody is at the dead one");
    for name in ["fail.test", "refused.test"] {
        let answer = dig(&bench.web1, &[name]);
        assert!(answer.contains("status: SERVFAIL"), "{answer}");
        assert_eq!(second.asked(&format!("{name}.")).len(), 1);
    }
    let answer = dig(&bench.web1, &["nx.test"]);
    assert!(answer.contains("status: NXDOMAIN"), "{answer}");
    assert!(second.asked("nx.test.").is_empty(), "that there is none is final");
    // Both are silent: an answer comes all the same, after 4 s each.
    let started = Clock.now();
    let answer = dig(&bench.web1, &["+time=12", "silent.test"]);
    assert!(answer.contains("status: SERVFAIL"), "{answer}");
    let took = Clock.now().since(started).as_secs();
    assert!((8..=10).contains(&took), "{took} s");
    assert!(bench.report().resolver.given_up >= 3);
}

#[test]
fn a_silent_upstream_holds_up_nobody_else() {
    let upstream = Upstream::start("127.0.0.1:0", 1);
    let Some(bench) = Bench::start(&settings(&[&upstream])) else { return };
    let socket = bench.web1.udp("0.0.0.0:0");
    socket.connect((OWN, 53)).unwrap();
    // As many as one host may, and more.
    for id in 0..600u16 {
        let mut query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x06silent\x04test\0\0\x01\0\x01".to_vec();
        query[..2].copy_from_slice(&id.to_be_bytes());
        socket.send(&query).unwrap();
        if id % 20 == 0 {
            // The socket at the other end holds about three hundred.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    assert_eq!(short(&bench.web2, &["a.test"]), ["192.0.2.1"]);
    assert_eq!(short(&bench.web1, &["web2"]), ["172.22.0.3"], "own names need no upstream");
    let stats = bench.report().resolver;
    assert!(stats.too_many > 0, "{stats:?}");
    assert_eq!(upstream.asked("silent.test.").len(), 1, "all wait for one answer");
}

#[test]
fn the_hosts_resolvers_are_followed_when_they_change() {
    let (first, second) = (Upstream::start("127.7.7.1:53", 1), Upstream::start("127.7.7.2:53", 2));
    if skipped() {
        return;
    }
    // Once a namespace has been made, those of others are seen.
    let _shared = Name::made();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resolv.conf");
    fs::write(&file, "search a.test\nnameserver 127.7.7.1\n").unwrap();
    let private = |command: Command| {
        let mut wrapped = Command::new("unshare");
        // It alone sees this file as the host's, and all see the namespaces it makes.
        let script = "mount --make-private /; mount --make-private /etc/resolv.conf 2>/dev/null; \
                      mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        wrapped.args(["--mount", "--propagation", "unchanged", "sh", "-c", script]);
        wrapped.arg(&file).arg(command.get_program());
        wrapped.args(command.get_args());
        wrapped
    };
    let Some(bench) = Bench::start_with("", private) else { return };
    let seen = || bench.web1.exec(&["cat", "/etc/resolv.conf"]);
    assert!(
        seen().ends_with("search a.test\nnameserver 127.0.0.11\noptions ndots:0\n"),
        "{}",
        seen()
    );
    assert_eq!(short(&bench.web1, &["x.test"]), ["192.0.2.1"]);
    assert_eq!(short(&bench.web1, &["x.test"]), ["192.0.2.1"]);
    assert_eq!(first.asked("x.test.").len(), 1);
    fs::write(&file, "nameserver 127.7.7.2\nsearch b.test c.test\n").unwrap();
    eventually("the other resolver is asked", || short(&bench.web1, &["x.test"]) == ["192.0.2.2"]);
    assert_eq!(second.asked("x.test.").len(), 1);
    eventually("hosts have the other domains", || seen().contains("search b.test c.test\n"));
}

#[test]
fn an_internal_network_asks_nobody_and_knows_its_own() {
    let upstream = Upstream::start("127.0.0.1:0", 1);
    let Some(bench) = Bench::start(&settings(&[&upstream])) else { return };
    for server in [format!("@{OWN}"), "@172.23.0.1".to_owned()] {
        let answer = dig(&bench.db, &[&server, "a.test"]);
        assert!(answer.contains("status: SERVFAIL"), "{answer}");
        assert_eq!(short(&bench.db, &[&server, "both"]), ["172.23.0.4"]);
        let answer = dig(&bench.db, &[&server, "AAAA", "both"]);
        assert!(answer.contains("status: NOERROR"), "{answer}");
    }
    assert!(upstream.all().is_empty());
    // A host that is in another network as well asks there.
    assert_eq!(short(&bench.both, &["a.test"]), ["192.0.2.1"]);
}
