//! The command line: what can be asked for, who answers, and the exit code.
//!
//! Results go to stdout through one writer, everything else to stderr.

mod capture;
mod check;
pub mod demo;
mod documents;
mod edit;
mod exec;
mod exit;
mod greeting;
mod instance_lock;
mod log;
mod ordinary_user;
mod output;
mod run;
mod show;
mod socket_place;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::io::LinuxBroker;

use demo::DemoOptions;
use edit::Editor;
pub use edit::{NetworkCommand, PortCommand, PublishArgs, RouteCommand};
pub use exit::{Exit, Failure};
pub use output::Output;

pub use crate::control::config::DEFAULT_SOCKET;
use crate::control::config::Origin;

/// A userspace virtual switch: bridge, neighbour table, router and NAPT in one process.
#[derive(Debug, Parser)]
#[command(name = "tapway", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The API's socket [default: /run/tapway.sock, an ordinary user's tapway.sock in
    /// $XDG_RUNTIME_DIR, or what a configuration says].
    #[arg(long, global = true, value_name = "PATH", env = "TAPWAY_SOCKET")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 no daemon running, \
5 conflict, 77 no permission, 78 bad configuration. `exec` ends as its command does.";

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the switch until SIGTERM or SIGINT.
    Run(ConfigArgs),
    /// Check a configuration; list everything that is wrong with it.
    Check(ConfigArgs),
    /// Build the tutorial's network, walk through it and check each step.
    Demo(DemoArgs),
    /// Run a command as a host of the running switch: a network namespace of its own, with an
    /// address, names and published ports, gone when the command ends.
    Exec(exec::ExecArgs),
    /// List the hosts that run as commands, as `tapway show hosts`.
    Ps(PsArgs),
    /// Show a table of the running switch.
    Show(ShowArgs),
    /// Write the frames of the running switch to a pcapng file or to stdout.
    Capture(CaptureArgs),
    /// Make, remove and show networks of the running switch; connect hosts to them.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Attach hosts to the running switch, and remove them.
    #[command(subcommand)]
    Port(PortCommand),
    /// Publish ports of a host of the running switch.
    #[command(
        after_help = "Examples:\n  tapway publish web 8080:80\n  tapway publish dns 53:53/udp"
    )]
    Publish(PublishArgs),
    /// Take published ports back that were made live.
    #[command(after_help = "Example:\n  tapway unpublish web 8080")]
    Unpublish(PublishArgs),
    /// Add and remove routes of the running switch.
    #[command(subcommand)]
    Route(RouteCommand),
    /// Read the configuration anew: all of it holds, or nothing changes. SIGHUP does the same.
    Reload,
    /// Show what runs and is not in the configuration file (+), and what is in it only (-).
    Diff,
    /// Print what runs as a configuration.
    #[command(
        after_help = "Example:\n  tapway export > tapway.toml && tapway check -c tapway.toml"
    )]
    Export,
    /// Print a shell's completions for tapway.
    #[command(after_help = "Example:\n  tapway completions bash > /etc/bash_completion.d/tapway")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write man pages of tapway and its commands.
    #[command(after_help = "Example:\n  tapway man /usr/local/share/man/man1")]
    Man {
        /// The directory, made if missing.
        directory: PathBuf,
    },
}

/// Which configuration.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// The configuration; without it: network `bridge` 172.17.0.0/16 and a TAP uplink.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Without a file, leave by this host's own address on DEVICE, as Docker does: published ports
    /// answer on it, and this host reaches its hosts.
    #[arg(long, value_name = "DEVICE", conflicts_with = "config")]
    pub shared: Option<String>,
}

impl From<ConfigArgs> for Origin {
    fn from(args: ConfigArgs) -> Self {
        match args {
            ConfigArgs { config: Some(path), .. } => Self::File(path),
            ConfigArgs { shared: Some(device), .. } => Self::Shared { device },
            ConfigArgs { config: None, shared: None } => Self::Embedded,
        }
    }
}

/// How the demo runs.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Simulated hosts in memory, even where namespaces and TAPs are allowed.
    #[arg(long)]
    pub simulated: bool,
    /// Leave it running, with its API, and say how to enter a host.
    #[arg(long, conflicts_with = "simulated")]
    pub keep: bool,
    /// Print tapway's part as a configuration for `tapway run -c`, and do nothing else.
    #[arg(long)]
    pub print_config: bool,
}

/// Which table, and how.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The table.
    #[command(subcommand)]
    pub table: Table,
    /// Print JSON.
    #[arg(short, long, global = true)]
    pub json: bool,
}

/// A table of the running switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Table {
    /// Ports, their devices and counters, as `ip -s link`.
    Link,
    /// MAC addresses and their ports, as `bridge fdb`.
    Fdb,
    /// Neighbours and their states, as `ip neigh`.
    Neigh,
    /// Routes, as `ip route`.
    Route,
    /// Translation rules, as `iptables -t nat -L -n`.
    Nat,
    /// Translated connections, as `conntrack -L`.
    Sessions {
        /// Connections shown at most.
        #[arg(long, value_name = "COUNT", default_value_t = 4096)]
        limit: usize,
    },
    /// Hosts that run as commands (`tapway exec`), as `docker ps`.
    Hosts,
    /// Names of hosts, as `/etc/hosts`, and what the resolver counted.
    Names,
    /// Frames that were not passed on: where, why, and what to do.
    Drops,
    /// Addresses that hosts have leased by DHCP.
    Leases,
    /// Networks over several hosts: number, own address, peers and counters.
    Vxlan,
    /// The other tunnel endpoints of those networks, and what passes to and from each.
    Peers,
    /// Counters of the whole switch.
    Stats,
}

/// How hosts are listed.
#[derive(Args, Clone, Copy, Debug)]
pub struct PsArgs {
    /// Print JSON.
    #[arg(short, long)]
    pub json: bool,
}

/// What to capture, and where to.
#[derive(Args, Clone, Debug)]
pub struct CaptureArgs {
    /// The file; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub write: PathBuf,
    /// One port's frames only.
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
}

/// Runs the command line and gives the exit code; what went wrong is on stderr.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are answers, not errors. Nobody may be listening.
            let _ = answer.print();
            return if answer.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let mut output = Output::stdout();
    let result = dispatch(cli, &mut output).and_then(|code| output.finish().map(|()| code));
    match result {
        Ok(code) => code,
        // A reader that has seen enough, as `head`.
        Err(failure) if failure.is_broken_pipe() => Exit::Ok.into(),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "tapway: {failure}");
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli, output: &mut Output) -> Result<ExitCode, Failure> {
    let socket = cli.socket.as_deref();
    let client_socket = socket.map_or_else(socket_place::for_client, Path::to_owned);
    let client_socket = client_socket.as_path();
    match cli.command {
        Command::Exec(args) => return Err(exec::exec(client_socket, &args)),
        Command::Ps(PsArgs { json }) => {
            show::show(client_socket, &ShowArgs { table: Table::Hosts, json }, output)?;
        }
        Command::Show(args) => show::show(client_socket, &args, output)?,
        Command::Capture(args) => capture::capture(client_socket, &args, output)?,
        Command::Network(command) => Editor::new(client_socket, output)?.network(command)?,
        Command::Port(command) => Editor::new(client_socket, output)?.port(command)?,
        Command::Publish(args) => Editor::new(client_socket, output)?.publish("publish", &args)?,
        Command::Unpublish(args) => {
            Editor::new(client_socket, output)?.publish("unpublish", &args)?;
        }
        Command::Route(command) => Editor::new(client_socket, output)?.route(command)?,
        Command::Reload => Editor::new(client_socket, output)?.reload()?,
        Command::Diff => Editor::new(client_socket, output)?.diff()?,
        Command::Export => Editor::new(client_socket, output)?.export()?,
        Command::Completions { shell } => documents::completions(shell, output)?,
        Command::Man { directory } => documents::man(&directory, output)?,
        Command::Run(args) => {
            let broker = Box::new(LinuxBroker::new());
            run::run(args.into(), socket, broker, output)?;
        }
        Command::Check(args) => check::check(&args.into(), output)?,
        Command::Demo(args) => {
            return Ok(demo::demo(&DemoOptions { socket: cli.socket, ..args.into() }));
        }
    }
    Ok(Exit::Ok.into())
}
