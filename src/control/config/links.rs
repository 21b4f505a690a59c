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

/// Links need another port of the same network, that has an address.
pub(super) fn check(problems: &mut Problems<'_>, draft: &Draft) {
    let ports = &draft.config.ports;
    let by_name: HashMap<&str, &Port> =
        ports.iter().map(|port| (port.name.get_ref().as_str(), port)).collect();
    for port in ports {
        let key = format!("port.{}.links", port.name.get_ref());
        let mut aliases = HashSet::new();
        for link in &port.links {
            let LinkSyntax { target, alias } = link.get_ref();
            let found = by_name.get(target.as_str());
            let wrong = match found {
                _ if !aliases.insert(alias.as_str()) => {
                    Some((format!("alias {alias} is given twice"), "give each link its own"))
                }
                None => Some((format!("there is no host {target}"), "start it first")),
                Some(other) if other.name == port.name => {
                    Some((format!("{target} is the host itself"), "leave it out"))
                }
                Some(other) if other.network.get_ref() != port.network.get_ref() => {
                    let (own, theirs) = (port.network.get_ref(), other.network.get_ref());
                    let what = format!("host {target} is on network {theirs}, not on {own}");
                    Some((what, "let both join one network"))
                }
                Some(other) if other.address.is_none() => {
                    Some((format!("host {target} has no address"), "give it one"))
                }
                Some(_) => None,
            };
            if let Some((what, remedy)) = wrong {
                problems.error(link.span(), &key, what, remedy);
            }
        }
    }
}
