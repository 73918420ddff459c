//! cdk's wallet database over the node's store, so that cdk's records and ours commit together and durably.
//!
//! Every method is one job of the store: what cdk asks to be atomic (reserving all proofs or none, counters, versions)
//! is, because a job that refuses leaves nothing behind. Records are kept as the JSON text of cdk's own types, under
//! tables named `wallet/cdk/…`. Inside our own transactions the same proofs are reached through [`proofs`].
//!
//! The lists that cdk's trait returns whole (proofs, quotes, transactions, sagas) are bounded only by what the wallet
//! owns and did; no peer can add to them.

use std::{collections::HashMap, fmt, ops::ControlFlow};

use async_trait::async_trait;
use cdk_common::{
    bitcoin::bip32::DerivationPath,
    database::{Error, WalletDatabase, validate_kvstore_params},
    mint_url::MintUrl,
    nuts::{CurrencyUnit, Id, KeySet, KeySetInfo, Keys, MintInfo, PaymentMethod, PublicKey, SpendingConditions, State},
    wallet::{
        MeltQuote, MintQuote, P2PKSigningKey, ProofInfo, Transaction, TransactionDirection, TransactionId, WalletSaga,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    runtime::Runtime,
    store::{Json, Key, KeyRange, Reader, Store, StoreError, Table, Write},
};

mod mints;
pub mod proofs;
mod quotes;

use quotes::{MELT_QUOTES, MINT_QUOTES};

/// Transaction id → the transaction.
const TRANSACTIONS: Table<Json<Transaction>> = Table::new("wallet/cdk/transactions");
/// Saga id → the saga.
const SAGAS: Table<Json<WalletSaga>> = Table::new("wallet/cdk/sagas");
/// Keyset id, or namespace → how many secrets were derived.
const KEYSET_COUNTERS: Table<u32> = Table::new("wallet/cdk/counters/keyset");
const DERIVATION_COUNTERS: Table<u32> = Table::new("wallet/cdk/counters/derivation");
/// Two namespaces and a key → the value, with the key.
const VALUES: Table<Value> = Table::new("wallet/cdk/values");
/// Public key → how its secret key is derived.
const SIGNING_KEYS: Table<Json<P2PKSigningKey>> = Table::new("wallet/cdk/signing-keys");

#[derive(Serialize, Deserialize)]
struct Value {
    key: String,
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
}

/// A handle of the wallet's part of the store.
#[derive(Clone)]
pub struct WalletDb {
    store: Store,
    runtime: Runtime,
}

impl WalletDb {
    /// The wallet's tables in `store`.
    pub fn new(store: Store, runtime: Runtime) -> Self {
        Self { store, runtime }
    }

    async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Write<'_>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        self.store.transact(job).await
    }

    /// Every record of a table that is `wanted`.
    fn all<V: DeserializeOwned>(&self, table: Table<Json<V>>, wanted: impl Fn(&V) -> bool) -> Result<Vec<V>, Error> {
        let mut found = Vec::new();
        self.store.read(|r| {
            r.visit(table, KeyRange::all(), |_, Json(value)| {
                if wanted(&value) {
                    found.push(value);
                }
                ControlFlow::Continue(())
            })
        })?;
        Ok(found)
    }

    async fn increment(&self, counters: Table<u32>, key: Key, count: u32) -> Result<u32, Error> {
        self.write(move |w| {
            let counter = w.get(counters, &key)?.unwrap_or(0).checked_add(count);
            let counter = counter.ok_or_else(|| Error::Internal("a derivation counter is used up".to_owned()))?;
            w.put(counters, &key, &counter)?;
            Ok(counter)
        })
        .await
    }
}

impl fmt::Debug for WalletDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalletDb").finish_non_exhaustive()
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Database(Box::new(error))
    }
}

/// Sees to it that the next secret derived under a keyset is at least number `used`.
pub(super) fn raise_keyset_counter(w: &mut Write<'_>, keyset_id: &Id, used: u32) -> Result<(), StoreError> {
    let key = Key::of(keyset_id.to_bytes());
    if w.get(KEYSET_COUNTERS, &key)?.unwrap_or(0) < used {
        w.put(KEYSET_COUNTERS, &key, &used)?;
    }
    Ok(())
}

fn value_prefix(primary: &str, secondary: &str) -> Key {
    Key::of(primary).and(secondary)
}

#[async_trait]
impl WalletDatabase<Error> for WalletDb {
    async fn get_mint(&self, mint_url: MintUrl) -> Result<Option<MintInfo>, Error> {
        Ok(self.store.read(|r| mints::get(r, &mint_url))?)
    }

    async fn get_mints(&self) -> Result<HashMap<MintUrl, Option<MintInfo>>, Error> {
        Ok(self.store.read(mints::all)?)
    }

    async fn get_mint_keysets(&self, mint_url: MintUrl) -> Result<Option<Vec<KeySetInfo>>, Error> {
        let keysets = self.store.read(|r| mints::keysets(r, &mint_url))?;
        Ok((!keysets.is_empty()).then_some(keysets))
    }

    async fn get_keyset_by_id(&self, keyset_id: &Id) -> Result<Option<KeySetInfo>, Error> {
        Ok(self.store.read(|r| mints::keyset(r, keyset_id))?)
    }

    async fn get_mint_quote(&self, quote_id: &str) -> Result<Option<MintQuote>, Error> {
        Ok(self.store.read(|r| quotes::get(r, MINT_QUOTES, quote_id))?)
    }

    async fn get_mint_quotes(&self) -> Result<Vec<MintQuote>, Error> {
        Ok(self.store.read(|r| quotes::list(r, MINT_QUOTES, |_| true))?)
    }

    async fn get_unissued_mint_quotes(&self) -> Result<Vec<MintQuote>, Error> {
        let unissued =
            |quote: &MintQuote| u64::from(quote.amount_issued) == 0 || quote.payment_method == PaymentMethod::BOLT12;
        Ok(self.store.read(|r| quotes::list(r, MINT_QUOTES, unissued))?)
    }

    async fn get_melt_quote(&self, quote_id: &str) -> Result<Option<MeltQuote>, Error> {
        Ok(self.store.read(|r| quotes::get(r, MELT_QUOTES, quote_id))?)
    }

    async fn get_melt_quotes(&self) -> Result<Vec<MeltQuote>, Error> {
        Ok(self.store.read(|r| quotes::list(r, MELT_QUOTES, |_| true))?)
    }

    async fn get_keys(&self, id: &Id) -> Result<Option<Keys>, Error> {
        Ok(self.store.read(|r| mints::keys(r, id))?)
    }

    async fn get_proofs(
        &self,
        mint_url: Option<MintUrl>,
        unit: Option<CurrencyUnit>,
        state: Option<Vec<State>>,
        spending_conditions: Option<Vec<SpendingConditions>>,
    ) -> Result<Vec<ProofInfo>, Error> {
        let states = proofs::states(state);
        let mut found = self.store.read(|r| proofs::list(r, mint_url.as_ref(), unit.as_ref(), &states))?;
        found.retain(|proof| proof.matches_conditions(&None, &None, &None, &spending_conditions));
        Ok(found)
    }

    async fn get_proofs_by_ys(&self, ys: Vec<PublicKey>) -> Result<Vec<ProofInfo>, Error> {
        let found = self.store.read(|r| ys.iter().map(|y| proofs::get(r, y)).collect::<Result<Vec<_>, _>>())?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn get_balance(
        &self,
        mint_url: Option<MintUrl>,
        unit: Option<CurrencyUnit>,
        state: Option<Vec<State>>,
    ) -> Result<u64, Error> {
        let states = proofs::states(state);
        self.store.read(|r| Ok(proofs::balance(r, mint_url.as_ref(), unit.as_ref(), &states)))?
    }

    async fn get_transaction(&self, transaction_id: TransactionId) -> Result<Option<Transaction>, Error> {
        let found = self.store.read(|r| r.get(TRANSACTIONS, transaction_id.as_bytes()))?;
        Ok(found.map(|Json(transaction)| transaction))
    }

    async fn list_transactions(
        &self,
        mint_url: Option<MintUrl>,
        direction: Option<TransactionDirection>,
        unit: Option<CurrencyUnit>,
    ) -> Result<Vec<Transaction>, Error> {
        self.all(TRANSACTIONS, |transaction| transaction.matches_conditions(&mint_url, &direction, &unit))
    }

    async fn update_proofs(&self, added: Vec<ProofInfo>, removed_ys: Vec<PublicKey>) -> Result<(), Error> {
        self.write(move |w| {
            for proof in added {
                proofs::put(w, proof)?;
            }
            Ok(proofs::remove(w, &removed_ys)?)
        })
        .await
    }

    /// As in cdk's own databases, a Y that isn't ours is passed over.
    async fn update_proofs_state(&self, ys: Vec<PublicKey>, state: State) -> Result<(), Error> {
        self.write(move |w| {
            for y in ys {
                if proofs::get(w, &y)?.is_some() {
                    proofs::set_state(w, &[y], state)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn add_transaction(&self, transaction: Transaction) -> Result<(), Error> {
        self.write(move |w| Ok(w.put(TRANSACTIONS, transaction.id().as_bytes(), &Json(transaction))?)).await
    }

    async fn update_mint_url(&self, old_mint_url: MintUrl, new_mint_url: MintUrl) -> Result<(), Error> {
        self.write(move |w| {
            let (old, new) = (&old_mint_url, &new_mint_url);
            mints::rename(w, old, new)?;
            quotes::rename_mint(w, MINT_QUOTES, old, new)?;
            quotes::rename_mint(w, MELT_QUOTES, old, new)?;
            Ok(proofs::rename_mint(w, old, new)?)
        })
        .await
    }

    async fn increment_keyset_counter(&self, keyset_id: &Id, count: u32) -> Result<u32, Error> {
        self.increment(KEYSET_COUNTERS, Key::of(keyset_id.to_bytes()), count).await
    }

    async fn increment_derivation_counter(&self, namespace: &str, count: u32) -> Result<u32, Error> {
        self.increment(DERIVATION_COUNTERS, Key::of(namespace), count).await
    }

    async fn add_mint(&self, mint_url: MintUrl, mint_info: Option<MintInfo>) -> Result<(), Error> {
        self.write(move |w| Ok(mints::put(w, mint_url, mint_info)?)).await
    }

    async fn remove_mint(&self, mint_url: MintUrl) -> Result<(), Error> {
        self.write(move |w| Ok(mints::remove(w, &mint_url)?)).await
    }

    async fn add_mint_keysets(&self, mint_url: MintUrl, keysets: Vec<KeySetInfo>) -> Result<(), Error> {
        self.write(move |w| Ok(mints::put_keysets(w, &mint_url, keysets)?)).await
    }

    async fn add_mint_quote(&self, quote: MintQuote) -> Result<(), Error> {
        self.write(move |w| quotes::put(w, MINT_QUOTES, quote)).await
    }

    async fn remove_mint_quote(&self, quote_id: &str) -> Result<(), Error> {
        let id = quote_id.to_owned();
        self.write(move |w| Ok(quotes::remove(w, MINT_QUOTES, &id)?)).await
    }

    async fn add_melt_quote(&self, quote: MeltQuote) -> Result<(), Error> {
        self.write(move |w| quotes::put(w, MELT_QUOTES, quote)).await
    }

    async fn remove_melt_quote(&self, quote_id: &str) -> Result<(), Error> {
        let id = quote_id.to_owned();
        self.write(move |w| Ok(quotes::remove(w, MELT_QUOTES, &id)?)).await
    }

    async fn add_keys(&self, keyset: KeySet) -> Result<(), Error> {
        keyset.verify_id()?;
        self.write(move |w| Ok(mints::put_keys(w, keyset.id, keyset.keys)?)).await
    }

    async fn remove_keys(&self, id: &Id) -> Result<(), Error> {
        let id = *id;
        self.write(move |w| Ok(mints::remove_keys(w, &id)?)).await
    }

    async fn remove_transaction(&self, transaction_id: TransactionId) -> Result<(), Error> {
        self.write(move |w| Ok(w.delete(TRANSACTIONS, transaction_id.as_bytes())?)).await
    }

    async fn add_saga(&self, saga: WalletSaga) -> Result<(), Error> {
        self.write(move |w| {
            if w.contains(SAGAS, saga.id.as_bytes())? {
                return Err(Error::Duplicate);
            }
            Ok(w.put(SAGAS, saga.id.into_bytes(), &Json(saga))?)
        })
        .await
    }

    async fn get_saga(&self, id: &Uuid) -> Result<Option<WalletSaga>, Error> {
        Ok(self.store.read(|r| r.get(SAGAS, id.as_bytes()))?.map(|Json(saga)| saga))
    }

    /// The caller has counted the version up already.
    async fn update_saga(&self, saga: WalletSaga) -> Result<bool, Error> {
        self.write(move |w| {
            let stored = w.get(SAGAS, saga.id.as_bytes())?;
            let is_next = stored.is_some_and(|Json(stored)| stored.version == saga.version.saturating_sub(1));
            if is_next {
                w.put(SAGAS, saga.id.into_bytes(), &Json(saga))?;
            }
            Ok(is_next)
        })
        .await
    }

    async fn delete_saga(&self, id: &Uuid) -> Result<(), Error> {
        let id = *id;
        self.write(move |w| Ok(w.delete(SAGAS, id.as_bytes())?)).await
    }

    async fn get_incomplete_sagas(&self) -> Result<Vec<WalletSaga>, Error> {
        let mut sagas = self.all(SAGAS, |_| true)?;
        sagas.sort_by_key(|saga| saga.created_at);
        Ok(sagas)
    }

    async fn reserve_proofs(&self, ys: Vec<PublicKey>, operation_id: &Uuid) -> Result<(), Error> {
        let operation = *operation_id;
        self.write(move |w| proofs::reserve(w, &ys, operation)).await
    }

    async fn release_proofs(&self, operation_id: &Uuid) -> Result<(), Error> {
        let operation = *operation_id;
        self.write(move |w| Ok(proofs::release(w, operation)?)).await
    }

    async fn get_reserved_proofs(&self, operation_id: &Uuid) -> Result<Vec<ProofInfo>, Error> {
        Ok(self.store.read(|r| proofs::used_by(r, *operation_id))?)
    }

    async fn reserve_melt_quote(&self, quote_id: &str, operation_id: &Uuid) -> Result<(), Error> {
        let (id, operation) = (quote_id.to_owned(), *operation_id);
        self.write(move |w| quotes::reserve(w, MELT_QUOTES, &id, operation)).await
    }

    async fn release_melt_quote(&self, operation_id: &Uuid) -> Result<(), Error> {
        let operation = *operation_id;
        self.write(move |w| Ok(quotes::release(w, MELT_QUOTES, operation)?)).await
    }

    async fn reserve_mint_quote(&self, quote_id: &str, operation_id: &Uuid) -> Result<(), Error> {
        let (id, operation) = (quote_id.to_owned(), *operation_id);
        self.write(move |w| quotes::reserve(w, MINT_QUOTES, &id, operation)).await
    }

    async fn release_mint_quote(&self, operation_id: &Uuid) -> Result<(), Error> {
        let operation = *operation_id;
        self.write(move |w| Ok(quotes::release(w, MINT_QUOTES, operation)?)).await
    }

    async fn kv_read(
        &self,
        primary_namespace: &str,
        secondary_namespace: &str,
        key: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        validate_kvstore_params(primary_namespace, secondary_namespace, Some(key))?;
        let place = value_prefix(primary_namespace, secondary_namespace).and(key);
        Ok(self.store.read(|r| r.get(VALUES, place))?.map(|row| row.value))
    }

    async fn kv_list(&self, primary_namespace: &str, secondary_namespace: &str) -> Result<Vec<String>, Error> {
        validate_kvstore_params(primary_namespace, secondary_namespace, None)?;
        let prefix = value_prefix(primary_namespace, secondary_namespace);
        let rows = self.store.read(|r| r.range(VALUES, prefix.range(), usize::MAX))?;
        Ok(rows.into_iter().map(|(_, row)| row.key).collect())
    }

    async fn kv_write(
        &self,
        primary_namespace: &str,
        secondary_namespace: &str,
        key: &str,
        value: &[u8],
    ) -> Result<(), Error> {
        validate_kvstore_params(primary_namespace, secondary_namespace, Some(key))?;
        let place = value_prefix(primary_namespace, secondary_namespace).and(key);
        let row = Value { key: key.to_owned(), value: value.to_vec() };
        self.write(move |w| Ok(w.put(VALUES, place, &row)?)).await
    }

    async fn kv_remove(&self, primary_namespace: &str, secondary_namespace: &str, key: &str) -> Result<(), Error> {
        validate_kvstore_params(primary_namespace, secondary_namespace, Some(key))?;
        let place = value_prefix(primary_namespace, secondary_namespace).and(key);
        self.write(move |w| Ok(w.delete(VALUES, place)?)).await
    }

    async fn add_p2pk_key(
        &self,
        pubkey: &PublicKey,
        derivation_path: DerivationPath,
        derivation_index: u32,
    ) -> Result<(), Error> {
        let created_time = self.runtime.now().as_secs();
        let key = P2PKSigningKey { pubkey: *pubkey, derivation_path, derivation_index, created_time };
        self.write(move |w| Ok(w.put(SIGNING_KEYS, key.pubkey.to_bytes(), &Json(key))?)).await
    }

    async fn get_p2pk_key(&self, pubkey: &PublicKey) -> Result<Option<P2PKSigningKey>, Error> {
        Ok(self.store.read(|r| r.get(SIGNING_KEYS, pubkey.to_bytes()))?.map(|Json(key)| key))
    }

    async fn list_p2pk_keys(&self) -> Result<Vec<P2PKSigningKey>, Error> {
        self.all(SIGNING_KEYS, |_| true)
    }

    async fn latest_p2pk(&self) -> Result<Option<P2PKSigningKey>, Error> {
        let keys = self.all(SIGNING_KEYS, |_| true)?;
        Ok(keys.into_iter().max_by_key(|key| (key.created_time, key.derivation_index)))
    }
}

#[cfg(test)]
mod tests;
