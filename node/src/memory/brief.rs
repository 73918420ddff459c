//! What an agent reads of a domain before it begins: the most trusted and newest memories, word for word, a line each.

use super::{
    Domain, Memory, MemoryError,
    records::{head_of, in_domain, said_of},
};
use crate::{
    gate::Caller,
    limits::{BRIEF_BYTES, BRIEF_LINES},
};

/// The brief of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Of which.
    pub domain: String,
    /// At most [`BRIEF_LINES`] of at most [`BRIEF_BYTES`] together, their ends included.
    pub lines: Vec<String>,
    /// How many memories that hold have no line.
    pub left_out: u64,
}

/// Memories that a brief looks at: those that hold no longer are skipped.
const LOOKED_AT: usize = 4 * BRIEF_LINES;

impl Memory {
    /// The brief of a domain.
    ///
    /// # Errors
    /// If there is none of that name that the caller may read, or the disk fails.
    pub async fn brief(&self, caller: &Caller, name: &str) -> Result<Brief, MemoryError> {
        let (caller, name) = (caller.clone(), name.to_owned());
        self.read(move |r| {
            let domain = Domain::readable(r, &caller, std::slice::from_ref(&name))?.pop();
            let domain = domain.ok_or_else(|| MemoryError::NoDomain(name.clone()))?;
            let (mut lines, mut bytes, mut ended) = (Vec::new(), 0, 0);
            for number in in_domain(r, domain.number, LOOKED_AT)? {
                let (Some(head), Some(said)) = (head_of(r, number)?, said_of(r, number)?) else { continue };
                if head.ended.is_some() {
                    ended += 1;
                    continue;
                }
                // Whose word it is stands first, where no text can come before it.
                let text = said.text.split_whitespace().collect::<Vec<_>>().join(" ");
                let about = said.subject.map(|subject| format!("{subject}: ")).unwrap_or_default();
                let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
                let gap = if about.is_empty() { "" } else { " " };
                let line = format!("[{}] {about}{gap}{text}", head.trust);
                if lines.len() >= BRIEF_LINES || bytes + line.len() + 1 > BRIEF_BYTES {
                    break;
                }
                bytes += line.len() + 1;
                lines.push(line);
            }
            let left_out = domain.memories.saturating_sub(lines.len() as u64 + ended);
            Ok(Brief { domain: domain.name, lines, left_out })
        })
        .await
    }
}
