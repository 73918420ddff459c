#![allow(clippy::unwrap_used)]
use cashu::nuts::{CurrencyUnit, Id, KeySet, Keys, SecretKey};
use proptest::prelude::*;

use super::*;

fn agent(seed: u8) -> AgentId {
    crate::identity::AgentKey::from_seed(&[seed; 32]).id()
}

fn invitation() -> Invitation {
    Invitation {
        peers: vec![
            InvitedPeer {
                agent: agent(1),
                addresses: vec!["/ip4/192.0.2.7/tcp/4848".into(), "/ip4/192.0.2.7/udp/4848/quic-v1".into()],
            },
            InvitedPeer { agent: agent(2), addresses: vec!["/ip6/2001:db8::7/tcp/4848".into()] },
        ],
        mints: vec![
            InvitedMint { url: "https://mint.example".parse().unwrap(), pin: Some(ByteArray([7; 16])) },
            InvitedMint { url: MintUrl::of_peer(agent(2)), pin: None },
        ],
        unit: Some("sat".parse().unwrap()),
    }
}

/// What was handed out once is read for ever: this text never changes.
const FROZEN: &str = include_str!("frozen.txt");

#[test]
fn the_text_of_an_invitation_is_frozen() {
    assert_eq!(invitation().to_string(), FROZEN.trim());
    assert_eq!(FROZEN.parse(), Ok(invitation()));
}

#[test]
fn case_and_white_space_of_chat_programs_do_no_harm() {
    let text = invitation().to_string();
    let mut folded = String::from(" \n");
    for (at, letter) in invitation().for_qr().chars().enumerate() {
        folded.push(letter);
        if at % 60 == 59 {
            folded.push_str("\r\n  ");
        }
    }
    assert!(is_meant(&text) && is_meant(&folded) && !is_meant("/ip4/192.0.2.7/tcp/1") && !is_meant("é"));
    assert_eq!(folded.parse(), Ok(invitation()));
    // The alphanumeric form of a QR code has these letters and digits.
    assert!(invitation().for_qr().bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
}

/// An invitation of this body, with a checksum that is right.
fn sealed(body: &[u8]) -> String {
    let bytes = [body, &checksum(body)].concat();
    format!("guilderinvite1{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

#[test]
fn a_field_of_a_later_version_is_skipped() {
    #[derive(Serialize)]
    struct Later {
        p: Vec<PeerBody>,
        x: &'static str,
    }
    let peer = PeerBody { a: vec!["/ip4/192.0.2.7/tcp/1".into()], i: ByteArray([3; 32]) };
    let read: Invitation = sealed(&cbor::encode(&Later { p: vec![peer], x: "new" })).parse().unwrap();
    assert_eq!((read.peers.len(), read.mints.len(), read.unit), (1, 0, None));
}

#[test]
fn hostile_texts_are_refused_each_for_its_reason() {
    use InvitationError as E;
    let refused = |text: &str| text.parse::<Invitation>().unwrap_err();
    let text = invitation().to_string();
    assert_eq!(refused("hello"), E::None);
    assert_eq!(refused(""), E::None);
    assert_eq!(refused(&text.replacen('1', "2", 1)), E::Later);
    assert_eq!(refused("guilderinvite"), E::Damaged);
    assert_eq!(refused("guilderinvite1"), E::Damaged);
    assert_eq!(refused(&text[..text.len() - 1]), E::Damaged);
    assert_eq!(refused(&format!("{text}a")), E::Damaged);
    assert_eq!(refused(&text.replacen("guilderinvite1", "guilderinvite1\u{200b}", 1)), E::Damaged);
    assert_eq!(refused(&text.replacen("guilderinvite1", "guilderinvite1\x1b", 1)), E::Damaged);
    assert_eq!(refused(&(text.clone() + &"a".repeat(MAX_INVITATION))), E::TooLong);
    assert_eq!(refused(&" ".repeat(2 * MAX_INVITATION + 1)), E::TooLong);
    assert!(matches!(refused(&sealed(b"\xa0")), E::Content(_)), "a body without peers");
    // Not canonical: a map's key in two bytes.
    assert!(matches!(refused(&sealed(b"\xa1\x78\x01p\x80")), E::Content(_)));

    let changed = |change: fn(&mut Invitation)| {
        let mut invitation = invitation();
        change(&mut invitation);
        refused(&invitation.to_string())
    };
    assert_eq!(changed(|it| it.peers.clear()), E::NoPeers);
    assert_eq!(changed(|it| it.peers[1].addresses.clear()), E::NoPeers);
    assert_eq!(changed(|it| it.peers = vec![it.peers[1].clone(); MAX_INVITED_PEERS + 1]), E::TooMany);
    assert_eq!(
        changed(|it| it.peers[0].addresses = vec!["/ip4/1.2.3.4/tcp/1".into(); MAX_INVITED_ADDRESSES + 1]),
        E::TooMany
    );
    assert_eq!(changed(|it| it.mints = vec![it.mints[1].clone(); MAX_MINTS + 1]), E::TooMany);
    for address in ["", "192.0.2.7:4848", "/ip4/192.0.2.7/tcp/1\n", "/ip4/\x1b[2J", "/ip4/é"] {
        let mut invitation = invitation();
        invitation.peers[0].addresses[0] = address.into();
        assert_eq!(refused(&invitation.to_string()), E::Address, "{address:?}");
    }
    // A URL with credentials is no mint's, whoever wrote it.
    let mut body = cbor::encode(&Body {
        m: vec![MintBody { k: None, u: "https://mint.example".parse().unwrap() }],
        p: vec![PeerBody { a: vec!["/ip4/192.0.2.7/tcp/1".into()], i: ByteArray([3; 32]) }],
        u: None,
    });
    let at = body.windows(12).position(|window| window == b"mint.example").unwrap();
    body[at..at + 12].copy_from_slice(b"me:pw@mint.e");
    assert!(matches!(refused(&sealed(&body)), E::Content(_)));
}

/// A keyset of keys that begin with this seed.
fn keyset(seed: u8, unit: &CurrencyUnit) -> Keyset {
    let key = |index: u8| SecretKey::from_slice(&[[seed; 31].as_slice(), &[index + 1]].concat()).unwrap().public_key();
    let keys = Keys::new((0..4).map(|index| ((1_u64 << index).into(), key(index))).collect());
    let id = Id::v1_from_keys(&keys);
    let set = KeySet { id, unit: unit.clone(), active: Some(true), keys, input_fee_ppk: 0, final_expiry: None };
    Keyset::from_mint(&set).unwrap()
}

#[test]
fn a_pin_is_that_of_all_active_keys_and_of_nothing_else() {
    let (one, other) = (keyset(1, &CurrencyUnit::Sat), keyset(2, &CurrencyUnit::Sat));
    assert_eq!(pin([&one, &other]), pin([&other, &one, &one]));
    let usd = keyset(1, &CurrencyUnit::Usd);
    let pins = [pin([&one]), pin([&other]), pin([&one, &other]), pin([&usd]), pin([])];
    for (at, first) in pins.iter().enumerate() {
        assert!(!pins[at + 1..].contains(first), "{at}");
    }
    assert_eq!(pin([&one]).to_string(), FROZEN_PIN, "what was handed out once holds for ever");
}

const FROZEN_PIN: &str = "9f3fa3a167c5bfa1223722a36d28dcc4";

proptest! {
    #[test]
    fn what_is_written_is_read(seeds in prop::collection::vec(any::<u8>(), 1..8), ports in prop::collection::vec(1..u16::MAX, 1..8), pinned: Option<[u8; 16]>) {
        let addresses: Vec<_> = ports.iter().map(|port| format!("/ip4/192.0.2.7/tcp/{port}")).collect();
        let invitation = Invitation {
            peers: seeds.iter().map(|seed| InvitedPeer { agent: AgentId::from_bytes([*seed; 32]), addresses: addresses.clone() }).collect(),
            mints: vec![InvitedMint { url: MintUrl::of_peer(agent(3)), pin: pinned.map(ByteArray) }],
            unit: None,
        };
        prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
    }

    #[test]
    fn one_changed_letter_is_found(at in 14..400_usize, letter in "[a-z2-7]") {
        let mut text = invitation().to_string();
        let at = 14 + at % (text.len() - 14);
        prop_assume!(text[at..=at] != letter);
        text.replace_range(at..=at, &letter);
        prop_assert_eq!(text.parse::<Invitation>(), Err(InvitationError::Damaged));
    }
}
