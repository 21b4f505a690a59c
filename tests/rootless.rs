//! `tapway run` by an ordinary user: in a user namespace, or a message that says what to do.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/user.rs"]
mod user;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hosts::{text, wait_for};
use user::User;

#[test]
fn an_ordinary_user_runs_a_switch_without_a_way_out_and_says_so() {
    let Some(user) = User::with_taps() else { return };
    let mut switch = user.start("[network.bridge]\nsubnet = \"172.17.0.0/16\"\n");
    let socket = user.runtime_dir().join("tapway.sock");
    wait_for("the socket", || socket.exists());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    wait_for("the answer", || user.tapway(&["show", "stats"]).status.success());
    let lines = switch.first_lines();
    assert!(lines.contains("outside: not reachable: an ordinary user's switch has no way out"));
    let script = "id -u; hostname; cat /etc/hosts; ip -o -4 addr show eth0; \
        ping -c 1 -W 2 172.17.0.1 >&2";
    let host = user.tapway(&["exec", "--name", "web", "--", "sh", "-c", script]);
    let said = text(&host);
    assert_eq!(host.status.code(), Some(0), "{said}");
    assert!(said.starts_with("0\nweb\n127.0.0.1\tlocalhost\n"), "{said}");
    assert!(said.contains("172.17.0.2/16"), "{said}");
    assert_eq!(switch.stop(), Some(0), "{}", switch.first_lines());
    assert!(!socket.exists(), "nothing is left");
    let answer = user.tapway(&["show", "stats"]);
    assert_eq!(answer.status.code(), Some(4), "{}", text(&answer));
}

#[test]
fn what_an_ordinary_user_cannot_have_is_named_before_anything_is_made() {
    let Some(user) = User::with_taps() else { return };
    let config = "[uplink]\nkind = \"device\"\ndevice = \"eth9\"\naddress = \"10.0.0.2/24\"\n\
        [network.bridge]\nsubnet = \"172.17.0.0/16\"\n[port.web]\nnetns = \"web\"\n";
    let refused = user.run(config);
    assert_eq!(refused.status.code(), Some(77));
    let said = text(&refused);
    assert!(said.contains("port uplink: device eth9 of this host; run tapway as root"), "{said}");
    assert!(said.contains("port web: network namespace web; leave the port out"), "{said}");
}

#[test]
fn where_taps_are_roots_alone_the_remedy_is_told() {
    let Some(user) = User::without_taps() else { return };
    let refused = user.run("[network.bridge]\nsubnet = \"172.17.0.0/16\"\n");
    assert_eq!(refused.status.code(), Some(77));
    let said = text(&refused);
    assert!(said.contains("/dev/net/tun: Permission denied"), "{said}");
    assert!(said.contains("chmod 666 /dev/net/tun"), "{said}");
    assert!(!user.runtime_dir().join("tapway.sock").exists());
}
