//! The schema for editors says what the types say.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::scenario::{regions::NAMES, shipped::SHIPPED};

const SCHEMA: &str = include_str!("../../../scenarios/schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn accepts(scenario: &Value) -> bool {
    jsonschema::validator_for(&schema()).unwrap().is_valid(scenario)
}

/// A scenario in which every field and every kind of fault is there.
fn everything() -> Value {
    let victims = [json!({ "count": 2 }), json!({ "share": 0.5 }), json!({ "regions": NAMES })];
    let mut faults = Vec::new();
    for victims in victims {
        faults.push(json!({ "kind": "kill", "at_s": 60, "victims": victims, "reset": true, "down_s": [1, 2] }));
        faults.push(json!({ "kind": "partition", "at_s": 60, "for_s": 5, "cut": victims, "one_way": true }));
    }
    faults.push(json!({ "kind": "churn", "from_s": 60, "to_s": 70, "per_hour": 2.0, "down_s": 3 }));
    for how in ["silent", "errors", "loses-replies", "lies"] {
        faults.push(json!({ "kind": "mint-fails", "at_s": [60, 61], "for_s": 5, "mint": 0, "how": how }));
    }
    let two = json!({ "count": 2 });
    faults.push(json!({
        "kind": "restore-backup", "at_s": 60, "victims": two, "older_s": [1, 2], "down_s": 1,
    }));
    faults.push(json!({ "kind": "twin", "at_s": 60, "for_s": 5, "victims": two }));
    faults.push(json!({ "kind": "tokens", "from_s": 60, "to_s": 70, "per_minute": 2.0 }));
    faults.push(json!({ "kind": "disk-full", "at_s": 60, "for_s": 5, "victims": two }));
    faults.push(json!({ "kind": "clock-steps", "at_s": 60, "for_s": 5, "by_s": [-9, 9], "victims": two }));
    for how in ["drops", "repeats", "alters"] {
        faults.push(json!({ "kind": "proxy-fails", "at_s": 60, "for_s": 5, "mint": 0, "how": how }));
    }
    faults.push(json!({ "kind": "mint-rotates", "at_s": 60, "mint": 0 }));
    let behaviours = schema()["properties"]["adversaries"]["items"]["properties"]["behaviour"]["enum"].clone();
    let adversaries = behaviours.as_array().unwrap().iter();
    let adversaries = adversaries.map(|name| json!({ "behaviour": name, "count": 1, "per_second": 1.0 }));
    let regions = NAMES.map(|name| json!({ "name": name, "weight": 1.0 }));
    let mut scenario = Scenario::parse(LEAST).unwrap();
    scenario.population.nodes = 40;
    scenario.population.traders = 1.0;
    scenario.workload.per_buyer_minute = 1.0;
    scenario.mints.proxied = true;
    scenario.workload.burst = Some(Burst { at_s: 40, for_s: 5, times: 2.0, one_service: true });
    scenario.measure.searches_per_minute = 1.0;
    scenario.measure.revocations_per_minute = 1.0;
    scenario.must = Must {
        done_share: Some(0.5),
        done_tasks: Some(1),
        found_share: Some(0.5),
        refused_in_ms: Some(1),
        median_task_ms: Some(1),
        honest_loss_sat: Some(1),
        recovers_in_s: Some(1),
    };
    let mut scenario = serde_json::to_value(scenario).unwrap();
    scenario["faults"] = faults.into();
    scenario["adversaries"] = adversaries.collect();
    scenario["topology"]["regions"] = json!(regions);
    scenario["topology"]["nat"] = json!({
        "share": 0.5,
        "roles": ["trader", "buyer", "seller", "bystander", "adversary"],
        "kinds": ["full-cone", "address-restricted", "port-restricted", "symmetric"],
        "mapping_s": 60,
    });
    scenario["services"]["chains"] = json!({ "depth": 2, "hires": [1, 2], "budget_share": 0.5 });
    scenario["workload"]["duties"] =
        json!({ "cron": "* * * * *", "zone": "UTC", "missed": "each", "run_sat": 60, "day_sat": 600 });
    scenario["mints"]["regions"] = json!(NAMES);
    scenario["population"]["connections"] = json!([10, 20]);
    scenario
}

/// Every path of field names, with `[]` for items.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.insert(format!("{at}.{name}"));
            paths(value, &format!("{at}.{name}"), found);
        }),
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{at}[]"), found)),
        _ => {}
    }
}

/// The same of a schema.
fn schema_paths(schema: &Value, whole: &Value, at: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return schema_paths(whole.pointer(name.trim_start_matches('#')).unwrap(), whole, at, found);
    }
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        schema_paths(choice, whole, at, found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(format!("{at}.{name}"));
        schema_paths(field, whole, &format!("{at}.{name}"), found);
    }
    if !schema["items"].is_null() {
        schema_paths(&schema["items"], whole, &format!("{at}[]"), found);
    }
}

#[test]
fn types_and_schema_have_the_same_fields() {
    let everything = everything();
    let parsed: Scenario = serde_json::from_value(everything.clone()).unwrap();
    parsed.check().unwrap();
    assert!(accepts(&everything));
    let (mut typed, mut said) = Default::default();
    paths(&serde_json::to_value(parsed).unwrap(), "", &mut typed);
    schema_paths(&schema(), &schema(), "", &mut said);
    assert_eq!(typed, said);
}

#[test]
fn defaults_are_the_same() {
    let least = serde_json::to_value(Scenario::parse(LEAST).unwrap()).unwrap();
    let mut compared = 0;
    for (table, field) in schema()["properties"].as_object().unwrap() {
        let defaults = match field["properties"].as_object() {
            Some(fields) => fields.iter().map(|(name, field)| (format!("/{table}/{name}"), field)).collect(),
            None => vec![(format!("/{table}"), field)],
        };
        for (path, field) in defaults.into_iter().filter(|(path, _)| !path.starts_with("/population")) {
            let Some(default) = field.get("default") else { continue };
            let typed = least.pointer(&path).unwrap_or_else(|| panic!("{path}"));
            let same = typed.as_f64().zip(default.as_f64()).map_or(typed == default, |(one, other)| one == other);
            assert!(same, "{path}: {typed} {default}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn what_one_refuses_the_other_refuses() {
    let refused: [fn(&mut Value); 11] = [
        |scenario| scenario["extra"] = json!(1),
        |scenario| scenario["population"]["nodes"] = json!(1),
        |scenario| scenario["topology"]["loss"] = json!(0.7),
        |scenario| scenario["topology"]["regions"][0]["name"] = json!("atlantis"),
        |scenario| scenario["services"]["fails"] = json!(1.1),
        |scenario| scenario["workload"]["arrivals"] = json!("sometimes"),
        |scenario| scenario["topology"]["nat"]["kinds"] = json!([]),
        |scenario| scenario["mints"]["regions"][0] = json!("atlantis"),
        |scenario| scenario["faults"][0]["kind"] = json!("explode"),
        |scenario| scenario["faults"][0]["victims"] = json!({ "count": 0 }),
        |scenario| scenario["adversaries"][0]["count"] = json!(0),
    ];
    for (index, change) in refused.iter().enumerate() {
        let mut scenario = everything();
        change(&mut scenario);
        assert!(!accepts(&scenario), "schema, {index}");
        let typed = serde_json::from_value::<Scenario>(scenario).is_ok_and(|scenario| scenario.check().is_ok());
        assert!(!typed, "types, {index}");
    }
}

#[test]
fn every_shipped_scenario_is_one() {
    for (name, text) in SHIPPED {
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.name, name);
        let value: Value = toml::from_str(text).unwrap();
        assert!(accepts(&value), "{name}");
        // What `run --out` writes down is the same scenario.
        assert_eq!(Scenario::parse(&toml::to_string(&scenario).unwrap()).unwrap(), scenario, "{name}");
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).unwrap();
    let files = files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "toml"));
    assert_eq!(files.count(), SHIPPED.len());
}
