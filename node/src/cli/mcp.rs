//! `guilder mcp`, which a model's client starts

mod install;

use clap::Subcommand;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, split, stdin, stdout};

use super::{Context, wait_for};
use crate::{
    api::mcp::{SESSION_PATH, UPGRADE},
    console::{CliError, Exit},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder caller add claude --risk medium --budget 20/day
  guilder --as claude mcp install claude             prints what makes Claude Code use this node
  guilder --as claude mcp install cursor --write     writes it into Cursor's file

docs/agents.md goes through all of it.";

/// From the node and from the client at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Let an assistant (any client of the Model Context Protocol) find, hire and sell through this node.
///
/// The client starts this command and speaks MCP with it on standard input and output. The node must be running (`guilder up`). What
/// strangers deliver reaches the model marked as theirs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<McpCommand>,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    Install(install::Args),
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match &args.command {
        Some(McpCommand::Install(args)) => install::run(args, context),
        None => wait_for(serve(context)),
    }
}

/// Carries bytes between the client and the daemon's handler, until either end closes.
async fn serve(context: &Context) -> Result<Exit, CliError> {
    if context.named_caller().is_none() {
        context.printer.note(
            "this assistant speaks as the owner, with all that you may: give it a caller of its own: `guilder caller add NAME --risk medium --budget 20/day`, then --as NAME",
        );
    }
    let connection = context.client()?.upgrade(SESSION_PATH, UPGRADE).await?;
    let (mut from_node, mut to_node) = split(connection);
    let fail = |cause| CliError::io("the session with the daemon broke", &cause);
    let asking = async {
        copy(&mut stdin(), &mut to_node).await.map_err(fail)?;
        // What was asked before is still answered.
        to_node.shutdown().await.map_err(fail)
    };
    let answering = async {
        let (mut output, mut piece) = (stdout(), vec![0; PIECE_BYTES]);
        loop {
            let read = from_node.read(&mut piece).await.map_err(fail)?;
            if read == 0 {
                return Ok::<_, CliError>(());
            }
            output.write_all(&piece[..read]).await.map_err(fail)?;
            // A client waits for each line.
            output.flush().await.map_err(fail)?;
        }
    };
    tokio::select! {
        biased;
        answered = answering => answered?,
        Err(error) = asking => return Err(error),
    }
    Ok(Exit::Done)
}
