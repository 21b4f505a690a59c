//! What the figures were taken on.

use std::fs;

use serde::Serialize;

/// The machine at the start of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// Cores that the benchmark may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

impl Machine {
    /// Reads it; what cannot be read is left empty.
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: value(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_kib(&read("/proc/meminfo")) / 1024,
            load: loads(&read("/proc/loadavg")),
        }
    }

    /// Why figures from this machine may be worth less than they look.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.load[0] > 0.5 {
            warnings.push(format!(
                "the load average is {:.2}: something else runs, and figures will be low and \
                 scattered; stop it, or wait",
                self.load[0]
            ));
        }
        if self.cores < 4 {
            warnings.push(format!(
                "{} cores: senders, switch and receivers share them, so a figure says what all of \
                 them reach together, not the switch alone; compare ratios only",
                self.cores
            ));
        }
        warnings
    }

    /// One line for reports.
    pub fn describe(&self) -> String {
        let Self { kernel, cpu, cores, .. } = self;
        let [load, ..] = self.load;
        format!("{cores} cores {cpu}, Linux {kernel}, load average {load:.2} at the start")
    }
}

fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_kib(text: &str) -> u64 {
    let total = value(text, "MemTotal").unwrap_or_default();
    total.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn loads(text: &str) -> [f64; 3] {
    let mut words = text.split(' ').map(|word| word.parse().unwrap_or(0.0));
    std::array::from_fn(|_| words.next().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_a_kernel() {
        let machine = Machine::read();
        assert!(machine.cores > 0 && machine.memory_mib > 0 && !machine.kernel.is_empty());
    }

    #[test]
    fn a_loaded_machine_is_warned_about() {
        let machine = Machine { load: loads("3.10 1.00 0.50 1/80 7"), cores: 8, ..Machine::read() };
        assert_eq!(machine.warnings().len(), 1);
    }
}
