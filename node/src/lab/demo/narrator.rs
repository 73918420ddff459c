//! What is shown of a demo: each step as it happens, with its time.

use std::{fmt, time::Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    api::{
        client,
        types::{DescribedEvent, NodeEvent},
    },
    console::{CliError, Printer, harmless::one_line},
    events::Event,
    lab::swarm::{LabNode, lab_error},
};

/// Events of all nodes that may wait to be shown.
const BACKLOG: usize = 1_024;
/// Says what happens, with the time since the beginning.
#[derive(Debug)]
pub(super) struct Narrator<'a> {
    printer: &'a Printer,
    began: Instant,
}

impl<'a> Narrator<'a> {
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
        self.tell("node", fields, format_args!("{name:7} {what}\n        {id}, ready after {ready_ms} ms"))
    }

    /// An event of a node, with the demo's names in place of peer IDs. What doesn't tell the story stays in the node's log.
    pub(super) fn event(&self, node: &str, said: &DescribedEvent, names: &[(String, String)]) -> Result<(), CliError> {
        let Some(step) = step(&said.event.event) else { return Ok(()) };
        let mut say = one_line(&said.say).into_owned();
        for (tail, name) in names {
            say = say.replace(tail, name);
        }
        self.tell(step, json!({ "node": node, "event": said }), format_args!("{node:7} {say}"))
    }

    /// Something that must hold.
    pub(super) fn hold(&self, holds: bool, what: &str) -> Result<(), CliError> {
        self.tell("check", json!({ "what": what, "holds": holds }), format_args!("check: {what}: {holds}"))?;
        if holds { Ok(()) } else { Err(lab_error(format!("it does not hold that {what}"))) }
    }
}

/// The events that tell the story, each by the name of its step.
fn step(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Searching { .. } => "searching",
        Event::SellerFound { .. } => "seller_found",
        Event::Asked { .. } => "asked",
        Event::Offered { .. } => "offered",
        Event::Declined { .. } => "declined",
        Event::Awarded { .. } => "awarded",
        Event::Accepted { .. } => "accepted",
        Event::Refused { .. } => "refused",
        Event::Progress { .. } => "progress",
        Event::Delivered { .. } => "delivered",
        Event::Locked { .. } => "locked",
        Event::Swapped { .. } => "swapped",
        Event::Redeemed { .. } => "redeemed",
        _ => return None,
    })
}

/// All events of these nodes from now on, each with its node's name.
pub(super) async fn watch(
    nodes: impl Iterator<Item = &LabNode>,
) -> Result<mpsc::Receiver<(String, DescribedEvent)>, CliError> {
    let (tell, heard) = mpsc::channel(BACKLOG);
    for node in nodes {
        let mut events = node.client.lines::<NodeEvent>(Method::GET, "/v1/events", client::empty()).await?;
        let (tell, name) = (tell.clone(), node.name.clone());
        // The lab is no node: there is no runtime of ours to spawn on. Ends with the node or the listener.
        tokio::spawn(async move {
            while let Ok(Some(told)) = events.next().await {
                if let NodeEvent::Event(said) = told
                    && tell.send((name.clone(), *said)).await.is_err()
                {
                    return;
                }
            }
        });
    }
    Ok(heard)
}
