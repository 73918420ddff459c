//! Who dreams: now and then by itself, when it is time; or when it is told to.
//!
//! What happened is read from the journal by the cursor that the last dream left, and from the tasks' own records: what a seller says of
//! itself counts nothing.

use guilder_protocol::fault::Fault;

use super::{
    Memory, MemoryError,
    dream::{Deed, DeedKind, Dream, Episode},
};
use crate::{
    events::{Event, Events, Journal, Outcome, Recalled, Side, Stamped},
    limits::DREAM_LOOK,
    runtime::Runtime,
    store::StoreError,
    trade::Trade,
};

/// Dreams of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dreamer {
    memory: Memory,
    journal: Journal,
    trade: Trade,
    events: Events,
    runtime: Runtime,
}

impl Dreamer {
    /// Looks now and then whether it is time, until the node stops.
    pub fn start(memory: Memory, journal: Journal, trade: Trade, events: Events, runtime: Runtime) -> Self {
        let dreamer = Self { memory, journal, trade, events, runtime };
        dreamer.runtime.spawn("memory/dream", dreamer.clone().run()).detach();
        dreamer
    }

    async fn run(self) {
        loop {
            tokio::time::sleep(DREAM_LOOK).await;
            if let Err(error) = self.dream_if_due().await {
                tracing::warn!(%error, "the memory was not gone through; trying again later");
            }
        }
    }

    /// Dreams if there is a memory and it is time. Says whether it did.
    ///
    /// # Errors
    /// As [`Dreamer::dream`].
    pub async fn dream_if_due(&self) -> Result<bool, MemoryError> {
        // A memory that was never used isn't made for it.
        if !self.memory.exists().await || !self.memory.is_time_to_dream().await? {
            return Ok(false);
        }
        self.dream().await.map(|_| true)
    }

    /// Dreams now.
    ///
    /// # Errors
    /// If somebody dreams already, or the disk fails: then nothing has changed.
    pub async fn dream(&self) -> Result<Dream, MemoryError> {
        let lease = self.memory.lease().await?;
        let done = match self.preview().await {
            Ok(plan) => self.memory.dream(lease, plan).await,
            Err(error) => Err(error),
        };
        match &done {
            Ok(Dream { memories, episodes, changes, .. }) => {
                let changes = changes.len() as u64;
                self.events.emit(Event::Dreamed { memories: *memories, episodes: *episodes, changes });
            }
            Err(MemoryError::Dreaming) => {}
            Err(_) => self.memory.give_back(lease).await?,
        }
        done
    }

    /// What a dream would do now.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn preview(&self) -> Result<Dream, MemoryError> {
        let episodes = self.episodes(self.memory.heard().await?).await?;
        self.memory.plan(episodes).await
    }

    /// What happened after a number of the journal.
    async fn episodes(&self, heard: u64) -> Result<Vec<Episode>, MemoryError> {
        let mut episodes = Vec::new();
        for recalled in self.journal.after(heard).await? {
            let Recalled::Event(event) = recalled else { continue };
            let deed = self.deed(&event)?;
            episodes.push(Episode { seq: event.seq, at: event.at, deed });
        }
        Ok(episodes)
    }

    fn deed(&self, event: &Stamped) -> Result<Option<Deed>, StoreError> {
        let (task, kind) = match &event.event {
            Event::Ended { task, side: Side::Buyer, outcome: Outcome::Done, .. } => (task, DeedKind::Delivered),
            Event::Ended { task, side: Side::Buyer, outcome: Outcome::Failed { fault: Fault::Peer, .. }, .. } => {
                (task, DeedKind::Failed)
            }
            Event::Cheated { task, side: Side::Buyer, .. } | Event::OutputInvalid { task, .. } => {
                (task, DeedKind::Cheated)
            }
            _ => return Ok(None),
        };
        let Some(view) = self.trade.show(*task)? else { return Ok(None) };
        // Work of our own has no seller.
        let (Some(seller), Some(_)) = (view.peer, view.trade) else { return Ok(None) };
        let price = view.price.map(|price| format!("{price} {}", view.unit));
        Ok(Some(Deed { seller, service: view.service.to_string(), kind, price }))
    }
}
