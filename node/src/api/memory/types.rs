//! What is asked of a memory and what it answers, as it stands in the control API's JSON.

use guilder_protocol::{memory::Trust, time::Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::memory::{ChangeKind, Language};

/// Whose word, as a request names it. What is signed may say more one day ([`Trust::Unknown`]); a request that does is misspelt.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskedTrust {
    /// Anybody's.
    World,
    /// A peer's, or a caller's.
    Peer,
    /// The node's.
    Node,
    /// The owner's.
    Owner,
}

impl From<AskedTrust> for Trust {
    fn from(asked: AskedTrust) -> Self {
        match asked {
            AskedTrust::World => Self::World,
            AskedTrust::Peer => Self::Peer,
            AskedTrust::Node => Self::Node,
            AskedTrust::Owner => Self::Owner,
        }
    }
}

fn asked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Trust>, D::Error> {
    Ok(Option::<AskedTrust>::deserialize(deserializer)?.map(Trust::from))
}

/// What is to be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberRequest {
    /// What is true, at most 4,096 bytes.
    pub text: String,
    /// Where it belongs; a private domain of that name is made if there is none. A caller makes those of its own name alone: `NAME` and
    /// `NAME.*`.
    pub domain: String,
    /// The language of a domain that is made [default: English].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Of whom or what it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Since when it is true, in Unix seconds [default: now].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub time: Option<Timestamp>,
    /// The conversation or run that it was said in [default: the caller's calls without a pause of half an hour].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What it was made of: `memory:ID` (or its last letters), `task:ID`, `receipt:ID`, `peer:ID`, `world:WORDS`, or, by the owner
    /// alone, `owner`; at most 16. Its trust is the least of theirs.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Memories, by their IDs or the last letters of them, that hold no longer; at most 16.
    #[serde(default)]
    pub supersedes: Vec<String>,
    /// The most trust that it is to have: `owner`, `node`, `peer` or `world`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "asked")]
    #[schema(value_type = Option<AskedTrust>)]
    pub trust: Option<Trust>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Remembered)]
pub struct RememberedView {
    /// Content ID of the signed claim.
    pub id: String,
    /// Where it is.
    pub domain: String,
    /// Whose word it rests on: `owner`, `node`, `peer` or `world`.
    #[schema(value_type = String)]
    pub trust: Trust,
    /// In which session it stands.
    #[schema(required)]
    pub session: Option<String>,
    /// Whether it wasn't known before.
    pub is_new: bool,
}

/// What is to be recalled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RecallQuery {
    /// The question, in words.
    pub query: String,
    /// Domains, with commas between [default: all that the caller may read].
    pub domain: Option<String>,
    /// Only what is trusted at least so much: `owner`, `node`, `peer` or `world`.
    #[serde(default, deserialize_with = "asked")]
    #[param(value_type = Option<AskedTrust>)]
    pub trust: Option<Trust>,
    /// Only what tells of this.
    pub subject: Option<String>,
    /// Only what is true since this time or later, in Unix seconds.
    #[param(value_type = Option<u64>)]
    pub since: Option<Timestamp>,
    /// Only what is true since this time or before.
    #[param(value_type = Option<u64>)]
    pub until: Option<Timestamp>,
    /// What held at this time, instead of what holds.
    #[param(value_type = Option<u64>)]
    pub as_of: Option<Timestamp>,
    /// Most of the answers, up to 100 [default: 20].
    pub limit: Option<usize>,
}

/// A memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Memory)]
pub struct MemoryView {
    /// Content ID of the signed claim.
    pub id: String,
    /// What is true.
    pub text: String,
    /// Where it belongs.
    pub domain: String,
    /// Whose word it rests on: `owner`, `node`, `peer` or `world`.
    #[schema(value_type = String)]
    pub trust: Trust,
    /// Which caller said it.
    pub by: String,
    /// Since when it is true, in Unix seconds.
    #[schema(value_type = u64)]
    pub time: Timestamp,
    /// When it was remembered.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// Since when it holds no longer.
    #[schema(value_type = Option<u64>, required)]
    pub ended: Option<Timestamp>,
    /// Of whom or what it tells.
    #[schema(required)]
    pub subject: Option<String>,
    /// The conversation or run that it was said in.
    #[schema(required)]
    pub session: Option<String>,
    /// What it was made of.
    pub sources: Vec<String>,
    /// The memories that hold no longer since.
    pub supersedes: Vec<String>,
    /// How well it answers the question, in thousandths of BM25's measure; 0 without a question.
    pub score: u64,
}

/// A step of a lineage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LineageStep {
    /// How many steps it is from the memory that was asked about.
    pub depth: u64,
    /// The source, as the memory above it names it.
    pub source: String,
    /// The memory that it is, if it is one that is still there.
    #[schema(required)]
    pub memory: Option<MemoryView>,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = MemoryDomain)]
pub struct DomainView {
    /// Its name.
    pub name: String,
    /// In which language its memories are.
    pub language: Language,
    /// Callers that may read it, beside its writers and the owner; `*` is every caller.
    pub readers: Vec<String>,
    /// Callers that may remember in it, beside the owner.
    pub writers: Vec<String>,
    /// Whether nothing of it leaves without the owner's word.
    pub private: bool,
    /// After how many days a dream takes out what is true since before; not what the owner said and what holds still.
    #[schema(required)]
    pub keep_days: Option<u32>,
    /// Who made it.
    pub by: String,
    /// When, in Unix seconds.
    #[schema(value_type = u64)]
    pub made: Timestamp,
    /// How many memories are in it.
    pub memories: u64,
}

/// What is said of a domain; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainRequest {
    /// Its name; it is made if there is none.
    pub name: String,
    /// Of one that is made [default: English].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Names of callers; `*` is every caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<Vec<String>>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers: Option<Vec<String>>,
    /// Whether nothing of it leaves without the owner's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// After how many days a dream takes out what is true since before; 0 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
}

/// Asks for a dream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DreamRequest {
    /// Say what it would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a dream changed, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Dream)]
pub struct DreamView {
    /// Of so many memories that were new.
    pub memories: u64,
    /// And so many things that happened.
    pub episodes: u64,
    /// The changes.
    pub changes: Vec<DreamChange>,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DreamChange {
    /// Why.
    pub kind: ChangeKind,
    /// In which domain.
    pub domain: String,
    /// What holds no longer.
    pub old: Vec<DreamLine>,
    /// What does instead, or stands beside.
    #[schema(required)]
    pub new: Option<DreamLine>,
}

/// A memory of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DreamLine {
    /// Its ID, if it has one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whose word it rests on.
    #[schema(value_type = String)]
    pub trust: Trust,
    /// Its words.
    pub text: String,
}

/// What an agent reads of a domain before it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Brief)]
pub struct BriefView {
    /// Of which.
    pub domain: String,
    /// At most 200, of at most 25,000 bytes together; each begins with whose word it is, in brackets.
    pub lines: Vec<String>,
    /// How many memories have no line.
    pub left_out: u64,
}

/// What is to be forgotten: one of `ids`, `query`, `domain`, `from` and `before`; beside `query` and `before` a `domain` only narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// These, at most 100, by their IDs or the last letters of them. A caller forgets by ID what it said itself.
    #[serde(default)]
    pub ids: Vec<String>,
    /// What answers a question, whether it holds or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A whole domain, with itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What is from a peer, a receipt (or `task:ID`'s) or a memory, with all that was made of it: a source, or an ID alone; the last letters
    /// do for a memory's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is true since before this time, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub before: Option<Timestamp>,
    /// Most that answer the question, up to 100 [default: 20].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Say what would be forgotten, and forget nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Forgotten)]
pub struct ForgottenView {
    /// Content IDs.
    pub ids: Vec<String>,
    /// How many memories stay that were made of it.
    pub derived_left: u64,
    /// Content IDs of the memories that hold again, as nothing is left that superseded them.
    pub hold_again: Vec<String>,
    /// Where copies of it may be left, in words.
    pub copies: Vec<String>,
}

/// Memories, as files have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The memories.
    pub memories: Vec<MemoryFile>,
    /// The trust of those that were edited: `world`, or what the owner says [default: `world`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "asked")]
    #[schema(value_type = Option<AskedTrust>)]
    pub edited: Option<Trust>,
}

/// A memory, as a file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryFile {
    /// The ID that it had.
    #[serde(default)]
    pub id: Option<String>,
    /// What is true.
    pub text: String,
    /// Where it belongs.
    pub domain: String,
    /// The language of that domain, if it is made for it [default: English].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Whose word it rested on.
    #[serde(default)]
    #[schema(value_type = String)]
    pub trust: Trust,
    /// Which caller said it.
    #[serde(default)]
    pub by: String,
    /// Since when it is true, in Unix seconds.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub time: Option<Timestamp>,
    /// When it was remembered.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub at: Option<Timestamp>,
    /// Of whom or what it tells.
    #[serde(default)]
    pub subject: Option<String>,
    /// The session that it was said in.
    #[serde(default)]
    pub session: Option<String>,
    /// What it was made of.
    #[serde(default)]
    pub sources: Vec<String>,
    /// What it took the place of.
    #[serde(default)]
    pub supersedes: Vec<String>,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImportedMemory)]
pub struct ImportedView {
    /// Content ID of the signed claim.
    pub id: String,
    /// `kept` as it was there, `restored` as it was, `edited` into another one, or `forgotten` and left so.
    pub fate: String,
    /// Whose word it rests on.
    #[schema(value_type = String)]
    pub trust: Trust,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::extract::Query;

    use super::*;

    #[test]
    fn a_trust_that_is_misspelt_is_refused_and_is_not_no_trust() {
        let remember = |trust: &str| {
            let body = format!(r#"{{"text":"x","domain":"a","trust":{trust}}}"#);
            serde_json::from_str::<RememberRequest>(&body).map(|request| request.trust)
        };
        let import = |trust: &str| {
            let body = format!(r#"{{"memories":[],"edited":{trust}}}"#);
            serde_json::from_str::<ImportRequest>(&body).map(|request| request.edited)
        };
        let recall = |trust: &str| {
            let uri = format!("http://node/v1/memories?query=x&trust={trust}").parse().unwrap();
            Query::<RecallQuery>::try_from_uri(&uri).map(|query| query.0.trust)
        };
        for (word, trust) in
            [("world", Trust::World), ("peer", Trust::Peer), ("node", Trust::Node), ("owner", Trust::Owner)]
        {
            let quoted = format!("\"{word}\"");
            assert_eq!(remember(&quoted).unwrap(), Some(trust));
            assert_eq!(import(&quoted).unwrap(), Some(trust));
            assert_eq!(recall(word).unwrap(), Some(trust));
        }
        for word in ["onwer", "Owner", "high", "unknown", ""] {
            let quoted = format!("\"{word}\"");
            assert!(remember(&quoted).is_err() && import(&quoted).is_err() && recall(word).is_err(), "{word}");
        }
        assert_eq!(remember("null").unwrap(), None);
        let none = "http://node/v1/memories?query=x".parse().unwrap();
        assert_eq!(Query::<RecallQuery>::try_from_uri(&none).unwrap().0.trust, None);
    }
}
