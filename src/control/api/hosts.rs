//! The paths of hosts that run as commands: `tapway exec` and `tapway ps`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Extension, Json};

use super::body::Body;
use super::routes::{Endpoint, Nothing, Params};
use super::{ApiState, Refusal};
use crate::control::hosts::{HostAnswer, HostRequest, HostRow, Hosts};
use crate::control::rejection::Rejection;

/// Who asks, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its process; none: it is not to be seen from here.
    pub pid: Option<u32>,
}

/// The paths.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![("/v1/hosts", get(list).post(attach)), ("/v1/hosts/{name}", delete(detach))]
}

async fn list(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<Vec<HostRow>>, Refusal> {
    with_hosts(&state, |hosts| Ok(hosts.rows())).await.map(Json)
}

async fn attach(
    state: State<ApiState>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<HostRequest>,
) -> Result<Json<HostAnswer>, Refusal> {
    let Some(pid) = request.pid.or(peer.pid) else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the process that asks is not to be seen from where tapway runs",
            "ask from the same process namespace, or name a process: \"pid\"",
        ));
    };
    let _turn = state.turns.lock().await;
    with_hosts(&state, move |hosts| hosts.attach(&request, pid)).await.map(Json)
}

async fn detach(
    state: State<ApiState>,
    Path(name): Path<String>,
) -> Result<Json<Vec<HostRow>>, Refusal> {
    let _turn = state.turns.lock().await;
    let detach = move |hosts: &Hosts| hosts.detach(&name).map(|()| hosts.rows());
    with_hosts(&state, detach).await.map(Json)
}

/// Asks who keeps the hosts, without blocking the API meanwhile.
async fn with_hosts<R: Send + 'static>(
    state: &ApiState,
    ask: impl FnOnce(&Hosts) -> Result<R, Rejection> + Send + 'static,
) -> Result<R, Refusal> {
    let Some(hosts) = state.hosts.clone() else {
        let what = "this switch takes no commands as hosts";
        return Err(Refusal::new(StatusCode::CONFLICT, what, "start one with `tapway run`"));
    };
    match tokio::task::spawn_blocking(move || ask(&hosts)).await {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(error) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the question ended in a bug: {error}"),
            "see tapway's log",
        )),
    }
}
