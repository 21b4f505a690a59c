//! `expose` and `links` of ports: read, and checked against each other.

use std::collections::{HashMap, HashSet};

use toml::Spanned;

use super::Port;
use super::problem::Problems;
use super::read::Draft;
use super::section::Section;
use crate::control::hosts::{ExposeSyntax, LinkSyntax};

/// Links that a port may have: each is a line and some variables of its host.
const MAX_LINKS: usize = 64;
/// Entries of `expose` that a port may have.
const MAX_EXPOSE: usize = 64;

pub(super) fn read_expose<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
) -> Vec<Spanned<ExposeSyntax>> {
    let texts = section.take_list::<String>(problems, "expose", "a text such as \"5432/tcp\"");
    let key = section.key("expose");
    bound(problems, &key, &texts, MAX_EXPOSE);
    let mut expose = Vec::new();
    for text in texts {
        match text.get_ref().parse() {
            Ok(syntax) => expose.push(Spanned::new(text.span(), syntax)),
            Err(error) => {
                let what = format!("\"{}\": {error}", text.get_ref());
                problems.error(text.span(), &key, what, "examples: \"80\", \"8000-8009/udp\"");
            }
        }
    }
    expose
}

pub(super) fn read_links<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
) -> Vec<Spanned<LinkSyntax>> {
    let texts = section.take_list::<String>(problems, "links", "a text such as \"db:database\"");
    let key = section.key("links");
    bound(problems, &key, &texts, MAX_LINKS);
    let mut links = Vec::new();
    for text in texts {
        match text.get_ref().parse::<LinkSyntax>() {
            Ok(link) => links.push(Spanned::new(text.span(), link)),
            Err(error) => {
                problems.error(text.span(), &key, error.to_string(), "examples: \"db:database\"");
            }
        }
    }
    links
}

fn bound(problems: &mut Problems<'_>, key: &str, list: &[Spanned<String>], most: usize) {
    if let Some(beyond) = list.get(most) {
        problems.error(beyond.span(), key, format!("more than {most}"), "remove some");
    }
}

/// Links need another host, on a network of both, that has an address. What was made live is judged
/// when it is made: later its target may come and go.
pub(super) fn check(problems: &mut Problems<'_>, draft: &Draft) {
    let mut hosts: HashMap<&str, Vec<&Port>> = HashMap::new();
    for port in &draft.config.ports {
        hosts.entry(&port.host).or_default().push(port);
    }
    for port in &draft.config.ports {
        let key = format!("port.{}.links", port.name.get_ref());
        let mut aliases = HashSet::new();
        for link in &port.links {
            let own = hosts.get(port.host.as_str()).map(Vec::as_slice).unwrap_or_default();
            let is_live = problems.is_live(&link.span());
            let wrong = match aliases.insert(link.get_ref().alias.as_str()) {
                false => {
                    let what = format!("alias {} is given twice", link.get_ref().alias);
                    Some((what, "give each link its own".to_owned()))
                }
                true if is_live => None,
                true => dead_end(link.get_ref(), own, &hosts),
            };
            if let Some((what, remedy)) = wrong {
                problems.error(link.span(), &key, what, remedy);
            }
        }
    }
}

/// Why a link leads nowhere, and what to do.
fn dead_end(
    LinkSyntax { target, .. }: &LinkSyntax,
    own: &[&Port],
    hosts: &HashMap<&str, Vec<&Port>>,
) -> Option<(String, String)> {
    let Some(theirs) = hosts.get(target.as_str()) else {
        let remedy = format!("add [port.{target}], or name another one");
        return Some((format!("there is no host {target}"), remedy));
    };
    if own.iter().any(|port| port.host == *target) {
        return Some((format!("{target} is the host itself"), "leave it out".to_owned()));
    }
    let networks = |ports: &[&Port]| {
        ports.iter().map(|port| port.network.get_ref().clone()).collect::<Vec<_>>()
    };
    let (ours, their_networks) = (networks(own), networks(theirs));
    let mut shared = theirs.iter().filter(|port| ours.contains(port.network.get_ref())).peekable();
    if shared.peek().is_none() {
        let (on, own) = (their_networks.join(", "), ours.join(", "));
        let what = format!("host {target} is on network {on}, not on {own}");
        return Some((what, "let both join one network".to_owned()));
    }
    if shared.all(|port| port.address.is_none()) {
        return Some((format!("host {target} has no address"), "give it one".to_owned()));
    }
    None
}
