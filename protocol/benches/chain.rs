//! What checking a chain costs beside its bare signatures.
//!
//! For each depth, rounds of two measurements take turns: the whole check from bytes (decode, content IDs, signatures,
//! principals, times, commands, policies), and nothing but `verify_strict` over the same messages, from the bytes of the
//! same keys. The table gives medians, and the median of the rounds' ratios. To reach: 1.2.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use ed25519_dalek::{Signature, VerifyingKey};
use guilder_protocol::{
    cbor,
    envelope::Signed,
    identity::AgentKey,
    time::Timestamp,
    ucan::{At, Delegation, Invocation, Policy, chain, chain::NoRevocations, grant::SubGrant},
};
use ipld_core::ipld::Ipld;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
/// Rounds for each row, and repetitions of each side within one.
const ROUNDS: usize = 200;
const REPEATS: usize = 3;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, repeats) = if is_test { (1, 1) } else { (ROUNDS, REPEATS) };
    println!("chain verification, from bytes, beside its Ed25519 signatures alone (verify_strict)\n");
    println!("{:<28} {:>5} {:>10} {:>10} {:>10} {:>7}", "chain", "depth", "signatures", "bare µs", "chain µs", "ratio");
    for (name, with_policies) in [("without policies", false), ("award with sub-grants", true)] {
        for depth in [1, 3, 8] {
            let row = measure(&Tokens::new(depth, with_policies), rounds, repeats);
            println!(
                "{name:<28} {depth:>5} {:>10} {:>10.1} {:>10.1} {:>7.3}",
                depth + 1,
                row.bare_us,
                row.chain_us,
                row.ratio
            );
        }
    }
}

struct Row {
    bare_us: f64,
    chain_us: f64,
    ratio: f64,
}

fn measure(tokens: &Tokens, rounds: usize, repeats: usize) -> Row {
    tokens.verify();
    tokens.verify_bare();
    let (mut bare, mut chain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let bare_us = time_us(repeats, || tokens.verify_bare());
        let chain_us = time_us(repeats, || tokens.verify());
        bare.push(bare_us);
        chain.push(chain_us);
        ratios.push(chain_us / bare_us);
    }
    Row { bare_us: median(bare), chain_us: median(chain), ratio: median(ratios) }
}

fn time_us(repeats: usize, work: impl Fn()) -> f64 {
    let started = Instant::now();
    for _ in 0..repeats {
        work();
    }
    started.elapsed().as_secs_f64() * 1e6 / repeats as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A chain in bytes, and what its signatures are over.
struct Tokens {
    invocation: Vec<u8>,
    proofs: Vec<Vec<u8>>,
    bare: Vec<([u8; 32], [u8; 64], Vec<u8>)>,
}

impl Tokens {
    fn new(depth: u8, with_policies: bool) -> Self {
        let keys: Vec<_> = (0..=depth).map(|seed| AgentKey::from_seed(&[seed + 1; 32])).collect();
        let links: Vec<_> =
            keys.windows(2).map(|pair| Signed::sign(link(&keys[0], pair, with_policies), &pair[0]).unwrap()).collect();
        let asked = award(&keys, &links);
        let mut bare = vec![bare(&keys[usize::from(depth)], asked.bytes())];
        bare.extend(links.iter().zip(&keys).map(|(link, key)| self::bare(key, link.bytes())));
        Self {
            invocation: asked.bytes().to_vec(),
            proofs: links.iter().map(|link| link.bytes().to_vec()).collect(),
            bare,
        }
    }

    fn verify(&self) {
        let chain = chain::verify_bytes(&self.invocation, &self.proofs, At::tolerant(NOW), &NoRevocations);
        black_box(chain.unwrap());
    }

    fn verify_bare(&self) {
        for (key, signature, message) in &self.bare {
            let key = VerifyingKey::from_bytes(black_box(key)).unwrap();
            key.verify_strict(black_box(message), &Signature::from_bytes(signature)).unwrap();
        }
    }
}

/// Key, signature and signed bytes of an envelope: a signature of 64 bytes behind three bytes of heads, then the rest.
fn bare(key: &AgentKey, envelope: &[u8]) -> ([u8; 32], [u8; 64], Vec<u8>) {
    (*key.id().as_bytes(), envelope[3..67].try_into().unwrap(), envelope[67..].to_vec())
}

fn link(root: &AgentKey, pair: &[AgentKey], with_policies: bool) -> Delegation {
    let grant = SubGrant {
        buyer: pair[0].id(),
        seller: pair[1].id(),
        principal: root.id(),
        task: cbor::cid_of(b"ask"),
        services: vec!["text.summarize".into()],
        unit: "sat".into(),
        mint: "https://mint.example.com".into(),
        max_price: 1_000,
        max_spent: 10_000,
        deadline: NOW.saturating_add(60),
        max_depth: 8,
        expires: NOW.saturating_add(600),
        nonce: vec![7; 16],
    };
    let delegation = grant.delegation().unwrap();
    if with_policies { delegation } else { Delegation { pol: Policy::default(), ..delegation } }
}

/// An award with all the arguments that one has.
fn award(keys: &[AgentKey], links: &[Signed<Delegation>]) -> Signed<Invocation> {
    let buyer = keys.last().unwrap();
    let seller = AgentKey::from_seed(&[99; 32]).id();
    let text = |text: &str| Ipld::String(text.to_owned());
    let link = |bytes: &[u8]| Ipld::Link(cbor::cid_of(bytes));
    let int = |int: u64| Ipld::Integer(int.into());
    let args = BTreeMap::from([
        ("task".to_owned(), link(b"ask")),
        ("service".to_owned(), text("text.summarize")),
        ("ask".to_owned(), link(b"ask")),
        ("offer".to_owned(), link(b"offer")),
        ("input".to_owned(), Ipld::Bytes(vec![1; 32])),
        ("mode".to_owned(), text("prepaid")),
        ("mint".to_owned(), text("https://mint.example.com")),
        ("unit".to_owned(), text("sat")),
        ("price".to_owned(), int(100)),
        ("spent".to_owned(), int(500)),
        ("locktime".to_owned(), int(NOW.as_secs() + 7_200)),
        ("ys".to_owned(), Ipld::Bytes(vec![2; 32])),
        ("seller".to_owned(), text(&seller.to_string())),
        ("deadline".to_owned(), int(NOW.as_secs() + 30)),
        ("depth".to_owned(), int(links.len() as u64)),
    ]);
    let invocation = Invocation {
        iss: buyer.id(),
        sub: keys[0].id(),
        aud: Some(seller),
        cmd: chain::AWARD.parse().unwrap(),
        args: args.into(),
        prf: links.iter().map(Signed::cid).collect(),
        meta: None,
        nonce: vec![3; 16].into(),
        exp: Some(NOW.saturating_add(60)),
        iat: Some(NOW),
        cause: None,
    };
    Signed::sign(invocation, buyer).unwrap()
}
