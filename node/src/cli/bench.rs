//! `guilder bench trade|mcp|memory|duty`

use clap::Subcommand;

use super::{Context, wait_for};
use crate::{
    console::{CliError, Exit},
    lab::bench::{
        self, BenchArgs, MemoryArgs,
        duty::{self, DutyBenchArgs},
        mcp::{self, McpBenchArgs},
    },
};

/// Measure this machine.
///
/// Measures whole trades between real nodes of this binary, as separate processes on this machine, beside the floor
/// that the machine sets; or the memory of a node.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Whole trades, ask to receipt, every step durable, redemption included.
    Trade(BenchArgs),
    /// What it adds to a hire to come through MCP.
    Mcp(McpBenchArgs),
    /// How well and how fast the memory answers.
    Memory(MemoryArgs),
    /// What duties cost while nothing is due, and when all of them are at once.
    Duty(DutyBenchArgs),
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match &args.command {
        BenchCommand::Trade(args) => wait_for(bench::run(args, &context.printer)),
        BenchCommand::Mcp(args) => wait_for(mcp::run(args, &context.printer)),
        BenchCommand::Memory(args) => wait_for(bench::memory(args, &context.printer)),
        BenchCommand::Duty(args) => wait_for(duty::run(args, &context.printer)),
    }
}
