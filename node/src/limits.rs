//! Every bound of the node, with its reason. Those that a peer must know stand in [`guilder_protocol::limits`].

use std::time::Duration;

// runtime

/// Threads that may wait for the disk at once beside the store's writer: scans and a few content files. More would only queue in
/// the device.
pub const DISK_THREADS: usize = 4;
/// A batch of signatures this small costs less than handing it to a thread and back.
pub const INLINE_SIGNATURES: u32 = 1;
/// Hashing this many bytes costs less than handing them to a thread and back.
pub const INLINE_HASH_BYTES: u64 = 8 * 1024;

// store

/// Write jobs that wait for the writer. A caller beyond it waits for a place.
pub const STORE_QUEUE: usize = 1024;
/// Jobs in one transaction: bounds how long the first of them waits for the others to run.
pub const STORE_JOBS_PER_COMMIT: usize = 256;
/// How long a job that nobody waits for waits for others to go with: long enough that a node at work writes nothing for its
/// sake alone, short enough that little of it is lost in a crash.
pub const STORE_BEHIND: Duration = Duration::from_millis(500);
/// redb's cache in bytes, reads and unwritten pages together (its own default is 1 GiB). The tables that a node works
/// on fit; an idle node must stay under 40 MB in all.
pub const STORE_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// What redb may write, in memory, to read a file on a disk that takes no writes: its allocator's state, a bit for each page of 4 KiB
/// and some more; enough for stores of several hundred gigabytes.
pub const STORE_ASIDE_BYTES: usize = 32 << 20;

/// Bytes that are copied in one transaction where a store is written anew.
pub const STORE_COPY_BYTES: usize = 1024 * 1024;

// memory

/// Memories that a node holds. Numbers of 32 bits name them in the index, with room for those that were forgotten.
pub const MAX_MEMORIES: u64 = 1_000_000;
/// Memories that one caller has said, so that none of them leaves the others no room. The owner has no other bound than the node's.
pub const MAX_MEMORIES_OF_ONE: u64 = 100_000;
/// Reads of the memory at once, of whatever callers. A question of common words reads every memory that has one: such reads wait for each
/// other, and not all of the threads for the disk are theirs.
pub const MAX_MEMORY_READS: usize = 2;
/// Domains that they are in.
pub const MAX_MEMORY_DOMAINS: usize = 10_000;
/// Domains that one caller has made, so that none of them leaves the others no room.
pub const MAX_MEMORY_DOMAINS_OF_ONE: usize = 100;
/// Callers that may read a domain, or write to it: as many as a node has.
pub const MAX_MEMORY_CALLERS: usize = MAX_CALLERS;
/// Postings in one row of the index: some 1 KiB, which each memory with the word writes anew.
pub const POSTINGS_PER_BLOCK: usize = 256;
/// The longest word that is told apart from others by its end, in bytes: longer ones are addresses and hashes.
pub const MAX_MEMORY_WORD: usize = 64;
/// The longest question, in bytes.
pub const MAX_QUESTION: usize = 4 * 1024;
/// Different words of a question that are looked for: a paragraph.
pub const MAX_QUESTION_WORDS: usize = 256;
/// Memories in one answer, and IDs in one request that forgets.
pub const MAX_RECALLED: usize = 100;
/// How often one caller forgets something by its ID in a day (UTC): each time the memory's file is written anew, and others wait for it.
/// With [`MAX_RECALLED`] IDs at a time that is as much as a caller remembers in days.
pub const MAX_FORGETTINGS: u64 = 100;
/// A caller's calls are one session while no two are further apart, in seconds.
pub const MEMORY_SESSION_SECS: u64 = 30 * 60;
/// A caller's questions are noted as calls once in so many seconds: little beside a session's pause, and few writes.
pub const MEMORY_CALL_SECS: u64 = 60;
/// Lines of a brief: what an agent reads before it begins.
pub const BRIEF_LINES: usize = 200;
/// Bytes of a brief, line feeds included.
pub const BRIEF_BYTES: usize = 25_000;
/// Memories that don't fit what is left of a brief's bytes, after which no more are tried: by then there is room for the shortest alone.
pub const BRIEF_MISFITS: usize = 50;
/// Memories that a lineage shows: what is derived from more is cut, and says so.
pub const MAX_LINEAGE: usize = 256;
/// Memories in one transaction of an import.
pub const MEMORY_BATCH: usize = 256;
/// Memories that one request brings or takes out as files. An export of more is refused: domain by domain, each is one of less.
pub const MAX_MEMORY_FILES: usize = 10_000;
/// The least time between dreams that nobody asked for, in seconds: a day has enough in it to be made less of.
pub const DREAM_GAP_SECS: u64 = 24 * 60 * 60;
/// Sessions that were remembered in since the last dream before one comes by itself: fewer repeat little.
pub const DREAM_SESSIONS: usize = 5;
/// How often it is looked whether it is time.
pub const DREAM_LOOK: Duration = Duration::from_secs(60 * 60);
/// A dream that was killed holds its lease for so long, in seconds: many times what the longest takes.
pub const DREAM_LEASE_SECS: u64 = 10 * 60;
/// New memories that one dream goes through, and of each domain what it looks at beside them: some seconds' work. What is left is the
/// next one's.
pub const MAX_DREAM_FACTS: usize = 10_000;

// events

/// Events that the journal keeps: the last few thousand trades' steps, for a listener that was away.
pub const JOURNAL_EVENTS: u64 = 10_000;
/// Bytes of them, as JSON: an event has some 300. It is written over and over, so it stays small beside the trades' own records.
pub const JOURNAL_BYTES: u64 = 4 * 1024 * 1024;
/// How long the journal waits for more to write with the first: many steps are one row then.
pub const JOURNAL_PAUSE: Duration = Duration::from_millis(250);
/// The latest events that are held in memory until their row is on disk, and for listeners that are slow.
pub const JOURNAL_RING: usize = 4096;

// gate

/// Callers that a node has at most: each is one program or agent of its owner.
pub const MAX_CALLERS: usize = 256;
/// Letters of a caller's name: what fits a file's name and a line of a table.
pub const MAX_CALLER_NAME: usize = 32;
/// Requests that wait for the owner's word at once: more than anybody reads through.
pub const MAX_APPROVALS: usize = 256;
/// Of those, one caller's, so that none of them leaves the others no room.
pub const MAX_APPROVALS_OF_ONE: usize = 32;
/// Bytes of the terms of one request, as JSON: what isn't shown whole can't be approved.
pub const MAX_APPROVAL_BYTES: usize = 64 * 1024;
/// How long an approval is kept since it was asked for, answered or used, in seconds: a week, as its owner may be away.
pub const APPROVAL_SECS: u64 = 7 * 24 * 60 * 60;

// wallet

/// Inputs of one operation: mints bound a request, and one of 256 is well within cdk's and Nutshell's.
pub const MAX_OPERATION_INPUTS: usize = 256;
/// Spendable coins of a currency that are kept as they are: beyond them the small ones are changed for fewer, so that each payment
/// and each redemption finds few, whatever was earned one by one.
pub const KEEP_COINS: u64 = 128;
/// Of the coins that are changed for fewer, so many of the largest are left out: they can be paid with meanwhile.
pub const FREE_COINS: u64 = 16;
/// What the mint may keep of coins that are changed for fewer unasked, in percent of their worth.
pub const MERGE_FEE_PERCENT: u64 = 1;
/// The same where a payment can't be made otherwise. Whoever would lose more to the fees hears that it is too little.
pub const PAYMENT_MERGE_FEE_PERCENT: u64 = 25;
/// Between there being many coins and changing them: those of one redemption come together.
pub const MERGE_PAUSE: Duration = Duration::from_secs(2);
/// Operations that are posted to one mint at once; the others wait. A mint answers a batch in some 0.1 s.
pub const OPERATIONS_AT_ONCE: usize = 8;
/// Proofs whose state is asked for at once, as many as a swap has.
pub const MAX_STATES_ASKED: usize = 256;
/// Proofs of a token that is received: four swaps.
pub const MAX_TOKEN_PROOFS: usize = 4 * MAX_OPERATION_INPUTS;
/// The longest token that is read, in characters: what so many proofs with their DLEQ proofs take.
pub const MAX_TOKEN_TEXT: usize = 512 * 1024;
/// Derivation numbers of one keyset that are kept to be used again.
pub const MAX_FREED_NUMBERS: usize = 4096;
/// Coins are moved out of a keyset so long before it ends, in seconds: a node that runs once a week is in time.
pub const RENEW_BEFORE_SECS: u64 = 14 * 24 * 60 * 60;
/// A lock's locktime is at least so long before its keyset ends, in seconds, so that it can be refunded before it.
pub const LOCK_ENDS_BEFORE_KEYSET_SECS: u64 = 24 * 60 * 60;
/// The longest wait for one answer of a mint. Connectors give up sooner.
pub const MINT_CALL_PATIENCE: Duration = Duration::from_secs(120);
/// The pause before an operation is posted again; it doubles each time up to the last.
pub const OPERATION_FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause before an operation is posted again: a mint that is back is found within it.
pub const OPERATION_LAST_PAUSE: Duration = Duration::from_secs(60);
/// Keysets kept of one mint, the active ones first. A mint that rotates monthly fills it in ten years. Beyond it those
/// stay that it no longer lists and of which there are coins in the wallet.
pub const MAX_KEYSETS_PER_MINT: usize = 128;
/// How often a mint is asked anew because somebody shows a keyset that we don't know: anybody can make one up.
pub const UNKNOWN_KEYSET_PAUSE: Duration = Duration::from_secs(10);
/// The pause before a mint of the config file that was never reached is tried again.
pub const MINT_RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How often an unpaid mint quote is looked at while somebody waits for it.
pub const MINT_QUOTE_POLL: Duration = Duration::from_millis(500);
/// How often it is looked at when nobody does.
pub const MINT_QUOTE_POLL_LATER: Duration = Duration::from_secs(30);
/// For how long one start watches a quote for which nobody waits, whatever time its mint gives it.
pub const MINT_QUOTE_WATCH: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an unpaid quote is kept after it and its invoice have run out, in seconds: a mint may notice a payment late.
pub const QUOTE_MARGIN_SECS: u64 = 24 * 60 * 60;
/// How long a quote is kept that names no time, and whose request tells none, in seconds.
pub const UNDATED_QUOTE_SECS: u64 = 30 * 24 * 60 * 60;
/// First and longest pause before a mint in trouble is asked about a quote again, or about what a former run began.
pub const FUNDING_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// Mint quotes of one mint and unit that are watched though nobody waits, after a start the youngest first: each asks
/// the mint now and then.
pub const MAX_OPEN_QUOTES: usize = 16;
/// Secrets that a restore asks a mint about at once, as NUT-13 suggests. Fewer in tests, whose wallets are restored often.
pub const RESTORE_BATCH: u32 = if cfg!(test) { 25 } else { 100 };
/// Batches in a row that bring nothing before a restore ends, as NUT-13 suggests.
pub const RESTORE_GAP: u32 = 3;
/// Numbers of one line that a mint may claim to have signed at one look: more than a wallet uses in years, and few enough for
/// memory, as a mint that claims all of them must not fill it.
pub const MAX_SCANNED_NUMBERS: u32 = 1_000_000;
/// How long after it has said that a melt is paid a mint is given to sign the change (cdk does so in a later transaction).
pub const MELT_CHANGE_PATIENCE: Duration = Duration::from_secs(2);
/// Purses in memory. Beyond it the longest unused of the empty ones go.
pub const MAX_PURSES: usize = 1024;
/// The least time between two looks at locks that were debited or given back.
pub const PURSE_PAUSE: Duration = Duration::from_millis(500);
/// Refills of a purse that one hire has made at most: others who hire of the same seller at once may take what it has had made.
pub const MAX_REFILLS: usize = 8;
/// How long a hire right after a start waits for the mint's word on what is in the purse. A mint that is reached answers
/// within it; one that isn't must not keep a node from paying with what it has.
pub const PURSE_OPEN_PATIENCE: Duration = Duration::from_secs(2);
/// Trades of one mint given back to the purse that are looked at together.
pub const PURSE_RECONCILE: usize = 256;
/// How often a mint that didn't answer is asked again about coins that came back.
pub const RETURNED_PAUSE: Duration = Duration::from_secs(30);
/// Due locks that are looked at together: several batches.
pub const MAX_DUE_READ: usize = 1024;
/// Times that the mint may refuse a lock before its locktime ends the trying.
pub const MAX_REDEEM_TRIES: u32 = 3;
/// A lock that was refused, or of which no swap could be made, is tried again after this many seconds, twice as many
/// after the second time, and so on.
pub const REDEEM_RETRY_SECS: u64 = 30;
/// The longest such wait, in seconds: an hour is little beside a locktime.
pub const REDEEM_LAST_RETRY_SECS: u64 = 60 * 60;
/// The longest such wait in escrow, in seconds: an offer leaves a minute to redeem at the least, in which it is tried four times.
pub const REDEEM_ESCROW_RETRY_SECS: u64 = 15;
/// Old reservations forgotten in one transaction.
pub const MAX_RESERVED_READ: usize = 1024;
/// How often old reservations are looked for.
pub const RESERVED_PAUSE: Duration = Duration::from_secs(60);
/// How often fallen-back money is looked for. Nobody waits for it.
pub const REFUND_PAUSE: Duration = Duration::from_secs(60);
/// Lots of one mint that are looked at together.
pub const REFUND_READ: usize = 256;
/// A lot that was looked at and not refunded is tried again after the pause above, twice it after the second time, and so
/// on up to this: each refused swap leaves a parked operation.
pub const REFUND_LAST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How long after its locktime a lot that is worth no more than the mint's fee waits for the fee to fall, in seconds.
pub const DUST_KEPT_SECS: u64 = 30 * 24 * 60 * 60;
/// How often old records of the wallet are looked at.
pub const TIDY_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Of each kind, in one look: most of them ask a mint.
pub const TIDY_BATCH: usize = 64;
/// How long a parked operation is kept, in seconds: no copy of its request is on its way for thirty days.
pub const FAILED_KEEP_SECS: u64 = 30 * 24 * 60 * 60;
/// Parked operations beyond which the oldest are looked at sooner; of some 2 KiB each.
pub const MAX_FAILED: usize = 1024;
/// How long a token that was sent and taken is shown, and the mark of a received one and an issued quote kept, in seconds.
pub const SENT_KEEP_SECS: u64 = 30 * 24 * 60 * 60;
/// Tokens sent beyond which the oldest are looked at sooner; of some 1 KiB each.
pub const MAX_SENT: usize = 4096;
/// Lines of the history beyond which the oldest go; of some 200 bytes each.
pub const MAX_HISTORY: usize = 1_000_000;
/// Lines of the history in one answer.
pub const MAX_HISTORY_PAGE: usize = 1000;
/// Old lines that go at once.
pub const HISTORY_TRIM: usize = 1024;
/// Marks of received tokens that one look reads: some milliseconds.
pub const RECEIVED_LOOK: usize = 16 * HISTORY_TRIM;
/// Outcomes of trades' money that wait for the trade room.
pub const MAX_OUTCOMES: usize = 256;

// content

/// Contents served at once. Each holds a chunk in memory.
pub const MAX_CONTENT_TRANSFERS: usize = 32;
/// Of them, to one peer, so that one can't take every place.
pub const MAX_CONTENT_TRANSFERS_PER_PEER: usize = 4;
/// How long one step of a transfer may take: a frame, or a chunk of 256 KiB. A peer slower than 13 KB/s is given up.
pub const CONTENT_CHUNK_TIMEOUT: Duration = Duration::from_secs(20);

// executor

/// The end of a program's standard error that is kept, in bytes: for `task show`, and for the error and the log of a failure.
pub const MAX_STDERR_TAIL: usize = 2 * 1024;
/// One line of a program's progress, in bytes: a note or some words, with room for JSON's escapes.
pub const MAX_PROGRESS_LINE: usize = 4 * 1024;
/// A note, or the words that wait for the next report, in bytes: what a progress frame may hold.
pub const MAX_PROGRESS_TEXT: usize = guilder_protocol::limits::MAX_ERROR_TEXT;
/// All that one run may say of its progress, in bytes: the words of an answer of 50,000 tokens.
pub const MAX_RUN_PROGRESS: usize = 256 * 1024;
/// The least time between two reports of a run: what people see as smooth, and at most 4 KiB of words a second.
pub const PROGRESS_PAUSE: Duration = Duration::from_millis(250);
/// What is quoted of a service's or a schema's complaint in an error, in bytes: two of them fit a receipt's words.
pub const MAX_COMPLAINT: usize = 400;
/// Processes that one run of a program may have at once: a pool of workers fits, a fork bomb doesn't.
pub const MAX_PROCESSES_PER_RUN: usize = 256;
/// The largest file that a program may write in its folder, in bytes.
pub const MAX_PROGRAM_FILE: u64 = 1024 * 1024 * 1024;
/// How long a killed program's guard has to clean up before it is killed itself.
pub const GUARD_GRACE: Duration = Duration::from_secs(3);
/// The longest that a guard lets pass between two looks at its program's memory.
pub const MAX_GUARD_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest. At 4 GB/s, a program gets 100 MB past its limit in it.
pub const MIN_GUARD_INTERVAL: Duration = Duration::from_millis(25);

// schemas

/// Threads that compile schemas and check documents: one, so that strangers' schemas never take those that signatures wait
/// for.
pub const SCHEMA_THREADS: usize = 1;

/// Levels of nesting in a schema, references followed.
pub const MAX_SCHEMA_DEPTH: usize = 48;
/// Places in a schema once every reference in it is written out. References that double at each step reach it soon.
pub const MAX_SCHEMA_PLACES: u64 = 20_000;
/// One pattern, compiled, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Different patterns of one schema. Five fields of a form have a pattern, rarely ten.
pub const MAX_PATTERNS: usize = 32;
/// Their texts together, in bytes: one is parsed before it can be told how large it is compiled.
pub const MAX_PATTERNS_TEXT: usize = 4 * 1024;
/// Unicode classes and case-insensitive groups in them together (`\p{L}`, `\w`, `(?i)`): each is a table of hundreds of ranges
/// before it is compiled.
pub const MAX_PATTERN_CLASSES: usize = 64;
/// All patterns of one schema, compiled, in bytes: they take some 10 ms.
pub const MAX_PATTERNS_BYTES: usize = 512 * 1024;
/// A pattern that counts as one, compiled, in bytes: some 250 states, of which each can take part in each step.
pub const SMALL_PATTERN_BYTES: usize = 8 * 1024;
/// The largest document that is checked against a schema, in bytes.
pub const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;
/// Values in such a document. A small object takes about 700 bytes of memory.
pub const MAX_DOCUMENT_VALUES: u64 = 100_000;
/// Places of a schema times values of a document: at most this many steps of about 50 ns.
pub const MAX_SCHEMA_STEPS: u64 = 50_000_000;
/// Patterns of a schema, by size, times bytes of a document: at most this many steps of about 0.5 µs at worst.
pub const MAX_PATTERN_STEPS: u64 = 8 * 1024 * 1024;

/// Aliases of a home: names that a person remembers.
pub const MAX_ALIASES: usize = 256;
/// The longest name of one.
pub const MAX_ALIAS_CHARS: usize = 32;

/// What `accusations/` holds: a thousand of what convicts without an output, a dozen of the largest. Beyond it the oldest go.
pub const MAX_ACCUSATIONS_BYTES: u64 = 1024 * 1024 * 1024;

// mcp

/// How long a call of a tool waits for what it began. Clients give up on a call after some 60 s, and some of them sooner.
pub const MCP_BLOCKING: Duration = Duration::from_secs(15);
/// The longest message, in bytes: an input of 1 MiB, what a service takes unless it says otherwise, also where every byte of it
/// is escaped.
pub const MAX_MCP_MESSAGE: usize = 8 * 1024 * 1024;
/// Calls of tools under way at once, of all clients. Each holds a message and an output's part.
pub const MAX_MCP_CALLS: usize = 64;
/// Clients at once that speak through `guilder mcp`; each is a program of the owner's.
pub const MAX_MCP_SESSIONS: usize = 32;
/// Requests of one end that the other hasn't answered yet. While there are so many, nothing more is read from it.
pub const MAX_MCP_REQUESTS: usize = 16;
/// Bytes of an output in one answer: a model reads all of it, some 16,000 words.
pub const MAX_MCP_OUTPUT: usize = 64 * 1024;
/// What an MCP server may say in one call, in bytes, progress and all: its longest message, and as much again of chatter.
pub const MAX_MCP_CALL_BYTES: u64 = 2 * MAX_MCP_MESSAGE as u64;
/// Tools of one MCP server. Those that people use have some tens.
pub const MAX_MCP_TOOLS: usize = 256;
/// How long an MCP server may take to start and say what it has: some are fetched and compiled first.
pub const MCP_START: Duration = Duration::from_secs(30);
/// MCP servers that wait for their next call, all services together. Each is a process, of some 50 MB where it runs on Node.js.
pub const MAX_MCP_IDLE: usize = 8;
/// How long each of them waits.
pub const MCP_IDLE: Duration = Duration::from_secs(60);

// doctor

/// Descriptors that a busy node needs: its connections, their streams and its files.
pub const DESCRIPTORS_NEEDED: u64 = 2_048;
/// Less free space than this, in bytes, is too little to work with: the store grows by some MiB while it is tidied.
pub const DISK_SHORT_BYTES: u64 = 64 * 1024 * 1024;
/// Less than this is worth a warning: one large output and its input, several times.
pub const DISK_LOW_BYTES: u64 = 1024 * 1024 * 1024;
/// How long a mint has to answer `guilder doctor`.
pub const MINT_CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// Mints that are asked at once for it.
pub const MINTS_CHECKED_AT_ONCE: usize = 16;

// swarm

/// Services that a view of the swarm lists: those with most sellers.
pub const MAX_SWARM_SERVICES: usize = 100;
/// Kinds of software that it lists; each is what a peer says of itself.
pub const MAX_SWARM_SOFTWARE: usize = 20;

// backups

/// Files of one backup: every content that a node keeps, many times over.
pub const MAX_BACKUP_FILES: usize = 1_000_000;
/// A backup's list of its files, in bytes: so many of them.
pub const MAX_BACKUP_LIST_BYTES: u64 = 256 * 1024 * 1024;

// joining

/// Addresses that `--join` names altogether: eight invitations' worth. One that answers is enough.
pub const MAX_JOINED: usize = 512;
/// A file that `--join` names, in bytes: so many addresses with as many words about them.
pub const MAX_JOIN_FILE: u64 = 256 * 1024;
