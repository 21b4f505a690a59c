//! The paths of networks over several hosts: what is shown of them, and what is known beyond this
//! host. `PUT` and `DELETE` may be said again; whoever keeps peers and endpoints elsewhere `PUT`s
//! the whole list of a network.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use serde::Deserialize;

use super::body::Body;
use super::edits::{Answer, edit};
use super::routes::{Endpoint, Nothing, Params, Place, ask};
use super::{ApiState, Name, Refusal};
use crate::control::config::Config;
use crate::control::live::{Remote, RemoteHost};
use crate::control::model::Model;
use crate::control::tables;
use crate::control::tunnel_tables::{PeerRow, TunnelTables, VxlanRow};
use crate::engine::PortStats;
use crate::packet::MacAddr;

/// Longest list of peers and endpoints, in bytes: as many as a network may have.
const MAX_REMOTE: usize = 4 << 20;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        ("/v1/vxlan", get(networks)),
        ("/v1/peers", get(peers)),
        ("/v1/networks/{name}/vxlan", put(set_remote)),
        ("/v1/networks/{name}/peers/{address}", put(put_peer).delete(remove_peer)),
        ("/v1/networks/{name}/endpoints/{address}", put(put_endpoint).delete(remove_endpoint)),
    ]
}

async fn networks(
    state: State<ApiState>,
    _: Params<Nothing>,
) -> Result<Json<Vec<VxlanRow>>, Refusal> {
    let Some((config, model)) = running(&state).await else { return Ok(Json(Vec::new())) };
    let ports = ports(&state).await?;
    Ok(Json(TunnelTables::new(&config, &model, &ports).networks()))
}

async fn peers(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<Vec<PeerRow>>, Refusal> {
    let Some((config, model)) = running(&state).await else { return Ok(Json(Vec::new())) };
    let ports = ports(&state).await?;
    let fdb = ask(&state, tables::fdb).await?;
    Ok(Json(TunnelTables::new(&config, &model, &ports).peers(&fdb, &state.registry)))
}

/// What runs; none: this switch has no configuration. A change under way is waited for.
async fn running(state: &ApiState) -> Option<(Arc<Config>, Arc<Model>)> {
    let control = state.control.clone()?;
    let read = tokio::task::spawn_blocking(move || (control.config(), control.model()));
    read.await.ok()
}

async fn ports(state: &ApiState) -> Result<Vec<PortStats>, Refusal> {
    let ports = ask(state, tables::ports).await?;
    Ok(ports.into_iter().map(|(_, stats)| stats).collect())
}

async fn set_remote(
    state: State<ApiState>,
    Name(network): Name,
    Body(remote): Body<Remote, MAX_REMOTE>,
) -> Answer {
    edit(&state, move |draft| draft.set_remote(&network, remote)).await
}

async fn put_peer(state: State<ApiState>, place: Place, _: Params<Nothing>) -> Answer {
    let (network, peer) = peer_of(place)?;
    edit(&state, move |draft| draft.put_peer(&network, peer)).await
}

async fn remove_peer(state: State<ApiState>, place: Place) -> Answer {
    let (network, peer) = peer_of(place)?;
    edit(&state, move |draft| draft.remove_peer(&network, peer)).await
}

/// A [`RemoteHost`] without its address, which is in the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostBody {
    name: Option<String>,
    mac: Option<MacAddr>,
    peer: IpAddr,
}

async fn put_endpoint(state: State<ApiState>, place: Place, Body(body): Body<HostBody>) -> Answer {
    let (network, address) = host_of(place)?;
    let HostBody { name, mac, peer } = body;
    let host = RemoteHost { address, name, mac, peer };
    edit(&state, move |draft| draft.put_endpoint(&network, host)).await
}

async fn remove_endpoint(state: State<ApiState>, place: Place) -> Answer {
    let (network, address) = host_of(place)?;
    edit(&state, move |draft| draft.remove_endpoint(&network, address)).await
}

fn peer_of(Place(network, address): Place) -> Result<(String, IpAddr), Refusal> {
    let parsed = address.parse().map_err(|_| no_address(&address))?;
    Ok((network, parsed))
}

fn host_of(Place(network, address): Place) -> Result<(String, Ipv4Addr), Refusal> {
    let parsed = address.parse().map_err(|_| no_address(&address))?;
    Ok((network, parsed))
}

fn no_address(text: &str) -> Refusal {
    let what = format!("\"{text}\" is not an IPv4 address");
    Refusal::new(StatusCode::BAD_REQUEST, what, "write it like 192.0.2.2")
}
