//! Which grants are in the store, as far as that must be at hand: how many there are of whom, when they end, and whose
//! revocation would concern us. Built at the start, then kept beside the rows, so that no transaction has to read them all.

use std::collections::BTreeMap;

use cid::Cid;
use guilder_protocol::{identity::AgentId, time::Timestamp, ucan::grant::GrantChain};

use super::{
    GrantsError,
    known::Revoked,
    limits::{MAX_GIVEN, MAX_HANDED_OVER, MAX_HANDED_OVER_BY_ONE, MAX_HELD},
};

#[derive(Debug, Default)]
pub(super) struct Holdings {
    given: BTreeMap<Cid, Note>,
    held: BTreeMap<Cid, Note>,
    /// What would revoke a grant that we made, imported or used, and how many of them. Nothing of what was only handed over:
    /// anybody can hand over anything.
    concerns: BTreeMap<Revoked, usize>,
}

#[derive(Debug)]
struct Note {
    grantor: AgentId,
    until: Timestamp,
    is_handed_over: bool,
    concerns: Vec<Revoked>,
}

impl Note {
    fn of(chain: &GrantChain, is_handed_over: bool) -> Self {
        let concerns = if is_handed_over { Vec::new() } else { revoked_by(chain) };
        Self { grantor: chain.grantor(), until: chain.expires(), is_handed_over, concerns }
    }
}

/// Every revocation that would count against a chain.
fn revoked_by(chain: &GrantChain) -> Vec<Revoked> {
    let links = chain.links();
    let of_link = |place: usize| links[..=place].iter().map(move |above| (above.iss, links[place].cid()));
    (0..links.len()).flat_map(of_link).collect()
}

impl Holdings {
    /// Notes a grant that we made.
    pub(super) fn note_given(&mut self, chain: &GrantChain) {
        let note = Note::of(chain, false);
        self.concern(&note);
        let before = self.given.insert(chain.cid(), note);
        self.unconcern(before);
    }

    /// Notes a grant that we hold; noted again, it is as the last time says.
    pub(super) fn note_held(&mut self, chain: &GrantChain, is_handed_over: bool) {
        let note = Note::of(chain, is_handed_over);
        self.concern(&note);
        let before = self.held.insert(chain.cid(), note);
        self.unconcern(before);
    }

    pub(super) fn forget_given(&mut self, id: Cid) {
        let before = self.given.remove(&id);
        self.unconcern(before);
    }

    pub(super) fn forget_held(&mut self, id: Cid) {
        let before = self.held.remove(&id);
        self.unconcern(before);
    }

    /// Whether another one may be made.
    pub(super) fn has_room_to_give(&self, now: Timestamp) -> Result<(), GrantsError> {
        let open = self.given.values().filter(|note| !note.until.is_past(now)).count();
        if open >= MAX_GIVEN { Err(GrantsError::TooMany(MAX_GIVEN)) } else { Ok(()) }
    }

    /// Whether another one of this grantor may be held. What was handed over counts until it is deleted, ended or not.
    pub(super) fn has_room_to_hold(
        &self,
        grantor: AgentId,
        is_handed_over: bool,
        now: Timestamp,
    ) -> Result<(), GrantsError> {
        let (mut all, mut over_the_wire, mut by_one) = (0, 0, 0);
        for note in self.held.values() {
            all += usize::from(note.is_handed_over || !note.until.is_past(now));
            over_the_wire += usize::from(note.is_handed_over);
            by_one += usize::from(note.is_handed_over && note.grantor == grantor);
        }
        if is_handed_over && (over_the_wire >= MAX_HANDED_OVER || by_one >= MAX_HANDED_OVER_BY_ONE) {
            return Err(GrantsError::TooMany(MAX_HANDED_OVER));
        }
        if all >= MAX_HELD { Err(GrantsError::TooMany(MAX_HELD)) } else { Ok(()) }
    }

    /// Those to be forgotten, given and held: what was only handed over once it has ended, others if they had by `long_ago`.
    pub(super) fn to_forget(&self, now: Timestamp, long_ago: Timestamp) -> (Vec<Cid>, Vec<Cid>) {
        let since = |note: &Note| if note.is_handed_over { now } else { long_ago };
        let of = |notes: &BTreeMap<Cid, Note>| {
            notes.iter().filter(|(_, note)| note.until.is_past(since(note))).map(|(id, _)| *id).collect()
        };
        (of(&self.given), of(&self.held))
    }

    /// Whether a revocation would take back a grant that we made, imported or used.
    pub(super) fn concerns_us(&self, revoked: &Revoked) -> bool {
        self.concerns.contains_key(revoked)
    }

    fn concern(&mut self, note: &Note) {
        for revoked in &note.concerns {
            *self.concerns.entry(*revoked).or_insert(0) += 1;
        }
    }

    fn unconcern(&mut self, note: Option<Note>) {
        for revoked in note.into_iter().flat_map(|note| note.concerns) {
            if let Some(count) = self.concerns.get_mut(&revoked) {
                *count -= 1;
                if *count == 0 {
                    self.concerns.remove(&revoked);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::identity::AgentKey;

    use super::{
        super::tests::{key, link},
        *,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn chain(from: &AgentKey, nonce: u64, until: Timestamp) -> GrantChain {
        GrantChain::new(vec![link(from, key(1).id(), nonce, Some(until))]).unwrap()
    }

    #[test]
    fn what_was_handed_over_counts_until_it_is_forgotten_and_that_is_once_it_has_ended() {
        let (mut holdings, end) = (Holdings::default(), NOW.saturating_add(600));
        let of_one: Vec<_> = (0..MAX_HANDED_OVER_BY_ONE as u64).map(|nonce| chain(&key(2), nonce, end)).collect();
        for chain in &of_one {
            assert!(holdings.has_room_to_hold(key(2).id(), true, NOW).is_ok());
            holdings.note_held(chain, true);
        }
        let later = end.saturating_add(3_600);
        assert!(holdings.has_room_to_hold(key(2).id(), true, later).is_err(), "ended ones count as well");
        assert!(holdings.has_room_to_hold(key(2).id(), false, later).is_ok(), "what the user imports has its own room");
        assert!(holdings.has_room_to_hold(key(3).id(), true, later).is_ok());
        // What was imported stays in the listing for a while.
        holdings.note_held(&of_one[0], false);
        let (given, held) = holdings.to_forget(later, later.saturating_sub(30 * 24 * 3_600));
        assert_eq!((given.len(), held.len()), (0, MAX_HANDED_OVER_BY_ONE - 1));
        assert!(!held.contains(&of_one[0].cid()));
        held.into_iter().for_each(|id| holdings.forget_held(id));
        assert!(holdings.has_room_to_hold(key(2).id(), true, later).is_ok());
    }

    #[test]
    fn however_many_grantors_there_are_what_they_hand_over_is_bounded() {
        let mut holdings = Holdings::default();
        for number in 0..MAX_HANDED_OVER as u64 {
            let from = key(100 + (number % 100) as u8);
            holdings.note_held(&chain(&from, number, NOW.saturating_add(600)), true);
        }
        assert!(holdings.has_room_to_hold(key(2).id(), true, NOW).is_err());
        assert!(holdings.has_room_to_hold(key(2).id(), false, NOW).is_ok());
    }

    #[test]
    fn a_revocation_concerns_us_by_a_grant_that_was_taken_in_and_not_by_one_that_was_handed_over() {
        let (mut holdings, grant) = (Holdings::default(), chain(&key(2), 1, NOW.saturating_add(600)));
        let revoked = (key(2).id(), grant.cid());
        holdings.note_held(&grant, true);
        assert!(!holdings.concerns_us(&revoked));
        holdings.note_held(&grant, false);
        holdings.note_given(&grant);
        assert!(holdings.concerns_us(&revoked));
        assert!(!holdings.concerns_us(&(key(3).id(), grant.cid())), "only who stands in it revokes it");
        holdings.forget_held(grant.cid());
        assert!(holdings.concerns_us(&revoked));
        holdings.forget_given(grant.cid());
        assert!(!holdings.concerns_us(&revoked) && holdings.concerns.is_empty());
    }
}
