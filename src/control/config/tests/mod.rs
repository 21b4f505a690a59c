//! Every error a configuration can have, word for word.

mod joins;
mod links;
mod networks;
mod ports;
mod routes_and_limits;
mod syntax;
mod uplink;
mod vxlan;

use std::path::Path;

use super::*;
use crate::control::model::Model;

/// A good uplink and network, before each text about what needs them: seven lines, so that each starts at
/// line 8.
const BASE: &str = "\
[uplink]
address = \"192.168.33.10/24\"
gateway = \"192.168.33.1\"
[network.bridge]
subnet = \"172.17.0.0/16\"
gateway = \"172.17.0.1\"

";

/// Texts of a configuration after `base`, and what tapway says to them.
fn check_golden(base: &str, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        // The texts start and end with a line break, for the eye only.
        let errors = Config::parse("f", &format!("{base}{}", text.trim())).unwrap_err();
        assert_eq!(errors.to_string(), expected.trim(), "{text}");
    }
}

#[test]
fn every_error_of_a_file_is_told_at_once_with_place_and_remedy() {
    for whole in [syntax::CASES, uplink::CASES, networks::CASES, vxlan::CASES] {
        check_golden("", whole);
    }
    for based in [ports::CASES, routes_and_limits::CASES, joins::CASES] {
        check_golden(BASE, based);
    }
}

#[test]
fn a_file_cannot_steer_the_terminal_its_errors_are_read_on() {
    let text = "[port.\"a\\u001b[31mb\"]\nnetwork = \"x\\u009b\\u202e\"\ngaurd = 1\n\
                publish = [\"\\r\"]\n[uplink]\nkind = \"\\u0007\"\n\"\u{202e}\" = 1";
    let errors = Config::parse("f", text).unwrap_err().to_string();
    assert!(errors.contains("1:7: port.a\\u{1b}[31mb: not a name"), "{errors}");
    assert!(errors.contains("there is no network x\\u{9b}\\u{202e}"), "{errors}");
    assert!(!errors.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{errors}");
}

#[test]
fn many_networks_ports_and_routes_are_checked_in_one_pass_each() {
    use std::fmt::Write as _;
    let mut text = BASE.to_owned();
    for number in 0..5000 {
        let (high, low) = (number / 256, number % 256);
        writeln!(text, "[network.n{number}]\nsubnet = \"10.{high}.{low}.0/24\"").unwrap();
        writeln!(text, "[port.p{number}]\nnetwork = \"n{number}\"").unwrap();
        writeln!(text, "address = \"10.{high}.{low}.2\"\npublish = [\"80\"]").unwrap();
    }
    for number in 0..20_000 {
        let (high, low) = (number / 256, number % 256);
        writeln!(text, "[[route]]\nto = \"20.{high}.{low}.0/24\"\nvia = \"10.1.1.9\"").unwrap();
    }
    text.push_str("[network.z]\nsubnet = \"10.0.0.0/8\"\n[[route]]\nto = \"20.0.1.0/24\"\n");
    let errors = Config::parse("f", &text).unwrap_err().to_string();
    let whats: Vec<&str> = errors.lines().filter_map(|line| line.splitn(4, ':').nth(3)).collect();
    assert_eq!(
        whats,
        [
            " network.z.subnet: 10.0.0.0/8 overlaps 10.0.0.0/24 of n0 (line 9); give each network \
             a subnet of its own",
            " route: `via` is missing; add via = \"172.17.0.9\"",
        ]
    );
}

#[test]
fn odd_but_legal_things_are_warned_of() {
    let text = format!("{BASE}[timeouts]\nicmp_s = 5\n[port.a]\nmtu = 1400");
    let warnings = Config::parse("f", &text).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "f:9:10: warning: timeouts.icmp_s: 5 s is shorter than the standards allow; use at \
             least 60, unless peers are known to keep it up",
            "f:10:7: warning: port.a: mtu 1400 is not the 1500 of network bridge; hosts of one \
             network should agree: larger frames are dropped between them",
        ]
    );
    let text = "[network.bridge]\n[port.a]\ncreate_netns = false";
    assert_eq!(
        Config::parse("f", text).unwrap().warnings,
        ["f:3:16: warning: port.a.create_netns: there is no `netns` that it could be about; add \
          it, or remove this"]
    );
    let text = "[uplink]\naddress = \"192.168.33.10/24\"";
    let warnings = Config::parse("f", text).unwrap().warnings;
    assert_eq!(
        warnings,
        ["f:2:11: warning: uplink: without `gateway` only 192.168.33.0/24 is reachable outside; \
          add the router's address"]
    );
}

#[test]
fn the_files_in_tools_are_clean_and_an_engine_takes_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/configs");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let loaded = Origin::File(path).load().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.warnings, Vec::<String>::new());
        engine_takes(&Model::new(&loaded.config));
        files += 1;
    }
    assert!(files >= 3);
}

fn engine_takes(model: &Model) {
    let now = crate::time::Instant::from_secs(1);
    let config = EngineConfig { flows: 1024, ..EngineConfig::with_sessions(64) };
    let mut engine = crate::engine::Engine::new(config, 1, now);
    for command in model.commands() {
        let text = format!("{command:?}");
        assert_eq!(engine.apply(now, command).err(), None, "{text}");
    }
}
