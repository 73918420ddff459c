#![allow(clippy::unwrap_used)]
use std::{io, path::Path, pin::Pin as StdPin, task::Poll, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, io::Cursor};
use guilder_protocol::{
    cbor,
    content::{CHUNK_SIZE, ContentHasher, Refusal, Reply, Request},
    limits::MAX_INLINE,
    time::Timestamp,
};
use tempfile::TempDir;
use tokio_stream::StreamExt as _;

use super::*;
use crate::{
    limits::{CONTENT_CHUNK_TIMEOUT, MAX_CONTENT_TRANSFERS_PER_PEER},
    store::{Store, testing::CrashBackend},
};

const PEER: AgentId = AgentId::from_bytes([1; 32]);

async fn folder() -> (TempDir, Content) {
    let dir = tempfile::tempdir().unwrap();
    let content = reopen(dir.path()).await;
    (dir, content)
}

async fn reopen(dir: &Path) -> Content {
    Content::open(dir.join("content"), Runtime::anchored(Timestamp::from_secs(1_000))).await.unwrap()
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i.wrapping_mul(31) + i / 251) as u8).collect()
}

fn files_in(content: &Content, name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(content.root().join(name)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn read_all(content: &Content, id: ContentId) -> Bytes {
    Data::Stored(content.pin(id)).read(content, MAX_CONTENT).await.unwrap()
}

/// Two ends of a stream in memory.
fn pipe() -> (impl futures::AsyncRead + futures::AsyncWrite + Unpin + Send, Duplex) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    (Duplex(ours), Duplex(theirs))
}

/// tokio's in-memory stream with the traits of `futures`.
struct Duplex(tokio::io::DuplexStream);

impl futures::AsyncRead for Duplex {
    fn poll_read(
        mut self: StdPin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut into = tokio::io::ReadBuf::new(buffer);
        let read = tokio::io::AsyncRead::poll_read(StdPin::new(&mut self.0), context, &mut into);
        read.map_ok(|()| into.filled().len())
    }
}

impl futures::AsyncWrite for Duplex {
    fn poll_write(
        mut self: StdPin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(StdPin::new(&mut self.0), context, bytes)
    }

    fn poll_flush(mut self: StdPin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(StdPin::new(&mut self.0), context)
    }

    fn poll_close(mut self: StdPin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(StdPin::new(&mut self.0), context)
    }
}

async fn request(stream: &mut Duplex) -> Request {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; u32::from_be_bytes(head) as usize];
    stream.read_exact(&mut body).await.unwrap();
    cbor::decode(&body).unwrap()
}

async fn send(stream: &mut Duplex, frame: &impl serde::Serialize) {
    let body = cbor::encode(frame);
    stream.write_all(&(body.len() as u32).to_be_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
}

fn list_of(bytes: &[u8]) -> Vec<u8> {
    let mut hasher = ContentHasher::default();
    hasher.update(bytes);
    hasher.finish().digests().to_vec()
}

#[tokio::test]
async fn what_is_put_is_read_back() {
    let (dir, content) = folder().await;
    for len in [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, 2 * CHUNK_SIZE + 7] {
        let bytes = pattern(len);
        let pin = content.put(bytes.clone()).await.unwrap();
        assert_eq!(pin.id(), ContentId::of(&bytes));
        assert_eq!(read_all(&content, pin.id()).await, bytes);
    }
    assert!(files_in(&content, files::TEMP).is_empty());
    let again = reopen(dir.path()).await;
    assert_eq!(read_all(&again, ContentId::of(b"")).await, Bytes::new());
    assert!(again.contains(ContentId::of(&pattern(1))).await.unwrap());
    let unknown = ContentId::of(b"unknown");
    assert!(matches!(again.reader(unknown).await, Err(ContentError::Missing(id)) if id == unknown));
}

#[tokio::test]
async fn a_writer_that_is_dropped_or_goes_over_leaves_nothing() {
    let (dir, content) = folder().await;
    let mut writer = content.writer(10).await.unwrap();
    writer.write(pattern(10)).await.unwrap();
    assert!(matches!(writer.write(pattern(1)).await, Err(ContentError::TooLarge { limit_bytes: 10 })));
    assert!(writer.finish().await.is_err(), "a writer that failed stays so");
    let mut writer = content.writer(u64::MAX).await.unwrap();
    writer.write(pattern(CHUNK_SIZE)).await.unwrap();
    assert_eq!(files_in(&content, files::TEMP).len(), 1);
    drop(writer);
    assert!(files_in(&content, files::TEMP).is_empty() && files_in(&content, files::FILES).is_empty());
    std::fs::write(content.root().join(files::TEMP).join("9"), "left by a crash").unwrap();
    assert!(files_in(&reopen(dir.path()).await, files::TEMP).is_empty());
}

#[tokio::test]
async fn a_small_output_stays_in_memory_and_a_large_one_does_not() {
    let (_dir, content) = folder().await;
    for (len, stored) in [(0, false), (MAX_INLINE, false), (MAX_INLINE + 1, true), (3 * CHUNK_SIZE, true)] {
        let bytes = pattern(len);
        let mut collector = Collector::new(content.clone(), MAX_CONTENT);
        for piece in bytes.chunks(1000) {
            collector.push(piece).await.unwrap();
        }
        let data = collector.finish().await.unwrap();
        assert_eq!(matches!(data, Data::Stored(_)), stored, "{len}");
        assert_eq!(data.size(), len as u64);
        assert_eq!(data.read(&content, MAX_CONTENT).await.unwrap(), bytes);
        assert!(len == 0 || data.read(&content, len as u64 - 1).await.is_err());
    }
    for limit in [100, MAX_INLINE as u64 + 100] {
        let mut collector = Collector::new(content.clone(), limit);
        collector.push(&pattern(limit as usize)).await.unwrap();
        assert!(
            matches!(collector.push(b"x").await, Err(ContentError::TooLarge { limit_bytes }) if limit_bytes == limit)
        );
    }
}

#[tokio::test]
async fn a_file_that_was_changed_is_damaged() {
    let (_dir, content) = folder().await;
    let pin = content.put(pattern(2 * CHUNK_SIZE)).await.unwrap();
    let path = content.file(pin.id());
    let good = std::fs::read(&path).unwrap();
    for at in [0, CHUNK_SIZE, 2 * CHUNK_SIZE, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let data = Data::Stored(pin.clone());
        assert!(matches!(data.read(&content, MAX_CONTENT).await, Err(ContentError::Damaged(_))), "byte {at}");
    }
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(matches!(content.reader(pin.id()).await, Err(ContentError::Damaged(_))));
}

#[tokio::test]
async fn a_content_moves_from_one_folder_to_another() {
    let ((_a, holder), (_b, taker)) = (folder().await, folder().await);
    for len in [0, 5, CHUNK_SIZE, 5 * CHUNK_SIZE + 3] {
        let bytes = pattern(len);
        let id = holder.put(bytes.clone()).await.unwrap().id();
        let (ours, theirs) = pipe();
        let (sent, fetched) =
            tokio::join!(holder.serve(theirs, PEER, |_, asked| *asked == id), taker.fetch(ours, id, MAX_CONTENT));
        assert_eq!(sent.unwrap(), len as u64);
        assert_eq!(fetched.unwrap().id(), id);
        assert_eq!(read_all(&taker, id).await, bytes);
    }
    assert!(files_in(&taker, files::PARTIAL).is_empty());
    // what is here isn't asked for again
    let (ours, _theirs) = pipe();
    taker.fetch(ours, ContentId::of(&pattern(5)), MAX_CONTENT).await.unwrap();
}

#[tokio::test]
async fn a_broken_fetch_goes_on_where_it_ended() {
    let ((_a, holder), (dir, taker)) = (folder().await, folder().await);
    let bytes = pattern(4 * CHUNK_SIZE + 9);
    let id = holder.put(bytes.clone()).await.unwrap().id();
    let (ours, mut theirs) = pipe();
    let fetch = taker.fetch(ours, id, MAX_CONTENT);
    let break_off = async {
        assert_eq!(request(&mut theirs).await, Request { id, from: 0 });
        send(&mut theirs, &Reply::Chunks(list_of(&bytes).into())).await;
        theirs.write_all(&bytes[..2 * CHUNK_SIZE + 1000]).await.unwrap();
        drop(theirs);
    };
    let (fetched, ()) = tokio::join!(fetch, break_off);
    assert!(matches!(fetched, Err(ContentError::Broken(_))), "{fetched:?}");
    let taker = {
        drop(taker);
        reopen(dir.path()).await
    };
    let (ours, theirs) = pipe();
    let (sent, fetched) = tokio::join!(holder.serve(theirs, PEER, |_, _| true), taker.fetch(ours, id, MAX_CONTENT));
    assert_eq!(sent.unwrap(), bytes.len() as u64 - 2 * CHUNK_SIZE as u64);
    fetched.unwrap();
    assert_eq!(read_all(&taker, id).await, bytes);
}

#[tokio::test]
async fn a_damaged_partial_is_thrown_away() {
    let ((_a, holder), (_b, taker)) = (folder().await, folder().await);
    let bytes = pattern(3 * CHUNK_SIZE);
    let id = holder.put(bytes.clone()).await.unwrap().id();
    std::fs::write(taker.partial(id), vec![7; 2 * CHUNK_SIZE]).unwrap();
    let (ours, theirs) = pipe();
    let (_, fetched) = tokio::join!(holder.serve(theirs, PEER, |_, _| true), taker.fetch(ours, id, MAX_CONTENT));
    assert!(matches!(fetched, Err(ContentError::Damaged(_))), "{fetched:?}");
    let (ours, theirs) = pipe();
    let (_, fetched) = tokio::join!(holder.serve(theirs, PEER, |_, _| true), taker.fetch(ours, id, MAX_CONTENT));
    fetched.unwrap();
    assert_eq!(read_all(&taker, id).await, bytes);
}

#[tokio::test]
async fn two_fetches_of_the_same_content_do_not_meet() {
    let ((_a, holder), (_b, taker)) = (folder().await, folder().await);
    let bytes = pattern(3 * CHUNK_SIZE);
    let id = holder.put(bytes.clone()).await.unwrap().id();
    let ((one, one_end), (two, two_end)) = (pipe(), pipe());
    let (a, b, c, d) = tokio::join!(
        taker.fetch(one, id, MAX_CONTENT),
        taker.fetch(two, id, MAX_CONTENT),
        holder.serve(one_end, PEER, |_, _| true),
        holder.serve(two_end, PEER, |_, _| true),
    );
    a.unwrap();
    b.unwrap();
    c.unwrap();
    d.unwrap();
    assert_eq!(read_all(&taker, id).await, bytes);
    assert!(files_in(&taker, files::PARTIAL).is_empty() && files_in(&taker, files::TEMP).is_empty());
}

#[tokio::test]
async fn a_content_is_served_only_to_peers_that_may_have_it() {
    let ((_a, holder), (_b, taker)) = (folder().await, folder().await);
    let id = holder.put(pattern(9)).await.unwrap().id();
    for (id, allowed) in [(id, false), (ContentId::of(b"unknown"), true)] {
        let (ours, theirs) = pipe();
        let (sent, fetched) =
            tokio::join!(holder.serve(theirs, PEER, |_, _| allowed), taker.fetch(ours, id, MAX_CONTENT));
        assert_eq!(sent.unwrap(), 0);
        assert!(matches!(fetched, Err(ContentError::Refused(_))), "{fetched:?}");
    }
}

#[tokio::test]
async fn transfers_served_to_one_peer_are_bounded() {
    let (_dir, holder) = folder().await;
    let id = holder.put(pattern(CHUNK_SIZE)).await.unwrap().id();
    let mut waiting = Vec::new();
    for _ in 0..MAX_CONTENT_TRANSFERS_PER_PEER {
        let (_, mut ours) = pipe();
        let (theirs, end) = tokio::io::duplex(64);
        ours.0 = theirs;
        let holder = holder.clone();
        let serving = tokio::spawn(async move { holder.serve(Duplex(end), PEER, |_, _| true).await });
        send(&mut ours, &Request { id, from: 0 }).await;
        ours.read_exact(&mut [0; 4]).await.unwrap();
        waiting.push((ours, serving));
    }
    let ask = |peer| {
        let holder = holder.clone();
        async move {
            let (_b, taker) = folder().await;
            let (ours, theirs) = pipe();
            let (_, fetched) =
                tokio::join!(holder.serve(theirs, peer, |_, _| true), taker.fetch(ours, id, MAX_CONTENT));
            fetched
        }
    };
    assert!(matches!(ask(PEER).await, Err(ContentError::Busy)));
    ask(AgentId::from_bytes([2; 32])).await.unwrap();
    for (ours, serving) in waiting {
        drop(ours);
        assert!(serving.await.unwrap().is_err());
    }
    ask(PEER).await.unwrap();
}

/// What a hostile holder answers, and what the fetcher makes of it.
async fn fetch_from(id: ContentId, frames: Vec<Vec<u8>>) -> ContentError {
    let (_dir, taker) = folder().await;
    let (ours, mut theirs) = pipe();
    let answer = async {
        request(&mut theirs).await;
        let mut frames = tokio_stream::iter(frames);
        while let Some(bytes) = frames.next().await {
            if theirs.write_all(&bytes).await.is_err() {
                break;
            }
        }
        drop(theirs);
    };
    let (fetched, ()) = tokio::join!(taker.fetch(ours, id, MAX_CONTENT), answer);
    assert!(files_in(&taker, files::FILES).is_empty());
    fetched.unwrap_err()
}

fn framed(frame: &impl serde::Serialize) -> Vec<u8> {
    let body = cbor::encode(frame);
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

#[tokio::test]
async fn a_holder_that_sends_something_else_is_refused() {
    let bytes = pattern(2 * CHUNK_SIZE);
    let (id, list) = (ContentId::of(&bytes), list_of(&bytes));
    let mut wrong = bytes.to_vec();
    wrong[CHUNK_SIZE] ^= 1;
    let reply = framed(&Reply::Chunks(list.clone().into()));
    for (why, frames) in [
        ("garbage", vec![vec![0xff; 100]]),
        ("a huge frame", vec![u32::MAX.to_be_bytes().to_vec()]),
        ("not canonical", vec![vec![0, 0, 0, 2, 0xbf, 0xff]]),
        ("another list", vec![framed(&Reply::Chunks(list_of(&wrong).into()))]),
        ("a short list", vec![framed(&Reply::Chunks(list[..32].to_vec().into()))]),
        ("a swapped list", vec![framed(&Reply::Chunks([&list[32..], &list[..32]].concat().into()))]),
        ("a wrong chunk", vec![reply.clone(), wrong]),
    ] {
        let error = fetch_from(id, frames).await;
        assert!(matches!(error, ContentError::Wrong(_)), "{why}: {error:?}");
        assert_eq!(error.fault(), Fault::Peer);
    }
    assert!(matches!(fetch_from(id, vec![reply, bytes[..10].to_vec()]).await, ContentError::Broken(_)));
    assert!(matches!(fetch_from(id, vec![framed(&Reply::Refused(Refusal::Busy))]).await, ContentError::Busy));
    let huge = ContentId { size: MAX_CONTENT + 1, ..id };
    let (_dir, taker) = folder().await;
    for (id, max) in [(huge, u64::MAX), (id, id.size - 1)] {
        let fetched = taker.fetch(Cursor::new(Vec::new()), id, max).await;
        assert!(matches!(fetched, Err(ContentError::TooLarge { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_stalls_is_given_up() {
    let (_dir, taker) = folder().await;
    let bytes = pattern(2 * CHUNK_SIZE);
    let id = ContentId::of(&bytes);
    let (ours, mut theirs) = pipe();
    let drip = async {
        request(&mut theirs).await;
        send(&mut theirs, &Reply::Chunks(list_of(&bytes).into())).await;
        for byte in bytes.chunks(1) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if theirs.write_all(byte).await.is_err() {
                break;
            }
        }
    };
    let began = tokio::time::Instant::now();
    let fetched = tokio::select! {
        fetched = taker.fetch(ours, id, MAX_CONTENT) => fetched,
        () = drip => unreachable!("the fetch ends first"),
    };
    assert!(matches!(fetched, Err(ContentError::Stalled { .. })), "{fetched:?}");
    assert!(began.elapsed() < 2 * CONTENT_CHUNK_TIMEOUT);
    // and a fetcher that asks for nothing, or doesn't read
    let (_dir, holder) = folder().await;
    let (_ours, theirs) = pipe();
    assert!(matches!(holder.serve(theirs, PEER, |_, _| true).await, Err(ContentError::Stalled { .. })));
    let pin = holder.put(bytes.clone()).await.unwrap();
    let (mut ours, theirs) = {
        let (a, b) = tokio::io::duplex(1024);
        (Duplex(a), Duplex(b))
    };
    send(&mut ours, &Request { id: pin.id(), from: 0 }).await;
    assert!(matches!(holder.serve(theirs, PEER, |_, _| true).await, Err(ContentError::Stalled { .. })));
}

#[tokio::test]
async fn a_fetcher_that_asks_malformed_questions_is_refused() {
    let (_dir, holder) = folder().await;
    let pin = holder.put(pattern(10)).await.unwrap();
    let huge = ContentId { size: u64::MAX, ..pin.id() };
    for (why, bytes, wrong) in [
        ("garbage", vec![1; 50], true),
        ("a huge frame", vec![0xff; 4], true),
        ("past the end", framed(&Request { id: pin.id(), from: 2 }), true),
        ("another size", framed(&Request { id: huge, from: 0 }), false),
    ] {
        let (mut ours, theirs) = {
            let (a, b) = tokio::io::duplex(1024);
            (Duplex(a), Duplex(b))
        };
        ours.write_all(&bytes).await.unwrap();
        let served = holder.serve(theirs, PEER, |_, _| true).await;
        assert_eq!(matches!(served, Err(ContentError::Wrong(_))), wrong, "{why}: {served:?}");
        assert!(wrong || matches!(served, Ok(0)), "{why}: {served:?}");
    }
}

/// A disk of 2 MiB, where the machine lets us make one.
#[tokio::test]
async fn a_full_disk_says_so_and_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs", at]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return;
    }
    let content = reopen(dir.path()).await;
    let bytes = pattern(3 * 1024 * 1024);
    let put = content.put(bytes.clone()).await;
    let fetched = {
        let (_b, holder) = folder().await;
        let id = holder.put(bytes.clone()).await.unwrap().id();
        let (ours, theirs) = pipe();
        tokio::join!(holder.serve(theirs, PEER, |_, _| true), content.fetch(ours, id, MAX_CONTENT)).1
    };
    let left: Vec<_> =
        [files::TEMP, files::PARTIAL, files::FILES].iter().flat_map(|name| files_in(&content, name)).collect();
    std::process::Command::new("umount").arg(at).status().unwrap();
    for failed in [put, fetched] {
        let error = failed.unwrap_err();
        assert!(matches!(error, ContentError::DiskFull(_)), "{error:?}");
        assert!(error.hint().is_some());
    }
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_content_without_pin_or_reference_is_collected() {
    let (_dir, content) = folder().await;
    let runtime = Runtime::anchored(Timestamp::from_secs(1_000));
    let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
    let pinned = content.put(pattern(1)).await.unwrap();
    let referred = content.put(pattern(2)).await.unwrap().id();
    let unused = content.put(pattern(3)).await.unwrap().id();
    let partial = ContentId::of(&pattern(CHUNK_SIZE + 4));
    std::fs::write(content.partial(partial), pattern(CHUNK_SIZE)).unwrap();
    for id in [referred, partial] {
        store.write(move |write| refer(write, id, "trade 1")).await.unwrap();
        store.write(move |write| refer(write, id, "trade 2")).await.unwrap();
    }
    assert_eq!(content.collect(&store).await.unwrap(), Collected { files: 1, bytes: 3 + 32 });
    assert!(!content.contains(unused).await.unwrap());
    assert!(content.contains(pinned.id()).await.unwrap());
    drop(pinned);
    for (holder, files) in [("trade 1", 1), ("trade 2", 2)] {
        for id in [referred, partial] {
            store.write(move |write| release(write, id, holder)).await.unwrap();
        }
        assert_eq!(content.collect(&store).await.unwrap().files, files, "{holder}");
    }
    assert!(files_in(&content, files::FILES).is_empty() && files_in(&content, files::PARTIAL).is_empty());
}

#[tokio::test]
async fn data_stands_in_a_record_and_comes_back() {
    let (_dir, content) = folder().await;
    for data in [Data::Inline(pattern(9)), Data::Stored(content.put(pattern(MAX_INLINE + 1)).await.unwrap())] {
        let stored = data.to_stored();
        assert_eq!(Data::from_stored(stored, &content), data);
        let bytes = data.read(&content, MAX_CONTENT).await.unwrap();
        assert_eq!(data.id(), ContentId::of(&bytes));
    }
}
