//! Every bound of the catalogue, with its reason.

use std::time::Duration;

/// Services that one node offers: half of the records that others keep of one provider.
pub(crate) const MAX_SERVICES: usize = 64;

/// Adverts of others that are kept.
pub const MAX_ADVERTS: usize = 4_096;

/// Adverts of one service that are kept: far more than anybody asks, few enough that one service can't crowd out the
/// rest.
pub(crate) const MAX_ADVERTS_PER_SERVICE: usize = 512;

/// All kept adverts together, in bytes as received. A usual one is under 1 KiB, the largest 8 KiB.
pub(crate) const MAX_ADVERT_BYTES: usize = 8 * 1024 * 1024;

/// Withdrawals that are remembered, so that an older advert on its way doesn't come back.
pub(crate) const MAX_WITHDRAWALS: usize = 4_096;

/// A seller may renew an advert this often, in seconds; what comes sooner isn't forwarded.
pub(crate) const MIN_RENEWAL_SECS: u64 = 5;

/// How long our adverts hold, in seconds: short enough that a node that is gone is soon forgotten.
pub(crate) const ADVERT_SECS: u64 = 60 * 60;

/// Our adverts are signed anew and gossiped this often, well before they run out.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(20 * 60);

/// How long a node that stops waits for its withdrawals to be on the wire.
pub(crate) const PARTING: Duration = Duration::from_millis(150);

/// Compiled schemas of sellers that are kept for the next hire. A usual one has some KiB, and each has a bound.
pub(crate) const MAX_KEPT_SCHEMAS: usize = 16;

/// Topics of services that we don't offer and follow because we looked for them.
pub(crate) const MAX_FOLLOWED: usize = 32;

/// Words that a query asks an advert for, and their bytes together: a sentence of them.
pub(crate) const MAX_QUERY_WORDS: usize = 16;
pub(crate) const MAX_QUERY_WORDS_BYTES: usize = 256;

/// Services that one pattern has searched for: each costs a walk through Kademlia.
pub(crate) const MAX_MATCHED: usize = 8;

/// Known sellers that one search asks again, because their advert is old or they are to be reached: less than it finds at most.
pub(crate) const MAX_ASKED_AGAIN: usize = 32;

/// How long a provider has to show its advert.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connected peers that are asked when Kademlia doesn't lead to enough sellers: all that a node keeps when it is not
/// crowded.
pub(crate) const MAX_ASKED_AROUND: usize = 64;

/// Sellers whose advert doesn't fit that one search names, so that its caller can say why there is none.
pub(crate) const MAX_UNFIT: usize = 8;

/// Adverts that came in while a search waited and that it hasn't looked at yet.
pub(crate) const LIVE_ADVERTS: usize = 64;

/// Queries under way at once, over all searches.
pub(crate) const MAX_QUERIES: usize = 256;

/// Sellers that one search returns at most.
pub(crate) const MAX_FOUND: usize = 64;

/// How long a search in Kademlia counts as recent: half of an advert's renewal. Who begins to sell meanwhile is heard by
/// gossip, and where none of those known makes an offer Kademlia is searched all the same.
pub(crate) const SEARCH_HOLDS: Duration = Duration::from_secs(10 * 60);
