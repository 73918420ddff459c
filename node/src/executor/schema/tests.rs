#![allow(clippy::unwrap_used)]
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn compile(schema: &Value) -> Result<Schema, SchemaError> {
    Schema::compile(&schema.to_string())
}

fn refused(schema: &Value) -> SchemaError {
    compile(schema).unwrap_err()
}

/// Runs `work` and fails if it takes longer than a hostile peer should be able to make us work.
fn quickly<R>(what: &str, work: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = work();
    assert!(began.elapsed() < Duration::from_secs(120), "{what} took {:?}", began.elapsed());
    result
}

#[test]
fn a_document_satisfies_its_schema_or_is_told_where_not() {
    let schema = compile(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/summary",
        "type": "object",
        "required": ["text", "lines"],
        "properties": {
            "text": {"type": "string", "minLength": 1},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
            "id": {"type": "string"},
            "$ref": {"type": "object"},
        },
        "additionalProperties": false,
        "$defs": {"line": {"type": "string", "pattern": "^[a-z ]*$"}},
    }))
    .unwrap();
    assert_eq!(schema.check(br#"{"text": "x", "lines": ["a b"], "id": "1"}"#), Ok(()));
    for (document, at, why) in [
        (r#"{"text": "x"}"#, "the document", "\"lines\" is a required property"),
        (r#"{"text": "", "lines": []}"#, "/text", "\"\" is shorter than 1 character"),
        (r#"{"text": "x", "lines": ["a", "B"]}"#, "/lines/1", "\"B\" does not match \"^[a-z ]*$\""),
        ("[1]", "the document", "[1] is not of type \"object\""),
    ] {
        assert_eq!(schema.check(document.as_bytes()), Err(SchemaError::Unsatisfied { at: at.into(), why: why.into() }));
    }
    for garbage in [&b""[..], b"{", b"{} {}", b"\xff", b"nul", b"{\"text\": \"x\", \"lines\": [],}"] {
        assert!(matches!(schema.check(garbage), Err(SchemaError::DocumentNotJson(_))));
    }
}

#[test]
fn what_is_no_schema_is_refused() {
    assert!(matches!(Schema::compile("{"), Err(SchemaError::NotJson(_))));
    let large = format!("{{\"title\": \"{}\"}}", "x".repeat(MAX_SCHEMA));
    assert_eq!(Schema::compile(&large).unwrap_err(), SchemaError::TooLarge(large.len()));
    let error = refused(&json!({"properties": {"a": {"type": "strin"}}}));
    let SchemaError::Invalid { at, why } = &error else { panic!("{error}") };
    assert!(at.starts_with("/properties/a/type") && !why.is_empty(), "{error}");
    assert!(matches!(refused(&json!(3)), SchemaError::Invalid { .. }));
    assert!(matches!(refused(&json!({"$schema": "https://evil.example/schema"})), SchemaError::Draft(_)));
    assert!(matches!(refused(&json!({"$schema": "http://json-schema.org/draft-04/schema#"})), SchemaError::Draft(_)));
    assert!(compile(&json!({"$schema": "http://json-schema.org/draft-07/schema#"})).is_ok());
    assert!(compile(&json!(true)).is_ok());
}

#[test]
fn nothing_is_fetched_and_no_file_is_read() {
    for reference in [
        "http://127.0.0.1:9/x",
        "https://example.com/schema.json",
        "file:///etc/passwd",
        "/etc/passwd",
        "other.json#/a",
        "#anchor",
        "#/$defs/missing",
        "#/$defs/%61",
        "https://json-schema.org/draft/2020-12/schema",
        "",
    ] {
        let schema = json!({"$ref": reference, "$defs": {"a": {}}});
        assert!(matches!(refused(&schema), SchemaError::Reference(_)), "{reference}");
    }
}

#[test]
fn what_could_take_for_ever_is_refused() {
    let recursive = [
        json!({"$ref": "#"}),
        json!({"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"items": {"$ref": "#/$defs/a"}}}}),
        json!({"properties": {"x": {"items": {"$ref": "#/properties/x"}}}}),
        json!({"properties": {"x": {"items": {"not": {"$ref": "#/properties/x/items"}}}}}),
    ];
    for schema in recursive {
        assert!(matches!(refused(&schema), SchemaError::Recursive(_)), "{schema}");
    }
    for (keyword, schema) in [
        ("$dynamicRef", json!({"$dynamicRef": "#a"})),
        ("$recursiveRef", json!({"items": {"$recursiveRef": "#"}})),
        ("$id", json!({"items": {"$id": "https://example.com/b"}})),
        ("$anchor", json!({"items": {"$anchor": "b"}})),
        ("unevaluatedProperties", json!({"unevaluatedProperties": false})),
        ("unevaluatedItems", json!({"items": {"unevaluatedItems": {"type": "string"}}})),
    ] {
        assert_eq!(refused(&schema), SchemaError::Keyword(keyword));
    }
    // each definition uses the next one twice: 2^60 places in 4 KB
    let mut definitions = serde_json::Map::new();
    for level in 0..60 {
        let next = format!("#/$defs/d{}", level + 1);
        definitions.insert(format!("d{level}"), json!({"anyOf": [{"$ref": next}, {"$ref": next}]}));
    }
    definitions.insert("d60".into(), json!({"type": "string"}));
    let error = quickly("doubling", || refused(&json!({"$ref": "#/$defs/d0", "$defs": definitions})));
    assert!(matches!(error, SchemaError::TooManyPlaces | SchemaError::TooDeep), "{error}");
    // a chain deeper than the bound, whichever end comes first
    for order in [false, true] {
        let mut definitions = serde_json::Map::new();
        for level in 0..100 {
            let (from, to) = if order { (level, level + 1) } else { (100 - level, 99 - level) };
            definitions.insert(format!("d{from:03}"), json!({"items": {"$ref": format!("#/$defs/d{to:03}")}}));
        }
        definitions.insert(if order { "d100" } else { "d000" }.into(), json!({}));
        assert_eq!(refused(&json!({"$defs": definitions})), SchemaError::TooDeep);
    }
    let nested = (0..60).fold(json!({}), |inner, _| json!({"items": inner}));
    assert_eq!(refused(&nested), SchemaError::TooDeep);
    let text = format!("{}{}", "[".repeat(8000), "]".repeat(8000));
    assert!(matches!(Schema::compile(&text), Err(SchemaError::NotJson(_))));
}

#[test]
fn patterns_take_linear_time() {
    for pattern in ["(?=a)b", "(a)\\1", "(?<!a)b"] {
        assert!(matches!(refused(&json!({"pattern": pattern})), SchemaError::Invalid { .. }), "{pattern}");
    }
    for pattern in [
        "a{1000}{1000}",
        "^(a{1,500}){1,500}$",
        "^(([ab]{1,60}c){1,60}d){1,60}$",
        "\\p{L}{5000}",
        "((((a{30}){30}){30}){30})",
    ] {
        let compiled = quickly(pattern, || compile(&json!({"pattern": pattern})));
        assert!(matches!(compiled, Err(SchemaError::Invalid { .. })), "{pattern}: {compiled:?}");
    }
    let schema = compile(&json!({"pattern": "^(a+)+$"})).unwrap();
    let document = format!("\"{}!\"", "a".repeat(1 << 20));
    assert!(quickly("backtracking", || schema.check(document.as_bytes())).is_err());
}

/// The worst that we know of: no two places of the text look the same to it, so that no step is remembered.
#[test]
fn the_worst_patterns_are_bounded() {
    let text = |len: u32| {
        let digits = (0..len).map(|i| if (i.wrapping_mul(2_654_435_761) >> 16) & 1 == 0 { '0' } else { '1' });
        format!("\"{}\"", digits.collect::<String>())
    };
    let mut checked = 0;
    for repeated in [50, 200, 700, 3000] {
        let schema = compile(&json!({"pattern": format!("^[01]*1[01]{{{repeated}}}$")})).unwrap();
        for len in [8 << 20, 1 << 20, 1 << 18, 1 << 16] {
            if schema.check_size(len + 2).is_ok() {
                let _ = quickly("a pattern of many states", || schema.check(text(len as u32).as_bytes()));
                checked += 1;
                break;
            }
        }
    }
    assert_eq!(checked, 4);
    let many: Vec<_> = (0..8).map(|i| json!({"pattern": format!("^{i}[01]*1[01]{{300}}$")})).collect();
    let schema = compile(&json!({"anyOf": many})).unwrap();
    assert_eq!(schema.check(text(4 << 20).as_bytes()), Err(SchemaError::TooCostly));
    let keys: serde_json::Map<_, _> = (0..30).map(|i| (format!("^{i}"), json!({}))).collect();
    let schema = compile(&json!({"patternProperties": keys})).unwrap();
    assert_eq!(schema.check_size(1 << 20), Err(SchemaError::TooCostly));
}

/// As many patterns as fit, each within the bound of one: half a second and 230 MB each, once.
#[test]
fn a_schema_of_many_large_patterns_is_refused_before_they_are_compiled() {
    for repeated in [1, 5, 60] {
        for pattern in ["\\pL", "\\w", ".", "(?i)\\w", "[^a]"] {
            let keys = |count| (0..count).map(|i| (format!("{pattern}{{{repeated}}}{i:x}"), json!(true)));
            let members: serde_json::Map<_, _> = keys(600).collect();
            assert_eq!(refused(&json!({"patternProperties": members})), SchemaError::Patterns, "{pattern} {repeated}");
            // few enough of them, and too large together
            let members: serde_json::Map<_, _> = keys(32).collect();
            let compiled = compile(&json!({"patternProperties": members}));
            let weight = weigh_pattern(&format!("{pattern}{{{repeated}}}0"));
            let fits = weight * 32 * SMALL_PATTERN_BYTES as u64 <= MAX_PATTERNS_BYTES as u64;
            assert_eq!(compiled.is_ok(), fits, "{pattern} {repeated} {weight}");
        }
    }
    let one = "\\pL".repeat(MAX_PATTERN_CLASSES + 1);
    assert_eq!(refused(&json!({"pattern": one})), SchemaError::Patterns);
    let one = "a".repeat(MAX_PATTERNS_TEXT + 1);
    assert_eq!(refused(&json!({"items": {"pattern": one}})), SchemaError::Patterns);
    // behind references, too
    let hidden: serde_json::Map<_, _> =
        (0..40).map(|i| (format!("d{i}"), json!({"pattern": format!("{i}")}))).collect();
    assert_eq!(refused(&json!({"$defs": hidden})), SchemaError::Patterns);
}

/// Patterns as people write them cost little.
#[test]
fn common_patterns_are_small() {
    for pattern in ["^[a-z ]*$", "^\\d{4}-\\d{2}-\\d{2}$", "^[\\w.-]+@[\\w-]+\\.\\w+$", "^https?://", "^[0-9a-f]{64}$"]
    {
        assert_eq!(weigh_pattern(pattern), 1, "{pattern}");
    }
    assert!(weigh_pattern("^.{1,200}$") <= 8);
    assert_eq!(weigh_pattern("("), 32);
}

#[test]
fn large_documents_are_bounded() {
    let schema = compile(&json!({"type": "array", "uniqueItems": true})).unwrap();
    assert_eq!(schema.check_size(MAX_DOCUMENT + 1), Err(SchemaError::DocumentTooLarge(MAX_DOCUMENT + 1)));
    let many = format!("[{}0]", "0,".repeat(MAX_DOCUMENT_VALUES as usize));
    assert!(matches!(schema.check(many.as_bytes()), Err(SchemaError::TooManyValues(_))));
    let distinct: Vec<_> = (0..MAX_DOCUMENT_VALUES - 10).map(|i| i.to_string()).collect();
    assert_eq!(quickly("unique", || schema.check(format!("[{}]", distinct.join(",")).as_bytes())), Ok(()));
    let objects: Vec<_> = (0..MAX_DOCUMENT_VALUES / 4).map(|i| format!("{{\"a\":[{i}]}}")).collect();
    let _ = quickly("unique objects", || schema.check(format!("[{}]", objects.join(",")).as_bytes()));
    let places = vec![json!({"not": {"const": 1}}); 500];
    let schema = compile(&json!({"items": {"allOf": places}})).unwrap();
    let document = format!("[{}2]", "2,".repeat(60_000));
    assert_eq!(schema.check(document.as_bytes()), Err(SchemaError::TooCostly));
    let document = format!("[{}2]", "2,".repeat(20_000));
    assert_eq!(quickly("places", || schema.check(document.as_bytes())), Ok(()));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(matches!(schema.check(deep.as_bytes()), Err(SchemaError::DocumentNotJson(_))));
}

#[test]
fn a_complaint_is_short() {
    let schema = compile(&json!({"type": "number"})).unwrap();
    let document = format!("\"{}\"", "ä".repeat(1 << 20));
    let SchemaError::Unsatisfied { why, .. } = schema.check(document.as_bytes()).unwrap_err() else { panic!() };
    assert!(why.len() < MAX_COMPLAINT + 10 && why.ends_with('…'), "{}", why.len());
    let schema = compile(&json!({"additionalProperties": false})).unwrap();
    let document = format!("{{\"{}\": 1}}", "k".repeat(1 << 20));
    assert!(schema.check(document.as_bytes()).unwrap_err().to_string().len() < 2 * MAX_COMPLAINT + 100);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn values_in(value: &Value) -> u64 {
    1 + match value {
        Value::Array(items) => items.iter().map(values_in).sum(),
        Value::Object(members) => members.values().map(values_in).sum(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn values_are_never_counted_short(value in any_json()) {
        let text = value.to_string();
        prop_assert!(count_values(text.as_bytes()) >= values_in(&value), "{}", text);
        prop_assert!(count_values(text.as_bytes()) <= 3 * values_in(&value) + 1, "{}", text);
    }

    #[test]
    fn no_schema_and_no_document_panics(schema in any_json(), document in any_json()) {
        if let Ok(schema) = compile(&schema) {
            let _ = schema.check(document.to_string().as_bytes());
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = Schema::compile(&String::from_utf8_lossy(&bytes));
        let _ = compile(&json!({"type": "object"})).unwrap().check(&bytes);
    }
}
