#![allow(clippy::unwrap_used)]
use super::*;
use crate::fabric::NatKind;

mod schema;

const LEAST: &str = r#"
name = "least"
about = "As little as there can be."
duration_s = 120
[population]
nodes = 10
bystanders = 1
"#;

fn error(more: &str) -> String {
    Scenario::parse(&format!("{LEAST}{more}")).unwrap_err().to_string()
}

#[test]
fn a_short_scenario_has_defaults() {
    let scenario = Scenario::parse(LEAST).unwrap();
    assert_eq!((scenario.warmup_s, scenario.drain_s), (30, 60));
    assert_eq!(scenario.start, Start::Converged);
    assert_eq!(scenario.workload.per_buyer_minute, 0.0);
    assert!(scenario.must == Must::default());
}

#[test]
fn an_error_names_the_field() {
    for (more, field) in [
        ("sellars = 1", "sellars"),
        ("connections = [20, 10]", "`population.connections`"),
        ("[topology]\nloss = 0.9", "`topology.loss`"),
        ("[topology]\nclock_skew_s = [5, -5]", "`topology.clock_skew_s`"),
        ("[topology]\nregions = [{ name = \"atlantis\" }]", "`topology.regions[0].name`"),
        ("[workload]\nper_buyer_minute = 1", "`workload.per_buyer_minute`"),
        ("[[faults]]\nkind = \"kill\"\nat_s = 500\nvictims = { count = 1 }", "`faults[0].at_s`"),
        ("[[faults]]\nkind = \"kill\"\nat_s = 50\nvictims = { count = 10 }", "`faults[0].victims`"),
        ("[[faults]]\nkind = \"melt-down\"", "melt-down"),
        ("[[faults]]\nkind = \"mint-rotates\"\nat_s = [60, 70]\nmint = 1", "`faults[0].mint`"),
        ("[[adversaries]]\nbehaviour = \"forges-gossip\"\ncount = 9", "`adversaries`"),
        ("[must]\ndone_share = 0.5", "`must.done_share`"),
        ("[must]\nfound_share = 0.5", "`must.found_share`"),
    ] {
        let error = error(more);
        assert!(error.contains(field), "{more}: {error}");
    }
}

#[test]
fn other_sizes_keep_the_proportions() {
    let more = "traders = 1\n[[adversaries]]\nbehaviour = \"forges-gossip\"\ncount = 2";
    let scenario = Scenario::parse(&format!("{LEAST}{more}")).unwrap().with_nodes(100);
    assert_eq!((scenario.population.nodes, scenario.adversaries[0].count), (100, 20));
    let roles = scenario.population.roles(80);
    let traders = roles.iter().filter(|role| **role == Role::Trader).count();
    assert_eq!((roles.len(), traders), (80, 40));
}

#[test]
fn nats_are_dealt_to_a_share_of_those_roles_and_never_to_the_first() {
    let nat = "[topology]\nnat = { share = 0.5, roles = [\"buyer\"], kinds = [\"full-cone\", \"symmetric\"] }";
    let nat = Scenario::parse(&format!("{LEAST}{nat}")).unwrap().topology.nat.unwrap();
    assert_eq!(nat.mapping_s, 120);
    let dealt = nat.deal(&[[Role::Buyer; 5].as_slice(), &[Role::Seller; 5]].concat());
    assert_eq!(dealt[..5], [None, None, Some(NatKind::FullCone), None, Some(NatKind::Symmetric)]);
    assert!(dealt[5..].iter().all(Option::is_none));
}
