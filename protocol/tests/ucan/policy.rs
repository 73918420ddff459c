//! The policy language beyond its fixtures: types, the unresolved, bounds, cost.

use std::time::{Duration, Instant};

use guilder_protocol::{
    cbor,
    ucan::{
        Policy, Selector, Statement,
        policy::{Comparison, Number, PolicyError},
    },
};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::tools::{invocation, ipld, name, policy, verify};

fn holds(statement: Value, args: Value) -> bool {
    policy(&json!([statement])).allows(&ipld(&args))
}

#[test]
fn equality_is_deep_and_numbers_are_equal_by_value() {
    for (left, right, expected) in [
        (json!(1), json!(1.0), true),
        (json!([1, {"b": 2.0}]), json!([1.0, {"b": 2}]), true),
        (json!(0.1), json!(0.1), true),
        (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992.0), false),
        (json!(u64::MAX), json!(1.844_674_407_370_955_2e19), false),
        (json!(u64::MAX), json!(u64::MAX), true),
        (json!(i64::MIN), json!(i64::MIN), true),
        (json!("1"), json!(1), false),
        (json!(null), json!(false), false),
        (json!(""), json!(null), false),
        (json!([]), json!({}), false),
        (json!([1, 2]), json!([2, 1]), false),
        (json!([1, 2]), json!([1, 2, 3]), false),
        (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true),
        (json!({"a": 1}), json!({"a": 1, "b": 2}), false),
        (json!({"a": 1}), json!({"b": 1}), false),
    ] {
        assert_eq!(holds(json!(["==", ".x", left]), json!({"x": right})), expected, "{left} {right}");
        assert_eq!(holds(json!(["==", ".x", right]), json!({"x": left})), expected, "{right} {left}");
        assert_eq!(holds(json!(["!=", ".x", left]), json!({"x": right})), !expected, "{left} {right}");
    }
}

#[test]
fn inequalities_take_numbers_and_nothing_else() {
    for (operator, below, equal, above) in
        [("<", true, false, false), ("<=", true, true, false), (">", false, false, true), (">=", false, true, true)]
    {
        for (value, expected) in [(json!(1), below), (json!(1.9), below), (json!(2), equal), (json!(2.0), equal)] {
            assert_eq!(holds(json!([operator, ".x", 2]), json!({"x": value})), expected, "{value} {operator} 2");
        }
        assert_eq!(holds(json!([operator, ".x", 2.5]), json!({"x": 3})), above);
        for value in [json!("1"), json!(null), json!([2]), json!({"x": 2}), json!(true)] {
            assert!(!holds(json!([operator, ".x", 2]), json!({"x": value})), "{value} {operator} 2");
        }
    }
    assert!(holds(json!([">", ".x", 9_007_199_254_740_992.0]), json!({"x": 9_007_199_254_740_993_u64})));
    assert!(holds(json!(["<", ".x", 1e300]), json!({"x": u64::MAX})));
    assert!(holds(json!([">", ".x", -1e300]), json!({"x": i64::MIN})));
}

#[test]
fn integers_beyond_64_bits_of_two_s_complement_compare_exactly() {
    let least: Ipld = cbor::decode(&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert_eq!(least, Ipld::Integer(-(1 << 64)));
    let args = Ipld::Map([("x".into(), least.clone())].into());
    let selector: Selector = ".x".parse().unwrap();
    let is = |statement| Policy::new(vec![statement]).unwrap().allows(&args);
    assert!(is(Statement::Equal(selector.clone(), least)));
    assert!(is(Statement::Compare(Comparison::Less, selector.clone(), Number::Int(i64::MIN.into()))));
    assert!(is(Statement::Compare(Comparison::AtLeast, selector, Number::Float(-18_446_744_073_709_551_616.0))));
}

#[test]
fn what_is_not_finite_is_no_number() {
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let bytes = [&[0x81, 0x83, 0x61, b'<', 0x62, b'.', b'x', 0xfb][..], &float.to_be_bytes()].concat();
        assert!(cbor::decode::<Policy>(&bytes).is_err(), "{float}");
        let selector: Selector = ".x".parse().unwrap();
        let less = Statement::Compare(Comparison::Less, selector.clone(), Number::Float(float));
        assert_eq!(Policy::new(vec![less]), Err(PolicyError::Value));
        assert_eq!(Policy::new(vec![Statement::Equal(selector, Ipld::Float(float))]), Err(PolicyError::Value));
        // and in arguments that were never decoded
        let args = Ipld::Map([("x".into(), Ipld::Float(float))].into());
        assert!(!policy(&json!([["==", ".x", 1]])).allows(&args));
        assert!(!policy(&json!([["<", ".x", 1]])).allows(&args));
        assert!(!policy(&json!([[">", ".x", 1]])).allows(&args));
    }
    let good = [&[0x81, 0x83, 0x61, b'<', 0x62, b'.', b'x', 0xfb][..], &1.5_f64.to_be_bytes()].concat();
    assert!(cbor::decode::<Policy>(&good).is_ok());
}

#[test]
fn a_statement_about_nothing_is_false_whatever_it_says() {
    let args = json!({"a": {"b": 1}, "list": [1]});
    for statement in [
        json!(["==", ".a.x.y", 1]),
        json!(["!=", ".a.x.y", 1]),
        json!(["<", ".list[5]", 1]),
        json!(["!=", ".list[5]", 1]),
        json!(["like", ".list.x", "*"]),
        json!(["all", ".a.b[]", ["==", ".", 1]]),
        json!(["any", ".a.b", ["==", ".", 1]]),
        json!(["all", ".a.b", ["==", ".", 1]]),
    ] {
        assert!(!holds(statement.clone(), args.clone()), "{statement}");
        assert!(holds(json!(["not", statement]), args.clone()), "{statement}");
    }
    // a missing field is null
    assert!(holds(json!(["==", ".x", null]), args.clone()));
    assert!(holds(json!(["!=", ".x", 1]), args));
}

#[test]
fn connectives_and_quantifiers_of_nothing() {
    let args = json!({"list": [], "map": {}});
    assert!(holds(json!(["and", []]), args.clone()));
    assert!(holds(json!(["or", []]), args.clone()));
    for collection in [".list", ".map"] {
        assert!(holds(json!(["all", collection, ["==", ".", 1]]), args.clone()));
        assert!(!holds(json!(["any", collection, ["==", ".", 1]]), args.clone()));
    }
    assert!(policy(&json!([])).allows(&ipld(&args)));
}

#[test]
fn quantifiers_go_over_lists_and_the_values_of_maps() {
    let args = json!({"list": [1, 2, 3], "map": {"x": 1, "y": 2}, "text": "abc", "deep": [[1], [2, 3]]});
    assert!(holds(json!(["all", ".list", [">", ".", 0]]), args.clone()));
    assert!(!holds(json!(["all", ".list", [">", ".", 1]]), args.clone()));
    assert!(holds(json!(["any", ".map", ["==", ".", 2]]), args.clone()));
    assert!(holds(json!(["all", ".map[]", [">", ".", 0]]), args.clone()));
    assert!(holds(json!(["all", ".list[1:]", [">", ".", 1]]), args.clone()));
    assert!(holds(json!(["any", ".deep", ["any", ".", ["==", ".", 3]]]), args.clone()));
    assert!(!holds(json!(["all", ".deep", ["any", ".", ["==", ".", 3]]]), args.clone()));
    assert!(!holds(json!(["all", ".text", ["like", ".", "*"]]), args));
}

#[test]
fn like_takes_text_only() {
    for value in [json!(1), json!(null), json!(["a"]), json!({"a": "a"})] {
        assert!(!holds(json!(["like", ".x", "*"]), json!({"x": value})));
    }
    assert!(holds(json!(["like", ".x", "*"]), json!({"x": ""})));
}

#[test]
fn a_glob_with_many_stars_is_matched_in_linear_time() {
    let pattern = "a*".repeat(2_000) + "b";
    let text = "a".repeat(30_000);
    let started = Instant::now();
    assert!(!holds(json!(["like", ".x", pattern]), json!({"x": text})));
    let middle = "*".to_owned() + &("a".repeat(50) + "b*").repeat(100);
    assert!(!holds(json!(["like", ".x", middle]), json!({"x": text})));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn the_size_of_a_policy_is_bounded_when_it_is_read() {
    let flat = |statements: usize| cbor::encode(&json!(vec![json!(["==", ".a", 1]); statements]));
    assert!(cbor::decode::<Policy>(&flat(256)).is_ok());
    assert!(cbor::decode::<Policy>(&flat(257)).is_err());
    let deep = |levels: usize| {
        let innermost = json!(["==", ".a", 1]);
        cbor::encode(&json!([(1..levels).fold(innermost, |inner, _| json!(["not", inner]))]))
    };
    assert!(cbor::decode::<Policy>(&deep(16)).is_ok());
    assert!(cbor::decode::<Policy>(&deep(17)).is_err());
    let mut abyss = vec![0x81];
    abyss.extend([0x82, 0x63, b'n', b'o', b't'].repeat(10_000));
    assert!(cbor::decode::<Policy>(&abyss).is_err());
    // and when it is built
    let selector: Selector = ".a".parse().unwrap();
    let statement = || Statement::Equal(selector.clone(), Ipld::Null);
    assert_eq!(Policy::new((0..257).map(|_| statement()).collect()), Err(PolicyError::Long));
    let deep = (1..17).fold(statement(), |inner, _| Statement::Not(Box::new(inner)));
    assert_eq!(Policy::new(vec![deep]), Err(PolicyError::Deep));
}

#[test]
fn a_policy_that_costs_too_much_authorises_nothing() {
    let args = json!({"list": vec![0; 2_000]});
    let many = vec![json!(["==", ".", 1]); 200];
    let bomb = json!(["all", ".list", ["not", ["or", many]]]);
    let started = Instant::now();
    assert!(!holds(bomb.clone(), args.clone()));
    assert!(!holds(json!(["not", bomb]), args.clone()), "running dry is not false, it is nothing");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let mut link = crate::tools::delegation(1, 2, "/task");
    link.pol = policy(&json!([["not", ["all", ".list", ["not", ["or", many]]]]]));
    let mut asked = invocation(1, 2, "/task");
    asked.args = crate::tools::from_json(&args);
    assert_eq!(name(&verify(asked, vec![link])), "MatchError");
}

#[test]
fn comparing_large_values_over_and_over_runs_dry() {
    let big = "x".repeat(10_000);
    let args = json!({"big": big, "map": {"big": [big, big]}});
    let costly = vec![json!(["==", ".map.big", [big, big]]); 5];
    assert!(policy(&json!(costly)).allows(&ipld(&args)));
    let costly = vec![json!(["==", ".map.big", [big, big]]); 250];
    assert!(!policy(&json!(costly)).allows(&ipld(&args)));
}

#[test]
fn policies_print_as_they_read() {
    for (written, printed) in [
        (json!(["==", ".a", "x\n"]), r#".a == "x\n""#),
        (json!(["!=", ".a", [1, null, {"b": true}]]), r#".a != [1, null, {"b": true}]"#),
        (json!([">=", ".a", 1.5]), ".a >= 1.5"),
        (json!(["like", ".a", "*@b"]), r#".a like "*@b""#),
        (json!(["==", ".[\"\u{202e}\"]", "\u{202e}"]), r#".["\u{202e}"] == "\u{202e}""#),
        (json!(["not", ["<", ".a", 1]]), "not (.a < 1)"),
        (json!(["or", [["==", ".a", 1], ["==", ".a", 2]]]), "(.a == 1 or .a == 2)"),
        (json!(["all", ".a", [">", ".", 1]]), "for all of .a: (. > 1)"),
        (json!(["any", ".a", [">", ".", 1]]), "for any of .a: (. > 1)"),
    ] {
        assert_eq!(policy(&json!([written])).to_string(), printed);
    }
    assert_eq!(policy(&json!([["==", ".a", 1], ["<", ".b", 2]])).to_string(), ".a == 1 and .b < 2");
}
