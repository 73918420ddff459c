//! On whose authority: UCAN 1.0 delegations, invocations and the chains they form.
//!
//! A [`Delegation`] passes a subject's authority on from its issuer to its audience, for a [`Command`] and all below it,
//! as far as its [`Policy`] holds of the arguments. An [`Invocation`] asks for a command in the subject's name and lists
//! the delegations that lead from the subject to its issuer, root first. [`chain::verify`] checks that they do:
//!
//! ```text
//! principal ── delegation ──▶ agent ── delegation ──▶ subcontractor ── invocation ──▶ whoever does the work
//!  (subject)     cmd, pol                cmd, pol                        cmd, args
//! ```
//!
//! Every link's command must cover the next one's by whole segments, every policy must hold of the same arguments, every
//! link must be within its times and not revoked: a child can narrow what it got and never widen it.
//! [`chain::check_award`] adds what Guilder asks where money is at stake, [`grant`] builds delegations that keep to it,
//! [`revocation`] is how an issuer takes one back, [`exchange`] how others hear of it that missed it, and [`case`] checks a file that holds a whole chain.
//!
//! Sources: ucan-wg/spec, ucan-wg/delegation, ucan-wg/invocation, ucan-wg/revocation; where prose and `fixtures/1.0.0` of ucan-wg/spec
//! differ, the fixtures hold. Only `did:key` of Ed25519 keys can be told apart from a claim, so no other DID decodes.

pub mod case;
pub mod chain;
pub mod command;
mod delegation;
pub mod exchange;
mod field;
pub mod grant;
mod invocation;
pub mod policy;
pub mod revocation;

pub(crate) use self::field::critical_in;
pub use self::{
    chain::{At, Chain, ChainError},
    command::Command,
    delegation::Delegation,
    invocation::{Args, ArgsError, Invocation},
    policy::{Policy, Selector, Statement},
    revocation::{Revocation, RevocationError},
};
