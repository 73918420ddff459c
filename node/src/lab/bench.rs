//! `guilder bench trade`, and [`mcp`] and [`duty`] beside it: how fast whole trades go through real nodes, and how near that is to what the machine allows.
//!
//! A mint, a buyer and a seller run as separate processes on loopback. Each task is the whole trade: ask, offer, award
//! with locked money, work (the echo executor), delivery, receipt; every step durable at both ends. The clock runs from
//! the first request until the last receipt, and on until every coin earned is redeemed at the mint: both rates are told. In escrow the trade ends once the sealed output is opened,
//! and so takes two swaps at the mint: the buyer's lock and the seller's redemption. Beside it stands the floor, measured in the
//! same run: what the same signatures, checks, disk syncs, socket round trips and swaps cost bare, and how many times that a
//! trade takes.

pub mod duty;
mod floor;
pub mod mcp;
mod memory;
mod process;
mod spent;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use tokio::time::Instant;

pub use self::memory::{MemoryArgs, memory};
use self::{floor::Floor, process::Usage, spent::Breakdown};
use super::{
    folder::Folder,
    swarm::{LabNode, UNIT, fund, lab_error, mint_settings, trader_settings},
};
use crate::{
    api::{
        client::{self, Connection, query},
        types::{Balance, Hire, HireEvent, ServiceView},
    },
    console::{CliError, Exit, Printer, Show, fields},
    executor::Definition,
    trade::HireMode,
};

const SERVICE: &str = "bench.echo";
const PRICE: u64 = 1;
/// Bytes of each task's input.
const INPUT_BYTES: usize = 1_024;
/// Trades before the clock starts, per concurrent one: they fill the purse and the caches.
const WARM_UP: usize = 8;
/// How long redemption may lag behind the last delivery.
const REDEMPTION_PATIENCE: Duration = Duration::from_secs(60);

/// What the bench is run with.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Trades that are measured.
    #[arg(long, value_name = "N", default_value = "500", value_parser = positive)]
    tasks: usize,
    /// Trades at once.
    #[arg(long, value_name = "C", default_value = "1", value_parser = positive)]
    concurrency: usize,
    /// How the trades are paid: in advance or in escrow.
    #[arg(long, value_name = "MODE", default_value = "prepaid", value_parser = mode)]
    mode: HireMode,
    /// Say where the time of a trade goes, by node and span.
    #[arg(long)]
    breakdown: bool,
    /// Keep the nodes' folders, with their logs, in DIR, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn mode(text: &str) -> Result<HireMode, String> {
    match text {
        "prepaid" => Ok(HireMode::Prepaid),
        "escrow" => Ok(HireMode::Escrow),
        _ => Err("expected prepaid or escrow".into()),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "expected a number from 1 on".into())
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    tasks: usize,
    concurrency: usize,
    mode: HireMode,
    /// Median time of one trade, ask to receipt, as its hirer sees it.
    p50_ms: f64,
    p99_ms: f64,
    /// Whole trades a second, until every coin earned is redeemed: the last ones wait for their batch.
    tasks_per_s: f64,
    /// Whole trades a second, until the last receipt.
    tasks_per_s_before_last_redemption: f64,
    /// From start to listening with the API up, the slowest node.
    ready_ms: u128,
    nodes: Vec<NodeCost>,
    floor: Floor,
    /// The median over the floor.
    p50_over_floor: f64,
    /// The CPU of all three nodes over that of the floor's cryptography.
    cpu_over_crypto: f64,
    /// Where the time went, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    breakdown: Option<Breakdown>,
}

/// What one node spent.
#[derive(Debug, Serialize)]
struct NodeCost {
    node: String,
    cpu_s_per_task: f64,
    /// Resident before any task.
    idle_mib: f64,
    peak_mib: f64,
}

/// Runs the bench and prints what it measured.
///
/// # Errors
/// If a trade fails, or the coins earned aren't redeemed in the end.
pub async fn run(args: &BenchArgs, printer: &Printer) -> Result<Exit, CliError> {
    let stage = Stage::set(args.keep.as_deref(), args.breakdown, printer).await?;
    let measured = measure(args, printer, &stage).await;
    let folder = stage.strike().await?;
    let mut measured = measured?;
    if args.breakdown {
        let trades = args.tasks + WARM_UP * args.concurrency;
        measured.breakdown = Some(Breakdown::read(folder.path(), &NODES, trades)?);
    }
    printer.show(&measured)?;
    Ok(Exit::Done)
}

/// What they are called.
const NODES: [&str; 3] = ["mint", "seller", "buyer"];

/// The nodes that a bench measures.
struct Stage {
    /// Mint, seller, buyer.
    nodes: [LabNode; 3],
    mint_url: String,
    folder: Folder,
}

impl Stage {
    async fn set(keep: Option<&Path>, breakdown: bool, printer: &Printer) -> Result<Self, CliError> {
        let mut folder = Folder::make(keep)?;
        printer.note("starting a mint, a seller and a buyer …");
        let dir = folder.path().to_owned();
        for name in NODES {
            folder.add(name);
        }
        let files = NODES.map(|name| breakdown.then(|| spent::file(&dir, name)));
        let [of_mint, of_seller, of_buyer] = files.each_ref().map(Option::as_deref);
        let mint = LabNode::start_recording(&dir, "mint", &mint_settings(0), of_mint).await?;
        let mint_url = format!("p2p://mint/{}", mint.id.peer_id());
        let settings = trader_settings(&mint.address, &mint_url);
        let seller = LabNode::start_recording(&dir, "seller", &settings, of_seller).await?;
        let buyer = LabNode::start_recording(&dir, "buyer", &settings, of_buyer).await?;
        Ok(Self { nodes: [mint, seller, buyer], mint_url, folder })
    }

    /// Stops them. What they have left behind is there as long as the folder.
    async fn strike(self) -> Result<Folder, CliError> {
        for node in self.nodes.into_iter().rev() {
            node.stop().await?;
        }
        Ok(self.folder)
    }
}

async fn measure(args: &BenchArgs, printer: &Printer, stage: &Stage) -> Result<Measured, CliError> {
    let Stage { nodes, mint_url, folder } = stage;
    let [_, seller, buyer] = nodes;
    let warm_up = WARM_UP * args.concurrency;
    let total = (args.tasks + warm_up) as u64 * PRICE;
    fund(buyer, mint_url, 4 * total + 20_000).await?;
    let _: ServiceView = seller.client.post("/v1/services", &service(args.concurrency)?).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle: Vec<Usage> = nodes.iter().map(usage).collect::<Result<_, _>>()?;

    printer.note(format_args!("{warm_up} trades to warm up, then {} by {} …", args.tasks, args.concurrency));
    hire_many(buyer, args.mode, warm_up, args.concurrency).await?;
    redeemed(seller, warm_up as u64 * PRICE).await?;

    let before: Vec<Usage> = nodes.iter().map(usage).collect::<Result<_, _>>()?;
    let began = Instant::now();
    let mut times = hire_many(buyer, args.mode, args.tasks, args.concurrency).await?;
    let traded = began.elapsed();
    redeemed(seller, total).await?;
    let elapsed = began.elapsed();
    let after: Vec<Usage> = nodes.iter().map(usage).collect::<Result<_, _>>()?;

    printer.note("measuring the floor …");
    let floor = floor::measure(folder.path(), args.mode).await?;
    times.sort_unstable();
    let p50_ms = percentile_ms(&times, 50);
    let cost = |index: usize| NodeCost {
        node: nodes[index].name.clone(),
        cpu_s_per_task: (after[index].cpu_secs - before[index].cpu_secs) / args.tasks as f64,
        idle_mib: idle[index].resident_mib,
        peak_mib: after[index].peak_mib,
    };
    let costs: Vec<NodeCost> = (0..nodes.len()).map(cost).collect();
    let cpu_ms = costs.iter().map(|cost| cost.cpu_s_per_task).sum::<f64>() * 1_000.0;
    Ok(Measured {
        tasks: args.tasks,
        concurrency: args.concurrency,
        mode: args.mode,
        p50_ms,
        p99_ms: percentile_ms(&times, 99),
        tasks_per_s: args.tasks as f64 / elapsed.as_secs_f64(),
        tasks_per_s_before_last_redemption: args.tasks as f64 / traded.as_secs_f64(),
        ready_ms: nodes.iter().map(|node| node.ready_after.as_millis()).max().unwrap_or(0),
        nodes: costs,
        p50_over_floor: p50_ms / floor.total_ms(),
        cpu_over_crypto: cpu_ms / floor.crypto_ms(),
        breakdown: None,
        floor,
    })
}

fn usage(node: &LabNode) -> Result<Usage, CliError> {
    let pid = node.pid().ok_or_else(|| lab_error(format!("the node {} is gone", node.name)))?;
    Usage::of(pid).map_err(|cause| CliError::io("can't read a process's usage from /proc", &cause))
}

/// Hires `tasks` times, `concurrency` at once, each lane on a connection of its own. Returns the time of each.
async fn hire_many(
    buyer: &LabNode,
    mode: HireMode,
    tasks: usize,
    concurrency: usize,
) -> Result<Vec<Duration>, CliError> {
    let path = query("/v1/tasks", &wanted(mode)?)?;
    let path = path.as_str();
    let lanes = (0..concurrency).map(|lane| {
        let share = tasks / concurrency + usize::from(lane < tasks % concurrency);
        async move {
            let mut connection = buyer.client.connect().await?;
            let mut times = Vec::with_capacity(share);
            for _ in 0..share {
                times.push(hire(&mut connection, path).await?);
            }
            Ok::<_, CliError>(times)
        }
    });
    Ok(futures::future::try_join_all(lanes).await?.concat())
}

/// One trade, ask to receipt.
async fn hire(connection: &mut Connection, path: &str) -> Result<Duration, CliError> {
    let began = Instant::now();
    let body = client::bytes(Bytes::from_static(&[b'x'; INPUT_BYTES]));
    let told: Vec<HireEvent> = connection.lines(Method::POST, path, body).await?;
    let ended = told.into_iter().find_map(|told| if let HireEvent::Ended(task) = told { Some(task) } else { None });
    match ended {
        Some(task) if task.delivered => Ok(began.elapsed()),
        task => Err(lab_error(format!("a trade failed: {task:?}"))),
    }
}

/// What each trade asks for.
fn wanted(mode: HireMode) -> Result<Hire, CliError> {
    let service = SERVICE.parse().map_err(|_| lab_error(format!("{SERVICE} is no service's name")))?;
    Ok(Hire {
        max_price: Some(PRICE),
        unit: UNIT.parse().ok(),
        deadline_secs: Some(30),
        mode: Some(mode),
        quiet: true,
        ..Hire::of(service)
    })
}

/// Waits until the seller has so much at the mint.
async fn redeemed(seller: &LabNode, amount: u64) -> Result<(), CliError> {
    let deadline = Instant::now() + REDEMPTION_PATIENCE;
    loop {
        let balances: Vec<Balance> = seller.client.get("/v1/wallet").await?;
        if balances.iter().map(|balance| balance.available).sum::<u64>() >= amount {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(lab_error(format!("the seller's {amount} coins were not redeemed: {balances:?}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn service(concurrency: usize) -> Result<Definition, CliError> {
    let text = format!(
        "name = \"{SERVICE}\"\ndescription = \"Gives back its input\"\nprice = {PRICE}\nunit = \"play\"\n\
         concurrency = {}\nrun = \"echo\"\n",
        2 * concurrency
    );
    Ok(Definition::from_toml(&text, Path::new("."))?)
}

fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

impl Show for Measured {
    fn human(&self, out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        fields(
            out,
            &[
                ("trades", format!("{} measured, {} at once, {}", self.tasks, self.concurrency, paid(self.mode))),
                ("one trade", format!("{:.2} ms median, {:.2} ms at the 99th percentile", self.p50_ms, self.p99_ms)),
                (
                    "rate",
                    format!(
                        "{:.0} trades/s; {:.0} with the wait for the last redemption",
                        self.tasks_per_s_before_last_redemption, self.tasks_per_s
                    ),
                ),
                ("ready", format!("{} ms after start (the slowest node)", self.ready_ms)),
            ],
        )?;
        writeln!(out)?;
        for node in &self.nodes {
            writeln!(
                out,
                "{:7} {:6.2} ms CPU a trade, {:5.1} MiB idle, {:5.1} MiB at peak",
                node.node,
                node.cpu_s_per_task * 1_000.0,
                node.idle_mib,
                node.peak_mib
            )?;
        }
        writeln!(out, "\nThe floor of one trade, bare, one after the other:")?;
        self.floor.write(out)?;
        let (median, cpu) = (self.p50_over_floor, self.cpu_over_crypto);
        writeln!(
            out,
            "A trade's median is {median:.1} times that, the CPU of all nodes {cpu:.1} times the cryptography."
        )?;
        self.breakdown.as_ref().map_or(Ok(()), |breakdown| breakdown.write(out))
    }
}

fn paid(mode: HireMode) -> &'static str {
    match mode {
        HireMode::Escrow => "in escrow",
        HireMode::Prepaid | HireMode::Auto => "prepaid",
    }
}
