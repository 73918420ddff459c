//! One server that runs, and what is said with it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, io,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use rmcp::{
    ClientHandler, RoleClient,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig, Implementation,
        JsonObject, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion, Tool,
    },
    service::{ClientLifecycleMode, NotificationContext, RunningService, ServiceError, serve_client_with_lifecycle},
    transport::{Transport, async_rw::AsyncRwTransport},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, ReadBuf},
    time::timeout,
};

use super::{beginning, http::OverHttp, pin};
use crate::{
    api::mcp::pipe::Bounded,
    executor::{
        ExecError, Limits, Reporter,
        process::{PIPE_BYTES, Pipes, ProcessHost, Run, Verdict, how_it_ended},
        settings::{HttpSettings, McpServer, ProcessSettings},
    },
    limits::{
        GUARD_GRACE, MAX_MCP_CALL_BYTES, MAX_MCP_MESSAGE, MAX_MCP_REQUESTS, MAX_MCP_TOOLS, MAX_STDERR_TAIL, MCP_START,
    },
    runtime::{Runtime, Task},
    sync::lock,
};

/// What servers are alike in that may do each other's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::executor) struct Kind {
    pub(super) server: McpServer,
    pub(super) memory_bytes: u64,
}

/// What a server says of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTool {
    /// Its name.
    pub name: String,
    /// What it does, in the server's words.
    pub description: String,
    /// JSON Schema of its arguments, as JSON text.
    pub input: String,
    /// JSON Schema of its structured content, as JSON text, if it promises any.
    pub output: Option<String>,
    /// The hash of all of this: see [`pin`].
    pub pin: String,
}

impl From<&Tool> for ServerTool {
    fn from(tool: &Tool) -> Self {
        let text = |schema: &JsonObject| Value::Object(schema.clone()).to_string();
        Self {
            name: tool.name.to_string(),
            description: tool.description.as_deref().unwrap_or_default().to_owned(),
            input: text(&tool.input_schema),
            output: tool.output_schema.as_deref().map(text),
            pin: pin(tool),
        }
    }
}

/// A server that was started, or reached, to look what it has.
#[derive(Debug)]
pub struct Server(Session);

impl Server {
    /// Starts or reaches it and asks for its tools.
    ///
    /// # Errors
    /// If it can't be started or reached, doesn't speak MCP, or has too many tools.
    pub async fn open(
        server: &McpServer,
        memory_bytes: u64,
        host: &ProcessHost,
        runtime: &Runtime,
    ) -> Result<Self, ExecError> {
        let kind = Kind { server: server.clone(), memory_bytes };
        Ok(Self(Session::open(&kind, host, runtime).await?))
    }

    /// What it has.
    pub fn tools(&self) -> &[ServerTool] {
        self.0.tools()
    }

    /// Ends it and all that it started.
    pub async fn end(self) {
        let Session { client, program, .. } = self.0;
        drop(client);
        if let Some(Program { run, .. }) = program {
            run.end().await;
        }
    }
}

/// A server that runs. Dropped, it is killed with all that it started.
pub(in crate::executor) struct Session {
    // Dropped in this order: the connection first, then the program.
    client: RunningService<RoleClient, Listener>,
    /// If we started it.
    program: Option<Program>,
    name: String,
    tools: Vec<ServerTool>,
    heard: Arc<Heard>,
    left: Arc<AtomicU64>,
}

/// What was started.
struct Program {
    run: Run,
    stderr: Stderr,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("server", &self.name).field("tools", &self.tools.len()).finish_non_exhaustive()
    }
}

/// What came of a call that left the session whole: the answer, or the server's refusal.
type Answer = Result<CallToolResult, ExecError>;

impl Session {
    /// Starts or reaches a server and asks for its tools.
    pub(super) async fn open(kind: &Kind, host: &ProcessHost, runtime: &Runtime) -> Result<Self, ExecError> {
        match &kind.server {
            McpServer::Program(program) => Self::start(program, kind.memory_bytes, host, runtime).await,
            McpServer::Http(settings) => Self::reach(settings).await,
        }
    }

    async fn reach(settings: &HttpSettings) -> Result<Self, ExecError> {
        let url = &settings.url;
        let no_answer = |why: String| ExecError::NoAnswer { url: url.clone(), why: beginning(&why).to_owned() };
        let (heard, left) = (Arc::<Heard>::default(), Arc::new(AtomicU64::new(MAX_MCP_CALL_BYTES)));
        let transport = OverHttp::to(settings, Arc::clone(&left)).map_err(|error| no_answer(error.to_string()))?;
        let begun = begin(transport, ClientLifecycleMode::Initialize, &heard).await;
        let (client, tools) = begun.map_err(no_answer)?;
        Ok(Self { client, program: None, name: url.clone(), tools, heard, left })
    }

    async fn start(
        server: &ProcessSettings,
        memory_bytes: u64,
        host: &ProcessHost,
        runtime: &Runtime,
    ) -> Result<Self, ExecError> {
        let environment = |home: &Path| environment(server, home);
        let mut run = host.start(&server.command, environment, memory_bytes, runtime).await?;
        let Pipes { stdin, stdout, stderr, .. } = run.take_pipes();
        let heard = Arc::<Heard>::default();
        let stderr = Stderr::read(stderr, Arc::clone(&heard), runtime);
        let left = Arc::new(AtomicU64::new(MAX_MCP_CALL_BYTES));
        let read = Metered { inner: stdout, left: Arc::clone(&left) };
        let lines = AsyncRwTransport::new_client(read, stdin).with_max_line_length(MAX_MCP_MESSAGE);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let name = server.command[0].clone();
        match begin(lines, lifecycle, &heard).await {
            Ok((client, tools)) => {
                Ok(Self { client, program: Some(Program { run, stderr }), name, tools, heard, left })
            }
            Err(why) => {
                let why = beginning(&why).to_owned();
                let ended = timeout(GUARD_GRACE, run.ended()).await.is_ok();
                let verdict = if ended { run.verdict().await } else { None };
                run.end().await;
                Err(match verdict {
                    Some(Verdict::NotStarted(why)) => ExecError::NotStarted { program: name, why },
                    _ => ExecError::NoServer { program: name, why, last_words: stderr.end().await },
                })
            }
        }
    }

    /// What it has.
    pub(super) fn tools(&self) -> &[ServerTool] {
        &self.tools
    }

    /// The end of what it wrote to its standard error.
    pub(super) fn log(&self) -> String {
        self.program.as_ref().map(|program| program.stderr.so_far()).unwrap_or_default()
    }

    /// Whether it is of use for another call: one that we started, that lives, and has not said that its tools are others now. (Over HTTP
    /// a session costs little, and the server may forget it.)
    pub(super) fn is_fit(&self) -> bool {
        self.program.is_some() && !self.client.is_transport_closed() && !self.heard.has_changed.load(Ordering::Relaxed)
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// If the session is of no use any more.
    pub(super) async fn call(
        &mut self,
        tool: &str,
        arguments: JsonObject,
        reporter: &Reporter,
    ) -> Result<Answer, ServiceError> {
        self.left.store(MAX_MCP_CALL_BYTES, Ordering::Relaxed);
        *lock(&self.heard.reporter) = reporter.clone();
        reporter.log(&self.log());
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let said = self.client.peer().call_tool_once(request).await;
        *lock(&self.heard.reporter) = Reporter::default();
        let refused = |why: &str| ExecError::Reported { url: self.name.clone(), why: beginning(why).to_owned() };
        match said {
            Ok(CallToolResponse::Complete(result)) => Ok(Ok(result)),
            Ok(CallToolResponse::InputRequired(_)) => Ok(Err(refused("it asks its user for something: declined"))),
            Ok(_) => Ok(Err(refused("it answers with a task, which was not asked for"))),
            Err(ServiceError::McpError(error)) => Ok(Err(refused(&error.message))),
            Err(broken) => Err(broken),
        }
    }

    /// Why the session broke, as far as the guard or the meter knows.
    pub(super) async fn why(self, broken: ServiceError, limits: Limits, reporter: &Reporter) -> ExecError {
        let Self { client, program, name, left, .. } = self;
        let is_flooded = left.load(Ordering::Relaxed) == 0;
        let Some(Program { mut run, stderr }) = program else {
            let why = beginning(&broken.to_string()).to_owned();
            return if is_flooded {
                ExecError::OutputTooLarge { limit_bytes: MAX_MCP_CALL_BYTES }
            } else {
                ExecError::NoAnswer { url: name, why }
            };
        };
        if is_flooded {
            drop(client);
            run.end().await;
            return ExecError::OutputTooLarge { limit_bytes: MAX_MCP_CALL_BYTES };
        }
        // Its input ends with the client; what doesn't end by that is killed.
        drop(client);
        let ended = timeout(GUARD_GRACE, run.ended()).await.is_ok();
        let verdict = if ended { run.verdict().await } else { None };
        run.end().await;
        let last_words = stderr.end().await;
        reporter.log(&last_words);
        match verdict {
            Some(Verdict::Memory(used_bytes)) => {
                ExecError::OutOfMemory { used_bytes, limit_bytes: limits.memory_bytes }
            }
            Some(Verdict::Processes(limit)) => ExecError::TooManyProcesses { limit },
            Some(verdict) => ExecError::Failed { how: how_it_ended(Some(verdict)), last_words },
            None => ExecError::NoServer { program: name, why: beginning(&broken.to_string()).to_owned(), last_words },
        }
    }
}

/// Shakes hands and asks for the tools, within [`MCP_START`].
async fn begin<T: Transport<RoleClient> + 'static>(
    transport: T,
    lifecycle: ClientLifecycleMode,
    heard: &Arc<Heard>,
) -> Result<(RunningService<RoleClient, Listener>, Vec<ServerTool>), String> {
    let begin = async {
        let listener = Listener(Arc::clone(heard));
        let transport = Bounded::new(transport, MAX_MCP_REQUESTS);
        let client = serve_client_with_lifecycle(listener, transport, lifecycle).await;
        let client = client.map_err(|error| error.to_string())?;
        let tools = list(&client).await?;
        Ok((client, tools))
    };
    let late = |_| Err(format!("it didn't say within {} s what it has", MCP_START.as_secs()));
    timeout(MCP_START, begin).await.unwrap_or_else(late)
}

/// What a server gets: PATH, a HOME of its own, and what its definition gives it.
fn environment(server: &ProcessSettings, home: &Path) -> Vec<(OsString, OsString)> {
    let passed = server.pass_env.iter().map(String::as_str).chain(["PATH"]);
    let passed = passed.filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let own = ["HOME", "TMPDIR"].map(|name| (OsString::from(name), home.into()));
    let set = server.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    passed.chain(own).chain(set).collect()
}

/// Its tools, page by page.
async fn list(client: &RunningService<RoleClient, Listener>) -> Result<Vec<ServerTool>, String> {
    let (mut tools, mut cursor) = (BTreeMap::new(), None);
    // Every page must bring something new, so there are at most as many as tools.
    loop {
        let asked = PaginatedRequestParams::default().with_cursor(cursor);
        let page = client.peer().list_tools(Some(asked)).await.map_err(|error| error.to_string())?;
        let before = tools.len();
        tools.extend(page.tools.iter().map(|tool| (tool.name.to_string(), ServerTool::from(tool))));
        if tools.len() > MAX_MCP_TOOLS {
            return Err(format!("it has more than {MAX_MCP_TOOLS} tools"));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tools.into_values().collect());
        }
        if tools.len() == before {
            return Err("its list of tools doesn't end".to_owned());
        }
    }
}

/// The end of what a server writes to its standard error, all of which is read.
struct Stderr {
    kept: Arc<Mutex<String>>,
    reading: Task,
}

impl Stderr {
    /// The call under way is told of it as it comes: one that goes past its time is dropped.
    fn read(mut stderr: impl AsyncRead + Unpin + Send + 'static, heard: Arc<Heard>, runtime: &Runtime) -> Self {
        let kept = Arc::<Mutex<String>>::default();
        let keep = Arc::clone(&kept);
        let reading = async move {
            let (mut tail, mut buffer) = (Vec::new(), vec![0; PIPE_BYTES]);
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                tail.extend_from_slice(&buffer[..read]);
                tail.drain(..tail.len().saturating_sub(MAX_STDERR_TAIL));
                let text = String::from_utf8_lossy(&tail).into_owned();
                lock(&heard.reporter).log(&text);
                *lock(&keep) = text;
            }
        };
        Self { kept, reading: runtime.spawn("executor/mcp stderr", reading) }
    }

    fn so_far(&self) -> String {
        lock(&self.kept).clone()
    }

    /// The last of it, of a server that has ended.
    async fn end(self) -> String {
        let Self { kept, reading } = self;
        // What a program hid from its guard may hold the pipe open.
        let _ = timeout(GUARD_GRACE, reading.join()).await;
        lock(&kept).clone()
    }
}

/// What a server says unasked.
#[derive(Debug, Default)]
struct Heard {
    /// Who is told of progress: the call under way.
    reporter: Mutex<Reporter>,
    /// Whether it said that its tools have changed.
    has_changed: AtomicBool,
}

/// Our end. What isn't here, the library declines: sampling, elicitation; it has no roots.
#[derive(Clone, Debug)]
struct Listener(Arc<Heard>);

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        // What `initialize` asks for: the newest revision that has it.
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("guilder", env!("CARGO_PKG_VERSION")))
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
    }

    async fn on_progress(&self, said: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        let share = said.total.filter(|total| *total > 0.0).map(|total| said.progress / total * 1_000.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // both bounds are checked
        let permille = share.filter(|share| (0.0..=1_000.0).contains(share)).map(|share| share as u16);
        lock(&self.0.reporter).step(permille, said.message.as_deref());
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.has_changed.store(true, Ordering::Relaxed);
    }
}

/// Ends the connection of a server that says more in one call than any does that works.
struct Metered<R> {
    inner: R,
    left: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let came = (buffer.filled().len() - before) as u64;
        let left = self.left.load(Ordering::Relaxed).saturating_sub(came);
        self.left.store(left, Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(io::Error::other("it says too much")));
        }
        read
    }
}
