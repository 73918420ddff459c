//! The `guilder` binary: everything it does is in the library, so that tests and the simulator can reach it.

fn main() -> std::process::ExitCode {
    guilder::cli::main()
}
