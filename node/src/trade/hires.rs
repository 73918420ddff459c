//! The hires under way: who may answer which, and how each is called off.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use cid::Cid;
use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    limits::MAX_SUB_RECEIPTS,
    market::{Ask, Offer},
    wire::Reason,
};
use tokio::sync::{mpsc, watch};

use super::limits::{ANSWERS, MAX_HIRES};
use crate::{store::StoreError, sync::lock};

/// The registry of hires under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Hires(Arc<Mutex<BTreeMap<Cid, Slot>>>);

/// What is wanted by a hire.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) ask: Signed<Ask>,
    /// The award for whose sake it is hired.
    pub(super) under: Option<Cid>,
    /// What its caller calls it.
    pub(super) label: Option<String>,
    /// Whether a service of this node's own does it.
    pub(super) own: bool,
}

/// A hire under way, as others see it.
#[derive(Debug)]
struct Slot {
    wanted: Wanted,
    /// Sellers that were asked and haven't answered: nobody else's answer is taken.
    asked: BTreeSet<AgentId>,
    answers: mpsc::Sender<Answer>,
    cancel: watch::Sender<bool>,
    trade: Option<Cid>,
    /// The caller that it is for, if that isn't the owner.
    by: Option<String>,
}

/// A seller's answer to an ask.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) from: AgentId,
    /// Its offers, one for each way to pay, or why there is none.
    pub(super) what: Result<Vec<Signed<Offer>>, Reason>,
}

/// A hire's own end of its slot, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct HireSlot {
    hires: Hires,
    task: Cid,
    cancel: watch::Receiver<bool>,
}

/// What became of a wish to call a task off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CalledOff {
    /// The hire knows, and awards nothing any more.
    Before,
    /// It was awarded: the trade has to be called off.
    Awarded(Cid),
    /// No hire of this name is under way.
    Unknown,
}

/// Why there is no room for a hire.
#[derive(Debug)]
pub(super) enum Crowded {
    /// As many are under way as may be.
    Hires,
    /// As many were made for the sake of one task as its receipt can name.
    Task,
    /// The store can't be read.
    Store(StoreError),
}

impl From<StoreError> for Crowded {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Hires {
    /// A slot for a new hire, and where its answers come in. What was made before for the sake of the same award is read by
    /// `made` under the lock: a hire leaves only once it is on record, so none is missed between the two.
    pub(super) fn open(
        &self,
        wanted: Wanted,
        made: impl FnOnce(Cid) -> Result<Vec<Cid>, StoreError>,
    ) -> Result<(HireSlot, mpsc::Receiver<Answer>), Crowded> {
        let (answers, inbox) = mpsc::channel(ANSWERS);
        let (cancel, cancelled) = watch::channel(false);
        let (task, under) = (wanted.ask.cid(), wanted.under);
        let mut hires = lock(&self.0);
        if hires.len() >= MAX_HIRES {
            return Err(Crowded::Hires);
        }
        if let Some(award) = under {
            let going = hires.iter().filter(|(_, slot)| slot.wanted.under == under).map(|(task, _)| *task);
            let all: BTreeSet<Cid> = going.chain(made(award)?).collect();
            if all.len() >= MAX_SUB_RECEIPTS {
                return Err(Crowded::Task);
            }
        }
        hires.insert(task, Slot { wanted, asked: BTreeSet::new(), answers, cancel, trade: None, by: None });
        Ok((HireSlot { hires: self.clone(), task, cancel: cancelled }, inbox))
    }

    /// Hands a seller's answer to the hire that asked it. Late answers and unasked ones go nowhere.
    pub(super) fn answer(&self, ask: Cid, answer: Answer) {
        if let Some(slot) = lock(&self.0).get_mut(&ask)
            && slot.asked.remove(&answer.from)
        {
            // There is room for an answer of each that was asked.
            let _ = slot.answers.try_send(answer);
        }
    }

    /// Calls a hire off.
    pub(super) fn call_off(&self, task: Cid) -> CalledOff {
        match lock(&self.0).get(&task) {
            Some(slot) => {
                slot.cancel.send_replace(true);
                slot.trade.map_or(CalledOff::Before, CalledOff::Awarded)
            }
            None => CalledOff::Unknown,
        }
    }

    /// Whether a hire of this name is under way, before or after its awards.
    pub(super) fn is_under_way(&self, task: Cid) -> bool {
        lock(&self.0).contains_key(&task)
    }

    /// The caller that it is for; `None` for the owner's, and for one that isn't under way.
    pub(super) fn by(&self, task: Cid) -> Option<String> {
        lock(&self.0).get(&task).and_then(|slot| slot.by.clone())
    }

    /// Those made for the sake of an award, by their asks.
    pub(super) fn under(&self, award: Cid) -> Vec<Cid> {
        lock(&self.0).iter().filter(|(_, slot)| slot.wanted.under == Some(award)).map(|(task, _)| *task).collect()
    }

    /// How many there are for which no award was given yet.
    pub(super) fn searching_len(&self) -> usize {
        lock(&self.0).values().filter(|slot| slot.trade.is_none()).count()
    }

    /// Those for which no award was given yet.
    pub(super) fn searching(&self) -> Vec<Wanted> {
        lock(&self.0).values().filter(|slot| slot.trade.is_none()).map(|slot| slot.wanted.clone()).collect()
    }
}

impl HireSlot {
    /// Lets a seller answer.
    pub(super) fn expect(&self, seller: AgentId) {
        if let Some(slot) = lock(&self.hires.0).get_mut(&self.task) {
            slot.asked.insert(seller);
        }
    }

    /// Tells whoever calls the task off where to: the trade, or to the hire itself.
    pub(super) fn note_trade(&self, trade: Option<Cid>) {
        if let Some(slot) = lock(&self.hires.0).get_mut(&self.task) {
            slot.trade = trade;
        }
    }

    /// Notes whom it is for.
    pub(super) fn note_by(&self, by: Option<&str>) {
        if let Some(slot) = lock(&self.hires.0).get_mut(&self.task) {
            slot.by = by.map(str::to_owned);
        }
    }

    /// Whether the task has been called off.
    pub(super) fn is_called_off(&self) -> bool {
        *self.cancel.borrow()
    }

    /// Waits until the task is called off.
    pub(super) async fn called_off(&self) {
        // The registry holds the other end for as long as this lives.
        let _ = self.cancel.clone().wait_for(|cancelled| *cancelled).await;
    }
}

impl Drop for HireSlot {
    fn drop(&mut self) {
        lock(&self.hires.0).remove(&self.task);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{bytes::ByteArray, cbor::cid_of, identity::AgentKey, market::AskBody, settlement::Mode};

    use super::*;

    fn wanted(number: u8, under: Option<Cid>) -> Wanted {
        Wanted { ask: ask(number), under, label: None, own: false }
    }

    fn ask(number: u8) -> Signed<Ask> {
        let now = guilder_protocol::time::Timestamp::from_secs(1_000_000);
        let body = AskBody {
            service: "text.echo".parse().unwrap(),
            max_price: 1,
            unit: "play".parse().unwrap(),
            mints: vec!["https://mint.example".parse().unwrap()],
            modes: vec![Mode::Prepaid],
            input_size: 0,
            deadline: now.saturating_add(60),
        };
        let (exp, key) = (Some(now.saturating_add(30)), AgentKey::from_seed(&[1; 32]));
        Signed::claim(body, now, exp, ByteArray([number; 16]), &key).unwrap()
    }

    fn on_record(recorded: Vec<Cid>) -> impl FnOnce(Cid) -> Result<Vec<Cid>, StoreError> {
        move |_| Ok(recorded)
    }

    /// As many at once as one receipt can name: counted where they are added, with those that are on record by then.
    #[test]
    fn no_more_are_made_at_once_for_one_task_than_its_receipt_can_name() {
        let (hires, award, other) = (Hires::default(), cid_of(b"award"), cid_of(b"other"));
        let mut open = Vec::new();
        // Two are over; of those that go on one is on record, too.
        let recorded = vec![cid_of(b"one"), cid_of(b"two"), ask(0).cid()];
        for number in 0..62 {
            open.push(hires.open(wanted(number, Some(award)), on_record(recorded.clone())).unwrap());
        }
        let more = hires.open(wanted(62, Some(award)), on_record(recorded.clone()));
        assert!(matches!(more, Err(Crowded::Task)), "{more:?}");
        assert!(hires.open(wanted(62, Some(other)), on_record(vec![])).is_ok());
        assert!(hires.open(wanted(62, None), |_| Err(StoreError::Closed)).is_ok(), "its own count for nothing");
        assert!(matches!(hires.open(wanted(63, Some(award)), |_| Err(StoreError::Closed)), Err(Crowded::Store(_))));
        // One that ends without a trace makes room.
        open.pop();
        assert!(hires.open(wanted(62, Some(award)), on_record(recorded)).is_ok());
    }
}
