//! Who lost which frames, why, and what to do.

use std::fmt::Write as _;

use super::width;
use crate::engine::DropRow;

/// A line per port and reason, and under it when it happens and its remedy.
pub fn drops(rows: &[DropRow]) -> String {
    if rows.is_empty() {
        return "no frame was dropped\n".to_owned();
    }
    let port = rows.iter().map(|row| row.port.len()).max().unwrap_or(0).max(4);
    let reason = rows.iter().map(|row| row.reason.len()).max().unwrap_or(0).max(6);
    let frames = rows.iter().map(|row| width(row.frames)).max().unwrap_or(0).max(6);
    let mut text = String::new();
    let _ = writeln!(text, "{:<port$}  {:<reason$}  {:>frames$}", "PORT", "REASON", "FRAMES");
    for row in rows {
        let _ =
            writeln!(text, "{:<port$}  {:<reason$}  {:>frames$}", row.port, row.reason, row.frames);
        let _ = writeln!(text, "    when:   {}", row.when);
        let _ = writeln!(text, "    remedy: {}", row.remedy);
    }
    text
}
