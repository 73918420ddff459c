//! The addresses that this node listens on.

use libp2p::{Multiaddr, Swarm, core::transport::ListenerId};
use tokio::sync::oneshot;

use super::{NetworkConfig, StartError, addrs::worth_telling, behaviour::Behaviour, error::DialCause};
use crate::events::{Event, Events};

/// See the module's documentation.
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// By which it is judged how far our network reaches.
    bootstrap: Vec<Multiaddr>,
    events: Events,
    /// Who waits until all listeners are in use.
    starting: Option<oneshot::Sender<Result<(), StartError>>>,
}

/// One address that we listen on.
struct Listener {
    id: ListenerId,
    /// As the operator wrote it.
    asked: Multiaddr,
    in_use: bool,
}

impl Listeners {
    /// Begins to listen on every address of the settings; `ready` is told when all are in use, or that one can't be.
    pub(super) fn open(
        swarm: &mut Swarm<Behaviour>,
        config: &NetworkConfig,
        events: Events,
        ready: oneshot::Sender<Result<(), StartError>>,
    ) -> Result<Self, StartError> {
        let mut all = Vec::new();
        for address in &config.listen {
            let id = swarm.listen_on(address.clone()).map_err(|error| StartError::Listen {
                address: address.clone(),
                cause: DialCause(error.to_string()),
            })?;
            all.push(Listener { id, asked: address.clone(), in_use: false });
        }
        config.external.iter().for_each(|address| swarm.add_external_address(address.clone()));
        Ok(Self { all, bootstrap: config.bootstrap.clone(), events, starting: Some(ready) })
    }

    /// An address is in use.
    pub(super) fn listening(&mut self, swarm: &mut Swarm<Behaviour>, id: ListenerId, address: Multiaddr) {
        self.events.emit(Event::Listening { address: address.to_string() });
        if let Some(listener) = self.all.iter_mut().find(|known| known.id == id) {
            listener.in_use = true;
            if worth_telling(&address, &listener.asked, &self.bootstrap) {
                swarm.add_external_address(address);
            }
        }
        self.tell_if_started();
    }

    /// A listener ended. One that ends before it began fails the start.
    pub(super) fn closed(&mut self, id: ListenerId, reason: String) {
        let Some(position) = self.all.iter().position(|known| known.id == id) else { return };
        let Listener { asked: address, in_use, .. } = self.all.remove(position);
        tracing::error!(%address, reason, "no longer listening");
        if !in_use && let Some(ready) = self.starting.take() {
            let _ = ready.send(Err(StartError::Listen { address, cause: DialCause(reason) }));
        }
    }

    pub(super) fn tell_if_started(&mut self) {
        if self.all.iter().all(|listener| listener.in_use)
            && let Some(ready) = self.starting.take()
        {
            // Whoever started us gave up waiting: then its handle is gone, which ends the loop.
            let _ = ready.send(Ok(()));
        }
    }
}
