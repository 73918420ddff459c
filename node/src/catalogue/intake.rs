//! Adverts in, by gossip and as answers to queries: what is verified is kept, and gossip that was news is forwarded; what is
//! stale is dropped; what is forged costs its forwarder.

use std::sync::Mutex;

use guilder_protocol::{
    claim::Claim,
    discovery::Topic,
    envelope::{self, EnvelopeError, Relayed, Signed},
    fault::{AtFault, Fault},
    identity::AgentId,
    market::{Advert, ServiceName, Withdrawal},
    time::Timestamp,
};
use tokio::sync::{broadcast, mpsc};

use super::{
    Listing, Pattern,
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
    Advert(Relayed<Advert>),
    Withdrawal(Relayed<Withdrawal>),
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

    /// The adverts that hold, of all services that a pattern matches.
    pub(super) fn matching(&self, pattern: &Pattern) -> Vec<Listing> {
        lock(&self.cache).matching(self.runtime.now(), |service| pattern.matches(service))
    }

    /// A seller says that it doesn't offer the service any more.
    pub(super) fn gone(&self, service: &ServiceName, seller: AgentId) {
        lock(&self.cache).end(service.clone(), seller, self.runtime.now());
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
            let verdict = match &message.topic {
                Topic::Service(service) => self.verdict(message.from, service, &message.bytes),
                // Another room's.
                Topic::Revocations => Verdict::Ignore,
            };
            self.network.validate(message.id, verdict).await;
        }
    }

    /// Some 50 microseconds of work, nearly all of it one signature: not worth a thread. The network bounds how often
    /// each forwarder may ask for it.
    fn verdict(&self, from: AgentId, topic: &ServiceName, bytes: &[u8]) -> Verdict {
        match read(bytes) {
            Ok(Statement::Advert(heard)) if heard.payload().body.service == *topic => {
                let until = heard.payload().iat;
                match heard.clone().understood() {
                    Ok(advert) => self.take_advert(from, &advert),
                    Err(_) => self.pass_on(heard.payload(), topic, until),
                }
            }
            Ok(Statement::Withdrawal(heard)) if heard.payload().body.service == *topic => {
                let until = heard.payload().body.until.min(heard.payload().iat);
                match heard.clone().understood() {
                    Ok(withdrawal) => self.take_withdrawal(&withdrawal),
                    Err(_) => self.pass_on(heard.payload(), topic, until),
                }
            }
            Ok(_) => Verdict::Reject,
            // A later version's: it isn't for us to judge.
            Err(error) if error.fault() == Fault::Incompatible => Verdict::Ignore,
            Err(_) => Verdict::Reject,
        }
    }

    /// Passes on, once, what calls critical something that we don't understand: others may. What its issuer said of the
    /// service up to then no longer counts for us, for it wouldn't say so any more.
    fn pass_on<B>(&self, claim: &Claim<B>, service: &ServiceName, until: Timestamp) -> Verdict {
        if claim.timely(self.runtime.now()).is_err() || claim.iss == self.network.local() {
            return Verdict::Ignore;
        }
        match lock(&self.cache).end(service.clone(), claim.iss, until) {
            Kept::New => Verdict::Accept,
            Kept::Stale | Kept::TooSoon => Verdict::Ignore,
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
    match envelope::tag_of(bytes).and_then(|tag| tag.split('@').next()) {
        Some("guilder/withdrawal") => Relayed::decode(bytes).map(Statement::Withdrawal),
        _ => Relayed::decode(bytes).map(Statement::Advert),
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
    /// A schema that isn't the one of its hash.
    #[error("the schema is not the one of its hash")]
    OtherSchema,
    /// Nobody asked for it.
    #[error("an answer to no question of ours")]
    Unasked,
}
