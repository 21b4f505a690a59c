//! An uplink that is shared with the host: where the host is, tapway is.

use std::time::Duration;

use super::{ApplyError, PortFailure, Supervisor};
use crate::control::config::UPLINK_NAME;
use crate::control::model::Model;
use crate::io::{SharedPlan, Station};

/// A shared interface, and where tapway is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    plan: SharedPlan,
    station: Station,
}

impl Supervisor {
    /// The model with tapway's place on a shared uplink. An interface that is shared already is
    /// followed, see [`Supervisor::move_to`], and not asked again.
    pub(super) fn placed(&mut self, mut new: Model) -> Result<Model, ApplyError> {
        if new.is_placed() {
            return Ok(new);
        }
        let Some(plan) = new.shared_plan().cloned() else { return Ok(new) };
        let known = self.place.as_ref().filter(|known| known.plan == plan);
        let station = match known {
            Some(known) => known.station.clone(),
            None => self.broker.survey(UPLINK_NAME, &plan).map_err(|error| {
                ApplyError::Ports(vec![PortFailure { port: UPLINK_NAME.to_owned(), error }])
            })?,
        };
        if known.is_none() {
            let Station { address, mac, ports, .. } = &station;
            tracing::info!(device = plan.device, %address, %mac, %ports, "shares the host's address");
            if station.gateway.is_none() {
                let device = &plan.device;
                tracing::warn!(device, "no default route: only its subnet is reachable outside");
            }
        }
        new.take_place(None, &station);
        self.place = Some(Place { plan, station });
        Ok(new)
    }

    /// The host has another place on the shared uplink: tapway goes with it, now or as soon as
    /// what is in its way has gone.
    pub(super) fn move_to(&mut self, station: Station) {
        let is_news = self.behind.take().is_none_or(|behind| behind != station);
        let Some(place) = &self.place else { return };
        if place.station == station {
            return;
        }
        let mut new = self.model.clone();
        new.take_place(Some(&place.station), &station);
        let (address, mac, mtu) = (station.address, station.mac, station.mtu);
        let gateway = station.gateway.map_or("none".to_owned(), |gateway| gateway.to_string());
        let place = Place { plan: place.plan.clone(), station };
        match self.apply(new, Duration::ZERO) {
            Ok(_) => {
                tracing::info!(%address, %mac, gateway, mtu, "the uplink follows the host");
                self.place = Some(place);
            }
            Err(error) => {
                if is_news {
                    tracing::error!(%address, %error, "the uplink cannot follow the host yet");
                }
                self.behind = Some(place.station);
            }
        }
    }
}
