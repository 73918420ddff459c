//! The `guilder` binary: everything it does is in the library, so that tests and the simulator can reach it.

fn main() -> std::process::ExitCode {
    guilder::executor::process::guard::run_if_asked().unwrap_or_else(guilder::cli::main)
}
