//! `guilder status`

use std::fmt;

use super::{Context, wait_for, wallet};
use crate::{
    console::{CliError, Exit, Field, Show, fields},
    {
        api::types::{ReloadView, Status},
        mint::Totals,
    },
};

/// Print how the running node does.
///
/// Prints identity, addresses, peers, services, open tasks and balances of the running node.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let status: Status = context.client()?.get("/v1/status").await?;
        context.printer.show(&status)?;
        Ok(Exit::Done)
    })
}

impl Show for Status {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(
            out,
            &[
                ("peer ID", Field::from(self.peer_id.clone())),
                ("DID", self.did.clone().into()),
                ("home", self.home.clone().into()),
                ("version", self.version.clone().into()),
                ("up for", duration(self.uptime_secs).into()),
                ("listening", self.listen.clone().into()),
                ("peers", peers_in_words(self).into()),
                ("services", self.services.to_string().into()),
                ("open tasks", self.open_tasks.to_string().into()),
                ("clock", self.clock.clone().unwrap_or_default().into()),
                ("settings", self.reloaded.as_ref().map(reloaded_in_words).unwrap_or_default().into()),
                ("hosted mint", self.hosted_mint.clone().into()),
                ("in circulation", self.mint_books.iter().map(in_circulation).collect::<Vec<_>>().into()),
            ],
        )?;
        writeln!(out)?;
        wallet::balances(out, &self.balances)
    }
}

/// What reading the settings again came to.
fn reloaded_in_words(reloaded: &ReloadView) -> Vec<String> {
    if let Some(error) = &reloaded.error {
        return vec![format!("not read again: {error}")];
    }
    let mut lines = Vec::new();
    if !reloaded.applied.is_empty() {
        lines.push(format!("changed by reload: {}", reloaded.applied.join(", ")));
    }
    if !reloaded.restart.is_empty() {
        lines.push(format!("in force after a restart: {}", reloaded.restart.join(", ")));
    }
    lines
}

/// How many peers there are; if none, why.
pub(super) fn peers_in_words(status: &Status) -> Vec<String> {
    let silent: Vec<_> = status.bootstrap.iter().filter(|peer| peer.error.is_some()).collect();
    let count = status.peers;
    match (silent.len(), status.bootstrap.len()) {
        (0, 0) if count == 0 => vec!["0: no bootstrap peer is set in config.toml".to_owned()],
        (0, _) => vec![count.to_string()],
        (failed, all) => {
            let (of, answer) = (if all == 1 { "peer" } else { "peers" }, if failed == 1 { "doesn't" } else { "don't" });
            let mut lines = vec![format!("{count}: {failed} of {all} bootstrap {of} {answer} answer:")];
            lines.extend(
                silent.iter().map(|peer| format!("{}: {}", peer.address, peer.error.as_deref().unwrap_or_default())),
            );
            lines
        }
    }
}

fn in_circulation(books: &Totals) -> String {
    let Totals { unit, issued, redeemed } = books;
    format!("{} {unit} (issued {issued}, taken back {redeemed})", issued.saturating_sub(*redeemed))
}

/// The two largest units that say something.
pub(super) fn duration(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        3_600..86_400 => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
        _ => format!("{} d {} h", secs / 86_400, secs / 3_600 % 24),
    }
}
