//! What can be done with money: balances, funding, tokens, mints.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use guilder_protocol::{
    fault::AtFault as _,
    market::{MintUrl, Unit},
};

use zeroize::Zeroizing;

use super::{
    Api,
    caller::{Action, Caller},
    types::{
        ApiError, Balance, Fund, Funding, HistoryEntry, InvoicePaid, MintCheck, MintView, Pay, PendingView, Received,
        Restore, Restored, Send, SentView, Token,
    },
};
use crate::{
    limits::{MINT_CHECK_PATIENCE, MINTS_CHECKED_AT_ONCE},
    shell,
    wallet::{self, MintSummary, WalletError},
};

impl Api {
    /// What the wallet holds.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn balances(&self, caller: &Caller) -> Result<Vec<Balance>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().wallet.balances()?.into_iter().map(Balance::from).collect())
    }

    /// Asks a mint for a quote, and waits for its payment: the stream has the quote, then what came of it, unless the
    /// quote lapses first. The ecash comes in whether or not the stream is read to its end, and after a restart too.
    ///
    /// # Errors
    /// If the caller may not, it isn't clear which mint and unit are meant, or the mint gives no quote.
    pub async fn fund(
        &self,
        caller: &Caller,
        fund: Fund,
    ) -> Result<impl Stream<Item = Result<Funding, ApiError>> + std::marker::Send + 'static, ApiError> {
        caller.may(Action::Fund)?;
        let (mint, unit) = self.place(fund.mint, fund.unit)?;
        let quote = self.node().wallet.fund(&mint, &unit, fund.amount).await.map_err(accounted)?;
        let shown = Funding::Quote {
            mint: quote.mint.clone(),
            quote: quote.id.clone(),
            request: quote.request.clone(),
            amount: quote.amount,
            unit: quote.unit.clone(),
            expires: quote.expires,
        };
        let patience = Duration::from_secs(quote.expires.since(self.node().runtime.now()));
        let waiting = self.node().wallet.await_funds(&mint, &unit, &quote.id, patience);
        let paid = async move {
            let issued = waiting.await.map_err(accounted)?;
            Ok::<_, ApiError>(issued.map(|amount| Funding::Funded { mint: quote.mint, amount, unit: quote.unit }))
        };
        let paid = stream::StreamExt::filter_map(stream::once(paid), |paid| std::future::ready(paid.transpose()));
        Ok(stream::StreamExt::chain(stream::iter([Ok(shown)]), paid))
    }

    /// Makes a token to hand to somebody.
    ///
    /// # Errors
    /// If the caller may not, it isn't clear which mint and unit are meant, the money isn't there, or the mint doesn't
    /// change it.
    pub async fn send(&self, caller: &Caller, send: Send) -> Result<Token, ApiError> {
        self.may_ask(caller, Action::Send)?;
        let (mint, unit) = self.place(send.mint, send.unit)?;
        let send = Send { mint: Some(mint.clone()), unit: Some(unit.clone()), ..send };
        self.pass(caller, Action::Send, &send).await?;
        let sent = self.node().wallet.send(&mint, &unit, send.amount).await;
        let sent = sent.map_err(|error| self.short_of(error, &unit))?;
        Ok(sent.into())
    }

    /// The tokens that were sent, after asking their mints which were taken.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub async fn sent(&self, caller: &Caller) -> Result<Vec<SentView>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().wallet.look_at_sent().await?.into_iter().map(SentView::from).collect())
    }

    /// The text of a token that was sent, by the beginning of its ID.
    ///
    /// # Errors
    /// If the caller may not, or no single one has it.
    pub async fn sent_token(&self, caller: &Caller, id: &str) -> Result<Token, ApiError> {
        self.may_ask(caller, Action::ShowToken)?;
        let token = self.node().wallet.sent_token(id)?;
        let shown =
            serde_json::json!({ "id": token.id, "amount": token.amount, "unit": token.unit, "mint": token.mint });
        self.pass(caller, Action::ShowToken, &shown).await?;
        Ok(token.into())
    }

    /// Takes a token that was sent back.
    ///
    /// # Errors
    /// If the caller may not, no single one has this ID, or it was taken.
    pub async fn reclaim(&self, caller: &Caller, id: &str) -> Result<Received, ApiError> {
        self.may_ask(caller, Action::Reclaim)?;
        let id = self.node().wallet.sent_token(id)?.id;
        self.pass(caller, Action::Reclaim, &id).await?;
        let wallet::Received { amount, fee, mint, unit } = self.node().wallet.reclaim(&id).await.map_err(accounted)?;
        Ok(Received { mint, amount, fee, unit })
    }

    /// What is under way.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn pending(&self, caller: &Caller) -> Result<Vec<PendingView>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().wallet.pending()?.into_iter().map(PendingView::from).collect())
    }

    /// Changes of the balance from a number on, so many at most.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn history(&self, caller: &Caller, from: u64, limit: usize) -> Result<Vec<HistoryEntry>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().wallet.history(from, limit)?.into_iter().map(HistoryEntry::from).collect())
    }

    /// Pays a Lightning invoice.
    ///
    /// # Errors
    /// If the caller may not, it isn't clear which money is meant, it isn't there, or the mint doesn't pay.
    pub async fn pay(&self, caller: &Caller, pay: Pay) -> Result<InvoicePaid, ApiError> {
        self.may_ask(caller, Action::Pay)?;
        let (mint, unit) = self.place(pay.mint, pay.unit)?;
        let invoice = wallet::read_invoice(&pay.invoice, self.node().runtime.now()).map_err(accounted)?.to_string();
        let pay = Pay { mint: Some(mint.clone()), unit: Some(unit.clone()), invoice };
        self.pass(caller, Action::Pay, &pay).await?;
        let paid = self.node().wallet.pay(&mint, &unit, &pay.invoice).await;
        let paid = paid.map_err(|error| self.short_of(error, &unit))?;
        let wallet::InvoicePaid { amount, fee, preimage, mint, unit } = paid;
        Ok(InvoicePaid { mint, amount, fee, unit, preimage })
    }

    /// Takes a token in.
    ///
    /// # Errors
    /// If the caller may not, it is none, its mint isn't accepted, or it was spent before.
    pub async fn receive(&self, caller: &Caller, token: &str) -> Result<Received, ApiError> {
        caller.may(Action::Receive)?;
        let received = self.node().wallet.receive(&bare(token)).await.map_err(accounted)?;
        let wallet::Received { amount, fee, mint, unit } = received;
        Ok(Received { mint, amount, fee, unit })
    }

    /// Looks for coins that the phrase of this node once made at a mint, and that no other home has spent.
    ///
    /// # Errors
    /// If the caller may not, it isn't clear which mint and unit are meant, or the mint doesn't answer.
    pub async fn restore(&self, caller: &Caller, restore: Restore) -> Result<Restored, ApiError> {
        caller.may(Action::Restore)?;
        let (mint, unit) = self.place(restore.mint, restore.unit)?;
        let restored = self.node().wallet.restore(&mint, &unit).await.map_err(accounted)?;
        let wallet::Restored { found: amount, sent, spent_elsewhere } = restored;
        Ok(Restored { mint, amount, unit, sent, spent_elsewhere })
    }

    /// The accepted mints.
    ///
    /// # Errors
    /// If the caller may not.
    pub fn mints(&self, caller: &Caller) -> Result<Vec<MintView>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().wallet.mints().into_iter().map(MintView::from).collect())
    }

    /// Asks each accepted mint now, all at once, for a while.
    ///
    /// # Errors
    /// If the caller may not.
    pub async fn check_mints(&self, caller: &Caller) -> Result<Vec<MintCheck>, ApiError> {
        // It makes each of them work.
        caller.may(Action::Dial)?;
        let mints = self.node().wallet.mints().into_iter().map(|mint| self.check_mint(mint.url));
        Ok(stream::iter(mints).buffered(MINTS_CHECKED_AT_ONCE).collect().await)
    }

    async fn check_mint(&self, url: MintUrl) -> MintCheck {
        let began = self.node().runtime.instant();
        let asked = tokio::time::timeout(MINT_CHECK_PATIENCE, self.node().wallet.state_of(&url)).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let silent = || format!("no answer within {} s", MINT_CHECK_PATIENCE.as_secs());
        let (error, hint, state) = match asked {
            Err(_) => (Some(silent()), Some("is it up, and the way there?".to_owned()), None),
            Ok(Err(error)) => (Some(error.to_string()), error.hint().map(str::to_owned), None),
            Ok(Ok(state)) => (None, None, Some(state)),
        };
        let as_pinned = state.as_ref().and_then(|state| Some(state.pinned? == state.pin));
        MintCheck { url, error, hint, took_ms, as_pinned, ahead_secs: state.and_then(|state| state.ahead_secs) }
    }

    /// Accepts a mint's ecash from now on.
    ///
    /// # Errors
    /// If the caller may not, it can't be reached or lacks what locked money needs.
    pub async fn add_mint(&self, caller: &Caller, url: &MintUrl) -> Result<MintView, ApiError> {
        self.pass(caller, Action::AddMint, url).await?;
        let added = self.node().wallet.add_mint(url).await?;
        self.node().catalogue.refresh().await?;
        Ok(added.into())
    }

    /// Accepts a mint's ecash no more.
    ///
    /// # Errors
    /// If the caller may not, it isn't accepted, there is money at it, or it stands in the settings.
    pub async fn remove_mint(&self, caller: &Caller, url: &MintUrl) -> Result<(), ApiError> {
        self.pass(caller, Action::RemoveMint, url).await?;
        if !self.node().wallet.mints().iter().any(|known| known.url == *url || known.also.contains(url)) {
            return Err(not_accepted(url, "`guilder wallet mints` shows the accepted ones"));
        }
        self.node().wallet.remove_mint(url).await?;
        self.node().catalogue.refresh().await?;
        Ok(())
    }

    /// An error of the wallet; where there isn't enough to spend, with where the rest is.
    fn short_of(&self, error: WalletError, unit: &Unit) -> ApiError {
        let shortage = match &error {
            WalletError::Insufficient { needed, available, .. } => Some(needed.saturating_sub(*available)),
            _ => None,
        };
        let told = accounted(error);
        let Some(shortage) = shortage else { return told };
        let fund = format!("`guilder wallet fund {shortage}`");
        match self.node().wallet.whereabouts(unit) {
            Ok(held) if !held.is_empty() => {
                let hint = format!(
                    "{fund}, or wait: what is locked to a seller can't come back before its locktime (`guilder wallet pending`)"
                );
                ApiError { message: format!("{}; {held}", told.message), hint: Some(hint), ..told }
            }
            _ => ApiError { hint: Some(fund), ..told },
        }
    }

    /// The mint and unit that a command means: as it says, else the only ones there are, else the settings' unit.
    fn place(&self, mint: Option<MintUrl>, unit: Option<Unit>) -> Result<(MintUrl, Unit), ApiError> {
        let mints = self.node().wallet.mints();
        let mint = match mint {
            Some(url) => mints
                .into_iter()
                .find(|known| known.url == url || known.also.contains(&url))
                .ok_or_else(|| not_accepted(&url, trust_it(&url)))?,
            None => only(mints)?,
        };
        let default = &self.node().config.wallet.unit;
        let unit = match unit {
            Some(unit) => unit,
            None if mint.units.len() == 1 => mint.units[0].clone(),
            None if mint.units.is_empty() || mint.units.contains(default) => default.clone(),
            None => {
                return Err(ApiError::misuse(
                    format!("{} has several units, and {default} is not among them", mint.url),
                    "say which with --unit",
                ));
            }
        };
        if mint.units.is_empty() || mint.units.contains(&unit) {
            return Ok((mint.url, unit));
        }
        let units = mint.units.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(ApiError::misuse(format!("the mint {} issues no {unit}", mint.url), format!("it issues {units}")))
    }
}

/// A token without what came along on its way: white space where it was folded, the scheme of a link to it.
fn bare(token: &str) -> Zeroizing<String> {
    let mut bare: String = token.chars().filter(|c| !c.is_whitespace() && *c != '\u{feff}').collect();
    for scheme in ["web+cashu://", "cashu://", "cashu:"] {
        if bare.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) {
            bare.drain(..scheme.len());
            break;
        }
    }
    Zeroizing::new(bare)
}

/// An error of the wallet, with what became of the money, where the error tells.
fn accounted(error: WalletError) -> ApiError {
    let money = match &error {
        WalletError::Unsettled => "in this wallet: to be spent, or under way until the mint has answered",
        // Before the wallet took anything in, or after.
        WalletError::Mint(_) | WalletError::Store(_) => return error.into(),
        _ => "untouched: nothing was moved",
    };
    ApiError::from(error).with_money(money)
}

/// How a mint is put on the list.
pub(super) fn trust_it(url: &MintUrl) -> String {
    format!("if you trust it: `guilder wallet mints add {}`", shell::word(url.as_str()))
}

/// A mint that was named and isn't on the list.
pub(super) fn not_accepted(url: &MintUrl, hint: impl Into<String>) -> ApiError {
    ApiError::misuse(format!("the mint {url} is not accepted"), hint)
}

fn only(mints: Vec<MintSummary>) -> Result<MintSummary, ApiError> {
    let count = mints.len();
    match <[MintSummary; 1]>::try_from(mints) {
        Ok([mint]) => Ok(mint),
        Err(_) if count == 0 => {
            Err(ApiError::misuse("no mint is accepted yet", "add one: `guilder wallet mints add URL`"))
        }
        Err(_) => Err(ApiError::misuse(format!("{count} mints are accepted"), "say which with --mint URL")),
    }
}

impl From<wallet::Balance> for Balance {
    fn from(balance: wallet::Balance) -> Self {
        Self {
            mint: balance.mint,
            unit: balance.unit,
            available: balance.spendable,
            purse: balance.locked,
            at_risk: balance.at_risk,
            waiting: balance.refunding,
            earned: balance.unredeemed,
            pending: balance.pending,
            account: balance.account,
        }
    }
}

impl From<MintSummary> for MintView {
    fn from(mint: MintSummary) -> Self {
        Self { url: mint.url, name: mint.name, units: mint.units, added: mint.added, also: mint.also, pin: mint.pin }
    }
}

impl From<wallet::SentToken> for Token {
    fn from(sent: wallet::SentToken) -> Self {
        Self { id: sent.id, token: sent.token, mint: sent.mint, amount: sent.amount, unit: sent.unit }
    }
}

impl From<wallet::SentToken> for SentView {
    fn from(sent: wallet::SentToken) -> Self {
        let wallet::SentToken { id, amount, mint, unit, at, state, .. } = sent;
        Self { id, mint, amount, unit, at, state: state.into() }
    }
}

impl From<wallet::Pending> for PendingView {
    fn from(pending: wallet::Pending) -> Self {
        let wallet::Pending { id, what, mint, unit, amount, since, why, ends } = pending;
        Self { id, what: what.to_owned(), mint, amount, unit, since, why, ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_through_its_folds_and_its_scheme() {
        for text in [
            "cashuBo2F0",
            "\n\ncashuB\n  o2F0\r\n",
            "cashu:cashuBo2F0",
            "CASHU:cashuBo2F0",
            "cashu://cashuBo2F0",
            "web+cashu://cashuBo2F0 ",
            "\u{feff}cashuBo2F0",
        ] {
            assert_eq!(*bare(text), "cashuBo2F0", "{text:?}");
        }
        assert_eq!(*bare("Größe"), "Größe");
    }
}
