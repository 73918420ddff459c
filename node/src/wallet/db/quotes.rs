//! Mint and melt quotes: one at a time changes one, and a version tells who came too late.

use std::ops::ControlFlow;

use cdk_common::{
    database::Error,
    mint_url::MintUrl,
    wallet::{MeltQuote, MintQuote},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::store::{Json, Key, KeyRange, Reader, StoreError, Table, Write};

/// Quote id → the quote.
pub(super) const MINT_QUOTES: Table<Json<MintQuote>> = Table::new("wallet/cdk/quotes/mint");
/// Quote id → the quote.
pub(super) const MELT_QUOTES: Table<Json<MeltQuote>> = Table::new("wallet/cdk/quotes/melt");

/// What the two kinds of quotes have in common.
pub(super) trait Quote: Serialize + DeserializeOwned + Clone {
    fn id(&self) -> &str;
    fn version(&mut self) -> &mut u32;
    fn used_by(&mut self) -> &mut Option<String>;
    fn mint_url(&mut self) -> Option<&mut MintUrl>;
}

impl Quote for MintQuote {
    fn id(&self) -> &str {
        &self.id
    }

    fn version(&mut self) -> &mut u32 {
        &mut self.version
    }

    fn used_by(&mut self) -> &mut Option<String> {
        &mut self.used_by_operation
    }

    fn mint_url(&mut self) -> Option<&mut MintUrl> {
        Some(&mut self.mint_url)
    }
}

impl Quote for MeltQuote {
    fn id(&self) -> &str {
        &self.id
    }

    fn version(&mut self) -> &mut u32 {
        &mut self.version
    }

    fn used_by(&mut self) -> &mut Option<String> {
        &mut self.used_by_operation
    }

    fn mint_url(&mut self) -> Option<&mut MintUrl> {
        self.mint_url.as_mut()
    }
}

type Quotes<Q> = Table<Json<Q>>;

fn key(id: &str) -> Key {
    Key::of(id)
}

/// The quote with this id.
pub(super) fn get<Q: Quote>(r: &impl Reader, quotes: Quotes<Q>, id: &str) -> Result<Option<Q>, StoreError> {
    Ok(r.get(quotes, key(id))?.map(|Json(quote)| quote))
}

/// The quotes that are `wanted`.
pub(super) fn list<Q: Quote>(
    r: &impl Reader,
    quotes: Quotes<Q>,
    wanted: impl Fn(&Q) -> bool,
) -> Result<Vec<Q>, StoreError> {
    let mut found = Vec::new();
    r.visit(quotes, KeyRange::all(), |_, Json(quote)| {
        if wanted(&quote) {
            found.push(quote);
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Stores a new quote as it is, or the next version of one that the caller has read in its present version.
pub(super) fn put<Q: Quote>(w: &mut Write<'_>, quotes: Quotes<Q>, mut quote: Q) -> Result<(), Error> {
    if let Some(mut stored) = get(w, quotes, quote.id())? {
        if stored.version() != quote.version() {
            return Err(Error::ConcurrentUpdate);
        }
        *quote.version() = quote.version().wrapping_add(1);
    }
    Ok(store(w, quotes, quote)?)
}

/// Takes a quote away, if it is there.
pub(super) fn remove<Q: Quote>(w: &mut Write<'_>, quotes: Quotes<Q>, id: &str) -> Result<(), StoreError> {
    w.delete(quotes, key(id))
}

/// Lets one operation have a quote.
pub(super) fn reserve<Q: Quote>(w: &mut Write<'_>, quotes: Quotes<Q>, id: &str, operation: Uuid) -> Result<(), Error> {
    let mut quote = get(w, quotes, id)?.ok_or(Error::UnknownQuote)?;
    if quote.used_by().is_some() {
        return Err(Error::QuoteAlreadyInUse);
    }
    *quote.used_by() = Some(operation.to_string());
    Ok(store(w, quotes, quote)?)
}

/// Gives back whatever quote an operation has.
pub(super) fn release<Q: Quote>(w: &mut Write<'_>, quotes: Quotes<Q>, operation: Uuid) -> Result<(), StoreError> {
    let user = operation.to_string();
    for mut quote in list(w, quotes, |_| true)? {
        if quote.used_by().as_ref() == Some(&user) {
            *quote.used_by() = None;
            store(w, quotes, quote)?;
        }
    }
    Ok(())
}

/// Moves every quote of a mint to that mint's new URL.
pub(super) fn rename_mint<Q: Quote>(
    w: &mut Write<'_>,
    quotes: Quotes<Q>,
    old: &MintUrl,
    new: &MintUrl,
) -> Result<(), StoreError> {
    for mut quote in list(w, quotes, |_| true)? {
        let Some(url) = quote.mint_url().filter(|url| *url == old) else { continue };
        url.clone_from(new);
        store(w, quotes, quote)?;
    }
    Ok(())
}

fn store<Q: Quote>(w: &mut Write<'_>, quotes: Quotes<Q>, quote: Q) -> Result<(), StoreError> {
    let key = key(quote.id());
    w.put(quotes, key, &Json(quote))
}
