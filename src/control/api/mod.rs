//! The API: HTTP/1.1 and JSON on a Unix socket, for `tapway show` and for curl.
//!
//! ```text
//! curl --unix-socket /run/tapway.sock http://tapway/v1/links
//! ```
//!
//! * `server`: the thread, its socket, who may connect, and the bounds on connections,
//! * `routes`: the paths under `/v1`, each a question to the worker between two bursts,
//! * `edits`: the paths that change what runs, `body`: what such a request brings,
//! * `tunnels`: those of networks over several hosts,
//! * `description`: all of it as OpenAPI, at `/v1/openapi.json`,
//! * `views`: the answers that are not rows of the engine,
//! * `refusal`: every other answer: `{"error": ..., "remedy": ...}`,
//! * `client`: what the command line asks by.
//!
//! Changes go through `live` and nothing else. Not by it: metrics and authentication by anything
//! but the socket's owner.

mod body;
mod client;
mod description;
mod edits;
mod hosts;
mod refusal;
mod routes;
mod server;
mod socket;
mod stall;
mod tunnels;
mod views;

pub use client::{Client, ClientError, escape};
pub use hyper::Method;
pub use refusal::Refusal;
use routes::Name;
pub use server::{ApiError, ApiHandle, ApiState, serve};

pub use views::{ChangedView, LinkRow, NamesReport, SessionUsage, StatsView};
