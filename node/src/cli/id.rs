//! `guilder id`

use std::fmt;

use super::{CliError, Context, Exit, Show, fields};
use crate::{api::types::Identity, keys::SecretFile};

/// Print the node's identity.
///
/// The peer ID and the DID are the same key, written in two ways. Needs no running daemon.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    // While the daemon runs it says so itself; no passphrase is needed then.
    home.check()?;
    let file = SecretFile::load(&home.secret())?;
    let id = context.passphrase.open(&file, &context.printer)?.seeds().key().id();
    context.printer.show(&Identity { peer_id: id.peer_id(), did: id.to_string() })?;
    Ok(Exit::Done)
}

impl Show for Identity {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(out, &[("peer ID", self.peer_id.clone()), ("DID", self.did.clone())])
    }
}
