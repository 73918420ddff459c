//! Whether bytes are canonical DAG-CBOR, whatever they say: what a type skips is held to the same form as what it reads.

use cid::Cid;

use crate::limits::MAX_NESTING;

/// The tag of a link.
const LINK: u64 = 42;

/// A list or map that has begun.
struct Open<'a> {
    /// Items, or entries of a map, still to come.
    left: u64,
    is_map: bool,
    /// The map's last key; none before the first.
    last_key: Option<&'a [u8]>,
}

/// Holds one item that fills `bytes` against the form. It neither recurses nor allocates by a claimed length.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut rest = Rest(bytes);
    let mut open: Vec<Open<'_>> = Vec::new();
    loop {
        match open.last_mut() {
            Some(within) if within.left == 0 => {
                open.pop();
            }
            Some(within) => {
                within.left -= 1;
                if within.is_map {
                    within.last_key = Some(rest.key(within.last_key)?);
                }
                rest.item(&mut open)?;
            }
            None => rest.item(&mut open)?,
        }
        if open.is_empty() {
            return if rest.0.is_empty() { Ok(()) } else { Err("more bytes follow") };
        }
    }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// One item; of a list or a map the head alone, which goes on `open`.
    fn item(&mut self, open: &mut Vec<Open<'a>>) -> Result<(), &'static str> {
        let (kind, argument) = self.head()?;
        match kind {
            0 | 1 => Ok(()),
            2 => self.take(argument).map(drop),
            3 => self.text(argument).map(drop),
            4 | 5 if open.len() == MAX_NESTING => Err("it is nested too deeply"),
            4 | 5 => {
                open.push(Open { left: argument, is_map: kind == 5, last_key: None });
                Ok(())
            }
            6 if argument == LINK => self.link(),
            6 => Err("a tag other than a link's"),
            _ => Ok(()),
        }
    }

    /// Major type and argument, the latter in its shortest form. Of simple values only false, true, null and finite floats of
    /// 64 bits pass.
    fn head(&mut self) -> Result<(u8, u64), &'static str> {
        let [head] = *self.take(1)? else { return Err("it ends too soon") };
        let (kind, info) = (head >> 5, head & 0x1f);
        let (width, least) = match info {
            0..24 => (0, 0),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err("a length is left open"),
        };
        let argument = self.take(width)?.iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
        let argument = if width == 0 { u64::from(info) } else { argument };
        match (kind, info) {
            (7, 20..=22) => Ok((kind, argument)),
            (7, 27) if f64::from_bits(argument).is_finite() => Ok((kind, argument)),
            (7, _) => Err("a simple value that DAG-CBOR doesn't have"),
            _ if argument < least => Err("a number or a length is not in its shortest form"),
            _ => Ok((kind, argument)),
        }
    }

    /// A map's key, which comes after the one before it: by length, then bytewise.
    fn key(&mut self, last: Option<&[u8]>) -> Result<&'a [u8], &'static str> {
        let (3, length) = self.head()? else { return Err("a key is no text") };
        let key = self.text(length)?;
        match last {
            Some(last) if (key.len(), key) <= (last.len(), last) => Err("keys are out of order"),
            _ => Ok(key),
        }
    }

    /// The multibase prefix of binary and a content ID, and nothing behind it. The decoder drops what stands there.
    fn link(&mut self) -> Result<(), &'static str> {
        const NO_LINK: &str = "a link is no content ID";
        let (2, length) = self.head()? else { return Err(NO_LINK) };
        let id = self.take(length)?.strip_prefix(&[0]).ok_or(NO_LINK)?;
        let read = Cid::read_bytes(id).map_err(|_| NO_LINK)?;
        if read.encoded_len() == id.len() { Ok(()) } else { Err("a link holds more than its content ID") }
    }

    fn text(&mut self, length: u64) -> Result<&'a [u8], &'static str> {
        let text = self.take(length)?;
        if std::str::from_utf8(text).is_ok() { Ok(text) } else { Err("a text is not UTF-8") }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(length).map_err(|_| "a length is not true")?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it ends too soon")?;
        self.0 = rest;
        Ok(taken)
    }
}
