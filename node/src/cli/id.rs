//! `guilder id`

use std::fmt;

use super::Context;
use crate::{
    api::types::Identity,
    console::{CliError, Exit, Show, fields},
    keys::SecretFile,
};

/// Print the node's identity.
///
/// The peer ID and the DID are the same key, written in two ways. Needs no running daemon and no passphrase.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    home.check()?;
    let id = SecretFile::load(&home.secret())?.agent()?;
    context.printer.show(&Identity { peer_id: id.peer_id(), did: id.to_string() })?;
    Ok(Exit::Done)
}

impl Show for Identity {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(out, &[("peer ID", self.peer_id.clone()), ("DID", self.did.clone())])
    }
}
