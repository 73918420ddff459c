//! Aliases in what is asked of a node: `@bank` stands for the peer or the mint that its operator calls so.

use serde_json::Value;

use super::{
    Api,
    caller::{Action, Caller},
    types::{Alias, ApiError, ErrorCode},
};
use crate::{aliases::Aliases, runtime::Job};

/// The terms and fields that hold a peer or a mint, or a list of them. What is free text is left as it is.
const NAMING: [&str; 9] = ["avoid", "from", "grantee", "mint", "mints", "peer", "prefer", "seller", "url"];

impl Api {
    /// What the operator calls peers and mints.
    ///
    /// # Errors
    /// If the caller may not, or the file can't be read.
    pub async fn aliases(&self, caller: &Caller) -> Result<Vec<Alias>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.read_aliases().await?.iter().map(Alias::from).collect())
    }

    /// The fields of a request, with what the aliases in them stand for. Who may not see the aliases isn't told what one stands for, nor
    /// that there is none.
    ///
    /// # Errors
    /// If there is an alias in it and the caller may not see them, there is no such alias, or the file can't be read.
    pub(crate) async fn without_aliases(&self, caller: &Caller, request: Value) -> Result<Value, ApiError> {
        let Value::Object(mut fields) = request else { return Ok(request) };
        let mut known = None;
        for (_, value) in fields.iter_mut().filter(|(name, value)| NAMING.contains(&name.as_str()) && has_alias(value))
        {
            let aliases = match &known {
                Some(aliases) => aliases,
                None if caller.may(Action::Look).is_err() => {
                    let told = ApiError::misuse("this caller may not use aliases", "write the peer ID or the URL");
                    return Err(ApiError { code: ErrorCode::NotAllowed, ..told });
                }
                None => known.insert(self.read_aliases().await?),
            };
            expand(aliases, value)?;
        }
        Ok(Value::Object(fields))
    }

    async fn read_aliases(&self) -> Result<Aliases, ApiError> {
        let path = self.0.home.aliases();
        Ok(self.node().runtime.offload(Job::Disk, move || Aliases::load(&path)).await?)
    }
}

fn has_alias(value: &Value) -> bool {
    match value {
        Value::String(text) => text.split(',').any(|part| part.starts_with('@')),
        Value::Array(values) => values.iter().any(has_alias),
        _ => false,
    }
}

/// A query has its lists as text, with commas between.
fn expand(aliases: &Aliases, value: &mut Value) -> Result<(), ApiError> {
    match value {
        Value::String(text) => {
            let parts = text.split(',').map(|part| {
                let target = aliases.stands_for(part)?;
                Ok(target.map_or_else(|| part.to_owned(), ToString::to_string))
            });
            *text = parts.collect::<Result<Vec<_>, ApiError>>()?.join(",");
        }
        Value::Array(values) => values.iter_mut().try_for_each(|value| expand(aliases, value))?,
        _ => {}
    }
    Ok(())
}
