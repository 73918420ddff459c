//! One connection's part of our protocols; see [`super`].

use std::{
    array,
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    iter::Flatten,
    sync::Arc,
    task::{Context, Poll},
};

use guilder_protocol::identity::AgentId;
use libp2p::{
    Stream as Substream,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::mpsc;

use super::{
    backlog::Backlog,
    trade::{Receiver, Sender, Sending, Violation},
};
use crate::{
    network::{
        InboundStream, OpenError, Stream, StreamProtocol,
        addrs::Prefix,
        dealings::Dealings,
        inbound::Delivery,
        limits::{DIAL_TIMEOUT, STREAM_BURST, STREAMS_PER_SEC},
        links::{LinkEnds, LinkState, Opening, Quota},
        places::Holder,
        rate::Bucket,
    },
    runtime::Runtime,
};

/// The protocols of this handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Trade,
    Raw(StreamProtocol),
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        match self {
            Self::Trade => "/guilder/trade/1",
            Self::Raw(protocol) => protocol.name(),
        }
    }
}

/// The protocols that we take inbound now. libp2p asks after every event, so it allocates nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered([Option<Protocol>; 4]);

/// The protocol that we want outbound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted(Protocol);

impl UpgradeInfo for Offered {
    type Info = Protocol;
    type InfoIter = Flatten<array::IntoIter<Option<Protocol>, 4>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.into_iter().flatten()
    }
}

impl InboundUpgrade<Substream> for Offered {
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    type Output = (Protocol, Substream);

    fn upgrade_inbound(self, stream: Substream, protocol: Protocol) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}

impl UpgradeInfo for Wanted {
    type Info = Protocol;
    type InfoIter = std::iter::Once<Protocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.0)
    }
}

impl OutboundUpgrade<Substream> for Wanted {
    type Error = Infallible;
    type Future = Ready<Result<Substream, Infallible>>;
    type Output = Substream;

    fn upgrade_outbound(self, stream: Substream, _: Protocol) -> Self::Future {
        ready(Ok(stream))
    }
}

/// What a handler tells the behaviour.
#[derive(Debug)]
pub(crate) enum Report {
    /// The peer broke a rule.
    Violation(Violation),
    /// Frames may be lost, so the connection is to be given up.
    TradeLost,
}

/// What an outbound stream is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Trade,
    Open(Opening),
}

type Action = ConnectionHandlerEvent<Wanted, Purpose, Report>;

/// See the module's documentation.
pub(crate) struct Handler {
    agent: AgentId,
    /// Where the connection leads.
    prefix: Prefix,
    dealings: Arc<Dealings>,
    state: Arc<LinkState>,
    quota: Arc<Quota>,
    delivery: Delivery,
    runtime: Runtime,
    sender: Sender,
    receiver: Receiver,
    opens: mpsc::Receiver<Opening>,
    content: Backlog,
    mint: Backlog,
    grants: Backlog,
    /// How fast the peer opens streams.
    opened: Bucket,
    actions: VecDeque<Action>,
}

impl Handler {
    pub(super) fn new(
        (agent, prefix): (AgentId, Prefix),
        dealings: Arc<Dealings>,
        ends: LinkEnds,
        delivery: Delivery,
        runtime: Runtime,
    ) -> Self {
        Self {
            agent,
            prefix,
            dealings,
            state: ends.state,
            receiver: Receiver::new(agent, delivery.clone(), Arc::clone(&ends.quota.frames), runtime.instant()),
            quota: ends.quota,
            sender: Sender::new(ends.frames),
            opens: ends.opens,
            content: Backlog::new(delivery.queue(StreamProtocol::Content).clone()),
            mint: Backlog::new(delivery.queue(StreamProtocol::Mint).clone()),
            grants: Backlog::new(delivery.queue(StreamProtocol::Grants).clone()),
            delivery,
            opened: Bucket::new(STREAMS_PER_SEC, STREAM_BURST, runtime.instant()),
            runtime,
            actions: VecDeque::new(),
        }
    }

    fn request(&mut self, protocol: Protocol, purpose: Purpose) {
        let protocol = SubstreamProtocol::new(Wanted(protocol), purpose).with_timeout(DIAL_TIMEOUT);
        self.actions.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(ConnectionHandlerEvent::NotifyBehaviour(report));
    }

    fn poll_sender(&mut self, cx: &mut Context<'_>) {
        match self.sender.poll(&self.state, cx) {
            Poll::Ready(Sending::Open) => self.request(Protocol::Trade, Purpose::Trade),
            Poll::Ready(Sending::Refused) => self.state.refuse_trade(),
            Poll::Ready(Sending::Lost) => self.report(Report::TradeLost),
            Poll::Ready(Sending::Violation(violation)) => {
                self.report(Report::Violation(violation));
                self.report(Report::TradeLost);
            }
            Poll::Pending => {}
        }
    }

    fn inbound(&mut self, protocol: Protocol, stream: Substream) {
        if !self.opened.take(self.runtime.instant()) {
            self.report(Report::Violation(Violation::TooManyStreams));
            return;
        }
        match protocol {
            Protocol::Trade => self.receiver.opened(stream),
            Protocol::Raw(protocol) => self.raw_inbound(protocol, stream),
        }
    }

    fn raw_inbound(&mut self, protocol: StreamProtocol, stream: Substream) {
        let Ok(of_peer) = Arc::clone(&self.quota.inbound).try_acquire_owned() else {
            self.report(Report::Violation(Violation::TooManyStreams));
            return;
        };
        self.state.touch();
        let known = self.dealings.has(self.agent);
        let holder = if known { Holder::Known(self.agent) } else { Holder::Strangers(self.prefix) };
        let (place, eviction) = self.delivery.places(protocol).take(holder);
        let stream = Stream::new(stream, of_peer, Some(place));
        let stream = InboundStream { from: self.agent, protocol, stream, eviction };
        let backlog = match protocol {
            StreamProtocol::Content => &mut self.content,
            StreamProtocol::Mint => &mut self.mint,
            StreamProtocol::Grants => &mut self.grants,
        };
        if !backlog.push(stream) {
            tracing::debug!(agent = ?self.agent, %protocol, "reset an inbound stream: its room is behind");
        }
    }

    fn outbound(&mut self, purpose: Purpose, stream: Substream) {
        match purpose {
            Purpose::Trade => self.sender.opened(stream),
            Purpose::Open(opening) => {
                self.state.touch();
                // If the caller is gone, dropping the stream resets it.
                let _ = opening.reply.send(Ok(Stream::new(stream, opening.place, None)));
            }
        }
    }

    fn outbound_failed(&mut self, purpose: Purpose, error: StreamUpgradeError<Infallible>) {
        match (purpose, error) {
            (Purpose::Trade, StreamUpgradeError::NegotiationFailed) => {
                self.sender.give_up();
                self.state.refuse_trade();
            }
            (Purpose::Trade, _) => {
                self.sender.give_up();
                self.report(Report::TradeLost);
            }
            (Purpose::Open(opening), error) => {
                let agent = self.agent;
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::TimedOut(agent),
                    StreamUpgradeError::NegotiationFailed => {
                        OpenError::Unsupported { agent, protocol: opening.protocol }
                    }
                    StreamUpgradeError::Io(_) => OpenError::Lost(agent),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = opening.reply.send(Err(error));
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type InboundOpenInfo = ();
    type InboundProtocol = Offered;
    type OutboundOpenInfo = Purpose;
    type OutboundProtocol = Wanted;
    type ToBehaviour = Report;

    fn listen_protocol(&self) -> SubstreamProtocol<Offered> {
        let raw = |protocol| self.delivery.serves(protocol).then_some(Protocol::Raw(protocol));
        let [content, mint, grants] = [StreamProtocol::Content, StreamProtocol::Mint, StreamProtocol::Grants].map(raw);
        let offered = [Some(Protocol::Trade), content, mint, grants];
        SubstreamProtocol::new(Offered(offered), ()).with_timeout(DIAL_TIMEOUT)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Action> {
        self.poll_sender(cx);
        let runtime = &self.runtime;
        if let Poll::Ready(violation) = self.receiver.poll(&self.state, || runtime.instant(), cx) {
            self.report(Report::Violation(violation));
        }
        self.content.poll(cx);
        self.mint.poll(cx);
        self.grants.poll(cx);
        while let Poll::Ready(Some(opening)) = self.opens.poll_recv(cx) {
            self.request(Protocol::Raw(opening.protocol), Purpose::Open(opening));
        }
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_behaviour_event(&mut self, never: Infallible) {
        match never {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offered, Wanted, (), Purpose>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (protocol, stream), ..
            }) => self.inbound(protocol, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                self.outbound(info, stream);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => self.outbound_failed(info, error),
            _ => {}
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.state.close();
    }
}
