//! What is known to be revoked: the index that every check of a chain asks, and who gives way where it is full.
//!
//! Nobody can fill it for others. A revocation is **near** if it takes back a grant that we made, imported or used, or if its
//! revoker is one that we dealt with: a stranger can't make such a one, since revokers have signed. What else stands on its path
//! says nothing, as whoever got a delegation can pass it on to as many as it likes. Near ones have half of the room for
//! themselves. Of strangers', each revoker has few places, and where all are taken, one of those that were
//! brought by whoever brought most gives way to one by somebody who brought less; so a flood through one peer pushes out
//! itself. Of near ones, whose revokers aren't free to make, one of the revoker that has most gives way. Among equals that is the
//! one that lasts longest, so that nobody keeps a place by an end that is far off. Our own are never refused.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use cid::Cid;
use guilder_protocol::{
    bytes::Digest,
    identity::AgentId,
    time::Timestamp,
    ucan::{
        chain::Revocations,
        exchange::{RevocationId, digest_of, revocation_id},
    },
};

use super::limits::{
    MAX_BYTES, MAX_PER_REVOKER, MAX_PER_STRANGER, MAX_REVOCATIONS, MAX_STRANGERS, MAX_STRANGERS_BYTES,
};
use crate::sync::lock;

/// Revoker and delegation.
pub(super) type Revoked = (AgentId, Cid);

/// What is known to be revoked. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KnownRevocations(Arc<Mutex<Index>>);

#[derive(Debug, Default)]
struct Index {
    kept: BTreeMap<Revoked, Kept>,
    ids: BTreeMap<RevocationId, Revoked>,
    bytes: usize,
    strangers: usize,
    strangers_bytes: usize,
    /// Of all IDs, unless something has changed since it was last asked for.
    digest: Option<Digest>,
}

/// One that is kept, as far as it must be at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The last second of what is revoked.
    pub(super) until: Timestamp,
    pub(super) bytes: usize,
    /// Who brought it.
    pub(super) source: AgentId,
    pub(super) whose: Whose,
}

/// Whose a revocation is, as far as that says for how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Whose {
    #[serde(rename = "o")]
    Ours,
    #[serde(rename = "n")]
    Near,
    #[serde(rename = "s")]
    Stranger,
}

/// What becomes of one that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is kept, in place of these.
    News(Vec<Revoked>),
    Known,
    /// There is no room for it.
    NoRoom,
}

impl Revocations for KnownRevocations {
    fn is_revoked(&self, revoker: &AgentId, delegation: &Cid) -> bool {
        lock(&self.0).kept.contains_key(&(*revoker, *delegation))
    }
}

impl KnownRevocations {
    /// How many are kept.
    pub fn len(&self) -> usize {
        lock(&self.0).kept.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes one in, if there is room.
    pub(super) fn admit(&self, revoked: Revoked, kept: Kept) -> Admission {
        lock(&self.0).admit(revoked, kept)
    }

    /// Forgets those about what has ended, and says which.
    pub(super) fn expire(&self, now: Timestamp) -> Vec<Revoked> {
        let mut index = lock(&self.0);
        let over = index.kept.iter().filter(|(_, kept)| kept.until.is_past(now)).map(|(revoked, _)| *revoked);
        let over: Vec<_> = over.collect();
        for revoked in &over {
            index.remove(revoked);
        }
        over
    }

    /// The digest of all that is known, as peers compare it.
    pub(super) fn digest(&self) -> Digest {
        lock(&self.0).digest()
    }

    /// The IDs of all that is known, in order, as many as a peer can be told of.
    pub(super) fn ids(&self) -> Vec<RevocationId> {
        // More there are only if more than these are our own.
        lock(&self.0).ids.keys().take(MAX_REVOCATIONS).copied().collect()
    }

    /// Of some IDs, those that aren't known.
    pub(super) fn lacking(&self, ids: Vec<RevocationId>) -> Vec<RevocationId> {
        let index = lock(&self.0);
        ids.into_iter().filter(|id| !index.ids.contains_key(id)).collect()
    }

    /// What an ID stands for, and how large it is.
    pub(super) fn find(&self, id: &RevocationId) -> Option<(Revoked, usize)> {
        let index = lock(&self.0);
        let revoked = index.ids.get(id)?;
        index.kept.get(revoked).map(|kept| (*revoked, kept.bytes))
    }
}

impl Index {
    fn admit(&mut self, revoked: Revoked, kept: Kept) -> Admission {
        if self.kept.contains_key(&revoked) {
            return Admission::Known;
        }
        let mut gone = Vec::new();
        while let Some(lacks) = self.lacks(&revoked, &kept) {
            let Some(victim) = self.gives_way(lacks, &revoked, &kept) else {
                if kept.whose == Whose::Ours {
                    // All the others are ours as well.
                    break;
                }
                // Those that gave way so far stay: nothing has been written yet.
                gone.into_iter().for_each(|(revoked, kept)| self.insert(revoked, kept));
                return Admission::NoRoom;
            };
            if let Some(kept) = self.remove(&victim) {
                gone.push((victim, kept));
            }
        }
        self.insert(revoked, kept);
        Admission::News(gone.into_iter().map(|(revoked, _)| revoked).collect())
    }

    /// What it would be too much for, if for anything.
    fn lacks(&self, (revoker, _): &Revoked, kept: &Kept) -> Option<Bound> {
        let most_of_one = match kept.whose {
            Whose::Ours => usize::MAX,
            Whose::Near => MAX_PER_REVOKER,
            Whose::Stranger => MAX_PER_STRANGER,
        };
        if self.of(*revoker).count() >= most_of_one {
            return Some(Bound::Revoker);
        }
        let is_strangers = kept.whose == Whose::Stranger;
        if is_strangers && (self.strangers >= MAX_STRANGERS || self.strangers_bytes + kept.bytes > MAX_STRANGERS_BYTES)
        {
            return Some(Bound::Strangers);
        }
        let is_full = self.kept.len() >= MAX_REVOCATIONS || self.bytes + kept.bytes > MAX_BYTES;
        is_full.then_some(if self.strangers > 0 { Bound::Strangers } else { Bound::All })
    }

    /// Which one gives way, if one does.
    fn gives_way(&self, lacks: Bound, (revoker, _): &Revoked, kept: &Kept) -> Option<Revoked> {
        match lacks {
            // The one of its own that is over first.
            Bound::Revoker => {
                let first_over = self.of(*revoker).min_by_key(|(revoked, kept)| (kept.until, **revoked));
                first_over.map(|(revoked, _)| *revoked)
            }
            Bound::Strangers => {
                let brought = self.brought();
                let (crowd, most) = brought.iter().max_by_key(|(source, count)| (**count, **source))?;
                let own = brought.get(&kept.source).copied().unwrap_or(0);
                let is_fair = kept.whose != Whose::Stranger || *most > own + 1 || *crowd == kept.source;
                let of_crowd =
                    |(_, other): &(&Revoked, &Kept)| other.whose == Whose::Stranger && other.source == *crowd;
                is_fair.then(|| over_last(self.kept.iter().filter(of_crowd))).flatten().map(|(revoked, _)| *revoked)
            }
            Bound::All if kept.whose == Whose::Stranger => None,
            Bound::All => {
                let by_revoker = self.near_by_revoker();
                let most = by_revoker.values().max().copied()?;
                let own = by_revoker.get(revoker).copied().unwrap_or(0);
                let is_ours = kept.whose == Whose::Ours;
                let of_crowd = |((of, _), other): &(&Revoked, &Kept)| {
                    other.whose != Whose::Ours
                        && if !is_ours && own >= most { of == revoker } else { by_revoker.get(of) == Some(&most) }
                };
                let (victim, last) = over_last(self.kept.iter().filter(of_crowd))?;
                // With it, its revoker has as many as they: then it is among the equals.
                let is_fair = is_ours || own + 1 != most || last.until > kept.until;
                is_fair.then_some(*victim)
            }
        }
    }

    fn of(&self, revoker: AgentId) -> impl Iterator<Item = (&Revoked, &Kept)> {
        self.kept.iter().filter(move |((of, _), _)| *of == revoker)
    }

    /// How many of near ones each revoker has.
    fn near_by_revoker(&self) -> BTreeMap<AgentId, usize> {
        let mut by_revoker = BTreeMap::new();
        for ((revoker, _), _) in self.kept.iter().filter(|(_, kept)| kept.whose == Whose::Near) {
            *by_revoker.entry(*revoker).or_insert(0) += 1;
        }
        by_revoker
    }

    /// How many of strangers' each source brought.
    fn brought(&self) -> BTreeMap<AgentId, usize> {
        let mut brought = BTreeMap::new();
        for kept in self.kept.values().filter(|kept| kept.whose == Whose::Stranger) {
            *brought.entry(kept.source).or_insert(0) += 1;
        }
        brought
    }

    fn insert(&mut self, revoked: Revoked, kept: Kept) {
        self.digest = None;
        self.bytes += kept.bytes;
        if kept.whose == Whose::Stranger {
            self.strangers += 1;
            self.strangers_bytes += kept.bytes;
        }
        self.ids.insert(revocation_id(revoked.0, &revoked.1), revoked);
        self.kept.insert(revoked, kept);
    }

    fn remove(&mut self, revoked: &Revoked) -> Option<Kept> {
        let kept = self.kept.remove(revoked)?;
        self.digest = None;
        self.bytes -= kept.bytes;
        if kept.whose == Whose::Stranger {
            self.strangers -= 1;
            self.strangers_bytes -= kept.bytes;
        }
        self.ids.remove(&revocation_id(revoked.0, &revoked.1));
        Some(kept)
    }

    fn digest(&mut self) -> Digest {
        *self.digest.get_or_insert_with(|| digest_of(self.ids.keys()))
    }
}

/// The one that lasts longest.
fn over_last<'a>(of: impl Iterator<Item = (&'a Revoked, &'a Kept)>) -> Option<(&'a Revoked, &'a Kept)> {
    of.max_by_key(|(revoked, kept)| (kept.until, **revoked))
}

/// A bound that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// What one revoker may have.
    Revoker,
    /// What strangers may have, or all together while there are any of strangers'.
    Strangers,
    /// All together.
    All,
}

#[cfg(test)]
mod tests {
    use guilder_protocol::cbor::cid_of;

    use super::*;

    fn agent(number: u64) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        AgentId::from_bytes(bytes)
    }

    fn revoked(revoker: u64, number: u64) -> Revoked {
        (agent(revoker), cid_of(&number.to_be_bytes()))
    }

    fn kept(source: u64, whose: Whose) -> Kept {
        Kept { until: Timestamp::from_secs(1_000), bytes: 1_000, source: agent(source), whose }
    }

    /// As many of strangers' as there is room for, each of another revoker, all brought by one peer.
    fn flooded(source: u64) -> KnownRevocations {
        let known = KnownRevocations::default();
        for number in 0..MAX_STRANGERS as u64 {
            let admitted = known.admit(revoked(1_000 + number, number), kept(source, Whose::Stranger));
            assert_eq!(admitted, Admission::News(vec![]));
        }
        known
    }

    #[test]
    fn what_is_admitted_is_revoked_and_known_once() {
        let known = KnownRevocations::default();
        let (revoker, delegation) = revoked(1, 1);
        assert_eq!(known.admit((revoker, delegation), kept(2, Whose::Near)), Admission::News(vec![]));
        assert_eq!(known.admit((revoker, delegation), kept(3, Whose::Stranger)), Admission::Known);
        assert!(known.is_revoked(&revoker, &delegation));
        assert!(!known.is_revoked(&agent(2), &delegation), "another's revocation is another");
        assert_eq!(known.expire(Timestamp::from_secs(1_060)), vec![]);
        assert_eq!(known.expire(Timestamp::from_secs(1_061)), vec![(revoker, delegation)]);
        assert!(known.is_empty() && known.ids().is_empty());
    }

    #[test]
    fn given_a_flood_of_strangers_those_of_others_still_find_room_and_the_flood_gives_way() {
        let known = flooded(1);
        // Through the same peer there is only its own room.
        let before = known.len();
        assert!(
            matches!(known.admit(revoked(5_000, 1), kept(1, Whose::Stranger)), Admission::News(gone) if gone.len() == 1)
        );
        assert_eq!(known.len(), before);
        // Through another, one of the flood's gives way.
        let other = known.admit(revoked(5_000, 2), kept(2, Whose::Stranger));
        assert!(matches!(other, Admission::News(gone) if gone.len() == 1));
        assert!(known.is_revoked(&revoked(5_000, 2).0, &revoked(5_000, 2).1));
        // And what the flood brings next pushes out none but its own.
        for number in 0..100 {
            known.admit(revoked(6_000 + number, number), kept(1, Whose::Stranger));
        }
        assert!(known.is_revoked(&revoked(5_000, 2).0, &revoked(5_000, 2).1));
    }

    #[test]
    fn near_ones_have_room_that_no_stranger_takes() {
        let known = flooded(1);
        let mut near = 0;
        for number in 0..MAX_REVOCATIONS as u64 {
            // A few of each revoker.
            near += usize::from(matches!(
                known.admit(revoked(100_000 + number / 8, number), kept(2, Whose::Near)),
                Admission::News(_)
            ));
        }
        assert_eq!(near, MAX_REVOCATIONS, "strangers give way to them");
        assert_eq!(known.len(), MAX_REVOCATIONS);
        assert_eq!(known.admit(revoked(7, 7), kept(3, Whose::Stranger)), Admission::NoRoom);
        assert!(matches!(known.admit(revoked(8, 8), kept(3, Whose::Near)), Admission::News(gone) if gone.len() == 1));
        assert!(matches!(known.admit(revoked(9, 9), kept(0, Whose::Ours)), Admission::News(gone) if gone.len() == 1));
    }

    fn until(secs: u64, whose: Whose) -> Kept {
        Kept { until: Timestamp::from_secs(secs), ..kept(1, whose) }
    }

    #[test]
    fn given_a_full_index_of_near_ones_the_longest_of_who_has_most_gives_way() {
        let known = KnownRevocations::default();
        // Each of some revokers has as many as one may, and they last for good; a few others have one each.
        let honest: Vec<_> = (0..8).map(|number| revoked(500 + number, number)).collect();
        for revoked in &honest {
            known.admit(*revoked, until(1_000, Whose::Near));
        }
        for number in 0..MAX_REVOCATIONS as u64 {
            known.admit(revoked(100 + number / MAX_PER_REVOKER as u64, number), until(1_000_000 + number, Whose::Near));
        }
        assert_eq!(known.len(), MAX_REVOCATIONS);
        for number in 0..100 {
            let new = revoked(600 + number, number);
            let admitted = known.admit(new, until(2_000, Whose::Near));
            let Admission::News(gone) = admitted else { panic!("{admitted:?}") };
            assert!(gone.len() == 1 && gone[0].0 < agent(200), "{gone:?}");
            assert!(known.is_revoked(&new.0, &new.1));
        }
        // Who has most pushes out only its own.
        let own = || lock(&known.0).of(agent(100)).count();
        for number in 0..600 {
            known.admit(revoked(100, 50_000 + number), until(3_000, Whose::Near));
        }
        assert!(own() <= MAX_PER_REVOKER, "{}", own());
        assert!(honest.iter().all(|(revoker, delegation)| known.is_revoked(revoker, delegation)));
        assert_eq!(known.len(), MAX_REVOCATIONS);
    }

    #[test]
    fn among_equals_in_a_full_index_the_one_that_lasts_longest_is_not_there() {
        let known = KnownRevocations::default();
        for number in 0..MAX_REVOCATIONS as u64 {
            known.admit(revoked(number, number), until(1_000 + number, Whose::Near));
        }
        let last = revoked(MAX_REVOCATIONS as u64 - 1, MAX_REVOCATIONS as u64 - 1);
        assert_eq!(known.admit(revoked(90_000, 1), until(1_000_000, Whose::Near)), Admission::NoRoom);
        assert_eq!(known.admit(revoked(90_001, 1), until(2_000, Whose::Near)), Admission::News(vec![last]));
    }

    #[test]
    fn our_own_are_never_refused() {
        let known = KnownRevocations::default();
        for number in 0..MAX_REVOCATIONS as u64 + 10 {
            assert_eq!(known.admit(revoked(1, number), kept(1, Whose::Ours)), Admission::News(vec![]));
        }
        assert_eq!(known.ids().len(), MAX_REVOCATIONS, "of which a peer can be told");
        assert_eq!(known.admit(revoked(2, 1), kept(2, Whose::Near)), Admission::NoRoom);
    }

    #[test]
    fn of_a_crowd_of_strangers_the_one_that_lasts_longest_gives_way() {
        let known = KnownRevocations::default();
        for number in 0..MAX_STRANGERS as u64 {
            known.admit(revoked(1_000 + number, number), until(1_000 + number, Whose::Stranger));
        }
        let last = MAX_STRANGERS as u64 - 1;
        let other = known.admit(revoked(1, 1), kept(2, Whose::Stranger));
        assert_eq!(other, Admission::News(vec![revoked(1_000 + last, last)]));
    }

    #[test]
    fn one_revoker_fills_its_own_places_and_no_more() {
        for (whose, most) in [(Whose::Stranger, MAX_PER_STRANGER), (Whose::Near, MAX_PER_REVOKER)] {
            let known = KnownRevocations::default();
            for number in 0..most as u64 + 10 {
                assert!(matches!(known.admit(revoked(1, number), kept(1, whose)), Admission::News(_)));
            }
            assert_eq!(known.len(), most);
        }
    }

    #[test]
    fn large_ones_are_bounded_in_bytes() {
        let known = KnownRevocations::default();
        let large = Kept { bytes: 18_000, ..kept(1, Whose::Stranger) };
        for number in 0..1_000 {
            known.admit(revoked(1_000 + number, number), large);
        }
        assert!(known.len() <= MAX_STRANGERS_BYTES / 18_000 && known.len() > 400, "{}", known.len());
    }

    #[test]
    fn the_digest_is_of_what_is_known_whatever_the_order() {
        let (one, other) = (KnownRevocations::default(), KnownRevocations::default());
        for number in 0..10 {
            one.admit(revoked(number, number), kept(1, Whose::Near));
            other.admit(revoked(9 - number, 9 - number), kept(2, Whose::Stranger));
        }
        assert_eq!(one.digest(), other.digest());
        let ids = one.ids();
        assert!(other.lacking(ids.clone()).is_empty());
        lock(&other.0).remove(&revoked(3, 3));
        assert_ne!(one.digest(), other.digest());
        assert_eq!(other.lacking(ids), vec![revocation_id(revoked(3, 3).0, &revoked(3, 3).1)]);
    }
}
