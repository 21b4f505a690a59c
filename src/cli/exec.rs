//! `tapway exec`: a command as a host of the running switch.
//!
//! The process enters namespaces of its own, has the daemon attach it, and becomes the command:
//! process id, signals, terminal and exit status are the command's. The daemon follows the process
//! and takes everything back when it ends, however it ends.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::Args;
use hyper::Method;

use super::{Exit, Failure};
use crate::control::api::Client;
use crate::control::config::DEFAULT_NETWORK;
use crate::control::hosts::{HostAnswer, HostNetwork, HostRequest};
use crate::io::{Enclosure, EtcFile, HostFileNumbers, Process};
use crate::packet::MacAddr;

/// The host, and its command.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExecArgs {
    /// A network it joins; again for eth1, eth2 ... The first has the default route.
    #[arg(long, value_name = "NETWORK", default_value = DEFAULT_NETWORK)]
    pub network: Vec<String>,
    /// Its name and host name; without it one is made up.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Its address in the first network; without it a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// Its MAC in the first network; without it 02:42 and the address.
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<MacAddr>,
    /// Publish a port: `[ip:][hostport[-end]:]port[-end][/proto]`.
    #[arg(short, long, value_name = "PORTS")]
    pub publish: Vec<String>,
    /// A port it serves, told to hosts that link to it: port[-end][/proto].
    #[arg(long, value_name = "PORTS")]
    pub expose: Vec<String>,
    /// A host it is told of, by variables and in its hosts file: name[:alias].
    #[arg(long, value_name = "LINK")]
    pub link: Vec<String>,
    /// A further name in its networks.
    #[arg(long, visible_alias = "network-alias", value_name = "NAME")]
    pub alias: Vec<String>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

const EXAMPLES: &str = "Examples:
  tapway exec --name web --publish 8080:80 -- nginx -g 'daemon off;'
  tapway exec --link web -- sh -c 'curl http://web/; env | grep WEB_'
  tapway exec --network front --network back --ip 172.22.0.9 -- bash

The exit code is the command's; 126 and 127 if it cannot be run or is not there. What the command \
leaves behind when it ends goes on without a network.";

/// Becomes the command, attached to the switch that answers on `socket`; comes back only if that
/// fails.
pub fn exec(socket: &Path, args: &ExecArgs) -> Failure {
    attach(socket, args).map_or_else(|failure| failure, become_command)
}

/// Attaches this process.
fn attach(socket: &Path, args: &ExecArgs) -> Result<Command, Failure> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::new(Exit::Usage, "no command; give one after `--`"));
    };
    let client = Client::new(socket).map_err(|error| Failure::new(Exit::Failed, error))?;
    let daemon = Process::open(client.daemon()?)?;
    let enclosure = Enclosure::enter(&daemon)?;
    for file in enclosure.missing() {
        let _ = writeln!(io::stderr(), "tapway: this host has no /etc/{file}, nor has the command");
    }
    let request = request(args, &enclosure);
    let answer: HostAnswer = client.send(Method::POST, "/v1/hosts", &request)?;
    enclosure.set_hostname(&answer.name)?;
    let mut command = Command::new(program);
    command.args(arguments).env("HOSTNAME", &answer.name).envs(answer.environment);
    Ok(command)
}

fn request(args: &ExecArgs, enclosure: &Enclosure) -> HostRequest {
    let network = |(at, network): (usize, &String)| HostNetwork {
        network: network.clone(),
        address: args.ip.filter(|_| at == 0),
        aliases: args.alias.clone(),
        mac: args.mac_address.filter(|_| at == 0),
    };
    HostRequest {
        name: args.name.clone(),
        networks: args.network.iter().enumerate().map(network).collect(),
        publish: args.publish.clone(),
        expose: args.expose.clone(),
        links: args.link.clone(),
        pid: None,
        files: Some(HostFileNumbers {
            hosts: enclosure.descriptor(EtcFile::Hosts),
            resolv_conf: enclosure.descriptor(EtcFile::ResolvConf),
            hostname: enclosure.descriptor(EtcFile::Hostname),
        }),
    }
}

fn become_command(mut command: Command) -> Failure {
    let error = command.exec();
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::CommandNotFound,
        _ => Exit::CommandNotRun,
    };
    let program = command.get_program().to_string_lossy();
    Failure::new(exit, format!("{program}: {error}"))
}
