//! `guilder memory domains|show|history|dream|export|import`

mod files;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::Subcommand;
use guilder_protocol::{memory::Trust, time::Timestamp};
use hyper::Method;
use serde::Serialize;

use super::{Context, recall::Memories, wait_for};
use crate::{
    api::{
        self,
        client::{empty, escape, query},
        memory::types::{
            DomainRequest, DomainView, DreamChange, DreamRequest, DreamView, ImportRequest, ImportedView, MemoryFile,
            MemoryView,
        },
    },
    console::{CliError, Exit, Show, fields, harmless::one_line, table},
    memory::{ChangeKind, Language},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder memory domains
  guilder memory set suppliers --reader reviewer --writer nightly
  guilder memory show k7q2ha
  guilder memory export suppliers --output suppliers/
  guilder memory import suppliers/";

/// Files of one request: with the longest texts they fit a body.
const AT_ONCE: usize = 64;

/// See what is remembered, who may read it, and take it out and in as files.
///
/// `guilder remember` and `guilder recall` put it in and find it; `guilder forget` takes it out for good.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// Print the domains, and who may read and write them.
    Domains,
    /// Make a domain, or say who may read and write it.
    Set {
        /// Its name: small letters, digits, dots, dashes and underscores.
        domain: String,
        /// Callers that may read it; * for all, `none` for none. May be said several times.
        #[arg(long = "reader", value_name = "CALLER", value_delimiter = ',')]
        readers: Option<Vec<String>>,
        /// Callers that may remember in it.
        #[arg(long = "writer", value_name = "CALLER", value_delimiter = ',')]
        writers: Option<Vec<String>>,
        /// Whether nothing of it leaves without your word; a new one is private.
        #[arg(long, value_name = "BOOL")]
        private: Option<bool>,
        /// After how many days a dream takes out what is true since before, unless you said it and it holds; 0 for never.
        #[arg(long, value_name = "DAYS")]
        keep_days: Option<u32>,
        /// The language of its memories, when it is made.
        #[arg(long, value_enum, value_name = "CODE")]
        language: Option<Language>,
    },
    /// Print all about one memory.
    Show {
        /// Its ID, or the last letters of it.
        id: String,
    },
    /// Print what was held instead of a memory, before and after.
    History {
        /// Its ID, or the last letters of it.
        id: String,
    },
    /// Go through what was remembered and what happened since the last time, and make fewer and plainer memories of it.
    ///
    /// What was said several times is kept once, what has another value since is superseded, days become dates, what contradicts is
    /// marked, what sellers did is counted, and what is older than its domain keeps is forgotten. The node does it by itself, once a day at
    /// the most, after five sessions. Prints what it changed, as a diff.
    Dream {
        /// Print what it would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write memories as Markdown files with front matter, which a person can read and edit.
    Export {
        /// Domains [default: all that may be read].
        #[arg(value_name = "DOMAIN")]
        domains: Vec<String>,
        /// The folder to write to, a folder a domain and a file a memory; made if it isn't there.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Take in files that `export` wrote. What was edited is anybody's word, unless you say otherwise.
    Import {
        /// Files, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The trust of what was edited: owner, node, peer or world.
        #[arg(long, value_name = "TRUST", value_parser = parse_trust, default_value = "world")]
        edited: Trust,
    },
}

impl Show for DreamView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { memories, episodes, changes } = self;
        for DreamChange { kind, domain, old, new } in changes {
            writeln!(out, "@@ {} {} @@", word(*kind), one_line(domain))?;
            for (sign, line) in old.iter().map(|line| ('-', line)).chain(new.iter().map(|line| ('+', line))) {
                writeln!(out, "{sign}[{}] {}", line.trust, one_line(&line.text))?;
            }
        }
        writeln!(out, "{memories} memories and {episodes} deeds of sellers are new; {} changes", changes.len())
    }
}

fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Merged => "said several times, in",
        ChangeKind::Superseded => "has another value since, in",
        ChangeKind::Dated => "days become dates, in",
        ChangeKind::Contradiction => "contradicts, in",
        ChangeKind::Counted => "counted, in",
        ChangeKind::Pruned => "older than is kept, in",
        ChangeKind::Unknown => "changed, in",
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Domains(Vec<DomainView>);

#[derive(Serialize)]
struct Exported {
    exported: usize,
    folder: String,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Imports(Vec<ImportedView>);

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        match args.command {
            MemoryCommand::Domains => {
                context.printer.show(&Domains(client.get("/v1/memory/domains").await?))?;
            }
            MemoryCommand::Dream { dry_run } => {
                let done: DreamView = client.post("/v1/memory/dream", &DreamRequest { dry_run }).await?;
                context.printer.show(&done)?;
                if dry_run {
                    context.printer.note("nothing is changed yet");
                }
            }
            MemoryCommand::Set { domain, readers, writers, private, keep_days, language } => {
                let none = |names: Vec<String>| names.into_iter().filter(|name| name != "none").collect();
                let (readers, writers) = (readers.map(none), writers.map(none));
                let request = DomainRequest { name: domain, language, readers, writers, private, keep_days };
                let set: DomainView = client.post("/v1/memory/domains", &request).await?;
                context.printer.show(&Domains(vec![set]))?;
            }
            MemoryCommand::Show { id } => {
                let memory: MemoryView = client.get(&format!("/v1/memories/{}", escape(&id))).await?;
                context.printer.show(&memory)?;
            }
            MemoryCommand::History { id } => {
                let all = client.get(&format!("/v1/memories/{}/history", escape(&id))).await?;
                context.printer.show(&Memories(all))?;
            }
            MemoryCommand::Export { domains, output } => {
                let named = Some(domains.join(",")).filter(|domains| !domains.is_empty());
                let path = query("/v1/memory/export", &[("domain", named)])?;
                let all: Vec<DomainView> = client.get("/v1/memory/domains").await?;
                let language_of: BTreeMap<_, _> =
                    all.into_iter().map(|domain| (domain.name, domain.language)).collect();
                let mut lines = client.lines::<MemoryView>(Method::GET, &path, empty()).await?;
                let mut exported = 0;
                while let Some(memory) = lines.next().await? {
                    let language = language_of.get(&memory.domain).copied();
                    files::write(&output, MemoryFile { language, ..memory.into() })?;
                    exported += 1;
                }
                context.printer.show(&Exported { exported, folder: output.display().to_string() })?;
            }
            MemoryCommand::Import { paths, edited } => {
                let files = files::read_all(&paths)?;
                let mut done: Vec<ImportedView> = Vec::with_capacity(files.len());
                for files in files.chunks(AT_ONCE) {
                    let memories: Vec<MemoryFile> = files.to_vec();
                    let request = ImportRequest { memories, edited: Some(edited) };
                    done.extend(client.post::<Vec<ImportedView>>("/v1/memory/import", &request).await?);
                }
                context.printer.show(&Imports(done))?;
            }
        }
        Ok(Exit::Done)
    })
}

/// A moment, for clap.
pub(super) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    api::moment(text).map_err(|error| error.hint.unwrap_or(error.message))
}

/// A trust, for clap.
pub(super) fn parse_trust(text: &str) -> Result<Trust, String> {
    let all = [Trust::Owner, Trust::Node, Trust::Peer, Trust::World];
    all.into_iter().find(|trust| trust.as_str() == text).ok_or_else(|| "expected owner, node, peer or world".to_owned())
}

impl Show for Domains {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |domain: &DomainView| {
            vec![
                domain.name.clone(),
                domain.memories.to_string(),
                if domain.private { "private" } else { "open" }.to_owned(),
                domain.readers.join(", "),
                domain.writers.join(", "),
                domain.by.clone(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        let header = ["DOMAIN", ">MEMORIES", "LEAVES", "READERS", "WRITERS", "MADE BY"];
        table(out, &header, &rows, "No domains. To make one: guilder remember --help")
    }
}

impl Show for MemoryView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let text: Vec<String> = self.text.lines().map(|line| one_line(line).into_owned()).collect();
        let line = |line: &str| vec![one_line(line).into_owned()];
        fields(
            out,
            &[
                ("memory", vec![self.id.clone()]),
                ("domain", vec![self.domain.clone()]),
                ("trust", vec![self.trust.to_string()]),
                ("by", line(&self.by)),
                ("true since", vec![self.time.to_string()]),
                ("remembered", vec![self.at.to_string()]),
                ("until", self.ended.map(|ended| ended.to_string()).into_iter().collect()),
                ("subject", self.subject.as_deref().map(line).unwrap_or_default()),
                ("session", self.session.as_deref().map(line).unwrap_or_default()),
                ("made of", self.sources.clone()),
                ("instead of", self.supersedes.clone()),
                ("text", text),
            ],
        )
    }
}

impl Show for Exported {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "{} memories in {}", self.exported, self.folder)
    }
}

impl Show for Imports {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for fate in ["kept", "restored", "edited", "forgotten"] {
            let count = self.0.iter().filter(|done| done.fate == fate).count();
            match fate {
                _ if count == 0 => {}
                "edited" => writeln!(out, "{count} edited: new memories")?,
                "forgotten" => writeln!(out, "{count} forgotten before, and left so")?,
                fate => writeln!(out, "{count} {fate} as they were")?,
            }
        }
        Ok(())
    }
}
