//! Both ends of a `/guilder/content/1` stream; the flow is drawn in [`guilder_protocol::content`].

use std::{fs, future::Future, io, os::unix::fs::FileExt, sync::Arc};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use guilder_protocol::{
    cbor,
    content::{
        CHUNK_SIZE, ChunkList, ContentError as Invalid, ContentId, MAX_REPLY_FRAME, MAX_REQUEST_FRAME, Refusal, Reply,
        Request,
    },
    identity::AgentId,
    limits::MAX_CONTENT,
};
use serde::de::DeserializeOwned;

use super::{
    Content, ContentError, Pin, Reader,
    files::{Scratch, private_file, publish},
};
use crate::{
    limits::{CONTENT_CHUNK_TIMEOUT, MAX_CONTENT_TRANSFERS, MAX_CONTENT_TRANSFERS_PER_PEER},
    runtime::Job,
};

impl Content {
    /// Answers one stream that `peer` opened, if `allow` says that it may have what it asks for. Returns how many bytes
    /// of content were sent; none if it was refused.
    ///
    /// # Errors
    /// If the peer breaks the rules, stalls or leaves, or the disk fails.
    pub async fn serve<S>(
        &self,
        mut stream: S,
        peer: AgentId,
        allow: impl Fn(AgentId, &ContentId) -> bool + Send,
    ) -> Result<u64, ContentError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Request { id, from } = read_frame(&mut stream, MAX_REQUEST_FRAME).await?;
        if from > id.chunks() {
            return Err(ContentError::Wrong("a request past the content's end"));
        }
        let Some(_place) = Place::take(self, peer) else {
            return refuse(stream, Refusal::Busy).await;
        };
        if !allow(peer, &id) {
            return refuse(stream, Refusal::Unknown).await;
        }
        let mut reader = match self.reader(id).await {
            Err(ContentError::Missing(_)) => return refuse(stream, Refusal::Unknown).await,
            opened => opened?,
        };
        write_frame(&mut stream, &Reply::Chunks(reader.list().digests().to_vec().into())).await?;
        let sent = send_chunks(&mut stream, &mut reader, from).await?;
        close(stream).await?;
        Ok(sent)
    }

    /// Gets a content of at most `max_bytes` over a stream opened to a peer that holds it. If it is already here,
    /// nothing is asked; if an earlier fetch broke off, this one goes on where that ended.
    ///
    /// # Errors
    /// If it is larger than `max_bytes`, or the peer refuses, sends something else, stalls or leaves, or the disk fails.
    pub async fn fetch<S>(&self, mut stream: S, id: ContentId, max_bytes: u64) -> Result<Pin, ContentError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let limit_bytes = max_bytes.min(MAX_CONTENT);
        if id.size > limit_bytes {
            return Err(ContentError::TooLarge { limit_bytes });
        }
        let pin = self.pin(id);
        if self.contains(id).await? {
            return Ok(pin);
        }
        let mut part = Part::open(self, id).await?;
        write_frame(&mut stream, &Request { id, from: part.chunks }).await?;
        let list = match read_frame(&mut stream, MAX_REPLY_FRAME).await? {
            Reply::Refused(Refusal::Unknown) => return Err(ContentError::Refused(id)),
            Reply::Refused(Refusal::Busy) => return Err(ContentError::Busy),
            Reply::Refused(Refusal::Other(why)) | Reply::Other(why) => return Err(ContentError::NotUnderstood(why)),
            Reply::Chunks(digests) => ChunkList::check(id, digests.into_vec()).map_err(|_| WRONG_LIST)?,
        };
        part.list = Some(Arc::new(list));
        part.check_held().await?;
        while part.chunks < id.chunks() {
            let mut chunk = vec![0; id.chunk_len(part.chunks)];
            in_time(stream.read_exact(&mut chunk)).await?;
            part.append(chunk).await?;
        }
        part.publish().await?;
        // The content is here; how the stream ends is of no interest.
        let _ = close(stream).await;
        Ok(pin)
    }
}

const WRONG_LIST: ContentError = ContentError::Wrong("its list of chunks is not the one that the hash covers");

/// A place among the transfers that are served at once, given back when dropped.
struct Place {
    content: Content,
    peer: AgentId,
}

impl Place {
    fn take(content: &Content, peer: AgentId) -> Option<Self> {
        let mut held = content.held();
        let all: usize = held.serving.values().sum();
        let of_peer = held.serving.get(&peer).copied().unwrap_or_default();
        if all >= MAX_CONTENT_TRANSFERS || of_peer >= MAX_CONTENT_TRANSFERS_PER_PEER {
            return None;
        }
        held.serving.insert(peer, of_peer + 1);
        Some(Self { content: content.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.content.held();
        match held.serving.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = held.serving.remove(&self.peer),
        }
    }
}

/// The verified beginning of a content that is being fetched. It stays when the fetch ends early, unless another fetch
/// of the same content has the place under its name: then it is a temporary file.
struct Part {
    content: Content,
    id: ContentId,
    file: Arc<fs::File>,
    path: PartPath,
    /// Whole chunks in the file.
    chunks: u64,
    /// Known once the peer has answered.
    list: Option<Arc<ChunkList>>,
}

enum PartPath {
    Named(Claim),
    Scratch(Scratch),
}

/// The right to write a content's file under `partial/`.
struct Claim {
    content: Content,
    id: ContentId,
}

impl Claim {
    fn take(content: &Content, id: ContentId) -> Option<Self> {
        let free = content.held().fetching.insert(id, ()).is_none();
        free.then(|| Self { content: content.clone(), id })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.content.held().fetching.remove(&self.id);
    }
}

impl Part {
    async fn open(content: &Content, id: ContentId) -> Result<Self, ContentError> {
        let path = match Claim::take(content, id) {
            Some(claim) => PartPath::Named(claim),
            None => PartPath::Scratch(Scratch(content.temp())),
        };
        let at = path.get();
        let open = move || {
            let file = private_file(&at)?;
            let chunks = (file.metadata()?.len() / CHUNK_SIZE as u64).min(id.size / CHUNK_SIZE as u64);
            file.set_len(chunks * CHUNK_SIZE as u64)?;
            Ok((file, chunks))
        };
        let opened: io::Result<_> = content.0.runtime.offload(Job::Disk, open).await;
        let (file, chunks) = opened.map_err(|error| content.disk_error("create a file for a content", error))?;
        Ok(Self { content: content.clone(), id, file: Arc::new(file), path, chunks, list: None })
    }

    fn list(&self) -> Arc<ChunkList> {
        #[allow(clippy::expect_used)] // `fetch` sets it before any chunk is handled
        Arc::clone(self.list.as_ref().expect("the list is known"))
    }

    /// Checks what an earlier fetch left: a crash may have damaged it.
    async fn check_held(&mut self) -> Result<(), ContentError> {
        for index in 0..self.chunks {
            let (file, list) = (Arc::clone(&self.file), self.list());
            let check = move || {
                let mut chunk = vec![0; CHUNK_SIZE];
                file.read_exact_at(&mut chunk, index * CHUNK_SIZE as u64)?;
                Ok(list.verify(index, &chunk).is_ok())
            };
            let checked: io::Result<bool> = self.content.0.runtime.offload(Job::Disk, check).await;
            if !checked.map_err(|error| ContentError::io("read a partial content", error))? {
                self.discard().await;
                return Err(ContentError::Damaged(self.id));
            }
        }
        Ok(())
    }

    /// Verifies the next chunk and writes it.
    async fn append(&mut self, chunk: Vec<u8>) -> Result<(), ContentError> {
        let (file, list, index) = (Arc::clone(&self.file), self.list(), self.chunks);
        let append = move || match list.verify(index, &chunk) {
            Err(invalid) => Ok(Err(invalid)),
            Ok(()) => file.write_all_at(&chunk, index * CHUNK_SIZE as u64).map(Ok),
        };
        let appended: io::Result<Result<(), Invalid>> = self.content.0.runtime.offload(Job::Disk, append).await;
        match appended {
            Ok(Ok(())) => {
                self.chunks += 1;
                Ok(())
            }
            Ok(Err(_)) => Err(ContentError::Wrong("a chunk is not the one that its digest covers")),
            Err(error) => {
                self.discard().await;
                Err(self.content.disk_error("write a content", error))
            }
        }
    }

    async fn publish(self) -> Result<(), ContentError> {
        let (file, list) = (Arc::clone(&self.file), self.list());
        let (from, to) = (self.path.get(), self.content.file(self.id));
        let runtime = &self.content.0.runtime;
        let published = runtime.offload(Job::Disk, move || publish(&file, &list, &from, &to)).await;
        if let Err(error) = published {
            self.discard().await;
            return Err(self.content.disk_error("store a content", error));
        }
        Ok(())
    }

    /// Removes the file: what was fetched so far is of no use, or there is no room for it.
    async fn discard(&self) {
        let path = self.path.get();
        // If it can't be removed either, the next fetch checks it again.
        let _ = self.content.0.runtime.offload(Job::Disk, move || fs::remove_file(path)).await;
    }
}

impl PartPath {
    fn get(&self) -> std::path::PathBuf {
        match self {
            Self::Named(claim) => claim.content.partial(claim.id),
            Self::Scratch(scratch) => scratch.0.clone(),
        }
    }
}

async fn send_chunks<S>(stream: &mut S, reader: &mut Reader, from: u64) -> Result<u64, ContentError>
where
    S: AsyncWrite + Unpin + Send,
{
    let mut sent = 0;
    reader.seek(from);
    while let Some(chunk) = reader.next().await? {
        in_time(stream.write_all(&chunk)).await?;
        sent += chunk.len() as u64;
    }
    Ok(sent)
}

async fn refuse<S: AsyncWrite + Unpin + Send>(mut stream: S, refusal: Refusal) -> Result<u64, ContentError> {
    write_frame(&mut stream, &Reply::Refused(refusal)).await?;
    close(stream).await?;
    Ok(0)
}

async fn close<S: AsyncWrite + Unpin + Send>(mut stream: S) -> Result<(), ContentError> {
    in_time(stream.close()).await
}

async fn write_frame<S, T>(stream: &mut S, frame: &T) -> Result<(), ContentError>
where
    S: AsyncWrite + Unpin + Send,
    T: serde::Serialize,
{
    let body = cbor::encode(frame);
    let head = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    in_time(async {
        stream.write_all(&[&head[..], &body].concat()).await?;
        stream.flush().await
    })
    .await
}

async fn read_frame<S, T>(stream: &mut S, max_bytes: usize) -> Result<T, ContentError>
where
    S: AsyncRead + Unpin + Send,
    T: DeserializeOwned,
{
    let mut head = [0; 4];
    in_time(stream.read_exact(&mut head)).await?;
    let length = u32::from_be_bytes(head) as usize;
    if length > max_bytes {
        return Err(ContentError::Wrong("a frame over its limit"));
    }
    let mut body = vec![0; length];
    in_time(stream.read_exact(&mut body)).await?;
    cbor::decode(&body).map_err(|_| ContentError::Wrong("a frame that is not of the expected form"))
}

/// One step of a transfer, which a peer can't stretch by trickling bytes.
async fn in_time<R>(step: impl Future<Output = io::Result<R>> + Send) -> Result<R, ContentError> {
    match tokio::time::timeout(CONTENT_CHUNK_TIMEOUT, step).await {
        Err(_) => Err(ContentError::Stalled { secs: CONTENT_CHUNK_TIMEOUT.as_secs() }),
        Ok(Err(error)) => Err(ContentError::Broken(error)),
        Ok(Ok(done)) => Ok(done),
    }
}
