//! `guilder doctor`

mod machine;
mod running;

use std::fmt;

use serde::Serialize;

use super::{Context, wait_for};
use crate::{
    config::Config,
    console::{CliError, Exit, Show, harmless::one_line},
    keys::Home,
};

/// Examine the machine, the home and the node, and say what is wrong and what to do.
///
/// Looks at the home folder and its permissions, the settings, the disk, the limit of descriptors and the ports; and where the node runs, at
/// its clock, its mints, its bootstrap peers and how others reach it. Each line is ok, warn or fail, with what to do. It changes nothing.
/// The exit code is that of the worst: 0 ok, 1 warn, 6 fail.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What.
    what: &'static str,
    /// How it was found.
    state: State,
    /// In words.
    said: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, state: State::Ok, said: said.into(), todo: None }
    }

    fn warn(what: &'static str, said: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what, state: State::Warn, said: said.into(), todo: Some(todo.into()) }
    }

    fn fail(what: &'static str, said: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what, state: State::Fail, said: said.into(), todo: Some(todo.into()) }
    }
}

/// All that was looked at.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Report(Vec<Finding>);

pub(super) fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let home = context.home()?;
        let report = Report(examine(&home, context).await);
        context.printer.show(&report)?;
        Ok(report.exit())
    })
}

async fn examine(home: &Home, context: &Context) -> Vec<Finding> {
    let mut found = machine::home(home);
    found.push(machine::disk(home));
    found.push(machine::descriptors());
    let config = match Config::load(home.config()) {
        Ok(config) => {
            found.push(Finding::ok("settings", format!("{} can be read", home.config().display())));
            config
        }
        Err(error) => {
            found.push(Finding::fail(
                "settings",
                error.to_string(),
                "mend it: `guilder init --print-config` prints every setting",
            ));
            return found;
        }
    };
    match context.client() {
        Ok(client) => match client.get("/v1/status").await {
            Ok(status) => found.extend(running::examine(&client, &config, &status, &context.printer).await),
            Err(error) => {
                let todo = "look at its log; if it hangs, end it and start it again: nothing is lost by that";
                found.push(Finding::fail("node", format!("it doesn't answer: {error}"), todo));
            }
        },
        Err(error) => {
            found.push(not_running(home, &error.told.message));
            found.extend(machine::ports(&config));
        }
    }
    found
}

fn not_running(home: &Home, why: &str) -> Finding {
    let left = "so mints, peers, clock and reach aren't looked at";
    match home.check() {
        Ok(()) => Finding::warn("node", format!("{why}, {left}"), "start it: `guilder up`"),
        Err(error) => {
            Finding::fail("node", error.to_string(), "make one: `guilder init`, or `guilder up --join INVITATION`")
        }
    }
}

impl Report {
    fn exit(&self) -> Exit {
        match self.0.iter().map(|finding| finding.state).max() {
            None | Some(State::Ok) => Exit::Done,
            Some(State::Warn) => Exit::No,
            Some(State::Fail) => Exit::Environment,
        }
    }
}

impl Show for Report {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let width = self.0.iter().map(|finding| finding.what.len()).max().unwrap_or_default();
        for Finding { what, state, said, todo } in &self.0 {
            let state = match state {
                State::Ok => "ok  ",
                State::Warn => "warn",
                State::Fail => "FAIL",
            };
            writeln!(out, "{state}  {what:width$}  {}", one_line(said))?;
            if let Some(todo) = todo {
                writeln!(out, "      {:width$}  {}", "", one_line(todo))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_worst_finding_is_the_exit_code() {
        let ok = Finding::ok("disk", "8 GiB free");
        let warn = Finding::warn("node", "it doesn't run", "start it");
        let fail = Finding::fail("ports", "taken", "take another");
        for (findings, exit) in [
            (vec![ok.clone()], Exit::Done),
            (vec![ok.clone(), warn.clone()], Exit::No),
            (vec![fail.clone(), warn.clone(), ok.clone()], Exit::Environment),
        ] {
            assert_eq!(Report(findings).exit(), exit);
        }
        let mut shown = String::new();
        Report(vec![ok, warn, fail]).human(&mut shown).unwrap();
        insta::assert_snapshot!(shown);
    }
}
