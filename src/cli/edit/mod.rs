//! What changes a running switch: networks, ports, published ports, routes; and what compares it
//! with its configuration.

mod args;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Exit, Failure, Output};
use crate::control::api::{ChangedView, Client, Method, escape};
use crate::control::live::{ChangeRow, NetworkView};

pub use args::{
    AddArgs, CreateArgs, EndpointCommand, NetworkCommand, PeerArgs, PeerCommand, PortCommand,
    PublishArgs, RouteCommand,
};

/// Asks the switch on one socket for changes, and prints what changed.
pub struct Editor<'a> {
    client: Client,
    output: &'a mut Output,
}

impl<'a> Editor<'a> {
    /// An editor of the switch that answers on `socket`.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn new(socket: &Path, output: &'a mut Output) -> Result<Self, Failure> {
        let client = Client::new(socket).map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Self { client, output })
    }

    /// `tapway network`.
    ///
    /// # Errors
    /// As all here: if nobody answers, it refuses, or stdout does not take the answer.
    pub fn network(mut self, command: NetworkCommand) -> Result<(), Failure> {
        match command {
            NetworkCommand::Create(args) => {
                let body = network_body(args)?;
                self.change(Method::POST, "/v1/networks", Some(body))
            }
            NetworkCommand::Rm { force, names } => names.iter().try_for_each(|name| {
                let path = format!("/v1/networks/{}?force={force}", escape(name));
                self.change(Method::DELETE, &path, None)
            }),
            NetworkCommand::Ls { quiet } => self.list(quiet),
            NetworkCommand::Inspect { names } => {
                let views = names.iter().map(|name| {
                    self.client.get::<NetworkView>(&format!("/v1/networks/{}", escape(name)))
                });
                let views: Vec<NetworkView> = views.collect::<Result<_, _>>()?;
                let text = serde_json::to_string_pretty(&views);
                let text = text.map_err(|error| Failure::new(Exit::Failed, error))?;
                self.output.line(text)
            }
            NetworkCommand::Connect { ip, mac_address, interface, alias, network, port } => {
                let path = format!("/v1/networks/{}/connect", escape(&network));
                let mut body = json!({
                    "port": port, "address": ip, "mac": mac_address, "interface": interface,
                });
                if !alias.is_empty() {
                    body["aliases"] = json!(alias);
                }
                self.change(Method::POST, &path, Some(body))
            }
            NetworkCommand::Peer(command) => self.peer(command),
            NetworkCommand::Endpoint(command) => self.endpoint(command),
            NetworkCommand::Disconnect { network, port } => {
                let path = format!("/v1/networks/{}/disconnect", escape(&network));
                self.change(Method::POST, &path, Some(json!({ "port": port })))
            }
        }
    }

    fn peer(&mut self, command: PeerCommand) -> Result<(), Failure> {
        let (method, PeerArgs { network, addresses }) = match command {
            PeerCommand::Add(args) => (Method::PUT, args),
            PeerCommand::Rm(args) => (Method::DELETE, args),
        };
        addresses.iter().try_for_each(|address| {
            let address = escape(&address.to_string());
            let path = format!("/v1/networks/{}/peers/{address}", escape(&network));
            self.change(method.clone(), &path, None)
        })
    }

    fn endpoint(&mut self, command: EndpointCommand) -> Result<(), Failure> {
        match command {
            EndpointCommand::Add { network, name, address, mac, peer } => {
                let path = format!("/v1/networks/{}/endpoints/{address}", escape(&network));
                let body = json!({ "name": name, "mac": mac, "peer": peer });
                self.change(Method::PUT, &path, Some(body))
            }
            EndpointCommand::Rm { network, addresses } => {
                addresses.iter().try_for_each(|address| {
                    let path = format!("/v1/networks/{}/endpoints/{address}", escape(&network));
                    self.change(Method::DELETE, &path, None)
                })
            }
        }
    }

    /// `tapway port`.
    ///
    /// # Errors
    /// See [`Editor::network`].
    pub fn port(mut self, command: PortCommand) -> Result<(), Failure> {
        match command {
            PortCommand::Add(args) => {
                let body = port_body(args)?;
                self.change(Method::POST, "/v1/ports", Some(body))
            }
            PortCommand::Rm { names } => names.iter().try_for_each(|name| {
                self.change(Method::DELETE, &format!("/v1/ports/{}", escape(name)), None)
            }),
        }
    }

    /// `tapway publish` and, if it is the `act`, `unpublish`.
    ///
    /// # Errors
    /// See [`Editor::network`].
    pub fn publish(mut self, act: &str, args: &PublishArgs) -> Result<(), Failure> {
        let path = format!("/v1/ports/{}/{act}", escape(&args.port));
        self.change(Method::POST, &path, Some(json!({ "publish": args.publish })))
    }

    /// `tapway route`.
    ///
    /// # Errors
    /// See [`Editor::network`].
    pub fn route(mut self, command: RouteCommand) -> Result<(), Failure> {
        match command {
            RouteCommand::Add { to, router, .. } => {
                let body = json!({ "to": to, "via": router });
                self.change(Method::POST, "/v1/routes", Some(body))
            }
            RouteCommand::Del { to } => {
                let path = format!("/v1/routes?to={}", escape(&to.to_string()));
                self.change(Method::DELETE, &path, None)
            }
        }
    }

    /// `tapway reload`.
    ///
    /// # Errors
    /// See [`Editor::network`].
    pub fn reload(mut self) -> Result<(), Failure> {
        let changed: ChangedView = self.client.send(Method::POST, "/v1/reload", &json!({}))?;
        if changed.changes.is_empty() {
            return self.output.line("nothing has changed");
        }
        self.print(&changed.changes)
    }

    /// `tapway diff`.
    ///
    /// # Errors
    /// See [`Editor::network`].
    pub fn diff(mut self) -> Result<(), Failure> {
        let rows: Vec<ChangeRow> = self.client.get("/v1/diff")?;
        self.print(&rows)
    }

    /// `tapway export`.
    ///
    /// # Errors
    /// See [`Editor::network`].
    pub fn export(self) -> Result<(), Failure> {
        let text = self.client.get_text("/v1/export")?;
        self.output.text(&text)
    }

    fn list(&mut self, is_quiet: bool) -> Result<(), Failure> {
        let networks: Vec<NetworkView> = self.client.get("/v1/networks")?;
        if is_quiet {
            return networks.iter().try_for_each(|network| self.output.line(&network.name));
        }
        let head = ["NAME", "SUBNET", "GATEWAY", "HOSTS", "INTERNAL", "FROM"].map(str::to_owned);
        let rows = networks.iter().map(|network| {
            let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            [
                network.name.clone(),
                shown(network.subnet.map(|subnet| subnet.to_string())),
                shown(network.gateway.map(|gateway| gateway.to_string())),
                network.hosts.len().to_string(),
                if network.internal { "yes" } else { "no" }.to_owned(),
                if network.live { "live" } else { "file" }.to_owned(),
            ]
        });
        let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..6).map(width).collect();
        rows.iter().try_for_each(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line: Vec<String> = cells.collect();
            self.output.line(line.join("  ").trim_end())
        })
    }

    fn change(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<(), Failure> {
        let body = body.unwrap_or_else(|| json!({}));
        let changed: ChangedView = self.client.send(method, path, &body)?;
        self.print(&changed.changes)
    }

    fn print(&mut self, rows: &[ChangeRow]) -> Result<(), Failure> {
        rows.iter().try_for_each(|row| self.output.line(row))
    }
}

fn network_body(args: CreateArgs) -> Result<Value, Failure> {
    let mut body = json!({
        "name": args.name, "subnet": args.subnet, "gateway": args.gateway, "range": args.ip_range,
        "icc": args.icc, "mtu": args.mtu, "nat": args.nat,
    });
    if args.internal {
        body["internal"] = json!(true);
    }
    match (args.vxlan, args.peer.as_slice()) {
        (None, _) => {}
        (Some(vni), []) => body["vxlan"] = json!(vni),
        (Some(vni), peers) => body["vxlan"] = json!({ "vni": vni, "peers": peers }),
    }
    if !args.exclude.is_empty() {
        body["exclude"] = json!(args.exclude);
    }
    with_options(body, &args.opt)
}

fn port_body(args: AddArgs) -> Result<Value, Failure> {
    let mut body = json!({
        "name": args.name, "network": args.network, "netns": args.netns, "address": args.ip,
        "mac": args.mac_address, "interface": args.interface,
    });
    if !args.publish.is_empty() {
        body["publish"] = json!(args.publish);
    }
    if !args.alias.is_empty() {
        body["aliases"] = json!(args.alias);
    }
    with_options(body, &args.opt)
}

/// Adds `KEY=VALUE`s: a value is TOML, or else a text.
fn with_options(body: Value, options: &[String]) -> Result<Value, Failure> {
    let Value::Object(mut body) = body else { return Ok(body) };
    for option in options {
        let Some((key, text)) = option.split_once('=') else {
            let what = format!("--opt {option}: no value; write KEY=VALUE");
            return Err(Failure::new(Exit::Usage, what));
        };
        let line = format!("value = {text}");
        let value = toml::from_str::<Map<String, Value>>(&line).ok();
        let value = value.and_then(|mut table| table.remove("value"));
        body.insert(key.trim().to_owned(), value.unwrap_or_else(|| Value::from(text)));
    }
    Ok(Value::Object(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_values_of_the_configuration_or_texts() {
        let options = ["mtu=1400", "icc=false", "exclude=[\"10.0.0.9\"]", "nat=none", "x=a=b"];
        let options: Vec<String> = options.into_iter().map(str::to_owned).collect();
        let body = with_options(json!({ "name": "n" }), &options).unwrap();
        let expected = json!({
            "name": "n", "mtu": 1400, "icc": false, "exclude": ["10.0.0.9"], "nat": "none",
            "x": "a=b",
        });
        assert_eq!(body, expected);
        let error = with_options(json!({}), &["icc".to_owned()]).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
    }
}
