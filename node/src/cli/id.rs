//! `guilder id`

use std::fmt;

use super::{Context, wait_for};
use crate::{
    api::types::{Identity, Status},
    console::{CliError, Exit, Show, fields},
    keys::SecretFile,
};

/// Print the node's identity.
///
/// The peer ID and the DID are the same key, written in two ways. Needs no running daemon.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    home.check()?;
    let file = SecretFile::load(&home.secret())?;
    // A running daemon has opened it already: no passphrase is needed then.
    if file.is_sealed() && home.api().exists() {
        let status = wait_for_status(context);
        if let Some(status) = status {
            context.printer.show(&Identity { peer_id: status.peer_id, did: status.did })?;
            return Ok(Exit::Done);
        }
    }
    let id = context.passphrase.open(&file, &context.printer)?.seeds().key().id();
    context.printer.show(&Identity { peer_id: id.peer_id(), did: id.to_string() })?;
    Ok(Exit::Done)
}

fn wait_for_status(context: &Context) -> Option<Status> {
    let mut found = None;
    let asked = wait_for(async {
        found = Some(context.client()?.get("/v1/status").await?);
        Ok(Exit::Done)
    });
    asked.ok().and(found)
}

impl Show for Identity {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(out, &[("peer ID", self.peer_id.clone()), ("DID", self.did.clone())])
    }
}
