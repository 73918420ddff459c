//! The documents keep what they promise.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs};

use guilder_tests::binary;

fn read(path: &str) -> String {
    fs::read_to_string(binary::file(path)).unwrap()
}

#[test]
fn every_dependency_has_its_line_in_the_architecture() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[workspace.dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let entries = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let entries: BTreeSet<_> = entries.filter(|name| !name.starts_with('#')).collect();
    let architecture = read("ARCHITECTURE.md");
    let lines = architecture.split("\n## Dependencies\n").nth(1).unwrap().lines();
    let named = lines.filter(|line| line.starts_with("- `")).filter_map(|line| line.split_once(':'));
    let named: BTreeSet<_> = named.flat_map(|(names, _)| names.split('`').skip(1).step_by(2)).collect();
    let missing: Vec<_> = entries.difference(&named).collect();
    let gone: Vec<_> = named.difference(&entries).collect();
    assert!(missing.is_empty() && gone.is_empty(), "without a line: {missing:?}; no longer there: {gone:?}");
}

/// Each `.route(PATH, METHOD(…).METHOD(…))` of the control API.
fn routes() -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    for file in [
        "node/src/api/http.rs",
        "node/src/api/http/grants.rs",
        "node/src/api/http/tasks.rs",
        "node/src/api/http/wallet.rs",
    ] {
        let source = read(file);
        for rest in source.split(".route(").skip(1) {
            let rest = rest.split_inclusive('\n').next().unwrap();
            let path = match rest.split('"').nth(1) {
                Some(path) => path.to_owned(),
                None => {
                    assert!(rest.starts_with("guard::HELLO"), "a route that can't be read: {rest}");
                    "/v1/hello".to_owned()
                }
            };
            let methods =
                ["get", "post", "put", "delete", "patch"].iter().filter(|method| rest.contains(&format!("{method}(")));
            let named: Vec<_> = methods.map(|method| (path.clone(), (*method).to_owned())).collect();
            assert!(!named.is_empty(), "a route without a method: {rest}");
            routes.extend(named);
        }
    }
    routes
}

#[test]
fn every_route_of_the_control_api_is_described_and_nothing_else() {
    let description: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let mut described = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                operation["summary"].is_string() && operation["responses"]["default"].is_object(),
                "{method} {path}"
            );
            described.insert((path.clone(), method.clone()));
        }
    }
    let routes = routes();
    assert!(routes.len() > 30, "{routes:?}");
    assert_eq!(routes, described);
}

#[test]
fn every_term_of_a_hire_and_of_a_listing_is_described() {
    let description: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let described = |method: &str| {
        let terms = description["paths"]["/v1/tasks"][method]["parameters"].as_array().unwrap();
        terms.iter().map(|term| term["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    // The fields of a struct that travel.
    let fields = |file: &str, name: &str| {
        let source = read(file);
        let body = source.split(&format!("pub struct {name} {{")).nth(1).unwrap().split("\n}").next().unwrap();
        let mut skipped = false;
        let mut fields = BTreeSet::new();
        for line in body.lines().map(str::trim) {
            skipped |= line == "#[serde(skip)]";
            if let Some((field, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(':'))
                && !std::mem::take(&mut skipped)
            {
                fields.insert(field.to_owned());
            }
        }
        fields
    };
    assert_eq!(fields("node/src/trade/hire/request.rs", "Hire"), described("post"));
    assert_eq!(fields("node/src/api/types.rs", "TaskListing"), described("get"));
}

#[test]
fn every_link_leads_somewhere() {
    let root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    let docs =
        fs::read_dir(binary::file("docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let docs = docs.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    for document in root.map(str::to_owned).into_iter().chain(docs) {
        let folder = binary::file(&document).parent().unwrap().to_owned();
        for link in read(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{document} links to {link}");
            }
        }
    }
}
