//! `guilder approvals [list|show|grant|refuse]`

use std::{fmt, io::IsTerminal as _};

use clap::Subcommand;
use serde::Serialize;

use super::{Context, prompt::ask_line, wait_for};
use crate::{
    api::{
        client::escape,
        types::{ApprovalStateView, ApprovalView, Consent},
    },
    console::{CliError, Exit, Show, fields, harmless::one_line, table},
    keys::SecretFile,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder approvals
  guilder approvals show 5d0c1f2a
  guilder approvals grant 5d0c1f2a";

/// What callers ask for that waits for your word.
///
/// Granted is exactly what is shown, once: a request that differs in anything waits anew. Where the secret file has a passphrase, granting
/// asks for it. Where it has none, every program that runs as your user can grant what it asks for: it can read api.json, and is you.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<ApprovalsCommand>,
}

#[derive(Debug, Subcommand)]
enum ApprovalsCommand {
    /// Print what waits, and what was answered within the last week.
    List,
    /// Print all of one.
    Show {
        /// Its ID.
        id: String,
    },
    /// Say yes: the caller asks the same again, and it is done.
    Grant {
        /// Its ID.
        id: String,
    },
    /// Say no.
    Refuse {
        /// Its ID.
        id: String,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Approvals(Vec<ApprovalView>);

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        let path = |id: &str| format!("/v1/approvals/{}", escape(id));
        let shown: ApprovalView = match &args.command {
            None | Some(ApprovalsCommand::List) => {
                context.printer.show(&Approvals(client.get("/v1/approvals").await?))?;
                return Ok(Exit::Done);
            }
            Some(ApprovalsCommand::Show { id }) => client.get(&path(id)).await?,
            Some(ApprovalsCommand::Grant { id }) => {
                let consent = Consent { passphrase: passphrase(context)? };
                client.post(&format!("{}/grant", path(id)), &consent).await?
            }
            Some(ApprovalsCommand::Refuse { id }) => client.post(&format!("{}/refuse", path(id)), &()).await?,
        };
        context.printer.show(&shown)?;
        Ok(Exit::Done)
    })
}

/// The passphrase, where the secret file has one.
fn passphrase(context: &Context) -> Result<Option<String>, CliError> {
    if !SecretFile::load(&context.home()?.secret()).is_ok_and(|file| file.is_sealed()) {
        return Ok(None);
    }
    if let Some(given) = context.passphrase.given()? {
        return Ok(Some(given.reveal().to_owned()));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    Ok(Some(ask_line(&context.printer, "Passphrase: ")?.to_string()))
}

impl Show for ApprovalView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(
            out,
            &[
                ("approval", self.id.clone()),
                ("state", state(self)),
                ("asked by", one_line(&self.caller).into_owned()),
                ("at", self.asked.to_string()),
                ("for", one_line(&self.action).into_owned()),
                ("terms", one_line(&self.terms).into_owned()),
            ],
        )
    }
}

fn state(approval: &ApprovalView) -> String {
    let word = approval.state.as_str();
    match approval.state {
        ApprovalStateView::Asked => word.to_owned(),
        _ => format!("{word} at {}", approval.since),
    }
}

impl Show for Approvals {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |approval: &ApprovalView| {
            vec![
                approval.id.clone(),
                approval.state.as_str().to_owned(),
                one_line(&approval.caller).into_owned(),
                one_line(&approval.action).into_owned(),
                approval.asked.to_string(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(out, &["ID", "STATE", "ASKED BY", "FOR", "AT"], &rows, "Nothing waits for your word.")
    }
}
