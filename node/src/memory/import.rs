//! Taking in what was exported: what comes back unchanged is what it was; what was edited is anybody's word, unless the owner says
//! otherwise.
//!
//! Only this node's key can make a statement with a given ID ([`guilder_protocol::memory`]): so if the statement made of a file has the ID
//! that the file names, the node itself once said all of it, as it stands there.

use cid::Cid;
use guilder_protocol::{
    memory::{MemoryBody, Trust},
    time::Timestamp,
};

use super::{
    Domain, Language, Memory, MemoryError, Remembered, Source, Writing, is_readable,
    records::{FILE_MARKS, FILED, FORGOTTEN, Said, file_mark, head_of, number_of, said_of},
};
use crate::{
    gate::Caller,
    limits::MEMORY_BATCH,
    store::{Key, Reader as _, Write},
};

/// A memory, as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The ID that it had.
    pub id: Option<Cid>,
    /// When it was remembered.
    pub at: Option<Timestamp>,
    /// In which language its domain was: of one that is made for it.
    pub language: Option<Language>,
    /// What it says.
    pub body: MemoryBody,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there, as it was; or an edit of it that was taken in before.
    Kept,
    /// It is there again, as it was.
    Restored,
    /// It is another one, of less trust or by the owner's word.
    Edited,
    /// It, or what it was made of by an edit, was forgotten, and stays so.
    Forgotten,
}

impl Memory {
    /// Takes memories in. What was edited has the trust `edited`, which is the caller's word: anybody's, or the owner's.
    ///
    /// # Errors
    /// If one of them breaks a rule, or the caller may not write there; those before it, in groups of [`MEMORY_BATCH`], stay. Or if the disk
    /// fails.
    pub async fn import(
        &self,
        caller: &Caller,
        files: Vec<Imported>,
        edited: Trust,
    ) -> Result<Vec<(Remembered, Fate)>, MemoryError> {
        let mut done = Vec::with_capacity(files.len());
        for files in files.chunks(MEMORY_BATCH) {
            let (caller, key, now) = (caller.clone(), self.0.key.clone(), self.0.runtime.now());
            let files = files.to_vec();
            let job = move |w: &mut Write<'_>| {
                let mut writing = Writing::new(&caller, &key, now);
                let each = files.into_iter().map(|file| writing.import(w, file, edited));
                let done = each.collect::<Result<Vec<_>, _>>()?;
                writing.batch.write(w)?;
                Ok::<_, MemoryError>(done)
            };
            done.extend(self.store().await?.transact(job).await?);
        }
        Ok(done)
    }
}

/// A source that a file names, as a memory does. What isn't known to be one is anybody's words.
fn read(source: &str) -> Source {
    source.parse().unwrap_or_else(|_| Source::World(source.trim().to_owned()))
}

impl Writing<'_> {
    fn import(&mut self, w: &mut Write<'_>, file: Imported, edited: Trust) -> Result<(Remembered, Fate), MemoryError> {
        // One that is there may be in another language: that is how a domain's language is changed.
        let is_there = Domain::of_name(w, &file.body.domain)?.is_some();
        let mut domain = self.domain(w, &file.body.domain, file.language.filter(|_| !is_there))?;
        if let (Some(id), Some(at)) = (file.id, file.at) {
            let again = file.body.clone().signed(at, self.key)?;
            if again.cid() == id {
                let (trust, session) = (file.body.trust, file.body.session.clone());
                return match self.put(w, &mut domain, at, file.body) {
                    Ok(done) if done.is_new => Ok((done, Fate::Restored)),
                    Ok(done) => Ok((done, Fate::Kept)),
                    Err(MemoryError::Forgotten(_)) => {
                        let done = Remembered { id, domain: domain.name, trust, session, is_new: false };
                        Ok((done, Fate::Forgotten))
                    }
                    Err(error) => Err(error),
                };
            }
        }
        let trust = if self.caller.is_owner() { edited } else { edited.min(Trust::Peer) };
        // Whatever was changed in it: what was forgotten comes back by the owner's word alone.
        if let Some(id) = file.id
            && trust <= Trust::World
            && w.contains(FORGOTTEN, Key::of(id))?
        {
            let session = file.body.session;
            return Ok((Remembered { id, domain: domain.name, trust, session, is_new: false }, Fate::Forgotten));
        }
        let source = if trust == Trust::Owner { Source::Owner } else { Source::World("an edited file".into()) };
        // Whoever edits a lie leaves it in reach of what forgets the liar's.
        let mut sources = vec![source];
        let named = file.body.sources.iter().filter(|source| !source.trim().is_empty()).map(|source| read(source));
        for named in file.id.map(Source::Memory).into_iter().chain(named) {
            if named != Source::Owner && !sources.contains(&named) {
                sources.push(named);
            }
        }
        for source in &sources {
            // One that isn't there, as far as the caller may know, is as good as any words.
            if let Source::Memory(id) = source
                && let Some(number) = number_of(w, id)?
                && is_readable(w, self.caller, number)?
                && let Some(head) = head_of(w, number)?
            {
                self.may_be_said(w, &head, &domain)?;
            }
        }
        let (id, mark) = (file.id, file_mark(self.caller.name(), file.id.as_ref(), &file.body));
        let mut body = MemoryBody {
            by: self.caller.name().to_owned(),
            trust,
            sources: sources.iter().map(ToString::to_string).collect(),
            supersedes: Vec::new(),
            ..file.body
        };
        let place = Key::of(domain.number).and(mark);
        let before = match w.get(FILED, &place)? {
            Some(number) => said_of(w, number)?,
            None => None,
        };
        if let Some(before) = &before
            && before.trust >= trust
            && is_same(before, &body, id.is_some())
        {
            let (trust, session) = (before.trust, before.session.clone());
            return Ok((Remembered { id: before.id, domain: domain.name, trust, session, is_new: false }, Fate::Kept));
        }
        for old in id.into_iter().chain(before.map(|before| before.id)) {
            body.supersedes.extend(self.replaced(w, old, domain.number, trust)?);
        }
        let done = self.put(w, &mut domain, self.now, body)?;
        if let Some(number) = number_of(w, &done.id)? {
            w.put(FILED, &place, &number)?;
            w.put(FILE_MARKS, Key::of(number), &mark)?;
        }
        Ok((done, Fate::Edited))
    }

    /// What was edited takes the place of what it was made of, and of what was made of the same file before, if that is no more trusted.
    fn replaced(&self, w: &Write<'_>, id: Cid, domain: u32, trust: Trust) -> Result<Option<Cid>, MemoryError> {
        let Some(number) = number_of(w, &id)? else { return Ok(None) };
        let head = head_of(w, number)?.filter(|head| head.domain == domain && head.trust <= trust);
        Ok(head.map(|_| id))
    }
}

/// Whether a file says what was made of it the last time. What has no ID may have no time either.
fn is_same(before: &Said, body: &MemoryBody, has_id: bool) -> bool {
    before.text == body.text
        && before.subject == body.subject
        && before.session == body.session
        // The first says whose word it is, as the trust does.
        && before.sources.get(1..) == body.sources.get(1..)
        && (before.time == body.time || !has_id)
}
