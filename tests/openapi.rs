//! The API's own description, held against what the API serves and answers.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/live.rs"]
mod live;
#[path = "support/netns.rs"]
mod netns;
#[path = "support/schema.rs"]
mod schema;

use std::fs;
use std::process::Command;
use std::time::Duration;

use live::{Lab, Running, ping};

#[test]
fn every_answer_is_as_the_api_describes_it() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let _running = lab.start();
    let get = |path: &str| lab.raw(&format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n"));
    let body_of = |answer: &str| -> serde_json::Value {
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
    };
    let description = body_of(&get("/v1/openapi.json"));
    let hold = |method: &str, path: &str, answer: &str| {
        let is_ok = answer.starts_with("HTTP/1.1 200 ");
        let schema = schema::answer(&description, method, path, is_ok);
        let wrong = schema::check(&description, schema, &body_of(answer), "answer");
        assert!(wrong.is_empty(), "{method} {path}: {wrong:?}: {answer}");
        is_ok
    };
    // What there is to show of each kind.
    lab.tapway(&["network", "create", "back"]);
    lab.tapway(&["port", "add", "--network", "back", "--netns", &lab.db, "-p", "80", "db"]);
    assert!(ping(&lab.web, "192.168.33.1") && !ping(&lab.web, "192.168.33.77"));
    let mut asked = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete", "put"] {
            let is_described = operations[method].is_object();
            let real = path.replace("{name}", "back").replace("{address}", "192.0.2.2");
            if method == "get" && is_described && !["/v1/capture", "/v1/export"].contains(&&**path)
            {
                assert!(hold(method, path, &get(&real)), "{path}");
                asked += 1;
            } else if method == "get" && is_described {
                continue;
            } else {
                // Nothing is sent that could be done.
                let method = method.to_uppercase();
                let answer = lab.raw(&format!(
                    "{method} {real}?x=1 HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\n\r\n["
                ));
                let is_served = !answer.starts_with("HTTP/1.1 405 ");
                let is_reload = path == "/v1/reload";
                assert_eq!(is_served, is_described, "{method} {path}: {answer}");
                if is_served && !is_reload && method != "DELETE" {
                    assert!(!hold(&method.to_lowercase(), path, &answer), "{answer}");
                }
            }
        }
    }
    assert!(asked > 10);
    let posts = [
        ("/v1/networks", "/v1/networks", "{\"name\":\"x\",\"subnet\":null}"),
        ("/v1/networks/{name}/connect", "/v1/networks/back/connect", "{\"port\":\"web\"}"),
        ("/v1/networks/{name}/disconnect", "/v1/networks/back/disconnect", "{\"port\":\"web\"}"),
        ("/v1/ports/{name}/publish", "/v1/ports/web/publish", "{\"publish\":[\"8080:80\"]}"),
        ("/v1/ports/{name}/unpublish", "/v1/ports/web/unpublish", "{\"publish\":[\"8080\"]}"),
        ("/v1/routes", "/v1/routes", "{\"to\":\"10.77.0.0/16\",\"via\":\"172.17.0.9\"}"),
        ("/v1/reload", "/v1/reload", ""),
    ];
    for (path, real, body) in posts {
        let operation = &description["paths"][path]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let (true, Ok(body)) = (schema.is_object(), serde_json::from_str(body)) {
            let wrong = schema::check(&description, schema, &body, "body");
            assert!(wrong.is_empty(), "{path}: {wrong:?}");
        }
        let answer = lab.post(real, body);
        assert!(hold("post", path, &answer), "{path}: {answer}");
    }
    let command = Command::new("unshare").args(["-n", "sleep", "60"]).spawn().unwrap();
    let command = Running(command);
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let theirs = format!("/proc/{}/ns/net", command.0.id());
    let in_own = || fs::read_link(&theirs).is_ok_and(|theirs| theirs != own);
    while !in_own() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let body = format!("{{\"name\":\"command\",\"pid\":{}}}", command.0.id());
    assert!(hold("post", "/v1/hosts", &lab.post("/v1/hosts", &body)));
    assert!(hold("get", "/v1/hosts", &get("/v1/hosts")));
}
