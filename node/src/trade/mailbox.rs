//! The way to a trade's actor.
//!
//! Two kinds of mail come to it. What the **peer** says stands in a queue; when that is full, more of it is dropped, and
//! the peer repeats itself. What **this node** has to say (an alarm, a connection, money that came, the end of the work)
//! stands in slots, one of each [`Cause`]: the later replaces the earlier, which said the same. So nobody in this node
//! ever waits for a trade, and however much a peer sends, an alarm or an outcome gets through.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::{
    bytes::Digest,
    seal::Opened,
    settlement::escrow::Shown,
    trade::{buyer, seller},
    wire,
};
use tokio::sync::{Notify, mpsc};

use super::{limits::MAILBOX, work::Worked};
use crate::{content::Data, sync::lock};

/// What is posted to a buyer's trade.
#[derive(Debug)]
pub(super) enum BuyerMail {
    Input(buyer::Input),
    /// The user cancels.
    Cancel,
    /// From the seller, unchecked.
    Accepted(wire::Accepted),
    /// From the seller, unchecked.
    Delivered(wire::Delivered),
    /// The output has been fetched; its commitment.
    Fetched(Digest),
    /// From the seller, unchecked.
    Opened(wire::Opened),
    /// What was delivered has been opened, or hasn't.
    Unsealed {
        shown: Shown,
        opened: Option<(Opened, Data)>,
    },
    Progress(wire::Progress),
}

/// What is posted to a seller's trade.
#[derive(Debug)]
pub(super) enum SellerMail {
    Input(seller::Input),
    /// From the buyer, unchecked.
    Asked(wire::Status),
    /// From the buyer, unchecked.
    Cancel(wire::Cancel),
    /// From the buyer, unchecked.
    Received(wire::Received),
    /// From the buyer, unchecked.
    Release(wire::Release),
    /// The work, or the fetch before it, has come to an end.
    Worked(Worked),
}

/// Mail for either side.
#[derive(Debug)]
pub(super) enum Mail {
    Buyer(BuyerMail),
    Seller(SellerMail),
}

impl From<BuyerMail> for Mail {
    fn from(mail: BuyerMail) -> Self {
        Self::Buyer(mail)
    }
}

impl From<SellerMail> for Mail {
    fn from(mail: SellerMail) -> Self {
        Self::Seller(mail)
    }
}

impl From<buyer::Input> for Mail {
    fn from(input: buyer::Input) -> Self {
        Self::Buyer(BuyerMail::Input(input))
    }
}

impl From<seller::Input> for Mail {
    fn from(input: seller::Input) -> Self {
        Self::Seller(SellerMail::Input(input))
    }
}

/// Why this node writes to a trade, in the order in which it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Work or a transfer has ended.
    Work,
    /// The wallet knows what became of the money.
    Money,
    /// The mint shows the key of what was delivered.
    Key,
    /// The user cancels.
    Cancel,
    /// The alarm rings.
    Alarm,
    /// The node has started, or the peer is connected again.
    Resume,
}

/// The way in. Cheap to clone.
#[derive(Debug)]
pub(super) struct Mailbox<M> {
    peer: mpsc::Sender<M>,
    own: Arc<Slots<M>>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { peer: self.peer.clone(), own: Arc::clone(&self.own) }
    }
}

#[derive(Debug)]
struct Slots<M> {
    waiting: Mutex<BTreeMap<Cause, M>>,
    posted: Notify,
}

/// The actor's end.
#[derive(Debug)]
pub(super) struct Inbox<M> {
    peer: mpsc::Receiver<M>,
    own: Arc<Slots<M>>,
}

/// An empty mailbox.
pub(super) fn mailbox<M>() -> (Mailbox<M>, Inbox<M>) {
    let (sender, receiver) = mpsc::channel(MAILBOX);
    let own = Arc::new(Slots { waiting: Mutex::default(), posted: Notify::new() });
    (Mailbox { peer: sender, own: Arc::clone(&own) }, Inbox { peer: receiver, own })
}

impl<M> Mailbox<M> {
    /// Posts what the peer said; false if its queue is full.
    pub(super) fn post_peer(&self, mail: M) -> bool {
        self.peer.try_send(mail).is_ok()
    }

    /// Posts what this node has to say, in place of an earlier word of the same cause.
    pub(super) fn post_own(&self, cause: Cause, mail: M) {
        lock(&self.own.waiting).insert(cause, mail);
        self.own.posted.notify_one();
    }
}

impl<M> Inbox<M> {
    /// The next mail: this node's before the peer's. Cancel-safe.
    pub(super) async fn next(&mut self) -> M {
        loop {
            if let Some((_, mail)) = lock(&self.own.waiting).pop_first() {
                return mail;
            }
            tokio::select! {
                biased;
                () = self.own.posted.notified() => {}
                // The actor holds a way in itself, so that the queue never ends.
                Some(mail) = self.peer.recv() => return mail,
            }
        }
    }

    /// Whether nothing is waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.peer.is_empty() && lock(&self.own.waiting).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn own_mail_gets_through_a_queue_that_the_peer_has_filled() {
        let (mailbox, mut inbox) = mailbox();
        assert!((0..MAILBOX).all(|number| mailbox.post_peer(number)));
        assert!(!mailbox.post_peer(0));
        mailbox.post_own(Cause::Resume, 1_001);
        mailbox.post_own(Cause::Alarm, 1_000);
        assert_eq!(inbox.next().await, 1_000);
        assert_eq!(inbox.next().await, 1_001);
        assert_eq!(inbox.next().await, 0);
        assert!(!inbox.is_empty());
    }

    #[tokio::test]
    async fn a_later_word_of_the_same_cause_replaces_the_earlier() {
        let (mailbox, mut inbox) = mailbox();
        (0..10_000).for_each(|number| mailbox.post_own(Cause::Alarm, number));
        assert_eq!(inbox.next().await, 9_999);
        assert!(inbox.is_empty());
        assert!(inbox.next().now_or_never().is_none());
    }
}
