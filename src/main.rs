//! The `tapway` command.

fn main() {}
