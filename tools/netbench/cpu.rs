//! CPU time: of the whole machine, and of processes.

use std::fs;

use crate::error::{BenchError, Context, Result};
use crate::system;

/// CPU seconds since boot that the machine was not idle: user, nice, system, interrupts. The
/// senders, the receivers, the kernel's share and whatever else runs are all in it; time stolen by
/// a hypervisor is not.
///
/// # Errors
/// If `/proc/stat` cannot be read.
pub fn busy_s() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let unreadable = || BenchError::Peer("/proc/stat has no line `cpu`".to_owned());
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let ticks: Vec<u64> =
        line.ok_or_else(unreadable)?.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq; `guest` is part of user.
    let [user, nice, system, _, _, irq, softirq, ..] = ticks.as_slice() else {
        return Err(unreadable());
    };
    let busy = user + nice + system + irq + softirq;
    Ok(busy as f64 / system::ticks_per_second())
}

/// CPU seconds of all threads of these processes so far; one that has ended counts nothing.
pub fn processes_s(pids: &[u32]) -> f64 {
    let nanoseconds: u64 = pids.iter().map(|pid| process_ns(*pid)).sum();
    nanoseconds as f64 / 1e9
}

fn process_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(of_thread).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_and_own_time_grow() {
        let own = [std::process::id()];
        let (busy, before) = (busy_s().unwrap(), processes_s(&own));
        let end = crate::clock::Deadline::after(std::time::Duration::from_millis(50));
        while !end.has_passed() {}
        assert!(busy_s().unwrap() > busy);
        assert!(processes_s(&own) > before + 0.01);
    }
}
