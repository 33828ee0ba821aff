//! The `candor` command line; everything is in the library's `command` module.

fn main() -> std::process::ExitCode {
    candor_client::command::run(std::env::args_os())
}
