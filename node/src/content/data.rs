//! An input or output, small or large, without its holder having to care which.

use bytes::{Bytes, BytesMut};
use guilder_protocol::{content::ContentId, limits::MAX_INLINE, trade::Stored};

use super::{Content, ContentError, Pin, Reader, Writer};

/// The bytes of an input or output: in memory up to [`MAX_INLINE`], beyond that in a file of [`Content`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Up to [`MAX_INLINE`] bytes.
    Inline(Bytes),
    /// More.
    Stored(Pin),
}

impl Data {
    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored(pin) => pin.id().size,
        }
    }

    /// The data's hash, as an award names its input: the same whether it is small or large.
    pub fn id(&self) -> ContentId {
        match self {
            Self::Inline(bytes) => ContentId::of(bytes),
            Self::Stored(pin) => pin.id(),
        }
    }

    /// How the data stands in a trade's record. A stored one needs a reference ([`super::refer`]) in the same
    /// transaction.
    pub fn to_stored(&self) -> Stored {
        match self {
            Self::Inline(bytes) => Stored::Inline(serde_bytes::ByteBuf::from(bytes.to_vec())),
            Self::Stored(pin) => Stored::Content(pin.id()),
        }
    }

    /// The data that a trade's record names, pinned if it is a content.
    pub fn from_stored(stored: Stored, content: &Content) -> Self {
        match stored {
            Stored::Inline(bytes) => Self::Inline(bytes.into_vec().into()),
            Stored::Content(id) => Self::Stored(content.pin(id)),
        }
    }

    /// Reads the data from its beginning, in pieces of at most a chunk.
    ///
    /// # Errors
    /// If the file is gone or damaged.
    pub async fn pieces(&self, content: &Content) -> Result<Pieces, ContentError> {
        Ok(match self {
            Self::Inline(bytes) => Pieces(Source::Inline(Some(bytes.clone()).filter(|bytes| !bytes.is_empty()))),
            Self::Stored(pin) => Pieces(Source::Stored(content.reader(pin.id()).await?)),
        })
    }

    /// All the bytes in memory.
    ///
    /// # Errors
    /// If they are more than `max_bytes`, or the file is gone or damaged.
    pub async fn read(&self, content: &Content, max_bytes: u64) -> Result<Bytes, ContentError> {
        if self.size() > max_bytes {
            return Err(ContentError::TooLarge { limit_bytes: max_bytes });
        }
        if let Self::Inline(bytes) = self {
            return Ok(bytes.clone());
        }
        let mut all = BytesMut::new();
        let mut pieces = self.pieces(content).await?;
        while let Some(piece) = pieces.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

/// See [`Data::pieces`].
#[derive(Debug)]
pub struct Pieces(Source);

#[derive(Debug)]
enum Source {
    Inline(Option<Bytes>),
    Stored(Reader),
}

impl Pieces {
    /// The next piece, never empty; `None` at the end.
    ///
    /// # Errors
    /// If the file is damaged or can't be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        match &mut self.0 {
            Source::Inline(bytes) => Ok(bytes.take()),
            Source::Stored(reader) => reader.next().await,
        }
    }
}

/// Collects bytes as they come, and moves them to a file once they are over [`MAX_INLINE`].
#[derive(Debug)]
pub struct Collector {
    content: Content,
    max_bytes: u64,
    inline: BytesMut,
    stored: Option<Writer>,
}

impl Collector {
    /// For at most `max_bytes`.
    pub fn new(content: Content, max_bytes: u64) -> Self {
        Self { content, max_bytes, inline: BytesMut::new(), stored: None }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// If they go over the limit, or the disk fails.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        if let Some(writer) = &mut self.stored {
            return writer.write(Bytes::copy_from_slice(bytes)).await;
        }
        if (self.inline.len() + bytes.len()) as u64 > self.max_bytes {
            return Err(ContentError::TooLarge { limit_bytes: self.max_bytes });
        }
        self.inline.extend_from_slice(bytes);
        if self.inline.len() > MAX_INLINE {
            let mut writer = self.content.writer(self.max_bytes).await?;
            writer.write(self.inline.split().freeze()).await?;
            self.stored = Some(writer);
        }
        Ok(())
    }

    /// What was collected.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn finish(self) -> Result<Data, ContentError> {
        Ok(match self.stored {
            Some(writer) => Data::Stored(writer.finish().await?),
            None => Data::Inline(self.inline.freeze()),
        })
    }
}
