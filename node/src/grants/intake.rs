//! Revocations in, by gossip and from exchanges: what counts and is news is known at once, kept, and passed on.
//!
//! The cheap questions come first: what is known already, or would be too much, costs no signature.

use std::sync::{Arc, Mutex};

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    ucan::{Revocation, RevocationError, revocation::Claimed},
};
use tokio::sync::mpsc;

use super::{
    Shared,
    known::{Admission, Kept, Whose},
    limits::{NEWS_KIB_BURST, NEWS_KIB_PER_SEC},
    records::{REVOCATIONS, StoredRevocation, revocation_key},
};
use crate::{
    events::Event,
    network::{Gossip, Verdict, rate::Bucket},
    runtime::Job,
    sync::lock,
};

/// Takes in revocations.
#[derive(Debug)]
pub(super) struct Intake {
    shared: Arc<Shared>,
    rates: Mutex<Rates>,
}

/// How much news may still be taken in.
#[derive(Debug)]
struct Rates {
    strangers: Bucket,
    near: Bucket,
}

/// What became of a revocation.
#[derive(Debug)]
pub(super) enum Taken {
    /// It counts, is kept, and wasn't known.
    News,
    /// It is known, or about what has ended.
    Stale,
    /// There is no room for it, or too much came of late.
    NoRoom,
    /// It doesn't count.
    Refused(RevocationError),
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = shared.runtime.instant();
        let bucket = || Bucket::new(NEWS_KIB_PER_SEC, NEWS_KIB_BURST, now);
        Self { rates: Mutex::new(Rates { strangers: bucket(), near: bucket() }), shared }
    }

    /// Judges gossip until the network is gone.
    pub(super) async fn judge(&self, mut gossip: mpsc::Receiver<Gossip>) {
        while let Some(message) = gossip.recv().await {
            let verdict = match self.take(&message.bytes, message.from).await {
                Taken::News => Verdict::Accept,
                Taken::Stale | Taken::NoRoom => Verdict::Ignore,
                // A later version's, or another implementation's: not for us to judge.
                Taken::Refused(error) if error.fault() == Fault::Incompatible => Verdict::Ignore,
                Taken::Refused(error) => {
                    tracing::debug!(from = %message.from, %error, "a revocation doesn't count");
                    Verdict::Reject
                }
            };
            self.shared.network.validate(message.id, verdict).await;
        }
    }

    /// Takes one in that `source` brought.
    pub(super) async fn take(&self, bytes: &[u8], source: AgentId) -> Taken {
        let shared = &self.shared;
        let claimed = Revocation::peek(bytes);
        if claimed.is_some_and(|claimed| shared.is_known(claimed)) {
            return Taken::Stale;
        }
        // What it is once its signature holds.
        let near = |Claimed { revoker, delegation }| shared.whose(&(revoker, delegation));
        let whose = claimed.map_or(Whose::Stranger, near);
        if !self.has_time_for(bytes.len(), whose) {
            return Taken::NoRoom;
        }
        let owned = bytes.to_vec();
        // The revoker's signature and, most often, one more.
        let decoded = shared.runtime.offload(Job::Signatures(2), move || Revocation::decode(&owned)).await;
        let revocation = match decoded {
            Ok(revocation) => revocation,
            Err(error) => return Taken::Refused(error),
        };
        if revocation.is_over(shared.runtime.now()) {
            return Taken::Stale;
        }
        if whose != Whose::Stranger && !lock(&self.rates).near.take_many(kib(bytes.len()), shared.runtime.instant()) {
            return Taken::NoRoom;
        }
        let revoked = (revocation.revoker(), revocation.delegation());
        let kept = Kept { until: revocation.until(), bytes: bytes.len(), source, whose };
        let gone = match shared.known.admit(revoked, kept) {
            Admission::News(gone) => gone,
            Admission::Known => return Taken::Stale,
            Admission::NoRoom => return Taken::NoRoom,
        };
        shared.note_fresh(revoked, bytes);
        shared.events.emit(Event::Revoked { delegation: revoked.1, revoker: revoked.0 });
        let stored = StoredRevocation { revocation, source, whose, is_out: true };
        // It counts from now on; on the disk it is once others' writes are. If a crash takes it, the next peer has it.
        let written = shared.store.behind(move |w| {
            gone.iter().try_for_each(|gone| w.delete(REVOCATIONS, revocation_key(gone)))?;
            w.put(REVOCATIONS, revocation_key(&revoked), &stored)
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "a revocation was not written down");
        }
        Taken::News
    }

    /// Whether the signatures of one may be looked at. Strangers' are paid for here, as junk costs them no more than what
    /// counts. What claims to be near pays once it is: or who forges such would leave no time for them.
    fn has_time_for(&self, bytes: usize, whose: Whose) -> bool {
        let (mut rates, now) = (lock(&self.rates), self.shared.runtime.instant());
        match whose {
            Whose::Stranger => rates.strangers.take_many(kib(bytes), now),
            Whose::Near | Whose::Ours => { rates.near }.take_many(kib(bytes), now),
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::ucan::grant::GrantChain;

    use super::{
        super::tests::{Node, key, link, revocation, soon},
        *,
    };

    /// With a signature that isn't its revoker's.
    fn torn(revocation: &Revocation) -> Vec<u8> {
        let (mut bytes, invocation) = (revocation.encode(), revocation.invocation().bytes());
        let at = bytes.windows(invocation.len()).position(|part| part == invocation).unwrap();
        bytes[at + 10] ^= 1;
        bytes
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn junk_pays_before_its_signatures_are_looked_at_and_none_of_what_is_near_is_paid_by_forgers() {
        let node = Node::start(1).await;
        let intake = Intake::new(Arc::clone(&node.grants.shared));
        let (source, now) = (key(9).id(), node.runtime.now());
        let of_strangers = |number| revocation(&key(7), number);
        assert!(matches!(intake.take(&torn(&of_strangers(1)), source).await, Taken::Refused(_)));
        // Twice what there is room for, so that none comes back while this goes on.
        lock(&intake.rates).strangers.charge_many(2 * NEWS_KIB_BURST, node.runtime.instant());
        assert!(
            matches!(intake.take(&torn(&of_strangers(2)), source).await, Taken::NoRoom),
            "no signature was looked at"
        );
        assert!(matches!(intake.take(b"junk", source).await, Taken::NoRoom | Taken::Refused(_)));
        assert!(matches!(intake.take(&of_strangers(3).encode(), source).await, Taken::NoRoom));
        // Of a grant that we took in.
        let grants =
            [1, 2].map(|nonce| GrantChain::new(vec![link(&key(8), key(1).id(), nonce, Some(soon()))]).unwrap());
        for grant in &grants {
            node.grants.import(grant.clone()).await.unwrap();
        }
        let [one, other] = grants.map(|grant| Revocation::sign(grant.links().to_vec(), now, &key(8)).unwrap());
        let room = 32 * kib(one.encode().len());
        lock(&intake.rates).near.charge_many(NEWS_KIB_BURST - room, node.runtime.instant());
        for _ in 0..64 {
            assert!(matches!(intake.take(&torn(&one), source).await, Taken::Refused(_)));
        }
        assert!(matches!(intake.take(&one.encode(), source).await, Taken::News));
        lock(&intake.rates).near.charge_many(2 * NEWS_KIB_BURST, node.runtime.instant());
        assert!(matches!(intake.take(&other.encode(), source).await, Taken::NoRoom));
    }
}
