//! Changes of what is published, on real sockets of this host.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::HostPorts;
use crate::control::config::Config;
use crate::control::follower::{Follower, Stage};
use crate::control::model::Model;
use crate::control::rejection::{Rejection, RejectionKind};
use crate::engine::{Engine, EngineConfig};
use crate::io::{Broker, Clock, Dataplane, DataplaneSettings, OpenError, Opened, PortPlan};

/// The follower alone, and what it follows.
struct Bench {
    ports: HostPorts,
    running: Model,
    dataplane: Arc<Dataplane>,
}

struct NoDevices;

impl Broker for NoDevices {
    fn open(&mut self, port: &str, _plan: &PortPlan) -> Result<Opened, OpenError> {
        Err(OpenError::Permission { what: port.to_owned() })
    }

    fn close(&mut self, _port: &str) {}

    fn outside_hint(&self, _plan: &PortPlan) -> Option<String> {
        None
    }
}

fn model(network: &str, publish: &[String]) -> Model {
    let publish: Vec<String> = publish.iter().map(|text| format!("\"{text}\"")).collect();
    let text = format!(
        "[network.bridge]\nsubnet = \"10.254.253.0/24\"\n{network}\n\
         [port.web]\naddress = \"10.254.253.2\"\npublish = [{}]",
        publish.join(", ")
    );
    Model::new(&Config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors}")).config)
}

impl Bench {
    fn new() -> Self {
        let engine = Engine::new(EngineConfig::with_sessions(16), 1, Clock.now());
        let dataplane = Dataplane::spawn(engine, DataplaneSettings::default()).unwrap();
        let dataplane = Arc::new(dataplane);
        Self { ports: HostPorts::default(), running: model("", &[]), dataplane }
    }

    fn tell<R>(&mut self, new: &Model, act: impl FnOnce(&mut HostPorts, &mut Stage<'_>) -> R) -> R {
        let Self { ports, running, dataplane } = self;
        act(ports, &mut Stage { dataplane, broker: &mut NoDevices, old: running, new })
    }

    fn go_to(&mut self, publish: &[String]) -> Result<(), Rejection> {
        let new = model("host = true", publish);
        self.tell(&new, |ports, stage| {
            ports.prepare(stage)?;
            ports.commit(stage);
            Ok::<(), Rejection>(())
        })?;
        self.running = new;
        Ok(())
    }
}

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn answers(last: u8, port: u16) -> bool {
    let at = (Ipv4Addr::new(127, 0, 0, last), port).into();
    TcpStream::connect_timeout(&at, Duration::from_secs(5)).is_ok()
}

#[test]
fn a_port_moves_from_all_addresses_to_one_and_back_when_the_change_is_taken_back() {
    let (mut bench, port) = (Bench::new(), free_port());
    bench.go_to(&[format!("{port}:80")]).unwrap();
    assert!(answers(1, port) && answers(2, port));
    let narrow = model("host = true", &[format!("127.0.0.1:{port}:80")]);
    bench.tell(&narrow, |ports, stage| {
        ports.prepare(stage).unwrap();
        ports.roll_back(stage);
    });
    assert!(answers(1, port) && answers(2, port), "as before");
    bench.go_to(&[format!("127.0.0.1:{port}:80")]).unwrap();
    assert!(answers(1, port) && !answers(2, port));
    bench.go_to(&[]).unwrap();
    assert!(!answers(1, port) && TcpListener::bind(("0.0.0.0", port)).is_ok());
}

#[test]
fn a_port_of_somebody_else_is_refused_and_all_others_stay_as_they_are() {
    let mut bench = Bench::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, port, further) = (other.local_addr().unwrap().port(), free_port(), free_port());
    bench.go_to(&[format!("{port}:80")]).unwrap();
    let all = [format!("{port}:80"), format!("{further}:81"), format!("{taken}:82")];
    let refusal = bench.go_to(&all).unwrap_err();
    assert_eq!(refusal.kind, RejectionKind::Conflict);
    assert!(refusal.to_string().contains(&format!("port {taken}/tcp")), "{refusal}");
    assert!(answers(1, port));
    assert!(TcpListener::bind(("0.0.0.0", further)).is_ok(), "let go of again");
    drop(other);
    bench.go_to(&all).unwrap();
    assert!(answers(1, taken) && answers(1, further));
}

#[test]
fn what_is_published_nowhere_or_too_often_is_refused() {
    let mut bench = Bench::new();
    let refusal = bench.go_to(&["20000-29999:10000-19999".to_owned()]).unwrap_err();
    assert!(refusal.to_string().contains("more than 4096"), "{refusal}");
    let refusal = bench.go_to(&["192.0.2.1:80:80".to_owned()]).unwrap_err();
    assert_eq!(refusal.kind, RejectionKind::Wrong);
    assert!(refusal.to_string().contains("192.0.2.1"), "{refusal}");
    // The gateway's address is tapway's alone.
    bench.go_to(&["10.254.253.1:80:80".to_owned()]).unwrap();
    let without = model("", &["80:80".to_owned()]);
    bench.tell(&without, |ports, stage| ports.prepare(stage)).unwrap();
}
