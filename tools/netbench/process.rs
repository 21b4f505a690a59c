//! Other programs: run to their end, or kept running until dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::clock::Deadline;
use crate::error::{BenchError, Context, Result};
use crate::netns::Netns;
use crate::system;

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of a log an error quotes, in lines.
const QUOTED_LINES: usize = 4;

/// Finds a program as a shell would, and where Debian keeps those of root.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(system);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// Runs a command that must succeed; gives its standard output.
///
/// # Errors
/// What it said.
pub fn run(command: &[&str]) -> Result<String> {
    run_with(Command::new(program_of(command)).args(arguments_of(command)))
}

/// The same, prepared by the caller.
///
/// # Errors
/// What it said.
pub fn run_with(command: &mut Command) -> Result<String> {
    let line = text_of(command);
    // A process group of its own: Ctrl-C is for the benchmark alone, which then cleans up.
    let output = command.stdin(Stdio::null()).process_group(0).output().context(line.as_str())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(BenchError::Command { command: line, said })
}

fn program_of(command: &[&str]) -> PathBuf {
    let program = command.first().copied().unwrap_or_default();
    find(program).unwrap_or_else(|| program.into())
}

fn arguments_of<'a>(command: &'a [&'a str]) -> &'a [&'a str] {
    command.get(1..).unwrap_or_default()
}

fn text_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A process that ends when this is dropped.
pub struct Process {
    child: Child,
    command: String,
    log: PathBuf,
}

impl Process {
    /// Starts a command in a namespace (none: where the benchmark is); what it says goes to
    /// `log`. Call it from a thread that outlives the process.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &[&str], netns: Option<&Netns>, log: &Path) -> Result<Self> {
        let mut prepared = Command::new(program_of(command));
        prepared.args(arguments_of(command));
        Self::start_with(prepared, netns, log)
    }

    /// The same, prepared by the caller.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_with(mut command: Command, netns: Option<&Netns>, log: &Path) -> Result<Self> {
        let line = text_of(&command);
        let file = File::create(log).context(log.display().to_string())?;
        let same = file.try_clone().context(log.display().to_string())?;
        let netns = netns.map(Netns::try_clone_file).transpose()?;
        system::bind_child(&mut command, netns, Signal::TERM);
        // Open and silent: some switches end when their standard input does.
        command.stdin(Stdio::piped()).stdout(same).stderr(file).process_group(0);
        let child = command.spawn().context(line.as_str())?;
        Ok(Self { child, command: line, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Complains if it has ended.
    ///
    /// # Errors
    /// The end of its log.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context(self.command.as_str())? {
            None => Ok(()),
            Some(status) => Err(BenchError::Command {
                command: self.command.clone(),
                said: format!("ended with {status}: {}", self.log_end()),
            }),
        }
    }

    /// The last lines of what it said.
    pub fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("; ")
    }

    fn stop(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the id is still this child's.
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let end = Deadline::after(PATIENCE);
        while self.child.try_wait()?.is_none() {
            if end.has_passed() {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("netbench: cannot end `{}` ({}): {error}", self.command, self.pid());
        }
    }
}
