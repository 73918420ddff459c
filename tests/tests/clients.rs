//! The clients of node/clients, and the description of the control API, against a real node.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use guilder_tests::{
    Daemon, Home, LONG, Ran, Swarm, binary, eventually, foreign, skip,
    swarm::{self, Books, LOOPBACK, Money, SHORT_LOCKS},
};
use serde_json::{Value, json};

/// A buyer that can hire an echo, and its seller.
fn market() -> (Swarm, Daemon, Daemon) {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let buyer = swarm.buyer(100, "");
    swarm::sell_echo(&seller, "text.echo", 3, "concurrency = 8");
    meet(&buyer, "text.echo");
    (swarm, seller, buyer)
}

#[track_caller]
fn meet(buyer: &Daemon, service: &str) {
    eventually(&format!("{service} to be found"), LONG, || {
        let found = buyer.run(["find", service]);
        if found.code() == 0 { Ok(()) } else { Err(found) }
    });
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
    assert_eq!(seen["conflict"], json!(["conflict", "ours", true, false, seen["task"]]), "{seen}");
    assert_eq!(seen["failed"], json!(["failed", true, "cannot_trade"]), "{seen}");
    assert_eq!((&seen["listed"], &seen["shown"]), (&json!([seen["task"]]), &json!("delivered")), "{seen}");
    assert!(seen["available"].as_u64().unwrap() > 0, "{seen}");
    assert_eq!(seen["nowhere"], true, "{seen}");
    assert_eq!((&seen["async"], &seen["event"]), (&json!(["0", "1", "2"]), &json!("event")), "{seen}");
}

fn has_python() -> bool {
    let version = "import sys; sys.exit(sys.version_info < (3, 10))";
    let python = Command::new("python3").args(["-c", version]).stderr(Stdio::null()).status();
    python.is_ok_and(|status| status.success())
}

/// A program of tests/foreign, with the client.
fn in_python(file: &str) -> Command {
    let mut program = Command::new("python3");
    program.arg(binary::file("tests/foreign").join(file));
    program.env("PYTHONPATH", binary::file("node/clients/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
    program
}

#[test]
fn a_program_in_python_finds_hires_and_hears() {
    if !has_python() {
        return skip("Python 3.10 or later");
    }
    let (_swarm, seller, buyer) = market();
    let mut program = in_python("client.py");
    program.arg(buyer.path()).arg("text.echo");
    is_what_the_node_says(&Ran::of(program, b"").ok().json(), &seller, &buyer);
}

/// A program of tests/foreign, with the client, which is compiled into the daemon's folder; none where it can't be.
fn in_typescript(file: &str, daemon: &Daemon) -> Option<Command> {
    let libraries = foreign::libraries()?;
    let compiler = libraries.join("node_modules/typescript/bin/tsc");
    if !compiler.exists() {
        return None;
    }
    let source = binary::file("node/clients/typescript");
    let folder = daemon.file("client");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("package.json"), "{\"type\": \"module\"}").unwrap();
    let types: PathBuf = libraries.join("node_modules/@types");
    let mut compile = Command::new("node");
    compile.arg(compiler).arg("-p").arg(&source).arg("--outDir").arg(&folder).arg("--typeRoots").arg(types);
    Ran::of(compile, b"").ok();
    let mut program = Command::new("node");
    program.arg(binary::file("tests/foreign").join(file)).arg(folder.join("index.js"));
    Some(program)
}

#[test]
fn a_program_in_typescript_finds_hires_and_hears() {
    let (_swarm, seller, buyer) = market();
    let Some(mut program) = in_typescript("client.js", &buyer) else {
        return foreign::skip("Node.js with TypeScript");
    };
    program.arg(buyer.path()).arg("text.echo");
    is_what_the_node_says(&Ran::of(program, b"").ok().json(), &seller, &buyer);
}

/// What a program with a caller's token saw.
#[track_caller]
fn is_the_caller(program: Command, daemon: &Daemon) {
    let seen = Ran::of(program, b"").ok().json();
    let is_itself = json!([daemon.peer_id(), "needs_approval"]);
    assert_eq!((&seen["named"], &seen["environment"]), (&is_itself, &is_itself), "{seen}");
    assert_eq!((&seen["nobody"], &seen["forged"]), (&json!([false, true]), &json!("NotRunning")), "{seen}");
    let asked = daemon.json(["approvals"]);
    assert_eq!((asked[0]["caller"].as_str(), asked.as_array().unwrap().len()), (Some("caller/ci"), 1), "{asked}");
}

#[test]
fn a_program_in_either_language_is_the_caller_whose_name_or_token_it_is_given() {
    let daemon = Daemon::start("node", &Home::new(LOOPBACK));
    daemon.run(["caller", "add", "ci", "--risk", "high", "--budget", "10/day"]).ok();
    if has_python() {
        let mut python = in_python("caller.py");
        python.arg(daemon.path()).arg("ci");
        is_the_caller(python, &daemon);
    } else {
        skip("Python 3.10 or later");
    }
    match in_typescript("caller.js", &daemon) {
        Some(mut typescript) => {
            typescript.arg(daemon.path()).arg("ci");
            is_the_caller(typescript, &daemon);
        }
        None => foreign::skip("Node.js with TypeScript"),
    }
}

/// A copy of a client's folder, to build in.
fn copy_of(client: &str, into: &Path) -> PathBuf {
    let (from, to) = (binary::file("node/clients").join(client), into.join(client));
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(from).arg(&to);
    Ran::of(copy, b"").ok();
    to
}

#[test]
fn the_python_client_builds_as_a_wheel_that_can_be_imported() {
    let folder = tempfile::tempdir().unwrap();
    let pip = |args: &[&str]| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "--disable-pip-version-check"]).args(args).current_dir(folder.path());
        Ran::of(pip, b"")
    };
    // What builds it comes from the registry, if there is one.
    if !has_python()
        || pip(&[
            "download",
            "--timeout",
            "10",
            "--retries",
            "1",
            "--quiet",
            "--no-deps",
            "--dest",
            "tools",
            "setuptools>=77",
        ])
        .code()
            != 0
    {
        return skip("pip that can fetch setuptools");
    }
    copy_of("python", folder.path());
    pip(&["wheel", "--quiet", "--no-deps", "--no-index", "--find-links", "tools", "--wheel-dir", "wheels", "./python"])
        .ok();
    let wheels: Vec<_> =
        std::fs::read_dir(folder.path().join("wheels")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [wheel] = &*wheels else { panic!("{wheels:?}") };
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", wheel).current_dir(folder.path());
    let program = "import guilder, importlib.resources as r; print(guilder.__file__, r.files(guilder).joinpath('py.typed').is_file())";
    python.args(["-c", program]);
    let said = Ran::of(python, b"").ok().text();
    assert!(said.contains(".whl/guilder/") && said.trim_end().ends_with("True"), "{said}");
}

#[test]
fn the_typescript_client_builds_as_a_package_with_its_types() {
    let Some(libraries) = foreign::libraries() else { return foreign::skip("Node.js with TypeScript") };
    let modules = libraries.join("node_modules");
    if !modules.join("typescript/bin/tsc").exists()
        || !Command::new("npm").arg("--version").output().is_ok_and(|ran| ran.status.success())
    {
        return foreign::skip("npm and TypeScript");
    }
    let folder = tempfile::tempdir().unwrap();
    let source = copy_of("typescript", folder.path());
    let _ = std::fs::remove_dir_all(source.join("node_modules"));
    std::os::unix::fs::symlink(modules, source.join("node_modules")).unwrap();
    let mut npm = Command::new("npm");
    npm.args(["pack", "--offline", "--json"]).current_dir(&source);
    let packed = Ran::of(npm, b"").ok().text();
    let packed: Value = serde_json::from_str(&packed[packed.find("[\n").unwrap_or_default()..]).unwrap();
    let files: Vec<_> =
        packed[0]["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    for file in ["package.json", "README.md", "dist/index.js", "dist/index.d.ts"] {
        assert!(files.contains(&file), "{file} is not among {files:?}");
    }
    assert!(source.join(packed[0]["filename"].as_str().unwrap()).exists());
}

/// How many orders are placed: few, or as many as the environment says.
fn orders() -> u64 {
    std::env::var("GUILDER_ORDERS").ok().map_or(30, |count| count.parse().unwrap())
}

/// Ten lines of a program against a seller that fails three times in ten, a mint that dies and comes back, and its own node
/// killed and started again. `GUILDER_ORDERS=1000` places a thousand.
#[test]
fn each_order_of_a_program_is_paid_once_whatever_fails_and_every_coin_is_there() {
    const PRICE: u64 = 3;
    if !has_python() {
        return skip("Python 3.10 or later");
    }
    let count = orders();
    let mut swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "wallet.redemption.interval_secs = 1\n");
    let mut buyer = swarm.buyer(count * PRICE * 3 + 100, SHORT_LOCKS);
    let (tally, gate) = (seller.file("tally"), seller.file("gate"));
    // From its middle on it waits for the mint to be dead: else the program may be done before.
    let script = format!(
        "echo >> '{0}'; run=$(wc -l < '{0}'); if [ $run -gt {middle} ]; then until [ -e '{1}' ]; do sleep 0.05; done; fi; \
         case $((run % 10)) in 0|3|6) echo unlucky >&2; exit 1;; esac; cat",
        tally.display(),
        gate.display(),
        middle = count / 2,
    );
    swarm::sell_script(&seller, "text.flaky", PRICE, &script, "concurrency = 8");
    meet(&buyer, "text.flaky");

    let began = Instant::now();
    let mut program = in_python("orders.py");
    program.arg(buyer.path()).arg("text.flaky").arg(count.to_string());
    let program = thread::spawn(move || Ran::of_within(program, b"", LONG + Duration::from_secs(5 * count)));
    let patience = LONG * 2 + Duration::from_secs(2 * count);
    let paid_for = |buyer: &Daemon, orders: u64| {
        eventually(&format!("{orders} orders to be paid"), patience, || {
            let paid = Money::of(buyer).paid;
            if paid >= orders * PRICE { Ok(()) } else { Err(paid) }
        });
    };
    paid_for(&buyer, count / 4);
    // All five of the program's hires stand at the gate: of any five runs one is unlucky, and wants another lock.
    eventually("the works to wait", patience, || {
        let runs = std::fs::read_to_string(&tally).unwrap_or_default().lines().count() as u64;
        if runs >= count / 2 + 5 { Ok(()) } else { Err(runs) }
    });
    swarm.mint.kill();
    std::fs::write(&gate, "").unwrap();
    eventually("a hire to fail by the mint", patience, || {
        let failed = buyer.json(["task", "list", "--state", "failed", "--limit", "10"]);
        let by_mint = failed.as_array().unwrap().iter().any(|task| task["failure"]["fault"] == "mint");
        if by_mint { Ok(()) } else { Err(failed) }
    });
    swarm.mint.restart();
    paid_for(&buyer, count / 2);
    buyer.kill();
    buyer.restart();

    let ran = program.join().unwrap().ok();
    let took = began.elapsed();
    let expected: Vec<_> = (0..count).map(|order| order.to_string()).collect();
    assert_eq!(ran.text().lines().collect::<Vec<_>>(), expected, "{ran}");
    // The last receipts may be on their way still.
    let money = eventually("the last orders to be paid", LONG, || {
        let money = Money::of(&buyer);
        if money.paid == count * PRICE && money.at_risk + money.pending == 0 {
            Ok(money)
        } else {
            Err(format!("{money:?}"))
        }
    });
    assert_eq!((money.forfeited, money.lost), (0, 0), "{money:?}");
    let sold = eventually("all that was earned to be redeemed", LONG, || {
        let rows = seller.json(["earnings"]);
        if rows[0]["redeemed"] == count * PRICE { Ok(rows[0].clone()) } else { Err(rows) }
    });
    assert_eq!(
        (&sold["delivered"], &sold["unredeemed"], &sold["lost"]),
        (&json!(count), &json!(0), &json!(0)),
        "{sold}"
    );
    assert!(sold["failed"].as_u64().unwrap() > 0, "nothing has failed: {sold}");
    let books = Books::of(&[&buyer, &seller]);
    books.add_up();
    assert_eq!(books.sum().total(), swarm.in_circulation(), "the mint's books: {books}");
    let _ = writeln!(
        std::io::stderr(),
        "{count} orders in {:.0} s, {:.1} a second; failed works: {}; the program saw {} errors; {money:?}",
        took.as_secs_f64(),
        count as f64 / took.as_secs_f64(),
        sold["failed"],
        ran.error_text().lines().count(),
    );
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
fn an_error_has_one_shape_on_every_status_in_a_stream_and_in_a_task() {
    let (_swarm, _seller, buyer) = market();
    let token = format!("Bearer {}", buyer.access().unwrap()["token"].as_str().unwrap());
    let description = buyer.api("GET", "/v1/openapi.json", &[("authorization", &token)]).json();
    let is_error = |error: &Value, code: &str, what: &str| {
        satisfies(&description, &json!({"$ref": "#/components/schemas/Error"}), error, what);
        let fields: BTreeSet<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            BTreeSet::from(["code", "fault", "hint", "message", "money", "retryable", "task"]),
            "{what}"
        );
        assert_eq!(error["code"], code, "{what}: {error}");
        assert!(error["hint"].is_string(), "{what}: {error}");
    };
    let done = swarm::hire(&buyer, "text.echo", b"hi", &["--id", "a"]);
    let with_output = format!("/v1/tasks/{}", done.id());
    for (method, path, status, code) in [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/tasks/zzzzzz", 404, "not_found"),
        ("PUT", "/v1/tasks", 405, "method_not_allowed"),
        ("DELETE", "/v1/wallet", 405, "method_not_allowed"),
        ("GET", "/v1/tasks?limit=many", 400, "invalid"),
        ("GET", "/v1/tasks?colour=red", 400, "invalid"),
        ("GET", "/v1/hello?nonce=zz", 400, "invalid"),
        ("POST", "/v1/tasks?service=text.echo&sellr=x", 400, "invalid"),
        ("GET", "/v1/tasks?side=broker", 400, "invalid"),
        ("GET", "/v1/find/Not%20a%20name", 400, "invalid"),
        ("POST", "/v1/wallet/send", 400, "invalid"),
        ("POST", "/v1/tasks", 400, "invalid"),
        ("POST", "/v1/tasks?service=text.echo&id=a", 409, "conflict"),
        ("DELETE", with_output.as_str(), 400, "invalid"),
    ] {
        let answer = buyer.api(method, path, &[("authorization", &token), ("content-type", "application/json")]);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.json());
        let error = answer.json();
        is_error(&error, code, path);
        assert_eq!((&error["fault"], &error["retryable"]), (&"ours".into(), &false.into()), "{method} {path}: {error}");
    }
    let nobody = buyer.api("GET", "/v1/nothing", &[]);
    assert_eq!(nobody.status, 401);
    is_error(&nobody.json(), "not_allowed", "without a token");

    // It names the task that it is about, and what became of the money.
    let conflict = buyer.api("POST", "/v1/tasks?service=text.echo&id=a", &[("authorization", &token)]).json();
    assert_eq!((conflict["task"].as_str(), &conflict["money"]), (Some(done.id()), &Value::Null), "{conflict}");
    let over = buyer.api("DELETE", &with_output, &[("authorization", &token)]).json();
    assert_eq!((over["task"].as_str(), &over["money"]), (Some(done.id()), &done.task["money"]), "{over}");
    let failed = buyer.run(["hire", "no.such", "--input", "-"]);
    let ended = failed.lines().pop().unwrap()["ended"].clone();
    is_error(&ended["failure"], "cannot_trade", "a task");
    assert_eq!((&ended["failure"]["task"], &ended["failure"]["money"]), (&ended["id"], &Value::Null), "{ended}");
    let said: Value = serde_json::from_str(failed.error_text().lines().last().unwrap()).unwrap();
    let said = &said["error"];
    assert_eq!((&said["code"], &said["task"], &said["money"]), (&json!("cannot_trade"), &ended["id"], &Value::Null));
    let poor = buyer.run(["wallet", "send", "100000"]);
    let said: Value = serde_json::from_str(poor.error_text().lines().last().unwrap()).unwrap();
    assert!(said["error"]["money"].as_str().unwrap().contains("untouched"), "{said}");
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
