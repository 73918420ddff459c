//! Agents that hire agents, one of which fails.
//!
//! ```text
//! client ── text.digest, escrow ──▶ editor ─┬─ text.summarize ──▶ writer     delivers, and is paid
//!    ▲                                      └─ text.index ──────▶ indexer    fails, and signs that it did
//!    └── the digest without its index ──────┘
//! ```
//!
//! The editor's program hires with the key of its task, within what the client signed that it may spend. All that was signed about
//! it is one bundle, from which anybody sees who answers for the missing part.

use std::{collections::BTreeMap, process::Stdio};

use bytes::Bytes;
use guilder_protocol::{audit::Report, identity::AgentId};
use serde_json::json;
use tokio::process::Command;

use super::{
    narrator::Narrator,
    stage::{Funds, Sale, Stage, within},
};
use crate::{
    api::types::{Hire, TaskSide, TaskView},
    console::{CliError, quoted},
    lab::{
        folder::Folder,
        swarm::{UNIT, lab_error},
    },
    trade::HireMode,
};

const CLIENT: &str = "client";
const EDITOR: &str = "editor";
const WRITER: &str = "writer";
const INDEXER: &str = "indexer";
const DIGEST: &str = "text.digest";
/// What the editor's program hires, see [`crate::lab::digest`].
pub(crate) const SUMMARY: &str = "text.summarize";
/// And what it hires in vain.
pub(crate) const INDEX: &str = "text.index";
const CLIENT_FUNDS: u64 = 1_000;
const EDITOR_FUNDS: u64 = 500;
const DIGEST_PRICE: u64 = 30;
const SUMMARY_PRICE: u64 = 7;
const INDEX_PRICE: u64 = 5;
/// What the client lets the editor spend on others.
const SUB_BUDGET: u64 = 15;

const TEXT: &str = include_str!("../../../../README.md");

pub(super) async fn set<'a>(narrator: &'a Narrator<'a>, folder: &mut Folder) -> Result<Stage<'a>, CliError> {
    let traders = [
        (CLIENT, "wants a digest of a text".to_owned()),
        (EDITOR, format!("will sell {DIGEST}, and hires others for its parts")),
        (WRITER, format!("will sell {SUMMARY}")),
        (INDEXER, format!("will sell {INDEX}, and fail at it")),
    ];
    Stage::set(narrator, folder, &traders).await
}

pub(super) async fn play(stage: &Stage<'_>) -> Result<(), CliError> {
    let narrator = stage.narrator;
    narrator.head("Money and wares")?;
    stage.fund(CLIENT, CLIENT_FUNDS).await?;
    stage.fund(EDITOR, EDITOR_FUNDS).await?;
    // The client has paid nothing yet, and pays in escrow: the editor's file risks it.
    let subcontracts =
        format!("[subcontract]\nservices = [\"{SUMMARY}\", \"{INDEX}\"]\nbudget = {SUB_BUDGET}\nstrangers = true\n");
    for (name, service, price, work, description, more) in [
        (WRITER, SUMMARY, SUMMARY_PRICE, "summarize", "The three weightiest sentences of a text", ""),
        (INDEXER, INDEX, INDEX_PRICE, "index", "The weightiest words of a text", ""),
        (EDITOR, DIGEST, DIGEST_PRICE, "digest", "A summary of a text and its weightiest words", &*subcontracts),
    ] {
        stage.sell(name, &Sale { service, description, price, work, more }).await?;
    }
    for (name, service) in [(CLIENT, DIGEST), (EDITOR, SUMMARY), (EDITOR, INDEX)] {
        stage.meet(name, service, 1).await?;
    }
    let before = stage.balances().await?;

    narrator.head("The task: the client hires the editor in escrow, whose program hires two others")?;
    let ended = stage.hire(CLIENT, &wanted()?, &Bytes::from_static(TEXT.as_bytes())).await?;
    let output = stage.output(CLIENT, &ended).await?;

    narrator.head("The money")?;
    let hires = passed_on(stage).await?;
    stage.redeemed(EDITOR, &ended.id).await?;
    for hire in hires.iter().filter(|hire| hire.delivered) {
        let seller = hire.peer.as_deref().and_then(|peer| stage.name_of(peer));
        // All that is done for its sake bears the name of the root task.
        stage.redeemed(seller.unwrap_or_default(), &ended.id).await?;
    }
    let after = stage.balances().await?;
    stage.account(&before, &after)?;
    let held = |all: &BTreeMap<String, Funds>, name| all.get(name).map_or(0, |funds| funds.held);
    let gain = |name| held(&after, name).saturating_sub(held(&before, name));
    narrator.hold(gain(WRITER) == SUMMARY_PRICE, "who delivered is paid")?;
    narrator.hold(gain(INDEXER) == 0, "who failed is not")?;

    narrator.head("The proof")?;
    let report = stage.prove(CLIENT, &ended).await?;
    draw(stage, &ended).await?;
    who_answers(stage, &report)?;
    narrator.head("The digest")?;
    narrator.tell("output", json!({ "text": output }), output.trim_end())
}

fn wanted() -> Result<Hire, CliError> {
    let name = |name: &str| name.parse().map_err(|_| lab_error(format!("{name} is no service's name")));
    Ok(Hire {
        max_price: Some(DIGEST_PRICE + 10),
        unit: UNIT.parse().ok(),
        mode: Some(HireMode::Escrow),
        allow_subcontract: vec![name(SUMMARY)?, name(INDEX)?],
        sub_budget: Some(SUB_BUDGET),
        ..Hire::of(name(DIGEST)?)
    })
}

/// What the editor hired for the sake of the task.
async fn passed_on(stage: &Stage<'_>) -> Result<Vec<TaskView>, CliError> {
    let tasks: Vec<TaskView> = stage.node(EDITOR)?.client.get("/v1/tasks").await?;
    let hires: Vec<_> = tasks.into_iter().filter(|task| task.side == TaskSide::Buyer).collect();
    let delivered = hires.iter().filter(|hire| hire.delivered).count();
    stage.narrator.hold((hires.len(), delivered) == (2, 1), "the editor hired two others, one of which delivered")?;
    Ok(hires)
}

/// Draws the tree as a page, the way that a user would.
async fn draw(stage: &Stage<'_>, ended: &TaskView) -> Result<(), CliError> {
    let page = stage.dir.join("task.html");
    let binary = std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?;
    let mut command = Command::new(binary);
    command.arg("--home").arg(stage.dir.join(CLIENT)).args(["audit", "show", &ended.id, "--html"]).arg(&page);
    command
        .env_remove("GUILDER_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let drawn =
        async { command.status().await.map_err(|cause| CliError::io("can't run `guilder audit show ID`", &cause)) };
    let drawn = within("the drawing", drawn).await?.success();
    stage.narrator.hold(drawn, "the tree is drawn")?;
    let fields = json!({ "path": page });
    stage.narrator.tell("drawn", fields, format_args!("the same as a page, which opens offline: {}", quoted(&page)))
}

/// Says for each hire who answers for it, by nothing but the bundle.
fn who_answers(stage: &Stage<'_>, report: &Report) -> Result<(), CliError> {
    let narrator = stage.narrator;
    let name = |agent: AgentId| stage.name_of(&agent.peer_id()).unwrap_or("a stranger").to_owned();
    let mut failed = Vec::new();
    for (_, hire) in report.tree() {
        let (buyer, seller, service) = (name(hire.buyer), name(hire.args.seller), hire.args.service.as_str());
        let (who, verdict) = (hire.answer.who().map(name), stage.named(&hire.answer.to_string()));
        let fields = json!({
            "service": service,
            "buyer": buyer,
            "seller": seller,
            "answer": hire.answer.as_str(),
            "answers": who,
            "verdict": hire.verdict(),
        });
        narrator.tell("answers", fields, format_args!("{service}, by {seller} for {buyer}: {verdict}"))?;
        if !hire.is_delivered() {
            failed.push((service, who));
        }
    }
    narrator.hold(report.hires.len() == 3, "the bundle is the whole tree")?;
    let expected = [(INDEX, Some(INDEXER.to_owned()))];
    narrator.hold(failed == expected, "the indexer, and nobody else, answers for the part that is missing")
}
