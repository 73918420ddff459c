//! See [`crate::fuzz`].

use super::records::{
    BUYER_HISTORY, BUYERS, BY_TASK, CHEATS, DEALS, LOG, OFFERS, PROMISES, REFUSALS, SELLER_HISTORY, SELLERS, TASKS,
    WORK, cid_part, log_parts,
};
use crate::fuzz::{choose, stored};

/// Records of this room, and what it reads out of keys.
pub fn records(data: &[u8]) {
    let Some((which, record)) = choose(data, 14) else { return };
    match which {
        0 => stored(DEALS, record),
        1 => stored(BUYERS, record),
        2 => stored(SELLERS, record),
        3 => stored(TASKS, record),
        4 => stored(LOG, record),
        5 => stored(BY_TASK, record),
        6 => stored(OFFERS, record),
        7 => stored(REFUSALS, record),
        8 => stored(SELLER_HISTORY, record),
        9 => stored(BUYER_HISTORY, record),
        10 => stored(WORK, record),
        11 => stored(CHEATS, record),
        12 => stored(PROMISES, record),
        _ => _ = (cid_part(record), log_parts(record)),
    }
}
