//! A node of today beside a peer that knows prepaid and nothing else: what that sends, and what it is sent, has the fields of the
//! frozen vectors and no others.

use std::{collections::BTreeSet, path::PathBuf};

use guilder_protocol::{
    cbor,
    envelope::Signed,
    market::Offer,
    settlement::Mode,
    wire::{Asked, Message},
};
use ipld_core::ipld::Ipld;
use serde_bytes::ByteBuf;

use super::{
    super::hire::HireMode,
    deviations::{Crook, How, shop},
    hostile::delivery,
    *,
};

/// The fields of a message, those of the statements in it included, as paths.
fn fields(frame: &[u8]) -> BTreeSet<String> {
    fn add(value: &Ipld, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Ipld::Map(map) => map.iter().for_each(|(name, value)| {
                let path = format!("{path}/{name}");
                add(value, &path, found);
                found.insert(path);
            }),
            Ipld::List(list) => list.iter().for_each(|value| add(value, path, found)),
            Ipld::Bytes(bytes) => {
                if let Ok(statement @ Ipld::List(_)) = cbor::decode::<Ipld>(bytes) {
                    add(&statement, path, found);
                }
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    add(&cbor::decode(frame).unwrap(), "", &mut found);
    found
}

fn frozen(name: &str) -> BTreeSet<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/vectors/wire");
    let text = std::fs::read_to_string(folder.join(format!("{name}.hex"))).unwrap();
    fields(&hex::decode(text.split_whitespace().collect::<String>()).unwrap())
}

/// Whether a message has no field that the vector of its kind doesn't have.
fn is_frozen(message: impl Into<Message>, name: &str) {
    let (found, frozen) = (fields(&message.into().encode().unwrap()), frozen(name));
    let new: Vec<_> = found.difference(&frozen).collect();
    assert!(new.is_empty() && found.len() > 1, "{name} has no {new:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_knows_prepaid_only_buys_from_a_node_that_prefers_escrow() {
    let (_bank, seller, mut raw) = shop().await;
    let ask = raw.ask(|ask| ask.modes = vec![Mode::Prepaid]);
    let asked = Asked { ask: ByteBuf::from(ask.bytes()) };
    is_frozen(asked.clone(), "04-asked");
    let Message::Offered(offered) = raw.say(asked).await else { panic!() };
    is_frozen(offered.clone(), "05-offered");
    let offered = (ask, Signed::<Offer>::decode(&offered.offer).unwrap());
    assert_eq!(offered.1.body.terms.mode(), Mode::Prepaid);
    let money = raw.lock(&offered.1).await;
    let deal = raw.award(&offered, &money, |_| {});
    is_frozen(deal.message(), "07-awarded-inline");
    raw.send(deal.message()).await;
    let accepted = raw.hear().await;
    is_frozen(accepted, "08-accepted");
    is_frozen(delivery(&mut raw).await, "11-delivered-inline");
    until(|| async { seller.spendable().await == 7 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_knows_prepaid_only_is_hired_as_a_stranger_up_to_what_one_gets() {
    let (_bank, buyer, seller, _wallet) = Crook::with_buyer(Mode::Prepaid, How::KnowsPrepaidOnly).await;
    let automatic = |stranger_max| Hire { mode: Some(HireMode::Auto), stranger_max, ..of(seller) };
    assert!(buyer.hire(automatic(6), b"hello").await.is_err());
    let hired = buyer.hire(automatic(7), b"hello").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    assert_eq!(hired.deal.award.part().mode(), Mode::Prepaid);
    is_frozen(hired.deal.message(), "07-awarded-inline");
    // Nothing is left out of an escrow that never was.
    assert_eq!((output(&hired), hired.ended.money), ("hello".into(), buyer::Money::Paid));
}
