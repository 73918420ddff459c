//! Runs a simulation as the program does: in a process of its own. libp2p counts in process-wide counters, so that two in one
//! process would hear of each other.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    io::BufReader,
    path::Path,
    process::Command,
};

use guilder_sim::results::Results;

/// Plays a scenario, with more arguments of `run`, to its end or to where it breaks.
///
/// # Panics
/// If it can't be played.
pub(crate) fn run(scenario: &str, seed: u64, more: &[&str]) -> Results {
    let thread = std::thread::current();
    let test = thread.name().unwrap().replace("::", "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("scenario.toml");
    fs::write(&path, scenario).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_guilder-sim"))
        .arg("run")
        .arg(&path)
        .args(["--json", "--seed", &seed.to_string(), "--out"])
        .arg(&folder)
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let summary: Option<serde_json::Value> = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let summary = summary.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    let mut results = Results::read(BufReader::new(File::open(folder.join("results.jsonl")).unwrap())).unwrap();
    results.cut_short = summary["cut_short"] == true;
    results
}
