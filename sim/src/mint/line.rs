//! The way between a wallet and a mint: connections over the fabric, with the handshakes of TCP and TLS, kept between calls.
//!
//! ```text
//! Line     connect ─ hello ────▶ request ───────────────────▶ ┐ next call
//! counter            ◀──── hello          act ─ ◀──── reply   ┘ on the same connection
//! ```
//!
//! What can go wrong on the way of a real call goes wrong here: a dial that nobody answers, a request that arrives after its
//! sender gave up, a reply that doesn't get back. Whether the mint has acted is then known to the mint alone.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::{AsyncReadExt, AsyncWriteExt};
use guilder::wallet::connector::{
    ConnectorError, Connectors, Exchange, ExchangeError,
    frames::{FrameError, Reply, Request, await_request, read_reply, read_request, write_reply, write_request},
    limits::{MELT_TIMEOUT, OPEN_TIMEOUT, STREAM_IDLE},
};
use guilder_protocol::market::MintUrl;
use libp2p::core::{
    Transport as _,
    transport::{ListenerId, TransportEvent},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ModelMint;
use crate::{
    fabric::{Fabric, FabricStream, FabricTransport, HostId},
    meter::{Meter, Protocol, Substream},
    scenario::ProxyFailure,
    trace::Trace,
};

/// The first flights of TLS 1.3: the client's hello, and the server's with a certificate chain.
const HELLO: ([u8; 512], [u8; 3_072]) = ([1; 512], [2; 3_072]);

/// The way of one host's wallet to every mint of the world.
pub struct Lines {
    host: HostId,
    fabric: Fabric,
    meter: Arc<Meter>,
    mints: BTreeMap<MintUrl, HostId>,
    known: Mutex<BTreeMap<MintUrl, Arc<dyn Exchange>>>,
    trace: Trace,
}

impl Lines {
    /// For the wallet on `host`.
    pub fn new(
        host: HostId,
        fabric: &Fabric,
        meter: &Arc<Meter>,
        mints: &BTreeMap<MintUrl, ModelMint>,
        trace: &Trace,
    ) -> Self {
        let own = mints.iter().map(|(url, mint)| (url.clone(), mint.host()));
        let proxies = mints.values().filter_map(|mint| mint.proxy_url().zip(mint.proxy_host()));
        let mints = own.chain(proxies).collect();
        let (fabric, meter, trace) = (fabric.clone(), Arc::clone(meter), trace.clone());
        Self { host, fabric, meter, mints, known: Mutex::default(), trace }
    }

    fn to(&self, url: &MintUrl) -> Option<Line> {
        let (host, mint) = (self.host, *self.mints.get(url)?);
        let (fabric, meter, trace) = (self.fabric.clone(), Arc::clone(&self.meter), self.trace.clone());
        Some(Line { host, mint, fabric, meter, idle: Mutex::default(), trace })
    }
}

impl Connectors for Lines {
    fn for_url(&self, url: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        let mut known = lock(&self.known);
        if let Some(connector) = known.get(url) {
            return Ok(Arc::clone(connector));
        }
        let line = self.to(url).ok_or_else(|| ConnectorError::Url(url.clone()))?;
        let connector: Arc<dyn Exchange> = Arc::new(line);
        known.insert(url.clone(), Arc::clone(&connector));
        Ok(connector)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The connections from a host to a mint. A call has one to itself, so there are as many as calls at once.
struct Line {
    host: HostId,
    mint: HostId,
    fabric: Fabric,
    meter: Arc<Meter>,
    idle: Mutex<Vec<(Connection, Instant)>>,
    trace: Trace,
}

/// One of them, its bytes counted for the host.
type Connection = Substream<FabricStream>;

impl Line {
    fn kept(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|(_, since)| since.elapsed() < STREAM_IDLE);
        idle.pop().map(|(stream, _)| stream)
    }

    async fn connect(&self) -> Result<Connection, ExchangeError> {
        let connect = async {
            let stream = self.fabric.dial(self.host, self.mint).await?;
            let mut stream = Substream::whole(stream, Arc::clone(&self.meter), Protocol::Mint);
            stream.write_all(&HELLO.0).await?;
            stream.read_exact(&mut { HELLO.1 }).await?;
            Ok::<_, std::io::Error>(stream)
        };
        match timeout(OPEN_TIMEOUT, connect).await {
            Ok(connected) => connected.map_err(|error| ExchangeError::Unreachable(error.to_string())),
            Err(_) => Err(ExchangeError::Unreachable("the connection attempt timed out".into())),
        }
    }

    async fn call(&self, mut stream: Connection, request: &Request) -> Result<Reply, ExchangeError> {
        let lost = |error: FrameError| ExchangeError::Lost(error.to_string());
        let call = async {
            write_request(&mut stream, request).await.map_err(lost)?;
            read_reply(&mut stream).await.map_err(lost)?.ok_or_else(|| ExchangeError::Lost("connection closed".into()))
        };
        let reply = timeout(MELT_TIMEOUT, call).await;
        let reply = reply.unwrap_or_else(|_| Err(ExchangeError::Lost("no answer in time".into())))?;
        lock(&self.idle).push((stream, Instant::now()));
        Ok(reply)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("host", &self.host).field("mint", &self.mint).finish_non_exhaustive()
    }
}

#[async_trait]
impl Exchange for Line {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        if let Some(stream) = self.kept() {
            // The mint may have closed it meanwhile. Every request is safe to repeat.
            match self.call(stream, &request).await {
                Err(ExchangeError::Lost(_)) => lock(&self.idle).clear(),
                settled => return settled,
            }
        }
        let reply = match self.connect().await {
            Ok(stream) => self.call(stream, &request).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &reply {
            self.trace
                .record(self.host, &format_args!("call to the mint on {} failed: {request:?} {error:?}", self.mint.0));
        }
        reply
    }
}

/// Opens a mint's door: takes every connection to its host, for as long as the world is there.
pub(crate) async fn open(mint: ModelMint, door: FabricTransport, trace: Trace) {
    let host = mint.host();
    take(mint, host, false, door, trace).await;
}

/// Opens the door of a mint's proxy.
pub(crate) async fn open_proxy(mint: ModelMint, host: HostId, door: FabricTransport, trace: Trace) {
    take(mint, host, true, door, trace).await;
}

async fn take(mint: ModelMint, host: HostId, proxied: bool, mut door: FabricTransport, trace: Trace) {
    if door.listen_on(ListenerId::next(), host.address()).is_err() {
        unreachable!("a host's own address is one of the fabric's");
    }
    loop {
        let event = poll_fn(|context| Pin::new(&mut door).poll(context)).await;
        if let TransportEvent::Incoming { upgrade, .. } = event
            && let Ok(stream) = upgrade.await
        {
            let counter = counter(mint.clone(), proxied, stream, trace.clone());
            tokio::spawn(async move {
                // How a caller left is no business of the mint's.
                let _ = counter.await;
            });
        }
    }
}

/// Serves one connection, call by call.
async fn counter(mint: ModelMint, proxied: bool, mut stream: FabricStream, trace: Trace) -> Result<(), FrameError> {
    let host = mint.host();
    stream.read_exact(&mut { HELLO.0 }).await?;
    stream.write_all(&HELLO.1).await?;
    // A little longer than its callers keep a connection.
    while let Ok(begun) = timeout(STREAM_IDLE * 2, await_request(&mut stream)).await {
        let Some(begun) = begun? else { break };
        let request = read_request(&mut stream, begun).await?;
        if mint.condition().deaf {
            trace.record(host, &format_args!("mint deaf {request:?}"));
            sleep(MELT_TIMEOUT).await;
            break;
        }
        if mint.condition().down {
            trace.record(host, &format_args!("mint down {request:?}"));
            write_reply(&mut stream, &Reply::error(503, "down")).await?;
            continue;
        }
        let failure = if proxied { mint.proxy_failure() } else { None };
        let (mut done, mut reply) = mint.act(&request);
        if failure == Some(ProxyFailure::Repeats) {
            (done, reply) = mint.act(&request);
        }
        if failure == Some(ProxyFailure::Alters)
            && let Some(letter) = reply.body.iter_mut().rev().find(|letter| letter.is_ascii_digit())
        {
            *letter = if *letter == b'7' { b'1' } else { b'7' };
        }
        trace.record(host, &format_args!("mint {request:?} {reply:?} {failure:?}"));
        sleep_until(done).await;
        if failure == Some(ProxyFailure::Drops) {
            break;
        }
        if mint.loses_reply() {
            trace.record(host, &format_args!("mint reply lost {request:?}"));
            break;
        }
        write_reply(&mut stream, &reply).await?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
