//! DHCP leases, in the shape of `ip neigh`.

use std::fmt::Write as _;

use crate::control::dhcp::{LeaseRow, LeaseState};

/// One line for each lease.
pub fn leases(rows: &[LeaseRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let LeaseRow { network, address, mac, host_name, port, state, .. } = row;
        let _ = write!(text, "{address} dev {network} port {port} lladdr {mac}");
        if let Some(name) = host_name {
            let _ = write!(text, " name {name}");
        }
        let kind = match (state, row.is_reserved) {
            (LeaseState::Offered, _) => "OFFERED",
            (LeaseState::Bound, true) => "BOUND static",
            (LeaseState::Bound, false) => "BOUND",
            (LeaseState::Declined, _) => "DECLINED",
        };
        let _ = writeln!(text, " expires {}s {kind}", row.remaining_s);
    }
    text
}
