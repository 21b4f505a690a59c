//! The whole-path benchmark itself: that it measures, says so in JSON, and leaves nothing behind.
//! No speed is asserted.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hosts::{skip_unless, unique};
use serde_json::Value;

/// The example as a program, built if need be: `cargo test` builds only its unit tests.
fn netbench() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap().parent().unwrap();
    let profile = folder.file_name().unwrap().to_str().unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "netbench", "--target-dir"])
        .arg(folder.parent().unwrap())
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success());
    folder.join("examples/netbench")
}

/// Runs it to its end; gives its process id, exit code and standard error.
fn run(arguments: &[&str]) -> (u32, Option<i32>, String) {
    let child = Command::new(netbench())
        .args(["--tapway", env!("CARGO_BIN_EXE_tapway")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    (pid, output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn left_behind(pid: u32) -> Vec<String> {
    let (netns, files) = (format!("nb{pid}-"), format!("netbench-{pid}-"));
    let of = |folder: &PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let names = [PathBuf::from("/run/netns"), std::env::temp_dir()];
    let names = names.iter().flat_map(of).map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&netns) || name.starts_with(&files)).collect()
}

fn find<'a>(report: &'a Value, peer: &str, figure: &str) -> &'a Value {
    let rows = report["results"].as_array().unwrap();
    let row = rows.iter().find(|row| row["peer"] == peer && row["figure"] == figure);
    row.unwrap_or_else(|| panic!("no {figure} of {peer} in {report:#}"))
}

#[test]
fn a_short_run_reports_every_figure_asked_for_and_leaves_nothing() {
    if skip_unless(&["ip"]) {
        return;
    }
    let file = std::env::temp_dir().join(unique("report"));
    let tests = ["--scenarios", "l2", "--tests", "tcp1,udp,rtt,rest", "--seconds", "0.2"];
    let output = ["--repetitions", "2", "--json", file.to_str().unwrap()];
    let peers = ["--peers", "naive,tapway"];
    let (pid, code, said) = run(&[&tests[..], &output[..], &peers[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(left_behind(pid), Vec::<String>::new());

    let report: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(report["schema"], 1);
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    assert_eq!(report["failures"], Value::Array(Vec::new()));
    assert!(!report["goals"].as_array().unwrap().is_empty());
    for peer in ["naive", "tapway"] {
        for figure in ["tcp1", "udp_flood", "rtt_p50", "rtt_p99"] {
            let row = find(&report, peer, figure);
            assert_eq!(row["samples"].as_array().unwrap().len(), 2);
            let number = |name: &str| row[name].as_f64().unwrap();
            assert!(0.0 < number("min") && number("min") <= number("median"), "{row}");
            assert!(number("median") <= number("max"), "{row}");
        }
        // Clock ticks are coarse, and rest may be perfect.
        for figure in ["tcp1_cpu", "udp_flood_cpu", "rest"] {
            assert!(find(&report, peer, figure)["median"].as_f64().unwrap() >= 0.0);
        }
    }
}

#[test]
fn a_short_run_between_two_machines_reports_its_figures_and_writes_its_own_section() {
    if skip_unless(&["ip", "nft"]) {
        return;
    }
    let (report, document) = (unique("report"), unique("document"));
    let [report, document] = [report, document].map(|name| std::env::temp_dir().join(name));
    let (begin, end) = ("<!-- netbench-vxlan:begin -->", "<!-- netbench-vxlan:end -->");
    let rest = "<!-- netbench:begin -->\nkept\n<!-- netbench:end -->\n";
    fs::write(&document, format!("{rest}{begin}\nold\n{end}\n")).unwrap();
    let files = ["--json", report.to_str().unwrap(), "--update-readme", document.to_str().unwrap()];
    let measured = ["--vxlan", "--seconds", "0.2", "--repetitions", "1"];
    let peers = ["--peers", "tapway,linux,bare"];
    let (pid, code, said) = run(&[&measured[..], &files[..], &peers[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(left_behind(pid), Vec::<String>::new());

    let json: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    fs::remove_file(&report).unwrap();
    assert_eq!(json["failures"], Value::Array(Vec::new()), "{said}");
    for peer in ["tapway", "linux", "bare"] {
        for figure in ["tcp1", "udp_flood", "rtt_p50"] {
            let row = find(&json, peer, figure);
            assert_eq!(row["scenario"], "vxlan");
            assert!(row["median"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
    let text = fs::read_to_string(&document).unwrap();
    fs::remove_file(&document).unwrap();
    let (before, section) = text.split_once(begin).unwrap();
    assert_eq!(before, rest);
    for row in ["| **tapway** | ", "| linux | ", "| bare | ", "| tapway / bare | "] {
        assert!(section.contains(row), "{section}");
    }
    assert!(!section.contains("old") && section.ends_with(&format!("{end}\n")), "{section}");
}

#[test]
fn a_peer_without_a_part_in_the_scenario_says_why() {
    if skip_unless(&["ip"]) {
        return;
    }
    let (_, code, said) = run(&["--vxlan", "--peers", "naive"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("naive skipped: it forwards between two hosts only"), "{said}");
}

#[test]
fn an_unknown_peer_is_a_usage_error() {
    let (_, code, said) = run(&["--peers", "docker0"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("`docker0`") && said.contains("--list"), "{said}");
}
