#![allow(clippy::unwrap_used)]
use super::*;

const DIGEST: &str = r#"
name = "digest"
on = [{ cron = "0 7 * * 1-5", zone = "Europe/Berlin", missed = "last", grace = "3h" }, { hook = "repo", event = "push" }, { event = "task_delivered" }]
budget = { unit = "sat", run = 40, day = 100 }
[[step]]
id = "read"
each = "trigger.urls"
max_items = 8
hire = "web.extract"
input = '{"url": "{{item}}"}'
sellers = 2
[[step]]
id = "all"
reduce = "union"
of = "read"
[[step]]
id = "sum"
hire = "text.summarize"
of = "all"
[[step]]
verify = "text.check"
of = "sum"
[[step]]
wait = "10m"
[[step]]
post = "file:digests/today.json"
of = "sum"
"#;

fn problem(text: &str) -> String {
    let error = Duty::from_toml(text).unwrap_err();
    assert!(!error.hint.is_empty());
    error.to_string()
}

fn with(from: &str, to: &str) -> String {
    assert!(DIGEST.contains(from), "{from}");
    DIGEST.replacen(from, to, 1)
}

#[test]
fn a_whole_file_is_read() {
    let duty = Duty::from_toml(DIGEST).unwrap();
    assert_eq!((duty.name.as_str(), duty.on.len(), duty.overlap), ("digest", 3, Overlap::Skip));
    let ids: Vec<_> = duty.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["read", "all", "sum", "4", "5", "6"]);
    let Action::Hire(read) = &duty.steps[0].action else { panic!() };
    assert_eq!((read.sellers, read.quorum, read.most_hires()), (2, 2, 16));
    assert_eq!(ancestry(&duty.steps, "sum"), ["all", "read", "sum"].into());
}

#[test]
fn only_inputs_take_gaps() {
    for (from, to) in [
        ("hire = \"web.extract\"", "hire = \"{{trigger.service}}\""),
        ("sellers = 2", "seller = \"{{trigger.seller}}\""),
        ("sellers = 2", "max_price = \"{{trigger.price}}\""),
        ("sellers = 2", "mint = \"{{trigger.mint}}\""),
        ("max_items = 8", "max_items = \"{{trigger.n}}\""),
        ("each = \"trigger.urls\"", "each = \"{{trigger.path}}\""),
        ("file:digests/today.json", "{{trigger.url}}"),
        ("file:digests/today.json", "http://127.0.0.1:1/{{trigger.path}}"),
        ("of = \"sum\"", "of = \"{{trigger.step}}\""),
        ("unit = \"sat\"", "unit = \"{{trigger.unit}}\""),
    ] {
        assert!(Duty::from_toml(&with(from, to)).is_err(), "{to}");
    }
}

#[test]
fn what_is_recalled_fills_inputs_and_decides_nothing() {
    const RECALLS: &str = "name = \"x\"\nbudget = { unit = \"sat\", run = 9, day = 9 }\n[[step]]\nid = \"known\"\nrecall = \"suppliers\"\n\
                           text = \"{{trigger.q}}\"\nsubject = \"acme\"\n[[step]]\nid = \"said\"\nhire = \"a.b\"\ninput = '\"{{known.0.text}}\"'\n\
                           deadline = \"9s\"\n[[step]]\nremember = \"suppliers\"\nof = \"said\"\n";
    let duty = Duty::from_toml(RECALLS).unwrap();
    let Action::Recall(asking) = &duty.steps[0].action else { panic!() };
    assert_eq!((asking.limit, asking.private), (super::super::limits::RECALLED, false));
    assert_eq!(ancestry(&duty.steps, "3"), ["3", "known", "said"].into());
    for (from, to) in [
        ("hire = \"a.b\"", "hire = \"{{known.0.text}}\""),
        ("deadline = \"9s\"", "seller = \"{{known.0.text}}\""),
        ("deadline = \"9s\"", "max_price = \"{{known.0.text}}\""),
        ("deadline = \"9s\"", "mint = \"{{known.0.text}}\""),
        ("deadline = \"9s\"", "mode = \"{{known.0.text}}\""),
        ("remember = \"suppliers\"", "post = \"http://127.0.0.1:1/{{known.0.text}}\""),
        ("remember = \"suppliers\"", "remember = \"{{known.0.text}}\""),
        ("recall = \"suppliers\"", "recall = \"{{trigger.q}}\""),
        ("subject = \"acme\"", "subject = \"{{trigger.q}}\""),
        ("subject = \"acme\"", "limit = \"{{trigger.q}}\""),
        ("subject = \"acme\"", "trust = \"{{trigger.q}}\""),
        ("subject = \"acme\"", "limit = 101"),
        ("subject = \"acme\"", "trust = \"anybody\""),
        ("subject = \"acme\"", "max_price = 1"),
        ("text = \"{{trigger.q}}\"\n", ""),
        ("of = \"said\"", "of = \"said\"\nprivate = true"),
        ("recall = \"suppliers\"", "recall = \"Sup pliers\""),
    ] {
        assert!(RECALLS.contains(from), "{from}");
        assert!(Duty::from_toml(&RECALLS.replacen(from, to, 1)).is_err(), "{to}");
    }
}

#[test]
fn what_a_file_gets_wrong_is_told_with_its_place() {
    for (from, to, told) in [
        ("max_items = 8\n", "", "step read: `each` is without `max_items`"),
        ("max_items = 8", "max_items = 150", "step read: it is 300 hires, and budget.run is 40"),
        ("sellers = 2", "sellers = 2\nmax_price = 3", "step read: it may cost 48, and budget.run is 40"),
        ("sellers = 2", "sellers = 6", "step read: sellers is 6, quorum is 6"),
        ("sellers = 2", "sellers = 2\nquorum = 3", "step read: sellers is 2, quorum is 3"),
        (
            "budget = { unit = \"sat\", run = 40, day = 100 }\n",
            "",
            "step read: it buys something, and there is no budget",
        ),
        ("day = 100", "day = 30", "budget: run is 40, day is 30"),
        ("of = \"read\"", "of = \"later\"", "step all: there is no step `later` before it"),
        ("{{item}}", "{{later.x}}", "step read: `later.x` names nothing that is there by then"),
        ("{{item}}", "{{item", "step read: input: `item` is no gap"),
        ("reduce = \"union\"", "reduce = \"union\"\nwait = \"1m\"", "step all: it isn't clear what it does"),
        ("wait = \"10m\"", "wait = \"10\"", "step 5: wait: `10` is no time"),
        ("wait = \"10m\"", "wait = \"60d\"", "step 5: wait: `60d` is too long"),
        ("wait = \"10m\"", "wait = \"10m\"\nsellers = 2", "step 5: `sellers` has no meaning in it"),
        ("file:digests/today.json", "file:../config.toml", "step 6: `../config.toml` is no such file"),
        ("file:digests/today.json", "file:/etc/passwd", "step 6: `/etc/passwd` is no such file"),
        ("file:digests/today.json", "https://example.org/", "step 6: nothing is posted to `https://example.org/`"),
        ("file:digests/today.json", "http://127.0.0.1@evil.example/", "step 6: nothing is posted to"),
        ("file:digests/today.json", "http://127.0.0.1.evil.example/", "step 6: nothing is posted to"),
        ("name = \"digest\"", "name = \"Di gest\"", "name: `Di gest` is no name of a duty"),
        ("task_delivered", "task_begun", "on: event: `task_begun` is nothing that happens"),
        ("0 7 * * 1-5", "0 7 * *", "on: cron: `0 7 * *` is no cron pattern: it has 4 fields"),
        ("{ event = ", "{ cron = \"* * * * *\", event = ", "on: an entry is a schedule, a hook or an event"),
        ("id = \"read\"", "id = \"run\"", "step: `run` can't be a step's ID"),
        ("id = \"all\"", "id = \"read\"", "step: `read` can't be a step's ID"),
    ] {
        let found = problem(&with(from, to));
        assert!(found.starts_with(told), "{told}\n{found}");
    }
    assert!(problem(&with("sellers = 2", "sellrs = 2")).contains("unknown field `sellrs`"));
    assert!(problem("name = \"x\"").starts_with("step: 0 of them"));
}

#[test]
fn a_run_never_comes_to_more_hires_than_its_bound() {
    let step = "[[step]]\neach = \"trigger.x\"\nmax_items = 100\nhire = \"a.b\"\ninput = '1'\n";
    let head = "name = \"x\"\nbudget = { unit = \"sat\", run = 1000, day = 1000 }\n";
    assert!(Duty::from_toml(&format!("{head}{}", step.repeat(2))).is_ok());
    assert!(problem(&format!("{head}{}", step.repeat(3))).contains("300 hires"));
}

#[test]
fn what_a_step_was_made_of_is_found_at_once_however_the_steps_hang_together() {
    let step = |at: usize| {
        let gaps: Vec<String> = (0..at).map(|earlier| format!("{{{{s{earlier}}}}}")).collect();
        format!("[[step]]\nid = \"s{at}\"\nrun = \"a.b\"\ntext = \"{}\"\n", gaps.concat())
    };
    let steps: String = (0..30).map(step).collect();
    let duty = Duty::from_toml(&format!("name = \"x\"\n{steps}[[step]]\nid = \"alone\"\nwait = \"1s\"\n")).unwrap();
    assert_eq!(ancestry(&duty.steps, "s29").len(), 30);
    assert_eq!(ancestry(&duty.steps, "s3").into_iter().collect::<Vec<_>>(), ["s0", "s1", "s2", "s3"]);
    assert_eq!(ancestry(&duty.steps, "alone").len(), 1);
}
