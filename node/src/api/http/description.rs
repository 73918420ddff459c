//! The description of the control API (OpenAPI 3.1), made of the routes and of the types that go in and out: `docs/openapi.json`,
//! served at `/v1/openapi.json`.
//!
//! A route is a handler with its description (`#[utoipa::path]`), and can't be had without; see [`super::routes`]. What the
//! library can't know of our types is added here:
//!
//! - what goes for all: that an error has one shape, what the token is, what `/v1` promises;
//! - **open enums**: where a type has an `Unknown` for what a later version says, the description doesn't close it either.

use axum::{Extension, http::header, response::IntoResponse};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

/// What is served.
#[derive(Clone, Debug)]
pub(super) struct Description(Bytes);

impl Description {
    /// Of the routes that were collected.
    pub(super) fn of(collected: &OpenApi) -> Self {
        Self(text(collected).into())
    }
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object)))]
pub(super) async fn description(Extension(Description(text)): Extension<Description>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}

/// As it stands in `docs/openapi.json`.
fn text(collected: &OpenApi) -> String {
    let collected = serde_json::to_value(collected).unwrap_or_default();
    let part = |name: &str| collected.get(name).cloned().unwrap_or_else(|| json!({}));
    let (mut paths, mut schemas) = (part("paths"), part("components")["schemas"].take());
    paths.as_object_mut().into_iter().flatten().for_each(|(_, operations)| complete(operations));
    open(&mut paths);
    open(&mut schemas);
    let described = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Guilder control API",
            "version": "1",
            "description": "The loopback API of a Guilder node. `/v1` only grows: fields, kinds, codes and paths are added, none is \
                            taken away or given another meaning. Address and token stand in api.json in the node's home folder; \
                            see docs/api.md.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{
            "url": "http://127.0.0.1:{port}",
            "variables": { "port": { "default": "0", "description": "From api.json." } },
        }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "From api.json; new at every start." } },
            "schemas": schemas,
        },
    });
    // Links of this source lead nowhere from there.
    let text = serde_json::to_string_pretty(&described).unwrap_or_default();
    text.replace("[`", "`").replace("`]", "`") + "\n"
}

/// Adds to each operation of a path what goes for all.
fn complete(operations: &mut Value) {
    for operation in
        operations.as_object_mut().into_iter().flatten().filter_map(|(_, operation)| operation.as_object_mut())
    {
        operation.remove("tags");
        // Two paths may have handlers of one name, and a path says what is meant.
        operation.remove("operationId");
        operation.get_mut("requestBody").and_then(|body| body.get_mut("content")).into_iter().for_each(name_bodies);
        let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { continue };
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            response.insert("description".to_owned(), "Done.".into());
            response.get_mut("content").into_iter().for_each(name_bodies);
        }
        let error = json!({ "$ref": "#/components/schemas/Error" });
        let content = json!({ "application/json": { "schema": error } });
        responses.insert("default".to_owned(), json!({ "description": "It didn't come off.", "content": content }));
    }
}

/// Bytes are bytes, and an answer of nothing is null.
fn name_bodies(content: &mut Value) {
    for (media_type, body) in content.as_object_mut().into_iter().flatten() {
        if !["application/json", super::NDJSON].contains(&media_type.as_str()) {
            body["schema"] = json!({ "type": "string", "format": "binary" });
        } else if body["schema"] == json!({ "default": null }) {
            body["schema"] = json!({ "type": "null" });
        }
    }
}

/// Opens all enums in a schema that have an `unknown`.
fn open(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(open),
        Value::Object(fields) => {
            fields.values_mut().for_each(open);
            open_words(fields);
            open_variants(fields);
        }
        _ => {}
    }
}

/// An enum of words becomes a text, of which those of this version are examples.
fn open_words(fields: &mut Map<String, Value>) {
    let Some(Value::Array(words)) = fields.get_mut("enum") else { return };
    if words.len() < 2 || !words.iter().any(|word| word == "unknown") {
        return;
    }
    words.retain(|word| word != "unknown");
    let words = Value::from(std::mem::take(words));
    fields.remove("enum");
    fields.insert("examples".to_owned(), words);
    let told = fields.get("description").and_then(Value::as_str).unwrap_or_default().trim_end_matches('.');
    let told = format!("{told}. One of the examples; a later version may say more.");
    fields.insert("description".to_owned(), told.trim_start_matches(". ").into());
}

/// A tagged enum is any of its variants, or one with another tag.
fn open_variants(fields: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = fields.get("oneOf") else { return };
    let Some((at, tag)) = variants.iter().enumerate().find_map(|(at, variant)| Some((at, unknown_tag(variant)?)))
    else {
        return;
    };
    let Some(Value::Array(mut variants)) = fields.remove("oneOf") else { return };
    variants[at] = json!({
        "type": "object",
        "description": "What a later version tells: to be skipped.",
        "required": [tag.clone()],
        "properties": { tag: { "type": "string" } },
    });
    fields.insert("anyOf".to_owned(), variants.into());
}

/// The tag of a variant for what isn't known.
fn unknown_tag(variant: &Value) -> Option<String> {
    let tagged = variant.get("properties")?.as_object()?;
    let (tag, _) = tagged.iter().find(|(_, of)| of["enum"] == json!(["unknown"]))?;
    Some(tag.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::{http::routes, types::ErrorCode};

    fn described() -> String {
        text(&routes().split_for_parts().1)
    }

    /// `GUILDER_WRITE_OPENAPI=1 cargo test -p guilder-protocol -p guilder --lib description` writes it anew.
    #[test]
    fn the_description_that_is_checked_in_is_that_of_the_routes_and_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("GUILDER_WRITE_OPENAPI").is_some() {
            std::fs::write(path, described()).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(checked_in == described(), "docs/openapi.json is of other routes or types: see this test");
    }

    #[test]
    fn every_operation_says_what_it_does_and_every_name_leads_somewhere() {
        let whole: Value = serde_json::from_str(&described()).unwrap();
        let mut count = 0;
        for (path, operations) in whole["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                count += 1;
                let summary = operation["summary"].as_str().unwrap_or_default();
                assert!(!summary.is_empty(), "{method} {path} says not what it does");
                assert!(operation["responses"]["200"].is_object(), "{method} {path}");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    assert!(parameter["description"].is_string(), "{method} {path}: {parameter}");
                }
            }
        }
        assert!(count > 35, "{count}");
        let text = whole.to_string();
        for name in text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let schema = &whole["components"]["schemas"][name];
            assert!(schema.is_object(), "{name} is named and not there");
            assert!(schema["description"].is_string(), "{name} says not what it is");
        }
        assert!(!text.contains("\"unknown\""), "an enum is closed that has an Unknown");
    }

    #[test]
    fn an_enum_that_a_later_version_may_add_to_is_not_closed() {
        let mut words = json!({ "type": "string", "enum": ["a", "unknown"], "description": "What." });
        open(&mut words);
        let told = "What. One of the examples; a later version may say more.";
        assert_eq!(words, json!({ "type": "string", "examples": ["a"], "description": told }));
        let variant =
            |kind: &str| json!({ "type": "object", "properties": { "kind": { "type": "string", "enum": [kind] } } });
        let mut tagged = json!({ "oneOf": [variant("a"), variant("unknown")] });
        open(&mut tagged);
        assert_eq!(tagged["anyOf"][1]["properties"]["kind"], json!({ "type": "string" }));
        let closed = json!({ "oneOf": [variant("a")], "of": { "enum": ["a", "b"] } });
        let mut same = closed.clone();
        open(&mut same);
        assert_eq!(same, closed);
    }

    #[test]
    fn every_code_of_an_error_stands_in_the_document_with_its_status() {
        let document = include_str!("../../../../docs/api.md");
        for code in ErrorCode::ALL {
            let word = serde_json::to_value(code).unwrap();
            let row = format!("| `{}` | ", word.as_str().unwrap());
            let line = document.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("docs/api.md has no row {row}"));
            assert!(line.contains(&code.status().to_string()), "{line}");
        }
        assert!(document.contains("`task`") && document.contains("`money`"));
    }
}
