//! The room's bounds, each with its reason. What a peer must know (the largest frame) stands in `guilder_protocol`.

use std::time::Duration;

// Trade frames.

/// Bytes of frames waiting to be written to one connection. Two of the largest frames, so that one big frame doesn't
/// stop the small ones behind it from being queued.
pub(super) const SEND_BUDGET_BYTES: usize = 512 * 1024;
/// What a frame costs at least of a byte budget: its own bookkeeping. Also keeps empty frames from being free.
pub(super) const FRAME_OVERHEAD_BYTES: usize = 512;
/// Bytes of received frames that the trade room hasn't taken yet, from all peers together. Past it, reading stops.
pub(super) const RECEIVE_BUDGET_BYTES: usize = 4 * 1024 * 1024;
/// Of that, what one peer may take: two of the largest frames.
pub(super) const RECEIVE_BUDGET_PER_PEER: usize = 512 * 1024;
/// Frames are gathered up to this many bytes for one write: one yamux data frame.
pub(super) const WRITE_BATCH_BYTES: usize = 16 * 1024;
/// Read from a stream at once while the length of the next frame isn't known, and kept allocated when idle.
pub(super) const READ_CHUNK_BYTES: usize = 4 * 1024;
/// Most that is allocated ahead of the bytes that a peer really sent, whatever length it claimed.
pub(super) const READ_AHEAD_BYTES: usize = 32 * 1024;
/// Frames handled in one turn of a connection before others get theirs.
pub(super) const FRAMES_PER_TURN: usize = 32;
/// Frames that one connection may deliver in a second, sustained; it is slowed down past that, not cut. A seller that
/// serves one buyer at 1,000 tasks a second sees about 2,000.
pub(super) const FRAMES_PER_SEC: u32 = 5_000;
/// Frames that one connection may deliver at once after a pause.
pub(super) const FRAME_BURST: u32 = 5_000;
/// A frame that has begun must be complete after this long, so that half frames can't pile up.
pub(super) const FRAME_PATIENCE: Duration = Duration::from_secs(30);

// Streams of the content and mint protocols.

/// Streams that we open to one peer at once. A wallet and eight tasks at once use a dozen.
pub(super) const STREAMS_OUT_PER_PEER: usize = 32;
/// Streams that one peer may have open to us. Twice what it opens if it runs this code: it sees a stream end before
/// our room has let go of it.
pub(super) const STREAMS_IN_PER_PEER: usize = 2 * STREAMS_OUT_PER_PEER;
/// Streams that one connection may open to us in a second, sustained.
pub(super) const STREAMS_PER_SEC: u32 = 500;
/// Streams that one connection may open to us at once after a pause.
pub(super) const STREAM_BURST: u32 = 1_000;
/// Inbound streams of one protocol open with all peers together; each has its own small buffers in its room. Past it, whoever
/// holds most loses the one that is idle for longest.
pub(super) const STREAMS_INBOUND: usize = 512;
/// Inbound streams that wait to be taken up by their room, per protocol.
pub(super) const STREAM_BACKLOG: usize = 64;
/// Inbound streams that one connection holds back while its room's backlog is full; the next ones are reset.
pub(super) const STREAMS_HELD_BACK: usize = 8;
/// Inbound streams of one connection that may be negotiating at once.
pub(super) const STREAMS_NEGOTIATING: usize = 32;
/// Streams of all protocols on one connection; yamux ends a connection that goes over it.
pub(super) const STREAMS_PER_CONNECTION: usize = 256;

// Connections.

/// How long `send`, `open` and `dial` wait for a connection, look-up included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one dial may take, handshakes included.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often `send` takes a new link after the one at hand turned out to be dead, with the frame not yet queued.
pub(super) const SEND_ATTEMPTS: usize = 2;
/// Callers that wait for connections, over all peers.
pub(super) const CONNECT_WAITERS: usize = 1_024;
/// Connections that one peer may hold: two arise when both sides dial at once, the rest is slack for a dying one.
pub(super) const CONNECTIONS_PER_PEER: u32 = 4;
/// Dials under way.
pub(super) const DIALS_PENDING: u32 = 128;
/// How long a connection that others open may take to be authenticated: some five round trips.
pub(super) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(3);
/// Inbound connections being set up, apart for TCP and QUIC. What comes then makes the oldest of the most crowded prefix give
/// way, so this bounds memory and not who gets in.
pub(super) const PENDING_PER_KIND: usize = 64;
/// The same from one prefix, so that one party can't crowd out the rest.
pub(super) const PENDING_PER_PREFIX: usize = 32;
/// The same from one address.
pub(super) const PENDING_PER_ADDRESS: usize = 16;
/// Connections that one prefix may open in a second, sustained, TCP and QUIC apart: each costs up to a millisecond of
/// handshakes.
pub(super) const ACCEPTS_PER_SEC: u32 = 40;
/// Connections that one prefix may open at once after a pause: a machine full of agents that starts.
pub(super) const ACCEPT_BURST: u32 = 200;
/// Prefixes whose rates are remembered; sources of QUIC packets can be forged.
pub(super) const METERED_PREFIXES: usize = 4_096;
/// Connections that others may open beyond the newcomers' places: for peers that we dealt with.
pub const RESERVED: u32 = 32;
/// Newcomers from one prefix in a second, sustained: a handful of people behind one router.
pub(super) const NEWCOMERS_PER_SEC: u32 = 5;
/// Newcomers from one prefix at once after a pause: a machine full of agents that starts.
pub(super) const NEWCOMER_BURST: u32 = 150;
/// What the ban of a newcomer takes from that: with it fewer keys of one prefix can be banned in an hour than are
/// remembered, so that bans don't push each other out.
pub(super) const BAN_COST: u32 = 20;
/// How far the number of connections may go over the high-water mark, for what is still in its grace period. Half of it
/// is for our own dials alone.
pub const CONNECTIONS_SLACK: u32 = 64;
/// How long a stranger's connection is left alone even where room is short: to ask for peers takes a few round trips.
pub(super) const NEWCOMER_GRACE: Duration = Duration::from_secs(5);
/// Peers that may be protected from trimming at once.
pub(super) const PROTECTED_PEERS: usize = 1_024;
/// Peers that we dealt with and remember; the one dealt with longest ago goes first.
pub(super) const DEALT_WITH: usize = 4_096;

// Discovery.

/// Services that this node provides.
pub(super) const PROVIDED_KEYS: usize = 256;
/// Keys for which we keep provider records of others.
pub(super) const RECORD_KEYS: usize = 2_048;
/// Provider records of others, over all keys: with eight addresses each some 16 MiB at worst.
pub(super) const RECORDS: usize = 8_192;
/// Provider records per key: Kademlia's k.
pub(super) const PROVIDERS_PER_KEY: usize = 20;
/// Keys for which one peer may leave its provider record with us.
pub(super) const KEYS_PER_PROVIDER: usize = 128;
/// Provider records that peers from one prefix may leave with us: an eighth.
pub(super) const RECORDS_PER_PREFIX: usize = RECORDS / 8;
/// Addresses kept with a provider record, in the routing table from one identify message, and in the address book.
pub(super) const ADDRS_PER_PEER: usize = 8;
/// The longest address kept, in bytes: a DNS name and a peer ID fit.
pub(super) const ADDR_BYTES: usize = 160;
/// Searches that run at once.
pub(super) const FINDS: usize = 64;
/// Providers that one search yields at most.
pub(super) const FIND_LIMIT: usize = 64;
/// Peers in a row that name only providers known already, after which a quick search is over: each of the twenty that
/// keep a record has all its providers, so three liars among the first asked are what it takes to hide the others.
pub(super) const AGREEING: u32 = 3;
/// How long a search runs.
pub(super) const FIND_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a provider record lives at others.
pub(super) const PROVIDER_TTL: Duration = Duration::from_secs(2 * 60 * 60);
/// How often provider records are renewed: twice in their life and a bit.
pub(super) const PROVIDER_RENEWAL: Duration = Duration::from_secs(50 * 60);
/// How long to let the routing table settle before services are announced to new neighbours.
pub(super) const ANNOUNCE_DELAY: Duration = Duration::from_millis(300);
/// How often a peer of a full bucket is dialled to see whether it still is, because a new one would take its place.
pub(super) const DOUBT_INTERVAL: Duration = Duration::from_secs(60);
/// Addresses that are kept of a peer that another one told us of, and tried at one dial: TCP and QUIC, twice.
pub(super) const TOLD_ADDRS: usize = 4;
/// Peers whose addresses others told us and that are remembered; the one told of first goes first.
pub(super) const TOLD_PEERS: usize = 2_048;
/// Addresses that one informant may make us dial in vain in a minute. Honest ones tell of dead peers now and then; a liar
/// gets no more out of us than this.
pub(super) const BLIND_DIALS_PER_MIN: u32 = 8;
/// What an informant's credit grows to by telling the truth: a search that names all of a service's sellers at once.
pub(super) const MAX_CREDIT: u32 = 64;
/// Informants whose credit is remembered; the one heard longest ago goes first.
pub(super) const INFORMANTS: usize = 1_024;
/// Peers of whom it is remembered where they answered us since the start.
pub(super) const PROVEN_PEERS: usize = 2_048;
/// How often the routing table is refreshed: a look-up for each distance, the most of what an idle node sends. Every search
/// refreshes it in passing.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Peers dialled at a converged start, at the most.
pub(super) const SEED_DIALS: usize = 10;

/// Peers on the local network that multicast DNS remembers.
pub(super) const NEARBY_PEERS: usize = 1_024;

// Bootstrap peers.

/// Wait before the first repeated dial of a bootstrap peer; doubled each time.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two dials of a bootstrap peer.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(120);

// Address book.

/// Peers whose addresses are remembered; the one not seen for longest goes first.
pub(super) const BOOK_PEERS: usize = 1_024;
/// How often changes of the book are written down: addresses are worth no disk wait of their own.
pub(super) const BOOK_INTERVAL: Duration = Duration::from_secs(30);
/// A node with fewer connections than this dials peers of the book again: others may close what it has, and after an
/// outage nobody else knows that it is back.
pub(super) const MIN_CONNECTIONS: usize = 2;
/// Peers of the book that are dialled at start, besides the bootstrap peers.
pub(super) const BOOK_DIALS: usize = 8;

// Gossip.

/// One gossip packet: a few messages, or the subscriptions to [`GOSSIP_TOPICS`] services with the longest names.
pub(super) const GOSSIP_BYTES: usize = 32 * 1024;
/// What a message on a service's topic may hold: the largest advert.
pub(super) const GOSSIP_DATA_BYTES: usize = guilder_protocol::limits::MAX_ANNOUNCEMENT;
/// What a message on the topic of revocations may hold.
pub(super) const GOSSIP_REVOCATION_BYTES: usize = guilder_protocol::limits::MAX_REVOCATION;
/// Messages that one gossip packet may carry.
pub(super) const GOSSIP_PER_RPC: usize = 64;
/// Gossip packets that wait for one slow peer.
pub(super) const GOSSIP_PEER_QUEUE: usize = 256;
/// Topics that a node, this one or a peer, subscribes to.
pub(super) const GOSSIP_TOPICS: usize = 256;
/// Of those, services': one is that of the revocations.
pub(super) const FOLLOWED_SERVICES: usize = GOSSIP_TOPICS - 1;
/// Messages handed to the room that judges them and not yet taken.
pub(super) const GOSSIP_BACKLOG: usize = 128;
/// Messages that wait for a room's verdict.
pub(super) const GOSSIP_PENDING: usize = 512;
/// How long a message waits for its verdict; gossipsub forgets it by then too.
pub(super) const GOSSIP_PATIENCE: Duration = Duration::from_secs(4);
/// Messages that one peer may forward to us in a second, sustained.
pub(super) const GOSSIP_PER_SEC: u32 = 50;
/// Messages that one peer may forward at once after a pause.
pub(super) const GOSSIP_BURST: u32 = 500;

/// Messages, subscriptions and control messages that one peer may send in a second, sustained. An honest one sends each message
/// of the topics that we share once, and a few control messages a second.
pub(super) const GOSSIP_ITEMS_PER_SEC: u32 = 200;
/// The same at once after a pause: all of its subscriptions, and what others published meanwhile.
pub(super) const GOSSIP_ITEM_BURST: u32 = 2_000;
/// Kibibytes of messages that one peer may send in a second, sustained: three times what an honest one forwards to all.
pub(super) const GOSSIP_KIB_PER_SEC: u32 = 64;
/// The same at once after a pause: more than an honest one forwards at once.
pub(super) const GOSSIP_KIB_BURST: u32 = 4_096;
/// Items or kibibytes over its rate by which a peer commits a violation: five of them and it is banned.
pub(super) const GOSSIP_VIOLATION_ITEMS: u32 = 200;
/// The longest control message: the IDs of what is forwarded in a few seconds.
pub(super) const GOSSIP_CONTROL_BYTES: usize = 8 * 1024;
/// Bytes of others' adverts that we forward in a second, sustained. Each goes to up to twelve peers, so what we upload stays
/// below 256 kB/s.
pub(super) const FORWARDED_PER_SEC: u32 = 20 * 1024;
/// The same at once after a pause: a thousand sellers that start together.
pub(super) const FORWARDED_BURST: u32 = 1024 * 1024;
/// Of that, what came from one peer.
pub(super) const FORWARDED_PER_PEER: u32 = 8 * 1024;
/// The same at once after a pause.
pub(super) const FORWARDED_PEER_BURST: u32 = 256 * 1024;
/// Of that, what belongs to one topic.
pub(super) const FORWARDED_PER_TOPIC: u32 = 10 * 1024;
/// The same at once after a pause.
pub(super) const FORWARDED_TOPIC_BURST: u32 = 512 * 1024;

/// Bytes of others' revocations that we forward in a second, sustained: ten grants taken back each second, in all of the
/// market. They have room of their own, for adverts must not hold them up; with it, what we upload grows by less than half.
pub(super) const REVOCATIONS_PER_SEC: u32 = 8 * 1024;
/// The same at once after a pause: somebody takes back some hundred grants.
pub(super) const REVOCATIONS_BURST: u32 = 512 * 1024;
/// Of that, what came from one peer.
pub(super) const REVOCATIONS_PER_PEER: u32 = 4 * 1024;
/// The same at once after a pause.
pub(super) const REVOCATIONS_PEER_BURST: u32 = 256 * 1024;

// Scores.

/// Points at which a peer is banned; see [`super::Penalty`].
pub(super) const BAN_POINTS: u32 = 100;
/// A peer's points halve in this time.
pub(super) const POINTS_HALF_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long a ban lasts.
pub(super) const BAN_TIME: Duration = Duration::from_secs(60 * 60);
/// Peers whose points, and peers whose bans, are remembered.
pub(super) const SCORED_PEERS: usize = 2_048;

// The room itself.

/// Commands to the swarm loop that wait; callers wait beyond it.
pub(super) const COMMANDS: usize = 256;
/// Of what a peer says of its software.
pub(super) const SOFTWARE_CHARS: usize = 64;
/// Connection changes that a slow listener may lag behind before it misses some.
pub(super) const CHANGES: usize = 256;
/// How often the room looks after bans and unused connections.
pub(super) const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);
