//! The published ports of an uplink that is shared with the host: what comes in for them is taken
//! before the host's stack sees it.

use super::config::UPLINK_NAME;
use super::follower::{Follower, Stage};
use super::model::Model;
use super::rejection::Rejection;
use crate::io::TakenPorts as Taken;
use crate::packet::PortSpan;

/// Follows the published ports. While a change is under way those of both states are taken.
#[derive(Debug, Default)]
pub struct TakenPorts;

impl Follower for TakenPorts {
    fn name(&self) -> &'static str {
        "published ports of the uplink"
    }

    fn prepare(&mut self, stage: &mut Stage<'_>) -> Result<(), Rejection> {
        let mut both = of(stage.old);
        both.extend(of(stage.new));
        tell(stage, &both)
    }

    fn commit(&mut self, stage: &mut Stage<'_>) {
        let taken = of(stage.new);
        if let Err(error) = tell(stage, &taken) {
            tracing::error!(%error, "ports that are published no longer are still taken");
        }
    }

    fn roll_back(&mut self, stage: &mut Stage<'_>) {
        let taken = of(stage.old);
        if let Err(error) = tell(stage, &taken) {
            tracing::error!(%error, "ports that are not published are still taken");
        }
    }
}

fn of(model: &Model) -> Vec<Taken> {
    if model.shared_plan().is_none() {
        return Vec::new();
    }
    let taken = model.publishes.iter().map(|publish| Taken {
        protocol: publish.protocol,
        address: publish.address,
        ports: PortSpan { first: publish.port, last: publish.last() },
    });
    taken.collect()
}

fn tell(stage: &mut Stage<'_>, taken: &[Taken]) -> Result<(), Rejection> {
    stage.broker.take_ports(UPLINK_NAME, taken).map_err(|error| Rejection::conflict(error, ""))
}
