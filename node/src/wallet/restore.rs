//! Finding the wallet's own coins again from its seed (NUT-13, NUT-09).
//!
//! Each keyset of the mint, those included that it no longer lists, is gone through number by number until
//! [`RESTORE_GAP`] batches in a row bring nothing. What the mint has signed and nobody has spent is ours, unless we have
//! it already: as a coin, as a coin given out, or in a swap whose fate isn't known. So that no coin passes unseen from
//! one of these places to another, nothing is spent while found coins are taken over, and it is then that the mint is
//! asked which of them are unspent.
//!
//! Safe to repeat, and beside whatever else the wallet does. The counters of derived secrets rise to the last number
//! found and never further: a gap would hide later coins from the next restore.

use std::{collections::BTreeSet, sync::Arc};

use cdk::{
    nuts::{SecretKey, State},
    secret::Secret,
};
use guilder_protocol::locks::Keyset;

use super::{
    Inner, WalletError,
    coin::y_of,
    connector::MintTrouble,
    db,
    pockets::{book, coin_key},
    records::{COINS, Coin, Destination, FUNDED, Pocket, Premint, SWAPS, Y},
    swap,
};
use crate::{
    limits::{MAX_SWAP_INPUTS, RESTORE_BATCH, RESTORE_GAP},
    runtime::Job,
    store::{KeyRange, Reader, StoreError},
};

impl Inner {
    /// Looks for coins that the recovery phrase once made. Gives what was found.
    pub(super) async fn restore(&self, pocket: &Pocket) -> Result<u64, WalletError> {
        let view = self.mints.view(&pocket.mint).await?;
        let mut found = Vec::new();
        for keyset in view.keysets.values().filter(|keyset| *keyset.unit() == pocket.unit) {
            let (coins, used) = self.signed_coins(pocket, keyset).await?;
            let id = keyset.id().to_cashu();
            self.store.transact(move |write| db::raise_keyset_counter(write, &id, used)).await?;
            found.extend(coins);
        }
        self.take_over(pocket, found).await
    }

    /// The coins that the mint has signed under a keyset for our secrets, and how many of these are used up.
    async fn signed_coins(&self, pocket: &Pocket, keyset: &Arc<Keyset>) -> Result<(Vec<Coin>, u32), WalletError> {
        let connector = self.mints.connector(&pocket.mint)?;
        let (mut coins, mut used, mut start, mut empty) = (Vec::new(), 0, 0, 0);
        while empty < RESTORE_GAP {
            let outputs = self.numbered(keyset, start).await?;
            let signatures = swap::signatures(&connector, &outputs).await;
            let signatures = signatures.map_err(|error| MintTrouble::from_error(&pocket.mint, &error))?;
            empty += 1;
            for ((mut output, signature), number) in outputs.into_iter().zip(signatures).zip(start..) {
                let Some(signature) = signature else { continue };
                output.amount = signature.amount.to_u64();
                let lie = || MintTrouble::Lying {
                    mint: pocket.mint.clone(),
                    what: "a restored signature that is not by the announced key".into(),
                };
                coins.push(output.unblind(&signature, keyset).ok_or_else(lie)?);
                (used, empty) = (number + 1, 0);
            }
            start += RESTORE_BATCH;
        }
        Ok((coins, used))
    }

    /// A batch of outputs for the secrets from number `start` on. Their amounts are for the mint to tell.
    async fn numbered(&self, keyset: &Arc<Keyset>, start: u32) -> Result<Vec<Premint>, WalletError> {
        let (keyset, seed) = (Arc::clone(keyset), self.seed.clone());
        let blinding = move || {
            let id = keyset.id().to_cashu();
            let blind = |number| {
                let secret = Secret::from_seed(&seed, id, number).ok()?.to_string();
                let r = SecretKey::from_seed(&seed, id, number).ok()?;
                Premint::new(0, &keyset, secret, &r, Destination::Coins)
            };
            (start..start + RESTORE_BATCH).map(blind).collect::<Option<Vec<_>>>()
        };
        self.runtime.offload(Job::Signatures(RESTORE_BATCH), blinding).await.ok_or(WalletError::Unsettled)
    }

    /// Puts coins that came from elsewhere into our table: those that we don't have and that nobody has spent.
    pub(super) async fn take_over(&self, pocket: &Pocket, coins: Vec<Coin>) -> Result<u64, WalletError> {
        let _choosing = self.pockets.choosing().await;
        let coins: Vec<(Y, Coin)> = coins.into_iter().filter_map(|coin| Some((coin.y()?, coin))).collect();
        let mut new = self.store.read(|read| unknown(read, pocket, coins))?;
        new = self.unspent(pocket, new).await?;
        if new.is_empty() {
            return Ok(0);
        }
        let kept = pocket.clone();
        let taken = self
            .store
            .transact(move |write| {
                let mut taken = 0;
                for (y, coin) in unknown(write, &kept, new)? {
                    write.put(COINS, coin_key(&kept, y), &coin)?;
                    taken += coin.amount;
                }
                book(write, &kept, |account| account.funded += taken)?;
                Ok::<_, WalletError>(taken)
            })
            .await?;
        self.count_funds(pocket)?;
        if taken > 0 {
            self.tell_funded(pocket, taken);
        }
        Ok(taken)
    }

    /// Those of some coins that are unspent, by the mint's word (NUT-07).
    async fn unspent(&self, pocket: &Pocket, coins: Vec<(Y, Coin)>) -> Result<Vec<(Y, Coin)>, WalletError> {
        let connector = self.mints.connector(&pocket.mint)?;
        let mut unspent = Vec::new();
        for some in coins.chunks(MAX_SWAP_INPUTS) {
            let asking = tokio::time::timeout(self.patience(), swap::states(&connector, some.iter().map(|(y, _)| *y)));
            let states = asking.await.map_err(|_| MintTrouble::Slow { mint: pocket.mint.clone() })?;
            let states = states.map_err(|error| MintTrouble::from_error(&pocket.mint, &error))?;
            let free = some.iter().zip(states).filter(|(_, state)| *state == State::Unspent);
            unspent.extend(free.map(|(coin, _)| coin.clone()));
        }
        Ok(unspent)
    }
}

/// Those of some coins that the wallet doesn't know of: not in its table, not given out, in no swap.
fn unknown(reader: &impl Reader, pocket: &Pocket, coins: Vec<(Y, Coin)>) -> Result<Vec<(Y, Coin)>, StoreError> {
    let swaps = reader.range(SWAPS, KeyRange::all(), usize::MAX)?;
    let made = swaps.iter().flat_map(|(_, record)| &record.outputs).filter_map(|output| y_of(&output.secret));
    let spent = swaps.iter().flat_map(|(_, record)| record.inputs.iter().map(|input| input.y));
    let swapping: BTreeSet<Y> = made.chain(spent).collect();
    let mut unknown = Vec::new();
    for (y, coin) in coins {
        let known =
            swapping.contains(&y) || reader.contains(COINS, coin_key(pocket, y))? || reader.contains(FUNDED, y.0)?;
        if !known {
            unknown.push((y, coin));
        }
    }
    Ok(unknown)
}
