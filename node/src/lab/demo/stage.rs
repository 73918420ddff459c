//! What the audience sees: each step as it happens, with its time.

use std::{fmt, time::Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    api::client,
    cli::{CliError, Printer},
    lab::swarm::{LabNode, lab_error},
};

/// Events of all nodes that may wait to be shown.
const BACKLOG: usize = 1_024;
/// The events that tell the story; the rest is in each node's log.
const SHOWN: [&str; 13] = [
    "searching",
    "seller_found",
    "asked",
    "offered",
    "declined",
    "awarded",
    "accepted",
    "refused",
    "progress",
    "delivered",
    "locked",
    "swapped",
    "redeemed",
];

/// Says what happens, with the time since the beginning.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    printer: &'a Printer,
    began: Instant,
}

impl<'a> Stage<'a> {
    pub(super) fn new(printer: &'a Printer) -> Self {
        Self { printer, began: Instant::now() }
    }

    /// A heading, for people.
    pub(super) fn head(&self, text: &str) -> Result<(), CliError> {
        if self.printer.json() { Ok(()) } else { self.printer.bytes(format!("\n{text}\n").as_bytes()) }
    }

    /// A step: `step` and its fields for machines, `text` for people.
    pub(super) fn tell(&self, step: &str, mut fields: Value, text: impl fmt::Display) -> Result<(), CliError> {
        let at = self.began.elapsed();
        fields["step"] = json!(step);
        fields["at_ms"] = json!(at.as_millis());
        let indented = text.to_string().replace('\n', "\n            ");
        self.printer.line(&fields, format_args!("  {:>6.3} s  {indented}", at.as_secs_f64()))
    }

    /// A node that is ready.
    pub(super) fn node(&self, node: &LabNode, what: &str) -> Result<(), CliError> {
        let ready_ms = node.ready_after.as_millis();
        let fields =
            json!({ "node": node.name, "peer_id": node.id.peer_id(), "pid": node.pid(), "ready_ms": ready_ms });
        let (name, id) = (&node.name, node.id.peer_id());
        self.tell("node", fields, format_args!("{name:5} {what}\n      {id}, ready after {ready_ms} ms"))
    }

    /// An event of a node, with the demo's names in place of peer IDs.
    pub(super) fn event(&self, node: &str, event: &Value, names: &[(String, String)]) -> Result<(), CliError> {
        let kind = event["event"].as_str().unwrap_or_default();
        if !SHOWN.contains(&kind) {
            return Ok(());
        }
        let mut say = event["say"].as_str().unwrap_or_default().to_owned();
        for (tail, name) in names {
            say = say.replace(tail, name);
        }
        self.tell(kind, json!({ "node": node, "event": event }), format_args!("{node:6} {say}"))
    }

    /// Something that must hold.
    pub(super) fn hold(&self, holds: bool, what: &str) -> Result<(), CliError> {
        self.tell("check", json!({ "what": what, "holds": holds }), format_args!("check: {what}: {holds}"))?;
        if holds { Ok(()) } else { Err(lab_error(format!("it does not hold that {what}"))) }
    }
}

/// All events of these nodes from now on, each with its node's name.
pub(super) async fn watch(nodes: impl Iterator<Item = &LabNode>) -> Result<mpsc::Receiver<(String, Value)>, CliError> {
    let (tell, told) = mpsc::channel(BACKLOG);
    for node in nodes {
        let mut lines = node.client.lines(Method::GET, "/v1/events", client::empty()).await?;
        let (tell, name) = (tell.clone(), node.name.clone());
        // The lab is no node: there is no runtime of ours to spawn on. Ends with the node or the audience.
        tokio::spawn(async move {
            while let Ok(Some(event)) = lines.next::<Value>().await {
                if tell.send((name.clone(), event)).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(told)
}
