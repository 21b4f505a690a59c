//! Tests that need a tool or a privilege.

/// Says why a test does not run here; in CI (`TAPWAY_CI`) that is a failure.
pub fn skip(why: impl std::fmt::Display) {
    assert!(std::env::var_os("TAPWAY_CI").is_none(), "skipped in CI: {why}");
    eprintln!("skipped: {why}");
}
