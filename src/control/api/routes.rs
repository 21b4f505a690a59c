//! The paths.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{ApiState, LinkRow, NamesReport, Refusal, StatsView};
use super::{description, edits, hosts, tunnels};
use crate::control::capture::{self, CaptureError};
use crate::control::dhcp::LeaseRow;
use crate::control::tables;
use crate::engine::{DropRow, FdbRow, NatView, NeighbourRow, PortStats, RouteRow, SessionRow};
use crate::id::PortId;
use crate::io::{Dataplane, WorkerError};

/// A path and what answers there.
pub(super) type Endpoint = (&'static str, MethodRouter<ApiState>);

/// Time for the worker to answer: many bursts.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Sessions shown unless told otherwise.
const SESSIONS: usize = 4096;
/// Sessions shown at most: the worker forwards nothing while it lists them (about 20 ms).
const MAX_SESSIONS: usize = 65_536;
/// Pieces of a capture that wait for the connection.
const CAPTURE_PIECES: usize = 16;

/// Everything that is served.
pub(super) fn router(state: ApiState) -> Router {
    let all = endpoints().into_iter().chain(edits::endpoints()).chain(hosts::endpoints());
    let all = all.chain(tunnels::endpoints());
    all.fold(Router::new(), |router, (path, endpoint)| router.route(path, endpoint))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(state)
}

/// The paths of what is read.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        ("/v1/openapi.json", get(openapi)),
        ("/v1/links", get(links)),
        ("/v1/fdb", get(fdb)),
        ("/v1/neighbours", get(neighbours)),
        ("/v1/routes", get(routes).post(edits::add_route).delete(edits::remove_route)),
        ("/v1/nat", get(nat)),
        ("/v1/sessions", get(sessions)),
        ("/v1/names", get(names)),
        ("/v1/drops", get(drops)),
        ("/v1/stats", get(stats)),
        ("/v1/leases", get(leases)),
        ("/v1/capture", get(capture)),
    ]
}

async fn openapi(_: Params<Nothing>) -> Json<serde_json::Value> {
    Json(description::openapi())
}

/// The same for a client that may not ask.
pub(super) fn forbidden() -> Router {
    Router::new().fallback(async || {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "only the user tapway runs as may ask it",
            "ask as that user or as root",
        )
    })
}

async fn links(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<Vec<LinkRow>>, Refusal> {
    let ports = ask(&state, tables::ports).await?;
    let row = |(id, stats): (PortId, PortStats)| {
        let device = state.registry.get(&stats.port);
        LinkRow { index: id.0, stats, device }
    };
    Ok(Json(ports.into_iter().map(row).collect()))
}

async fn fdb(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<Vec<FdbRow>>, Refusal> {
    ask(&state, tables::fdb).await.map(Json)
}

async fn neighbours(
    state: State<ApiState>,
    _: Params<Nothing>,
) -> Result<Json<Vec<NeighbourRow>>, Refusal> {
    ask(&state, tables::neighbours).await.map(Json)
}

async fn routes(
    state: State<ApiState>,
    _: Params<Nothing>,
) -> Result<Json<Vec<RouteRow>>, Refusal> {
    ask(&state, tables::routes).await.map(Json)
}

async fn nat(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<NatView>, Refusal> {
    ask(&state, tables::nat).await.map(Json)
}

async fn sessions(
    state: State<ApiState>,
    Params(query): Params<SessionsQuery>,
) -> Result<Json<Vec<SessionRow>>, Refusal> {
    let limit = query.limit.unwrap_or(SESSIONS);
    if limit > MAX_SESSIONS {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("limit {limit} is above {MAX_SESSIONS}"),
            "ask for fewer sessions",
        ));
    }
    ask(&state, move |dataplane| tables::sessions(dataplane, limit)).await.map(Json)
}

async fn names(state: State<ApiState>, _: Params<Nothing>) -> Json<NamesReport> {
    Json(NamesReport { names: state.names.rows(), resolver: state.names.stats() })
}

async fn drops(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<Vec<DropRow>>, Refusal> {
    ask(&state, tables::drops).await.map(Json)
}

async fn stats(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<StatsView>, Refusal> {
    ask(&state, tables::stats).await.map(Json)
}

async fn leases(
    state: State<ApiState>,
    _: Params<Nothing>,
) -> Result<Json<Vec<LeaseRow>>, Refusal> {
    Ok(Json(state.leases.rows()))
}

/// Streams pcapng until the client hangs up or tapway stops.
async fn capture(
    state: State<ApiState>,
    Params(query): Params<CaptureQuery>,
) -> Result<Response, Refusal> {
    let port = match query.port {
        None => None,
        Some(name) => Some(find_port(&state, name).await?),
    };
    let captures = state.captures.clone();
    // Starting one asks the worker, and so may block.
    let started = tokio::task::spawn_blocking(move || captures.start(port));
    let capture = match timeout(ANSWER_TIME, started).await {
        Ok(Ok(started)) => started?,
        Ok(Err(_)) | Err(_) => return Err(silent()),
    };
    let (pieces, body) = mpsc::channel(CAPTURE_PIECES);
    capture::pump(capture, pieces).map_err(|error| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("cannot start a capture: {error}"),
            "end another capture, or raise the limit on threads",
        )
    })?;
    let headers = [(header::CONTENT_TYPE, "application/x-pcapng")];
    Ok((headers, Body::from_stream(stream_of(body))).into_response())
}

fn stream_of(
    body: mpsc::Receiver<Bytes>,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::unfold(body, async |mut body| {
        let piece = body.recv().await?;
        Some((Ok(piece), body))
    })
}

async fn find_port(state: &ApiState, name: String) -> Result<PortId, Refusal> {
    let ports = ask(state, tables::ports).await?;
    let found = ports.into_iter().find(|(_, stats)| stats.port == name);
    found.map(|(id, _)| id).ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no port {name}"),
            "`tapway show link` lists the ports",
        )
    })
}

/// Lets the workers answer between two bursts, without blocking the API meanwhile.
pub(super) async fn ask<R: Send + 'static>(
    state: &ApiState,
    read: impl FnOnce(&Dataplane) -> Result<R, WorkerError> + Send + 'static,
) -> Result<R, Refusal> {
    let worker = state.worker.clone();
    let asked = tokio::task::spawn_blocking(move || read(&worker));
    match timeout(ANSWER_TIME, asked).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(gone))) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            gone.to_string(),
            "see tapway's log, and start it again",
        )),
        Ok(Err(_)) | Err(_) => Err(silent()),
    }
}

fn silent() -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        format!("the dataplane did not answer within {} s", ANSWER_TIME.as_secs()),
        "try again; if it stays so, see tapway's log",
    )
}

async fn unknown_path(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("no such path: {}", uri.path()),
        "paths are /v1/links, fdb, neighbours, routes, nat, sessions, names, drops, stats, leases, \
         networks, ports, hosts, vxlan, peers and capture",
    )
}

async fn unknown_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not served on {}", uri.path()),
        "GET reads, POST, PUT and DELETE change what can be changed",
    )
}

/// No parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionsQuery {
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureQuery {
    port: Option<String>,
}

/// The query's parameters; what is not understood is refused, not ignored.
pub(super) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(bad_query(&error)),
        }
    }
}

/// The name in a path.
pub(super) struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(error) => {
                let what = error.body_text();
                Err(Refusal::new(StatusCode::BAD_REQUEST, what, "escape the name as UTF-8"))
            }
        }
    }
}

/// The name and the address in a path.
pub(super) struct Place(pub String, pub String);

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path((name, address))) => Ok(Self(name, address)),
            Err(error) => {
                let what = error.body_text();
                Err(Refusal::new(StatusCode::BAD_REQUEST, what, "escape the name as UTF-8"))
            }
        }
    }
}

fn bad_query(error: &QueryRejection) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        error.body_text(),
        "sessions takes limit=NUMBER, capture port=NAME, DELETE of a network force=true, DELETE of a \
         route to=PREFIX, the others nothing",
    )
}

impl From<CaptureError> for Refusal {
    fn from(error: CaptureError) -> Self {
        let (status, remedy) = match error {
            CaptureError::TooMany => (StatusCode::CONFLICT, "end one of them"),
            CaptureError::Dataplane(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "see tapway's log, and start it again")
            }
        };
        Self::new(status, error.to_string(), remedy)
    }
}
