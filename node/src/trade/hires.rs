//! The hires under way: who may answer which, and how each is called off.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use cid::Cid;
use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{Ask, Offer},
    wire::Reason,
};
use tokio::sync::{mpsc, watch};

use super::limits::{ANSWERS, MAX_HIRES};
use crate::sync::lock;

/// The registry of hires under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Hires(Arc<Mutex<BTreeMap<Cid, Slot>>>);

/// A hire under way, as others see it.
#[derive(Debug)]
struct Slot {
    ask: Signed<Ask>,
    /// The award for whose sake it is hired.
    under: Option<Cid>,
    /// Sellers that were asked and haven't answered: nobody else's answer is taken.
    asked: BTreeSet<AgentId>,
    answers: mpsc::Sender<Answer>,
    cancel: watch::Sender<bool>,
    trade: Option<Cid>,
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

impl Hires {
    /// A slot for a new hire, and where its answers come in; `None` if there are too many.
    pub(super) fn open(&self, ask: Signed<Ask>, under: Option<Cid>) -> Option<(HireSlot, mpsc::Receiver<Answer>)> {
        let (answers, inbox) = mpsc::channel(ANSWERS);
        let (cancel, cancelled) = watch::channel(false);
        let task = ask.cid();
        let mut hires = lock(&self.0);
        if hires.len() >= MAX_HIRES {
            return None;
        }
        hires.insert(task, Slot { ask, under, asked: BTreeSet::new(), answers, cancel, trade: None });
        Some((HireSlot { hires: self.clone(), task, cancel: cancelled }, inbox))
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

    /// Those made for the sake of an award, by their asks.
    pub(super) fn under(&self, award: Cid) -> Vec<Cid> {
        lock(&self.0).iter().filter(|(_, slot)| slot.under == Some(award)).map(|(task, _)| *task).collect()
    }

    /// How many there are for which no award was given yet.
    pub(super) fn searching_len(&self) -> usize {
        lock(&self.0).values().filter(|slot| slot.trade.is_none()).count()
    }

    /// The asks for which no award was given yet.
    pub(super) fn searching(&self) -> Vec<Signed<Ask>> {
        lock(&self.0).values().filter(|slot| slot.trade.is_none()).map(|slot| slot.ask.clone()).collect()
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
