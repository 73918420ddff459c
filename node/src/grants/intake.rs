//! Revocations in, by gossip and from exchanges: what counts and is news is known at once, kept, and passed on.
//!
//! The cheap questions come first: what is known already, or would be too much, costs no signature.

use std::sync::{Arc, Mutex};

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    ucan::{Revocation, RevocationError},
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
        if Revocation::peek(bytes).is_some_and(|claimed| shared.is_known(claimed)) {
            return Taken::Stale;
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
        let whose = shared.whose(&revocation);
        if !self.has_time_for(bytes.len(), whose) {
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
        let stored = StoredRevocation { revocation, source, whose };
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

    fn has_time_for(&self, bytes: usize, whose: Whose) -> bool {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let (mut rates, now) = (lock(&self.rates), self.shared.runtime.instant());
        let bucket = if whose == Whose::Stranger { &mut rates.strangers } else { &mut rates.near };
        bucket.take_many(kib, now)
    }
}
