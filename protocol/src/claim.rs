//! Guilder's own signed statements: one frame of issuer, dates and nonce around the body that says something.
//!
//! A minor version may add fields to the frame and to a body, and values to the vocabularies in it. Whoever doesn't know them
//! skips them: they stay in the bytes that were signed. What must not be skipped stands by name in [`Claim::crit`].

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    bytes::Nonce,
    envelope::{EnvelopeError, Signed, Statement},
    identity::{AgentId, AgentKey},
    limits::MAX_ENVELOPE,
    time::Timestamp,
    word::{Critical, Word, fields_of},
};

/// What one kind of statement says.
pub trait Body: Serialize + DeserializeOwned + Clone + fmt::Debug {
    /// The statement's tag in the envelope, `guilder/<name>@<version>`.
    const TAG: &'static str;
    /// The longest that such a statement may hold, in seconds; `None` if it may hold for ever.
    const MAX_LIFETIME: Option<u64>;
    /// The largest envelope of such a statement, in bytes.
    const MAX_BYTES: usize = MAX_ENVELOPE;

    /// What must hold of the body by itself.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    fn check(&self) -> Result<(), &'static str>;
}

/// A statement: who says it, when, until when it holds, and the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim<B> {
    /// Who says it.
    pub iss: AgentId,
    /// When it was said.
    pub iat: Timestamp,
    /// Until when it holds; null if for ever.
    pub exp: Option<Timestamp>,
    /// Makes it unlike any other of this issuer.
    pub nonce: Nonce,
    /// What is said.
    pub body: B,
    /// What a reader must understand to act on the statement: fields of the body or of this frame, or other names. Left out
    /// where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crit: Option<Critical>,
}

impl<B: Body> Statement for Claim<B> {
    const MAX_BYTES: usize = B::MAX_BYTES;
    const TAG: &'static str = B::TAG;

    fn issuer(&self) -> AgentId {
        self.iss
    }

    fn check(&self) -> Result<(), &'static str> {
        match (B::MAX_LIFETIME, self.exp) {
            (Some(_), None) => return Err("a statement of this kind needs an expiry"),
            (Some(most), Some(exp)) if exp.since(self.iat) > most => {
                return Err("the statement holds for longer than its kind may");
            }
            _ => {}
        }
        if self.exp.is_some_and(|exp| exp < self.iat) {
            return Err("the statement expires before it was made");
        }
        self.body.check()
    }

    fn critical(&self) -> Result<Vec<Word>, &'static str> {
        Ok(self.crit.iter().flat_map(|crit| crit.names().to_vec()).collect())
    }

    fn understands(name: &str) -> bool {
        fields_of::<B>().contains(&name) || fields_of::<Self>().contains(&name)
    }
}

impl<B: Body> Signed<Claim<B>> {
    /// Signs `body` in the name of `key`, from `now` until `exp`.
    ///
    /// # Errors
    /// If the body breaks its own rules or the statement is too large.
    pub fn claim(
        body: B,
        now: Timestamp,
        exp: Option<Timestamp>,
        nonce: Nonce,
        key: &AgentKey,
    ) -> Result<Self, EnvelopeError> {
        Self::sign(Claim { iss: key.id(), iat: now, exp, nonce, body, crit: None }, key)
    }
}

impl<B> Claim<B> {
    /// Whether the statement holds at `now`, the clock skew granted.
    ///
    /// # Errors
    /// [`Untimely`] if it is over or comes from the future.
    pub fn timely(&self, now: Timestamp) -> Result<(), Untimely> {
        if self.iat.is_future(now) {
            Err(Untimely::Future)
        } else if self.exp.is_some_and(|exp| exp.is_past(now)) {
            Err(Untimely::Expired)
        } else {
            Ok(())
        }
    }
}

/// A statement read outside its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untimely {
    /// It no longer holds.
    #[error("the statement has expired")]
    Expired,
    /// It was made in the future.
    #[error("the statement is dated in the future; one of the two clocks is wrong")]
    Future,
}
