//! `guilder demo`: five nodes on this machine, one task, from search to payment and proof.
//!
//! ```text
//! mint ◀── bootstrap ── buyer, cheap, fair, dear        separate processes; they know one address and nothing else
//!   │ play money ──▶ buyer
//! buyer ── find, ask ──▶ cheap, fair, dear ── offers ──▶ buyer ── award, locked money ──▶ the best
//! seller ── subprocess ── delivery, receipt ──▶ buyer          seller ── redeems ──▶ mint
//! ```
//!
//! Every step is checked, and the exit code says whether all held.

mod narrator;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use guilder_protocol::audit;
use serde_json::json;
use tokio::time::{Instant, timeout};

use self::narrator::{Narrator, watch};
use super::{
    folder::Folder,
    swarm::{LabNode, UNIT, fund, lab_error, mint_settings, trader_settings},
};
use crate::{
    api::{
        client,
        types::{Balance, Hire, HireEvent, ServiceView, TaskView},
    },
    console::{CliError, Exit, Printer, quoted},
    executor::Definition,
};

const SERVICE: &str = "text.summarize";
const FUNDS: u64 = 1_000;
/// Each seller's name and net price.
const SELLERS: [(&str, u64); 3] = [("cheap", 7), ("fair", 9), ("dear", 14)];
/// What the mint keeps of each proof spent, in thousandths: enough for fees to show.
const FEE_PPK: u64 = 100;
/// How long after a task's end its last events may arrive.
const AFTERMATH: Duration = Duration::from_millis(100);
/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is summarized if nothing is named.
const README: &[u8] = include_bytes!("../../../README.md");

/// See five nodes trade on this machine, with play money.
///
/// Starts a mint, a buyer and three sellers as separate processes, lets the buyer find the sellers and hire the best,
/// shows each step with its time, the balances before and after, and the proof. Exit code 0 only if every step held.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// The text that is summarized [default: Guilder's README].
    file: Option<PathBuf>,
    /// Keep the nodes' folders here, and the audit bundle as task.audit.car.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo and says what happens.
///
/// # Errors
/// At the first step that doesn't hold.
pub async fn run(args: &DemoArgs, printer: &Printer) -> Result<Exit, CliError> {
    let input = read_input(args.file.as_deref())?;
    let mut folder = Folder::make(args.keep.as_deref())?;
    let narrator = Narrator::new(printer);
    let nodes = Nodes::start(&narrator, &mut folder).await?;
    let outcome = play(&narrator, &nodes, &input, folder.path()).await;
    let stopped = nodes.stop().await;
    outcome?;
    stopped?;
    narrator.tell("end", json!({ "ok": true }), "every step held; the nodes have stopped")?;
    Ok(Exit::Done)
}

fn read_input(file: Option<&Path>) -> Result<Bytes, CliError> {
    let Some(path) = file else { return Ok(Bytes::from_static(README)) };
    let bytes = std::fs::read(path).map_err(|cause| CliError::io(format!("can't read {}", path.display()), &cause))?;
    Ok(bytes.into())
}

/// The nodes.
struct Nodes {
    mint: LabNode,
    buyer: LabNode,
    sellers: Vec<LabNode>,
    mint_url: String,
}

impl Nodes {
    async fn start(narrator: &Narrator<'_>, folder: &mut Folder) -> Result<Self, CliError> {
        let dir = folder.path().to_owned();
        narrator.head("Five nodes, each with its own key, store and wallet")?;
        folder.add("mint");
        let mint = LabNode::start(&dir, "mint", &mint_settings(FEE_PPK)).await?;
        narrator.node(&mint, "hosts a mint of play money, and is the one address that the others know")?;
        let mint_url = format!("p2p://mint/{}", mint.id.peer_id());
        let settings = trader_settings(&mint.address, &mint_url);
        for name in SELLERS.iter().map(|(name, _)| *name).chain(["buyer"]) {
            folder.add(name);
        }
        let (buyer, cheap, fair, dear) = tokio::try_join!(
            LabNode::start(&dir, "buyer", &settings),
            LabNode::start(&dir, SELLERS[0].0, &settings),
            LabNode::start(&dir, SELLERS[1].0, &settings),
            LabNode::start(&dir, SELLERS[2].0, &settings),
        )?;
        let nodes = Self { mint, buyer, sellers: vec![cheap, fair, dear], mint_url };
        narrator.node(&nodes.buyer, "wants a text summarized")?;
        for (seller, (_, price)) in nodes.sellers.iter().zip(SELLERS) {
            narrator.node(seller, &format!("will sell {SERVICE} for {price} {UNIT}"))?;
        }
        Ok(nodes)
    }

    /// Everyone that holds money.
    fn traders(&self) -> impl Iterator<Item = &LabNode> {
        std::iter::once(&self.buyer).chain(&self.sellers)
    }

    async fn stop(self) -> Result<(), CliError> {
        // The mint goes last: the others may be talking to it.
        let stops = self.sellers.into_iter().chain([self.buyer]).map(LabNode::stop);
        let stopped = futures::future::join_all(stops).await;
        self.mint.stop().await?;
        stopped.into_iter().collect()
    }
}

async fn play(narrator: &Narrator<'_>, nodes: &Nodes, input: &Bytes, dir: &Path) -> Result<(), CliError> {
    narrator.head("Money and wares")?;
    fund_buyer(narrator, nodes).await?;
    for (seller, (_, price)) in nodes.sellers.iter().zip(SELLERS) {
        let _: ServiceView = seller.client.post("/v1/services", &service(price)?).await?;
        narrator.tell(
            "service",
            json!({ "node": seller.name, "price": price }),
            format_args!("{} puts {SERVICE} on sale for {price} {UNIT} a task", seller.name),
        )?;
    }
    let before = balances(nodes).await?;

    narrator.head("The task")?;
    let ended = trade(narrator, nodes, input).await?;
    let output = output(narrator, nodes, &ended).await?;

    narrator.head("The money")?;
    redeemed(narrator, nodes, &ended).await?;
    let after = balances(nodes).await?;
    account(narrator, &before, &after, &ended)?;

    narrator.head("The proof")?;
    prove(narrator, nodes, &ended, dir).await?;
    narrator.head("The summary")?;
    narrator.tell("output", json!({ "text": output }), output.trim_end())
}

async fn fund_buyer(narrator: &Narrator<'_>, nodes: &Nodes) -> Result<(), CliError> {
    within("the buyer's funding", fund(&nodes.buyer, &nodes.mint_url, FUNDS)).await?;
    narrator.tell(
        "funded",
        json!({ "amount": FUNDS, "unit": UNIT }),
        format_args!("buyer gets {FUNDS} {UNIT} from the mint (play money: its invoices pay themselves)"),
    )
}

/// Hires and says what happens on both sides, until the buyer has it.
async fn trade(narrator: &Narrator<'_>, nodes: &Nodes, input: &Bytes) -> Result<TaskView, CliError> {
    let mut events = watch(nodes.traders()).await?;
    let service = SERVICE.parse().map_err(|_| lab_error(format!("{SERVICE} is no service's name")))?;
    let wanted = Hire { max_price: Some(20), unit: UNIT.parse().ok(), deadline_secs: Some(30), ..Hire::of(service) };
    let mut hire = nodes.buyer.client.hire(&wanted, client::bytes(input.clone())).await?;
    narrator.tell(
        "hire",
        json!({ "input_bytes": input.len() }),
        format_args!("buyer hires {SERVICE} for at most 20 {UNIT}, on a text of {} bytes", input.len()),
    )?;
    let names = names(nodes);
    let deadline = Instant::now() + 2 * PATIENCE;
    let ended = loop {
        tokio::select! {
            biased;
            Some((node, event)) = events.recv() => narrator.event(&node, &event, &names)?,
            told = hire.next() => match told? {
                Some(HireEvent::Ended(ended)) => break *ended,
                // What happens is heard from the nodes' own streams.
                Some(HireEvent::Hired(_) | HireEvent::Step(_) | HireEvent::Unknown) => {}
                None => return Err(lab_error("the buyer's stream ended before its task".into())),
            },
            () = tokio::time::sleep_until(deadline) => return Err(lab_error("the task didn't end in time".into())),
        }
    };
    // What the nodes said about it may still be on its way here.
    while let Ok(Some((node, event))) = timeout(AFTERMATH, events.recv()).await {
        narrator.event(&node, &event, &names)?;
    }
    match ended.failure {
        None => Ok(ended),
        Some(failure) => Err(lab_error(format!("the task was not delivered: {}", failure.reason))),
    }
}

/// Waits until the seller has the coin at the mint: not a promise any more.
async fn redeemed(narrator: &Narrator<'_>, nodes: &Nodes, task: &TaskView) -> Result<(), CliError> {
    let Some(seller) = nodes.sellers.iter().find(|node| Some(node.id.peer_id()) == task.peer) else {
        return Err(lab_error("the task has no seller".into()));
    };
    let paid = async {
        loop {
            let sold: TaskView = seller.client.get(&format!("/v1/tasks/{}", task.id)).await?;
            match sold.redeemed {
                Some(amount) => return Ok(amount),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let amount = within("the redemption", paid).await?;
    let fields = json!({ "node": seller.name, "amount": amount });
    narrator.tell(
        "redeemed",
        fields,
        format_args!("{} redeems the locked ecash at the mint: {amount} {UNIT}", seller.name),
    )
}

async fn output(narrator: &Narrator<'_>, nodes: &Nodes, ended: &TaskView) -> Result<String, CliError> {
    let best = nodes.sellers.iter().zip(SELLERS).min_by_key(|(_, (_, price))| *price);
    let Some((best, (_, price))) = best else { return Err(lab_error("there is no seller".into())) };
    narrator.hold(ended.price == Some(price), "the best offer was taken")?;
    narrator.hold(ended.peer.as_deref() == Some(best.id.peer_id().as_str()), "its seller did the work")?;
    let mut download = nodes.buyer.client.download(&format!("/v1/tasks/{}/output", ended.id)).await?;
    let mut output = Vec::new();
    while let Some(piece) = download.next().await? {
        output.extend_from_slice(&piece);
    }
    narrator.hold(!output.is_empty(), "there is an output")?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// What a trader has, all told, and what mints have kept of it so far, in its wallet's own words.
#[derive(Clone, Copy, Debug, Default)]
struct Funds {
    held: u64,
    fees: u64,
}

async fn balances(nodes: &Nodes) -> Result<BTreeMap<String, Funds>, CliError> {
    let mut all = BTreeMap::new();
    for node in nodes.traders() {
        let balances: Vec<Balance> = node.client.get("/v1/wallet").await?;
        let held = balances.iter().map(Balance::total).sum();
        let fees = balances.iter().map(|balance| balance.account.fees).sum();
        all.insert(node.name.clone(), Funds { held, fees });
    }
    Ok(all)
}

fn account(
    narrator: &Narrator<'_>,
    before: &BTreeMap<String, Funds>,
    after: &BTreeMap<String, Funds>,
    ended: &TaskView,
) -> Result<(), CliError> {
    let mut gained = false;
    for (name, had) in before {
        let has = after.get(name).copied().unwrap_or_default();
        let (before, after, fees) = (had.held, has.held, has.fees - had.fees);
        let kept = if fees > 0 { format!("   (fees to the mint: {fees})") } else { String::new() };
        let fields = json!({ "node": name, "before": before, "after": after, "fees": fees });
        narrator.tell("balance", fields, format_args!("{name:6} {before:>5} {UNIT}  ->  {after:>5} {UNIT}{kept}"))?;
        gained |= after > before && Some(after - before) == ended.price;
    }
    let sum = |of: fn(&Funds) -> u64, all: &BTreeMap<String, Funds>| all.values().map(of).sum::<u64>();
    let (had, has) = (sum(|funds| funds.held, before), sum(|funds| funds.held, after));
    let fees = sum(|funds| funds.fees, after) - sum(|funds| funds.fees, before);
    let fields = json!({ "before": had, "after": has, "fees": fees, "unit": UNIT });
    let label = "sum";
    narrator.tell(
        "accounts",
        fields,
        format_args!("{label:6} {had:>5} {UNIT}  =  {has:>5} {UNIT} + {fees} {UNIT} of fees"),
    )?;
    narrator.hold(gained, "the seller has its net price")?;
    narrator.hold(had == has + fees, "the balances add up to the coin")
}

/// Exports the audit bundle as the buyer would, and checks it as a stranger would.
async fn prove(narrator: &Narrator<'_>, nodes: &Nodes, ended: &TaskView, dir: &Path) -> Result<(), CliError> {
    let mut download = nodes.buyer.client.download(&format!("/v1/tasks/{}/audit", ended.id)).await?;
    let mut bundle = Vec::new();
    while let Some(piece) = download.next().await? {
        bundle.extend_from_slice(&piece);
    }
    let path = dir.join("task.audit.car");
    std::fs::write(&path, &bundle).map_err(|cause| CliError::io(format!("can't write {}", path.display()), &cause))?;
    let report = audit::verify(&bundle)?;
    let receipt = ended.receipt.as_deref().unwrap_or_default();
    narrator.hold(report.task.to_string() == ended.id && !receipt.is_empty(), "the bundle is about this task")?;
    narrator.tell(
        "receipt",
        json!({ "receipt": receipt, "task": ended.id, "award": ended.award }),
        format_args!("receipt {receipt}\n{report}"),
    )?;
    let command = format!("{} audit verify {}", quoted(callable().as_ref()), quoted(&path));
    narrator.tell(
        "bundle",
        json!({ "path": path, "bytes": bundle.len(), "verify": command }),
        format_args!("audit bundle ({} bytes), checked; anyone can check it again:\n  {command}", bundle.len()),
    )
}

/// How this binary can be called from here: by its name if that is what the shell finds, else by its path.
fn callable() -> String {
    let Ok(binary) = std::env::current_exe() else { return "guilder".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("guilder")).find(|found| found.is_file());
    if found.and_then(|found| found.canonicalize().ok()) == binary.canonicalize().ok() {
        return "guilder".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    binary.strip_prefix(&here).unwrap_or(&binary).display().to_string()
}

/// The tail by which events name a peer, and the name that the demo gave it.
fn names(nodes: &Nodes) -> Vec<(String, String)> {
    let tail = |node: &LabNode| {
        let id = node.id.peer_id();
        (format!("…{}", &id[id.len().saturating_sub(6)..]), node.name.clone())
    };
    nodes.traders().chain([&nodes.mint]).map(tail).collect()
}

/// The service as an operator would write it to a file: a program that reads the text and writes the summary.
fn service(price: u64) -> Result<Definition, CliError> {
    let binary = std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?;
    let command = json!([binary, "demo-worker"]);
    let text = format!(
        "name = \"{SERVICE}\"\ndescription = \"The three weightiest sentences of a text\"\nprice = {price}\n\
         unit = \"{UNIT}\"\nconcurrency = 2\ntime_limit_secs = 10\n[run.process]\ncommand = {command}\n"
    );
    Ok(Definition::from_toml(&text, Path::new("."))?)
}

async fn within<T>(what: &str, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    match timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(lab_error(format!("{what} took more than {PATIENCE:?}"))),
    }
}
