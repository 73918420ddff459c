//! The work of the demo's editor: a digest whose parts it hires others for, as any program can while its node runs it for a task.

use std::{
    io::{self, Write as _},
    process::{Child, Command, Output, Stdio},
};

use super::demo::chain::{INDEX, SUMMARY};

/// The summary of `text` and its index; in place of a part that nobody delivered, that it is missing.
pub(super) fn digest(text: &str) -> io::Result<String> {
    // Both at once: neither needs the other.
    let (summary, index) = (hire(SUMMARY, text)?, hire(INDEX, text)?);
    let part = |name: &str, output: Output| {
        if output.status.success() {
            return format!("{name}\n{}\n", String::from_utf8_lossy(&output.stdout).trim_end());
        }
        // For whoever looks why: guilder task show has it.
        let _ = io::stderr().write_all(&output.stderr);
        format!("{name}\n(nobody delivered it)\n")
    };
    Ok(part("Summary", summary.wait_with_output()?) + "\n" + &part("Index", index.wait_with_output()?))
}

/// Begins to hire a service on `text`; the node's address and the task's key come in the environment.
fn hire(service: &str, text: &str) -> io::Result<Child> {
    let mut hiring = Command::new(std::env::current_exe()?)
        .args(["hire", service, "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = hiring.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    Ok(hiring)
}
