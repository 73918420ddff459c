//! A transport of JSON lines that a hostile other end can't fill us with: requests that aren't answered yet are bounded, and
//! while there are that many, nothing more is read.
//!
//! The library answers each request in a task of its own and lets as many wait as come. Here a request takes a place when it
//! is received and gives it back when its answer is written, or when it is cancelled. Two at once of one ID end the
//! connection: their answers couldn't be told apart.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use rmcp::{
    model::{CancelledNotification, JsonRpcMessage, JsonRpcNotification, RequestId},
    service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::sync::Notify;

use crate::sync::lock;

/// A transport whose open requests are bounded.
pub(crate) struct Bounded<T> {
    inner: T,
    most: usize,
    open: Arc<Open>,
}

#[derive(Default)]
struct Open {
    ids: Mutex<HashSet<RequestId>>,
    freed: Notify,
}

impl Open {
    fn close(&self, id: &RequestId) {
        lock(&self.ids).remove(id);
        self.freed.notify_one();
    }
}

impl<T> Bounded<T> {
    /// At most `most` requests of the other end are open at once.
    pub(crate) fn new(inner: T, most: usize) -> Self {
        Self { inner, most, open: Arc::default() }
    }

    /// The library answers no request that was cancelled: its place is free.
    fn without_called_off<N>(&self, notification: JsonRpcNotification<N>) -> JsonRpcNotification<N>
    where
        N: TryInto<CancelledNotification, Error = N> + From<CancelledNotification>,
    {
        let JsonRpcNotification { jsonrpc, notification } = notification;
        let notification = match notification.try_into() {
            Ok(cancelled) => {
                if let Some(id) = &cancelled.params.request_id {
                    self.open.close(id);
                }
                cancelled.into()
            }
            Err(other) => other,
        };
        JsonRpcNotification { jsonrpc, notification }
    }
}

impl<R: ServiceRole, T: Transport<R>> Transport<R> for Bounded<T>
where
    TxJsonRpcMessage<R>: Send,
{
    type Error = T::Error;

    fn send(&mut self, item: TxJsonRpcMessage<R>) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answered = match &item {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        let (open, sent) = (Arc::clone(&self.open), self.inner.send(item));
        async move {
            let sent = sent.await;
            if let Some(id) = answered {
                open.close(&id);
            }
            sent
        }
    }

    /// Cancel-safe as far as the inner transport is: a place is looked for before anything is read.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<R>> {
        while lock(&self.open.ids).len() >= self.most {
            self.open.freed.notified().await;
        }
        let received = match self.inner.receive().await? {
            JsonRpcMessage::Notification(notification) => {
                JsonRpcMessage::Notification(self.without_called_off(notification))
            }
            received => received,
        };
        if let JsonRpcMessage::Request(request) = &received
            && !lock(&self.open.ids).insert(request.id.clone())
        {
            tracing::debug!("an MCP connection ended: a request's ID was used again before its answer");
            return None;
        }
        Some(received)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
