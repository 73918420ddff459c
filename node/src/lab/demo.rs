//! `guilder demo`: several real nodes on this machine, one story from search to payment and proof.
//!
//! Every step is checked, and the exit code says whether all held.

pub(super) mod chain;
mod duty;
mod market;
mod memory;
mod narrator;
mod stage;

use std::path::PathBuf;

use self::{narrator::Narrator, stage::Stage};
use super::folder::Folder;
use crate::console::{CliError, Exit, Printer};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder demo
  guilder demo notes.txt --keep market     and look around in the nodes' folders afterwards
  guilder demo chain                       agents that hire agents, one of which fails
  guilder demo duty                        a webhook and a clock set work off, which is bought, checked and posted
  guilder demo memory                      what was bought is remembered, and goes with a seller that lied";

/// See five nodes trade on this machine, with play money.
///
/// Starts a mint, a buyer and three sellers as separate processes, lets the buyer find the sellers and hire the best,
/// shows each step with its time, the balances before and after, and the proof. Exit code 0 only if every step held.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(subcommand)]
    story: Option<Story>,
    /// The text that is summarized [default: Guilder's README].
    file: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// Keep the nodes' folders here, and the audit bundle as task.audit.car.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Story {
    /// See an agent hire agents in its buyer's name, one of which fails, and who answers for what.
    ///
    /// A client hires an editor in escrow. The editor's program hires a writer and an indexer within what the client allows. The
    /// indexer's program fails; the editor delivers what it has. Then it is shown who was paid, and the tree of what all of them
    /// signed, which says who answers for the part that is missing.
    Chain {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// See a duty set off by a signed webhook: a summary is bought, checked by another seller, posted to a file, and proved.
    Duty {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// See what was bought remembered with its source, a node killed, its memory gone through, and a liar's words forgotten.
    Memory {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Runs a story and says what happens.
///
/// # Errors
/// At the first step that doesn't hold.
pub async fn run(args: &DemoArgs, printer: &Printer) -> Result<Exit, CliError> {
    let narrator = Narrator::new(printer);
    match &args.story {
        None => {
            let input = market::read_input(args.file.as_deref())?;
            let mut folder = Folder::make(args.place.keep.as_deref())?;
            narrator.head("Five nodes, each with its own key, store and wallet")?;
            let stage = market::set(&narrator, &mut folder).await?;
            let played = market::play(&stage, &input).await;
            end(stage, played).await
        }
        Some(Story::Chain { place }) => {
            let mut folder = Folder::make(place.keep.as_deref())?;
            narrator.head("Five nodes, each with its own key, store and wallet")?;
            let stage = chain::set(&narrator, &mut folder).await?;
            let played = chain::play(&stage).await;
            end(stage, played).await
        }
        Some(Story::Duty { place }) => {
            let mut folder = Folder::make(place.keep.as_deref())?;
            narrator.head("Four nodes, each with its own key, store and wallet")?;
            let (stage, port) = duty::set(&narrator, &mut folder).await?;
            let played = duty::play(&stage, &port).await;
            end(stage, played).await
        }
        Some(Story::Memory { place }) => {
            let mut folder = Folder::make(place.keep.as_deref())?;
            narrator.head("Four nodes, each with its own key, store and wallet")?;
            let mut stage = memory::set(&narrator, &mut folder).await?;
            let played = memory::play(&mut stage).await;
            end(stage, played).await
        }
    }
}

/// Stops the nodes, however it went.
async fn end(stage: Stage<'_>, played: Result<(), CliError>) -> Result<Exit, CliError> {
    let narrator = stage.narrator;
    let stopped = stage.stop().await;
    played?;
    stopped?;
    narrator.tell("end", serde_json::json!({ "ok": true }), "every step held; the nodes have stopped")?;
    Ok(Exit::Done)
}
