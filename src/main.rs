//! The `tapway` command.

fn main() -> std::process::ExitCode {
    tapway::cli::main(std::env::args_os())
}
