//! The binary under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file of the workspace.
pub fn file(path: &str) -> PathBuf {
    workspace().join(path)
}

/// The `guilder` binary, built on first use.
pub fn guilder() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("GUILDER_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--package", "guilder", "--bin", "guilder"]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    if is_release() {
        cargo.arg("--release");
    }
    let output = cargo.output().unwrap_or_else(|cause| panic!("can't run {cargo:?}: {cause}"));
    assert!(output.status.success(), "{cargo:?} failed: {}", output.status);
    let lines = String::from_utf8(output.stdout).unwrap();
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable =
        messages.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?))).next_back();
    executable.unwrap_or_else(|| panic!("{cargo:?} named no executable"))
}

/// Whether this test program lies in a release folder: `target/release/deps/NAME`.
fn is_release() -> bool {
    let program = env::current_exe().unwrap();
    program.ancestors().any(|folder| folder.file_name().is_some_and(|name| name == "release"))
}
