//! The wallet's proofs, changed within the caller's own transaction.
//!
//! So that a swap's record and the states of its inputs, or a trade's record and the proofs that pay for it, are one
//! commit: call these from a job of [`Store::transact`](crate::store::Store::transact). Beside each proof stands an
//! entry under (state, mint, unit, Y) with its amount, so that a list reads what it returns and a balance reads no
//! secret.

use std::{collections::BTreeSet, ops::ControlFlow};

use cdk_common::{
    database::Error,
    mint_url::MintUrl,
    nuts::{CurrencyUnit, PublicKey, State},
    wallet::ProofInfo,
};
use uuid::Uuid;

use crate::store::{Json, Key, KeyRange, Reader, StoreError, Table, Write};

/// Y → the proof.
const PROOFS: Table<Json<ProofInfo>> = Table::new("wallet/cdk/proofs");
/// State, mint, unit, Y → amount.
const INDEX: Table<u64> = Table::new("wallet/cdk/proofs/index");

/// Every state a proof can be in.
const STATES: [State; 5] = [State::Unspent, State::Reserved, State::Pending, State::PendingSpent, State::Spent];

/// The stored number of a state; never reused.
fn number(state: State) -> u8 {
    match state {
        State::Unspent => 0,
        State::Reserved => 1,
        State::Pending => 2,
        State::PendingSpent => 3,
        State::Spent => 4,
    }
}

fn index_key(proof: &ProofInfo) -> Key {
    Key::of(number(proof.state)).and(proof.mint_url.to_string()).and(proof.unit.to_string()).and(proof.y.to_bytes())
}

/// Stores a proof, over what was known of it. A derivation index once known stays, since the proof can be made again
/// from it.
///
/// # Errors
/// If the disk fails.
pub fn put(w: &mut Write<'_>, mut proof: ProofInfo) -> Result<(), StoreError> {
    let key = proof.y.to_bytes();
    if let Some(Json(old)) = w.get(PROOFS, key)? {
        proof.derivation_index = proof.derivation_index.or(old.derivation_index);
        w.delete(INDEX, index_key(&old))?;
    }
    w.put(INDEX, index_key(&proof), &u64::from(proof.proof.amount))?;
    w.put(PROOFS, key, &Json(proof))
}

/// The proof with this Y.
///
/// # Errors
/// If the disk fails.
pub fn get(r: &impl Reader, y: &PublicKey) -> Result<Option<ProofInfo>, StoreError> {
    Ok(r.get(PROOFS, y.to_bytes())?.map(|Json(proof)| proof))
}

/// Moves all of these proofs to a state.
///
/// # Errors
/// [`Error::ProofNotFound`] if one of them isn't there; or if the disk fails.
pub fn set_state(w: &mut Write<'_>, ys: &[PublicKey], state: State) -> Result<(), Error> {
    for y in ys {
        let proof = get(w, y)?.ok_or(Error::ProofNotFound)?;
        put(w, ProofInfo { state, ..proof })?;
    }
    Ok(())
}

/// Reserves all of these proofs for an operation.
///
/// # Errors
/// [`Error::ProofNotUnspent`] if one of them isn't there, isn't unspent or is named twice; or if the disk fails.
pub fn reserve(w: &mut Write<'_>, ys: &[PublicKey], operation: Uuid) -> Result<(), Error> {
    for y in ys {
        let proof = get(w, y)?.filter(|proof| proof.state == State::Unspent).ok_or(Error::ProofNotUnspent)?;
        put(w, ProofInfo { state: State::Reserved, used_by_operation: Some(operation), ..proof })?;
    }
    Ok(())
}

/// Gives back what an operation holds reserved or pending; what was spent stays spent.
///
/// # Errors
/// If the disk fails.
pub fn release(w: &mut Write<'_>, operation: Uuid) -> Result<(), StoreError> {
    for proof in list(w, None, None, &[State::Reserved, State::Pending])? {
        if proof.used_by_operation == Some(operation) {
            put(w, ProofInfo { state: State::Unspent, used_by_operation: None, ..proof })?;
        }
    }
    Ok(())
}

/// Forgets these proofs; those that aren't there are no error.
///
/// # Errors
/// If the disk fails.
pub fn remove(w: &mut Write<'_>, ys: &[PublicKey]) -> Result<(), StoreError> {
    for y in ys {
        if let Some(proof) = get(w, y)? {
            w.delete(INDEX, index_key(&proof))?;
            w.delete(PROOFS, y.to_bytes())?;
        }
    }
    Ok(())
}

/// The proofs of a mint (or of all) in a unit (or in all) that are in one of these states, ordered by state, mint, unit
/// and Y. No states means none.
///
/// # Errors
/// If the disk fails.
pub fn list(
    r: &impl Reader,
    mint: Option<&MintUrl>,
    unit: Option<&CurrencyUnit>,
    states: &[State],
) -> Result<Vec<ProofInfo>, StoreError> {
    let mut ys = Vec::new();
    visit_index(r, mint, unit, states, |y, _| {
        ys.push(y);
        ControlFlow::Continue(())
    })?;
    let mut proofs = Vec::with_capacity(ys.len());
    for y in ys {
        let Json(proof) = r.get(PROOFS, y)?.ok_or(StoreError::Decode { table: PROOFS.name() })?;
        if unit.is_none_or(|unit| *unit == proof.unit) {
            proofs.push(proof);
        }
    }
    Ok(proofs)
}

/// The sum of what [`list`] would return.
///
/// # Errors
/// [`Error::AmountOverflow`] if it is more than there can be; or if the disk fails.
pub fn balance(
    r: &impl Reader,
    mint: Option<&MintUrl>,
    unit: Option<&CurrencyUnit>,
    states: &[State],
) -> Result<u64, Error> {
    let mut sum = Some(0_u64);
    if mint.is_none() && unit.is_some() {
        // The unit stands behind the mint in the index.
        for proof in list(r, mint, unit, states)? {
            sum = sum.and_then(|sum| sum.checked_add(proof.proof.amount.into()));
        }
    } else {
        visit_index(r, mint, unit, states, |_, amount| {
            sum = sum.and_then(|sum| sum.checked_add(amount));
            if sum.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    sum.ok_or(Error::AmountOverflow)
}

/// All proofs that an operation uses, in whatever state.
///
/// # Errors
/// If the disk fails.
pub fn used_by(r: &impl Reader, operation: Uuid) -> Result<Vec<ProofInfo>, StoreError> {
    let mut proofs = Vec::new();
    r.visit(PROOFS, KeyRange::all(), |_, Json(proof)| {
        if proof.used_by_operation == Some(operation) {
            proofs.push(proof);
        }
        ControlFlow::Continue(())
    })?;
    Ok(proofs)
}

/// Moves every proof of a mint to that mint's new URL.
///
/// # Errors
/// If the disk fails.
pub fn rename_mint(w: &mut Write<'_>, old: &MintUrl, new: &MintUrl) -> Result<(), StoreError> {
    for proof in list(w, Some(old), None, &STATES)? {
        put(w, ProofInfo { mint_url: new.clone(), ..proof })?;
    }
    Ok(())
}

/// Every state, or those asked for, each once.
pub(super) fn states(asked: Option<Vec<State>>) -> Vec<State> {
    match asked {
        Some(asked) => {
            let numbers: BTreeSet<_> = asked.into_iter().map(number).collect();
            STATES.into_iter().filter(|&state| numbers.contains(&number(state))).collect()
        }
        None => STATES.to_vec(),
    }
}

/// Shows the Y and amount of each proof of these states and, as far as the index tells, of the mint and unit.
fn visit_index(
    r: &impl Reader,
    mint: Option<&MintUrl>,
    unit: Option<&CurrencyUnit>,
    states: &[State],
    mut visit: impl FnMut([u8; Y_LEN], u64) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    for &state in states {
        let mut prefix = Key::of(number(state));
        if let Some(mint) = mint {
            prefix = prefix.and(mint.to_string());
            if let Some(unit) = unit {
                prefix = prefix.and(unit.to_string());
            }
        }
        let mut damaged = false;
        r.visit(INDEX, prefix.range(), |key, amount| match key.last_chunk() {
            Some(&y) => visit(y, amount),
            None => {
                damaged = true;
                ControlFlow::Break(())
            }
        })?;
        if damaged {
            return Err(StoreError::Decode { table: INDEX.name() });
        }
    }
    Ok(())
}

/// A compressed point, in bytes.
const Y_LEN: usize = 33;
