//! Names of hosts on the same switch.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use tapway::io::Namespace;

use crate::bench::{Bench, GATEWAY, OWN, attempt, dig, short};
use crate::netns::{must, run};

#[test]
fn hosts_know_each_other_by_name_and_not_those_of_other_networks() {
    let Some(bench) = Bench::start("") else { return };
    let (at_own, at_gateway) = (format!("@{OWN}"), format!("@{GATEWAY}"));
    for server in [&at_own, &at_gateway] {
        for how in ["+notcp", "+tcp"] {
            let ask = |rest: &[&str]| {
                let mut arguments = vec![server.as_str(), how];
                arguments.extend(rest);
                short(&bench.web1, &arguments)
            };
            assert_eq!(ask(&["web2"]), ["172.22.0.3"], "{server} {how}");
            assert_eq!(ask(&["WEB2.Dns"]), ["172.22.0.3"]);
            assert_eq!(ask(&["-x", "172.22.0.3"]), ["web2.dns."]);
            assert_eq!(ask(&["AAAA", "web2"]), [""; 0]);
            assert_eq!(ask(&["MX", "web2"]), [""; 0]);
            let mut both = ask(&["www"]);
            both.sort();
            assert_eq!(both, ["172.22.0.2", "172.22.0.3"]);
        }
        for options in ["+noedns", "+bufsize=4096", "+bufsize=512", "+dnssec", "+cdflag"] {
            assert_eq!(short(&bench.web1, &[server, options, "web2"]), ["172.22.0.3"]);
        }
        let nodata = dig(&bench.web1, &[server, "AAAA", "web2"]);
        assert!(nodata.contains("status: NOERROR") && nodata.contains("ANSWER: 0"), "{nodata}");
        let answer = dig(&bench.web1, &[server, "web2"]);
        assert!(answer.contains("web2.\t\t\t600\tIN\tA\t172.22.0.3"), "{answer}");
    }
    // Both networks for a host in both; at a gateway that network's only.
    assert_eq!(short(&bench.both, &["db"]), ["172.23.0.2"]);
    assert_eq!(short(&bench.both, &["web1"]), ["172.22.0.2"]);
    assert_eq!(short(&bench.both, &["@172.23.0.1", "db"]), ["172.23.0.2"]);
    for name in ["both", "second", "both.back"] {
        assert_eq!(short(&bench.db, &[name]), ["172.23.0.4"]);
    }
    assert_eq!(short(&bench.db, &["-x", "172.23.0.4"]), ["both.back."]);
    assert_eq!(short(&bench.web1, &["both"]), ["172.22.0.4"]);
    assert_eq!(bench.report().resolver.mismatched, 0);
    let shown = bench.show("names");
    assert!(shown.contains("172.22.0.3      web2.dns web2\n"), "{shown}");
}

#[test]
fn several_addresses_take_turns() {
    let Some(bench) = Bench::start("") else { return };
    let first = |_| short(&bench.web1, &["www"]).remove(0);
    let firsts: std::collections::BTreeSet<String> = (0..40).map(first).collect();
    assert_eq!(firsts.len(), 2, "{firsts:?}");
}

#[test]
fn the_c_libraries_find_names_and_programs_use_them() {
    let Some(bench) = Bench::start("") else { return };
    let hosts = bench.web1.exec(&["getent", "hosts", "web2"]);
    assert_eq!(hosts.split_whitespace().collect::<Vec<_>>(), ["172.22.0.3", "web2"]);
    let all = bench.web1.exec(&["getent", "ahosts", "web2.dns"]);
    assert!(all.lines().all(|line| line.starts_with("172.22.0.3 ")), "{all}");
    let turned = bench.web1.exec(&["getent", "hosts", "172.22.0.3"]);
    assert_eq!(turned.split_whitespace().collect::<Vec<_>>(), ["172.22.0.3", "web2.dns"]);
    let pinged = bench.web1.exec(&["ping", "-c1", "-W2", "web2"]);
    assert!(pinged.contains("from web2.dns (172.22.0.3)"), "{pinged}");
    let found = bench.web1.exec(&["busybox", "nslookup", "web2"]);
    assert!(found.contains("172.22.0.3"), "{found}");
    let listener = Namespace::named(&bench.web2).unwrap();
    let listener = listener.run(|| Ok(TcpListener::bind("0.0.0.0:80").unwrap())).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The request is not of interest.
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let answer = "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    assert_eq!(bench.web1.exec(&["curl", "-sS", "-m5", "http://web2/"]), "hello");
    server.join().unwrap();
}

/// musl asks for both families at once, and takes "no such name" for one of them for both.
#[test]
fn musl_finds_names() {
    if run(&["which", "musl-gcc"]).stdout.is_empty() {
        return crate::netns::skip("no musl-gcc");
    }
    let Some(bench) = Bench::start("") else { return };
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("find.c"), directory.path().join("find"));
    let text = r#"
        #include <arpa/inet.h>
        #include <netdb.h>
        #include <stdio.h>
        int main(int count, char **arguments) {
            struct addrinfo wish = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found;
            int error = getaddrinfo(arguments[1], NULL, &wish, &found);
            if (error) { puts(gai_strerror(error)); return 1; }
            for (; found; found = found->ai_next)
                puts(inet_ntoa(((struct sockaddr_in *)found->ai_addr)->sin_addr));
            return 0;
        }"#;
    std::fs::write(&source, text).unwrap();
    let (source, program) = (source.to_str().unwrap(), program.to_str().unwrap());
    must(&["musl-gcc", "-static", "-o", program, source]);
    assert_eq!(bench.web1.exec(&[program, "web2"]), "172.22.0.3\n");
    assert_eq!(bench.web1.exec(&[program, "web2.dns"]), "172.22.0.3\n");
}

#[test]
fn the_default_network_has_no_names_and_its_gateway_no_such_service() {
    let Some(bench) = Bench::start("") else { return };
    let asked = attempt(&bench.plain, &["dig", "+tries=1", "+time=2", "@172.17.0.1", "plain"]);
    let text = String::from_utf8(asked.stdout).unwrap();
    assert!(!asked.status.success() && text.contains("connection refused"), "{text}");
    let asked =
        attempt(&bench.plain, &["dig", "+tries=1", "+time=2", "+tcp", "@172.17.0.1", "plain"]);
    let text = String::from_utf8(asked.stdout).unwrap();
    assert!(!asked.status.success() && text.contains("connection refused"), "{text}");
    let resolvers = bench.plain.exec(&["cat", "/etc/resolv.conf"]);
    assert!(!resolvers.contains(OWN), "{resolvers}");
}
