//! The paths that change what runs. Each answers when the change holds and is kept, or says why
//! nothing has changed.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use ipnet::Ipv4Net;
use serde::Deserialize;

use super::body::{Body, settings};
use super::routes::{Endpoint, Name, Nothing, Params};
use super::{ApiState, ChangedView, Refusal};
use crate::control::live::{ChangeRow, Control, Draft, Edited, MadeRoute, NetworkView};
use crate::control::rejection::Rejection;

pub(super) type Answer = Result<Json<ChangedView>, Refusal>;

/// The paths of what changes, and of what is asked about changes.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        ("/v1/networks", get(networks).post(create_network)),
        ("/v1/networks/{name}", get(network).delete(remove_network)),
        ("/v1/networks/{name}/connect", post(connect)),
        ("/v1/networks/{name}/disconnect", post(disconnect)),
        ("/v1/ports", post(add_port)),
        ("/v1/ports/{name}", delete(remove_port)),
        ("/v1/ports/{name}/publish", post(publish)),
        ("/v1/ports/{name}/unpublish", post(unpublish)),
        ("/v1/reload", post(reload)),
        ("/v1/diff", get(diff)),
        ("/v1/export", get(export)),
    ]
}

async fn networks(
    state: State<ApiState>,
    _: Params<Nothing>,
) -> Result<Json<Vec<NetworkView>>, Refusal> {
    with_control(&state, |control| Ok(NetworkView::all(&control.config()))).await.map(Json)
}

async fn network(
    state: State<ApiState>,
    Name(name): Name,
    _: Params<Nothing>,
) -> Result<Json<NetworkView>, Refusal> {
    let read = move |control: &Control| {
        let config = control.config();
        let found = config.network(&name).map(|network| NetworkView::of(&config, network));
        found.ok_or_else(|| {
            let what = format!("there is no network {name}");
            Rejection::not_found(what, "`tapway network ls` lists them")
        })
    };
    with_control(&state, read).await.map(Json)
}

/// A name, and settings under the keys of a configuration.
#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    settings: serde_json::Map<String, serde_json::Value>,
}

async fn create_network(state: State<ApiState>, Body(body): Body<Named>) -> Answer {
    let table = settings(body.settings)?;
    edit(&state, move |draft| draft.create_network(&body.name, table)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    force: Option<bool>,
}

async fn remove_network(
    state: State<ApiState>,
    Name(name): Name,
    Params(query): Params<RemoveQuery>,
) -> Answer {
    let force = query.force.unwrap_or(false);
    edit(&state, move |draft| draft.remove_network(&name, force)).await
}

async fn connect(
    state: State<ApiState>,
    Name(network): Name,
    Body(body): Body<serde_json::Map<String, serde_json::Value>>,
) -> Answer {
    let mut table = settings(body)?;
    edit(&state, move |draft| {
        table.insert("network".to_owned(), network.into());
        draft.connect(table)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    port: String,
}

async fn disconnect(
    state: State<ApiState>,
    Name(network): Name,
    Body(body): Body<Disconnect>,
) -> Answer {
    edit(&state, move |draft| draft.disconnect(&body.port, &network)).await
}

async fn add_port(state: State<ApiState>, Body(body): Body<Named>) -> Answer {
    let table = settings(body.settings)?;
    if table.contains_key("process") {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("port.{}.process: only `tapway exec` attaches processes", body.name),
            "name a namespace: `netns`",
        ));
    }
    edit(&state, move |draft| draft.add_port(&body.name, table)).await
}

async fn remove_port(state: State<ApiState>, Name(name): Name) -> Answer {
    edit(&state, move |draft| draft.remove_port(&name)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    publish: Vec<String>,
}

async fn publish(state: State<ApiState>, Name(name): Name, Body(body): Body<Publish>) -> Answer {
    let all = move |draft: &mut Draft<'_>| {
        body.publish.iter().try_for_each(|text| draft.publish(&name, text).map(drop))
    };
    edit(&state, all).await
}

async fn unpublish(state: State<ApiState>, Name(name): Name, Body(body): Body<Publish>) -> Answer {
    let all = move |draft: &mut Draft<'_>| {
        body.publish.iter().try_for_each(|text| draft.unpublish(&name, text))
    };
    edit(&state, all).await
}

/// `POST /v1/routes`.
pub(super) async fn add_route(state: State<ApiState>, Body(route): Body<MadeRoute>) -> Answer {
    edit(&state, move |draft| draft.add_route(route)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteQuery {
    to: Ipv4Net,
}

/// `DELETE /v1/routes`.
pub(super) async fn remove_route(
    state: State<ApiState>,
    Params(query): Params<RouteQuery>,
) -> Answer {
    edit(&state, move |draft| draft.remove_route(query.to)).await
}

async fn reload(state: State<ApiState>) -> Answer {
    let _turn = state.turns.lock().await;
    with_control(&state, |control| control.reload().map(view)).await.map(Json)
}

async fn diff(state: State<ApiState>, _: Params<Nothing>) -> Result<Json<Vec<ChangeRow>>, Refusal> {
    with_control(&state, Control::diff).await.map(Json)
}

async fn export(state: State<ApiState>, _: Params<Nothing>) -> Result<Response, Refusal> {
    let text = with_control(&state, Control::export).await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], text).into_response())
}

/// One change, after those that came before it.
pub(super) async fn edit(
    state: &ApiState,
    edit: impl FnOnce(&mut Draft<'_>) -> Result<(), Rejection> + Send + 'static,
) -> Answer {
    // Changes wait here, not on the few threads that questions need.
    let _turn = state.turns.lock().await;
    with_control(state, |control| control.edit(edit).map(view)).await.map(Json)
}

fn view(edited: Edited<()>) -> ChangedView {
    ChangedView { changes: edited.rows }
}

/// Asks what changes the state, without blocking the API meanwhile. A change that has begun ends,
/// whether its client waits or not.
async fn with_control<R: Send + 'static>(
    state: &ApiState,
    ask: impl FnOnce(&Control) -> Result<R, Rejection> + Send + 'static,
) -> Result<R, Refusal> {
    let Some(control) = state.control.clone() else {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "this switch has no configuration that could change",
            "start one with `tapway run`",
        ));
    };
    match tokio::task::spawn_blocking(move || ask(&control)).await {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(error) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the change ended in a bug: {error}"),
            "see tapway's log",
        )),
    }
}
