//! A duty, set off by a signed webhook and by the clock.
//!
//! ```text
//! webhook, signed ──▶ owner ── 202, stored ──▶ run: hire a summary ─▶ hire a verdict from another ─▶ post the summary to a file
//! the next minute ──▶ owner ─▶ run of the owner's other duty, if the demo is still there
//! a copy of the webhook, a forged one ──▶ nothing
//! ```

use std::{net::TcpListener, time::Duration};

use bitcoin_hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use guilder_protocol::audit;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{
    narrator::Narrator,
    stage::{Sale, Stage, within},
};
use crate::{
    api::types::{DutyFile, HookRequest},
    console::{CliError, harmless::one_line},
    duty::{DutyView, Hook, HookKind, RunView},
    lab::{
        folder::Folder,
        swarm::{UNIT, lab_error},
    },
};

const OWNER: &str = "owner";
const FUNDS: u64 = 1_000;
const TEXT: &str = "A duty is a standing order. It says what sets it off, what it may spend, and what is done then. The node \
                    does it by itself. Whatever it buys, it buys once. Whatever it skips, it says why.";
const DIGEST: &str = r#"
name = "digest"
description = "Sums up what is pushed, and has the summary checked by somebody else."
on = [{ hook = "repo", event = "push" }]
budget = { unit = "play", run = 20, day = 100 }
[[step]]
id = "sum"
hire = "text.summarize"
text = "{{trigger.text}}"
[[step]]
verify = "text.check"
of = "sum"
[[step]]
post = "file:digest.txt"
of = "sum"
"#;
const CLOCK: &str =
    "name = \"clock\"\non = [{ cron = \"* * * * *\" }]\n[[step]]\npost = \"file:clock.txt\"\ntext = \"{{run.due}}\"\n";
/// How long the demo waits for a full minute.
const MINUTE_PATIENCE: Duration = Duration::from_secs(12);

/// The port on which the owner takes webhooks.
pub(super) struct Port(u16);

pub(super) async fn set<'a>(narrator: &'a Narrator<'a>, folder: &mut Folder) -> Result<(Stage<'a>, Port), CliError> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(|cause| CliError::io("there is no port for webhooks", &cause))?.port();
    let traders = [
        (OWNER, "has a duty, takes webhooks, and sleeps".to_owned()),
        ("writer", format!("will sell text.summarize for 7 {UNIT}, and text.check for 2")),
        ("checker", format!("will sell text.check for 4 {UNIT}")),
    ];
    let more = [(OWNER, format!("[hooks]\nlisten = \"127.0.0.1:{port}\"\n"))];
    Ok((Stage::set_with(narrator, folder, &traders, &more).await?, Port(port)))
}

pub(super) async fn play(stage: &Stage<'_>, port: &Port) -> Result<(), CliError> {
    let narrator = stage.narrator;
    narrator.head("Money and wares")?;
    stage.fund(OWNER, FUNDS).await?;
    let sale = |service, description, price, work| Sale { service, description, price, work, more: "" };
    stage.sell("writer", &sale("text.summarize", "The three weightiest sentences of a text", 7, "summarize")).await?;
    stage.sell("writer", &sale("text.check", "Whether a text is one", 2, "check")).await?;
    stage.sell("checker", &sale("text.check", "Whether a text is one", 4, "check")).await?;

    narrator.head("The duties")?;
    for file in [DIGEST, CLOCK] {
        let duty: DutyView = stage.node(OWNER)?.client.post("/v1/duties", &DutyFile { file: file.to_owned() }).await?;
        let steps = duty.steps.join("; ");
        narrator.tell(
            "duty",
            json!({ "duty": duty.name, "on": duty.on, "steps": duty.steps }),
            format_args!("{OWNER} adds the duty {} ({}): {steps}", duty.name, duty.on.join(", ")),
        )?;
    }
    let request = HookRequest { name: "repo".into(), kind: HookKind::Github };
    let hook: Hook = stage.node(OWNER)?.client.post("/v1/hooks", &request).await?;
    let secret = hook.secret.unwrap_or_default();
    narrator.tell(
        "hook",
        json!({ "hook": "repo" }),
        "owner adds a hook, signed as GitHub signs; its secret is said once",
    )?;

    narrator.head("A webhook")?;
    let body = json!({ "text": TEXT, "service": "text.dear", "max_price": 1_000_000 }).to_string();
    let forged = deliver(port, "1", "no secret", &body).await?;
    narrator.hold(forged == 401, "a forged one is refused")?;
    let began = Instant::now();
    let taken = deliver(port, "1", &secret, &body).await?;
    let took_ms = began.elapsed().as_secs_f64() * 1_000.0;
    narrator.tell(
        "webhook",
        json!({ "status": taken, "took_ms": took_ms }),
        format_args!("answered {taken} after {took_ms:.1} ms"),
    )?;
    narrator.hold(taken == 202, "a signed one is taken")?;
    narrator.hold(deliver(port, "1", &secret, &body).await? == 202, "a copy of it is answered alike")?;
    let run = run_of(stage, "digest").await?;
    tell_run(stage, &run)?;
    narrator.hold(run.state == "done", "the run is done")?;
    let runs: Vec<RunView> = stage.node(OWNER)?.client.get("/v1/runs?duty=digest").await?;
    narrator.hold(runs.len() == 1, "the copy set nothing off")?;
    let sellers: Vec<_> =
        run.steps.iter().flat_map(|step| &step.hires).filter_map(|hire| hire.seller.clone()).collect();
    let names: Vec<_> = sellers.iter().filter_map(|seller| stage.name_of(seller)).collect();
    narrator
        .hold(names == ["writer", "checker"], "who checks did none of the work, though it would have been cheaper")?;
    let posted = std::fs::read_to_string(stage.dir.join(OWNER).join("posts/digest.txt"));
    let posted = posted.map_err(|cause| CliError::io("the summary wasn't posted", &cause))?;
    narrator.tell(
        "posted",
        json!({ "text": posted }),
        format_args!("posted to posts/digest.txt:\n{}", posted.trim_end()),
    )?;

    narrator.head("The proof")?;
    prove(stage, &run).await?;
    narrator.head("The clock")?;
    clock(stage).await
}

async fn prove(stage: &Stage<'_>, run: &RunView) -> Result<(), CliError> {
    let mut holds = 0;
    for task in run.steps.iter().flat_map(|step| &step.hires).filter_map(|hire| hire.task.as_ref()) {
        let bundle = stage.bytes(OWNER, &format!("/v1/tasks/{task}/audit")).await?;
        audit::verify(&bundle)?;
        holds += 1;
    }
    let what = format!("what was signed in {holds} hires checks out, as `guilder run audit {}` shows", run.id);
    stage.narrator.hold(holds == 2, &what)
}

/// Waits for a full minute, if it comes soon, and says when it will if it doesn't.
async fn clock(stage: &Stage<'_>) -> Result<(), CliError> {
    let (narrator, until) = (stage.narrator, Instant::now() + MINUTE_PATIENCE);
    loop {
        let duty: DutyView = stage.node(OWNER)?.client.get("/v1/duties/clock").await?;
        if duty.last_ran.is_some() {
            let run = run_of(stage, "clock").await?;
            tell_run(stage, &run)?;
            return narrator
                .hold(run.state == "done" && duty.outcomes.len() == 1, "the minute has one outcome: it ran");
        }
        if Instant::now() >= until {
            let next = duty.next.map(|next| next.to_string()).unwrap_or_default();
            return narrator.tell(
                "next",
                json!({ "next": duty.next }),
                format_args!("the clock's next run is at {next}; the demo doesn't wait for it"),
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The latest run of a duty, once it is over.
async fn run_of(stage: &Stage<'_>, duty: &str) -> Result<RunView, CliError> {
    let client = &stage.node(OWNER)?.client;
    within("the run", async {
        loop {
            let runs: Vec<RunView> = client.get(&format!("/v1/runs?duty={duty}&limit=1")).await?;
            if let Some(run) = runs.into_iter().find(|run| run.ended) {
                return Ok(run);
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

fn tell_run(stage: &Stage<'_>, run: &RunView) -> Result<(), CliError> {
    let narrator = stage.narrator;
    let head =
        format!("run {} of {}, set off by {}: {}, {} {UNIT} spent", run.id, run.duty, run.by, run.state, run.spent);
    narrator.tell("run", json!({ "run": run }), one_line(&head))?;
    for step in &run.steps {
        let by = step
            .hires
            .iter()
            .filter_map(|hire| Some(format!("{} for {}", stage.name_of(hire.seller.as_deref()?)?, hire.price?)));
        let by = by.collect::<Vec<_>>().join(", ");
        let by = if by.is_empty() { by } else { format!(" by {by}") };
        let line = format!("  {}{by}: {}, on the word of {}", step.what, step.state, step.trust.as_str());
        narrator.tell("run_step", json!({ "step": step.id }), one_line(&line))?;
    }
    match &run.failure {
        None => Ok(()),
        Some(why) => Err(lab_error(format!("the run failed: {why}"))),
    }
}

/// Delivers a webhook, and returns its status.
async fn deliver(Port(port): &Port, delivery: &str, secret: &str, body: &str) -> Result<u16, CliError> {
    let mut engine = HmacEngine::<sha256::Hash>::new(secret.as_bytes());
    engine.input(body.as_bytes());
    let signature = hex::encode(Hmac::from_engine(engine).to_byte_array());
    let request = format!(
        "POST /hooks/repo HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-length: {}\r\n\
         x-github-event: push\r\nx-github-delivery: {delivery}\r\nx-hub-signature-256: sha256={signature}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", *port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange.await.map_err(|cause| CliError::io("the webhook wasn't answered", &cause))?;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| lab_error("the webhook's answer isn't HTTP".into()))
}
