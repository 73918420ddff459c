//! `guilder bench mcp`: what it costs a hire to come through MCP.
//!
//! The same hire is made in turns through the control API and through a session of MCP, on the same nodes and at the same time, so
//! that both have the same machine. Each is the whole trade; the difference of the medians is what MCP adds.

use std::{path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf, split},
    time::Instant,
};

use super::{
    HireMode, INPUT_BYTES, PRICE, SERVICE, Stage, UNIT, WARM_UP, hire, lab_error, percentile_ms, positive, service,
    wanted,
};
use crate::{
    api::{
        client::{ClientError, query},
        mcp::{SESSION_PATH, UPGRADE},
        types::ServiceView,
    },
    console::{CliError, Exit, Printer, Show, fields},
    lab::swarm::fund,
};

/// What the bench is run with.
#[derive(Clone, Debug, clap::Args)]
pub struct McpBenchArgs {
    /// Hires that are measured of each way.
    #[arg(long, value_name = "N", default_value = "200", value_parser = positive)]
    tasks: usize,
    /// Keep the nodes' folders, with their logs, in DIR, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    tasks: usize,
    api_p50_ms: f64,
    mcp_p50_ms: f64,
    added_p50_ms: f64,
    api_p99_ms: f64,
    mcp_p99_ms: f64,
}

/// Runs the bench and prints what it measured.
///
/// # Errors
/// If a hire fails.
pub async fn run(args: &McpBenchArgs, printer: &Printer) -> Result<Exit, CliError> {
    let stage = Stage::set(args.keep.as_deref(), false, printer).await?;
    let measured = measure(args, printer, &stage).await;
    let _folder = stage.strike().await?;
    printer.show(&measured?)?;
    Ok(Exit::Done)
}

async fn measure(args: &McpBenchArgs, printer: &Printer, stage: &Stage) -> Result<Measured, CliError> {
    let [_, seller, buyer] = &stage.nodes;
    let hires = 2 * (args.tasks + WARM_UP) as u64;
    fund(buyer, &stage.mint_url, 4 * hires * PRICE + 20_000).await?;
    let _: ServiceView = seller.client.post("/v1/services", &service(1)?).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    printer.note(format_args!("{} hires through the API and through MCP, in turns …", args.tasks));
    let path = query("/v1/tasks", &wanted(HireMode::Prepaid)?)?;
    let mut connection = buyer.client.connect().await?;
    let mut session = Session::open(buyer.client.upgrade(SESSION_PATH, UPGRADE).await?).await?;
    let (mut by_api, mut by_mcp) = (Vec::new(), Vec::new());
    for _ in 0..args.tasks + WARM_UP {
        by_api.push(hire(&mut connection, &path).await?);
        by_mcp.push(session.hire().await?);
    }
    let sorted = |times: &[Duration]| {
        let mut times = times[WARM_UP..].to_vec();
        times.sort_unstable();
        times
    };
    let (by_api, by_mcp) = (sorted(&by_api), sorted(&by_mcp));
    let (api_p50_ms, mcp_p50_ms) = (percentile_ms(&by_api, 50), percentile_ms(&by_mcp, 50));
    Ok(Measured {
        tasks: args.tasks,
        api_p50_ms,
        mcp_p50_ms,
        added_p50_ms: mcp_p50_ms - api_p50_ms,
        api_p99_ms: percentile_ms(&by_api, 99),
        mcp_p99_ms: percentile_ms(&by_mcp, 99),
    })
}

type Connected = TokioIo<hyper::upgrade::Upgraded>;

/// A session of MCP with a node.
struct Session {
    read: BufReader<ReadHalf<Connected>>,
    write: WriteHalf<Connected>,
}

impl Session {
    async fn open(connection: Connected) -> Result<Self, CliError> {
        let (read, write) = split(connection);
        let mut session = Self { read: BufReader::new(read), write };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "bench", "version": "1" },
        });
        session.ask("initialize", &params).await?;
        session.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await?;
        Ok(session)
    }

    async fn say(&mut self, message: &Value) -> Result<(), CliError> {
        Ok(self.write.write_all(format!("{message}\n").as_bytes()).await.map_err(ClientError::Io)?)
    }

    async fn ask(&mut self, method: &str, params: &Value) -> Result<Value, CliError> {
        self.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await?;
        let mut line = String::new();
        self.read.read_line(&mut line).await.map_err(ClientError::Io)?;
        serde_json::from_str(&line).map_err(|error| lab_error(format!("no answer of MCP: {error}: {line}")))
    }

    /// One trade, as `hire` of the bench makes it.
    async fn hire(&mut self) -> Result<Duration, CliError> {
        let began = Instant::now();
        let arguments = json!({
            "service": SERVICE, "input": "x".repeat(INPUT_BYTES), "max_price": PRICE, "unit": UNIT, "deadline_secs": 30,
        });
        let answer = self.ask("tools/call", &json!({ "name": "hire", "arguments": arguments })).await?;
        let took = began.elapsed();
        match &answer["result"]["structuredContent"]["task"]["delivered"] {
            Value::Bool(true) => Ok(took),
            _ => Err(lab_error(format!("a hire failed: {answer}"))),
        }
    }
}

impl Show for Measured {
    fn human(&self, out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        let way = |p50: f64, p99: f64| format!("{p50:.2} ms median, {p99:.2} ms at the 99th percentile");
        fields(
            out,
            &[
                ("hires", format!("{} measured of each way, in turns", self.tasks)),
                ("by the API", way(self.api_p50_ms, self.api_p99_ms)),
                ("by MCP", way(self.mcp_p50_ms, self.mcp_p99_ms)),
                ("MCP adds", format!("{:.2} ms to the median", self.added_p50_ms)),
            ],
        )
    }
}
