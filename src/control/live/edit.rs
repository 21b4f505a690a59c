//! The edits that users ask for. Each says no to what it can judge by itself; the check of the
//! whole judges the rest.

use ipnet::Ipv4Net;
use toml::{Table, Value};

use super::made::{Made, MadePublish, MadeRoute, text};
use crate::control::config::{Config, DEFAULT_NETWORK, Port, publishes};
use crate::control::model::Processes;
use crate::control::publish_syntax::PublishSyntax;
use crate::control::rejection::Rejection;

/// Hosts that a message lists at most.
const SHOWN: usize = 8;

/// What was made live, being edited.
pub struct Draft<'d> {
    /// What was made live.
    pub made: Made,
    /// Processes that hosts live in the namespaces of; what no port names any more goes.
    pub processes: Processes,
    /// What holds before the edit.
    pub config: &'d Config,
}

impl Draft<'_> {
    /// Makes a network. `settings` has the keys of `[network.NAME]`; without `subnet` tapway
    /// chooses one, and with `"none"` it is switched only.
    ///
    /// # Errors
    /// If it exists.
    pub fn create_network(&mut self, name: &str, mut settings: Table) -> Result<(), Rejection> {
        if self.config.network(name).is_some() {
            let remedy = "choose another name, or remove it first: `tapway network rm`";
            return Err(Rejection::conflict(format!("network {name} exists already"), remedy));
        }
        match text(&settings, "subnet") {
            "none" => drop(settings.remove("subnet")),
            _ if settings.contains_key("subnet") => {}
            _ => drop(settings.insert("subnet".to_owned(), Value::from("auto"))),
        }
        self.made.network.insert(name.to_owned(), settings);
        Ok(())
    }

    /// Removes a network that was made live. One in use goes only by `force`, with all that was
    /// made live in it.
    ///
    /// # Errors
    /// If it is the file's, not there, or in use.
    pub fn remove_network(&mut self, name: &str, force: bool) -> Result<(), Rejection> {
        if !self.made.network.contains_key(name) {
            return Err(self.not_made("network", name, self.config.network(name).is_some()));
        }
        let config = self.config;
        let members: Vec<&Port> =
            config.ports.iter().filter(|port| port.network.get_ref() == name).collect();
        let routes = self.routes_into(name);
        if !force && (!members.is_empty() || !routes.is_empty()) {
            return Err(in_use(name, &members, &routes));
        }
        for port in members {
            match *port.name.get_ref() == port.host {
                true => self.made.remove_port(&port.host),
                false => drop(self.made.disconnect(&port.host, name)),
            }
        }
        self.made.route.retain(|route| !routes.contains(&route.to));
        self.made.remove_network(name);
        Ok(())
    }

    /// Adds a host. `settings` has the keys of `[port.NAME]`; without `address` tapway chooses
    /// one, and with `"none"` the host brings its own.
    ///
    /// # Errors
    /// If it exists, or publishes what cannot be.
    pub fn add_port(&mut self, name: &str, mut settings: Table) -> Result<(), Rejection> {
        if self.find_host(name).is_some() {
            let remedy = "choose another name, or remove it first: `tapway port rm`";
            return Err(Rejection::conflict(format!("port {name} exists already"), remedy));
        }
        let kind = text(&settings, "kind");
        let is_tap = kind.is_empty() || kind == "tap";
        let network = settings
            .get("network")
            .map_or(DEFAULT_NETWORK, |value| value.as_str().unwrap_or_default());
        let network = self.config.network(network);
        let has_subnet = network.is_none_or(|network| network.router.is_some());
        match text(&settings, "address") {
            "none" => drop(settings.remove("address")),
            _ if settings.contains_key("address") || !is_tap || !has_subnet => {}
            _ => drop(settings.insert("address".to_owned(), Value::from("auto"))),
        }
        let publish = settings.remove("publish");
        self.made.port.insert(name.to_owned(), settings);
        let Some(publish) = publish else { return Ok(()) };
        let list = publish.as_array().map(Vec::as_slice).unwrap_or_default();
        let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
        let Some(texts) = texts.filter(|texts| !texts.is_empty() || publish.is_array()) else {
            let what = format!("port.{name}.publish: {publish} is not a list of texts");
            return Err(Rejection::wrong(what, "write [\"8080:80\"]"));
        };
        texts.into_iter().try_for_each(|text| self.publish(name, text).map(drop))
    }

    /// Removes a host that was made live, with its connections and published ports.
    ///
    /// # Errors
    /// If it is the file's, or not there.
    pub fn remove_port(&mut self, name: &str) -> Result<(), Rejection> {
        if !self.made.port.contains_key(name) {
            return Err(self.not_made("port", name, self.find_host(name).is_some()));
        }
        self.made.remove_port(name);
        Ok(())
    }

    /// Removes the host of a process; nothing happens if that has gone already, or another host
    /// has its name.
    pub fn remove_host_of(&mut self, name: &str, pid: u32) {
        let process = self.made.port.get(name).and_then(|settings| settings.get("process"));
        if process.and_then(Value::as_integer) == Some(i64::from(pid)) {
            self.made.remove_port(name);
        }
    }

    /// A host joins a further network; `settings` has the keys of `[[connect]]`.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn connect(&mut self, settings: Table) -> Result<(), Rejection> {
        let host = text(&settings, "port");
        if !host.is_empty() && self.find_host(host).is_none() {
            return Err(self.not_there("port", host));
        }
        self.made.connect.push(settings);
        Ok(())
    }

    /// A host leaves a network that it was connected to live.
    ///
    /// # Errors
    /// If it is not in it, or not by a live connection.
    pub fn disconnect(&mut self, host: &str, network: &str) -> Result<(), Rejection> {
        if self.made.disconnect(host, network) {
            return Ok(());
        }
        if self.find_host(host).is_none() {
            return Err(self.not_there("port", host));
        }
        let mut ports = self.config.ports_of(host);
        match ports.find(|port| port.network.get_ref() == network) {
            None => {
                let what = format!("{host} is not in network {network}");
                Err(Rejection::not_found(what, "`tapway network inspect` shows who is"))
            }
            Some(port) if *port.name.get_ref() == port.host => {
                let what = format!("{host} is in no other network than {network}, or in it first");
                let remedy = format!("remove the port: `tapway port rm {host}`");
                Err(Rejection::conflict(what, remedy))
            }
            Some(_) => Err(self.not_made("connection", &format!("of {host} to {network}"), true)),
        }
    }

    /// A host publishes a port; what is published, with the external port if tapway chose it.
    ///
    /// # Errors
    /// If there is no such host, or the text is wrong.
    pub fn publish(&mut self, host: &str, text: &str) -> Result<String, Rejection> {
        let syntax = parse_publish(text)?;
        let is_known = self.made.port.contains_key(host) || self.find_host(host).is_some();
        if !is_known {
            return Err(self.not_there("port", host));
        }
        // A port that tapway chose stays: what comes later does not move it.
        let publish = self.settled(&syntax)?;
        self.made.publish.push(MadePublish { port: host.to_owned(), publish: publish.clone() });
        Ok(publish)
    }

    /// A host publishes a port no more. `text` is what was published, or the external port.
    ///
    /// # Errors
    /// If it was not, or by the file.
    pub fn unpublish(&mut self, host: &str, text: &str) -> Result<(), Rejection> {
        let wanted = parse_publish(text)?;
        let is_it = |syntax: &PublishSyntax| {
            let is_short = wanted.host.is_none() && wanted.address.is_none();
            let is_external = is_short && syntax.host == Some(wanted.container);
            *syntax == wanted || is_external && syntax.protocol == wanted.protocol
        };
        let before = self.made.publish.len();
        self.made.publish.retain(|made| {
            made.port != host || !made.publish.parse().is_ok_and(|syntax| is_it(&syntax))
        });
        if self.made.publish.len() < before {
            return Ok(());
        }
        let Some(port) = self.find_host(host) else { return Err(self.not_there("port", host)) };
        if port.publish.iter().any(|syntax| is_it(syntax.get_ref())) {
            return Err(self.not_made("published port", text, true));
        }
        let what = format!("{host} does not publish {text}");
        Err(Rejection::not_found(what, "`tapway show nat` lists what is published"))
    }

    /// Adds a route.
    ///
    /// # Errors
    /// If there is one already.
    pub fn add_route(&mut self, route: MadeRoute) -> Result<(), Rejection> {
        self.made.route.push(route);
        Ok(())
    }

    /// Removes a route that was made live.
    ///
    /// # Errors
    /// If it is the file's, or not there.
    pub fn remove_route(&mut self, to: Ipv4Net) -> Result<(), Rejection> {
        let before = self.made.route.len();
        self.made.route.retain(|route| route.to != to);
        if self.made.route.len() < before {
            return Ok(());
        }
        let is_file = self.config.routes.iter().any(|route| *route.to.get_ref() == to);
        Err(self.not_made("route", &to.to_string(), is_file))
    }

    fn find_host(&self, name: &str) -> Option<&Port> {
        let is_it = |port: &&Port| port.name.get_ref() == name && self.stays(port);
        self.config.ports.iter().find(is_it)
    }

    /// True if this edit has not removed the host of a port so far.
    pub fn stays(&self, port: &Port) -> bool {
        let is_live = self.config.is_live(&port.name.span());
        !is_live || self.made.port.contains_key(&port.host)
    }

    /// A published port with the external ports it gets beside what is published now.
    fn settled(&self, syntax: &PublishSyntax) -> Result<String, Rejection> {
        if syntax.host.is_some_and(|host| host.count() == syntax.container.count()) {
            return Ok(syntax.to_string());
        }
        let made = self.made.publish.iter().filter_map(|made| made.publish.parse().ok());
        match publishes::settle(self.config, made, syntax) {
            Some(external) => Ok(PublishSyntax { host: Some(external), ..*syntax }.to_string()),
            None => Err(Rejection::conflict(
                format!("no free external port is left for {syntax}"),
                "choose other ones, or `tapway unpublish` some",
            )),
        }
    }

    fn routes_into(&self, network: &str) -> Vec<Ipv4Net> {
        let router = self.config.network(network).and_then(|network| network.router.as_ref());
        let Some(router) = router else { return Vec::new() };
        let routes = self.made.route.iter();
        routes
            .filter(|route| router.subnet.get_ref().contains(&route.via))
            .map(|route| route.to)
            .collect()
    }

    /// Why something cannot be removed that was not made live.
    pub(super) fn not_made(&self, kind: &str, name: &str, is_file: bool) -> Rejection {
        if is_file {
            return Rejection::conflict(
                format!("{kind} {name} is in the configuration file, not made live"),
                "remove it there and run `tapway reload`",
            );
        }
        self.not_there(kind, name)
    }

    pub(super) fn not_there(&self, kind: &str, name: &str) -> Rejection {
        let names: Vec<&str> = match kind {
            "network" => self.config.networks.iter().map(|it| it.name.get_ref().as_str()).collect(),
            "port" => {
                let hosts =
                    self.config.ports.iter().filter(|port| *port.name.get_ref() == port.host);
                hosts.map(|port| port.host.as_str()).collect()
            }
            _ => Vec::new(),
        };
        let remedy = match names.as_slice() {
            [] => "`tapway diff` and `tapway show` tell what there is".to_owned(),
            names => format!("there are {}", cut(names)),
        };
        Rejection::not_found(format!("there is no {kind} {name}"), remedy)
    }
}

fn in_use(network: &str, members: &[&Port], routes: &[Ipv4Net]) -> Rejection {
    let mut by: Vec<String> = members.iter().map(|port| port.host.clone()).collect();
    by.extend(routes.iter().map(|route| format!("the route to {route}")));
    let by: Vec<&str> = by.iter().map(String::as_str).collect();
    let first = members.first().map(|port| match *port.name.get_ref() == port.host {
        true => format!("`tapway port rm {}`", port.host),
        false => format!("`tapway network disconnect {network} {}`", port.host),
    });
    let first = first.unwrap_or_else(|| "`tapway route del`".to_owned());
    Rejection::conflict(
        format!("network {network} is in use by {}", cut(&by)),
        format!("{first} first, or remove all with it: `tapway network rm --force {network}`"),
    )
}

fn cut(names: &[&str]) -> String {
    let shown = names.get(..SHOWN.min(names.len())).unwrap_or_default().join(", ");
    match names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{shown} and {more} more"),
        None => shown,
    }
}

fn parse_publish(text: &str) -> Result<PublishSyntax, Rejection> {
    text.parse().map_err(|error| {
        Rejection::wrong(
            format!("\"{text}\": {error}"),
            "examples: 8080:80, 192.168.33.10:53:53/udp",
        )
    })
}
