//! tapway itself, and variants of its configuration.
//!
//! A variant is a name and TOML: to measure another one, add it to [`VARIANTS`].

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Peer, TAPWAY};
use crate::error::{BenchError, Context, Result};
use crate::figure::Scenario;
use crate::netns::Netns;
use crate::process::{self, Process};
use crate::testbed::{
    EXTERNAL, GATEWAY, Host, INSIDE, MTU, OUTSIDE, PORTS, Route, Testbed, hosts_of,
};
use crate::underlay::{self, HOST_MTU, PORT, VNI, Vtep};

/// (suffix of the name, what it is, keys of every port and the uplink, further tables).
const VARIANTS: [(&str, &str, &str, &str); 4] = [
    ("", "as built and configured by default", "", ""),
    ("-plain", "`offload = false`: frames as on a wire", "offload = false", ""),
    ("-write", "`io = \"write\"`: no io_uring", "", "[dataplane]\nio = \"write\"\n"),
    ("-busy", "`mode = \"busy\"`: polls instead of waiting", "", "[dataplane]\nmode = \"busy\"\n"),
];

/// One configuration of tapway.
struct Tapway {
    name: String,
    about: &'static str,
    port_keys: &'static str,
    tables: &'static str,
    binary: Option<PathBuf>,
}

/// All variants, run by that binary.
pub fn variants(binary: Option<PathBuf>) -> impl Iterator<Item = Box<dyn Peer>> {
    VARIANTS.into_iter().map(move |(suffix, about, port_keys, tables)| {
        let (name, binary) = (format!("{TAPWAY}{suffix}"), binary.clone());
        Box::new(Tapway { name, about, port_keys, tables, binary }) as Box<dyn Peer>
    })
}

/// The binary to measure: the one given, or this source's, which is built first if the source is
/// still there; else the one beside this program.
///
/// # Errors
/// What cargo said, or where there is none.
pub fn find_binary(given: Option<&Path>, may_build: bool) -> Result<PathBuf> {
    let missing = |path: &Path, remedy: &str| BenchError::Missing {
        what: format!("there is no tapway at {}", path.display()),
        remedy: remedy.to_owned(),
    };
    if let Some(path) = given {
        let is_there = path.is_file().then(|| path.to_owned());
        return is_there.ok_or_else(|| missing(path, "give the path of a binary to --tapway"));
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let has_source = source.join("Cargo.toml").is_file() && process::find("cargo").is_some();
    if may_build && has_source {
        eprintln!("netbench: building tapway");
        let mut cargo = Command::new("cargo");
        let build = ["build", "--release", "--quiet", "--bin", "tapway"];
        process::run_with(cargo.args(build).current_dir(source))?;
    }
    let own = std::env::current_exe().context("this program's path")?;
    // target/release/examples/netbench -> target/release/tapway
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("tapway"));
    let built = source.join("target/release/tapway");
    let mut found = std::iter::once(built.clone()).chain(beside).filter(|path| path.is_file());
    found.next().ok_or_else(|| missing(&built, "`cargo build --release` makes it"))
}

impl Tapway {
    /// `hosts` are names of namespaces and addresses.
    fn configuration(&self, scenario: Scenario, hosts: &[(&str, Ipv4Addr)]) -> String {
        let keys = self.port_keys;
        let mut text =
            format!("[network.bench]\nsubnet = \"10.77.0.0/24\"\ngateway = \"{GATEWAY}\"\n");
        let mtu = if scenario == Scenario::Vxlan { HOST_MTU } else { MTU };
        let _ = writeln!(text, "mtu = {mtu}\n{}", self.tables);
        for (at, (netns, address)) in hosts.iter().enumerate() {
            if *address == OUTSIDE {
                let _ = writeln!(
                    text,
                    "[uplink]\nkind = \"tap\"\nnetns = \"{netns}\"\ncreate_netns = false\n\
                     address = \"{EXTERNAL}/24\"\ngateway = \"{OUTSIDE}\"\n{keys}"
                );
                continue;
            }
            let _ = writeln!(
                text,
                "[port.p{at}]\nnetwork = \"bench\"\nnetns = \"{netns}\"\ncreate_netns = false\n\
                 address = \"{address}\"\n{keys}"
            );
            if scenario == Scenario::Published {
                let (first, last) = (PORTS.start(), PORTS.end());
                let range = format!("{first}-{last}:{first}-{last}");
                let _ = writeln!(text, "publish = [\"{range}/tcp\", \"{range}/udp\"]");
            }
        }
        text
    }

    /// One machine's part of a network that stretches over both.
    fn stretched(&self, vtep: &Vtep<'_>) -> String {
        let host = (vtep.host.netns.name(), vtep.host.address);
        let text = self.configuration(Scenario::Vxlan, &[host]);
        let Vtep { local, remote, .. } = vtep;
        format!(
            "{text}[vxlan]\naddress = \"{local}\"\nport = {PORT}\n\
             [network.bench.vxlan]\nvni = {VNI}\npeers = [\"{remote}\"]\n"
        )
    }

    /// A tapway on each of two machines.
    fn start_machines(&self) -> Result<Testbed> {
        let mut testbed = underlay::create()?;
        let mut processes = Vec::new();
        for (at, vtep) in underlay::vteps(&testbed).enumerate() {
            let name = format!("tapway{at}");
            let configuration = self.stretched(&vtep);
            let start = (Some(vtep.netns), testbed.path(), name.as_str());
            processes.push(self.launch(start, &configuration)?);
        }
        testbed.processes = processes;
        Ok(testbed)
    }

    /// Starts it in a namespace (none: where the benchmark is), its files in a folder under a name.
    fn launch(
        &self,
        (netns, folder, name): (Option<&Netns>, &Path, &str),
        configuration: &str,
    ) -> Result<Process> {
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, configuration).context(file.display().to_string())?;
        let mut command = Command::new(self.binary()?);
        command.arg("--socket").arg(folder.join(format!("{name}.sock")));
        command.args(["run", "-c"]).arg(&file);
        Process::start_with(command, netns, &folder.join(format!("{name}.log")))
    }

    fn binary(&self) -> Result<&Path> {
        self.binary.as_deref().ok_or_else(|| BenchError::Missing {
            what: "there is no tapway binary".to_owned(),
            remedy: "`cargo build --release` makes it".to_owned(),
        })
    }
}

impl Peer for Tapway {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> String {
        format!("this switch, {}", self.about)
    }

    fn version(&self) -> std::result::Result<String, String> {
        let explain = |error: BenchError| error.to_string();
        let binary = self.binary().map_err(explain)?;
        let folder = Testbed::folder().map_err(explain)?;
        let file = folder.path().join("check.toml");
        // Does this build know the variant's keys?
        let text = self.configuration(Scenario::Nat, &[("inside", INSIDE), ("outside", OUTSIDE)]);
        std::fs::write(&file, text).context(file.display().to_string()).map_err(explain)?;
        let checked = process::run_with(Command::new(binary).args(["check", "-c"]).arg(&file));
        if let Err(error) = checked {
            // The remedy is not in the file, which is gone in a moment.
            let said = error.to_string();
            let said = said.rsplit("wrong; ").next().unwrap_or_default();
            let said = said.replace(&*file.to_string_lossy(), "line");
            return Err(format!("this tapway does not take its configuration: {said}"));
        }
        let version = process::run_with(Command::new(binary).arg("--version")).map_err(explain)?;
        Ok(version.trim().to_owned())
    }

    fn refuses(&self, _: Scenario) -> Option<&'static str> {
        None
    }

    fn is_default(&self) -> bool {
        self.name == TAPWAY
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        let hosts = match scenario {
            Scenario::L2 | Scenario::Fairness => Host::create_many(hosts_of(scenario))?,
            Scenario::Nat | Scenario::Published => {
                vec![Host::create("in", INSIDE)?, Host::create("out", OUTSIDE)?]
            }
            Scenario::Vxlan => return self.start_machines(),
        };
        let named: Vec<_> = hosts.iter().map(|host| (host.netns.name(), host.address)).collect();
        let configuration = self.configuration(scenario, &named);
        let route = match scenario {
            Scenario::Nat | Scenario::Published => {
                Route::translated(scenario, &hosts[0], &hosts[1])
            }
            _ => Route::direct(&hosts[0], &hosts[1]),
        };
        let mut testbed = Testbed::between(hosts, Testbed::folder()?);
        testbed.route = route;
        let process = self.launch((None, testbed.path(), "tapway"), &configuration)?;
        testbed.processes.push(process);
        Ok(testbed)
    }
}
