//! A seller that passes an old receipt off as a new one.
//!
//! Its executor gives its first output back for whatever it is asked, under a true receipt for that: what a receipt commits to
//! is true, and worth nothing. Before that, here, it sends the buyer an earlier trade's receipt with that output as the delivery
//! of this one, by its own node's connections.

use bytes::Bytes;
use guilder::{
    content::Data,
    events::{Event, Heard, Side},
    parts::Node,
};
use guilder_protocol::{
    bytes::ByteArray,
    wire::{Delivered, Message, Output, Payload},
};
use serde_bytes::ByteBuf;

/// Replays for as long as the node lives.
pub(crate) async fn replay_receipts(node: Node) {
    let mut events = node.events.subscribe();
    let mut old: Option<Delivered> = None;
    while let Some(heard) = events.next().await {
        let Heard::Event(stamped) = heard else { continue };
        match stamped.event {
            Event::Delivered { trade, side: Side::Seller, .. } if old.is_none() => old = delivery(&node, trade),
            Event::Accepted { trade, side: Side::Seller, peer, .. } => {
                let Some(old) = &old else { continue };
                let Ok(frame) = Message::from(Delivered { award: trade, ..old.clone() }).encode() else { continue };
                // A buyer that won't hear more of it is one that does right.
                let _ = node.network.send(peer, Bytes::from(frame)).await;
            }
            _ => {}
        }
    }
}

/// What was delivered for a trade, but for the salt.
fn delivery(node: &Node, trade: cid::Cid) -> Option<Delivered> {
    let receipt = node.trade.evidence(trade).ok()??.receipts.pop()?;
    let Data::Inline(output) = node.trade.output(trade).ok()?? else { return None };
    let data = Payload::Inline(ByteBuf::from(output.to_vec()));
    let output = Some(Output { salt: ByteArray([0; 32]), data });
    Some(Delivered { award: trade, receipt: ByteBuf::from(receipt.bytes()), output, sealed: None, evidence: None })
}
