//! `guilder brief DOMAIN`

use std::fmt;

use super::{Context, wait_for};
use crate::{
    api::{client::escape, memory::types::BriefView},
    console::{CliError, Exit, Show, harmless::one_line},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder brief repo.guilder
  guilder --as reviewer brief suppliers --json";

/// Print what an agent reads of a domain before it begins.
///
/// The most trusted and newest memories of it, word for word, a line each, at most 200 lines and 25,000 bytes. Each line begins with whose
/// word it is.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The domain.
    domain: String,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let path = format!("/v1/memory/domains/{}/brief", escape(&args.domain));
        let brief: BriefView = context.client()?.get(&path).await?;
        context.printer.show(&brief)?;
        if brief.left_out > 0 {
            context.printer.note(format_args!("{} more: guilder recall QUESTION", brief.left_out));
        }
        Ok(Exit::Done)
    })
}

impl Show for BriefView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(out, "{}", one_line(line)))
    }
}
