//! What holds of any token, policy and selector.

use guilder_protocol::{
    cbor,
    envelope::Signed,
    ucan::{Delegation, Invocation, Policy, Selector, case},
};
use ipld_core::ipld::Ipld;
use proptest::{collection, prelude::*, sample::select};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::tools::{NOW, delegation, invocation, key, name, policy, redelegation, verify};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        (-5_i64..5).prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        (-5_i32..5).prop_map(|value| json!(f64::from(value) / 2.0 + 0.25)),
        select(vec!["", "a", "ab", "*", "sat"]).prop_map(|value| json!(value)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn args() -> impl Strategy<Value = Value> {
    collection::btree_map("[a-c]", value(), 0..4).prop_map(|map| json!(map))
}

fn selector() -> impl Strategy<Value = String> {
    let step = select(vec![".a", ".b", ".c", "[0]", "[-1]", "[]", "[1:]", "[:-1]", r#"["a"]"#]);
    collection::vec((step, any::<bool>()), 0..4).prop_map(|steps| {
        let path: String =
            steps.iter().map(|(step, optional)| step.to_string() + if *optional { "?" } else { "" }).collect();
        if path.starts_with('.') { path } else { format!(".{path}") }
    })
}

fn statement() -> impl Strategy<Value = Value> {
    let number =
        prop_oneof![(-5_i64..5).prop_map(|int| json!(int)), (-5_i32..5).prop_map(|int| json!(f64::from(int) + 0.5))];
    let leaf = prop_oneof![
        (select(vec!["==", "!="]), selector(), value()).prop_map(|(op, selector, value)| json!([op, selector, value])),
        (select(vec!["<", "<=", ">", ">="]), selector(), number)
            .prop_map(|(op, selector, number)| json!([op, selector, number])),
        (selector(), select(vec!["*", "a*", r"\*", "*b", "sat"]))
            .prop_map(|(selector, glob)| json!(["like", selector, glob])),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| json!(["not", inner])),
            (select(vec!["and", "or"]), collection::vec(inner.clone(), 0..3))
                .prop_map(|(op, inner)| json!([op, inner])),
            (select(vec!["all", "any"]), selector(), inner)
                .prop_map(|(op, selector, inner)| json!([op, selector, inner])),
        ]
    })
}

fn statements() -> impl Strategy<Value = Value> {
    collection::vec(statement(), 0..4).prop_map(Value::from)
}

/// Statements of which many hold, so that many chains do.
fn likely_statements() -> impl Strategy<Value = Value> {
    let likely = prop_oneof![
        (select(vec![".a", ".b"]), -1_i64..4).prop_map(|(selector, bound)| json!(["<=", selector, bound])),
        (select(vec![".a", ".b"]), -1_i64..2).prop_map(|(selector, bound)| json!([">=", selector, bound])),
        (select(vec![".a", ".b"]), 0_i64..3).prop_map(|(selector, value)| json!(["!=", selector, value])),
        statement(),
    ];
    collection::vec(likely, 0..2).prop_map(Value::from)
}

fn command() -> impl Strategy<Value = String> {
    collection::vec(select(vec!["task", "run", "runaway"]), 0..3)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn adding_a_statement_narrows(first in statements(), second in statements(), args in args()) {
        let args: Ipld = serde_json::from_value(args).unwrap();
        let both = Value::from([first.as_array().unwrap().clone(), second.as_array().unwrap().clone()].concat());
        let (first, second, both) = (policy(&first), policy(&second), policy(&both));
        prop_assert_eq!(both.allows(&args), first.allows(&args) && second.allows(&args));
    }

    #[test]
    fn not_inverts(statement in statement(), args in args()) {
        let args: Ipld = serde_json::from_value(args).unwrap();
        let plain = policy(&json!([statement])).allows(&args);
        prop_assert_eq!(policy(&json!([["not", statement]])).allows(&args), !plain);
    }

    #[test]
    fn policies_survive_the_wire(statements in statements()) {
        let written = policy(&statements);
        let bytes = cbor::encode(&written);
        prop_assert_eq!(&bytes, &cbor::encode(&serde_json::from_value::<Ipld>(statements).unwrap()));
        prop_assert_eq!(cbor::decode::<Policy>(&bytes).unwrap(), written);
    }

    #[test]
    fn tokens_survive_the_wire(
        cmd in command(),
        pol in statements(),
        asked in args(),
        nonce in collection::vec(any::<u8>(), 0..40),
        times in (proptest::option::of(0_u64..1 << 53), proptest::option::of(0_u64..1 << 53)),
        powerline: bool,
    ) {
        let mut link = delegation(1, 2, &cmd);
        link.pol = policy(&pol);
        link.nonce = ByteBuf::from(nonce.clone());
        link.nbf = times.0.map(guilder_protocol::time::Timestamp::from_secs);
        link.exp = times.1.map(guilder_protocol::time::Timestamp::from_secs);
        link.meta = powerline.then(|| serde_json::from_value(asked.clone()).unwrap());
        link.sub = link.sub.filter(|_| !powerline);
        let signed = Signed::sign(link.clone(), &key(1)).unwrap();
        let read = Signed::<Delegation>::decode(signed.bytes()).unwrap();
        prop_assert_eq!(read.payload(), &link);
        prop_assert_eq!(read.cid(), signed.cid());

        let mut asks = invocation(1, 1, &cmd);
        asks.args = serde_json::from_value(asked).unwrap();
        asks.exp = link.exp;
        asks.iat = link.nbf;
        asks.prf = vec![signed.cid(); usize::from(powerline)];
        asks.cause = powerline.then(|| signed.cid());
        let signed = Signed::sign(asks.clone(), &key(1)).unwrap();
        let read = Signed::<Invocation>::decode(signed.bytes()).unwrap();
        prop_assert_eq!(read.payload(), &asks);
    }

    #[test]
    fn the_selector_parser_takes_anything(text in r#"[.\[\]"?:0-9a-z\\*_ é-]{0,40}"#, odd in any::<String>()) {
        for text in [format!(".{text}"), text, odd] {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(selector.as_str(), text);
            }
        }
    }

    #[test]
    fn globs_match_as_the_obvious_matcher_does(pattern in r"[ab*\\]{0,8}", text in r"[ab*\\]{0,8}") {
        let allowed = policy(&json!([["like", ".", pattern]])).allows(&Ipld::String(text.clone()));
        prop_assert_eq!(allowed, obvious(pattern.as_bytes(), text.as_bytes()), "{} {}", pattern, text);
    }

    #[test]
    fn any_bytes_get_a_verdict(bytes in collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!case::verify(&bytes, None, NOW).is_valid());
        prop_assert!(!case::verify(&[&[0x82, 0x40][..], &bytes].concat(), None, NOW).is_valid());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_child_never_authorises_what_its_parent_does_not(
        parent in (select(vec!["/", "/task", "/task/run"]), likely_statements()),
        child in (select(vec!["/", "/task", "/task/run"]), likely_statements()),
        asked in select(vec!["/task", "/task/run", "/task/run/now", "/task/runaway"]),
        args in (0_i64..3, 0_i64..3),
    ) {
        let link = |mut link: Delegation, pol: &Value| {
            link.pol = policy(pol);
            link
        };
        let root = link(delegation(1, 2, parent.0), &parent.1);
        let leaf = link(redelegation(1, 2, 3, child.0), &child.1);
        let ask = |from: u8| Invocation {
            args: serde_json::from_value(json!({"a": args.0, "b": args.1})).unwrap(),
            ..invocation(1, from, asked)
        };
        let by_parent = verify(ask(2), vec![root.clone()]);
        let by_child = verify(ask(3), vec![root.clone(), leaf.clone()]);
        let alone = verify(Invocation { sub: leaf.iss, ..ask(3) }, vec![Delegation { sub: Some(leaf.iss), ..leaf.clone() }]);
        let expected = by_parent.is_ok() && alone.is_ok() && root.cmd.covers(&leaf.cmd);
        prop_assert_eq!(by_child.is_ok(), expected, "{} {} {}", name(&by_parent), name(&alone), name(&by_child));
    }
}

/// Exponential, and plainly right.
fn obvious(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'\\', b'*', pattern @ ..], [b'*', text @ ..]) => obvious(pattern, text),
        ([b'\\', b'*', ..], _) => false,
        ([b'*', rest @ ..], _) => obvious(rest, text) || !text.is_empty() && obvious(pattern, &text[1..]),
        ([first, pattern @ ..], [next, text @ ..]) => first == next && obvious(pattern, text),
        (_, []) => false,
    }
}
