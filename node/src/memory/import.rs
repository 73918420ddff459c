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
    Domain, Language, Memory, MemoryError, Remembered, Source, Writing,
    records::{head_of, number_of},
    source::of_memory,
};
use crate::{gate::Caller, limits::MEMORY_BATCH, store::Write};

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
    /// It is there, as it was.
    Kept,
    /// It is there again, as it was.
    Restored,
    /// It is another one, of less trust or by the owner's word.
    Edited,
    /// It was forgotten, and stays so.
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

/// A source as a memory names it, where it is known what it is.
fn plain(source: &str) -> String {
    source.parse::<Source>().map_or_else(|_| source.to_owned(), |source| source.to_string())
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
        let source = if trust == Trust::Owner { Source::Owner } else { Source::World("an edited file".into()) };
        // Whoever edits a lie leaves it in reach of what forgets the liar's.
        let mut sources = vec![source.to_string()];
        for named in
            file.id.map(|id| of_memory(&id)).into_iter().chain(file.body.sources.iter().map(|source| plain(source)))
        {
            if named != Source::Owner.to_string() && !sources.contains(&named) {
                sources.push(named);
            }
        }
        let body = MemoryBody {
            by: self.caller.name().to_owned(),
            trust,
            sources,
            supersedes: self.replaced(w, file.id, domain.number, trust)?,
            ..file.body
        };
        Ok((self.put(w, &mut domain, self.now, body)?, Fate::Edited))
    }

    /// What was edited takes the place of what it was made of, if that is no more trusted.
    fn replaced(&self, w: &Write<'_>, id: Option<Cid>, domain: u32, trust: Trust) -> Result<Vec<Cid>, MemoryError> {
        let Some((id, number)) = id.and_then(|id| Some((id, number_of(w, &id).transpose()?))) else {
            return Ok(Vec::new());
        };
        let head = head_of(w, number?)?.filter(|head| head.domain == domain && head.trust <= trust);
        Ok(head.map(|_| id).into_iter().collect())
    }
}
