//! Who has a UDP port.

use std::fs;
use std::path::Path;

/// Sockets of the calling thread's namespace.
const SOCKETS: &str = "/proc/thread-self/net/udp";

/// For messages: who has a UDP port in the calling thread's namespace, as far as can be seen.
pub(super) fn of(port: u16) -> String {
    let inodes: Vec<u64> =
        fs::read_to_string(SOCKETS).map(|table| inodes_at(&table, port)).unwrap_or_default();
    let found = processes().find(|(_, path)| inodes.iter().any(|inode| has_socket(path, *inode)));
    match found {
        Some((pid, path)) => {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim_end())
        }
        // The kernel's sockets are no process's.
        None => "an interface that `ip -d link show type vxlan` shows, or a program elsewhere"
            .to_owned(),
    }
}

/// The inodes of the sockets that are bound to a port, out of the kernel's table.
fn inodes_at(table: &str, port: u16) -> Vec<u64> {
    let inode_of = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let (_, own) = local.split_once(':')?;
        let inode = fields.nth(7)?.parse().ok()?;
        (u16::from_str_radix(own, 16) == Ok(port)).then_some(inode)
    };
    table.lines().skip(1).filter_map(inode_of).collect()
}

fn processes() -> impl Iterator<Item = (u32, std::path::PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn has_socket(process: &Path, inode: u64) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    let target = format!("socket:[{inode}]");
    files.flatten().any(|file| {
        fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == target.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_socket_is_found_by_its_port() {
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let own = format!("process {} (", std::process::id());
        assert!(of(port).starts_with(&own), "{}", of(port));
    }

    #[test]
    fn sockets_of_a_port_are_read_out_of_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                     uid  timeout inode ref pointer drops\n  \
                     118: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     \
                     0        0 77 2 0000000000000000 0\n";
        assert_eq!((inodes_at(table, 4789), inodes_at(table, 4790)), (vec![77], vec![]));
    }
}
