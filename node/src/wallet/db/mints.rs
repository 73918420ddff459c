//! Mints and their keysets.
//!
//! A keyset belongs to the mint that first showed it: another mint that claims the same id gets a row of its own and
//! can't change the fee or the state of the first one's.

use std::{collections::HashMap, ops::ControlFlow};

use cdk_common::{
    database::Error,
    mint_url::MintUrl,
    nuts::{Id, KeySetInfo, Keys, MintInfo},
};

use crate::store::{Json, Key, KeyRange, Reader, StoreError, Table, Write};

/// Mint URL → what it said of itself, if it was asked.
const MINTS: Table<Json<(MintUrl, Option<MintInfo>)>> = Table::new("wallet/cdk/mints");
/// Mint URL, keyset id → the keyset.
const KEYSETS: Table<Json<KeySetInfo>> = Table::new("wallet/cdk/keysets");
/// Keyset id → the mint that first showed it.
const OWNERS: Table<Json<MintUrl>> = Table::new("wallet/cdk/keysets/owners");
/// Keyset id → its public keys.
const KEYS: Table<Json<Keys>> = Table::new("wallet/cdk/keys");

fn mint_key(url: &MintUrl) -> Key {
    Key::of(url.to_string())
}

fn keyset_key(url: &MintUrl, id: &Id) -> Key {
    mint_key(url).and(id.to_bytes())
}

pub(super) fn get(r: &impl Reader, url: &MintUrl) -> Result<Option<MintInfo>, StoreError> {
    Ok(r.get(MINTS, mint_key(url))?.and_then(|Json((_, info))| info))
}

pub(super) fn all(r: &impl Reader) -> Result<HashMap<MintUrl, Option<MintInfo>>, StoreError> {
    let mut mints = HashMap::new();
    r.visit(MINTS, KeyRange::all(), |_, Json((url, info))| {
        mints.insert(url, info);
        ControlFlow::Continue(())
    })?;
    Ok(mints)
}

pub(super) fn put(w: &mut Write<'_>, url: MintUrl, info: Option<MintInfo>) -> Result<(), StoreError> {
    w.put(MINTS, mint_key(&url), &Json((url, info)))
}

/// Its keysets stay: proofs and locks of that mint may still be about.
pub(super) fn remove(w: &mut Write<'_>, url: &MintUrl) -> Result<(), StoreError> {
    w.delete(MINTS, mint_key(url))
}

pub(super) fn keysets(r: &impl Reader, url: &MintUrl) -> Result<Vec<KeySetInfo>, StoreError> {
    let rows = r.range(KEYSETS, mint_key(url).range(), usize::MAX)?;
    Ok(rows.into_iter().map(|(_, Json(keyset))| keyset).collect())
}

pub(super) fn keyset(r: &impl Reader, id: &Id) -> Result<Option<KeySetInfo>, StoreError> {
    let Some(Json(owner)) = r.get(OWNERS, id.to_bytes())? else { return Ok(None) };
    Ok(r.get(KEYSETS, keyset_key(&owner, id))?.map(|Json(keyset)| keyset))
}

/// Adds keysets or updates whether they are active and what they cost; a keyset's unit and expiry never change.
pub(super) fn put_keysets(w: &mut Write<'_>, url: &MintUrl, keysets: Vec<KeySetInfo>) -> Result<(), StoreError> {
    for mut keyset in keysets {
        let key = keyset_key(url, &keyset.id);
        if let Some(Json(known)) = w.get(KEYSETS, &key)? {
            keyset = KeySetInfo { active: keyset.active, input_fee_ppk: keyset.input_fee_ppk, ..known };
        }
        if !w.contains(OWNERS, keyset.id.to_bytes())? {
            w.put(OWNERS, keyset.id.to_bytes(), &Json(url.clone()))?;
        }
        w.put(KEYSETS, key, &Json(keyset))?;
    }
    Ok(())
}

pub(super) fn keys(r: &impl Reader, id: &Id) -> Result<Option<Keys>, StoreError> {
    Ok(r.get(KEYS, id.to_bytes())?.map(|Json(keys)| keys))
}

/// The caller has checked that the id is the keys' own.
pub(super) fn put_keys(w: &mut Write<'_>, id: Id, keys: Keys) -> Result<(), StoreError> {
    w.put(KEYS, id.to_bytes(), &Json(keys))
}

pub(super) fn remove_keys(w: &mut Write<'_>, id: &Id) -> Result<(), StoreError> {
    w.delete(KEYS, id.to_bytes())
}

/// Moves a mint and its keysets to its new URL, unless there is a mint of that URL already.
pub(super) fn rename(w: &mut Write<'_>, old: &MintUrl, new: &MintUrl) -> Result<(), Error> {
    if let Some(Json((_, info))) = w.get(MINTS, mint_key(old))? {
        remove(w, old)?;
        if !w.contains(MINTS, mint_key(new))? {
            put(w, new.clone(), info)?;
        }
    }
    for keyset in keysets(w, old)? {
        w.delete(KEYSETS, keyset_key(old, &keyset.id))?;
        if w.get(OWNERS, keyset.id.to_bytes())?.is_some_and(|Json(owner)| owner == *old) {
            w.put(OWNERS, keyset.id.to_bytes(), &Json(new.clone()))?;
        }
        put_keysets(w, new, vec![keyset])?;
    }
    Ok(())
}
