//! Every bound of the protocol, with its reason. A peer that goes over one is at fault.

/// One signed statement, in bytes. Ours are under 8 KiB; the rest is room for what later versions add.
pub const MAX_ENVELOPE: usize = 64 * 1024;

/// How deep lists and maps nest in any one item. Statements need about ten levels, policies forty; the rest is room for later
/// ones, far from what would exhaust a reader's stack.
pub const MAX_NESTING: usize = 128;

/// Names that one statement calls critical.
pub const MAX_CRITICAL: usize = 16;

/// A name of an open vocabulary (a failure's code, a critical name, a form of a payload), in bytes.
pub const MAX_WORD: usize = 64;

/// An advert or a withdrawal, in bytes: what gossip carries. The largest that this version makes is half of it.
pub const MAX_ANNOUNCEMENT: usize = 8 * 1024;

/// An advert's description, in bytes: a paragraph.
pub const MAX_DESCRIPTION: usize = 1024;

/// One JSON Schema, as text, in bytes. It travels in a frame of its own.
pub const MAX_SCHEMA: usize = 16 * 1024;

/// Mints that one advert, ask or offer names.
pub const MAX_MINTS: usize = 8;

/// A mint's URL, in bytes.
pub const MAX_MINT_URL: usize = 256;

/// A service's name, in bytes.
pub const MAX_SERVICE_NAME: usize = 64;

/// A unit's name, in bytes.
pub const MAX_UNIT: usize = 16;

/// Ways to pay that one advert or ask names: every mode that is planned, several times over.
pub const MAX_MODES: usize = 16;

/// How long an advert may hold: a day, so that what nobody renews is soon forgotten.
pub const MAX_ADVERT_SECS: u64 = 24 * 60 * 60;

/// How long an ask may hold.
pub const MAX_ASK_SECS: u64 = 10 * 60;

/// How long an offer may bind its seller: long enough to choose, too short to hoard.
pub const MAX_OFFER_SECS: u64 = 10 * 60;

/// The longest that a buyer lets its money be locked, from the award: two days.
pub const MAX_LOCK_SECS: u64 = 2 * 24 * 60 * 60;

/// What an escrow offer leaves its buyer, from its deadline on, to fetch, check and release: a minute, for two clocks differ by
/// that much. Sellers offer more.
pub const MIN_RELEASE_SECS: u64 = 60;

/// What an escrow offer leaves its seller, from the last release on, to redeem.
pub const MIN_REDEEM_SECS: u64 = 60;

/// What lies between the last redemption in escrow and the locktime: the mint's clock may be off by a minute, and its answer may
/// take as long.
pub const MIN_REDEEM_MARGIN_SECS: u64 = 120;

/// How long a buyer in escrow waits for a key, from when it knows that the money was taken, in seconds: a day. By then the mint has
/// been asked several hundred times, and so has the seller, if it was there at all.
pub const KEY_WAIT_SECS: u64 = 24 * 60 * 60;

/// What is read of a witness that a mint shows, in bytes. An honest one in escrow has about 400.
pub const MAX_WITNESS: usize = 4 * 1024;

/// Proofs in one lock: 64 powers of two make any amount, and each costs a signature check.
pub const MAX_PROOFS: usize = 64;

/// A seller's or peer's words about a failure, in bytes.
pub const MAX_ERROR_TEXT: usize = 1024;

/// Receipts of passed-on work that one receipt names.
pub const MAX_SUB_RECEIPTS: usize = 64;

/// Services that one delegation for subcontracting names: as many kinds of help as a task may need.
pub const MAX_SUB_SERVICES: usize = 16;
/// What a seller hands over with its delivery of what was signed about work that it passed on, in bytes: some 35 hires. With an
/// inline output it fits into a frame.
pub const MAX_SUB_EVIDENCE: usize = 128 * 1024;
/// Delegations in one chain, from the principal to the buyer.
pub const MAX_CHAIN: usize = 8;

/// All delegations of one chain together, in bytes; also the most that a single one may have.
pub const MAX_CHAIN_BYTES: usize = 16 * 1024;

/// Services that one standing grant names.
pub const MAX_GRANTED_SERVICES: usize = 16;

/// The invocation of a revocation, in bytes: it names one delegation and the [`MAX_CHAIN`] of its path, in about 700.
pub const MAX_REVOKING: usize = 2 * 1024;

/// A revocation with the delegations of its path, in bytes: what gossip and an exchange carry. Any chain that can be
/// used can be revoked.
pub const MAX_REVOCATION: usize = MAX_CHAIN_BYTES + MAX_REVOKING + 64;

/// Revocations that a node tells another that it knows: what a busy market revokes in the life of its grants. Their IDs are
/// 64 KiB.
pub const MAX_KNOWN_REVOCATIONS: usize = 4 * 1024;

/// One frame of `/guilder/grants/1`, in bytes: the IDs of [`MAX_KNOWN_REVOCATIONS`], or a chain, or a few of the largest
/// revocations.
pub const MAX_EXCHANGE_FRAME: usize = 128 * 1024;

/// Input or output that travels inside a trade frame, in bytes; what is larger goes as content.
pub const MAX_INLINE: usize = 64 * 1024;

/// Input or output that goes as content, in bytes.
pub const MAX_CONTENT: u64 = 64 * 1024 * 1024;

/// One trade frame, in bytes: the largest holds an inline input, a chain, a lock of [`MAX_PROOFS`] and an award.
pub const MAX_FRAME: usize = 256 * 1024;

/// One frame of `/guilder/mint/1`, in bytes: a swap of 512 locked proofs is about half of it.
pub const MAX_MINT_FRAME: usize = 1024 * 1024;

/// The path of a request to a mint, in bytes. The longest in the NUTs names a quote: about 60.
pub const MAX_MINT_PATH: usize = 255;

/// One secret of a lock, in bytes. A prepaid one is about 310, one in escrow 466.
pub const MAX_LOCK_SECRET: usize = 512;

/// Delegations handed over with one invocation, used or not: a sender may not know which the receiver has.
pub const MAX_PROOFS_GIVEN: usize = 32;

/// A command, in bytes.
pub const MAX_COMMAND: usize = 256;

/// A selector of a policy, in bytes.
pub const MAX_SELECTOR: usize = 512;

/// Steps of one selector.
pub const MAX_SELECTOR_STEPS: usize = 32;

/// Statements of one policy, nested ones included. The policy of a sub-grant has eight.
pub const MAX_POLICY_STATEMENTS: usize = 256;

/// How deep the statements of a policy nest; evaluation recurses.
pub const MAX_POLICY_DEPTH: usize = 16;

/// What evaluating all policies of one chain may cost: a few milliseconds at worst. An award's chain needs about 500.
pub const POLICY_FUEL: usize = 50_000;

/// A case for `guilder ucan verify`, in bytes: a full chain as base64 in JSON, and as much again.
pub const MAX_CASE: usize = 256 * 1024;

/// One audit bundle, in bytes: some hundred statements.
pub const MAX_BUNDLE: usize = 8 * 1024 * 1024;

/// Statements in one audit bundle.
pub const MAX_BUNDLE_BLOCKS: usize = 1024;

/// What a proof of fraud holds beside its bundle and a ciphertext, in bytes: the secrets and witnesses of a lock of
/// [`MAX_PROOFS`], and the names of a ciphertext's chunks.
pub const MAX_EXHIBITS: usize = 512 * 1024;

/// One proof of fraud, in bytes: a bundle, a ciphertext of [`MAX_CONTENT`] in named chunks, and what holds them together.
pub const MAX_FRAUD_PROOF: usize = MAX_BUNDLE + MAX_EXHIBITS + MAX_CONTENT as usize + 64 * 1024;

/// Signatures that are tried of one witness. An honest one has two.
pub const MAX_WITNESS_SIGNATURES: usize = 16;

/// The longest text of one memory, in bytes: a paragraph; what is longer is a document, and a memory of where it is.
pub const MAX_MEMORY_TEXT: usize = 4 * 1024;
/// The longest name of a memory's domain, subject, session and caller, in bytes.
pub const MAX_MEMORY_NAME: usize = 128;
/// Sources that one memory names, and others that it supersedes.
pub const MAX_MEMORY_SOURCES: usize = 16;
/// The longest name of a source, in bytes: a content ID has some 60, a web address fits.
pub const MAX_MEMORY_SOURCE: usize = 256;
/// The latest time that a memory says it is true since, in Unix seconds: the last one of a year of four digits, as dates are written.
pub const MAX_MEMORY_TIME: u64 = 253_402_300_799;

/// An invitation as text, in characters: what a QR code of the largest kind still holds, and far more than one has.
pub const MAX_INVITATION: usize = 4_096;

/// Peers that an invitation names: enough that one of them answers.
pub const MAX_INVITED_PEERS: usize = 8;

/// Addresses of one peer in an invitation: each IP version and transport, twice.
pub const MAX_INVITED_ADDRESSES: usize = 8;

/// One address in an invitation, in bytes: an IPv6 address, a port and what is spoken there, with room.
pub const MAX_INVITED_ADDRESS: usize = 128;
