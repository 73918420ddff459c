//! Swaps that can be repeated until their fate is known. Every movement of coins through a mint is one of these.
//!
//! ```text
//! Plan ─build─► Draft ─persist─► Stored ─post─┬─► Signed ─settle─► Settled      outputs unblinded, checked, stored
//!                 (inputs leave their          ├─► Stored                        no answer, or one that can't be
//!                  table in the same           │                                 true: the same again, later
//!                  transaction)                └─► Barred ─release─► error       refused, or spent by somebody else:
//!                                                                                what is ours still goes back
//! ```
//!
//! A [`Stored`] swap is in the `SWAPS` table with its blinding factors, and only a stored one can be posted. Whatever
//! happens to a reply or to this process, the identical request is posted again (at start, every stored swap is taken
//! up); a mint that did act answers NUT-09 for the same outputs. A swap that can't come to be is parked in `FAILED`,
//! never dropped: a delayed copy of its request may yet reach the mint, and the record still unblinds its outputs.
//!
//! Each step consumes the one before it. [`drive`] runs them to the end in a task of its own, with growing pauses;
//! whoever waits does so through [`Handle`], and may give up waiting without giving up the swap.

mod build;
mod settle;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cdk::nuts::{BlindSignature, CheckStateRequest, PublicKey, RestoreRequest, State, SwapRequest};
use guilder_protocol::market::MintUrl;
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use self::build::Blinded;
pub(super) use self::{
    build::Plan,
    settle::{Settled, make_token, settle_taken},
};
use super::{
    Inner, WalletError,
    connector::{DynConnector, MintTrouble},
    records::{Coin, Premint, SWAPS, SwapId, SwapRecord, Y},
};
use crate::{
    failpoint::Step,
    limits::{MINT_CALL_PATIENCE, SWAP_FIRST_PAUSE, SWAP_LAST_PAUSE},
    runtime::Job,
    store::Reader,
};

/// A swap ready to be written down.
pub(super) struct Draft {
    id: SwapId,
    record: SwapRecord,
}

/// A swap that is written down, and so may be posted.
pub(super) struct Stored {
    id: SwapId,
    record: Arc<SwapRecord>,
}

/// A swap whose outputs the mint has signed; nothing of it is ours until it is settled.
struct Signed {
    stored: Stored,
    coins: Vec<Coin>,
}

/// A swap that can't come to be.
struct Barred {
    stored: Stored,
    /// Inputs that somebody else spent.
    spent: BTreeSet<Y>,
    why: MintTrouble,
}

/// What a post came to.
enum Posted {
    Signed(Signed),
    Open(Stored, MintTrouble),
    Barred(Barred),
}

impl Draft {
    /// Writes the swap down; its inputs leave the table that they are from in the same transaction.
    async fn persist(self, inner: &Inner) -> Result<Stored, WalletError> {
        let Self { id, record } = self;
        let record = Arc::new(record);
        let kept = Arc::clone(&record);
        inner.failpoint.reach(Step::StoreSwap);
        inner
            .store
            .transact(move |write| {
                settle::claim(write, &kept)?;
                Ok::<_, WalletError>(write.put(SWAPS, id.0, &*kept)?)
            })
            .await?;
        Ok(Stored { id, record })
    }
}

impl Stored {
    /// Posts the request, and finds out what became of it.
    async fn post(self, inner: &Inner) -> Posted {
        let mint = self.record.pocket.mint.clone();
        let connector = match inner.mints.connector(&mint) {
            Ok(connector) => connector,
            Err(error) => return self.open(MintTrouble::Down { mint, cause: error.to_string() }),
        };
        let Some(request) = self.request() else {
            return self.lying("a swap on record can't be read");
        };
        inner.failpoint.reach(Step::PostSwap);
        let error = match asked(connector.post_swap(request)).await {
            Ok(response) => return self.verify(inner, response.signatures).await,
            Err(error) => {
                if is_about_keysets(&error) {
                    // It has changed its keys since we last looked: the next swap is made with those of today.
                    inner.mints.look_again(&mint).await;
                }
                MintTrouble::from_error(&mint, &error)
            }
        };
        // Whatever the mint said or didn't: if it has signed the outputs, the swap has come to be.
        match self.restore(&connector).await {
            Err(restoring) => self.open(MintTrouble::from_error(&mint, &restoring)),
            Ok(signatures) if signatures.len() == self.record.outputs.len() => self.verify(inner, signatures).await,
            Ok(signatures) if !signatures.is_empty() => self.lying("it has signed a part of a swap's outputs"),
            Ok(_) if matches!(error, MintTrouble::Refused { .. } | MintTrouble::Spent { .. }) => {
                self.bar(&connector, error).await
            }
            Ok(_) => self.open(error),
        }
    }

    /// The signatures that the mint has given for our outputs, in our order.
    async fn restore(&self, connector: &DynConnector) -> Result<Vec<BlindSignature>, cdk::Error> {
        Ok(signatures(connector, &self.record.outputs).await?.into_iter().flatten().collect())
    }

    /// The mint said no and has signed nothing: which inputs are still ours (NUT-07)?
    async fn bar(self, connector: &DynConnector, why: MintTrouble) -> Posted {
        let mint = self.record.pocket.mint.clone();
        let states = match states(connector, self.record.inputs.iter().map(|input| input.y)).await {
            Ok(states) => states,
            Err(error) => return self.open(MintTrouble::from_error(&mint, &error)),
        };
        if states.iter().any(|state| !matches!(state, State::Spent | State::Unspent)) {
            return self.open(MintTrouble::Slow { mint });
        }
        let spent = self.record.inputs.iter().zip(states).filter(|(_, state)| *state == State::Spent);
        let spent = spent.map(|(input, _)| input.y).collect();
        Posted::Barred(Barred { stored: self, spent, why })
    }

    /// Takes the mint's signatures if each is what was asked for, proven by its DLEQ.
    async fn verify(self, inner: &Inner, signatures: Vec<BlindSignature>) -> Posted {
        let mint = self.record.pocket.mint.clone();
        if signatures.len() != self.record.outputs.len() {
            return self.lying("another number of signatures than outputs");
        }
        let ids = self.record.outputs.iter().map(|output| output.id);
        let view = match inner.mints.view_with(&mint, ids).await {
            Ok(view) => view,
            Err(error) => return self.open(MintTrouble::Down { mint, cause: error.to_string() }),
        };
        let record = Arc::clone(&self.record);
        let unblind = move || {
            let pairs = record.outputs.iter().zip(&signatures);
            pairs.map(|(output, signature)| output.unblind(signature, view.keysets.get(&output.id)?)).collect()
        };
        let count = self.record.outputs.len() as u32;
        let coins: Option<Vec<Coin>> = inner.runtime.offload(Job::Dleq(count), unblind).await;
        match coins {
            Some(coins) => Posted::Signed(Signed { stored: self, coins }),
            None => self.lying("a signature that is not by the announced key for the amount asked"),
        }
    }

    fn request(&self) -> Option<SwapRequest> {
        let inputs: Option<Vec<_>> = self.record.inputs.iter().map(super::records::SwapInput::to_proof).collect();
        let outputs: Option<Vec<_>> = self.record.outputs.iter().map(Premint::message).collect();
        Some(SwapRequest::new(inputs?, outputs?))
    }

    fn open(self, trouble: MintTrouble) -> Posted {
        Posted::Open(self, trouble)
    }

    fn lying(self, what: &str) -> Posted {
        let trouble = MintTrouble::Lying { mint: self.record.pocket.mint.clone(), what: what.into() };
        self.open(trouble)
    }
}

impl Signed {
    async fn settle(self, inner: &Inner) -> Result<Settled, (Self, WalletError)> {
        inner.failpoint.reach(Step::SettleSwap);
        match settle::settle(inner, self.stored.id, &self.stored.record, &self.coins).await {
            Ok(settled) => Ok(settled),
            Err(error) => Err((self, error)),
        }
    }
}

impl Barred {
    async fn release(self, inner: &Inner) -> Result<MintTrouble, (Self, WalletError)> {
        match settle::release(inner, self.stored.id, &self.stored.record, &self.spent, &self.why).await {
            Ok(()) => Ok(self.why),
            Err(error) => Err((self, error)),
        }
    }
}

/// Whether the mint has something against the keyset that we made the swap with.
pub(super) fn is_about_keysets(error: &cdk::Error) -> bool {
    matches!(error, cdk::Error::InactiveKeyset | cdk::Error::UnknownKeySet | cdk::Error::ExpiredKeyset)
}

/// The signatures that the mint has given for outputs, in their order (NUT-09).
pub(super) async fn signatures(
    connector: &DynConnector,
    outputs: &[Premint],
) -> Result<Vec<Option<BlindSignature>>, cdk::Error> {
    let outputs: Vec<_> = outputs.iter().filter_map(Premint::message).collect();
    let response = asked(connector.post_restore(RestoreRequest { outputs: outputs.clone() })).await?;
    let found: Vec<_> = response.outputs.iter().zip(response.signatures).collect();
    let signature_of = |blinded: PublicKey| {
        found.iter().find(|(output, _)| output.blinded_secret == blinded).map(|(_, signature)| signature.clone())
    };
    Ok(outputs.iter().map(|output| signature_of(output.blinded_secret)).collect())
}

/// The states of proofs, in their order.
pub(super) async fn states(
    connector: &DynConnector,
    ys: impl IntoIterator<Item = Y>,
) -> Result<Vec<State>, cdk::Error> {
    let ys = ys.into_iter().map(|y| PublicKey::from_slice(&y.0)).collect::<Result<Vec<_>, _>>()?;
    let response = asked(connector.post_check_state(CheckStateRequest { ys: ys.clone() })).await?;
    if !response.states.iter().map(|state| state.y).eq(ys) {
        return Err(cdk::Error::InvalidMintResponse("states of other proofs than those asked for".into()));
    }
    Ok(response.states.into_iter().map(|state| state.state).collect())
}

async fn asked<T>(call: impl Future<Output = Result<T, cdk::Error>>) -> Result<T, cdk::Error> {
    timeout(MINT_CALL_PATIENCE, call).await.unwrap_or(Err(cdk::Error::Timeout))
}

/// How a swap stands, for whoever waits.
#[derive(Clone, Debug)]
enum Progress {
    Running(Option<MintTrouble>),
    Over(Result<Settled, WalletError>),
}

/// Waits for a swap that runs in a task of its own.
pub(super) struct Handle {
    told: watch::Receiver<Progress>,
    mint: MintUrl,
}

impl Handle {
    /// What became of it, or, after `patience`, why it isn't known yet: the swap goes on.
    pub(super) async fn wait(mut self, patience: Duration) -> Result<Settled, WalletError> {
        let told = timeout(
            patience,
            self.told.wait_for(|progress| match progress {
                Progress::Over(_) | Progress::Running(Some(MintTrouble::Lying { .. })) => true,
                Progress::Running(_) => false,
            }),
        );
        let told = match told.await {
            Ok(Ok(progress)) => Some(progress.clone()),
            // The node is shutting down, or time is up.
            Ok(Err(_)) | Err(_) => None,
        };
        match told.unwrap_or_else(|| self.told.borrow().clone()) {
            Progress::Over(result) => result,
            Progress::Running(Some(trouble)) => Err(trouble.into()),
            Progress::Running(None) => Err(MintTrouble::Slow { mint: self.mint }.into()),
        }
    }
}

/// Writes a swap down and sets it going. Cancel-safe: both happen in tasks of the node, so that whoever stops waiting
/// leaves no swap written down that nobody posts.
pub(super) async fn start(inner: &Arc<Inner>, draft: Draft) -> Result<Handle, WalletError> {
    let (tell, told) = oneshot::channel();
    let starter = Arc::clone(inner);
    let starting = async move {
        let started = draft.persist(&starter).await.map(|stored| drive(&starter, stored));
        // Nobody may wait any more.
        let _ = tell.send(started);
    };
    inner.runtime.spawn("wallet swap start", starting).detach();
    told.await.unwrap_or(Err(WalletError::Unsettled))
}

/// Runs a stored swap to its end, in the background.
fn drive(inner: &Arc<Inner>, stored: Stored) -> Handle {
    let (tell, told) = watch::channel(Progress::Running(None));
    let mint = stored.record.pocket.mint.clone();
    let driver = run(Arc::clone(inner), stored, tell);
    inner.runtime.spawn("wallet swap", driver).detach();
    Handle { told, mint }
}

/// Takes up every swap that was in flight when the node stopped.
pub(super) fn resume(inner: &Arc<Inner>) -> Result<usize, WalletError> {
    let records = inner.store.read(|read| read.range(SWAPS, crate::store::KeyRange::all(), usize::MAX))?;
    let found = records.len();
    for (key, record) in records {
        let Ok(id) = <[u8; 16]>::try_from(key.as_slice()) else { continue };
        drive(inner, Stored { id: id.into(), record: Arc::new(record) });
    }
    Ok(found)
}

async fn run(inner: Arc<Inner>, mut stored: Stored, tell: watch::Sender<Progress>) {
    let (mut pause, mut told) = (SWAP_FIRST_PAUSE, None);
    let record = Arc::clone(&stored.record);
    let result = loop {
        let permit = inner.posting.acquire().await;
        let posted = stored.post(&inner).await;
        drop(permit);
        let trouble;
        (stored, trouble) = match posted {
            Posted::Signed(signed) => break finish(signed, |signed| signed.settle(&inner)).await,
            Posted::Barred(barred) => {
                let why = finish(barred, |barred| barred.release(&inner)).await;
                break Err(why.map_or_else(|error| error, WalletError::from));
            }
            Posted::Open(stored, trouble) => (stored, trouble),
        };
        tracing::debug!(mint = %stored.record.pocket.mint, %trouble, "swap not settled yet");
        let kind = std::mem::discriminant(&trouble);
        if told.replace(kind) != Some(kind) {
            inner.tell_mint_trouble(&record.pocket.mint, trouble.to_string());
        }
        tell.send_replace(Progress::Running(Some(trouble)));
        sleep(pause).await;
        pause = (pause * 2).min(SWAP_LAST_PAUSE);
    };
    inner.notice_swap(&record, &result);
    tell.send_replace(Progress::Over(result));
}

/// Repeats a write of ours until the disk takes it. The store closes when the node stops, and the record stays.
async fn finish<S, T, F>(mut state: S, step: impl Fn(S) -> F) -> Result<T, WalletError>
where
    F: Future<Output = Result<T, (S, WalletError)>>,
{
    let mut pause = SWAP_FIRST_PAUSE;
    loop {
        match step(state).await {
            Ok(done) => return Ok(done),
            Err((_, error @ WalletError::Store(crate::store::StoreError::Closed))) => return Err(error),
            Err((back, error)) => {
                tracing::error!(%error, "swap not written down");
                state = back;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(SWAP_LAST_PAUSE);
    }
}

impl Plan {
    /// Blinds the outputs and rounds the plan off to a swap that balances.
    pub(super) async fn build(self, inner: &Inner) -> Result<Draft, WalletError> {
        let Blinded { record } = build::blind(self, inner).await?;
        Ok(Draft { id: inner.runtime.random::<16>().into(), record })
    }
}
