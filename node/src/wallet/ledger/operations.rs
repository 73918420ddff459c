//! Operations at a mint that can be repeated until their fate is known. Every movement of coins through a mint is one.
//!
//! ```text
//! Plan ─build─► Draft ─persist─► Stored ─post─┬─► Signed ─settle─► Settled      outputs unblinded, checked, stored
//!                 (inputs leave their          ├─► Stored                        no answer, or one that can't be
//!                  table in the same           │                                 true: the same again, later
//!                  transaction)                ├─► Stored, built anew            its numbers were used before
//!                                              └─► Barred ─release─► error       refused, or spent by somebody else:
//!                                                                                what is ours still goes back
//! ```
//!
//! A [`Stored`] operation is in its table with its blinding factors, and only a stored one can be posted. Whatever
//! happens to a reply or to this process, the identical request is posted again (at start, every stored operation is
//! taken up). A reply that was lost, or that a repeated request got, is believed only after [`super::fate`] has asked the
//! mint what became of inputs and outputs. One that can't come to be is parked in `FAILED`, never dropped: a delayed copy
//! of its request may yet reach the mint, and the record still unblinds its outputs.
//!
//! Each step consumes the one before it. They run in a task of their own, with growing pauses per mint ([`super::gate`]);
//! whoever waits does so through [`Handle`], and may give up waiting without giving up the operation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use cdk::nuts::{BlindSignature, PublicKey, State};
use guilder_protocol::{locks::KeysetId, market::MintUrl};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    super::{
        coin::y_of,
        connector::{MintClient, MintTrouble, ProofState, QuoteState},
        error::WalletError,
        mints::Mints,
        notices::Notices,
        records::{COINS, Coin, OPERATIONS, Operation, OperationId, Premint, Purpose, Y},
        tables::coin_key,
    },
    LockObserver,
    build::{Builder, Plan},
    coins::Coins,
    effects::{self, Released, Settled},
    fate::{Evidence, Fate, OutputEvidence},
    gate::Gates,
    numbers::Numbers,
};
use crate::{
    failpoint::{Failpoint, Step},
    limits::{MAX_STATES_ASKED, MELT_CHANGE_PATIENCE, MINT_CALL_PATIENCE, OPERATION_FIRST_PAUSE, OPERATION_LAST_PAUSE},
    runtime::{Job, Runtime},
    spans::Span,
    store::{KeyRange, Reader, Store, StoreError},
    sync::lock,
};

/// What operations need.
pub(super) struct Operations {
    pub(super) mints: Arc<Mints>,
    pub(super) store: Store,
    pub(super) runtime: Runtime,
    pub(super) notices: Notices,
    pub(super) failpoint: Failpoint,
    pub(super) numbers: Arc<Numbers>,
    pub(super) coins: Arc<Coins>,
    pub(super) observer: Arc<dyn LockObserver>,
    pub(super) gates: Gates,
    /// Why an operation isn't over, as far as its posts have shown.
    pub(super) troubles: Mutex<BTreeMap<OperationId, MintTrouble>>,
}

/// An operation ready to be written down.
pub(super) struct Draft {
    id: OperationId,
    record: Operation,
}

/// An operation that is written down, and so may be posted.
struct Stored {
    id: OperationId,
    record: Arc<Operation>,
    /// Posted before, in this run or another: its reply may be an old one, and a copy of its request may be on its way.
    posted: bool,
}

/// An operation whose outputs the mint has signed; nothing of it is ours until it is settled.
struct Signed {
    stored: Stored,
    /// With their Ys: a hash to the curve each, which no transaction waits for.
    coins: Vec<Option<(Y, Coin)>>,
    preimage: Option<String>,
}

/// An operation that can't come to be.
struct Barred {
    stored: Stored,
    released: Released,
    why: MintTrouble,
}

/// What a post came to.
enum Posted {
    Signed(Signed),
    Open(Stored, MintTrouble),
    /// Its numbers were used before.
    Anew(Stored),
    Barred(Barred),
}

/// What the mint answered.
enum Answer {
    Signatures(Vec<BlindSignature>),
    /// A melt. Its change is looked up, for it says nothing of which output is which.
    Melt,
}

/// How an operation stands, for whoever waits.
#[derive(Clone, Debug)]
enum Progress {
    Running(Option<MintTrouble>),
    Over(Result<Settled, WalletError>),
}

/// Waits for an operation that runs in a task of its own.
pub(in super::super) struct Handle {
    told: watch::Receiver<Progress>,
    mint: MintUrl,
}

impl Handle {
    /// What became of it, or, after `patience`, why it isn't known yet: the operation goes on.
    pub(in super::super) async fn wait(mut self, patience: Duration) -> Result<Settled, WalletError> {
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

impl Operations {
    /// Blinds what a plan asks for.
    pub(super) async fn draft(&self, plan: Plan) -> Result<Draft, WalletError> {
        let _took = Span::Blind.begin();
        let record = self.builder().build(plan).await?;
        Ok(Draft { id: self.runtime.random::<16>().into(), record })
    }

    fn builder(&self) -> Builder<'_> {
        Builder { mints: &self.mints, numbers: &self.numbers, runtime: &self.runtime }
    }

    /// Writes an operation down and sets it going. Cancel-safe: both happen in tasks of the node, so that whoever stops
    /// waiting leaves no operation written down that nobody posts.
    pub(super) async fn start(self: &Arc<Self>, draft: Draft) -> Result<Handle, WalletError> {
        self.start_all(vec![draft]).await?.pop().ok_or(WalletError::Unsettled)
    }

    /// The same of several that belong together: all of them are written down before the first is posted, or none is.
    pub(super) async fn start_all(self: &Arc<Self>, drafts: Vec<Draft>) -> Result<Vec<Handle>, WalletError> {
        let (tell, told) = oneshot::channel();
        let starter = Arc::clone(self);
        let starting = async move {
            let started = starter.persist(drafts).await;
            let started = started.map(|stored| stored.into_iter().map(|stored| starter.drive(stored)).collect());
            // Nobody may wait any more.
            let _ = tell.send(started);
        };
        self.runtime.spawn("wallet operation start", starting).detach();
        told.await.unwrap_or(Err(WalletError::Unsettled))
    }

    /// Takes up every operation that was in flight when the node stopped.
    pub(super) fn resume(self: &Arc<Self>) -> Result<(), WalletError> {
        let records = self.store.read(|read| read.range(OPERATIONS, KeyRange::all(), usize::MAX))?;
        for (key, record) in records {
            let Ok(id) = <[u8; 16]>::try_from(key.as_slice()) else { continue };
            drop(self.drive(Stored { id: id.into(), record: Arc::new(record), posted: true }));
        }
        Ok(())
    }

    /// Why an operation isn't over yet, if its posts have met with trouble.
    pub(super) fn trouble(&self, id: OperationId) -> Option<MintTrouble> {
        lock(&self.troubles).get(&id).cloned()
    }

    /// Writes operations down; their inputs leave the table that they are from in the same transaction.
    async fn persist(&self, drafts: Vec<Draft>) -> Result<Vec<Stored>, WalletError> {
        let drafts: Vec<_> = drafts.into_iter().map(|Draft { id, record }| (id, Arc::new(record))).collect();
        let kept = drafts.clone();
        let _took = Span::Persist.begin();
        self.failpoint.reach(Step::StoreSwap);
        self.store
            .transact(move |write| {
                for (id, record) in &kept {
                    effects::claim(write, record)?;
                    write.put(OPERATIONS, id.0, &**record)?;
                }
                Ok::<_, WalletError>(())
            })
            .await?;
        Ok(drafts.into_iter().map(|(id, record)| Stored { id, record, posted: false }).collect())
    }

    /// Runs a stored operation to its end, in the background.
    fn drive(self: &Arc<Self>, stored: Stored) -> Handle {
        let (tell, told) = watch::channel(Progress::Running(None));
        let mint = stored.record.currency.mint.clone();
        let driver = Arc::clone(self).run(stored, tell);
        self.runtime.spawn("wallet operation", driver).detach();
        Handle { told, mint }
    }

    async fn run(self: Arc<Self>, mut stored: Stored, tell: watch::Sender<Progress>) {
        let (mut pause, mut told, id) = (OPERATION_FIRST_PAUSE, None, stored.id);
        let (result, record) = loop {
            let record = Arc::clone(&stored.record);
            let gate = self.gates.of(&record.currency.mint);
            let Some(permit) = gate.enter().await else { return };
            let posted = self.post(stored).await;
            match &posted {
                Posted::Open(_, trouble) if trouble.is_silence() => gate.silent(),
                _ => gate.heard(),
            }
            drop(permit);
            let trouble;
            // What fails on this side isn't waited for at the mint's gate.
            let mut is_ours = false;
            let mut ours = |error: WalletError| {
                is_ours = true;
                tracing::error!(%error, "an operation can't be written down as it came to be");
                MintTrouble::down(&record.currency.mint, &error.to_string())
            };
            (stored, trouble) = match posted {
                Posted::Signed(signed) => match until_written(|| self.settle(&signed)).await {
                    Err(error) if error != WalletError::Store(StoreError::Closed) => (signed.stored, ours(error)),
                    over => break (over, record),
                },
                Posted::Barred(barred) => match until_written(|| self.release(&barred)).await {
                    Err(error) if error != WalletError::Store(StoreError::Closed) => (barred.stored, ours(error)),
                    over => break (Err(over.err().unwrap_or_else(|| barred.why.into())), record),
                },
                Posted::Anew(stored) => match self.build_anew(&stored).await {
                    Ok(anew) => (anew, MintTrouble::Slow { mint: record.currency.mint.clone() }),
                    Err(WalletError::Mint(trouble)) => (stored, trouble),
                    Err(error) => (stored, ours(error)),
                },
                Posted::Open(stored, trouble) => (stored, trouble),
            };
            tracing::debug!(mint = %record.currency.mint, %trouble, "operation not settled yet");
            let kind = std::mem::discriminant(&trouble);
            if told.replace(kind) != Some(kind) {
                self.notices.mint_trouble(&record.currency.mint, trouble.to_string());
            }
            // Silence is waited for at the gate, with all others of this mint.
            let wait = is_ours || !trouble.is_silence() || matches!(trouble, MintTrouble::Slow { .. });
            lock(&self.troubles).insert(id, trouble.clone());
            tell.send_replace(Progress::Running(Some(trouble)));
            if wait {
                sleep(pause).await;
                pause = (pause * 2).min(OPERATION_LAST_PAUSE);
            }
        };
        lock(&self.troubles).remove(&id);
        match &result {
            Ok(_) => self.notices.done(&record),
            Err(error) => tracing::warn!(%error, "operation parked"),
        }
        self.observer.ended();
        tell.send_replace(Progress::Over(result));
    }

    /// Posts the request, and finds out what became of it.
    async fn post(&self, mut stored: Stored) -> Posted {
        let record = Arc::clone(&stored.record);
        let mint = &record.currency.mint;
        let client = match self.mints.client(mint) {
            Ok(client) => client,
            Err(error) => return Posted::Open(stored, MintTrouble::down(mint, &error.to_string())),
        };
        if let Some(until) = record.until {
            match self.mints.time_of(mint).await {
                Ok(time) if time > until => {
                    // What it shows must not be shown any more; an earlier post of it may have come through.
                    let (late, before) = (MintTrouble::TooLate { mint: mint.clone() }, stored.posted);
                    return self.find_out(&client, stored, Some(late), before).await;
                }
                Ok(_) => {}
                Err(WalletError::Mint(trouble)) => return Posted::Open(stored, trouble),
                Err(error) => return Posted::Open(stored, MintTrouble::down(mint, &error.to_string())),
            }
        }
        if !stored.posted && record.purpose.is_told_to_people() {
            // That it was done will show by its outputs: another copy of this wallet must not have had them signed before.
            let messages: Vec<_> = record.outputs.iter().filter_map(Premint::message).collect();
            match client.signatures(&messages).await {
                Ok(signatures) if signatures.iter().any(Option::is_some) => return Posted::Anew(stored),
                Ok(_) => {}
                Err(trouble) => return Posted::Open(stored, trouble),
            }
        }
        let before = std::mem::replace(&mut stored.posted, true);
        self.failpoint.reach(Step::PostSwap);
        let posting = Span::Post.begin();
        let answer = timeout(MINT_CALL_PATIENCE, self.call(&client, &record, before)).await;
        drop(posting);
        let trouble = match answer.unwrap_or_else(|_| Err(MintTrouble::Slow { mint: mint.clone() })) {
            // The first answer to the first request is no old one.
            Ok(Answer::Signatures(signatures)) if !before => {
                return self.verify(stored, signatures.into_iter().map(Some).collect(), None).await;
            }
            Ok(_) => None,
            Err(trouble) => {
                if trouble.is_about_keysets() {
                    // It has changed its keys since we last looked: the next operation is made with those of today.
                    self.mints.look_again(mint).await;
                }
                Some(trouble)
            }
        };
        self.find_out(&client, stored, trouble, before).await
    }

    async fn call(&self, client: &MintClient, record: &Operation, before: bool) -> Result<Answer, MintTrouble> {
        let unreadable = || MintTrouble::down(&record.currency.mint, "an operation on record can't be read");
        let inputs: Option<Vec<_>> = record.inputs.iter().map(super::super::records::Input::to_proof).collect();
        let outputs: Option<Vec<_>> = record.outputs.iter().map(Premint::message).collect();
        let (inputs, outputs) = (inputs.ok_or_else(unreadable)?, outputs.ok_or_else(unreadable)?);
        match &record.purpose {
            Purpose::Mint { quote } => Ok(Answer::Signatures(client.mint(quote, &outputs).await?)),
            Purpose::Melt { quote, .. } => {
                // A melt that is under way, or done, isn't asked for again.
                let open = !before || client.melt_quote_state(quote).await?.state == QuoteState::Unpaid;
                if open {
                    client.melt(quote, &inputs, &outputs).await?;
                }
                Ok(Answer::Melt)
            }
            _ => Ok(Answer::Signatures(client.swap(&inputs, &outputs).await?)),
        }
    }

    /// Whatever the mint said or didn't: what became of the operation shows by its inputs and outputs.
    async fn find_out(
        &self,
        client: &MintClient,
        stored: Stored,
        trouble: Option<MintTrouble>,
        before: bool,
    ) -> Posted {
        let mint = stored.record.currency.mint.clone();
        let (mut evidence, preimage) = match self.evidence(client, &stored.record).await {
            Ok(evidence) => evidence,
            Err(unknown) => return Posted::Open(stored, trouble.filter(MintTrouble::is_silence).unwrap_or(unknown)),
        };
        if evidence.may_have_been_done_meanwhile(&stored.record) {
            if matches!(stored.record.purpose, Purpose::Melt { .. }) {
                sleep(MELT_CHANGE_PATIENCE).await;
            }
            match self.output_evidence(client, &stored.record).await {
                Ok(outputs) => evidence.outputs = outputs,
                Err(unknown) => return Posted::Open(stored, unknown),
            }
        }
        match evidence.fate(&stored.record) {
            Fate::Done => {
                let signatures = evidence.outputs.into_iter().map(|output| output.signature).collect();
                self.verify(stored, signatures, preimage).await
            }
            Fate::NumbersUsed => Posted::Anew(stored),
            Fate::Pending => Posted::Open(stored, MintTrouble::Slow { mint }),
            Fate::NotDone => match trouble {
                Some(why) if why.is_about_keysets() && self.has_newer_keyset(&stored.record) => Posted::Anew(stored),
                Some(why) if why.is_judgement() || matches!(why, MintTrouble::TooLate { .. }) => {
                    let released = Released { evidence, adopted: Vec::new(), unused: !before };
                    Posted::Barred(Barred { stored, released, why })
                }
                Some(trouble) => Posted::Open(stored, trouble),
                None => Posted::Open(stored, MintTrouble::lying(&mint, "it says that it did what it has not done")),
            },
            Fate::Elsewhere => match self.adopted(&stored.record, &evidence).await {
                Ok(adopted) => {
                    let why = trouble.filter(MintTrouble::is_judgement).unwrap_or(MintTrouble::Spent { mint });
                    Posted::Barred(Barred { stored, released: Released { evidence, adopted, unused: false }, why })
                }
                Err(error) => Posted::Open(stored, MintTrouble::down(&mint, &error.to_string())),
            },
        }
    }

    /// Whether the mint signs with another keyset than an operation's by now, and the operation may be of any. A refill may
    /// not: what is in a purse must be of the keyset that a lock is asked of.
    fn has_newer_keyset(&self, record: &Operation) -> bool {
        let refill = matches!(record.purpose, Purpose::Refill { .. });
        let view = self.mints.cached(&record.currency.mint);
        let active = view.and_then(|view| Some(view.active(&record.currency.unit, self.runtime.now()).ok()?.id()));
        !refill && active.is_some_and(|active| record.outputs.first().is_some_and(|output| output.id != active))
    }

    /// What the mint says of an operation, in an order such that what it does meanwhile is not mistaken: signatures before
    /// the states of inputs.
    async fn evidence(
        &self,
        client: &MintClient,
        record: &Operation,
    ) -> Result<(Evidence, Option<String>), MintTrouble> {
        let outputs = self.output_evidence(client, record).await?;
        let ys: Vec<Y> = record.inputs.iter().map(|input| input.y).collect();
        let inputs = states(client, ys).await?;
        let (quote, preimage) = match &record.purpose {
            Purpose::Mint { quote } => (Some(client.mint_quote_state(quote).await?.state), None),
            Purpose::Melt { quote, .. } => {
                let quote = client.melt_quote_state(quote).await?;
                (Some(quote.state), quote.payment_preimage)
            }
            _ => (None, None),
        };
        Ok((Evidence { inputs, outputs, quote }, preimage))
    }

    async fn output_evidence(
        &self,
        client: &MintClient,
        record: &Operation,
    ) -> Result<Vec<OutputEvidence>, MintTrouble> {
        let unreadable = || MintTrouble::down(&record.currency.mint, "an operation on record can't be read");
        let messages: Option<Vec<_>> = record.outputs.iter().map(Premint::message).collect();
        let signatures = client.signatures(&messages.ok_or_else(unreadable)?).await?;
        let ys: Option<Vec<Y>> = record.outputs.iter().map(|output| y_of(&output.secret)).collect();
        let ys = ys.ok_or_else(unreadable)?;
        let pairs = ys.iter().zip(&signatures);
        let signed: Vec<Y> = pairs.filter(|(_, signature)| signature.is_some()).map(|(y, _)| *y).collect();
        let mut states = states(client, signed).await?.into_iter();
        let mut evidence = Vec::with_capacity(ys.len());
        for ((y, signature), output) in ys.into_iter().zip(signatures).zip(&record.outputs) {
            let unspent = signature.is_some() && states.next().is_some_and(|state| state.state == State::Unspent);
            let known = self.store.read(|read| read.contains(COINS, coin_key(&record.currency, y)));
            let known = known.map_err(|error| MintTrouble::down(&record.currency.mint, &error.to_string()))?;
            // Another copy of this wallet may have used the number for another amount; 0 leaves it to the mint.
            let fits = |signature: &BlindSignature| [0, signature.amount.to_u64()].contains(&output.amount);
            let fresh = unspent && !known && signature.as_ref().is_some_and(fits);
            evidence.push(OutputEvidence { signature, fresh });
        }
        Ok(evidence)
    }

    /// The coins that the mint has signed for outputs of an operation that was not done: made by another copy of this
    /// wallet, and ours as long as nobody has spent them.
    async fn adopted(&self, record: &Operation, evidence: &Evidence) -> Result<Vec<(Y, Coin)>, WalletError> {
        let ids: Vec<KeysetId> = record.outputs.iter().map(|output| output.id).collect();
        let view = self.mints.view_with(&record.currency.mint, ids).await?;
        let fresh = record
            .outputs
            .iter()
            .zip(&evidence.outputs)
            .filter(|(output, evidence)| evidence.fresh && output.to == super::super::records::Destination::Coins);
        let coins = fresh.filter_map(|(output, evidence)| {
            output.unblind(evidence.signature.as_ref()?, view.keysets.get(&output.id)?)?.with_y()
        });
        Ok(coins.collect())
    }

    /// Takes the mint's signatures if each is what was asked for, proven by its DLEQ.
    async fn verify(
        &self,
        stored: Stored,
        signatures: Vec<Option<BlindSignature>>,
        preimage: Option<String>,
    ) -> Posted {
        let mint = stored.record.currency.mint.clone();
        let ids: Vec<KeysetId> = stored.record.outputs.iter().map(|output| output.id).collect();
        let view = match self.mints.view_with(&mint, ids).await {
            Ok(view) => view,
            Err(error) => return Posted::Open(stored, MintTrouble::down(&mint, &error.to_string())),
        };
        let record = Arc::clone(&stored.record);
        let unblind = move || {
            let pairs = record.outputs.iter().zip(&signatures);
            let coin = |(output, signature): (&Premint, &Option<BlindSignature>)| match signature {
                Some(signature) => output.unblind(signature, view.keysets.get(&output.id)?)?.with_y().map(Some),
                None => Some(None),
            };
            pairs.map(coin).collect::<Option<Vec<_>>>()
        };
        let count = stored.record.outputs.len() as u32;
        let _took = Span::Unblind.begin();
        match self.runtime.offload(Job::Dleq(count), unblind).await {
            Some(coins) => Posted::Signed(Signed { stored, coins, preimage }),
            None => {
                let what = "a signature that is not by the announced key for the amount asked";
                Posted::Open(stored, MintTrouble::lying(&mint, what))
            }
        }
    }

    /// Writes the operation down again with outputs that the mint has not seen.
    async fn build_anew(&self, stored: &Stored) -> Result<Stored, WalletError> {
        let id = stored.id;
        let (record, found) = self.builder().build_anew(&stored.record).await?;
        let record = Arc::new(record);
        let kept = Arc::clone(&record);
        let replacing = self.store.transact(move |write| {
            if !write.contains(OPERATIONS, id.0)? {
                return Err(WalletError::Unsettled);
            }
            Ok(write.put(OPERATIONS, id.0, &*kept)?)
        });
        let replaced = replacing.await;
        // What was to be this operation's is another copy's, now that it asks for something else; what came later is in any case.
        found.into_iter().for_each(|found| self.numbers.tell(found));
        replaced?;
        Ok(Stored { id, record, posted: false })
    }

    async fn settle(&self, signed: &Signed) -> Result<Settled, WalletError> {
        let _took = Span::Settle.begin();
        self.failpoint.reach(Step::SettleSwap);
        let Signed { stored: Stored { id, record, .. }, coins, preimage } = signed;
        let settlement = effects::Completion::new(*id, record, coins, preimage.clone(), self.runtime.now())?;
        let refilled = settlement.batch().cloned();
        let settled = settlement.settled();
        self.store.transact(move |write| settlement.write(write)).await?;
        if let Some((batch, proofs)) = refilled {
            self.observer.refilled(*id, &batch, proofs);
        }
        self.coins.count(&record.currency)?;
        Ok(settled)
    }

    async fn release(&self, barred: &Barred) -> Result<(), WalletError> {
        let Barred { stored: Stored { id, record, .. }, released, why } = barred;
        // Where that can't be told now, nobody is charged.
        let is_refund = matches!(record.purpose, Purpose::Refund { .. });
        let another_copy = is_refund && self.numbers.has_another_copy(&record.currency).await.unwrap_or(true);
        let now = self.runtime.now();
        let lost = effects::release(&self.store, (*id, record), released, (why, another_copy), now).await?;
        if lost.amount > 0 {
            let reason = format!("{} {} lost: {why}", lost.amount, record.currency.unit);
            self.notices.money_trouble(&record.currency.mint, lost.fault, reason);
        }
        self.coins.count(&record.currency)
    }
}

/// The states of proofs, in their order, asked for in parts that a mint takes.
pub(in super::super) async fn states(
    client: &MintClient,
    ys: impl IntoIterator<Item = Y>,
) -> Result<Vec<ProofState>, MintTrouble> {
    // What isn't a point is a coin that nobody can have.
    let ys: Vec<PublicKey> = ys.into_iter().filter_map(|y| PublicKey::from_slice(&y.0).ok()).collect();
    let mut states = Vec::with_capacity(ys.len());
    for some in ys.chunks(MAX_STATES_ASKED) {
        states.extend(client.states(some).await?);
    }
    Ok(states)
}

/// Repeats a write of ours until the disk takes it. The store closes when the node stops, and the record stays.
async fn until_written<T, F>(step: impl Fn() -> F) -> Result<T, WalletError>
where
    F: Future<Output = Result<T, WalletError>>,
{
    let mut pause = OPERATION_FIRST_PAUSE;
    loop {
        match step().await {
            Err(WalletError::Store(error)) if error != StoreError::Closed => {
                tracing::error!(%error, "operation not written down");
            }
            settled => return settled,
        }
        sleep(pause).await;
        pause = (pause * 2).min(OPERATION_LAST_PAUSE);
    }
}
