//! Every form of selector, seen through `==`.

use guilder_protocol::ucan::{Policy, Selector, Statement, policy::SelectorError};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::tools::ipld;

/// Whether the selector finds exactly `expected`.
fn finds(selector: &str, args: &Ipld, expected: Ipld) -> bool {
    Policy::new(vec![Statement::Equal(selector.parse().unwrap(), expected)]).unwrap().allows(args)
}

/// Whether the selector finds anything at all.
fn resolves(selector: &str, args: &Ipld) -> bool {
    let not_odd = Statement::NotEqual(selector.parse().unwrap(), Ipld::String("a value that stands nowhere".into()));
    Policy::new(vec![not_odd]).unwrap().allows(args)
}

fn args() -> Value {
    json!({
        "from": "alice@example.com",
        "to": ["bob", "carol", "dan"],
        "bar0_": 5,
        "map": {"y": 2, "x": 1},
        ".": "dot",
        "$_*": "odd",
        "1": "digit",
        "a\"b\\c]": "escaped",
        "größe": 7,
        "nothing": null,
        "nested": [{"b": [10, 20]}, {"b": [30]}],
    })
}

#[test]
fn selectors_find_what_they_name() {
    let args = ipld(&args());
    for (selector, expected) in [
        (".from", json!("alice@example.com")),
        (".bar0_", json!(5)),
        (".größe", json!(7)),
        (".missing", json!(null)),
        (".nothing", json!(null)),
        (r#".["from"]"#, json!("alice@example.com")),
        (r#".["."]"#, json!("dot")),
        (r#".["$_*"]"#, json!("odd")),
        (r#".["1"]"#, json!("digit")),
        (r#".["a\"b\\c]"]"#, json!("escaped")),
        (r#".["\u0031"]"#, json!("digit")),
        (r#".["map"]["x"]"#, json!(1)),
        (r#".map.["x"]"#, json!(1)),
        (".map.y", json!(2)),
        (".to", json!(["bob", "carol", "dan"])),
        (".to[]", json!(["bob", "carol", "dan"])),
        (".to[][]", json!(["bob", "carol", "dan"])),
        (".map[]", json!([1, 2])),
        (".map[][0]", json!(1)),
        (".map[][-1]", json!(2)),
        (".map[][1:]", json!([2])),
        (".to[0]", json!("bob")),
        (".to.[1]", json!("carol")),
        (".to[-1]", json!("dan")),
        (".to[-3]", json!("bob")),
        (".to[1:3]", json!(["carol", "dan"])),
        (".to[1:]", json!(["carol", "dan"])),
        (".to[:1]", json!(["bob"])),
        (".to[0:-2]", json!(["bob"])),
        (".to[-2:]", json!(["carol", "dan"])),
        (".to[1:][0]", json!("carol")),
        (".to[1:][1:]", json!(["dan"])),
        (".to[7:11]", json!([])),
        (".to[2:1]", json!([])),
        (".to[-99:99]", json!(["bob", "carol", "dan"])),
        (".nested[0].b[1]", json!(20)),
        (".nested[-1].b", json!([30])),
        (".to[99]?", json!(null)),
        (".to[-4]?", json!(null)),
        (".to.x?", json!(null)),
        (".from[0]?", json!(null)),
        (".from[]?", json!(null)),
        (".missing?", json!(null)),
        (".from?", json!("alice@example.com")),
        (".from???", json!("alice@example.com")),
        (".to[99]???", json!(null)),
        (r#".["nope"]?"#, json!(null)),
        (".missing.deeper?", json!(null)),
        (".to[5]?.x?", json!(null)),
    ] {
        assert!(finds(selector, &args, ipld(&expected)), "{selector} is not {expected}");
    }
    assert!(finds(".", &args, args.clone()));
    assert!(finds(".?", &args, args.clone()));
}

#[test]
fn selectors_that_find_nothing_fail_early() {
    let args = ipld(&args());
    for selector in [
        ".missing.deeper",
        ".nothing.x",
        ".nothing[]",
        ".to[99]",
        ".to[-4]",
        ".to.x",
        ".to[9].x?",
        ".missing.deeper.still?.x",
        ".from[0]",
        ".from[0:1]",
        ".from[]",
        ".from.x",
        ".map[0]",
        ".map[0:1]",
        ".bar0_[0]",
        ".nested[].b",
        ".to[5]?.x",
    ] {
        assert!(!resolves(selector, &args), "{selector}");
    }
}

#[test]
fn bytes_are_a_list_of_small_integers() {
    let bytes = vec![0xd6, 0xa9, 0xc1, 0x8c, 0xf8, 0xc4];
    let args = Ipld::Map([("b".into(), Ipld::Bytes(bytes.clone()))].into());
    let int = |int: u8| Ipld::Integer(int.into());
    assert!(finds(".b[3]", &args, int(0x8c)));
    assert!(finds(".b[-1]", &args, int(0xc4)));
    assert!(finds(".b[1:3]", &args, Ipld::Bytes(vec![0xa9, 0xc1])));
    assert!(finds(".b[1:][0]", &args, int(0xa9)));
    assert!(finds(".b[1:][1:3]", &args, Ipld::Bytes(vec![0xc1, 0x8c])));
    assert!(finds(".b[]", &args, Ipld::Bytes(bytes.clone())));
    assert!(finds(".b[6]?", &args, Ipld::Null));
    assert!(!resolves(".b[6]", &args));
    assert!(!resolves(".b.x", &args));
    assert!(!resolves(".b[0][0]", &args));
    let whole = Ipld::Bytes(bytes);
    assert!(finds(".[3]", &whole, int(0x8c)));
    let above: Policy = crate::tools::policy(&json!([[">", ".b[3]", 139], ["<=", ".b[3]", 140.0]]));
    assert!(above.allows(&args));
}

#[test]
fn a_selector_starts_at_any_value() {
    let list = ipld(&json!([[1, 2], [3]]));
    assert!(finds(".[0]", &list, ipld(&json!([1, 2]))));
    assert!(finds(".[0][1]", &list, ipld(&json!(2))));
    assert!(finds(".[1:]", &list, ipld(&json!([[3]]))));
    assert!(finds(".[]", &list, list.clone()));
    assert!(finds(".x?", &list, Ipld::Null));
    assert!(finds(".", &Ipld::Null, Ipld::Null));
    assert!(!resolves(".x", &Ipld::Null));
}

#[test]
fn what_is_no_selector_does_not_parse() {
    for text in [
        "",
        "a",
        "foo.bar",
        "[0]",
        "..",
        "...",
        ".a..b",
        ".a.",
        ".a.?",
        "?",
        ".?.a",
        ".[",
        ".]",
        ".[]]",
        ".[0",
        ".[:]",
        ".[a]",
        ".[1:b]",
        ".[1:2:3]",
        ".[--1]",
        ".[-]",
        ".[+1]",
        ".[ 1]",
        ".[1.0]",
        r#".["a]"#,
        r#".["a"#,
        r#".["a"x]"#,
        r#".["\q"]"#,
        ".['a']",
        ".1a",
        ".-a",
        ".a b",
        ".a|b",
        ".a*",
        " .a",
        ".a\n",
        ".[99999999999999999999]",
        ".a?b",
    ] {
        assert!(Selector::parse(text).is_err(), "{text:?} parsed");
    }
    assert_eq!(Selector::parse(&format!(".{}", "a".repeat(512))), Err(SelectorError::Long));
    assert_eq!(Selector::parse(&".a".repeat(33)), Err(SelectorError::Long));
    assert!(Selector::parse(&".a".repeat(32)).is_ok());
}
