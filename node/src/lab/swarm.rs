//! Real nodes as separate processes on loopback: started, waited for, stopped.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use guilder_protocol::{fault::Fault, identity::AgentId};
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{
    api::{
        client::{Client, json},
        types::{Fund, Funding, Status},
    },
    console::CliError,
    keys::{Existing, Home, Phrase, SecretFile, write_private},
    spans,
};

/// Play money is worth nothing outside of its mint, and its name says so.
pub(super) const UNIT: &str = "play";
/// How long a node may take to be ready before the lab gives up on it; 0.5 s is what it should take.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a node may take to stop cleanly before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// Lines of a failed node's log that are shown.
const LOG_TAIL: usize = 15;

/// A node of the lab.
#[derive(Debug)]
pub(super) struct LabNode {
    pub(super) name: String,
    pub(super) id: AgentId,
    pub(super) client: Client,
    /// From process start to an answering API.
    pub(super) ready_after: Duration,
    /// Where it can be dialled, peer ID included.
    pub(super) address: String,
    child: Child,
    log: PathBuf,
}

impl LabNode {
    /// Makes a home under `dir` with new keys and these settings, starts a node on it and waits until it is ready.
    pub(super) async fn start(dir: &Path, name: &str, settings: &str) -> Result<Self, CliError> {
        Self::start_recording(dir, name, settings, None).await
    }

    /// The same, with the file that its spans go to when it stops.
    pub(super) async fn start_recording(
        dir: &Path,
        name: &str,
        settings: &str,
        recording: Option<&Path>,
    ) -> Result<Self, CliError> {
        let home = Home::at(dir.join(name));
        let id = make_home(&home, settings)?;
        Self::run(home, name, id, recording).await
    }

    /// Kills it with no warning, and starts it again on its home.
    pub(super) async fn kill_and_restart(mut self, dir: &Path) -> Result<Self, CliError> {
        let killed = self.child.kill().await;
        killed.map_err(|cause| CliError::io(format!("can't kill the node {}", self.name), &cause))?;
        Self::run(Home::at(dir.join(&self.name)), &self.name, self.id, None).await
    }

    async fn run(home: Home, name: &str, id: AgentId, recording: Option<&Path>) -> Result<Self, CliError> {
        let log = home.dir().join("node.log");
        let binary = std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?;
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|cause| CliError::io("can't write a node's log", &cause))?;
        let began = Instant::now();
        let child = Command::new(binary)
            .arg("--home")
            .arg(home.dir())
            .arg("up")
            .env_remove("GUILDER_HOME")
            .env_remove("GUILDER_PASSPHRASE")
            .env_remove(spans::FILE)
            .envs(recording.map(|file| (spans::FILE, file)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| CliError::io(format!("can't start the node {name}"), &cause))?;
        wait_until_ready(child, home, name, id, log, began).await
    }

    /// The process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Stops the node cleanly and waits for its end.
    pub(super) async fn stop(mut self) -> Result<(), CliError> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(died(&self.name, &self.log)) };
        // It may have ended by itself just now; waiting tells.
        let _ = kill_process(pid, Signal::TERM);
        match tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => Err(died(&self.name, &self.log)),
            Err(_) => Err(lab_error(format!("the node {} didn't stop within {STOP_PATIENCE:?}", self.name))),
        }
    }
}

fn make_home(home: &Home, settings: &str) -> Result<AgentId, CliError> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(|error| CliError::io("the system gives no random numbers", &error.into()))?;
    let phrase = Phrase::from_entropy(&entropy);
    home.create()?;
    write_private(&home.config(), settings.as_bytes(), Existing::Keep)?;
    SecretFile::clear(&phrase).create(&home.secret())?;
    Ok(phrase.seeds().key().id())
}

async fn wait_until_ready(
    mut child: Child,
    home: Home,
    name: &str,
    id: AgentId,
    log: PathBuf,
    began: Instant,
) -> Result<LabNode, CliError> {
    loop {
        if let Ok(client) = Client::of_home(&home)
            && let Ok(status) = client.get::<Status>("/v1/status").await
        {
            let address = status.listen.into_iter().find(|address| address.contains("/tcp/")).unwrap_or_default();
            let ready_after = began.elapsed();
            return Ok(LabNode { name: name.to_owned(), id, client, ready_after, address, child, log });
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return Err(died(name, &log));
        }
        if began.elapsed() > READY_PATIENCE {
            let error =
                lab_error(format!("the node {name} wasn't ready within {READY_PATIENCE:?}; the end of its log:"));
            return Err(CliError { detail: Some(tail(&log)), ..error });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn died(name: &str, log: &Path) -> CliError {
    CliError { detail: Some(tail(log)), ..lab_error(format!("the node {name} ended early; the end of its log:")) }
}

/// Settings of a node that hosts a mint of play money, which keeps `fee_ppk` thousandths of each proof spent.
pub(super) fn mint_settings(fee_ppk: u64) -> String {
    format!(
        "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nmdns = false\n\
         [mint]\nhost = true\nunits = [{{ unit = \"{UNIT}\", input_fee_ppk = {fee_ppk} }}]\n"
    )
}

/// Settings of a node that trades with the ecash of `mint`, and knows the address `bootstrap`.
pub(super) fn trader_settings(bootstrap: &str, mint: &str) -> String {
    format!(
        "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nmdns = false\nbootstrap = [\"{bootstrap}\"]\n\
         [wallet]\nmints = [\"{mint}\"]\nunit = \"{UNIT}\"\n[wallet.redemption]\ninterval_secs = 1\n"
    )
}

/// Gives a node money of the mint at `mint_url`, and waits until it has it.
pub(super) async fn fund(node: &LabNode, mint_url: &str, amount: u64) -> Result<(), CliError> {
    let fund = Fund { amount, mint: mint_url.parse().ok(), unit: UNIT.parse().ok() };
    let mut lines = node.client.lines::<Funding>(Method::POST, "/v1/wallet/fund", json(&fund)?).await?;
    while let Some(line) = lines.next().await? {
        if matches!(line, Funding::Funded { .. }) {
            return Ok(());
        }
    }
    Err(lab_error(format!("the money of the node {} was not issued", node.name)))
}

/// A failure of the lab itself.
pub(super) fn lab_error(message: String) -> CliError {
    let hint = Some("run it again with --keep DIR and see the node.log of each node".to_owned());
    CliError::new(Fault::Environment, message, hint)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}
