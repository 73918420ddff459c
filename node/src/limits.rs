//! Every bound of the node, with its reason. Those that a peer must know stand in [`guilder_protocol::limits`].

// runtime

/// Threads that may wait for the disk at once: the store's writer and a few content files. More would only queue in
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
/// redb's cache in bytes, reads and unwritten pages together (its own default is 1 GiB). The tables that a node works
/// on fit; an idle node must stay under 40 MB in all.
pub const STORE_CACHE_BYTES: usize = 8 * 1024 * 1024;
