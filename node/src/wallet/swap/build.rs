//! From what a swap is to do to its blinded outputs.

use std::sync::Arc;

use cdk::{nuts::SecretKey, secret::Secret};
use guilder_protocol::locks::{Keyset, SpendingConditions};

use super::super::{
    Inner, WalletError, amounts,
    coin::sum,
    mints::MintView,
    records::{Destination, Pocket, Premint, Purpose, SwapInput, SwapRecord},
};
use crate::runtime::Job;

/// What a swap is to do. What the inputs are worth beyond `outputs` and the fee comes back as coins.
pub(in super::super) struct Plan {
    pub(in super::super) pocket: Pocket,
    pub(in super::super) inputs: Vec<SwapInput>,
    pub(in super::super) outputs: Vec<(u64, Destination)>,
    pub(in super::super) purpose: Purpose,
}

pub(super) struct Blinded {
    pub(super) record: SwapRecord,
}

/// An output with its secret, before it is blinded.
struct Secretive {
    amount: u64,
    to: Destination,
    secret: String,
    r: SecretKey,
}

pub(super) async fn blind(plan: Plan, inner: &Inner) -> Result<Blinded, WalletError> {
    let made = inner.runtime.now();
    let Pocket { mint, unit } = &plan.pocket;
    let ids = plan.inputs.iter().map(|input| input.coin.id);
    let mut view = inner.mints.view_with(mint, ids).await?;
    if view.active(unit, made).is_err() {
        inner.mints.look_again(mint).await;
        view = inner.mints.view(mint).await?;
    }
    let keyset = Arc::clone(view.active(unit, made)?);
    let (amounts, fee) = balance(&plan, &view, &keyset)?;
    let secrets = secrets(amounts, &plan, &keyset, inner).await?;
    let count = secrets.len() as u32;
    let blinded = inner
        .runtime
        .offload(Job::Signatures(count), move || {
            let blind = |out: Secretive| Premint::new(out.amount, &keyset, out.secret, &out.r, out.to);
            secrets.into_iter().map(blind).collect::<Option<Vec<_>>>()
        })
        .await;
    let Plan { pocket, inputs, purpose, .. } = plan;
    // A secret that hashes to no point would take 2^16 failures in a row.
    let outputs = blinded.ok_or(WalletError::Unsettled)?;
    Ok(Blinded { record: SwapRecord { pocket, inputs, outputs, fee, purpose, made } })
}

/// The amounts of all outputs, change included, smallest first, so that their order tells the mint nothing; and the fee.
fn balance(plan: &Plan, view: &MintView, keyset: &Keyset) -> Result<(Vec<(u64, Destination)>, u64), WalletError> {
    let Pocket { mint, unit } = &plan.pocket;
    let available = sum(plan.inputs.iter().map(|input| &input.coin.amount));
    let unknown = || WalletError::NoKeyset { mint: mint.clone(), unit: unit.clone() };
    let fee = view.fee(plan.inputs.iter().map(|input| input.coin.id)).ok_or_else(unknown)?;
    let needed = sum(plan.outputs.iter().map(|(amount, _)| amount)).saturating_add(fee);
    let change = available.checked_sub(needed).ok_or_else(|| WalletError::Insufficient {
        mint: mint.clone(),
        unit: unit.clone(),
        needed,
        available,
    })?;
    let impossible = WalletError::Amount { amount: change, max: usize::MAX };
    let change = amounts::split(change, keyset).ok_or(impossible)?;
    let mut outputs = plan.outputs.clone();
    outputs.extend(change.into_iter().map(|amount| (amount, Destination::Coins)));
    outputs.sort_by_key(|(amount, _)| *amount);
    Ok((outputs, fee))
}

/// Draws the secrets: of our own coins from the wallet's seed (NUT-13), so that the recovery phrase finds them again;
/// of the others at random.
async fn secrets(
    amounts: Vec<(u64, Destination)>,
    plan: &Plan,
    keyset: &Keyset,
    inner: &Inner,
) -> Result<Vec<Secretive>, WalletError> {
    let own = amounts.iter().filter(|(_, to)| *to == Destination::Coins).count() as u32;
    let mut counter = inner.counters(keyset.id(), own).await?;
    let id = keyset.id().to_cashu();
    let mut secrets = Vec::with_capacity(amounts.len());
    for (amount, to) in amounts {
        let derived = to == Destination::Coins;
        let (secret, r) = match (to, &plan.purpose) {
            (Destination::Purse, Purpose::Refill { terms, .. }) => {
                (terms.secret(&inner.runtime.random()), inner.random_scalar())
            }
            (Destination::Coins, _) => {
                let secret = Secret::from_seed(&inner.seed, id, counter).map_err(|_| WalletError::Unsettled)?;
                let r = SecretKey::from_seed(&inner.seed, id, counter).map_err(|_| WalletError::Unsettled)?;
                (secret.to_string(), r)
            }
            _ => (hex::encode(inner.runtime.random::<32>()), inner.random_scalar()),
        };
        counter += u32::from(derived);
        secrets.push(Secretive { amount, to, secret, r });
    }
    Ok(secrets)
}
