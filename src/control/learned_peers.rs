//! Tunnel endpoints that become peers because they send frames of a network that accepts any.
//!
//! The supervisor hears of them first, and must not wait for a change that it is to carry out
//! itself: a thread of its own asks for that, as a user would. Bounds: 256 endpoints
//! wait; who is not among them sends again. What is learned ends with tapway.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::config::{MAX_PEERS, may_be_peer};
use super::follower::{Follower, Stage};
use super::live::Control;
use super::rejection::Rejection;
use crate::engine::Event;

/// Endpoints that wait to become peers.
const MAX_WAITING: usize = 256;

/// An endpoint, and the network whose frames it sends.
type Heard = (String, Ipv4Addr);

/// The follower; it passes on what it hears.
#[derive(Debug)]
pub struct LearnedPeers {
    heard: Sender<Heard>,
}

/// What makes peers of those who were heard, once it is started.
#[derive(Debug)]
pub struct PeerLearner {
    heard: Receiver<Heard>,
}

impl LearnedPeers {
    /// The follower, and what learns from it.
    pub fn new() -> (Self, PeerLearner) {
        let (heard, learner) = bounded(MAX_WAITING);
        (Self { heard }, PeerLearner { heard: learner })
    }
}

impl Follower for LearnedPeers {
    fn name(&self) -> &'static str {
        "learned peers"
    }

    fn prepare(&mut self, _stage: &mut Stage<'_>) -> Result<(), Rejection> {
        Ok(())
    }

    fn commit(&mut self, _stage: &mut Stage<'_>) {}

    fn roll_back(&mut self, _stage: &mut Stage<'_>) {}

    fn hear(&mut self, event: &Event, stage: &mut Stage<'_>) {
        let Event::UnknownPeer { network, peer: IpAddr::V4(peer) } = event else { return };
        if let Some(spec) = stage.new.network(*network) {
            // One that finds no room sends again.
            let _ = self.heard.try_send((spec.name.clone(), *peer));
        }
    }
}

impl PeerLearner {
    /// Learns until the switch stops.
    ///
    /// # Errors
    /// If the process is out of threads.
    pub fn start(self, control: Control) -> std::io::Result<()> {
        let learn = move || {
            let mut full = HashSet::new();
            for heard in self.heard {
                learn(&control, heard, &mut full);
            }
        };
        std::thread::Builder::new().name("learned peers".to_owned()).spawn(learn).map(drop)
    }
}

/// `full`: networks of which it was told that they have as many peers as there may be.
fn learn(control: &Control, (network, peer): Heard, full: &mut HashSet<String>) {
    let config = control.config();
    let known = config.network(&network).and_then(|network| network.vxlan.as_ref());
    let is_known = known.is_none_or(|vxlan| vxlan.peer(peer).is_some());
    if is_known || !may_be_peer(&config, peer) {
        return;
    }
    if known.is_some_and(|vxlan| vxlan.peers.len() >= MAX_PEERS) {
        if full.insert(network.clone()) {
            tracing::warn!(network, "has {MAX_PEERS} peers: no further ones are learned");
        }
        return;
    }
    full.remove(&network);
    match control.edit(|draft| Ok(draft.learn_peer(&network, peer))) {
        Ok(_) => tracing::info!(network, %peer, "sends frames of the network: it is a peer now"),
        Err(error) => tracing::warn!(network, %peer, %error, "cannot become a peer"),
    }
}
