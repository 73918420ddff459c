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
