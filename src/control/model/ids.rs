//! Numbers of networks and ports: a name keeps its number for as long as it is there.
//!
//! The dataplane knows things by number. What is taken out of the model and what comes in with
//! the same change have different numbers, unless all 65 533 are in use.

use std::collections::{HashMap, HashSet};

use super::build::host_port_name;
use super::vxlan;
use super::{Model, UPLINK, UPLINK_PORT};
use crate::control::config::{Config, UPLINK_NAME};
use crate::id::{NetworkId, PortId};

/// The numbers of one model.
#[derive(Debug)]
pub(super) struct Ids {
    networks: HashMap<String, NetworkId>,
    ports: HashMap<String, PortId>,
}

impl Ids {
    /// Numbers for what a configuration names; names that `before` has keep theirs.
    pub(super) fn of(config: &Config, before: Option<&Model>) -> Self {
        let known = |model: &Model| {
            let networks = model.networks.iter().map(|(id, spec)| (spec.name.clone(), id.0));
            let ports = model.ports.iter().map(|port| (port.spec.name.clone(), port.id.0));
            (networks.collect(), ports.collect())
        };
        let (networks, ports) = before.map(known).unwrap_or_default();
        let names = config.networks.iter().map(|network| network.name.get_ref());
        let networks = number(names, &networks).map(|(name, id)| (name, NetworkId(id)));
        let hosts = config.networks.iter().filter(|network| network.host.is_some());
        let own: Vec<String> = hosts.map(host_port_name).chain(vxlan::port_names(config)).collect();
        let names = config.ports.iter().map(|port| port.name.get_ref()).chain(&own);
        let ports = number(names, &ports).map(|(name, id)| (name, PortId(id)));
        let uplink = UPLINK_NAME.to_owned();
        Self {
            networks: networks.chain([(uplink.clone(), UPLINK)]).collect(),
            ports: ports.chain([(uplink, UPLINK_PORT)]).collect(),
        }
    }

    /// The number of a network; all that a checked configuration names have one.
    pub(super) fn network(&self, name: &str) -> NetworkId {
        self.networks.get(name).copied().unwrap_or(UPLINK)
    }

    /// The number of a port.
    pub(super) fn port(&self, name: &str) -> PortId {
        self.ports.get(name).copied().unwrap_or(UPLINK_PORT)
    }
}

/// Gives each name the number it has already, or the lowest that is free; 0 is the uplink's.
fn number<'n>(
    names: impl Iterator<Item = &'n String>,
    known: &HashMap<String, u16>,
) -> impl Iterator<Item = (String, u16)> {
    let names: Vec<&String> = names.collect();
    let kept: HashSet<u16> = names.iter().filter_map(|name| known.get(*name).copied()).collect();
    let former: HashSet<u16> = known.values().copied().collect();
    let mut fresh = (1..u16::MAX)
        .filter(|id| !former.contains(id))
        .chain((1..u16::MAX).filter(|id| former.contains(id) && !kept.contains(id)));
    let numbered = names.into_iter().map(|name| {
        let id = known.get(name).copied().or_else(|| fresh.next());
        // The check bounds the names to as many as there are numbers.
        (name.clone(), id.unwrap_or(u16::MAX - 1))
    });
    numbered.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::model::Processes;

    fn model(names: &[&str], before: Option<&Model>) -> Model {
        let text: String = names.iter().map(|name| format!("[network.{name}]\n")).collect();
        let ports: String =
            names.iter().map(|name| format!("[port.{name}]\nnetwork = \"{name}\"\n")).collect();
        Model::succeeding(
            &Config::parse("f", &(text + &ports)).unwrap().config,
            before,
            &Processes::new(),
        )
    }

    fn ids(model: &Model) -> Vec<(&str, u16, u16)> {
        let both = model.networks.iter().zip(&model.ports);
        both.map(|((id, spec), port)| (spec.name.as_str(), id.0, port.id.0)).collect()
    }

    #[test]
    fn a_name_keeps_its_number_and_a_new_one_gets_none_that_was_in_use() {
        let first = model(&["a", "b", "c"], None);
        assert_eq!(ids(&first), [("a", 1, 1), ("b", 2, 2), ("c", 3, 3)]);
        let second = model(&["d", "c", "a"], Some(&first));
        assert_eq!(ids(&second), [("d", 4, 4), ("c", 3, 3), ("a", 1, 1)]);
        // What is gone for good gives its number back.
        let third = model(&["e", "a"], Some(&second));
        assert_eq!(ids(&third), [("e", 2, 2), ("a", 1, 1)]);
    }

    #[test]
    fn when_all_numbers_are_in_use_those_of_what_goes_are_given_again() {
        let known = (1..u16::MAX).map(|id| (format!("n{id}"), id)).collect();
        let names = ["n5".to_owned(), "new".to_owned()];
        let ids: Vec<u16> = number(names.iter(), &known).map(|(_, id)| id).collect();
        assert_eq!(ids, [5, 1]);
    }
}
