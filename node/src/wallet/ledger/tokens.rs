//! Tokens sent: kept until they are spent, so that one whose text got lost is printed again or reclaimed.

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use cdk::nuts::{Proof, State, Token};

use super::{
    super::{
        coin::y_of,
        error::WalletError,
        mints::{MintView, Mints},
        records::{Coin, Currency, OPERATIONS, OperationId, SENT, SentState, SentToken, Y},
    },
    effects::make_token,
    operations::states,
};
use crate::{
    limits::MAX_OPERATION_INPUTS,
    runtime::Runtime,
    store::{KeyRange, Reader, Store},
};

/// The tokens of a wallet.
pub(in super::super) struct Tokens {
    mints: Arc<Mints>,
    store: Store,
    runtime: Runtime,
    /// Held while found coins are put on record.
    noting: tokio::sync::Mutex<()>,
}

impl Tokens {
    pub(super) fn new(mints: &Arc<Mints>, store: &Store, runtime: &Runtime) -> Self {
        Self {
            mints: Arc::clone(mints),
            store: store.clone(),
            runtime: runtime.clone(),
            noting: tokio::sync::Mutex::default(),
        }
    }

    /// All that are on record, the oldest first.
    pub(in super::super) fn list(&self) -> Result<Vec<SentToken>, WalletError> {
        let rows = self.store.read(|read| read.range(SENT, KeyRange::all(), usize::MAX))?;
        let mut tokens: Vec<_> = rows.into_iter().map(|(_, token)| token).collect();
        tokens.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        Ok(tokens)
    }

    /// The one whose ID begins so.
    ///
    /// # Errors
    /// If none does, or several do.
    pub(in super::super) fn find(&self, id: &str) -> Result<(OperationId, SentToken), WalletError> {
        let unknown = || WalletError::UnknownToken(id.to_owned());
        let mut found = self.list()?.into_iter().filter(|token| !id.is_empty() && token.id.starts_with(id));
        let token = found.next().ok_or_else(unknown)?;
        if found.next().is_some() {
            return Err(unknown());
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(&token.id, &mut bytes).map_err(|_| unknown())?;
        Ok((bytes.into(), token))
    }

    /// Asks the mint what became of a token, and notes it. Of one that was taken in part, what is left stays open: coins of
    /// several tokens may have been found together, and whoever was given one of them takes no more.
    pub(in super::super) async fn look(&self, token: &SentToken) -> Result<SentToken, WalletError> {
        if token.state != SentState::Open {
            return Ok(token.clone());
        }
        let view = self.mints.view(&token.mint).await?;
        let unreadable = || WalletError::TokenUnfit("it is of a keyset that its mint does not show");
        let proofs = token_proofs(&token.token, &view).ok_or_else(unreadable)?;
        let ys = ys_of(&proofs).ok_or_else(unreadable)?;
        let states = states(&self.mints.client(&token.mint)?, ys).await?;
        let left = proofs.iter().zip(&states).filter(|(_, state)| state.state != State::Spent);
        let left: Vec<Coin> = left.map(|(proof, _)| Coin::from_proof(proof)).collect();
        if left.len() == proofs.len() {
            return Ok(token.clone());
        }
        let mut id = [0; 16];
        hex::decode_to_slice(&token.id, &mut id).map_err(|_| WalletError::UnknownToken(token.id.clone()))?;
        let looked = if left.is_empty() {
            SentToken { state: SentState::Spent, ..token.clone() }
        } else {
            make_token(id.into(), &Currency::new(&token.mint, &token.unit), &left, token.at)?
        };
        let noted = looked.clone();
        self.store
            .write(move |write| {
                // Unless it was reclaimed meanwhile.
                let open = write.get(SENT, id)?.is_some_and(|sent| sent.state == SentState::Open);
                if open { write.put(SENT, id, &noted) } else { Ok(()) }
            })
            .await?;
        Ok(looked)
    }

    /// Puts coins that were found under the tokens' seed on record as tokens sent: those that nobody has spent and that are
    /// in no token on record, nor in one that is about to be. Gives their worth.
    pub(super) async fn note_found(&self, currency: &Currency, coins: Vec<Coin>) -> Result<u64, WalletError> {
        let view = self.mints.view(&currency.mint).await?;
        let known = self.known(&view)?;
        let new: Vec<(Y, Coin)> = coins.into_iter().filter_map(|coin| Some((coin.y()?, coin))).collect();
        let new: Vec<_> = new.into_iter().filter(|(y, _)| !known.contains(y)).collect();
        let ys: Vec<Y> = new.iter().map(|(y, _)| *y).collect();
        let states = states(&self.mints.client(&currency.mint)?, ys).await?;
        // What is found twice at once is noted once. No mint is waited for meanwhile.
        let _noting = self.noting.lock().await;
        let known = self.known(&view)?;
        let open =
            new.into_iter().zip(states).filter(|((y, _), state)| state.state == State::Unspent && !known.contains(y));
        let open: Vec<Coin> = open.map(|((_, coin), _)| coin).collect();
        let mut found = 0;
        for some in open.chunks(MAX_OPERATION_INPUTS) {
            let id: OperationId = self.runtime.random::<16>().into();
            let token = make_token(id, currency, some, self.runtime.now())?;
            found += token.amount;
            self.store.write(move |write| write.put(SENT, id.0, &token)).await?;
        }
        Ok(found)
    }

    /// The coins of tokens that are on record, and of those that are about to be.
    fn known(&self, view: &MintView) -> Result<BTreeSet<Y>, WalletError> {
        let operations = self.store.read(|read| read.range(OPERATIONS, KeyRange::all(), usize::MAX))?;
        let coming =
            operations.iter().flat_map(|(_, record)| &record.outputs).filter_map(|output| y_of(&output.secret));
        let on_record = self.list()?;
        let on_record = on_record.iter().filter_map(|token| token_ys(&token.token, view)).flatten();
        Ok(coming.chain(on_record).collect())
    }
}

/// The coins of a token.
fn token_proofs(token: &str, view: &MintView) -> Option<Vec<Proof>> {
    Token::from_str(token).ok()?.proofs(&view.infos()).ok()
}

fn ys_of(proofs: &[Proof]) -> Option<Vec<Y>> {
    proofs.iter().map(|proof| Some(proof.y().ok()?.to_bytes().into())).collect()
}

/// The Ys of a token's coins.
fn token_ys(token: &str, view: &MintView) -> Option<Vec<Y>> {
    ys_of(&token_proofs(token, view)?)
}
