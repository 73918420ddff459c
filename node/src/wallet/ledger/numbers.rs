//! Secrets derived from a seed by number (NUT-13), each number used once, also by an older copy of this wallet.
//!
//! There are two lines of secrets: that of our own coins, under the wallet's seed, where any Cashu wallet that is given
//! the seed finds them; and that of tokens sent, under a seed of its own ([`super::super::keys::token_seed`]), so that a
//! restore tells a token that nobody has spent yet from the balance.
//!
//! What a counter on disk says holds only for this copy of the home: an older backup, or another home of the same
//! phrase, has used further numbers. So in each run, before the first number of a keyset is used, the mint is asked what
//! it has signed from the counter on (NUT-09), and the counter raised past it. What is found by that is reported to
//! [`Found`], for its coins may be ours to have. It is asked again before anybody is charged with what another copy may have spent; and
//! whether the numbers of a token that is sent or received are unused still, right before the swap is posted, for a copy that lives at
//! the same time uses the same ones, and what it did with them would be taken for ours.
//!
//! A number is freed again when the mint has signed nothing for it and never will; freed ones are used first, so that
//! requests that come to nothing leave no gap in which a restore would end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use cdk::{
    nuts::{BlindSignature, SecretKey},
    secret::Secret,
};
use guilder_protocol::{
    locks::{Keyset, KeysetId},
    market::MintUrl,
};
use zeroize::Zeroizing;

use super::super::{
    connector::MintTrouble,
    error::WalletError,
    mints::Mints,
    records::{COUNTERS, Coin, Currency, Destination, FREED, Premint},
};
use crate::{
    limits::{MAX_FREED_NUMBERS, MAX_SCANNED_NUMBERS, RESTORE_BATCH, RESTORE_GAP},
    runtime::{Job, Runtime},
    store::{Key, Reader, Store, StoreError, Write},
    sync::lock,
};

/// A line of derived secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    Coins,
    Tokens,
}

impl Line {
    pub(super) const ALL: [Self; 2] = [Self::Coins, Self::Tokens];

    fn key(self, keyset: KeysetId) -> Key {
        let line: u8 = match self {
            Self::Coins => 0,
            Self::Tokens => 1,
        };
        Key::of(line).and(keyset.to_bytes())
    }

    pub(super) fn of(to: Destination) -> Option<Self> {
        match to {
            Destination::Coins => Some(Self::Coins),
            Destination::Token => Some(Self::Tokens),
            Destination::Purse => None,
        }
    }
}

/// What the mint has signed for numbers that this copy of the wallet hasn't used.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) currency: Currency,
    pub(super) line: Line,
    pub(super) coins: Vec<Coin>,
}

/// Told what was found. Must not wait.
pub(super) type OnFound = Box<dyn Fn(Found) + Send + Sync>;

/// A line that was checked in this run, held.
type Checked = tokio::sync::OwnedMutexGuard<bool>;

/// The counters and the seeds.
pub(super) struct Numbers {
    seeds: [Zeroizing<[u8; 64]>; 2],
    mints: Arc<Mints>,
    store: Store,
    runtime: Runtime,
    /// Whether a line of a keyset has been checked in this run; held while it is. By mint, so that none waits for another.
    checked: Mutex<BTreeMap<(MintUrl, Line, KeysetId), Arc<tokio::sync::Mutex<bool>>>>,
    /// Mints at which another copy of this wallet has been seen in this run.
    copies: Mutex<BTreeSet<MintUrl>>,
    on_found: OnFound,
}

impl Numbers {
    pub(super) fn new(
        seeds: [Zeroizing<[u8; 64]>; 2],
        mints: &Arc<Mints>,
        store: &Store,
        runtime: &Runtime,
        on_found: OnFound,
    ) -> Self {
        let (mints, store, runtime) = (Arc::clone(mints), store.clone(), runtime.clone());
        Self { seeds, mints, store, runtime, checked: Mutex::default(), copies: Mutex::default(), on_found }
    }

    /// So many unused numbers, after the check of this run.
    ///
    /// # Errors
    /// If the mint doesn't answer the check.
    pub(super) async fn take(
        &self,
        currency: &Currency,
        keyset: &Arc<Keyset>,
        line: Line,
        count: u32,
    ) -> Result<Vec<u32>, WalletError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        // Held until they are taken: a look at what the mint has signed from the counter on must not meet ours.
        let _checked = self.check(currency, keyset, line).await?;
        let id = keyset.id();
        self.store.transact(move |write| take(write, line, id, count)).await
    }

    /// The mint does not sign these outputs of ours, perhaps because it has before: no freed number is trusted any more, and the counters
    /// are raised past what it has signed. Gives what another copy of this wallet has made of them and of later numbers, to be
    /// [told of](Self::tell).
    ///
    /// # Errors
    /// If the mint doesn't answer.
    pub(super) async fn check_again(
        &self,
        currency: &Currency,
        keyset: &Arc<Keyset>,
        outputs: &[Premint],
    ) -> Result<Vec<Found>, WalletError> {
        let mut found = Vec::new();
        for line in Line::ALL {
            let coins = match self.check_line_again(currency, keyset, line, outputs).await {
                Ok(coins) => coins,
                Err(error) => {
                    // Its counter is past it: it wouldn't be found a second time.
                    found.into_iter().for_each(|found| self.tell(found));
                    return Err(error);
                }
            };
            if !coins.is_empty() {
                lock(&self.copies).insert(currency.mint.clone());
                found.push(Found { currency: currency.clone(), line, coins });
            }
        }
        Ok(found)
    }

    async fn check_line_again(
        &self,
        currency: &Currency,
        keyset: &Arc<Keyset>,
        line: Line,
        outputs: &[Premint],
    ) -> Result<Vec<Coin>, WalletError> {
        let id = keyset.id();
        let mut checked = self.checking(currency, id, line).lock_owned().await;
        self.store.write(move |write| write.delete(FREED, line.key(id))).await?;
        let of_line = outputs.iter().filter(|output| Line::of(output.to) == Some(line));
        let of_line: Vec<Premint> = of_line.map(|output| Premint { amount: 0, ..output.clone() }).collect();
        let signed = self.signed(currency, keyset, &of_line).await?.into_iter().flatten();
        let later = self.scan(currency, keyset, line, self.counter(line, id)?).await?;
        *checked = true;
        Ok(signed.chain(later).collect())
    }

    /// The coins that the mint has made of some outputs, in their order.
    async fn signed(
        &self,
        currency: &Currency,
        keyset: &Arc<Keyset>,
        outputs: &[Premint],
    ) -> Result<Vec<Option<Coin>>, WalletError> {
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        let messages: Vec<_> = outputs.iter().filter_map(Premint::message).collect();
        let signatures = self.mints.client(&currency.mint)?.signatures(&messages).await?;
        let lie = || MintTrouble::lying(&currency.mint, "a restored signature that is not by the announced key");
        let coin = |(output, signature): (&Premint, Option<BlindSignature>)| {
            signature.map(|signature| output.unblind(&signature, keyset).ok_or_else(lie)).transpose()
        };
        Ok(outputs.iter().zip(signatures).map(coin).collect::<Result<_, _>>()?)
    }

    /// Another copy of this wallet has made this.
    pub(super) fn tell(&self, found: Found) {
        lock(&self.copies).insert(found.currency.mint.clone());
        (self.on_found)(found);
    }

    /// Checks both lines of a keyset again, whatever was seen of them before: another copy of this wallet may live at the same time.
    ///
    /// # Errors
    /// If the mint doesn't answer.
    pub(super) async fn check_afresh(&self, currency: &Currency, keyset: &Arc<Keyset>) -> Result<(), WalletError> {
        for line in Line::ALL {
            let mut checked = self.checking(currency, keyset.id(), line).lock_owned().await;
            self.look(currency, keyset, line).await?;
            *checked = true;
        }
        Ok(())
    }

    /// Whether a mint has signed more than this copy of the wallet asked for, as far as was seen in this run.
    pub(super) fn another_copy_at(&self, mint: &MintUrl) -> bool {
        lock(&self.copies).contains(mint)
    }

    /// Whether there is one, for which the mint is asked anew.
    pub(super) async fn has_another_copy(&self, currency: &Currency) -> Result<bool, WalletError> {
        if self.another_copy_at(&currency.mint) {
            return Ok(true);
        }
        // It may have used a keyset that the mint has begun since we last looked.
        self.mints.look_again(&currency.mint).await;
        let view = self.mints.view(&currency.mint).await?;
        if let Ok(keyset) = view.active(&currency.unit, self.runtime.now()) {
            self.check_afresh(currency, keyset).await?;
        }
        Ok(self.another_copy_at(&currency.mint))
    }

    fn checking(&self, currency: &Currency, keyset: KeysetId, line: Line) -> Arc<tokio::sync::Mutex<bool>> {
        let mut checked = lock(&self.checked);
        Arc::clone(checked.entry((currency.mint.clone(), line, keyset)).or_default())
    }

    /// Asks the mint, once in a run, what it has signed from the counter on. While what is given is held, no number is taken.
    async fn check(&self, currency: &Currency, keyset: &Arc<Keyset>, line: Line) -> Result<Checked, WalletError> {
        let mut checked = self.checking(currency, keyset.id(), line).lock_owned().await;
        if !*checked {
            self.look(currency, keyset, line).await?;
            *checked = true;
        }
        Ok(checked)
    }

    /// Asks the mint what it has signed from the counter on. Its line must be held.
    async fn look(&self, currency: &Currency, keyset: &Arc<Keyset>, line: Line) -> Result<(), WalletError> {
        let from = self.counter(line, keyset.id())?;
        let coins = self.scan(currency, keyset, line, from).await?;
        if !coins.is_empty() {
            self.tell(Found { currency: currency.clone(), line, coins });
        }
        Ok(())
    }

    fn counter(&self, line: Line, keyset: KeysetId) -> Result<u32, StoreError> {
        Ok(self.store.read(|read| read.get(COUNTERS, line.key(keyset)))?.unwrap_or_default())
    }

    /// Everything that the mint has signed for a line from a number on; raises the counter past it.
    ///
    /// # Errors
    /// If the mint doesn't answer, or gives a signature that isn't by its key.
    pub(super) async fn scan(
        &self,
        currency: &Currency,
        keyset: &Arc<Keyset>,
        line: Line,
        from: u32,
    ) -> Result<Vec<Coin>, WalletError> {
        let (mut coins, mut used, mut start, mut empty) = (Vec::new(), from, from, 0);
        while empty < RESTORE_GAP {
            if start - from > MAX_SCANNED_NUMBERS {
                return Err(MintTrouble::lying(&currency.mint, "it claims to have signed without end").into());
            }
            let outputs = self.outputs(keyset, line, start..start.saturating_add(RESTORE_BATCH)).await?;
            let signed = self.signed(currency, keyset, &outputs).await?;
            empty += 1;
            for (output, coin) in outputs.iter().zip(signed) {
                let Some(coin) = coin else { continue };
                coins.push(coin);
                (used, empty) = (output.number.map_or(used, |number| number + 1), 0);
            }
            start = start.saturating_add(RESTORE_BATCH);
        }
        let id = keyset.id();
        self.store.write(move |write| raise(write, line, id, used)).await?;
        Ok(coins)
    }

    /// The outputs of some numbers, their amounts for the mint to tell.
    async fn outputs(
        &self,
        keyset: &Arc<Keyset>,
        line: Line,
        numbers: std::ops::Range<u32>,
    ) -> Result<Vec<Premint>, WalletError> {
        let (keyset, seed) = (Arc::clone(keyset), self.seed(line).clone());
        let to = match line {
            Line::Coins => Destination::Coins,
            Line::Tokens => Destination::Token,
        };
        let blinding = move || {
            let blind = |number| {
                let (secret, r) = derive(&seed, &keyset, number)?;
                Some(Premint { number: Some(number), ..Premint::new(0, &keyset, secret, &r, to)? })
            };
            numbers.map(blind).collect::<Option<Vec<_>>>()
        };
        self.runtime.offload(Job::Signatures(RESTORE_BATCH), blinding).await.ok_or(WalletError::Unsettled)
    }

    /// The secret and the blinding factor of a number.
    pub(super) fn derive(&self, keyset: &Keyset, line: Line, number: u32) -> Option<(String, SecretKey)> {
        derive(self.seed(line), keyset, number)
    }

    fn seed(&self, line: Line) -> &Zeroizing<[u8; 64]> {
        match line {
            Line::Coins => &self.seeds[0],
            Line::Tokens => &self.seeds[1],
        }
    }
}

fn derive(seed: &[u8; 64], keyset: &Keyset, number: u32) -> Option<(String, SecretKey)> {
    let id = keyset.id().to_cashu();
    let secret = Secret::from_seed(seed, id, number).ok()?.to_string();
    Some((secret, SecretKey::from_seed(seed, id, number).ok()?))
}

fn take(write: &mut Write<'_>, line: Line, keyset: KeysetId, count: u32) -> Result<Vec<u32>, WalletError> {
    let key = line.key(keyset);
    let mut freed = write.get(FREED, &key)?.unwrap_or_default();
    let mut numbers: Vec<u32> = freed.drain(..freed.len().min(count as usize)).collect();
    if !numbers.is_empty() {
        if freed.is_empty() { write.delete(FREED, &key)? } else { write.put(FREED, &key, &freed)? }
    }
    let first = write.get(COUNTERS, &key)?.unwrap_or_default();
    let missing = count - numbers.len() as u32;
    let next = first.checked_add(missing).ok_or(WalletError::NumbersUsedUp)?;
    numbers.extend(first..next);
    write.put(COUNTERS, key, &next)?;
    Ok(numbers)
}

fn raise(write: &mut Write<'_>, line: Line, keyset: KeysetId, used: u32) -> Result<(), StoreError> {
    let key = line.key(keyset);
    if write.get(COUNTERS, &key)?.unwrap_or_default() < used {
        write.put(COUNTERS, key, &used)?;
    }
    Ok(())
}

/// Frees the numbers of outputs that the mint has not signed and never will.
pub(super) fn free(write: &mut Write<'_>, outputs: &[Premint]) -> Result<(), StoreError> {
    let mut lines = BTreeMap::<(Line, KeysetId), Vec<u32>>::new();
    for output in outputs {
        if let (Some(line), Some(number)) = (Line::of(output.to), output.number) {
            lines.entry((line, output.id)).or_default().push(number);
        }
    }
    for ((line, keyset), numbers) in lines {
        let key = line.key(keyset);
        let mut freed = write.get(FREED, &key)?.unwrap_or_default();
        freed.extend(numbers);
        freed.sort_unstable();
        freed.dedup();
        // The lowest are worth most: a gap is counted from the last number that was used.
        freed.truncate(MAX_FREED_NUMBERS);
        write.put(FREED, key, &freed)?;
    }
    Ok(())
}
