//! Keys with which the programs of running tasks call this node: each good for what its own task may subcontract, and for no
//! longer than the work goes on.
//!
//! A key is `name.secret`. The name says which key the node is to prove that it knows, before the secret is shown to whoever
//! answers at that address.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{sync::watch, time::timeout};

use super::{hire::Under, limits::API_PATIENCE};
use crate::{executor::TaskAccess, runtime::Runtime, sync::lock};

/// The keys that are good now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskKeys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Where the API is; a node may have none.
    url: watch::Sender<Option<String>>,
    keys: Mutex<BTreeMap<String, Key>>,
}

struct Key {
    token: String,
    under: Under,
}

/// Shows whose the key is, never the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("under", &self.under).finish_non_exhaustive()
    }
}

/// A key that was given out. It is good until this is dropped.
#[derive(Debug)]
pub(super) struct Issued {
    keys: TaskKeys,
    name: String,
    access: TaskAccess,
}

impl Default for TaskKeys {
    fn default() -> Self {
        Self(Arc::new(Shared { url: watch::Sender::new(None), keys: Mutex::default() }))
    }
}

impl TaskKeys {
    /// Notes where the API is served from now on.
    pub fn serve_at(&self, address: SocketAddr) {
        self.0.url.send_replace(Some(format!("http://{address}")));
    }

    /// Gives out a key once there is an API to call; `None` if none comes.
    pub(super) async fn issue(&self, under: Under, runtime: &Runtime) -> Option<Issued> {
        let mut served = self.0.url.subscribe();
        // After a restart work goes on before the API is there.
        let url = timeout(API_PATIENCE, served.wait_for(Option::is_some)).await.ok()?.ok()?.clone()?;
        let name = hex::encode(runtime.random::<8>());
        let token = format!("{name}.{}", hex::encode(runtime.random::<32>()));
        lock(&self.0.keys).insert(name.clone(), Key { token: token.clone(), under });
        Some(Issued { keys: self.clone(), name, access: TaskAccess { url, token } })
    }

    /// The token of that name, to prove that we know it.
    pub(crate) fn named(&self, name: &str) -> Option<String> {
        lock(&self.0.keys).get(name).map(|key| key.token.clone())
    }

    /// For which task a token speaks; `same` compares the true one with it.
    pub fn holder(&self, token: &str, same: impl Fn(&str, &str) -> bool) -> Option<Under> {
        let (name, _) = token.split_once('.')?;
        let keys = lock(&self.0.keys);
        keys.get(name).filter(|key| same(&key.token, token)).map(|key| key.under.clone())
    }
}

impl Issued {
    pub(super) fn access(&self) -> TaskAccess {
        self.access.clone()
    }
}

impl Drop for Issued {
    fn drop(&mut self) {
        lock(&self.keys.0.keys).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::cbor::cid_of;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_good_for_its_task_and_while_the_work_goes_on() {
        let (keys, runtime) = (TaskKeys::default(), Runtime::anchored(guilder_protocol::time::Timestamp::from_secs(1)));
        let under = |award: &[u8]| Under { award: cid_of(award), services: vec![], budget: 1 };
        assert!(keys.issue(under(b"one"), &runtime).await.is_none(), "without an API there is nothing to call");
        keys.serve_at(([127, 0, 0, 1], 4_000).into());
        let (one, two) =
            (keys.issue(under(b"one"), &runtime).await.unwrap(), keys.issue(under(b"two"), &runtime).await.unwrap());
        let same = |a: &str, b: &str| a == b;
        let holder = |token: &str| keys.holder(token, same).map(|under| under.award);
        let token = one.access().token;
        assert_eq!((holder(&token), holder(&two.access().token)), (Some(cid_of(b"one")), Some(cid_of(b"two"))));
        let (name, secret) = token.split_once('.').unwrap();
        let (_, other) = two.access().token.split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        for wrong in [name.to_owned(), secret.to_owned(), format!("{name}."), format!("{name}.{other}"), String::new()]
        {
            assert_eq!(holder(&wrong), None, "{wrong}");
        }
        assert_eq!(keys.named(name), Some(token.clone()));
        assert!(!format!("{keys:?} {one:?}").contains(secret), "a key never prints");
        drop(one);
        assert_eq!((holder(&token), keys.named(name)), (None, None));
        assert!(holder(&two.access().token).is_some());
    }
}
