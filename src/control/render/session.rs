//! `conntrack -L`.

use std::fmt::Write as _;

use super::protocol_name;
use crate::engine::SessionRow;
use crate::nat::Endpoint;
use crate::packet::{PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

/// Types of ICMP echo request and reply.
const ECHO: (u8, u8) = (8, 0);

/// As `conntrack -L`: the packet that made the session, then the reply as it comes in.
pub fn sessions(rows: &[SessionRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let SessionRow { protocol, expires_s, state, .. } = row;
        let name = protocol_name(*protocol).unwrap_or("unknown");
        let _ = write!(text, "{name:<8} {protocol} {expires_s}");
        if !state.is_empty() {
            let _ = write!(text, " {state}");
        }
        tuple(&mut text, *protocol, (row.src, row.dst), (ECHO.0, row.src.port));
        if !row.is_answered {
            text.push_str(" [UNREPLIED]");
        }
        tuple(&mut text, *protocol, (row.reply_src, row.reply_dst), (ECHO.1, row.reply_dst.port));
        if is_assured(row) {
            text.push_str(" [ASSURED]");
        }
        text.push('\n');
    }
    text
}

fn tuple(text: &mut String, protocol: u8, ends: (Endpoint, Endpoint), echo: (u8, u16)) {
    let (src, dst) = ends;
    let _ = write!(text, " src={} dst={}", src.ip, dst.ip);
    let _ = match protocol {
        PROTOCOL_TCP | PROTOCOL_UDP => write!(text, " sport={} dport={}", src.port, dst.port),
        PROTOCOL_ICMP => write!(text, " type={} code=0 id={}", echo.0, echo.1),
        _ => Ok(()),
    };
}

/// Traffic went both ways and, for TCP, the handshake is done.
fn is_assured(row: &SessionRow) -> bool {
    match row.protocol {
        PROTOCOL_ICMP => false,
        PROTOCOL_TCP => row.is_answered && !row.state.starts_with("SYN"),
        _ => row.is_answered,
    }
}
