//! Runs in processes of their own: one simulation owns its process.

use std::{
    io,
    process::{Command, Output, Stdio},
};

use super::What;

/// The command that runs a scenario with a seed in another process.
pub(super) fn command(what: &What, seed: u64) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run").args(what.arguments()).arg(format!("--seed={seed}"));
    command.stdin(Stdio::null());
    Ok(command)
}

/// How a child ended.
pub(super) enum Ended {
    /// It ran to its end; this is its summary, with or without violations.
    Ran(serde_json::Value),
    /// It crashed; the last lines that it said.
    Crashed(String),
}

/// Reads what a child with `--json` said.
pub(super) fn ended(output: &Output) -> Ended {
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        Some(summary) if output.status.code().is_some_and(|code| code < 2) => Ended::Ran(summary),
        _ => Ended::Crashed(format!("{}\n{}", output.status, tail(&String::from_utf8_lossy(&output.stderr)))),
    }
}

/// The last lines of what a process said.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A number of a summary; 0 if it isn't there.
pub(super) fn number(summary: &serde_json::Value, pointer: &str) -> f64 {
    summary.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(0.0)
}

/// The rules that a run broke, in words.
pub(super) fn violations(summary: &serde_json::Value) -> Vec<String> {
    let broken = summary.get("violations").and_then(serde_json::Value::as_array);
    let say = |violation: &serde_json::Value| {
        let text = |field| violation.get(field).and_then(serde_json::Value::as_str).unwrap_or_default();
        format!("{} at {:.3} s: {}", text("rule"), number(violation, "/at_ms") / 1e3, text("what"))
    };
    broken.map(|broken| broken.iter().map(say).collect()).unwrap_or_default()
}

/// The rules that a run broke, by name.
pub(super) fn rules(summary: &serde_json::Value) -> Vec<String> {
    let broken = summary.get("violations").and_then(serde_json::Value::as_array);
    let name = |violation: &serde_json::Value| Some(violation.get("rule")?.as_str()?.to_owned());
    broken.map(|broken| broken.iter().filter_map(name).collect()).unwrap_or_default()
}
