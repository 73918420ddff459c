//! The binary under test.

use std::{
    env,
    ffi::OsString,
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
    set_by_cargo().for_each(|name| _ = cargo.env_remove(name));
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

/// What cargo has set for this test program. Handed on to another cargo it would count as the user's, and whatever build
/// script looks at it would be run again, with all that is built on it; and once more by the next cargo that isn't started
/// from a test.
fn set_by_cargo() -> impl Iterator<Item = OsString> {
    const OURS: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_TARGET_TMPDIR"];
    let shim = file(".cargo/protoc/protoc");
    let is_ours = move |name: &OsString, value: &OsString| {
        OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours))
            || (name == "PROTOC" && Path::new(value) == shim)
    };
    env::vars_os().filter(move |(name, value)| is_ours(name, value)).map(|(name, _)| name)
}

/// Whether this test program lies in a release folder: `target/release/deps/NAME`.
fn is_release() -> bool {
    let program = env::current_exe().unwrap();
    program.ancestors().any(|folder| folder.file_name().is_some_and(|name| name == "release"))
}
