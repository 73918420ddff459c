//! The judge finds what is broken: in each small market a part of somebody honest is broken on purpose, and a rule says so.
#![allow(clippy::unwrap_used)]

#[path = "support/own_process.rs"]
mod own_process;

use std::collections::BTreeSet;

use guilder_sim::results::Results;

const MARKET: &str = r#"
name = "broken"
about = "A market in which something is broken."
duration_s = 160
warmup_s = 30
drain_s = 60
[population]
nodes = 8
traders = 1
[services]
count = 1
[workload]
per_buyer_minute = 3.0
"#;

fn play(more: &[&str]) -> Results {
    own_process::run(MARKET, 1, more)
}

fn broken(part: &str) -> BTreeSet<String> {
    play(&["--sabotage", part]).violations.into_iter().map(|violation| violation.rule).collect()
}

fn rules(rules: &[&str]) -> BTreeSet<String> {
    rules.iter().map(|rule| (*rule).to_owned()).collect()
}

#[test]
fn a_market_in_which_nothing_is_broken_breaks_no_rule_however_often_it_is_looked_at() {
    let usual = play(&[]);
    assert!(usual.violations.is_empty(), "{:#?}", usual.violations);
    assert!(usual.tasks.len() > 20);
    let closely = play(&["--look-every=1"]);
    assert!(closely.violations.is_empty() && !closely.cut_short, "{:#?}", closely.violations);
}

#[test]
fn disks_that_forget_lose_coins_and_awards() {
    let broken = broken("disks-forget");
    assert!(broken.is_superset(&rules(&["coins", "payment"])), "{broken:?}");
}

#[test]
fn a_wallet_that_loses_a_coin_is_found() {
    assert_eq!(broken("coin-vanishes"), rules(&["coins", "wallet"]));
}

#[test]
fn an_output_that_nobody_asked_for_is_found() {
    assert_eq!(broken("seller-errs"), rules(&["output"]));
}

#[test]
fn a_mint_that_signs_for_nothing_is_found() {
    assert_eq!(broken("mint-forgets-inputs"), rules(&["coins", "mint"]));
}

#[test]
fn a_mint_that_robs_sellers_is_found_though_its_books_balance() {
    let broken = broken("mint-robs");
    assert!(broken.contains("loss") && !broken.contains("mint"), "{broken:?}");
}

#[test]
fn a_close_look_ends_the_run_where_it_broke() {
    let results = play(&["--sabotage", "coin-vanishes", "--look-every=1"]);
    // It broke half-way between 30 s and 100 s, just after the look of that second.
    assert_eq!(results.violations.first().map(|violation| violation.at_ms), Some(66_000));
    assert!(results.cut_short);
}
