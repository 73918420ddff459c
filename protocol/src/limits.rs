//! Every bound of the protocol, with its reason. A peer that goes over one is at fault.

/// One signed statement, in bytes. An advert with two JSON Schemas is the largest.
pub const MAX_ENVELOPE: usize = 64 * 1024;
