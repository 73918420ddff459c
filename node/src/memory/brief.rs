//! What an agent reads of a domain before it begins: the most trusted and newest memories, word for word, a line each.

use std::ops::ControlFlow;

use super::{
    Domain, Memory, MemoryError,
    records::{LISTED, Said, domain_rows, of_listed, said_of},
};
use crate::{
    gate::Caller,
    limits::{BRIEF_BYTES, BRIEF_LINES, BRIEF_MISFITS},
    store::Reader as _,
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

impl Memory {
    /// The brief of a domain: of what holds, however much held before it.
    ///
    /// # Errors
    /// If there is none of that name that the caller may read, or the disk fails.
    pub async fn brief(&self, caller: &Caller, name: &str) -> Result<Brief, MemoryError> {
        self.called(caller).await?;
        let (caller, name) = (caller.clone(), name.to_owned());
        self.read(move |r| {
            let domain = Domain::readable(r, &caller, std::slice::from_ref(&name))?.pop();
            let domain = domain.ok_or_else(|| MemoryError::NoDomain(name.clone()))?;
            let (mut lines, mut bytes, mut misfits, mut hold, mut failed) = (Vec::new(), 0, 0, 0_u64, None);
            r.visit(LISTED, domain_rows(domain.number), |key, (_, ended)| {
                if ended.is_some() {
                    return ControlFlow::Continue(());
                }
                hold += 1;
                if lines.len() >= BRIEF_LINES || misfits >= BRIEF_MISFITS {
                    return ControlFlow::Continue(());
                }
                let said = match of_listed(key).map_or(Ok(None), |number| said_of(r, number)) {
                    Ok(Some(said)) => said,
                    Ok(None) => return ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                };
                let line = line_of(said);
                // A longer one leaves room for shorter ones.
                if bytes + line.len() + 1 > BRIEF_BYTES {
                    misfits += 1;
                } else {
                    bytes += line.len() + 1;
                    lines.push(line);
                }
                ControlFlow::Continue(())
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            let left_out = hold.saturating_sub(lines.len() as u64);
            Ok(Brief { domain: domain.name, lines, left_out })
        })
        .await
    }
}

/// Whose word it is stands first, where no text can come before it.
fn line_of(said: Said) -> String {
    let text = said.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let about = said.subject.map(|subject| format!("{subject}: ")).unwrap_or_default();
    let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
    let gap = if about.is_empty() { "" } else { " " };
    format!("[{}] {about}{gap}{text}", said.trust)
}
