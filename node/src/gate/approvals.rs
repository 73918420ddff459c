//! What waits for the owner's word.
//!
//! ```text
//!  asked ── the owner ──▶ granted ── the same request again, in one transaction ──▶ used: asked for again, it waits anew
//!                   └───▶ refused: the same request is refused again
//! ```
//!
//! An approval is of a digest over the caller, the action and all of its terms: changed in anything, it is another request, and waits anew.
//! It is answered once and used once. What isn't used within [`APPROVAL_SECS`](crate::limits::APPROVAL_SECS) is forgotten.

use guilder_protocol::{
    bytes::{ByteArray, Digest},
    fault::{AtFault, Fault},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Action, Approved, Caller, Gate, Refusal};
use crate::{
    events::Event,
    limits::{APPROVAL_SECS, MAX_APPROVAL_BYTES, MAX_APPROVALS, MAX_APPROVALS_OF_ONE},
    store::{Key, KeyRange, Reader, StoreError, Table, Write},
};

/// By ID.
const APPROVALS: Table<Approval> = Table::new("gate/approvals");
/// By the digest of a request: the approval that stands for it now.
const ASKED: Table<String> = Table::new("gate/asked");

/// A request that the owner is to decide on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Its name.
    pub id: String,
    /// Who asks.
    pub caller: String,
    /// For what, in a word.
    pub action: String,
    /// All of its terms, as JSON.
    pub terms: String,
    digest: Digest,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Where it stands.
    pub state: ApprovalState,
    /// Since when.
    pub since: Timestamp,
    /// The key of the hire that used it, if one did.
    used_by: Option<String>,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalState {
    /// It waits.
    Asked,
    /// The owner said yes, and it hasn't been done.
    Granted,
    /// The owner said no.
    Refused,
    /// It was granted, and done.
    Used,
}

/// Why an approval can't be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// There is none.
    #[error("there is no approval {0}")]
    Unknown(String),
    /// It was answered before.
    #[error("the approval {0} was answered before")]
    Answered(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AtFault for AnswerError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            _ => Some("`guilder approvals` shows them"),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) digest: Digest,
    caller: String,
    action: Action,
    terms: String,
}

impl Request {
    pub(super) fn of(caller: &Caller, action: Action, terms: &impl Serialize) -> Result<Self, Refusal> {
        let terms = serde_json::to_string(terms).unwrap_or_default();
        if terms.len() > MAX_APPROVAL_BYTES {
            return Err(Refusal::TooLong { bytes: terms.len() });
        }
        let mut hasher = Sha256::new();
        hasher.update(b"guilder/approval/1");
        for part in [caller.name(), action.name(), &terms] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let digest = ByteArray(hasher.finalize().into());
        Ok(Self { digest, caller: caller.name().to_owned(), action, terms })
    }
}

/// The approval that stands for a request now.
fn standing(r: &impl Reader, digest: Digest, now: Timestamp) -> Result<Option<Approval>, StoreError> {
    let Some(id) = r.get(ASKED, digest.0)? else { return Ok(None) };
    let approval = r.get(APPROVALS, Key::of(&id))?;
    Ok(approval.filter(|approval| !is_past(approval, now)))
}

fn is_past(approval: &Approval, now: Timestamp) -> bool {
    approval.since.saturating_add(APPROVAL_SECS) < now
}

/// Uses up what was granted.
pub(super) fn spend(w: &mut Write<'_>, digest: Digest, now: Timestamp) -> Result<(), Refusal> {
    let approval = standing(w, digest, now)?.ok_or(Refusal::NotApproved)?;
    match approval.state {
        ApprovalState::Granted => {
            w.delete(ASKED, digest.0)?;
            let used = Approval { state: ApprovalState::Used, since: now, ..approval };
            Ok(w.put(APPROVALS, Key::of(&used.id), &used)?)
        }
        ApprovalState::Asked => Err(Refusal::Waits { id: approval.id }),
        ApprovalState::Refused => Err(Refusal::Refused { id: approval.id }),
        ApprovalState::Used => Err(Refusal::Used),
    }
}

/// The same for the award of a hire, and of that hire alone: where its seller refuses, another may be awarded for it. That it is paid
/// once its origin sees to.
pub(super) fn spend_for(w: &mut Write<'_>, approved: &Approved, now: Timestamp) -> Result<(), Refusal> {
    let approval = w.get(APPROVALS, Key::of(&approved.id))?.filter(|approval| !is_past(approval, now));
    let approval = approval.ok_or(Refusal::NotApproved)?;
    match approval.state {
        ApprovalState::Granted => {
            let used_by = Some(approved.hire.clone());
            let used = Approval { state: ApprovalState::Used, since: now, used_by, ..approval };
            Ok(w.put(APPROVALS, Key::of(&used.id), &used)?)
        }
        ApprovalState::Used if approval.used_by.as_ref() == Some(&approved.hire) => Ok(()),
        ApprovalState::Used => Err(Refusal::Used),
        ApprovalState::Asked => Err(Refusal::Waits { id: approval.id }),
        ApprovalState::Refused => Err(Refusal::Refused { id: approval.id }),
    }
}

/// Forgets what a caller asked for.
pub(super) fn forget_of(w: &mut Write<'_>, caller: &str) -> Result<(), StoreError> {
    for (key, approval) in w.range(APPROVALS, KeyRange::all(), usize::MAX)? {
        if approval.caller == caller {
            forget(w, &key, &approval)?;
        }
    }
    Ok(())
}

fn forget(w: &mut Write<'_>, key: &[u8], approval: &Approval) -> Result<(), StoreError> {
    if w.get(ASKED, approval.digest.0)?.as_ref() == Some(&approval.id) {
        w.delete(ASKED, approval.digest.0)?;
    }
    w.delete(APPROVALS, key)
}

/// Writes a request down, if there is room.
fn note(w: &mut Write<'_>, request: &Request, id: &str, now: Timestamp) -> Result<String, Refusal> {
    if let Some(approval) = standing(w, request.digest, now)?.filter(|approval| approval.state != ApprovalState::Used) {
        return Ok(approval.id);
    }
    let (mut waiting, mut own) = (0, 0);
    for (key, approval) in w.range(APPROVALS, KeyRange::all(), usize::MAX)? {
        if is_past(&approval, now) {
            forget(w, &key, &approval)?;
        } else if approval.state == ApprovalState::Asked {
            waiting += 1;
            own += usize::from(approval.caller == request.caller);
        }
    }
    if waiting >= MAX_APPROVALS || own >= MAX_APPROVALS_OF_ONE {
        return Err(Refusal::Crowded(waiting));
    }
    let approval = Approval {
        id: id.to_owned(),
        caller: request.caller.clone(),
        action: request.action.name().to_owned(),
        terms: request.terms.clone(),
        digest: request.digest,
        asked: now,
        state: ApprovalState::Asked,
        since: now,
        used_by: None,
    };
    w.put(ASKED, request.digest.0, &approval.id)?;
    w.put(APPROVALS, Key::of(&approval.id), &approval)?;
    Ok(approval.id)
}

impl Gate {
    /// The approval of a request that is granted; also of one that is used, where that `is_same`. If nobody asked for it, it is asked for.
    pub(super) async fn ask(&self, request: &Request, is_same: bool) -> Result<String, Refusal> {
        let now = self.runtime.now();
        if let Some(approval) = self.store.read(|r| standing(r, request.digest, now))? {
            match approval.state {
                ApprovalState::Granted => return Ok(approval.id),
                ApprovalState::Used if is_same => return Ok(approval.id),
                ApprovalState::Used => {}
                ApprovalState::Asked => return Err(Refusal::Waits { id: approval.id }),
                ApprovalState::Refused => return Err(Refusal::Refused { id: approval.id }),
            }
        }
        let (noted, id) = (request.clone(), hex::encode(self.runtime.random::<4>()));
        let id = self.store.transact(move |w| note(w, &noted, &id, now)).await?;
        let (caller, action) = (request.caller.clone(), request.action.name().to_owned());
        self.events.emit(Event::ApprovalAsked { approval: id.clone(), caller, action });
        Err(Refusal::Waits { id })
    }

    /// All approvals, the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn approvals(&self) -> Result<Vec<Approval>, StoreError> {
        let rows = self.store.read(|r| r.range(APPROVALS, KeyRange::all(), usize::MAX))?;
        let now = self.runtime.now();
        let mut all: Vec<_> = rows.into_iter().map(|(_, approval)| approval).collect();
        all.retain(|approval| !is_past(approval, now));
        all.sort_by(|one, other| (other.asked, &other.id).cmp(&(one.asked, &one.id)));
        Ok(all)
    }

    /// The owner's word on one. Whoever calls this has made sure that it is the owner's.
    ///
    /// # Errors
    /// If there is none of that ID, it was answered before, or the store fails.
    pub async fn answer(&self, id: &str, granted: bool) -> Result<Approval, AnswerError> {
        let (id, now) = (id.to_owned(), self.runtime.now());
        let state = if granted { ApprovalState::Granted } else { ApprovalState::Refused };
        let answered = self
            .store
            .transact(move |w| {
                let approval = w.get(APPROVALS, Key::of(&id))?.filter(|approval| !is_past(approval, now));
                let approval = approval.ok_or_else(|| AnswerError::Unknown(id.clone()))?;
                if approval.state != ApprovalState::Asked {
                    return Err(AnswerError::Answered(id));
                }
                let answered = Approval { state, since: now, ..approval };
                w.put(APPROVALS, Key::of(&answered.id), &answered)?;
                Ok(answered)
            })
            .await?;
        self.events.emit(Event::ApprovalAnswered { approval: answered.id.clone(), granted });
        Ok(answered)
    }
}
