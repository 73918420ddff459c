//! From what an operation is to do to its blinded outputs.

use std::{collections::BTreeMap, sync::Arc};

use cdk::nuts::SecretKey;
use guilder_protocol::{
    locks::{Keyset, KeysetId},
    time::Timestamp,
};

use super::{
    super::{
        amounts,
        coin::sum,
        error::WalletError,
        mints::{MintView, Mints},
        records::{Currency, Destination, Input, Operation, Premint, Purpose},
    },
    numbers::{Found, Line, Numbers},
};
use crate::runtime::{Job, Runtime};

/// What an operation is to do. What the inputs of a swap are worth beyond `outputs` and the fee comes back as coins.
pub(in super::super) struct Plan {
    pub(in super::super) currency: Currency,
    pub(in super::super) inputs: Vec<Input>,
    pub(in super::super) outputs: Vec<(u64, Destination)>,
    pub(in super::super) purpose: Purpose,
    /// The last moment to post it, if it shows what must not be shown later.
    pub(in super::super) until: Option<Timestamp>,
}

/// What blinding takes.
pub(super) struct Builder<'a> {
    pub(super) mints: &'a Mints,
    pub(super) numbers: &'a Numbers,
    pub(super) runtime: &'a Runtime,
}

/// An output with its secret, before it is blinded.
struct Secretive {
    amount: u64,
    to: Destination,
    secret: String,
    r: SecretKey,
    number: Option<u32>,
}

impl Builder<'_> {
    /// Blinds the outputs and rounds the plan off to an operation that balances.
    pub(super) async fn build(&self, plan: Plan) -> Result<Operation, WalletError> {
        let made = self.runtime.now();
        let Currency { mint, unit } = &plan.currency;
        let ids: Vec<KeysetId> = plan.inputs.iter().map(|input| input.coin.id).collect();
        let mut view = self.mints.view_with(mint, ids).await?;
        if view.active(unit, made).is_err() {
            self.mints.look_again(mint).await;
            view = self.mints.view(mint).await?;
        }
        let keyset = Arc::clone(view.active(unit, made)?);
        let (amounts, fee) = balance(&plan, &view, &keyset)?;
        let outputs = self.blind(&plan.currency, &keyset, amounts, &plan.purpose).await?;
        let Plan { currency, inputs, purpose, until, .. } = plan;
        Ok(Operation { currency, inputs, outputs, fee, purpose, made, until })
    }

    /// The same operation with outputs that the mint has not seen, of the keyset that it signs with now; and what another copy of
    /// this wallet has made of the present ones and of later numbers, to be told of once the operation has new ones.
    pub(super) async fn build_anew(&self, record: &Operation) -> Result<(Operation, Vec<Found>), WalletError> {
        let Some(first) = record.outputs.first() else { return Ok((record.clone(), Vec::new())) };
        let Currency { mint, unit } = &record.currency;
        let view = self.mints.view_with(mint, [first.id]).await?;
        let (same, found) = match view.keysets.get(&first.id) {
            // The mint may be ahead of our counter.
            Some(same) => (Some(same), self.numbers.check_again(&record.currency, same, &record.outputs).await?),
            None => (None, Vec::new()),
        };
        let anew = async {
            let keyset = match same.filter(|_| view.is_active(first.id)) {
                Some(same) => same,
                None => view.active(unit, self.runtime.now())?,
            };
            let amounts = record.outputs.iter().map(|output| (output.amount, output.to)).collect();
            self.blind(&record.currency, keyset, amounts, &record.purpose).await
        };
        match anew.await {
            Ok(outputs) => Ok((Operation { outputs, ..record.clone() }, found)),
            Err(error) => {
                // The counters are past it: it wouldn't be found a second time.
                found.into_iter().for_each(|found| self.numbers.tell(found));
                Err(error)
            }
        }
    }

    async fn blind(
        &self,
        currency: &Currency,
        keyset: &Arc<Keyset>,
        amounts: Vec<(u64, Destination)>,
        purpose: &Purpose,
    ) -> Result<Vec<Premint>, WalletError> {
        let secrets = self.secrets(currency, keyset, amounts, purpose).await?;
        let (count, keyset) = (secrets.len() as u32, Arc::clone(keyset));
        let blinding = move || {
            let blind = |out: Secretive| {
                let premint = Premint::new(out.amount, &keyset, out.secret, &out.r, out.to)?;
                Some(Premint { number: out.number, ..premint })
            };
            secrets.into_iter().map(blind).collect::<Option<Vec<_>>>()
        };
        // A secret that hashes to no point would take 2^16 failures in a row.
        self.runtime.offload(Job::Signatures(count), blinding).await.ok_or(WalletError::Unsettled)
    }

    /// Draws the secrets: of our own coins and of tokens from their seeds (NUT-13), so that the recovery phrase finds them
    /// again; of locks at random.
    async fn secrets(
        &self,
        currency: &Currency,
        keyset: &Arc<Keyset>,
        amounts: Vec<(u64, Destination)>,
        purpose: &Purpose,
    ) -> Result<Vec<Secretive>, WalletError> {
        let mut numbers = BTreeMap::new();
        for line in Line::ALL {
            let count = amounts.iter().filter(|(_, to)| Line::of(*to) == Some(line)).count() as u32;
            numbers.insert(line, self.numbers.take(currency, keyset, line, count).await?.into_iter());
        }
        let mut secrets = Vec::with_capacity(amounts.len());
        for (amount, to) in amounts {
            let line = Line::of(to);
            let number = line.and_then(|line| numbers.get_mut(&line)?.next());
            let (secret, r) = match (line.zip(number), purpose) {
                (Some((line, number)), _) => self.numbers.derive(keyset, line, number).ok_or(WalletError::Unsettled)?,
                (None, Purpose::Refill { batch }) => {
                    (batch.conditions.secret(&self.runtime.random()), self.random_scalar())
                }
                (None, _) => (hex::encode(self.runtime.random::<32>()), self.random_scalar()),
            };
            secrets.push(Secretive { amount, to, secret, r, number });
        }
        Ok(secrets)
    }

    fn random_scalar(&self) -> SecretKey {
        loop {
            // All but one in 2^128 of 32 random bytes are a scalar.
            if let Ok(scalar) = SecretKey::from_slice(&self.runtime.random::<32>()) {
                return scalar;
            }
        }
    }
}

/// The amounts of all outputs, change included, smallest first, so that their order tells the mint nothing; and the fee.
fn balance(plan: &Plan, view: &MintView, keyset: &Keyset) -> Result<(Vec<(u64, Destination)>, u64), WalletError> {
    let Currency { mint, unit } = &plan.currency;
    let unknown = || WalletError::NoKeyset { mint: mint.clone(), unit: unit.clone() };
    let fee = view.fee(plan.inputs.iter().map(|input| input.coin.id)).ok_or_else(unknown)?;
    let mut outputs = plan.outputs.clone();
    if !matches!(plan.purpose, Purpose::Mint { .. } | Purpose::Melt { .. }) {
        let available = sum(plan.inputs.iter().map(|input| &input.coin.amount));
        let needed = sum(plan.outputs.iter().map(|(amount, _)| amount)).saturating_add(fee);
        let change = available.checked_sub(needed).ok_or_else(|| WalletError::Insufficient {
            mint: mint.clone(),
            unit: unit.clone(),
            needed,
            available,
        })?;
        let impossible = WalletError::Amount { amount: change, max: usize::MAX };
        let change = amounts::split(change, keyset).ok_or(impossible)?;
        outputs.extend(change.into_iter().map(|amount| (amount, Destination::Coins)));
    }
    outputs.sort_by_key(|(amount, _)| *amount);
    Ok((outputs, fee))
}
