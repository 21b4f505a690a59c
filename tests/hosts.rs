//! What hosts find under `/etc`.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use std::path::PathBuf;

use hosts::{Switch, run, skip_unless, unique};

#[test]
fn a_linked_host_of_a_file_is_found_by_name_and_the_files_go_with_the_namespace() {
    if skip_unless(&["ip", "ping", "getent"]) {
        return;
    }
    let (db, web) = (unique("d"), unique("w"));
    let config = format!(
        "[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
         [port.db]\nnetns = \"{db}\"\naddress = \"172.17.0.2\"\nexpose = [\"5432\"]\n\
         [port.web]\nnetns = \"{web}\"\naddress = \"172.17.0.3\"\nlinks = [\"db:database\"]\n"
    );
    let switch = Switch::start(&config);
    let within =
        |netns: &str, command: &[&str]| run(&[&["ip", "netns", "exec", netns], command].concat());
    let file = within(&web, &["cat", "/etc/hosts"]);
    assert!(file.contains("ff02::2\tip6-allrouters\n172.17.0.2\tdatabase db\n172.17.0.3\tweb\n"));
    assert!(within(&web, &["getent", "hosts", "database"]).starts_with("172.17.0.2"));
    within(&web, &["ping", "-c", "1", "-W", "2", "db"]);
    let target = within(&db, &["cat", "/etc/hosts"]);
    assert!(target.ends_with("ip6-allrouters\n172.17.0.2\tdb\n"), "{target}");
    let files = [&db, &web].map(|netns| PathBuf::from(format!("/etc/netns/{netns}")));
    assert!(files.iter().all(|path| path.join("hosts").exists()));
    assert_eq!(switch.stop(), Some(0));
    assert!(files.iter().all(|path| !path.exists()), "nothing is left");
}
