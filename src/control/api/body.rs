//! The body of a request: JSON, bounded in size and time.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use toml::{Table, Value};

use super::Refusal;

/// Longest body, in bytes: a host with every setting, and a hundred published ports.
const MAX_BODY: usize = 64 << 10;
/// Time for a client to send it.
const BODY_TIME: Duration = Duration::from_secs(5);

/// A body of one type and at most so many bytes; what is not understood is refused, not ignored.
pub(super) struct Body<T, const MAX: usize = MAX_BODY>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const MAX: usize> FromRequest<S> for Body<T, MAX> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = receive(request, MAX).await?;
        // Nothing stands for no settings.
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not what is wanted: {error}"),
                "send JSON as /v1/openapi.json describes it",
            )
        })
    }
}

async fn receive(request: Request, most: usize) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), most).collect();
    match timeout(BODY_TIME, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {most} bytes"),
            "ask for less at once",
        )),
        Ok(Err(error)) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the body did not come: {error}"),
            "send it again",
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} s", BODY_TIME.as_secs()),
            "send it at once",
        )),
    }
}

/// Settings as the configuration's language has them; `null` is as good as no key.
pub(super) fn settings(json: serde_json::Map<String, serde_json::Value>) -> Result<Table, Refusal> {
    let mut table = Table::new();
    for (key, value) in json {
        if let Some(value) = into_toml(value)? {
            table.insert(key, value);
        }
    }
    Ok(table)
}

fn into_toml(value: serde_json::Value) -> Result<Option<Value>, Refusal> {
    use serde_json::Value as Json;
    Ok(Some(match value {
        Json::Null => return Ok(None),
        Json::Bool(value) => Value::Boolean(value),
        Json::String(text) => Value::String(text),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Integer(number),
            (None, Some(number)) => Value::Float(number),
            (None, None) => return Err(too_large(&number)),
        },
        Json::Array(items) => {
            let items: Result<Vec<Option<Value>>, Refusal> =
                items.into_iter().map(into_toml).collect();
            Value::Array(items?.into_iter().flatten().collect())
        }
        Json::Object(object) => Value::Table(settings(object)?),
    }))
}

fn too_large(number: &serde_json::Number) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("{number} is too large"), "correct it")
}
