//! Adverts in, by gossip and as answers to queries: what is verified is kept, and gossip that was news is forwarded; what is
//! stale is dropped; what is forged costs its forwarder.

use std::sync::Mutex;

use guilder_protocol::{
    envelope::{EnvelopeError, Signed},
    fault::{AtFault, Fault},
    identity::AgentId,
    market::{Advert, ServiceName, Withdrawal},
};
use tokio::sync::{broadcast, mpsc};

use super::{
    Listing,
    cache::{Cache, Kept},
    limits::LIVE_ADVERTS,
};
use crate::{
    events::{Event, Events, Money},
    network::{Gossip, Network, Verdict},
    runtime::Runtime,
    sync::lock,
};

/// What travels on a service's topic.
enum Statement {
    Advert(Signed<Advert>),
    Withdrawal(Signed<Withdrawal>),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Intake {
    network: Network,
    runtime: Runtime,
    events: Events,
    cache: Mutex<Cache>,
    /// Tells searches of adverts that come while they wait.
    live: broadcast::Sender<Listing>,
}

impl Intake {
    pub(super) fn new(network: Network, runtime: Runtime, events: Events) -> Self {
        Self { network, runtime, events, cache: Mutex::default(), live: broadcast::channel(LIVE_ADVERTS).0 }
    }

    /// The adverts that are kept from now on, as they come. A listener that lags misses the oldest.
    pub(super) fn live(&self) -> broadcast::Receiver<Listing> {
        self.live.subscribe()
    }

    /// The seller's advert of the service, if we have one that holds.
    pub(super) fn get(&self, service: &ServiceName, seller: AgentId) -> Option<Listing> {
        lock(&self.cache).get(service, seller, self.runtime.now())
    }

    /// The adverts of the service that hold.
    pub(super) fn of_service(&self, service: &ServiceName) -> Vec<Listing> {
        lock(&self.cache).of_service(service, self.runtime.now())
    }

    /// How many adverts are kept.
    pub(super) fn known(&self) -> usize {
        lock(&self.cache).len()
    }

    /// Forgets what no longer holds.
    pub(super) fn expire(&self) {
        lock(&self.cache).expire(self.runtime.now());
    }

    /// Judges gossip until the network is gone.
    pub(super) async fn judge(&self, mut gossip: mpsc::Receiver<Gossip>) {
        while let Some(message) = gossip.recv().await {
            let verdict = self.verdict(message.from, &message.topic, &message.bytes);
            self.network.validate(message.id, verdict).await;
        }
    }

    /// Some 50 microseconds of work, nearly all of it one signature: not worth a thread. The network bounds how often
    /// each forwarder may ask for it.
    fn verdict(&self, from: AgentId, topic: &ServiceName, bytes: &[u8]) -> Verdict {
        match read(bytes) {
            Ok(Statement::Advert(advert)) if advert.body.service == *topic => self.take_advert(from, &advert),
            Ok(Statement::Withdrawal(withdrawal)) if withdrawal.body.service == *topic => {
                self.take_withdrawal(&withdrawal)
            }
            Ok(_) => Verdict::Reject,
            // Another algorithm may be a later version's; it isn't for us to judge.
            Err(error) if error.fault() == Fault::Incompatible => Verdict::Ignore,
            Err(_) => Verdict::Reject,
        }
    }

    fn take_advert(&self, from: AgentId, advert: &Signed<Advert>) -> Verdict {
        let now = self.runtime.now();
        // Untimely may be our own clock's fault; our own needs no echo.
        if advert.timely(now).is_err() || advert.issuer() == self.network.local() {
            return Verdict::Ignore;
        }
        match self.keep(advert, from) {
            Kept::New => Verdict::Accept,
            Kept::Stale | Kept::TooSoon => Verdict::Ignore,
        }
    }

    fn take_withdrawal(&self, withdrawal: &Signed<Withdrawal>) -> Verdict {
        let now = self.runtime.now();
        if withdrawal.timely(now).is_err() || withdrawal.issuer() == self.network.local() {
            return Verdict::Ignore;
        }
        let kept = lock(&self.cache).withdraw(withdrawal);
        if kept != Kept::New {
            return Verdict::Ignore;
        }
        let (seller, service) = (withdrawal.issuer(), withdrawal.body.service.to_string());
        self.events.emit(Event::AdvertWithdrawn { seller, service });
        Verdict::Accept
    }

    /// Takes an advert that its seller sent us itself.
    ///
    /// # Errors
    /// If it doesn't hold, or isn't the sender's own.
    pub(super) fn take_answer(&self, from: AgentId, bytes: &[u8]) -> Result<Signed<Advert>, BadAnswer> {
        let advert = Signed::<Advert>::decode(bytes).map_err(BadAnswer::Envelope)?;
        if advert.issuer() != from {
            return Err(BadAnswer::NotItsOwn);
        }
        let now = self.runtime.now();
        advert.timely(now).map_err(|_| BadAnswer::Untimely)?;
        self.keep(&advert, from);
        Ok(advert)
    }

    fn keep(&self, advert: &Signed<Advert>, from: AgentId) -> Kept {
        let kept = lock(&self.cache).keep(advert.clone(), from, self.runtime.now());
        if kept == Kept::New {
            self.tell_seen(advert);
            // Fails only if no search waits.
            let _ = self.live.send(Listing::new(advert.clone()));
        }
        kept
    }

    fn tell_seen(&self, advert: &Signed<Advert>) {
        let price = Money { amount: advert.body.price, unit: advert.body.unit.to_string() };
        let (seller, service) = (advert.issuer(), advert.body.service.to_string());
        self.events.emit(Event::AdvertSeen { seller, service, price });
    }
}

/// An advert or a withdrawal. The envelope's tag tells which before any signature is checked.
fn read(bytes: &[u8]) -> Result<Statement, EnvelopeError> {
    match Signed::decode(bytes) {
        Ok(advert) => Ok(Statement::Advert(advert)),
        Err(EnvelopeError::Encoding(_)) => Signed::decode(bytes).map(Statement::Withdrawal),
        Err(error) => Err(error),
    }
}

/// Why a seller's answer to a query isn't taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAnswer {
    /// The envelope doesn't hold.
    #[error(transparent)]
    Envelope(EnvelopeError),
    /// Another agent's advert.
    #[error("the advert is not its sender's own")]
    NotItsOwn,
    /// Expired, or dated in the future.
    #[error("the advert has expired, or is dated in the future")]
    Untimely,
    /// Nobody asked for it.
    #[error("an answer to no question of ours")]
    Unasked,
}
