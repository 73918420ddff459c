//! `guilder forget ID…`

use std::fmt;

use guilder_protocol::time::Timestamp;

use super::{Context, memory::parse_moment, wait_for};
use crate::{
    api::memory::types::{ForgetRequest, ForgottenView},
    console::{CliError, Exit, Show},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder forget k7q2ha
  guilder forget --query \"old address of the mint\" --dry-run
  guilder forget --from 12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq
  guilder forget --domain suppliers
  guilder forget --before 2026-01-01 --domain notes";

/// Forget: what is forgotten is gone from the memory's file, too.
///
/// Its file is written anew without it, and its ID is kept so that no import brings it back. --from takes all that was made of a source,
/// and of that, and so on. Prints where copies may be left, which no node can reach.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// IDs, or the last letters of them.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// What answers this question, whether it holds or not; see it first with --dry-run.
    #[arg(long, value_name = "WORDS")]
    query: Option<String>,
    /// A whole domain; beside --query and --before only what is in it.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// What is from this peer, receipt, task:ID or memory, by its ID or the last letters of it, with all that was made of it.
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
    /// What is true since before this time: 2026-11-29, 2026-11-29T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    before: Option<Timestamp>,
    /// Most that answer the question [default: 20].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: Option<u32>,
    /// Print the IDs of what would be forgotten, and forget nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let Args { ids, query, domain, from, before, limit, dry_run } = args;
        let limit = limit.map(|limit| limit as usize);
        let request = ForgetRequest { ids, query, domain, from, before, limit, dry_run };
        let done: ForgottenView = context.client()?.post("/v1/memory/forget", &request).await?;
        context.printer.show(&done)?;
        if dry_run {
            context.printer.note("nothing is forgotten yet");
        }
        Ok(if done.ids.is_empty() { Exit::No } else { Exit::Done })
    })
}

impl Show for ForgottenView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.ids.is_empty() {
            return writeln!(out, "Nothing is remembered of that, or nothing that may be forgotten.");
        }
        for id in &self.ids {
            writeln!(out, "{id}")?;
        }
        if self.derived_left > 0 {
            writeln!(out, "{} memories that were made of it stay: --from takes those, too", self.derived_left)?;
        }
        if !self.hold_again.is_empty() {
            writeln!(out, "Nothing is left that superseded these, which hold again:")?;
            self.hold_again.iter().try_for_each(|id| writeln!(out, "  {id}"))?;
        }
        writeln!(out, "Copies may be left in:")?;
        self.copies.iter().try_for_each(|copy| writeln!(out, "  {copy}"))
    }
}
