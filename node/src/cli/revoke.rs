//! `guilder revoke ID`

use std::{fmt, path::PathBuf};

use guilder_protocol::limits::MAX_CHAIN_BYTES;

use super::{Context, ucan::read_bounded, wait_for};
use crate::{
    api::types::{Revoke, RevokedView},
    console::{CliError, Exit, Show, fields},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder revoke 4xw2kq              the last letters of a grant's ID are enough
  guilder revoke --file grant.txt    a grant that somebody passed on from one of ours";

/// Take a delegation back.
///
/// It counts here at once, and wherever it is heard: no seller takes or begins another task under it. What was delivered
/// until then is paid for all the same. A revocation can't be taken back; grant anew.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The ID of a grant that this agent gave: `guilder grants` shows them.
    #[arg(required_unless_present = "file")]
    id: Option<String>,
    /// Take back the last delegation of the grant in FILE (- for standard input), of which this agent issued one.
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let what = match (&args.file, &args.id) {
            (Some(file), _) => {
                let bytes = read_bounded(file, 2 * MAX_CHAIN_BYTES as u64)?;
                String::from_utf8_lossy(&bytes).trim().to_owned()
            }
            (None, Some(id)) => id.clone(),
            (None, None) => return Err(CliError::usage("nothing is named", "give a grant's ID, or --file FILE")),
        };
        let revoked: RevokedView = context.client()?.post("/v1/revocations", &Revoke { what }).await?;
        context.printer.show(&revoked)?;
        if revoked.peers == 0 {
            context.printer.note("nobody is connected now; whoever connects is told");
        }
        Ok(Exit::Done)
    })
}

impl Show for RevokedView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let at = self.at.map(|at| at.to_string()).unwrap_or_default();
        let told = format!("{} connected peer(s)", self.peers);
        let until = self.until.to_string();
        fields(out, &[("revoked", self.delegation.clone()), ("at", at), ("told to", told), ("kept until", until)])
    }
}
