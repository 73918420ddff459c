//! The clients of node/clients, and the description of the control API, against a real node.

#![allow(clippy::unwrap_used)]

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use guilder_tests::{
    Daemon, LONG, Ran, Swarm, binary, eventually, foreign,
    swarm::{self, Money},
};
use serde_json::{Value, json};

/// A buyer that can hire an echo, and its seller.
fn market() -> (Swarm, Daemon, Daemon) {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let buyer = swarm.buyer(100, "");
    swarm::sell_echo(&seller, "text.echo", 3, "concurrency = 8");
    eventually("the service to be found", LONG, || {
        let found = buyer.run(["find", "text.echo"]);
        if found.code() == 0 { Ok(()) } else { Err(found) }
    });
    (swarm, seller, buyer)
}

/// What a program of either client saw, which do the same.
#[track_caller]
fn is_what_the_node_says(seen: &Value, seller: &Daemon, buyer: &Daemon) {
    let task = buyer.json(["task", "list", "--state", "delivered"]);
    let ids: Vec<_> = task.as_array().unwrap().iter().map(|task| &task["id"]).collect();
    assert_eq!((ids.len(), Money::of(buyer).paid), (4, 12), "each was paid once: {seen}");
    assert_eq!(seen["sellers"], json!([seller.peer_id()]), "{seen}");
    assert_eq!((&seen["output"], ids.contains(&&seen["task"])), (&json!("hello"), true), "{seen}");
    let steps = seen["steps"].as_array().unwrap();
    assert!(steps.len() > 3 && steps[0] == "hired" && steps[1] == "step" && steps.last().unwrap() == "ended", "{seen}");
    assert_eq!(seen["same"], true, "the same key is the same task: {seen}");
    assert_eq!(seen["conflict"], json!(["conflict", "ours", true, false]), "{seen}");
    assert_eq!(seen["failed"], json!(["failed", true]), "{seen}");
    assert_eq!((&seen["listed"], &seen["shown"]), (&json!([seen["task"]]), &json!("delivered")), "{seen}");
    assert!(seen["available"].as_u64().unwrap() > 0, "{seen}");
    assert_eq!(seen["nowhere"], true, "{seen}");
    assert_eq!((&seen["async"], &seen["event"]), (&json!(["0", "1", "2"]), &json!("event")), "{seen}");
}

/// Says, past the harness, that a test is skipped.
fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: no {what} here");
}

#[test]
fn a_program_in_python_finds_hires_and_hears() {
    let version = "import sys; sys.exit(sys.version_info < (3, 10))";
    let python = Command::new("python3").args(["-c", version]).stderr(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        return skip("Python 3.10 or later");
    }
    let (_swarm, seller, buyer) = market();
    let mut program = Command::new("python3");
    program.arg(binary::file("tests/foreign/client.py")).arg(buyer.path()).arg("text.echo");
    program.env("PYTHONPATH", binary::file("node/clients/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    is_what_the_node_says(&Ran::of(program, b"").ok().json(), &seller, &buyer);
}

#[test]
fn a_program_in_typescript_finds_hires_and_hears() {
    let Some(libraries) = foreign::libraries() else { return foreign::skip("Node.js with TypeScript") };
    let compiler = libraries.join("node_modules/typescript/bin/tsc");
    if !compiler.exists() {
        return foreign::skip("TypeScript");
    }
    let (_swarm, seller, buyer) = market();
    let source = binary::file("node/clients/typescript");
    let folder = buyer.file("client");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("package.json"), "{\"type\": \"module\"}").unwrap();
    let types: PathBuf = libraries.join("node_modules/@types");
    let mut compile = Command::new("node");
    compile.arg(compiler).arg("-p").arg(&source).arg("--outDir").arg(&folder).arg("--typeRoots").arg(types);
    Ran::of(compile, b"").ok();
    let mut program = Command::new("node");
    program
        .arg(binary::file("tests/foreign/client.js"))
        .arg(folder.join("index.js"))
        .arg(buyer.path())
        .arg("text.echo");
    is_what_the_node_says(&Ran::of(program, b"").ok().json(), &seller, &buyer);
}

/// Holds an answer against a schema of the description.
#[track_caller]
fn satisfies(description: &Value, schema: &Value, answer: &Value, what: &str) {
    let mut whole = schema.clone();
    whole["components"] = description["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap();
    let wrong: Vec<_> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:#?} in {answer:#}");
}

#[test]
fn the_nodes_answers_are_as_the_description_of_the_api_has_them() {
    let (_swarm, seller, buyer) = market();
    let done = swarm::hire(&buyer, "text.echo", b"hi", &["--label", "one"]);
    buyer.run(["wallet", "send", "5"]).ok();
    buyer.run(["hire", "no.such", "--input", "-"]).failed();
    let token = |node: &Daemon| format!("Bearer {}", node.access().unwrap()["token"].as_str().unwrap());
    let description = buyer.api("GET", "/v1/openapi.json", &[("authorization", &token(&buyer))]).json();
    let checked_in: Value =
        serde_json::from_str(&std::fs::read_to_string(binary::file("docs/openapi.json")).unwrap()).unwrap();
    assert_eq!(description, checked_in);

    let mut count = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        let Some(operation) = methods.get("get").filter(|_| !path.contains("hello") && !path.contains("events")) else {
            continue;
        };
        let name = if path.contains("/tasks/") { done.id() } else { "text.echo" };
        let asked = path.replace("{id}", name).replace("{name}", "text.echo");
        let content = operation["responses"]["200"]["content"].as_object().unwrap();
        for node in [&seller, &buyer] {
            if path.contains("/sent/") {
                continue;
            }
            let answer = node.api("GET", &asked, &[("authorization", &token(node))]);
            if answer.status != 200 {
                // A seller that never bought has no audit bundle, say: a refusal has its one shape.
                satisfies(&description, &json!({"$ref": "#/components/schemas/Error"}), &answer.json(), &asked);
                continue;
            }
            count += 1;
            if let Some(json) = content.get("application/json") {
                satisfies(&description, &json["schema"], &answer.json(), &asked);
            } else if let Some(lines) = content.get("application/x-ndjson") {
                for line in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    satisfies(&description, &lines["schema"], &serde_json::from_slice(line).unwrap(), &asked);
                }
            }
        }
    }
    assert!(count > 25, "{count} answers were looked at");
}
