//! Five nodes, one task.
//!
//! ```text
//! mint ◀── bootstrap ── buyer, cheap, fair, dear        separate processes; they know one address and nothing else
//!   │ play money ──▶ buyer
//! buyer ── find, ask ──▶ cheap, fair, dear ── offers ──▶ buyer ── award, locked money ──▶ the best
//! seller ── subprocess ── delivery, receipt ──▶ buyer          seller ── redeems ──▶ mint
//! ```

use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::{
    narrator::Narrator,
    stage::{Sale, Stage},
};
use crate::{
    api::types::{Hire, TaskView},
    console::CliError,
    lab::{
        folder::Folder,
        swarm::{UNIT, lab_error},
    },
};

const SERVICE: &str = "text.summarize";
const FUNDS: u64 = 1_000;
/// Each seller's name and net price.
const SELLERS: [(&str, u64); 3] = [("cheap", 7), ("fair", 9), ("dear", 14)];

/// What is summarized if nothing is named.
const README: &[u8] = include_bytes!("../../../../README.md");

pub(super) fn read_input(file: Option<&Path>) -> Result<Bytes, CliError> {
    let Some(path) = file else { return Ok(Bytes::from_static(README)) };
    let bytes = std::fs::read(path).map_err(|cause| CliError::io(format!("can't read {}", path.display()), &cause))?;
    Ok(bytes.into())
}

pub(super) async fn set<'a>(narrator: &'a Narrator<'a>, folder: &mut Folder) -> Result<Stage<'a>, CliError> {
    let sellers = SELLERS.map(|(name, price)| (name, format!("will sell {SERVICE} for {price} {UNIT}")));
    let traders: Vec<_> = std::iter::once(("buyer", "wants a text summarized".to_owned())).chain(sellers).collect();
    Stage::set(narrator, folder, &traders).await
}

pub(super) async fn play(stage: &Stage<'_>, input: &Bytes) -> Result<(), CliError> {
    let narrator = stage.narrator;
    narrator.head("Money and wares")?;
    stage.fund("buyer", FUNDS).await?;
    for (name, price) in SELLERS {
        let description = "The three weightiest sentences of a text";
        stage.sell(name, &Sale { service: SERVICE, description, price, work: "summarize", more: "" }).await?;
    }
    stage.meet("buyer", SERVICE, SELLERS.len()).await?;
    let before = stage.balances().await?;

    narrator.head("The task")?;
    let service = SERVICE.parse().map_err(|_| lab_error(format!("{SERVICE} is no service's name")))?;
    let wanted = Hire { max_price: Some(20), unit: UNIT.parse().ok(), deadline_secs: Some(30), ..Hire::of(service) };
    let ended = stage.hire("buyer", &wanted, input).await?;
    let best = took_the_best(stage, &ended)?;
    let output = stage.output("buyer", &ended).await?;

    narrator.head("The money")?;
    stage.redeemed(best, &ended.id).await?;
    let after = stage.balances().await?;
    stage.account(&before, &after)?;
    let gained = after.get(best).zip(before.get(best)).map(|(after, before)| after.held - before.held);
    narrator.hold(gained == ended.price, "the seller has its net price")?;

    narrator.head("The proof")?;
    stage.prove("buyer", &ended).await?;
    narrator.head("The summary")?;
    narrator.tell("output", json!({ "text": output }), output.trim_end())
}

fn took_the_best(stage: &Stage<'_>, ended: &TaskView) -> Result<&'static str, CliError> {
    let Some((best, price)) = SELLERS.into_iter().min_by_key(|(_, price)| *price) else {
        return Err(lab_error("there is no seller".into()));
    };
    stage.narrator.hold(ended.price == Some(price), "the best offer was taken")?;
    let did = ended.peer.as_deref().and_then(|peer| stage.name_of(peer));
    stage.narrator.hold(did == Some(best), "its seller did the work")?;
    Ok(best)
}
