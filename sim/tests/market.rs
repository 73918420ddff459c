//! Small markets with something wrong in each: the invariants hold, and trade goes on. What the simulator once found in the
//! node is pinned here.
#![allow(clippy::unwrap_used)]

#[path = "support/own_process.rs"]
mod own_process;

use guilder_sim::{
    meter::Protocol,
    results::{Results, TaskOutcome},
};

fn play(seed: u64, wrong: &str) -> Results {
    play_with(12, seed, wrong)
}

fn play_with(nodes: u32, seed: u64, wrong: &str) -> Results {
    let text = format!(
        "name = \"pinned\"\nabout = \"pinned\"\nduration_s = 200\nwarmup_s = 30\ndrain_s = 60\n\
         [population]\nnodes = {nodes}\ntraders = 1\n[workload]\nper_buyer_minute = 2.0\n{wrong}"
    );
    let results = own_process::run(&text, seed, &[]);
    assert!(results.violations.is_empty(), "{:#?}", results.violations);
    results
}

fn done_after(results: &Results, secs: u64) -> (usize, usize) {
    let late: Vec<_> = results.tasks.iter().filter(|task| task.at_ms > secs * 1_000).collect();
    (late.iter().filter(|task| task.outcome == TaskOutcome::Done).count(), late.len())
}

#[test]
fn a_rotation_stops_no_trade() {
    let results = play(1, "[[faults]]\nkind = \"mint-rotates\"\nat_s = 60\n");
    let (done, all) = done_after(&results, 60);
    assert!(all > 10 && done == all, "{done} of {all}: {:#?}", results.tasks);
}

#[test]
fn a_silent_mint_leads_to_no_award_past_its_deadline() {
    let silent = "[[faults]]\nkind = \"mint-fails\"\nat_s = 40\nfor_s = 50\nhow = \"silent\"\n";
    let results = play(1, silent);
    let (done, all) = done_after(&results, 95);
    assert!(all > 5 && done == all, "{done} of {all}");
    // Whoever was never paid isn't to blame.
    let blamed = |task: &&guilder_sim::results::TaskRow| {
        task.reason.as_deref() == Some("the deadline passed without a delivery")
    };
    assert_eq!(results.tasks.iter().filter(blamed).count(), 0);
}

#[test]
fn cheats_cost_the_price_of_their_calls_and_nothing_else() {
    let cheats = "[[adversaries]]\nbehaviour = \"seller-vanishes\"\ncount = 1\n\
                  [[adversaries]]\nbehaviour = \"seller-delivers-garbage\"\ncount = 2\n";
    let results = play(1, cheats);
    let lost: u64 = results.nodes.iter().map(|node| node.lost_sat).sum();
    let paid_to_cheats: u64 = results.tasks.iter().filter(|task| !task.honest).filter_map(|task| task.price_sat).sum();
    assert!(lost > 0 && lost <= paid_to_cheats, "{lost} lost, {paid_to_cheats} paid to cheats");
}

#[test]
fn a_lock_that_is_shown_to_four_awards_pays_for_one() {
    let results = play(1, "[[adversaries]]\nbehaviour = \"buyer-double-locks\"\ncount = 2\nper_second = 0.1\n");
    let sold = results.flows.iter().find(|flow| (flow.from.as_str(), flow.to.as_str()) == ("buyers", "sellers"));
    let earned: u64 = results.nodes.iter().map(|node| node.earned_sat).sum();
    let bought = sold.map_or(0, |flow| flow.sat);
    // What the cheats pay is no trade of their nodes; the sellers have it all the same, each lock once.
    assert!(earned > bought, "{earned} earned, {bought} bought");
}

#[test]
fn every_byte_is_for_something_from_the_first_second_on() {
    let results = play(1, "[measure]\nsearches_per_minute = 20\n");
    let early: Vec<u64> = results.samples.iter().map(|sample| sample.at_ms / 1_000).take(4).collect();
    assert_eq!(early, [0, 10, 20, 30]);
    for sample in &results.samples {
        assert!(sample.by_protocol.values().sum::<u64>() <= sample.bytes, "{sample:?}");
    }
    for node in &results.nodes {
        let of_node = || results.traffic.iter().filter(|row| row.node == node.node);
        let total = of_node().fold((0, 0), |sum, row| (sum.0 + row.sent, sum.1 + row.received));
        assert_eq!(total, (node.sent, node.received));
        assert!(of_node().all(|row| row.protocol != Protocol::Other));
        for spoken in [Protocol::Kad, Protocol::Trade, Protocol::Mint] {
            assert!(of_node().any(|row| row.protocol == spoken && row.sent > 0), "{spoken:?}");
        }
    }
    assert!(results.searches.len() > 20);
    for search in &results.searches {
        assert!(search.hops.zip(search.asked).is_some_and(|(hops, asked)| (hops == 0) == (asked == 0)), "{search:?}");
    }
}

#[test]
fn clocks_that_are_hours_apart_are_turned_away_with_a_reason_and_cost_nothing() {
    let results = play(1, "[topology]\nclock_skew_s = [-36000, 36000]\n");
    let reasons: Vec<_> = results.tasks.iter().filter_map(|task| task.reason.as_deref()).collect();
    assert!(reasons.len() > 10 && reasons.len() == results.tasks.len(), "{reasons:#?}");
    let refused = |reason: &&&str| reason.contains("declined: expired, or dated in the future");
    let unseen = |reason: &&str| reason.ends_with("nobody was found who offers the service");
    let told = |reason: &&&str| reason.contains("clock");
    assert!(reasons.iter().all(|reason| refused(&reason) || unseen(reason)), "{reasons:#?}");
    assert!(reasons.iter().filter(refused).count() > 0);
    // Most are told that it is the clock.
    assert!(reasons.iter().filter(told).count() * 2 > reasons.len(), "{reasons:#?}");
    assert!(results.nodes.iter().all(|node| (node.paid_sat, node.lost_sat) == (0, 0)));
}

#[test]
fn sellers_that_kademlia_hides_are_found_among_the_peers() {
    let eclipse = "[[adversaries]]\nbehaviour = \"eclipse\"\ncount = 42\n[services]\ncount = 1\n\
                 [measure]\nsearches_per_minute = 6\n";
    let results = play_with(52, 1, eclipse);
    assert!(!results.searches.is_empty() && results.searches.iter().all(|search| search.found_ms.is_none()));
    let done = results.tasks.iter().filter(|task| task.outcome == TaskOutcome::Done).count();
    assert!(done > 10 && done == results.tasks.len(), "{done} of {}", results.tasks.len());
}

#[test]
fn nodes_behind_nats_buy_of_those_that_are_not() {
    let results = play(1, "[topology]\nnat = { share = 0.5, mapping_s = 60 }\n");
    let behind: Vec<_> = results.nodes.iter().filter(|node| node.nat.is_some()).collect();
    assert_eq!((behind.len(), results.nodes[0].nat), (5, None));
    assert!(behind.iter().all(|node| node.paid_sat > 0), "{behind:#?}");
    let done = results.tasks.iter().filter(|task| task.outcome == TaskOutcome::Done);
    assert!(done.count() * 2 > results.tasks.len(), "{:#?}", results.tasks);
}

/// In escrow a cheat is paid for an output or not at all, and everybody's money comes to rest by itself.
#[test]
fn cheats_in_escrow_are_paid_for_nothing_but_outputs() {
    let text = "name = \"pinned\"\nabout = \"pinned\"\nduration_s = 640\nwarmup_s = 30\ndrain_s = 510\n\
                [population]\nnodes = 14\ntraders = 1\n[workload]\nmode = \"escrow\"\nper_buyer_minute = 2.0\n\
                [[adversaries]]\nbehaviour = \"seller-keeps-key\"\ncount = 1\n\
                [[adversaries]]\nbehaviour = \"seller-never-redeems\"\ncount = 1\n\
                [[adversaries]]\nbehaviour = \"buyer-withholds-release\"\ncount = 2\n";
    let results = own_process::run(text, 1, &[]);
    assert!(results.violations.is_empty(), "{:#?}", results.violations);
    let (done, all) = done_after(&results, 0);
    assert!(done > 20 && done < all, "{done} of {all}");
    let forfeited: u64 = results.nodes.iter().filter(|node| node.node < 10).map(|node| node.lost_sat).sum();
    assert_eq!(forfeited, 0, "no honest buyer lost anything");
}

#[test]
fn work_that_is_passed_on_is_paid_once_at_each_level_whoever_dies() {
    let chains = "budget_sat = 300\npurse_sat = 100000\n[services]\ncount = 1\nper_seller = 2\n\
                  chains = { depth = 2, hires = [1, 2], budget_share = 0.97 }\n\
                  [[faults]]\nkind = \"kill\"\nat_s = [60, 100]\nvictims = { count = 3 }\nreset = true\ndown_s = [1, 10]\n";
    let results = play_with(8, 1, chains);
    let (done, all) = done_after(&results, 0);
    assert!(done * 2 > all && all > 10, "{done} of {all}: {:#?}", results.tasks);
}

#[test]
fn tokens_go_round_and_false_ones_are_worth_nothing() {
    let results = play_with(8, 1, "[[faults]]\nkind = \"tokens\"\nfrom_s = 40\nto_s = 130\nper_minute = 60\n");
    let (given, taken) = (results.summary.tokens_given, results.summary.tokens_taken);
    assert!(given > 20 && taken == given, "{taken} of {given}");
}

#[test]
fn older_backups_and_second_homes_lose_no_coin_and_take_no_token_twice() {
    let homes = "[[faults]]\nkind = \"restore-backup\"\nat_s = 50\nvictims = { count = 2 }\nolder_s = 30\ndown_s = 5\n\
                 [[faults]]\nkind = \"twin\"\nat_s = 45\nfor_s = 80\nvictims = { count = 3 }\n\
                 [[faults]]\nkind = \"mint-rotates\"\nat_s = 90\n\
                 [[faults]]\nkind = \"tokens\"\nfrom_s = 40\nto_s = 130\nper_minute = 30\n";
    for seed in 1..=2 {
        let results = play_with(8, seed, homes);
        // What the other home has spent pays for nothing; who pays with it hears that it is spent.
        let (done, all) = done_after(&results, 0);
        assert!(all > 10 && done * 2 > all, "{done} of {all}");
        let (given, taken) = (results.summary.tokens_given, results.summary.tokens_taken);
        assert!(given > 10 && taken * 3 > given * 2, "{taken} of {given}");
    }
}

#[test]
fn a_full_disk_and_a_clock_a_year_off_lose_no_coin() {
    let broken = "[[faults]]\nkind = \"disk-full\"\nat_s = 50\nfor_s = 30\nvictims = { count = 2 }\n\
                  [[faults]]\nkind = \"clock-steps\"\nat_s = 60\nfor_s = 30\nby_s = [-31536000, 31536000]\n\
                  victims = { count = 3 }\n";
    let results = play_with(8, 1, broken);
    let (done, all) = done_after(&results, 95);
    assert!(all > 5 && done * 10 > all * 8, "{done} of {all}: {:#?}", results.tasks);
}

#[test]
fn a_proxy_before_a_mint_costs_nobody_a_coin() {
    let failure =
        |at_s, how| format!("[[faults]]\nkind = \"proxy-fails\"\nat_s = {at_s}\nfor_s = 20\nhow = \"{how}\"\n");
    let failures: String = [(40, "drops"), (65, "repeats"), (90, "alters")].map(|(at, how)| failure(at, how)).concat();
    let results = play_with(8, 1, &format!("[mints]\nproxied = true\n{failures}"));
    let (done, all) = done_after(&results, 0);
    assert!(all > 10 && done * 2 > all, "{done} of {all}");
}

#[test]
fn floods_and_lies_about_peers_stop_no_trade() {
    let attackers =
        ["holds-connections", "drips", "floods-gossip", "floods-awards", "floods-records", "names-strangers"];
    let attackers: String = attackers
        .map(|name| format!("[[adversaries]]\nbehaviour = \"{name}\"\ncount = 1\nper_second = 0.5\n"))
        .concat();
    let results = play_with(14, 1, &attackers);
    let (done, all) = done_after(&results, 0);
    assert!(all > 10 && done * 10 >= all * 9, "{done} of {all}: {:#?}", results.tasks);
}

/// A run of every buyer each minute, while nodes die and clocks are set: the judge counts one outcome for each moment.
#[test]
fn every_moment_of_a_standing_order_has_one_outcome_and_the_same_seed_the_same() {
    let text = "name = \"pinned\"\nabout = \"pinned\"\nduration_s = 420\nwarmup_s = 30\ndrain_s = 150\n\
                [population]\nnodes = 10\ntraders = 1\n[workload]\nbudget_sat = 30\n\
                [workload.duties]\ncron = \"* * * * *\"\nzone = \"Europe/Berlin\"\nmissed = \"each\"\nrun_sat = 30\nday_sat = 600\n\
                [[faults]]\nkind = \"churn\"\nfrom_s = 60\nto_s = 240\nper_hour = 20.0\ndown_s = [10, 100]\n\
                [[faults]]\nkind = \"clock-steps\"\nat_s = 100\nfor_s = 60\nby_s = [-1200, 1200]\nvictims = { count = 3 }\n";
    let [first, second] = [1, 2].map(|_| own_process::run(text, 1, &[]));
    for results in [&first, &second] {
        assert!(results.violations.is_empty(), "{:#?}", results.violations);
        let paid = results.nodes.iter().filter(|node| node.paid_sat > 0).count();
        assert!(paid > 5, "they buy: {paid}");
    }
    assert_eq!(first.summary.hash, second.summary.hash);
}
