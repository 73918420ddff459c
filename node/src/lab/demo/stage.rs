//! The nodes of a story, and what every story does with them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use guilder_protocol::audit::{self, Report};
use hyper::Method;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::narrator::{Narrator, watch};
use crate::{
    api::{
        client,
        types::{Balance, DescribedEvent, Found, Hire, HireEvent, ServiceView, TaskView},
    },
    console::{CliError, quoted},
    events::Event,
    executor::Definition,
    lab::{
        folder::Folder,
        swarm::{LabNode, UNIT, fund, lab_error, mint_settings, trader_settings},
    },
};

/// What the mint keeps of each proof spent, in thousandths: enough for fees to show.
const FEE_PPK: u64 = 100;
/// How long after the buyer's last word on a task those of others may arrive.
const AFTERMATH: Duration = Duration::from_millis(100);
/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
const INTERVAL: Duration = Duration::from_millis(20);

/// A mint and those that trade with its money: processes of their own, which know its address and nothing else.
pub(super) struct Stage<'a> {
    pub(super) narrator: &'a Narrator<'a>,
    /// Where the nodes' folders are.
    pub(super) dir: PathBuf,
    mint: LabNode,
    mint_url: String,
    traders: Vec<LabNode>,
}

impl<'a> Stage<'a> {
    /// Starts a mint, then a trader of each name, all at once; each with what is said of it.
    pub(super) async fn set(
        narrator: &'a Narrator<'a>,
        folder: &mut Folder,
        traders: &[(&str, String)],
    ) -> Result<Self, CliError> {
        Self::set_with(narrator, folder, traders, &[]).await
    }

    /// As [`Self::set`], with more settings of some of them.
    pub(super) async fn set_with(
        narrator: &'a Narrator<'a>,
        folder: &mut Folder,
        traders: &[(&str, String)],
        more: &[(&str, String)],
    ) -> Result<Self, CliError> {
        let dir = folder.path().to_owned();
        folder.add("mint");
        let mint = LabNode::start(&dir, "mint", &mint_settings(FEE_PPK)).await?;
        narrator.node(&mint, "hosts a mint of play money, and is the one address that the others know")?;
        let mint_url = format!("p2p://mint/{}", mint.id.peer_id());
        let settings = trader_settings(&mint.address, &mint_url);
        traders.iter().for_each(|(name, _)| folder.add(name));
        let own =
            |name: &str| more.iter().filter(|(of, _)| *of == name).map(|(_, more)| more.as_str()).collect::<String>();
        let settings: Vec<_> = traders.iter().map(|(name, _)| format!("{settings}{}", own(name))).collect();
        let starts = traders.iter().zip(&settings).map(|((name, _), settings)| LabNode::start(&dir, name, settings));
        let nodes = futures::future::try_join_all(starts).await?;
        for (node, (_, what)) in nodes.iter().zip(traders) {
            narrator.node(node, what)?;
        }
        Ok(Self { narrator, dir, mint, mint_url, traders: nodes })
    }

    /// The trader of this name.
    pub(super) fn node(&self, name: &str) -> Result<&LabNode, CliError> {
        let found = self.traders.iter().find(|node| node.name == name);
        found.ok_or_else(|| lab_error(format!("there is no node {name}")))
    }

    /// The name of the trader with this peer ID.
    pub(super) fn name_of(&self, peer_id: &str) -> Option<&str> {
        self.traders.iter().find(|node| node.id.peer_id() == peer_id).map(|node| node.name.as_str())
    }

    /// A sentence with the traders' names in place of their peer IDs.
    pub(super) fn named(&self, sentence: &str) -> String {
        self.traders.iter().fold(sentence.to_owned(), |text, node| text.replace(&node.id.peer_id(), &node.name))
    }

    /// Kills a trader as a power cut would, and starts it again on its home.
    pub(super) async fn kill_and_restart(&mut self, name: &str) -> Result<(), CliError> {
        let at = self.traders.iter().position(|node| node.name == name);
        let at = at.ok_or_else(|| lab_error(format!("there is no node {name}")))?;
        let node = self.traders.remove(at).kill_and_restart(&self.dir).await?;
        let ready_ms = node.ready_after.as_millis();
        let told = format_args!("{name} is killed, and ready again after {ready_ms} ms");
        self.narrator.tell("killed", json!({ "node": name, "ready_ms": ready_ms }), told)?;
        self.traders.insert(at, node);
        Ok(())
    }

    pub(super) async fn fund(&self, name: &str, amount: u64) -> Result<(), CliError> {
        within("the funding", fund(self.node(name)?, &self.mint_url, amount)).await?;
        self.narrator.tell(
            "funded",
            json!({ "node": name, "amount": amount, "unit": UNIT }),
            format_args!("{name} gets {amount} {UNIT} from the mint (play money: its invoices pay themselves)"),
        )
    }

    /// Puts a service on sale.
    pub(super) async fn sell(&self, name: &str, sale: &Sale<'_>) -> Result<(), CliError> {
        let _: ServiceView = self.node(name)?.client.post("/v1/services", &sale.definition()?).await?;
        let (service, price) = (sale.service, sale.price);
        self.narrator.tell(
            "service",
            json!({ "node": name, "service": service, "price": price }),
            format_args!("{name} puts {service} on sale for {price} {UNIT} a task"),
        )
    }

    /// Waits until as many sellers of a service are found: what they announce is on its way for a moment.
    pub(super) async fn meet(&self, name: &str, service: &str, sellers: usize) -> Result<(), CliError> {
        let client = &self.node(name)?.client;
        let met = async {
            loop {
                let mut found =
                    client.lines::<Found>(Method::GET, &format!("/v1/find/{service}"), client::empty()).await?;
                let mut count = 0;
                while count < sellers && found.next().await?.is_some() {
                    count += 1;
                }
                if count == sellers {
                    return Ok(());
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        within("the search", met).await
    }

    /// Hires and says what happens on all sides, until the buyer has it.
    pub(super) async fn hire(&self, name: &str, wanted: &Hire, input: &Bytes) -> Result<TaskView, CliError> {
        let (narrator, buyer) = (self.narrator, self.node(name)?);
        let mut events = watch(self.traders.iter()).await?;
        let mut hire = buyer.client.hire(wanted, client::bytes(input.clone())).await?;
        narrator.tell(
            "hire",
            json!({ "node": name, "input_bytes": input.len() }),
            format_args!(
                "{name} hires {} for at most {} {UNIT}, on a text of {} bytes",
                wanted.service,
                wanted.max_price.unwrap_or_default(),
                input.len()
            ),
        )?;
        let names = self.tails();
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut is_over = false;
        let mut tell = |node: &str, event: &DescribedEvent| {
            is_over |= node == name && matches!(event.event.event, Event::Ended { .. });
            narrator.event(node, event, &names)?;
            Ok::<_, CliError>(is_over)
        };
        let mut is_told = false;
        let ended = loop {
            tokio::select! {
                biased;
                Some((node, event)) = events.recv() => is_told = tell(&node, &event)?,
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
        while let Ok(Some((node, event))) = timeout(if is_told { AFTERMATH } else { PATIENCE }, events.recv()).await {
            is_told = tell(&node, &event)?;
        }
        match ended.failure {
            None => Ok(ended),
            Some(failure) => Err(lab_error(format!("the task was not delivered: {}", failure.message))),
        }
    }

    /// What the buyer got.
    pub(super) async fn output(&self, name: &str, ended: &TaskView) -> Result<String, CliError> {
        let output = self.bytes(name, &format!("/v1/tasks/{}/output", ended.id)).await?;
        self.narrator.hold(!output.is_empty(), "there is an output")?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Waits until the seller of a task has the coin at the mint: not a promise any more.
    pub(super) async fn redeemed(&self, seller: &str, task: &str) -> Result<u64, CliError> {
        let node = self.node(seller)?;
        let paid = async {
            loop {
                let sold: TaskView = node.client.get(&format!("/v1/tasks/{task}")).await?;
                match sold.redeemed {
                    Some(amount) => return Ok(amount),
                    None => tokio::time::sleep(INTERVAL).await,
                }
            }
        };
        let amount = within("the redemption", paid).await?;
        self.narrator.tell(
            "redeemed",
            json!({ "node": seller, "amount": amount }),
            format_args!("{seller} redeems the locked ecash at the mint: {amount} {UNIT}"),
        )?;
        Ok(amount)
    }

    /// What each trader has.
    pub(super) async fn balances(&self) -> Result<BTreeMap<String, Funds>, CliError> {
        let mut all = BTreeMap::new();
        for node in &self.traders {
            let balances: Vec<Balance> = node.client.get("/v1/wallet").await?;
            let sum = |of: fn(&Balance) -> u64| balances.iter().map(of).sum();
            let fees = balances.iter().map(|balance| balance.account.fees).sum();
            let funds = Funds { held: sum(Balance::total), waiting: sum(|balance| balance.waiting), fees };
            all.insert(node.name.clone(), funds);
        }
        Ok(all)
    }

    /// The balances before and after, which must add up to the coin.
    pub(super) fn account(
        &self,
        before: &BTreeMap<String, Funds>,
        after: &BTreeMap<String, Funds>,
    ) -> Result<(), CliError> {
        let narrator = self.narrator;
        for (name, had) in before {
            let has = after.get(name).copied().unwrap_or_default();
            let (before, after, fees) = (had.held, has.held, has.fees - had.fees);
            let mut beside = Vec::new();
            if fees > 0 {
                beside.push(format!("fees to the mint: {fees}"));
            }
            if has.waiting > 0 {
                beside.push(format!("of it falling back: {}", has.waiting));
            }
            let beside = if beside.is_empty() { String::new() } else { format!("   ({})", beside.join(", ")) };
            let fields =
                json!({ "node": name, "before": before, "after": after, "fees": fees, "waiting": has.waiting });
            narrator.tell(
                "balance",
                fields,
                format_args!("{name:7} {before:>5} {UNIT}  ->  {after:>5} {UNIT}{beside}"),
            )?;
        }
        let sum = |of: fn(&Funds) -> u64, all: &BTreeMap<String, Funds>| all.values().map(of).sum::<u64>();
        let (had, has) = (sum(|funds| funds.held, before), sum(|funds| funds.held, after));
        let fees = sum(|funds| funds.fees, after) - sum(|funds| funds.fees, before);
        let fields = json!({ "before": had, "after": has, "fees": fees, "unit": UNIT });
        let label = "sum";
        narrator.tell(
            "accounts",
            fields,
            format_args!("{label:7} {had:>5} {UNIT}  =  {has:>5} {UNIT} + {fees} {UNIT} of fees"),
        )?;
        narrator.hold(had == has + fees, "the balances add up to the coin")
    }

    /// Exports the audit bundle as the buyer would, checks it as a stranger would, and says what it shows.
    pub(super) async fn prove(&self, name: &str, ended: &TaskView) -> Result<Report, CliError> {
        let narrator = self.narrator;
        let bundle = self.bytes(name, &format!("/v1/tasks/{}/audit", ended.id)).await?;
        let path = self.dir.join("task.audit.car");
        std::fs::write(&path, &bundle)
            .map_err(|cause| CliError::io(format!("can't write {}", path.display()), &cause))?;
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
        )?;
        Ok(report)
    }

    pub(super) async fn stop(self) -> Result<(), CliError> {
        // The mint goes last: the others may be talking to it.
        let stops = self.traders.into_iter().map(LabNode::stop);
        let stopped = futures::future::join_all(stops).await;
        self.mint.stop().await?;
        stopped.into_iter().collect()
    }

    pub(super) async fn bytes(&self, name: &str, path: &str) -> Result<Vec<u8>, CliError> {
        let mut download = self.node(name)?.client.download(path).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = download.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The tail by which events name a peer, and the name that the demo gave it.
    fn tails(&self) -> Vec<(String, String)> {
        let tail = |node: &LabNode| {
            let id = node.id.peer_id();
            (format!("…{}", &id[id.len().saturating_sub(6)..]), node.name.clone())
        };
        self.traders.iter().chain([&self.mint]).map(tail).collect()
    }
}

/// What a trader has, all told, what of it waits for its locktime, and what mints have kept of it so far, in its wallet's own words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Funds {
    pub(super) held: u64,
    pub(super) waiting: u64,
    pub(super) fees: u64,
}

/// A service as an operator would write it to a file: a program that reads a text and writes another.
pub(super) struct Sale<'a> {
    pub(super) service: &'a str,
    pub(super) description: &'a str,
    pub(super) price: u64,
    /// Which of the demo's works it is ([`crate::lab::Work`]).
    pub(super) work: &'a str,
    /// What else stands in the file.
    pub(super) more: &'a str,
}

impl Sale<'_> {
    fn definition(&self) -> Result<Definition, CliError> {
        let binary = std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?;
        let command = json!([binary, "demo-worker", self.work]);
        let Self { service, description, price, more, .. } = self;
        let text = format!(
            "name = \"{service}\"\ndescription = \"{description}\"\nprice = {price}\nunit = \"{UNIT}\"\nconcurrency = 2\n\
             time_limit_secs = 10\n{more}\n[run.process]\ncommand = {command}\n"
        );
        Ok(Definition::from_toml(&text, Path::new("."))?)
    }
}

/// How this binary can be called from here: by its name if that is what the shell finds, else by its path.
pub(super) fn callable() -> String {
    let Ok(binary) = std::env::current_exe() else { return "guilder".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("guilder")).find(|found| found.is_file());
    if found.and_then(|found| found.canonicalize().ok()) == binary.canonicalize().ok() {
        return "guilder".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    binary.strip_prefix(&here).unwrap_or(&binary).display().to_string()
}

pub(super) async fn within<T>(what: &str, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    match timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(lab_error(format!("{what} took more than {PATIENCE:?}"))),
    }
}
