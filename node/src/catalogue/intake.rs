//! Gossip in: what is verified is kept and forwarded, what is stale is dropped, what is forged costs its forwarder.

use guilder_protocol::{
    envelope::{EnvelopeError, Signed},
    fault::{AtFault, Fault},
    identity::AgentId,
    market::{Advert, ServiceName, Withdrawal},
};
use tokio::sync::mpsc;

use super::{Catalogue, cache::Kept};
use crate::{
    events::{Event, Money},
    network::{Gossip, Verdict},
    sync::lock,
};

/// What travels on a service's topic.
enum Statement {
    Advert(Signed<Advert>),
    Withdrawal(Signed<Withdrawal>),
}

impl Catalogue {
    /// Judges gossip until the network is gone.
    pub(super) async fn judge(&self, mut gossip: mpsc::Receiver<Gossip>) {
        while let Some(message) = gossip.recv().await {
            let verdict = self.verdict(&message.topic, &message.bytes);
            self.0.network.validate(message.id, verdict).await;
        }
    }

    /// Some 50 microseconds of work, nearly all of it one signature: not worth a thread. The network bounds how often
    /// each forwarder may ask for it.
    fn verdict(&self, topic: &ServiceName, bytes: &[u8]) -> Verdict {
        match read(bytes) {
            Ok(Statement::Advert(advert)) if advert.body.service == *topic => self.take_advert(&advert),
            Ok(Statement::Withdrawal(withdrawal)) if withdrawal.body.service == *topic => {
                self.take_withdrawal(&withdrawal)
            }
            Ok(_) => Verdict::Reject,
            // Another algorithm may be a later version's; it isn't for us to judge.
            Err(error) if error.fault() == Fault::Incompatible => Verdict::Ignore,
            Err(_) => Verdict::Reject,
        }
    }

    fn take_advert(&self, advert: &Signed<Advert>) -> Verdict {
        let now = self.0.runtime.now();
        // Untimely may be our own clock's fault; our own needs no echo.
        if advert.timely(now).is_err() || advert.issuer() == self.local() {
            return Verdict::Ignore;
        }
        let kept = lock(&self.0.cache).keep(advert.clone(), now);
        if kept != Kept::New {
            return Verdict::Ignore;
        }
        self.tell_seen(advert);
        Verdict::Accept
    }

    fn take_withdrawal(&self, withdrawal: &Signed<Withdrawal>) -> Verdict {
        let now = self.0.runtime.now();
        if withdrawal.timely(now).is_err() || withdrawal.issuer() == self.local() {
            return Verdict::Ignore;
        }
        let kept = lock(&self.0.cache).withdraw(withdrawal);
        if kept != Kept::New {
            return Verdict::Ignore;
        }
        let (seller, service) = (withdrawal.issuer(), withdrawal.body.service.to_string());
        self.0.events.emit(Event::AdvertWithdrawn { seller, service });
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
        let now = self.0.runtime.now();
        advert.timely(now).map_err(|_| BadAnswer::Untimely)?;
        if lock(&self.0.cache).keep(advert.clone(), now) == Kept::New {
            self.tell_seen(&advert);
        }
        Ok(advert)
    }

    fn tell_seen(&self, advert: &Signed<Advert>) {
        let price = Money { amount: advert.body.price, unit: advert.body.unit.to_string() };
        let (seller, service) = (advert.issuer(), advert.body.service.to_string());
        self.0.events.emit(Event::AdvertSeen { seller, service, price });
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
