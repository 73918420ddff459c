//! What somebody meets who tries things out: progress, outputs fetched later, nodes stopped and started again.

#![allow(clippy::unwrap_used)]

use std::fs;

use guilder_tests::{
    LONG, Ran, eventually,
    swarm::{Swarm, fund, hire, sell_script},
};
use serde_json::Value;

fn events(ran: &Ran) -> Vec<String> {
    ran.lines().iter().filter_map(|line| line["event"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_hire_tells_its_steps_and_its_output_can_be_had_later() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    sell_script(&seller, "text.upper", 3, "tr a-z A-Z", "");
    let buyer = swarm.buyer(100, "");
    eventually("the seller to be found", LONG, || {
        let ran = buyer.run(["find", "text.upper"]);
        if ran.code() == 0 { Ok(()) } else { Err(ran) }
    });

    let told = buyer.run_with(["hire", "text.upper", "--input", "-"], b"guilder").ok();
    let steps = events(&told);
    for step in ["searching", "asked", "offered", "awarded", "accepted", "delivered"] {
        assert!(steps.iter().any(|known| known == step), "no {step} in {steps:?}");
    }
    let last = told.lines().pop().unwrap();
    assert_eq!(last["output"], "GUILDER");
    let id = last["ended"]["id"].as_str().unwrap();

    let said = buyer.run_as_person(["hire", "text.upper", "--input", "-"], b"guilder").ok();
    assert_eq!(said.text(), "GUILDER", "nothing but the output is on standard output");
    assert!(said.error_text().contains("offers it for 3 play"), "{said}");

    let file = buyer.file("later.txt");
    buyer.run(["task", "output", &id[id.len() - 6..], "--output", file.to_str().unwrap()]).ok();
    assert_eq!(fs::read(&file).unwrap(), b"GUILDER");
    let again = buyer.run_as_person(["task", "output", id], b"").ok();
    assert_eq!(again.text(), "GUILDER");

    let refused = buyer.run_with(["hire", "text.upper", "--input", "-", "--output", "/no/such/folder/x"], b"guilder");
    refused.failed().says("ours", &["can't write", "check the path"]);
}

#[test]
fn progress_is_told_while_a_program_works_to_who_hires_and_to_who_asks() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let go_on = seller.file("go-on");
    let script = format!(
        "echo 'the model is old' >&2
         echo '40% page 2' >&$GUILDER_PROGRESS_FD
         echo '{{\"partial\": \"The first\"}}' >&$GUILDER_PROGRESS_FD
         while [ ! -e '{}' ]; do sleep 0.05; done
         printf 'The first words.'",
        go_on.display()
    );
    sell_script(&seller, "text.slow", 3, &script, "time_limit_secs = 600");
    let buyer = swarm.buyer(100, "");
    eventually("the seller to be found", LONG, || {
        let ran = buyer.run(["find", "text.slow"]);
        if ran.code() == 0 { Ok(()) } else { Err(ran) }
    });
    let told = std::thread::scope(|scope| {
        let hire = scope.spawn(|| buyer.run_with(["hire", "text.slow", "--input", "-", "--deadline", "300s"], b"x"));
        for node in [&buyer, &seller] {
            eventually("progress in `task show`", LONG, || {
                let task = node.json(["task", "list"])[0]["id"].as_str().map(str::to_owned).ok_or("no task")?;
                let shown = node.json(["task", "show", &task]);
                let has = |text: &str| shown["progress"].to_string().contains(text);
                if has("400") && has("page 2") && has("The first") { Ok(()) } else { Err(shown.to_string()) }
            });
        }
        fs::write(&go_on, "").unwrap();
        hire.join().unwrap().ok()
    });
    let steps = events(&told);
    let [progress, delivered] = ["progress", "delivered"].map(|name| steps.iter().position(|step| step == name));
    assert!(progress.is_some() && progress < delivered, "{steps:?}");
    let words: String = told.lines().iter().filter_map(|line| line["partial"].as_str().map(str::to_owned)).collect();
    assert_eq!(words, "The first");
    let last = told.lines().pop().unwrap();
    assert_eq!(last["output"], "The first words.");
    // What the program says to its operator is kept there, and goes nowhere else.
    let sold = seller.json(["task", "list"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(seller.json(["task", "show", &sold])["stderr"], "the model is old\n");
    let said = seller.run_as_person(["task", "show", &sold], b"").ok().text();
    assert!(said.contains("the model is old"), "{said}");
    let bought = buyer.json(["task", "show", last["ended"]["id"].as_str().unwrap()]);
    assert!(bought.get("stderr").is_none(), "{bought}");
}

#[test]
fn a_seller_is_found_again_at_once_after_a_restart() {
    let swarm = Swarm::start(0);
    let mut seller = swarm.trader("seller", "");
    sell_script(&seller, "text.upper", 3, "tr a-z A-Z", "");
    seller.stop();
    seller.restart();
    let services = seller.json(["service", "list"]);
    assert_eq!(services[0]["name"], "text.upper");
    let buyer = swarm.trader("buyer", "");
    fund(&buyer, 100);
    eventually("the seller to be found", LONG, || {
        let found: Value = buyer.run(["find", "text.upper"]).json();
        if found.as_array().unwrap().len() == 1 { Ok(()) } else { Err(found) }
    });
    assert_eq!(hire(&buyer, "text.upper", b"again", &[]).output, "AGAIN");
}

#[test]
fn given_adverts_of_a_seller_that_is_gone_a_hire_finds_one_that_lives() {
    let swarm = Swarm::start(0);
    let mut gone = swarm.trader("gone", "");
    sell_script(&gone, "text.upper", 1, "tr a-z A-Z", "");
    let buyer = swarm.buyer(100, "");
    assert_eq!(hire(&buyer, "text.upper", b"first", &["--max-price", "9"]).output, "FIRST");
    gone.kill();
    let living = swarm.trader("living", "");
    sell_script(&living, "text.upper", 2, "tr a-z A-Z", "");
    // The one that is gone is known, cheaper, and was good.
    let then = hire(&buyer, "text.upper", b"then", &["--max-price", "9", "--deadline", "2m"]);
    assert_eq!(then.output, "THEN");
    assert_eq!(buyer.json(["task", "show", then.id()])["peer"], living.peer_id());
}
