//! `guilder recall QUESTION`

use std::fmt;

use guilder_protocol::{memory::Trust, time::Timestamp};
use serde::Serialize;

use super::{
    Context,
    memory::{parse_moment, parse_trust},
    remember::whose,
    task::short,
    wait_for,
};
use crate::{
    api::{
        client::{escape, query},
        memory::types::{LineageStep, MemoryView, RecallQuery},
    },
    console::{CliError, Exit, Show, harmless::one_line},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder recall \"which mint was slow?\"
  guilder recall \"how are the tests run\" --domain repo.guilder --trust owner --limit 5
  guilder recall \"where is the mint\" --as-of 2026-10-01
  guilder recall --why k7q2ha";

/// Find what is remembered, the best answer first.
///
/// Words are looked for in any of their forms, in the domains that may be read. What holds no longer is left out, unless --as-of names
/// a time at which it held. Exits with 1 if nothing is found.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The question, in words.
    #[arg(required_unless_present = "why")]
    question: Option<String>,
    /// Only in this domain; may be said several times [default: all that may be read].
    #[arg(long = "domain", value_name = "NAME", value_delimiter = ',')]
    domains: Vec<String>,
    /// Only what is trusted at least so much: owner, node, peer or world.
    #[arg(long, value_name = "TRUST", value_parser = parse_trust)]
    trust: Option<Trust>,
    /// Only what tells of this.
    #[arg(long, value_name = "WORDS")]
    subject: Option<String>,
    /// Only what is true since this time or later: 2026-11-29, 2026-11-29T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Timestamp>,
    /// Only what is true since this time or before.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Timestamp>,
    /// What held at this time, instead of what holds.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    as_of: Option<Timestamp>,
    /// Most of the answers [default: 20].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: Option<u32>,
    /// Print instead what a memory was made of, down to the receipts: its ID, or the last letters of it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["question", "domains", "trust", "subject", "since", "until", "as_of", "limit"])]
    why: Option<String>,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Memories(pub(super) Vec<MemoryView>);

#[derive(Serialize)]
#[serde(transparent)]
struct Lineage(Vec<LineageStep>);

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        if let Some(id) = &args.why {
            let steps: Vec<LineageStep> = client.get(&format!("/v1/memories/{}/lineage", escape(id))).await?;
            context.printer.show(&Lineage(steps))?;
            return Ok(Exit::Done);
        }
        let Args { question, domains, trust, subject, since, until, as_of, limit, why: _ } = args;
        let asked = RecallQuery {
            query: question.unwrap_or_default(),
            domain: Some(domains.join(",")).filter(|domains| !domains.is_empty()),
            trust,
            subject,
            since,
            until,
            as_of,
            limit: limit.map(|limit| limit as usize),
        };
        let found: Vec<MemoryView> = client.get(&query("/v1/memories", &asked)?).await?;
        let exit = if found.is_empty() { Exit::No } else { Exit::Done };
        context.printer.show(&Memories(found))?;
        Ok(exit)
    })
}

impl Show for Memories {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "Nothing is remembered of that.");
        }
        for memory in &self.0 {
            let subject = memory.subject.as_deref().map(|subject| format!("  {}", one_line(subject)));
            let ended = memory.ended.map(|ended| format!("  until {ended}")).unwrap_or_default();
            writeln!(
                out,
                "{}  {}  {} word  {}{}{ended}",
                short(&memory.id),
                memory.domain,
                whose(memory.trust),
                memory.time,
                subject.unwrap_or_default()
            )?;
            for line in memory.text.lines() {
                writeln!(out, "    {}", one_line(line))?;
            }
        }
        Ok(())
    }
}

impl Show for Lineage {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for step in &self.0 {
            let indent = "  ".repeat(usize::try_from(step.depth).unwrap_or(0).min(20));
            match &step.memory {
                Some(memory) => {
                    let text = memory.text.lines().next().unwrap_or_default();
                    let (id, whose) = (short(&memory.id), whose(memory.trust));
                    writeln!(out, "{indent}{id}  {whose} word, by {}: {}", one_line(&memory.by), one_line(text))?;
                }
                None => writeln!(out, "{indent}{}", one_line(&step.source))?,
            }
        }
        Ok(())
    }
}
