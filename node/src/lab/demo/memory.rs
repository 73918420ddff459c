//! A memory that knows who said it: what was hired is remembered, outlives a kill, is gone through, and goes with the seller that lied.
//!
//! ```text
//! owner hires cheap and fair ─▶ remembers both, and what it makes of them ─▶ kill -9 ─▶ dream ─▶ recall, down to the receipts
//! cheap turns out bad ─▶ forget --from cheap: all that was made of it is gone, also from the file; what fair said stays
//! ```

use std::time::Duration;

use bytes::Bytes;
use guilder_protocol::time::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    narrator::Narrator,
    stage::{Sale, Stage},
};
use crate::{
    api::{
        memory::types::{
            DreamRequest, DreamView, ForgetRequest, ForgottenView, LineageStep, MemoryView, RecallQuery,
            RememberRequest, RememberedView,
        },
        types::{Hire, TaskView},
    },
    console::{CliError, harmless::one_line},
    lab::{
        folder::Folder,
        swarm::{UNIT, lab_error},
    },
    memory::ChangeKind,
};

const OWNER: &str = "owner";
const SERVICE: &str = "text.summarize";
const SELLERS: [(&str, u64); 2] = [("cheap", 7), ("fair", 9)];
const DOMAIN: &str = "repo";
const TEXT: &[u8] = b"The parser is written by hand. It reads one file after the other, and each of them once. Errors name the line on \
which they stand. Nothing of a file that is wrong is kept in memory after it.";
/// Since when two things are true that can't both be: days in 2026.
const BEFORE: u64 = 1_780_000_000;
const AFTER: u64 = 1_790_000_000;
/// The journal keeps events a moment after they are told.
const JOURNAL_PATIENCE: Duration = Duration::from_millis(1_500);

pub(super) async fn set<'a>(narrator: &'a Narrator<'a>, folder: &mut Folder) -> Result<Stage<'a>, CliError> {
    let sellers = SELLERS.map(|(name, price)| (name, format!("will sell {SERVICE} for {price} {UNIT}")));
    let traders: Vec<_> = std::iter::once((OWNER, "hires, and remembers".to_owned())).chain(sellers).collect();
    Stage::set(narrator, folder, &traders).await
}

pub(super) async fn play(stage: &mut Stage<'_>) -> Result<(), CliError> {
    let narrator = stage.narrator;
    narrator.head("Money and wares")?;
    stage.fund(OWNER, 100).await?;
    for (name, price) in SELLERS {
        let description = "The three weightiest sentences of a text";
        stage.sell(name, &Sale { service: SERVICE, description, price, work: "summarize", more: "" }).await?;
    }
    stage.meet(OWNER, SERVICE, SELLERS.len()).await?;

    narrator.head("What is hired is remembered, with where it is from")?;
    let lie = bought(stage, "cheap", "cheap says that the parser is generated: xyzzy").await?;
    let derived = said(stage, new("So parsers are to be generated", &[format!("memory:{}", lie.id)])).await?;
    let truth = bought(stage, "fair", "fair says that the parser is written by hand").await?;
    for (text, time) in [("The tests take 9 minutes", BEFORE), ("The tests take 12 minutes", AFTER)] {
        let time = Some(Timestamp::from_secs(time));
        said(stage, RememberRequest { subject: Some("tests".into()), time, ..new(text, &[]) }).await?;
    }

    narrator.head("The node is killed")?;
    tokio::time::sleep(JOURNAL_PATIENCE).await;
    stage.kill_and_restart(OWNER).await?;
    narrator.hold(recall(stage, "parser").await?.len() >= 3, "what was remembered is there")?;

    narrator.head("The dream: fewer and plainer memories, by rules, without a model")?;
    let dream: DreamView = post(stage, "/v1/memory/dream", &DreamRequest::default()).await?;
    for change in &dream.changes {
        let lines = change.old.iter().map(|line| ('-', line)).chain(change.new.iter().map(|line| ('+', line)));
        let lines: Vec<_> = lines.map(|(sign, line)| format!("{sign} [{}] {}", line.trust, line.text)).collect();
        let told: Vec<_> = lines.iter().map(|line| one_line(&stage.named(line)).into_owned()).collect();
        narrator.tell("change", json!({ "change": change }), told.join("\n"))?;
    }
    let kinds = |kind| dream.changes.iter().filter(|change| change.kind == kind).count();
    narrator.hold(kinds(ChangeKind::Superseded) == 1, "of two values the later one holds")?;
    narrator.hold(kinds(ChangeKind::Counted) == 2, "what both sellers did is counted, though the node was killed")?;

    narrator.head("Where it is from")?;
    let steps: Vec<LineageStep> =
        stage.node(OWNER)?.client.get(&format!("/v1/memories/{}/lineage", derived.id)).await?;
    for step in &steps {
        let text = step.memory.as_ref().map_or(step.source.as_str(), |memory| memory.text.as_str());
        let depth = usize::try_from(step.depth).unwrap_or_default().min(8);
        let line = format!("{}{}", "  ".repeat(depth), one_line(&stage.named(text)));
        narrator.tell("lineage", json!({ "depth": step.depth, "source": step.source }), line)?;
    }
    let is_receipt = |step: &LineageStep| step.source.starts_with("receipt:");
    narrator.hold(steps.iter().any(is_receipt), "it leads down to the receipt")?;

    narrator.head("cheap turns out bad")?;
    let from = Some(stage.node("cheap")?.id.peer_id());
    let request = ForgetRequest { from, ..ForgetRequest::default() };
    let gone: ForgottenView = post(stage, "/v1/memory/forget", &request).await?;
    narrator.tell(
        "forgotten",
        json!({ "ids": gone.ids }),
        format_args!("owner forgets all that came of cheap: {} memories", gone.ids.len()),
    )?;
    narrator.hold(gone.ids.contains(&lie.id) && gone.ids.contains(&derived.id), "what was made of it went, too")?;
    let left: Vec<_> = recall(stage, "parser generated hand").await?.into_iter().map(|found| found.id).collect();
    narrator.hold(left.contains(&truth.id) && !left.contains(&derived.id), "what fair said stays")?;
    let file = std::fs::read(stage.dir.join(OWNER).join("memory.redb"));
    let file = file.map_err(|cause| CliError::io("can't read the memory's file", &cause))?;
    narrator.hold(!file.windows(5).any(|window| window == b"xyzzy"), "no byte of the lie is in the file")
}

/// Hires a seller, and remembers what is to be thought of its output.
async fn bought(stage: &Stage<'_>, seller: &str, text: &str) -> Result<RememberedView, CliError> {
    let service = SERVICE.parse().map_err(|_| lab_error(format!("{SERVICE} is no service's name")))?;
    let wanted = Hire {
        max_price: Some(20),
        unit: UNIT.parse().ok(),
        deadline_secs: Some(30),
        seller: Some(stage.node(seller)?.id),
        ..Hire::of(service)
    };
    let ended: TaskView = stage.hire(OWNER, &wanted, &Bytes::from_static(TEXT)).await?;
    said(stage, new(text, &[format!("task:{}", ended.id)])).await
}

fn new(text: &str, sources: &[String]) -> RememberRequest {
    let (text, domain, sources) = (text.to_owned(), DOMAIN.to_owned(), sources.to_vec());
    RememberRequest { text, domain, sources, ..RememberRequest::default() }
}

async fn said(stage: &Stage<'_>, request: RememberRequest) -> Result<RememberedView, CliError> {
    let done: RememberedView = post(stage, "/v1/memories", &request).await?;
    stage.narrator.tell(
        "remembered",
        json!({ "id": done.id, "trust": done.trust }),
        format_args!("owner remembers ({}): {}", done.trust, request.text),
    )?;
    Ok(done)
}

async fn recall(stage: &Stage<'_>, question: &str) -> Result<Vec<MemoryView>, CliError> {
    let asked = RecallQuery { query: question.to_owned(), ..RecallQuery::default() };
    Ok(stage.node(OWNER)?.client.get(&crate::api::client::query("/v1/memories", &asked)?).await?)
}

async fn post<T: DeserializeOwned>(
    stage: &Stage<'_>,
    path: &str,
    request: &impl serde::Serialize,
) -> Result<T, CliError> {
    Ok(stage.node(OWNER)?.client.post(path, request).await?)
}
