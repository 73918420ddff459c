//! `guilder remember TEXT`

use std::{fmt, path::PathBuf};

use guilder_protocol::{limits::MAX_MEMORY_TEXT, memory::Trust, time::Timestamp};

use super::{
    Context,
    memory::{parse_moment, parse_trust},
    task::short,
    ucan::read_bounded,
    wait_for,
};
use crate::{
    api::memory::types::{RememberRequest, RememberedView},
    console::{CliError, Exit, Show},
    memory::Language,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder remember \"the tests need GUILDER_BIN\" --domain repo.guilder
  guilder remember \"summaries came back empty\" --domain suppliers --subject text.summarize --source task:4xw2kq
  guilder remember \"the mint moved to port 3338\" --domain suppliers --supersedes k7q2ha
  git log -1 --format=%B | guilder remember - --domain repo.guilder";

/// Remember something, with where it is from.
///
/// What is remembered is a claim that the node signs, and that says whose word it rests on: the owner's, the node's, a peer's or anybody's.
/// What is made of sources has the least trust of them. `guilder recall` finds it again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What is true, at most 4,096 bytes; - for standard input.
    text: String,
    /// Where it belongs; made if there is none of that name, private and in English. A caller makes NAME and NAME.* of its own name.
    #[arg(long, value_name = "NAME", default_value = "notes")]
    domain: String,
    /// Of whom or what it tells.
    #[arg(long, value_name = "WORDS")]
    subject: Option<String>,
    /// What it was made of: memory:ID, task:ID, receipt:ID, peer:ID, world:WORDS or owner; may be said several times [default: your
    /// own word].
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// A memory that holds no longer, by its ID or the last letters of it; may be said several times.
    #[arg(long, value_name = "ID")]
    supersedes: Vec<String>,
    /// Since when it is true: 2026-11-29, 2026-11-29T08:00:00Z [default: now].
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    time: Option<Timestamp>,
    /// The conversation or run that it was said in [default: your calls without a pause of half an hour].
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// The most trust that it is to have: owner, node, peer or world.
    #[arg(long, value_name = "TRUST", value_parser = parse_trust)]
    trust: Option<Trust>,
    /// The language of a domain that is made.
    #[arg(long, value_enum, value_name = "CODE")]
    language: Option<Language>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let Args { text, domain, subject, sources, supersedes, time, session, trust, language } = args;
        let text = if text == "-" {
            let bytes = read_bounded(&PathBuf::from("-"), MAX_MEMORY_TEXT as u64 + 2)?;
            String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
        } else {
            text
        };
        let request = RememberRequest { text, domain, language, subject, time, session, sources, supersedes, trust };
        let done: RememberedView = context.client()?.post("/v1/memories", &request).await?;
        context.printer.show(&done)?;
        Ok(Exit::Done)
    })
}

impl Show for RememberedView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let known = if self.is_new { "remembered" } else { "known already" };
        writeln!(out, "{known} in {}, as {} word: {}", self.domain, whose(self.trust), short(&self.id))
    }
}

/// `the owner's`, for a sentence.
pub(super) fn whose(trust: Trust) -> &'static str {
    match trust {
        Trust::Owner => "the owner's",
        Trust::Node => "the node's own",
        Trust::Peer => "a peer's",
        Trust::World | Trust::Unknown => "anybody's",
    }
}
