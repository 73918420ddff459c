//! Tools of MCP servers as services, under the real guard: what comes of servers that behave, and of those that don't.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use guilder::{
    content::{Content, Data},
    executor::{
        Definition, ExecError, Executors, ProgressReport, Service,
        definition::{HttpSettings, McpServer, ProcessSettings},
        mcp::{Server, ServerTool},
        process::ProcessHost,
    },
    runtime::{self, Runtime},
};
use guilder_protocol::{cbor, identity::AgentId, limits::MAX_CONTENT};
use serde_json::{Value, json};
use tempfile::TempDir;

const OVER_HTTP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/over_http.py");
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/server.py");

/// How long anything may take: a loaded machine of two cores is slow, not wrong.
const PATIENCE: Duration = Duration::from_secs(60);

struct Home {
    dir: TempDir,
    content: Content,
    executors: Executors,
    host: ProcessHost,
    runtime: Runtime,
}

impl Home {
    /// None, with a word on it, where there is no Python.
    async fn new() -> Option<Self> {
        let python = Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !python.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no python3");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::production(runtime::Limits::default());
        let content = Content::open(dir.path().join("content"), runtime.clone()).await.unwrap();
        let guard = || env!("CARGO_BIN_EXE_guilder").into();
        let work = |name| dir.path().join(name);
        let executors = Executors::open(guard(), work("work"), content.clone(), runtime.clone()).await.unwrap();
        let host = ProcessHost::open(guard(), work("look"), &runtime).await.unwrap();
        Some(Self { dir, content, executors, host, runtime })
    }

    fn command(&self, mode: &str) -> Vec<String> {
        let flag = self.dir.path().join("flag").display().to_string();
        vec!["python3".into(), SERVER.into(), mode.into(), flag]
    }

    async fn look(&self, mode: &str) -> Result<Vec<ServerTool>, ExecError> {
        let settings = ProcessSettings { command: self.command(mode), env: [].into(), pass_env: Vec::new() };
        self.look_at(&McpServer::Program(settings)).await
    }

    async fn look_at(&self, server: &McpServer) -> Result<Vec<ServerTool>, ExecError> {
        let server = Server::open(server, 512 * 1024 * 1024, &self.host, &self.runtime).await?;
        let tools = server.tools().to_vec();
        server.end().await;
        Ok(tools)
    }

    /// The server's first tool as a service, with `more` lines in its definition.
    async fn service(&self, mode: &str, more: &str) -> Service {
        self.sold(mode, &self.look(mode).await.unwrap()[0], more).await.unwrap()
    }

    async fn sold(&self, mode: &str, tool: &ServerTool, more: &str) -> Result<Service, String> {
        self.sold_from(&format!("command = {:?}", self.command(mode)), tool, more).await
    }

    async fn sold_from(&self, server: &str, tool: &ServerTool, more: &str) -> Result<Service, String> {
        let output = tool.output.as_ref().map(|schema| format!("output = {schema:?}\n")).unwrap_or_default();
        let text = format!(
            "name = \"test.it\"\nprice = 1\nunit = \"sat\"\ninput = {:?}\n{output}{more}\n\
             [run.mcp]\n{server}\ntool = {:?}\ndefinition = {:?}\n",
            tool.input, tool.name, tool.pin
        );
        let definition = Definition::from_toml(&text, Path::new("/")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Service::new(definition, &self.executors).await.map_err(|error| error.to_string())
    }

    async fn call(&self, service: &Service) -> Result<String, ExecError> {
        let slot = service.try_reserve().unwrap();
        let input = Data::Inline(Bytes::from_static(b"{\"n\": 21}"));
        let work = service.work(cbor::cid_of(b"award"), AgentId::from_bytes([5; 32]), input);
        let output = service.run(slot, work).await?;
        Ok(String::from_utf8(output.read(&self.content, MAX_CONTENT).await.unwrap().to_vec()).unwrap())
    }

    async fn json(&self, service: &Service) -> Value {
        serde_json::from_str(&self.call(service).await.unwrap()).unwrap()
    }

    async fn fails(&self, mode: &str, more: &str) -> ExecError {
        let service = self.service(mode, more).await;
        let error = self.call(&service).await.unwrap_err();
        self.assert_tidy(mode).await;
        error
    }

    /// Nothing is left of a server: the folder goes once its programs are gone.
    async fn assert_tidy(&self, mode: &str) {
        let until = Instant::now() + PATIENCE;
        while std::fs::read_dir(self.dir.path().join("work")).unwrap().count() > 0 {
            assert!(Instant::now() < until, "{mode}: a work folder is left");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_tool_is_called_and_its_server_waits_for_the_next_call() {
    let Some(home) = Home::new().await else { return };
    let service = home.service("good", "").await;
    let (first, second) = (home.json(&service).await, home.json(&service).await);
    assert_eq!(first["twice"], 42);
    assert_eq!(first["pid"], second["pid"], "the same server");
    // Another service of the same server shares it.
    let other = home.service("good", "").await;
    assert_eq!(home.json(&other).await["pid"], first["pid"]);
}

#[tokio::test]
async fn a_server_that_says_its_tools_changed_is_asked_anew() {
    let Some(home) = Home::new().await else { return };
    let service = home.service("news", "").await;
    let (first, until) = (home.json(&service).await, Instant::now() + PATIENCE);
    // It says so after each answer, at some time.
    while home.json(&service).await["pid"] == first["pid"] {
        assert!(Instant::now() < until, "no other server was asked what it has");
    }
}

#[tokio::test]
async fn a_server_is_told_nothing_and_given_nothing() {
    let Some(home) = Home::new().await else { return };
    let said = home.json(&home.service("curious", "").await).await["said"].take();
    let of = |id: &str| said.as_array().unwrap().iter().find(|said| said["id"] == id).unwrap().clone();
    assert!(of("ours-0")["error"]["code"].is_number(), "sampling is refused: {said}");
    assert!(of("ours-1")["result"]["action"] == "decline" || of("ours-1")["error"]["code"].is_number(), "{said}");
    let roots = of("ours-2");
    assert!(roots["error"]["code"].is_number() || roots["result"]["roots"] == json!([]), "{said}");
    // Its environment is clean, and its text comes as it is: whoever shows it writes escapes out.
    let text = home.call(&home.service("text", "").await).await.unwrap();
    let seen: Value = serde_json::from_str(text.strip_prefix("\u{1b}]0;title\u{7}").unwrap()).unwrap();
    let names: Vec<_> = seen.as_object().unwrap().keys().filter(|name| name.starts_with("CARGO")).collect();
    assert!(names.is_empty() && seen["HOME"].as_str().unwrap().contains("work"), "{seen}");
}

#[tokio::test]
async fn progress_is_told() {
    let Some(home) = Home::new().await else { return };
    let service = home.service("progress", "").await;
    let input = Data::Inline(Bytes::from_static(b"{\"n\": 1}"));
    let work = service.work(cbor::cid_of(b"award"), AgentId::from_bytes([5; 32]), input);
    let (work, mut reports) = work.reported();
    let (slot, mut told) = (service.try_reserve().unwrap(), Vec::new());
    // The server answers once it was heard.
    let hear = |report| {
        told.push(report);
        std::fs::write(home.dir.path().join("flag"), "").unwrap();
    };
    reports.during(service.run(slot, work), hear).await.unwrap();
    let wanted = ProgressReport { permille: Some(250), note: Some("a quarter".into()), partial: String::new() };
    assert_eq!(told, [wanted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_fails_its_own_call_and_nothing_else() {
    let Some(home) = Home::new().await else { return };
    let short = "time_limit_secs = 2";
    assert!(matches!(home.fails("flood", "").await, ExecError::OutputTooLarge { .. }), "notifications without end");
    assert!(matches!(home.fails("line", "").await, ExecError::OutputTooLarge { .. }), "a line without end");
    assert!(matches!(home.fails("never", short).await, ExecError::TimedOut { secs: 2 }));
    let asked = home.fails("asks", short).await;
    let is_cut = matches!(asked, ExecError::TimedOut { .. } | ExecError::OutputTooLarge { .. });
    assert!(is_cut, "requests without end, and it reads no answer: {asked}");
    assert!(matches!(home.fails("deep", short).await, ExecError::TimedOut { .. }), "nested too deep to be read");
    let dead = home.fails("dies", "").await;
    assert!(
        matches!(&dead, ExecError::Failed { how, last_words } if how == "exit code 3" && last_words == "my last words"),
        "{dead}"
    );
    let fat = home.fails("memory", "memory_mb = 100").await;
    assert!(matches!(fat, ExecError::OutOfMemory { .. }), "{fat}");
    let good = home.service("good", "").await;
    assert_eq!(home.json(&good).await["twice"], 42);
}

#[tokio::test]
async fn a_tool_that_refuses_or_breaks_its_promise_fails_the_work() {
    let Some(home) = Home::new().await else { return };
    let service = home.service("refuses", "").await;
    let refused = home.call(&service).await.unwrap_err();
    assert!(matches!(&refused, ExecError::Reported { why, .. } if why.starts_with("not today")), "{refused}");
    assert!(!refused.public_text().contains("not today"), "a buyer isn't told what isn't paid for");
    let broken = home.call(&home.service("breaks", "").await).await.unwrap_err();
    assert!(matches!(broken, ExecError::OutputInvalid(_)), "{broken}");
}

#[tokio::test]
async fn a_server_that_describes_its_tool_otherwise_is_not_called() {
    let Some(home) = Home::new().await else { return };
    let service = home.service("changes", "").await;
    std::fs::write(home.dir.path().join("flag"), "").unwrap();
    let changed = home.call(&service).await.unwrap_err();
    assert!(matches!(changed, ExecError::ToolChanged { .. }), "{changed}");
}

#[tokio::test]
async fn a_server_with_too_many_tools_a_list_without_end_or_no_mcp_is_not_taken() {
    let Some(home) = Home::new().await else { return };
    for (mode, words) in [("many", "more than 256 tools"), ("endless", "doesn't end"), ("garbage", "")] {
        let error = home.look(mode).await.unwrap_err();
        assert!(matches!(&error, ExecError::NoServer { why, .. } if why.contains(words)), "{mode}: {error}");
    }
    let missing = ProcessSettings { command: vec!["/no/such/server".into()], env: [].into(), pass_env: Vec::new() };
    let error = Server::open(&McpServer::Program(missing), 1 << 29, &home.host, &home.runtime).await.unwrap_err();
    assert!(matches!(error, ExecError::NotStarted { .. }), "{error}");
    let bomb = home.look("bomb").await.unwrap();
    let refused = home.sold("bomb", &bomb[0], "").await.unwrap_err();
    assert!(refused.contains("schema"), "{refused}");
}

/// A server that runs, and is reached over HTTP. It ends with its standard input.
struct Web {
    child: Child,
    port: u16,
}

impl Web {
    fn start(home: &Home) -> Self {
        let mut command = Command::new("python3");
        command.arg(OVER_HTTP).arg(home.dir.path().join("ended")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }

    fn url(&self, mode: &str) -> String {
        format!("http://127.0.0.1:{}/{mode}", self.port)
    }

    async fn service(&self, home: &Home, mode: &str, more: &str) -> Service {
        let headers = [("X-Key".to_owned(), "tulip".to_owned())].into();
        let server = McpServer::Http(HttpSettings { url: self.url(mode), headers, allow_remote: false });
        let tools = home.look_at(&server).await.unwrap();
        let server = format!("url = {:?}\nheaders = {{ X-Key = \"tulip\" }}", self.url(mode));
        home.sold_from(&server, &tools[0], more).await.unwrap()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_server_over_http_is_called_in_a_session_that_ends() {
    let Some(home) = Home::new().await else { return };
    let web = Web::start(&home);
    for mode in ["good", "events"] {
        let service = web.service(&home, mode, "").await;
        assert_eq!(home.json(&service).await, json!({ "twice": 42 }), "{mode}");
    }
    let until = Instant::now() + PATIENCE;
    while !home.dir.path().join("ended").exists() {
        assert!(Instant::now() < until, "nobody ended a session");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_over_http_fails_its_own_call_and_nothing_else() {
    let Some(home) = Home::new().await else { return };
    let web = Web::start(&home);
    for (mode, words) in [
        ("line", "too long"),
        ("large", "too long"),
        ("cut", "without an answer"),
        ("status", "status 500: my last words"),
        ("redirect", "status 307"),
    ] {
        let error = home.call(&web.service(&home, mode, "").await).await.unwrap_err();
        assert!(matches!(&error, ExecError::NoAnswer { why, .. } if why.contains(words)), "{mode}: {error}");
        assert!(!error.public_text().contains("my last words"), "a buyer isn't told what isn't paid for");
    }
    let flooded = home.call(&web.service(&home, "flood", "").await).await.unwrap_err();
    assert!(matches!(flooded, ExecError::OutputTooLarge { .. }), "{flooded}");
    let late = home.call(&web.service(&home, "never", "time_limit_secs = 2").await).await.unwrap_err();
    assert!(matches!(late, ExecError::TimedOut { secs: 2 }), "{late}");
    assert_eq!(home.json(&web.service(&home, "good", "").await).await["twice"], 42);
}

#[test]
fn a_server_has_either_a_command_or_a_url_and_that_on_this_machine() {
    let read = |server: &str| {
        let pin = "0".repeat(64);
        let text = format!(
            "name = \"test.it\"\nprice = 1\nunit = \"sat\"\n[run.mcp]\n{server}\ntool = \"t\"\ndefinition = \"{pin}\"\n"
        );
        Definition::from_toml(&text, Path::new("/")).map_err(|error| error.to_string())
    };
    read("url = \"http://127.0.0.1:1/mcp\"").unwrap();
    read("url = \"https://127.0.0.1/mcp\"").unwrap();
    read("url = \"http://10.0.0.1/mcp\"\nallow_remote = true").unwrap();
    for server in [
        "",
        "url = \"http://10.0.0.1/mcp\"",
        "url = \"ftp://127.0.0.1/mcp\"",
        "url = \"http://127.0.0.1/mcp\"\ncommand = [\"/bin/cat\"]",
        "url = \"http://127.0.0.1/mcp\"\nenv = { A = \"b\" }",
        "url = \"http://127.0.0.1/mcp\"\nheaders = { mcp-session-id = \"b\" }",
        "command = [\"/bin/cat\"]\nheaders = { A = \"b\" }",
    ] {
        let refused = read(server).unwrap_err();
        assert!(refused.contains("run.mcp") || refused.contains("run.process"), "{server}: {refused}");
    }
}
