//! The desired state, and the one way in which it changes.
//!
//! What is to run is what the file says and what was *made live*: networks, ports, routes,
//! connections, published ports, peers and endpoints that came by the API. Both are one language (see `config`):
//! what was made live is read and checked as if it stood below the file. Start, reload, every
//! edit and what is kept over a restart go the same way:
//!
//! desired state -> checked -> model -> difference to what runs -> applied, or refused with
//! nothing changed -> kept.
//!
//! The file owns what it names: live edits do not remove or change it, and where a file that is
//! read anew names what was made live, the file's replaces that. What was made live and does not
//! go with the file otherwise is not dropped: the file is refused.
//!
//! * `made`: what was made live, as tables of the configuration,
//! * `edit`: the edits that users ask for, `remote`: those of what is beyond this host,
//! * `desired`: file and live together, and what they come to,
//! * `handle`: [`Control`], shared by the API and the signals,
//! * `store`: what is kept over a restart,
//! * `report`: changes as users read them, `views`: networks as they are shown.

mod desired;
mod edit;
mod handle;
mod made;
mod remote;
mod report;
mod store;
mod views;

#[cfg(test)]
mod tests;

pub use desired::{Desired, StartError};
pub use edit::Draft;
pub use handle::{Control, Edited};
pub use made::{Made, MadeEndpoint, MadePeer, MadePublish, MadeRoute};
pub use remote::{Remote, RemoteHost};
pub use report::{ChangeRow, Sign};
pub use store::{Store, StoreError};
pub use views::{EndpointView, HostView, NetworkView, PeerOrigin, PeerView, VxlanView};
