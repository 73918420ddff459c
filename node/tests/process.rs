//! Programs as services, run under the real guard: what they may do, and what becomes of those that misbehave.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use guilder::{
    content::{Content, Data},
    executor::{Definition, ExecError, Executors, Reports, Service, Work, process::orphans},
    runtime::{self, Runtime},
};
use guilder_protocol::{
    cbor,
    identity::AgentId,
    limits::{MAX_CONTENT, MAX_INLINE},
    receipt::FailureCode,
};
use tempfile::TempDir;

struct Home {
    dir: TempDir,
    content: Content,
    executors: Executors,
}

impl Home {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::production(runtime::Limits::default());
        let content = Content::open(dir.path().join("content"), runtime.clone()).await.unwrap();
        let guard = env!("CARGO_BIN_EXE_guilder").into();
        let executors = Executors::open(guard, dir.path().join("work"), content.clone(), runtime).await.unwrap();
        Self { dir, content, executors }
    }

    /// A service that runs `sh -c script`, with `more` lines in its definition.
    async fn shell(&self, script: &str, more: &str) -> Service {
        let command = format!("command = [\"/bin/sh\", \"-c\", {}]", serde_json::to_string(script).unwrap());
        self.service(&command, more).await
    }

    async fn service(&self, process: &str, more: &str) -> Service {
        let (time, size) = ("20".to_owned(), MAX_CONTENT.to_string());
        let defaults = [("time_limit_secs", &time), ("max_input_bytes", &size), ("max_output_bytes", &size)];
        let mut text = format!("name = \"test.it\"\nprice = 1\nunit = \"sat\"\n{more}\n");
        for (name, value) in defaults.into_iter().filter(|(name, _)| !more.contains(name)) {
            text += &format!("{name} = {value}\n");
        }
        text += &format!("[run.process]\n{process}\n");
        let definition = Definition::from_toml(&text, Path::new("/")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Service::new(definition, &self.executors).await.unwrap()
    }

    fn work(&self, service: &Service, input: Data) -> Work {
        service.work(cbor::cid_of(b"award"), AgentId::from_bytes([5; 32]), input)
    }

    async fn run(&self, service: &Service, input: &'static [u8]) -> Result<String, ExecError> {
        let slot = service.try_reserve().unwrap();
        let output = service.run(slot, self.work(service, Data::Inline(Bytes::from_static(input)))).await?;
        let bytes = output.read(&self.content, MAX_CONTENT).await.unwrap();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn fails(&self, script: &str, more: &str) -> ExecError {
        let service = self.shell(script, more).await;
        let error = self.run(&service, b"input").await.unwrap_err();
        self.assert_tidy().await;
        error
    }

    /// Nothing is left of any run: the folders go once their programs are gone.
    async fn assert_tidy(&self) {
        let left = || std::fs::read_dir(self.dir.path().join("work")).unwrap().count();
        assert!(soon(|| left() == 0).await, "a work folder is left");
        let temp = self.dir.path().join("content/temp");
        assert!(soon(|| std::fs::read_dir(&temp).unwrap().count() == 0).await, "a temporary content is left");
    }
}

async fn soon(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(15);
    while !holds() {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// The processes whose command line has this text in it.
fn processes_with(marker: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() as i32 && String::from_utf8_lossy(&line).contains(marker)
    })
    .collect()
}

#[tokio::test]
async fn input_goes_in_and_output_comes_out() {
    let home = Home::new().await;
    let service = home.shell("tr a-z A-Z; echo noise >&2", "").await;
    assert_eq!(home.run(&service, b"hello").await.unwrap(), "HELLO");
    assert_eq!(home.run(&service, b"").await.unwrap(), "");
    home.assert_tidy().await;
}

#[tokio::test]
async fn the_environment_is_clean_and_says_what_the_work_is() {
    let home = Home::new().await;
    let settings =
        "command = [\"/usr/bin/env\"]\nenv = { MODEL = \"small\" }\npass_env = [\"CARGO_PKG_NAME\", \"NOT_SET\"]";
    let service = home.service(settings, "").await;
    let printed = home.run(&service, b"12345").await.unwrap();
    let mut names: Vec<_> = printed.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    // cargo sets it for its tests
    names.retain(|name| *name != "CARGO_PKG_NAME");
    assert_eq!(
        names,
        [
            "GUILDER_AWARD",
            "GUILDER_BUYER",
            "GUILDER_INPUT_BYTES",
            "GUILDER_MAX_OUTPUT_BYTES",
            "GUILDER_PROGRESS_FD",
            "GUILDER_SERVICE",
            "GUILDER_TIME_LIMIT_SECS",
            "HOME",
            "MODEL",
            "PATH",
            "TMPDIR"
        ]
    );
    for line in [
        "MODEL=small",
        "GUILDER_SERVICE=test.it",
        "GUILDER_INPUT_BYTES=5",
        "GUILDER_TIME_LIMIT_SECS=20",
        &format!("CARGO_PKG_NAME={}", std::env::var("CARGO_PKG_NAME").unwrap()),
        &format!("GUILDER_AWARD={}", cbor::cid_of(b"award")),
        &format!("GUILDER_BUYER={}", AgentId::from_bytes([5; 32])),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is missing in\n{printed}");
    }
}

#[tokio::test]
async fn it_works_in_its_own_empty_folder() {
    let home = Home::new().await;
    let script = "test \"$PWD\" = \"$HOME\" && test \"$TMPDIR\" = \"$HOME\" && ls -A && echo x > f && mkdir -p a/b && \
                  chmod 0 a && pwd";
    let service = home.shell(script, "concurrency = 2").await;
    let (one, two) = tokio::join!(home.run(&service, b""), home.run(&service, b""));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one, two);
    assert!(one.trim().starts_with(home.dir.path().to_str().unwrap()) && one.lines().count() == 1, "{one}");
    home.assert_tidy().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_says_so() {
    let home = Home::new().await;
    let service = home.service("command = [\"/no/such/program\", \"x\"]", "").await;
    let error = home.run(&service, b"").await.unwrap_err();
    assert!(
        matches!(&error, ExecError::NotStarted { program, why } if program == "/no/such/program" && why.contains("No such file")),
        "{error}"
    );
    assert!(!error.public_text().contains("/no/such"));
    home.assert_tidy().await;
}

#[tokio::test]
async fn a_failure_has_its_cause_and_last_words() {
    let home = Home::new().await;
    let error = home.fails("echo partial; echo the model is missing >&2; exit 3", "").await;
    assert_eq!(error.to_string(), "the program ended with exit code 3: the model is missing");
    assert_eq!(
        (error.code(), error.public_text().as_str()),
        (FailureCode::Crashed, "the program ended with exit code 3")
    );
    let error = home.fails("kill -SEGV $$", "").await;
    assert_eq!(error.to_string(), "the program ended with signal 11");
    let error = home.fails("i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1", "").await;
    assert!(error.to_string().ends_with("line 19999") && error.to_string().len() < 2200, "{error}");
}

/// What a run said until its end: the last share, the notes, the words joined.
async fn heard(reports: &mut Reports) -> (Option<u16>, Vec<String>, String) {
    let (mut permille, mut notes, mut words) = (None, Vec::new(), String::new());
    while let Some(report) = reports.next().await {
        permille = report.permille.or(permille);
        notes.extend(report.note);
        words += &report.partial;
    }
    (permille, notes, words)
}

#[tokio::test]
async fn progress_is_heard_while_the_program_works() {
    let home = Home::new().await;
    let go_on = home.dir.path().join("go-on");
    let script = format!(
        "echo '40% page 2' >&$GUILDER_PROGRESS_FD; echo '{{\"partial\": \"so far\"}}' >&$GUILDER_PROGRESS_FD
         while [ ! -e {go_on:?} ]; do sleep 0.02; done; echo whole"
    );
    let service = home.shell(&script, "").await;
    let (work, mut reports) = home.work(&service, Data::Inline(Bytes::new())).reported();
    let watch = async {
        let (mut permille, mut note, mut words) = (None, None, String::new());
        while permille.is_none() || note.is_none() || words.is_empty() {
            let report = reports.next().await.unwrap();
            (permille, note) = (report.permille.or(permille), report.note.or(note));
            words += &report.partial;
        }
        assert_eq!((permille, note.as_deref(), words.as_str()), (Some(400), Some("page 2"), "so far"));
        std::fs::write(&go_on, "").unwrap();
    };
    let (output, ()) = tokio::join!(service.run(service.try_reserve().unwrap(), work), watch);
    assert_eq!(output.unwrap(), Data::Inline(Bytes::from_static(b"whole\n")));
    home.assert_tidy().await;
}

#[tokio::test]
async fn bad_progress_disturbs_no_work() {
    let home = Home::new().await;
    for script in [
        "head -c 10M /dev/zero >&$GUILDER_PROGRESS_FD",
        "yes 'one line after another' | head -c 10M >&$GUILDER_PROGRESS_FD",
        "printf '\\377\\376\\n{\\n{}\\n' >&$GUILDER_PROGRESS_FD",
        "eval \"exec $GUILDER_PROGRESS_FD>&-\"",
        "eval \"exec $GUILDER_PROGRESS_FD<&0\"",
    ] {
        let service = home.shell(&format!("{script}; echo done"), "").await;
        let (work, mut reports) = home.work(&service, Data::Inline(Bytes::new())).reported();
        let (output, _) = tokio::join!(service.run(service.try_reserve().unwrap(), work), heard(&mut reports));
        assert_eq!(output.unwrap(), Data::Inline(Bytes::from_static(b"done\n")), "{script}");
    }
    // nobody listens
    let service = home.shell("head -c 1M /dev/zero >&$GUILDER_PROGRESS_FD; echo done", "").await;
    assert_eq!(home.run(&service, b"").await.unwrap(), "done\n");
    home.assert_tidy().await;
}

#[tokio::test]
async fn the_documented_examples_report_their_progress() {
    let home = Home::new().await;
    let page = include_str!("../../docs/services.md");
    let example = |language: &str| {
        let (_, from) = page.split_once(&format!("```{language}\n")).unwrap();
        from.split_once("```").unwrap().0.to_owned()
    };
    for (program, language, output, words) in [("sh", "sh", "3\n", ""), ("python3", "python", "a yb c\n", "a yb c ")] {
        if std::process::Command::new(program).arg("-c").arg("").status().is_err() {
            eprintln!("skipped: there is no {program} here");
            continue;
        }
        let code = serde_json::to_string(&example(language)).unwrap();
        let service = home.service(&format!("command = [\"{program}\", \"-c\", {code}]"), "").await;
        let (work, mut reports) = home.work(&service, Data::Inline(Bytes::from_static(b"a by c"))).reported();
        let run = service.run(service.try_reserve().unwrap(), work);
        let (ended, (permille, _, said)) = tokio::join!(run, heard(&mut reports));
        assert_eq!(ended.unwrap(), Data::Inline(Bytes::from_static(output.as_bytes())), "{program}");
        assert!(permille.is_some_and(|permille| permille >= 900), "{program}: {permille:?}");
        assert_eq!(said, words, "{program}");
    }
}

#[tokio::test]
async fn the_end_of_stderr_is_there_after_every_run() {
    let home = Home::new().await;
    for (script, more) in
        [("echo warned >&2", ""), ("echo warned >&2; exit 1", ""), ("echo warned >&2; sleep 60", "time_limit_secs = 5")]
    {
        let service = home.shell(script, more).await;
        let (work, reports) = home.work(&service, Data::Inline(Bytes::new())).reported();
        let _ = service.run(service.try_reserve().unwrap(), work).await;
        assert_eq!(reports.log(), "warned\n", "{script}");
    }
}

#[tokio::test]
async fn a_hanging_program_is_killed_with_what_it_started() {
    let home = Home::new().await;
    let began = Instant::now();
    // one grandchild in the group, one in a group of its own, one in a session of its own that nobody waits for
    let script = "sleep 7710.1 & timeout 7710.2 sleep 7710.2 & (setsid sleep 7710.3 &) ; sleep 7710.4";
    let error = home.fails(script, "time_limit_secs = 1").await;
    assert!(matches!(error, ExecError::TimedOut { secs: 1 }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(soon(|| processes_with("7710.").is_empty()).await, "{:?}", processes_with("7710."));
}

#[tokio::test]
async fn what_a_program_leaves_running_ends_with_it() {
    let home = Home::new().await;
    let service = home.shell("sleep 7720.1 & (setsid sleep 7720.2 &); sleep 0.2; echo done", "").await;
    let began = Instant::now();
    assert_eq!(home.run(&service, b"").await.unwrap(), "done\n");
    assert!(began.elapsed() < Duration::from_secs(10), "the grandchildren hold its stdout, which must not matter");
    assert!(soon(|| processes_with("7720.").is_empty()).await);
    home.assert_tidy().await;
}

#[tokio::test]
async fn dropping_the_run_kills_it() {
    let home = Home::new().await;
    let service = home.shell("sleep 7730.1 & setsid sleep 7730.2 & wait", "").await;
    let run = home.run(&service, b"");
    let started = soon(|| processes_with("sleep\x007730.").len() == 2);
    tokio::select! {
        _ = run => unreachable!("it sleeps"),
        started = started => assert!(started),
    }
    assert!(soon(|| processes_with("7730.").is_empty()).await);
    assert_eq!(service.free_places(), 1);
    home.assert_tidy().await;
}

#[tokio::test]
async fn a_flood_of_output_is_stopped() {
    let home = Home::new().await;
    for limit in [1000, 1024 * 1024] {
        let error = home.fails("cat /dev/zero", &format!("max_output_bytes = {limit}")).await;
        assert!(matches!(error, ExecError::OutputTooLarge { limit_bytes } if limit_bytes == limit), "{error}");
        assert_eq!(error.code(), FailureCode::OutputTooLarge);
    }
    let error = home.fails("cat /dev/zero >&2", "time_limit_secs = 1").await;
    assert!(matches!(error, ExecError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_memory_hog_is_killed() {
    let home = Home::new().await;
    // the program's own memory, and a grandchild's
    for script in [
        "exec dd if=/dev/zero of=/dev/null bs=1G count=20",
        "head -c 2G /dev/zero | tail -c 1G | wc -c & wait; echo over",
    ] {
        let error = home.fails(script, "memory_mb = 100").await;
        let ExecError::OutOfMemory { used_bytes, limit_bytes } = error else { panic!("{error}") };
        assert!(used_bytes > limit_bytes && limit_bytes == 100 << 20);
        assert_eq!(error.code(), FailureCode::OutOfMemory);
    }
    let service = home.shell("head -c 30M /dev/zero | tail -c 20M | wc -c", "memory_mb = 100").await;
    assert_eq!(home.run(&service, b"").await.unwrap().trim(), "20971520");
}

#[tokio::test]
async fn a_fork_bomb_is_killed() {
    let home = Home::new().await;
    let script = "i=0; while [ $i -lt 3000 ]; do sleep 7740.1 & i=$((i+1)); done; wait";
    let error = home.fails(script, "memory_mb = 4000").await;
    assert!(matches!(error, ExecError::TooManyProcesses { .. }), "{error}");
    assert!(soon(|| processes_with("7740.").is_empty()).await);
    // one that doubles, though not for ever, in case it gets away
    let script = "bomb() { if [ $1 -gt 0 ]; then bomb $(($1-1)) & bomb $(($1-1)) & fi; sleep 7741.1; }; bomb 10";
    let error = home.fails(script, "memory_mb = 4000").await;
    assert!(matches!(error, ExecError::TooManyProcesses { .. }), "{error}");
    assert!(soon(|| processes_with("7741.").is_empty()).await);
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    let home = Home::new().await;
    let input = home.content.put(Bytes::from(vec![b'x'; 3 << 20])).await.unwrap();
    for (script, printed) in
        [("echo no thanks", "no thanks\n"), ("exec <&-; sleep 0.3; echo closed", "closed\n"), ("head -c 5", "xxxxx")]
    {
        let service = home.shell(script, "").await;
        let work = home.work(&service, Data::Stored(input.clone()));
        let output = service.run(service.try_reserve().unwrap(), work).await.unwrap();
        assert_eq!(output, Data::Inline(Bytes::from_static(printed.as_bytes())), "{script}");
    }
}

#[tokio::test]
async fn a_program_that_kills_its_guard_gains_nothing() {
    let home = Home::new().await;
    let error = home.fails("sleep 7750.1 & kill -9 $PPID; sleep 7750.2", "").await;
    assert!(matches!(&error, ExecError::Failed { how, .. } if how == "its guard killed"), "{error}");
    assert!(soon(|| processes_with("7750.").is_empty()).await);
}

#[tokio::test]
async fn what_left_the_session_of_a_killed_guard_is_killed_too() {
    let home = Home::new().await;
    // as the daemon does
    orphans::adopt();
    let script = "(setsid sleep 7755.1 &); (setsid sh -c 'sleep 7755.2; true' &); (env -i setsid sleep 7755.3 &)
                  sleep 0.2; kill -9 $PPID; sleep 7755.4";
    let error = home.fails(script, "").await;
    assert!(matches!(&error, ExecError::Failed { how, .. } if how == "its guard killed"), "{error}");
    assert!(soon(|| processes_with("7755.").is_empty()).await, "{:?}", processes_with("7755."));
}

/// This process' peak of resident memory, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn sixty_four_mib_pass_through_in_bounded_memory() {
    let home = Home::new().await;
    let mut writer = home.content.writer(MAX_CONTENT).await.unwrap();
    for index in 0..MAX_CONTENT / (1 << 20) {
        writer.write(Bytes::from(vec![index as u8; 1 << 20])).await.unwrap();
    }
    let input = writer.finish().await.unwrap();
    let service = home.service("command = [\"/bin/cat\"]", "").await;
    // resets the peak (proc_pid_clear_refs(5)), so that other tests of this process count less
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak_bytes();
    let work = home.work(&service, Data::Stored(input.clone()));
    let output = service.run(service.try_reserve().unwrap(), work).await.unwrap();
    let grown = peak_bytes().saturating_sub(before);
    assert_eq!(output.id(), input.id());
    assert!(output.size() > MAX_INLINE as u64 && grown < 40 << 20, "the peak grew by {grown} bytes");
    home.assert_tidy().await;
}

#[tokio::test]
async fn places_are_bounded_and_come_back() {
    let home = Home::new().await;
    let service = home.shell("sleep 0.3", "concurrency = 2").await;
    let (one, two) = (service.try_reserve().unwrap(), service.try_reserve().unwrap());
    assert!(service.try_reserve().is_none() && service.free_places() == 0);
    drop(two);
    let three = service.try_reserve().unwrap();
    let work = home.work(&service, Data::Inline(Bytes::new()));
    let (a, b) = tokio::join!(service.run(one, work.clone()), service.run(three, work));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(service.free_places(), 2);
}

#[tokio::test]
async fn schemas_hold_on_both_ends() {
    let home = Home::new().await;
    let more = "input = { type = \"object\", required = [\"text\"] }\noutput = { type = \"number\" }\n\
                max_input_bytes = 1000\nmax_output_bytes = 1000";
    let service = home.shell("cat >/dev/null; echo 42", more).await;
    assert_eq!(home.run(&service, b"{\"text\": \"x\"}").await.unwrap(), "42\n");
    for input in [&b"{}"[..], b"not json", b"[1, 2]"] {
        let error = home.run(&service, input).await.unwrap_err();
        assert!(matches!(error, ExecError::InputInvalid(_)), "{error}");
    }
    let service = home.shell("echo '\"text\"'", more).await;
    let error = home.run(&service, b"{\"text\": \"x\"}").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the output is not what the service promises: at the document: \"text\" is not of type \"number\""
    );
}

/// A node that dies takes its programs with it: a child process starts one, and is killed.
#[tokio::test]
async fn nothing_survives_the_node() {
    const ROLE: &str = "GUILDER_TEST_DIES";
    if std::env::var_os(ROLE).is_some() {
        let home = Arc::new(Home::new().await);
        let service = home.shell("sleep 7760.1 & setsid sleep 7760.2 & sleep 7760.3", "").await;
        let _ = home.run(&service, b"").await;
        unreachable!("it sleeps");
    }
    let mut node = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["nothing_survives_the_node", "--exact"])
        .env(ROLE, "1")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(soon(|| processes_with("sleep\x007760.").len() == 3).await);
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(soon(|| processes_with("7760.").is_empty()).await, "{:?}", processes_with("7760."));
}
