//! Work done by a tool of an MCP server: input as the tool's arguments, output as what it answers.
//!
//! ```text
//!  node ── guard ─▶ the server, a program ── JSON lines on stdin and stdout ──▶ initialize or discover, tools/list
//!    │                                            definition as it was put on sale? ── no ─▶ off sale
//!    └── tools/call ─▶ … ─▶ answer ─▶ the server waits for the next call, at most MCP_IDLE
//! ```
//!
//! A server that runs elsewhere is reached over HTTP (`http.rs`), as a service over HTTP is: a session for each call, which keeps nothing.
//!
//! Else the server is a program under a guard ([`super::process`]), with an empty folder of its own, a clean environment and the
//! memory of its service's definition. It works on one call at a time; several services of one server share those that wait,
//! so that a call needn't wait for a start. **What one buyer told a server, the server may remember**: sell what keeps nothing.
//!
//! **The definition is pinned**: a service holds the SHA-256 of its tool's name, description and schemas as they were put on sale
//! ([`pin`]). A server that says something else sells something else: the call fails, and the service is off sale.
//!
//! **Output**: where the tool has an output schema, its structured content as JSON; else the text, if that is all that it gave,
//! or `{"content": […]}`. A tool's error fails the work: the buyer pays nothing.
//!
//! **The server may be hostile.** It is told nothing and given nothing: sampling, elicitation and roots are declined, its
//! notifications but for progress are dropped. Bounded are a message ([`MAX_MCP_MESSAGE`]), what it says in one call in all
//! ([`MAX_MCP_CALL_BYTES`]), requests of its own that wait for our answer, its tools, and how long it takes to start. Past its
//! time it is killed with all that it started.

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

mod http;
mod pool;
mod session;

pub(super) use self::pool::Pool;
use self::session::{Kind, Session};
pub use self::session::{Server, ServerTool};
use super::{ExecError, Executor, Output, Work, collecting, process::ProcessHost, settings::McpSettings, within};
use crate::{
    content::{Collector, Content},
    limits::{MAX_COMPLAINT, MAX_DOCUMENT},
    runtime::Runtime,
};

/// Work done by a server's tool.
#[derive(Clone, Debug)]
pub struct Mcp {
    settings: Arc<McpSettings>,
    pool: Pool,
    host: ProcessHost,
    content: Content,
    runtime: Runtime,
}

impl Mcp {
    /// For a definition that has been checked.
    pub(super) fn new(
        settings: McpSettings,
        pool: Pool,
        host: ProcessHost,
        content: Content,
        runtime: Runtime,
    ) -> Self {
        Self { settings: Arc::new(settings), pool, host, content, runtime }
    }

    async fn work(&self, work: Work) -> Result<Output, ExecError> {
        let arguments = self.arguments(&work).await?;
        let kind = Kind { server: self.settings.server(), memory_bytes: work.limits.memory_bytes };
        let mut session = match self.pool.take(&kind) {
            Some(session) => session,
            None => Session::open(&kind, &self.host, &self.runtime).await?,
        };
        let promises = self.check(&session)?;
        let called = session.call(&self.settings.tool, arguments, &work.reporter).await;
        work.reporter.log(&session.log());
        let said = match called {
            Ok(said) => {
                self.pool.give_back(kind, session, &self.runtime);
                said?
            }
            Err(broken) => return Err(session.why(broken, work.limits, &work.reporter).await),
        };
        let output = self.output_of(said, promises)?;
        let mut collector = Collector::new(self.content.clone(), work.limits.output_bytes);
        collector.push(output.as_bytes()).await.map_err(collecting)?;
        collector.finish().await.map_err(collecting)
    }

    /// The input, which must be a JSON object: a tool takes named arguments.
    async fn arguments(&self, work: &Work) -> Result<JsonObject, ExecError> {
        if work.input.size() == 0 {
            return Ok(JsonObject::new());
        }
        let bytes = work.input.read(&self.content, MAX_DOCUMENT).await?;
        serde_json::from_slice(&bytes).map_err(|error| ExecError::InputInvalid(format!("no JSON object: {error}")))
    }

    /// Whether the tool promises structured content, if it is still the one that was put on sale.
    fn check(&self, session: &Session) -> Result<bool, ExecError> {
        let changed = |why| ExecError::ToolChanged { tool: self.settings.tool.clone(), why };
        let tool = session.tools().iter().find(|tool| tool.name == self.settings.tool);
        let tool = tool.ok_or_else(|| changed("the server has no such tool any more"))?;
        if tool.pin != self.settings.definition {
            return Err(changed("the server describes it otherwise than when it was put on sale"));
        }
        Ok(tool.output.is_some())
    }

    fn output_of(&self, said: CallToolResult, promises: bool) -> Result<String, ExecError> {
        if said.is_error == Some(true) {
            let text = said.content.iter().find_map(ContentBlock::as_text).map(|text| text.text.as_str());
            return Err(self.reported(text.unwrap_or_default()));
        }
        match (said.structured_content, said.content.as_slice()) {
            (Some(value), _) if promises => Ok(value.to_string()),
            (None, _) if promises => Err(ExecError::OutputInvalid("the tool gave no structured content".into())),
            (_, [ContentBlock::Text(text)]) => Ok(text.text.clone()),
            (_, content) => Ok(json!({ "content": content }).to_string()),
        }
    }

    fn reported(&self, why: &str) -> ExecError {
        let url = format!("{} of {}", self.settings.tool, self.settings.server().name());
        ExecError::Reported { url, why: beginning(why).to_owned() }
    }
}

#[async_trait]
impl Executor for Mcp {
    /// Dropped or past its time, its server is killed: what it would answer later belongs to nobody.
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        within(work.limits.time, self.work(work)).await
    }
}

/// As much of somebody's words as an error shows.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_COMPLAINT)]
}

/// The SHA-256 of what a tool says that it is: name, description and both schemas, as JSON with its names in order, in
/// hexadecimal digits.
pub fn pin(tool: &Tool) -> String {
    let said = json!({
        "description": tool.description,
        "inputSchema": Value::Object(tool.input_schema.as_ref().clone()),
        "name": tool.name,
        "outputSchema": tool.output_schema.as_ref().map(|schema| Value::Object(schema.as_ref().clone())),
    });
    let mut text = String::new();
    write_in_order(&said, &mut text);
    hex::encode(Sha256::digest(text))
}

/// JSON without spaces, an object's names in order: the same whatever order they came in. As deep as the parser lets it be.
fn write_in_order(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.iter().collect();
            names.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, value)) in names.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(name.clone()).to_string());
                out.push(':');
                write_in_order(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_in_order(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pin_is_the_same_for_the_same_words_in_any_order_and_another_for_others() {
        let tool = |text: &str| pin(&serde_json::from_str::<Tool>(text).unwrap());
        let one =
            tool(r#"{"name": "a", "description": "b", "inputSchema": {"type": "object", "x": [1, {"p": 1, "q": 2}]}}"#);
        let same = tool(
            r#"{"inputSchema": {"x": [1, {"q": 2, "p": 1}], "type": "object"}, "title": "T", "description": "b", "name": "a"}"#,
        );
        assert_eq!(one, same);
        for other in [
            r#"{"name": "b", "description": "b", "inputSchema": {"type": "object", "x": [1, {"p": 1, "q": 2}]}}"#,
            r#"{"name": "a", "description": "c", "inputSchema": {"type": "object", "x": [1, {"p": 1, "q": 2}]}}"#,
            r#"{"name": "a", "description": "b", "inputSchema": {"type": "object", "x": [1, {"p": 1, "q": 3}]}}"#,
            r#"{"name": "a", "description": "b", "inputSchema": {"type": "object", "x": [1, {"p": 1, "q": 2}]}, "outputSchema": {}}"#,
        ] {
            assert_ne!(tool(other), one, "{other}");
        }
    }
}
