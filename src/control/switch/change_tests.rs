//! Changes of a running switch over memory wires: what stays is not touched, and a no of anybody
//! leaves everything as it was.

use std::sync::{Arc, Mutex};

use super::tests::{CONFIG, FakeBroker, gateway_answers, mtu_of, start, state, wait_for};
use super::*;
use crate::control::config::Config;
use crate::control::follower::Stage;
use crate::control::model::Processes;
use crate::control::registry::LinkState;
use crate::control::rejection::Rejection;

fn model(text: &str, before: Option<&Model>) -> Model {
    let loaded = Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"));
    Model::succeeding(&loaded.config, before, &Processes::new())
}

fn base() -> Model {
    model(CONFIG, None)
}

/// Every table that control fills.
fn tables(switch: &Switch) -> String {
    let read = |engine: &mut Engine, now| {
        let stats = engine.port_stats().into_iter();
        let ports: Vec<_> =
            stats.map(|(id, stats)| (id, stats.port, stats.mtu, stats.is_up)).collect();
        let fdb = engine.fdb_rows(now).into_iter().filter(|row| row.is_static);
        let fdb: Vec<_> = fdb.collect();
        format!("{ports:?} {fdb:?} {:?} {:?}", engine.route_rows(), engine.publishes())
    };
    switch.worker().query(read).unwrap()
}

const FRONT: &str = "
[network.front]
subnet = \"10.9.0.0/24\"
[port.c]
network = \"front\"
address = \"10.9.0.2\"
publish = [\"80:80\"]
";

#[test]
fn what_is_added_is_opened_and_what_is_removed_closed_while_the_others_run_on() {
    let broker = FakeBroker::default();
    let (switch, registry) = start(&broker);
    let before = tables(&switch);
    let more = model(&format!("{CONFIG}{FRONT}"), Some(&base()));
    let change = switch.orders().apply(more.clone()).unwrap();
    assert_eq!((change.networks_set.len(), change.ports.len()), (1, 1));
    assert_eq!(broker.world().opens, 4);
    assert_eq!(mtu_of(&switch, "c"), (1500, true));
    assert_eq!(state(&registry, "c"), LinkState::Up);
    gateway_answers(&broker);
    switch.orders().apply(model(CONFIG, Some(&more))).unwrap();
    assert_eq!(broker.world().closed.iter().collect::<Vec<_>>(), ["c"]);
    assert_eq!(registry.get("c"), None);
    assert_eq!(broker.world().opens, 4);
    assert_eq!(tables(&switch), before);
    gateway_answers(&broker);
}

#[test]
fn a_device_that_cannot_be_opened_leaves_everything_as_it_was() {
    let broker = FakeBroker::default();
    let (switch, registry) = start(&broker);
    let before = tables(&switch);
    broker.world().bad_interfaces.insert("c".to_owned());
    // B goes, A's address is another one, and C cannot come.
    let text = CONFIG.split("[port.b]").next().unwrap().replace("0.2\"", "0.9\"");
    let error = switch.orders().apply(model(&format!("{text}{FRONT}"), Some(&base())));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("port c: c does not exist"), "{error}");
    assert_eq!(tables(&switch), before);
    assert!(broker.world().closed.is_empty());
    assert_eq!((state(&registry, "b"), registry.get("c")), (LinkState::Up, None));
    assert_eq!(broker.world().opens, 4, "neither A nor B was touched");
    gateway_answers(&broker);
}

#[test]
fn a_device_that_had_to_make_way_is_opened_again_if_the_next_one_cannot_come() {
    let broker = FakeBroker::default();
    let (switch, registry) = start(&broker);
    let before = tables(&switch);
    broker.world().bad_interfaces.insert("other".to_owned());
    let text = CONFIG.replace("[port.a]", "[port.a]\ninterface = \"other\"");
    switch.orders().apply(model(&text, Some(&base()))).unwrap_err();
    assert_eq!(tables(&switch), before);
    assert_eq!(state(&registry, "a"), LinkState::Up);
    gateway_answers(&broker);
    broker.world().bad_interfaces.clear();
    let opens = broker.world().opens;
    switch.orders().apply(model(&text, Some(&base()))).unwrap();
    assert_eq!(broker.world().opens, opens + 1);
    gateway_answers(&broker);
}

#[test]
fn a_port_that_keeps_its_device_keeps_its_state_in_another_place() {
    let broker = FakeBroker::default();
    let (switch, _registry) = start(&broker);
    let text = CONFIG.replace("[port.a]", "[port.a]\nguard = false");
    switch.orders().apply(model(&text, Some(&base()))).unwrap();
    assert_eq!(broker.world().opens, 3);
    assert_eq!(mtu_of(&switch, "a"), (1500, true));
    gateway_answers(&broker);
}

/// Writes down what it is told, and says no where it is told to.
struct Witness {
    said: Arc<Mutex<Vec<&'static str>>>,
    refuses: Option<&'static str>,
}

impl Witness {
    fn new(said: &Arc<Mutex<Vec<&'static str>>>, refuses: Option<&'static str>) -> Box<Self> {
        Box::new(Self { said: said.clone(), refuses })
    }

    fn hears(&self, what: &'static str) -> Result<(), Rejection> {
        self.said.lock().unwrap().push(what);
        match self.refuses {
            Some(refused) if refused == what => Err(Rejection::conflict("in the way", "move it")),
            _ => Ok(()),
        }
    }
}

impl Follower for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn prepare(&mut self, stage: &mut Stage<'_>) -> Result<(), Rejection> {
        // The first change, the start, is let through.
        if stage.old.networks.is_empty() {
            return Ok(());
        }
        self.hears("prepare")
    }

    fn complete(&mut self, stage: &mut Stage<'_>) -> Result<(), Rejection> {
        if stage.old.networks.is_empty() {
            return Ok(());
        }
        self.hears("complete")
    }

    fn commit(&mut self, _stage: &mut Stage<'_>) {
        let _ = self.hears("commit");
    }

    fn roll_back(&mut self, _stage: &mut Stage<'_>) {
        let _ = self.hears("roll_back");
    }
}

#[test]
fn a_no_of_a_follower_takes_the_change_back() {
    for refused in ["prepare", "complete"] {
        let broker = FakeBroker::default();
        let (first, second) = (Arc::default(), Arc::default());
        let followers: Vec<Box<dyn Follower>> =
            vec![Witness::new(&first, None), Witness::new(&second, Some(refused))];
        let registry = Registry::default();
        let broker_too = Box::new(broker.clone());
        let switch = Switch::start(base(), broker_too, registry.clone(), followers).unwrap();
        let before = tables(&switch);
        let more = model(&format!("{CONFIG}{FRONT}"), Some(&base()));
        let error = switch.orders().apply(more).unwrap_err();
        assert_eq!(error.to_string(), "witness: in the way; move it");
        assert_eq!(tables(&switch), before);
        assert_eq!(registry.get("c"), None);
        let opened = usize::from(refused == "complete");
        assert_eq!(broker.world().opens, 3 + opened);
        assert_eq!(broker.world().closed.len(), opened);
        let heard = if opened == 0 {
            (vec!["commit", "prepare", "roll_back"], vec!["commit", "prepare"])
        } else {
            let all = vec!["commit", "prepare", "complete", "roll_back"];
            (all.clone(), all)
        };
        assert_eq!((first.lock().unwrap().clone(), second.lock().unwrap().clone()), heard);
    }
}

#[test]
fn a_switch_that_has_stopped_takes_no_orders() {
    let broker = FakeBroker::default();
    let (switch, _registry) = start(&broker);
    let orders = switch.orders().clone();
    switch.stop();
    assert!(matches!(orders.apply(base()), Err(ApplyError::Stopped)));
    wait_for(|| broker.world().closed.len() == 3);
}
