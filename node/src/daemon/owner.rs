//! Whose store it is. The first node that opens a store writes its name into it, and no other opens it after that: coins, locks and
//! trades in it are of one phrase, and a node of another phrase would count on them and could move none.

use guilder_protocol::identity::AgentId;

use crate::store::{Reader as _, Store, StoreError, Table};

const OWNER: Table<AgentId> = Table::new("daemon/owner");
const KEY: &[u8] = b"owner";

/// Makes the store `agent`'s, or finds that it is another's, and returns that one.
pub(super) async fn claim(store: &Store, agent: AgentId) -> Result<Option<AgentId>, StoreError> {
    match store.read(|read| read.get(OWNER, KEY))? {
        Some(owner) => Ok((owner != agent).then_some(owner)),
        None => store.write(move |write| write.put(OWNER, KEY, &agent)).await.map(|()| None),
    }
}
