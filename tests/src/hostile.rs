//! Attackers: peers that speak libp2p up to the multiplexer and whatever bytes they like from there, and programs that hold
//! sockets. All on loopback, each from an address of its own choosing, all gone when they are dropped.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, future::poll_fn};
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox},
        transport::{Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
    noise, yamux,
};
use tokio::{
    io::ReadBuf,
    net::{TcpSocket, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// How long an attacker waits for a connection before it takes it for refused.
const PATIENCE: Duration = Duration::from_secs(10);

/// The address of an attacker: `127.x.y.1`, each `x.y` being a prefix of its own.
pub fn attacker(x: u8, y: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, x, y, 1)
}

/// The socket behind a node's TCP address.
pub fn socket_of(address: &str) -> SocketAddr {
    let parts: Vec<_> = address.split('/').collect();
    SocketAddr::new(parts[2].parse().unwrap(), parts[4].parse().unwrap())
}

/// Opens a TCP connection from an address.
///
/// # Errors
/// If it is refused.
pub async fn tcp_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    timeout(PATIENCE, socket.connect(to)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// A transport that dials from an address, as libp2p's own can't.
pub fn transport_from(from: Ipv4Addr, key: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    upgraded(key, TcpFrom { from, only: None, received: Arc::default() })
}

/// As [`transport_from`], but it dials this node alone, and counts the bytes that it receives.
pub fn counting_transport_from(
    from: Ipv4Addr,
    key: &Keypair,
    only: SocketAddr,
    received: Arc<AtomicU64>,
) -> Boxed<(PeerId, StreamMuxerBox)> {
    upgraded(key, TcpFrom { from, only: Some(only), received })
}

fn upgraded(key: &Keypair, tcp: TcpFrom) -> Boxed<(PeerId, StreamMuxerBox)> {
    let noise = noise::Config::new(key).unwrap();
    tcp.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux::Config::default()).boxed()
}

/// TCP that only dials, from this address.
struct TcpFrom {
    from: Ipv4Addr,
    only: Option<SocketAddr>,
    received: Arc<AtomicU64>,
}

impl libp2p::Transport for TcpFrom {
    type Dial = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send>>;
    type Error = io::Error;
    type ListenerUpgrade = std::future::Pending<io::Result<Connected>>;
    type Output = Connected;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let text = address.to_string();
        if !text.contains("/tcp/") || self.only.is_some_and(|only| only != socket_of(&text)) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let (from, received) = (self.from, Arc::clone(&self.received));
        Ok(Box::pin(async move { tcp_from(from, socket_of(&text)).await.map(|stream| Connected { stream, received }) }))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Poll::Pending
    }
}

/// A socket as libp2p reads and writes it.
struct Connected {
    stream: TcpStream,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Connected {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = tokio::io::AsyncRead::poll_read(Pin::new(&mut self.stream), cx, &mut buffer);
        self.received.fetch_add(buffer.filled().len() as u64, Ordering::Relaxed);
        read.map_ok(|()| buffer.filled().len())
    }
}

impl AsyncWrite for Connected {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.stream), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.stream), cx)
    }
}

/// An authenticated connection under a key of its own.
#[derive(Debug)]
pub struct Hostile {
    opens: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    driver: JoinHandle<()>,
}

impl Hostile {
    /// Connects from an address under a fresh key.
    ///
    /// # Errors
    /// If it isn't let in.
    pub async fn connect(from: Ipv4Addr, to: &str) -> io::Result<Self> {
        Self::connect_as(&Keypair::generate_ed25519(), from, to).await
    }

    /// Connects from an address under this key.
    ///
    /// # Errors
    /// If it isn't let in.
    pub async fn connect_as(key: &Keypair, from: Ipv4Addr, to: &str) -> io::Result<Self> {
        let mut transport = transport_from(from, key);
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dial = transport.dial(to.parse().map_err(io::Error::other)?, opts).map_err(io::Error::other)?;
        let (_, muxer) = timeout(PATIENCE, dial).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let (opens, wanted) = mpsc::channel(16);
        Ok(Self { opens, driver: tokio::spawn(drive(muxer, wanted)) })
    }

    /// Whether the other side closed the connection.
    pub fn is_cut_off(&self) -> bool {
        self.driver.is_finished()
    }

    /// Opens a stream and names its protocol.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn open(&self, protocol: &str) -> io::Result<SubstreamBox> {
        let (tell, told) = oneshot::channel();
        self.opens.send(tell).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        let mut stream =
            timeout(PATIENCE, told).await.map_err(|_| io::ErrorKind::TimedOut)?.map_err(io::Error::other)?;
        let mut hello = Vec::new();
        for line in ["/multistream/1.0.0", protocol] {
            hello.push(line.len() as u8 + 1);
            hello.extend_from_slice(line.as_bytes());
            hello.push(b'\n');
        }
        stream.write_all(&hello).await?;
        stream.flush().await?;
        Ok(stream)
    }

    /// Waits until the node answers something on a stream: it then knows the connection.
    ///
    /// # Errors
    /// If it doesn't.
    pub async fn settle(&self) -> io::Result<()> {
        let mut stream = self.open("/ipfs/ping/1.0.0").await?;
        stream.write_all(&[7; 32]).await?;
        stream.flush().await?;
        let mut answer = [0; 20];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Lets a connection work; what the node opens is reset.
async fn drive(mut muxer: StreamMuxerBox, mut wanted: mpsc::Receiver<oneshot::Sender<SubstreamBox>>) {
    let mut waiting: Option<oneshot::Sender<SubstreamBox>> = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(Err(_)) = muxer.poll_unpin(cx) {
                return Poll::Ready(());
            }
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if waiting.is_none() {
                match wanted.poll_recv(cx) {
                    Poll::Ready(Some(tell)) => waiting = Some(tell),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match muxer.poll_outbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    if let Some(tell) = waiting.take() {
                        let _ = tell.send(stream);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// Trade frames one after the other, each with its length before it.
pub fn framed(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    frames.into_iter().flat_map(|frame| gossip::framed(&frame)).collect()
}

/// Has this thread, and all that it starts from now on, run on one core alone. False where `taskset` can't.
pub fn pin_to_one_core() -> bool {
    // `<pid>/task/<tid>`
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else { return false };
    let Some(id) = thread.file_name().and_then(|id| id.to_str()) else { return false };
    let mut taskset = std::process::Command::new("taskset");
    taskset.args(["-cp", "0", id]).stdout(std::process::Stdio::null());
    taskset.status().is_ok_and(|status| status.success())
}

/// Protobuf of gossipsub's packets, as far as attacks need it.
pub mod gossip {
    /// A packet of subscriptions.
    pub fn subscriptions<'a>(topics: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let one = |topic: &str| [vec![0x08, 0x01], field(2, topic.as_bytes())].concat();
        topics.into_iter().flat_map(|topic| field(1, &one(topic))).collect()
    }

    /// A message under this key's name, with a signature that isn't one.
    pub fn forged(topic: &str, from: &[u8], data: &[u8]) -> Vec<u8> {
        let parts = [field(1, from), field(2, data), field(3, &[0; 8]), field(4, topic.as_bytes()), field(5, &[1; 64])];
        field(2, &parts.concat())
    }

    /// A control message that asks not to be sent these.
    pub fn unwanted<'a>(ids: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let ids: Vec<_> = ids.into_iter().flat_map(|id| field(1, id)).collect();
        field(3, &field(5, &ids))
    }

    /// A packet with its length before it.
    pub fn framed(packet: &[u8]) -> Vec<u8> {
        [varint(packet.len()), packet.to_vec()].concat()
    }

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [vec![number << 3 | 2], varint(bytes.len()), bytes.to_vec()].concat()
    }

    fn varint(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }
}
