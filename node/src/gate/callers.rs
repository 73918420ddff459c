//! Callers that the owner added: programs and agents with tokens of their own.
//!
//! A token is `caller/NAME.SECRET`. The store has its SHA-256 and nothing that it could be made of again: whoever reads the store can't
//! call. The digest is also what the node proves to know before a client shows the token ([`crate::api::access`]).

use std::future::pending;

use guilder_protocol::{
    bytes::{ByteArray, Digest},
    market::ServiceName,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Caller, DailyBudget, Gate, Risk, Scope, approvals};
use crate::{
    limits::{MAX_CALLER_NAME, MAX_CALLERS},
    store::{Key, KeyRange, Reader, StoreError, Table},
};

/// By name.
const CALLERS: Table<Record> = Table::new("gate/callers");

/// What a caller's account and token begin with.
const PREFIX: &str = "caller/";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Of its token.
    digest: Digest,
    scope: Scope,
    added: Timestamp,
}

/// A caller, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerInfo {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was added.
    pub added: Timestamp,
}

/// Why a caller can't be added or revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// The name is none.
    #[error("{0:?} is no caller's name: it has 1 to {MAX_CALLER_NAME} small letters, digits and dashes")]
    Name(String),
    /// There is one of that name.
    #[error("there is a caller {0} already")]
    Exists(String),
    /// There is none.
    #[error("there is no caller {0}")]
    Unknown(String),
    /// It may spend, and it isn't said how much.
    #[error("a caller of risk {} needs a budget", .0.as_str())]
    NoBudget(Risk),
    /// As many as there may be.
    #[error("there are {MAX_CALLERS} callers, which is the limit")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl guilder_protocol::fault::AtFault for CallerError {
    fn fault(&self) -> guilder_protocol::fault::Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => guilder_protocol::fault::Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists(_) => Some("revoke it first: `guilder caller revoke NAME`"),
            Self::Unknown(_) | Self::TooMany => Some("`guilder caller list` shows them"),
            Self::NoBudget(_) => Some("say how much it may award a day: --budget 100/day"),
            Self::Name(_) => Some("for example: nightly-report"),
            Self::Store(error) => error.hint(),
        }
    }
}

/// Under which name a caller's keys, hires and budget are counted.
pub fn account(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The caller's name that an account is made of, if it is a caller's.
pub fn name_of(account: &str) -> Option<&str> {
    account.strip_prefix(PREFIX).filter(|name| is_name(name))
}

/// What the node knows of a token that is a caller's: the digest, as hexadecimal digits. `None` if it is another kind of token.
pub fn known_of(token: &str) -> Option<String> {
    token.starts_with(PREFIX).then(|| hex::encode(Sha256::digest(token)))
}

/// What the caller of this account and token may do; `None` if it is none any more, also where another one has its name now.
pub(super) fn scope_of(r: &impl Reader, account: &str, token: Digest) -> Result<Option<Scope>, StoreError> {
    let Some(name) = account.strip_prefix(PREFIX) else { return Ok(None) };
    let record = r.get(CALLERS, Key::of(name))?.filter(|record| record.digest == token);
    Ok(record.map(|record| record.scope))
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_CALLER_NAME).contains(&name.len()) && name.bytes().all(fits)
}

impl Gate {
    /// Adds a caller. `keep` is given its token, which is nowhere else, and puts it where the caller finds it: before anybody is that
    /// caller, so that a crash leaves none whose token is lost.
    ///
    /// # Errors
    /// If the name is none or taken, or the token can't be kept, or the store fails; then there is none.
    pub async fn add_caller<E: From<CallerError>>(
        &self,
        name: &str,
        scope: Scope,
        keep: impl AsyncFnOnce(String) -> Result<(), E>,
    ) -> Result<(), E> {
        if !is_name(name) {
            return Err(CallerError::Name(name.to_owned()).into());
        }
        if scope.risk > Risk::Low && scope.budget.is_none() {
            return Err(CallerError::NoBudget(scope.risk).into());
        }
        // One after the other: each writes over what another left behind.
        let _adding = self.adding.lock().await;
        let exists = self.store.read(|r| r.contains(CALLERS, Key::of(name)));
        if exists.map_err(CallerError::from)? {
            return Err(CallerError::Exists(name.to_owned()).into());
        }
        let token = format!("{}.{}", account(name), hex::encode(self.runtime.random::<32>()));
        let record = Record { digest: ByteArray(Sha256::digest(&token).into()), scope, added: self.runtime.now() };
        keep(token).await?;
        Ok(self.put_caller(name, record).await?)
    }

    async fn put_caller(&self, name: &str, record: Record) -> Result<(), CallerError> {
        let name = name.to_owned();
        self.store
            .transact(move |w| {
                if w.contains(CALLERS, Key::of(&name))? {
                    return Err(CallerError::Exists(name));
                }
                if w.range(CALLERS, KeyRange::all(), MAX_CALLERS)?.len() >= MAX_CALLERS {
                    return Err(CallerError::TooMany);
                }
                Ok(w.put(CALLERS, Key::of(&name), &record)?)
            })
            .await
    }

    /// Revokes a caller: its token opens nothing any more, its hires that aren't awarded are awarded no more, and what it asked for is
    /// forgotten.
    ///
    /// # Errors
    /// If there is none of that name, or the store fails.
    pub async fn revoke_caller(&self, name: &str) -> Result<(), CallerError> {
        let name = name.to_owned();
        self.store
            .transact(move |w| {
                if !w.contains(CALLERS, Key::of(&name))? {
                    return Err(CallerError::Unknown(name));
                }
                approvals::forget_of(w, &account(&name))?;
                Ok(w.delete(CALLERS, Key::of(&name))?)
            })
            .await?;
        self.revoked.send_replace(());
        Ok(())
    }

    /// Waits until this caller is none any more, for ever if it is none that is added and revoked.
    pub async fn until_revoked(&self, caller: &Caller) {
        let Some((_, token)) = caller.named_scope() else { return pending().await };
        // Listens before it looks, so that none is missed.
        let mut revoked = self.revoked.subscribe();
        // A store that can't be read opens for nobody.
        while let Ok(Some(_)) = self.store.read(|r| scope_of(r, caller.name(), token)) {
            if revoked.changed().await.is_err() {
                return;
            }
        }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn callers(&self) -> Result<Vec<CallerInfo>, StoreError> {
        let rows = self.store.read(|r| r.range(CALLERS, KeyRange::all(), MAX_CALLERS))?;
        let info = |(key, record): (Vec<u8>, Record)| {
            let name = String::from_utf8_lossy(key.strip_suffix(&[0, 1]).unwrap_or(&key)).into_owned();
            CallerInfo { name, scope: record.scope, added: record.added }
        };
        Ok(rows.into_iter().map(info).collect())
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn holder(&self, token: &str) -> Result<Option<Caller>, StoreError> {
        let Some((account, _)) = token.split_once('.').filter(|(account, _)| account.starts_with(PREFIX)) else {
            return Ok(None);
        };
        let digest = ByteArray(<[u8; 32]>::from(Sha256::digest(token)));
        let record = self.record(account)?;
        // Digests are compared, so the time that it takes says nothing about the token.
        let record = record.filter(|record| record.digest == digest);
        Ok(record.map(|record| Caller::named(account, record.scope, digest)))
    }

    /// What is known of the token of an account, to prove that we know it: as hexadecimal digits.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn known(&self, account: &str) -> Result<Option<String>, StoreError> {
        Ok(self.record(account)?.map(|record| hex::encode(record.digest.0)))
    }

    fn record(&self, account: &str) -> Result<Option<Record>, StoreError> {
        let Some(name) = name_of(account) else { return Ok(None) };
        self.store.read(|r| r.get(CALLERS, Key::of(name)))
    }
}

impl Scope {
    /// Of one that may hire these services within a budget.
    pub fn hiring(most: u64, unit: guilder_protocol::market::Unit, services: Vec<ServiceName>) -> Self {
        Self { risk: Risk::Medium, budget: Some(DailyBudget { most, unit }), services }
    }
}

/// All that is stored of callers.
#[cfg(test)]
pub(super) fn stored(store: &crate::store::Store) -> String {
    let rows = store.read(|r| r.range(CALLERS, KeyRange::all(), MAX_CALLERS)).expect("the store is read");
    format!("{rows:?} {}", serde_json::to_string(&rows).expect("JSON"))
}

#[cfg(test)]
impl Gate {
    /// A caller that was added.
    pub(crate) async fn added(&self, name: &str, scope: Scope) -> Caller {
        let token = self.with_token(name, scope).await.expect("it is added");
        self.holder(&token).expect("the store is read").expect("it is one")
    }

    pub(crate) async fn with_token(&self, name: &str, scope: Scope) -> Result<String, CallerError> {
        let kept = std::sync::Mutex::new(None);
        let keep = async |token: String| {
            *crate::sync::lock(&kept) = Some(token);
            Ok::<_, CallerError>(())
        };
        self.add_caller(name, scope, keep).await?;
        Ok(crate::sync::lock(&kept).take().unwrap_or_default())
    }
}
