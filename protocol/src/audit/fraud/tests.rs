#![allow(clippy::unwrap_used)]
//! What proofs of fraud show, and the attacks on them: whoever makes one may not convict who did nothing wrong.

use super::*;
use crate::{
    acceptance::AcceptanceBody,
    envelope::Signed,
    market::{Ask, AskBody, OfferBody},
    receipt::{Receipt, Salt, TaskError, commit},
    seal::{self, SealKey},
    settlement::{AwardPart, Mode, Terms, escrow, prepaid},
    testing::{
        self, NOW, OUTPUT, SALT,
        mint::{Mint, lock_key, secret_key},
    },
    time::Timestamp,
    trade::{Deal, seller},
};

const KEY: [u8; 32] = [7; 32];
const AMOUNTS: [u64; 3] = [4, 2, 1];

fn until(secs: u64) -> Timestamp {
    NOW.saturating_add(secs)
}

/// A trade whose money is real, in either mode.
struct Trade {
    deal: Deal,
    conditions: Conditions,
}

fn trade(mode: &Mode) -> Trade {
    trade_for(mode, SealKey::new(KEY).hash(), 0)
}

/// With money that no trade of another salt is paid with.
fn trade_for(mode: &Mode, key_hash: Digest, salt: u8) -> Trade {
    let (payee, refund, release) = (lock_key("payee"), lock_key("refund"), lock_key("release"));
    let locktime = until(1_000);
    let (terms, conditions) = match mode {
        Mode::Escrow => (
            Terms::Escrow(escrow::Terms {
                label: ByteArray([1; 16]),
                payee,
                key_hash,
                release_by: until(300),
                redeem_by: until(600),
                locktime,
            }),
            Conditions::Escrow(escrow::Conditions { locktime, key_hash, payee, release, refund }),
        ),
        _ => (
            Terms::Prepaid(prepaid::Terms { payee, locktime }),
            Conditions::Prepaid(prepaid::Conditions { locktime, payee, refund }),
        ),
    };
    let mint = Mint::new(1, "sat", 0, None);
    let proofs = AMOUNTS.iter().zip(1..).map(|(amount, at)| mint.sign(*amount, &conditions.secret(&[at + salt; 32])));
    let lock = conditions.lock(proofs.collect());
    let ys: Vec<_> = lock.proofs().iter().map(|proof| proof.y().unwrap()).collect();
    let ask = ask();
    let body = OfferBody { terms, ..testing::offer(&ask).body.clone() };
    let offer = Signed::claim(body, NOW, Some(until(30)), ByteArray([4; 16]), &testing::seller()).unwrap();
    let part = conditions.part(ys_commitment(&ys));
    let (args, buyer) = (testing::args(&offer), testing::buyer());
    let award = Award::sign(&args, &part, buyer.id(), vec![], NOW, ByteArray([6; 16]), &buyer).unwrap();
    award.matches(&offer).unwrap();
    Trade { deal: Deal { award, offer, lock, ..testing::deal() }, conditions }
}

/// For an offer in whichever mode.
fn ask() -> Signed<Ask> {
    let body = AskBody { modes: Mode::ALL.to_vec(), ..testing::ask().body.clone() };
    Signed::claim(body, NOW, Some(until(60)), ByteArray([3; 16]), &testing::buyer()).unwrap()
}

impl Trade {
    fn evidence(&self, receipts: Vec<Signed<Receipt>>) -> Evidence {
        Evidence {
            asks: vec![ask()],
            offers: vec![self.deal.offer.clone()],
            awards: vec![self.deal.award.clone()],
            receipts,
            ..Evidence::default()
        }
    }

    fn accepted(&self) -> Evidence {
        let acceptances = vec![testing::claim(AcceptanceBody::of(&self.deal), &testing::seller())];
        Evidence { acceptances, ..self.evidence(vec![]) }
    }

    fn receipt(&self, out: Result<Digest, FailureCode>, sealed: Option<&Sealed>, ended: Timestamp) -> Signed<Receipt> {
        let out = out.map_err(|code| TaskError { code, text: String::new() });
        testing::claim(seller::receipt_body(&self.deal, out, sealed, NOW, ended), &testing::seller())
    }

    fn failed(&self, code: FailureCode) -> Evidence {
        self.evidence(vec![self.receipt(Err(code), None, until(2))])
    }

    fn done(&self) -> Evidence {
        self.evidence(vec![self.receipt(Ok(commit(&SALT, OUTPUT)), None, until(2))])
    }

    /// The seller delivers `ciphertext` for an output with this commitment.
    fn delivered(&self, ciphertext: &[u8], commitment: Digest) -> Evidence {
        let sealed = Sealed { aead: Cipher::ChaCha20Poly1305Stream, ciphertext: ContentId::of(ciphertext) };
        self.evidence(vec![self.receipt(Ok(commitment), Some(&sealed), until(2))])
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        self.deal.lock.proofs().iter().map(|proof| proof.secret.as_str())
    }

    /// The money, taken with the signatures of these keys.
    fn taken(&self, signers: &[&str]) -> Taken {
        let proof = |secret: &str| TakenProof { secret: secret.into(), witness: vec![witness(secret, signers, "")] };
        Taken {
            keys: self.deal.lock.without_proofs(),
            ys: self.deal.lock.proofs().iter().map(|proof| proof.y().unwrap()).collect(),
            proofs: self.secrets().map(proof).collect(),
        }
    }
}

/// A witness as mints show it.
fn witness(secret: &str, signers: &[&str], preimage: &str) -> String {
    let sign = |signer: &&str| secret_key(signer.as_bytes()).sign(secret.as_bytes()).unwrap().to_string();
    let signatures: Vec<String> = signers.iter().map(sign).collect();
    serde_json::json!({ "preimage": preimage, "signatures": signatures }).to_string()
}

fn exhibit(ciphertext: &[u8], shown: &[u8]) -> Exhibit {
    let chunks = ciphertext.chunks(CHUNK_SIZE).map(|chunk| ByteArray(cbor::sha256(chunk))).collect();
    Exhibit { chunks, shown: ByteBuf::from(shown) }
}

fn file(award: Cid, evidence: &Evidence, exhibits: &Exhibits, ciphertext: &[u8]) -> Vec<u8> {
    let mut file = head(award, evidence, exhibits);
    let mut seen = BTreeSet::new();
    for bytes in ciphertext.chunks(CHUNK_SIZE).filter(|bytes| seen.insert(*bytes)) {
        file.extend(chunk(bytes));
    }
    file
}

fn shows_taken(trade: &Trade, evidence: &Evidence, taken: Taken) -> Result<Proof, FraudError> {
    let exhibits = Exhibits { taken: Some(taken), opened: None };
    verify(&file(trade.deal.id(), evidence, &exhibits, b""))
}

fn shows_opened(trade: &Trade, evidence: &Evidence, ciphertext: &[u8], shown: &[u8]) -> Result<Proof, FraudError> {
    let exhibits = Exhibits { taken: None, opened: Some(exhibit(ciphertext, shown)) };
    verify(&file(trade.deal.id(), evidence, &exhibits, ciphertext))
}

fn convicts(proof: &Proof, word: &str) {
    assert_eq!((proof.finding.as_str(), proof.answers(), proof.word_of()), (word, Some(testing::seller().id()), None));
    let verdict = proof.verdict();
    assert!(verdict.starts_with("fraud: ") && verdict.contains(&testing::seller().id().peer_id()), "{verdict}");
    assert!(proof.to_string().ends_with(&format!("==> {verdict}\n")));
}

#[test]
fn money_taken_under_a_receipt_of_a_failure_convicts_its_seller() {
    for mode in Mode::ALL {
        let trade = trade(mode);
        for code in FailureCode::KNOWN.iter().filter(|code| **code != FailureCode::Cancelled) {
            let proof = shows_taken(&trade, &trade.failed(code.clone()), trade.taken(&["payee"])).unwrap();
            convicts(&proof, "took-failed");
            assert_eq!(proof.taken, Some((3, 3)));
        }
        // Our machine would sign that it timed out.
        let body = trade.done().receipts[0].body.clone();
        let ended = trade.deal.award.args().deadline.saturating_add(1);
        let late = vec![testing::claim(ReceiptBody { ended, ..body }, &testing::seller())];
        convicts(&shows_taken(&trade, &trade.evidence(late), trade.taken(&["payee"])).unwrap(), "took-late");
    }
}

#[test]
fn a_part_of_the_money_convicts_and_is_told_as_a_part() {
    let trade = trade(&Mode::Prepaid);
    let mut taken = trade.taken(&["payee"]);
    taken.proofs.remove(0);
    let proof = shows_taken(&trade, &trade.failed(FailureCode::Crashed), taken).unwrap();
    convicts(&proof, "took-failed");
    assert!(proof.verdict().ends_with("signed for 2 of the 3 proofs of the money"), "{}", proof.verdict());
}

#[test]
fn receipts_that_contradict_each_other_convict_without_any_exhibit() {
    let trade = trade(&Mode::Prepaid);
    let mut evidence = trade.done();
    evidence.receipts.extend(trade.failed(FailureCode::Crashed).receipts);
    let proof = verify(&file(trade.deal.id(), &evidence, &Exhibits::default(), b"")).unwrap();
    convicts(&proof, "contradicts");
    convicts(&shows_taken(&trade, &evidence, trade.taken(&["payee"])).unwrap(), "contradicts");
}

#[test]
fn a_key_that_opens_to_something_else_or_to_nothing_convicts_its_seller() {
    let trade = trade(&Mode::Escrow);
    let (ciphertext, commitment) = seal::seal(&SealKey::new(KEY), &SALT, OUTPUT).unwrap();
    // Another output than the receipt commits to; another salt; sealed with another key; nothing sealed at all.
    let other = commit(&SALT, b"another output");
    convicts(&shows_opened(&trade, &trade.delivered(&ciphertext, other), &ciphertext, &KEY).unwrap(), "wrong-key");
    let salt: Salt = ByteArray([1; 32]);
    let evidence = trade.delivered(&ciphertext, commit(&salt, OUTPUT));
    convicts(&shows_opened(&trade, &evidence, &ciphertext, &KEY).unwrap(), "wrong-key");
    let (foreign, _) = seal::seal(&SealKey::new([8; 32]), &SALT, OUTPUT).unwrap();
    for junk in [&foreign[..], b"junk", b""] {
        let evidence = trade.delivered(junk, commitment);
        convicts(&shows_opened(&trade, &evidence, junk, &KEY).unwrap(), "wrong-key");
    }
}

#[test]
fn a_large_ciphertext_with_a_chunk_that_comes_twice_is_checked() {
    let trade = trade(&Mode::Escrow);
    let zeros = vec![0; 3 * CHUNK_SIZE + 5];
    let evidence = trade.delivered(&zeros, commit(&SALT, OUTPUT));
    convicts(&shows_opened(&trade, &evidence, &zeros, &KEY).unwrap(), "wrong-key");
    let output: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
    let (ciphertext, commitment) = seal::seal(&SealKey::new(KEY), &SALT, &output).unwrap();
    let proof = shows_opened(&trade, &trade.delivered(&ciphertext, commitment), &ciphertext, &KEY).unwrap();
    assert_eq!((proof.finding.as_str(), proof.answers()), ("nothing", None));
}

#[test]
fn a_hash_of_what_is_no_key_convicts_its_seller() {
    for no_key in [&b"31 bytes, or any other number"[..], b"", &[7; 33]] {
        let trade = trade_for(&Mode::Escrow, ByteArray(cbor::sha256(no_key)), 0);
        let evidence = trade.delivered(b"ciphertext", commit(&SALT, OUTPUT));
        convicts(&shows_opened(&trade, &evidence, b"ciphertext", no_key).unwrap(), "no-key");
    }
}

/// What the file doesn't show is the word of whoever says it.
#[test]
fn what_is_absent_is_told_with_whose_word_it_is_and_convicts_nobody() {
    let (buyer, seller) = (testing::buyer().id(), testing::seller().id());
    let (prepaid, in_escrow) = (trade(&Mode::Prepaid), trade(&Mode::Escrow));
    let (ciphertext, commitment) = seal::seal(&SealKey::new(KEY), &SALT, OUTPUT).unwrap();
    let sealed = in_escrow.delivered(&ciphertext, commitment);
    for (trade, evidence, word, whose) in [
        (&prepaid, prepaid.evidence(vec![]), "took", buyer),
        (&prepaid, prepaid.accepted(), "took-accepted", buyer),
        (&prepaid, prepaid.failed(FailureCode::Cancelled), "took-cancelled", seller),
        (&in_escrow, in_escrow.evidence(vec![]), "took", buyer),
        (&in_escrow, in_escrow.accepted(), "took-accepted", buyer),
        (&in_escrow, sealed, "took-without-key", buyer),
    ] {
        let proof = shows_taken(trade, &evidence, trade.taken(&["payee", "release"])).unwrap();
        assert_eq!((proof.finding.as_str(), proof.answers(), proof.word_of()), (word, None, Some(whose)));
        let verdict = proof.verdict();
        assert!(verdict.starts_with("not shown: ") && verdict.contains(&whose.peer_id()), "{verdict}");
    }
}

#[test]
fn attack_an_honest_seller_is_accused() {
    let nothing = |proof: Proof| {
        assert_eq!((proof.finding.as_str(), proof.answers(), proof.word_of()), ("nothing", None, None));
        assert!(proof.verdict().starts_with("no fault shown: "));
    };
    // It delivered in time and was paid.
    let prepaid = trade(&Mode::Prepaid);
    nothing(shows_taken(&prepaid, &prepaid.done(), prepaid.taken(&["payee"])).unwrap());
    // The buyer leaves the receipt out, and has signed that it has the output.
    let mut evidence = prepaid.accepted();
    evidence.received = vec![testing::received(&prepaid.done().receipts[0])];
    nothing(shows_taken(&prepaid, &evidence, prepaid.taken(&["payee"])).unwrap());
    // The buyer called it off.
    let mut evidence = prepaid.failed(FailureCode::Cancelled);
    evidence.cancellations = vec![testing::cancellation(&prepaid.deal)];
    nothing(shows_taken(&prepaid, &evidence, prepaid.taken(&["payee"])).unwrap());
    // In escrow: its key opens what it should, and is in the witness.
    let in_escrow = trade(&Mode::Escrow);
    let (ciphertext, commitment) = seal::seal(&SealKey::new(KEY), &SALT, OUTPUT).unwrap();
    let evidence = in_escrow.delivered(&ciphertext, commitment);
    nothing(shows_opened(&in_escrow, &evidence, &ciphertext, &KEY).unwrap());
    let mut taken = in_escrow.taken(&["payee", "release"]);
    taken.proofs[2].witness = vec![witness(&taken.proofs[2].secret, &["payee", "release"], &hex::encode(KEY))];
    nothing(shows_taken(&in_escrow, &evidence, taken).unwrap());
    // It failed, and the buyer took its own money back: no signature of the seller's is there.
    let taken = prepaid.taken(&["refund"]);
    let refused = shows_taken(&prepaid, &prepaid.failed(FailureCode::Crashed), taken);
    assert_eq!(refused, Err(FraudError::Witness { index: 0 }));
}

#[test]
fn attack_the_money_of_another_trade_is_shown() {
    let (one, other) = (trade(&Mode::Prepaid), trade_for(&Mode::Prepaid, ByteArray([0; 32]), 100));
    let failed = one.failed(FailureCode::Crashed);
    assert_eq!(shows_taken(&one, &failed, other.taken(&["payee"])), Err(FraudError::OtherMoney));
    // With the right Ys and one foreign secret under the same keys, or one lock twice.
    let mut taken = one.taken(&["payee"]);
    taken.proofs[1] = other.taken(&["payee"]).proofs[1].clone();
    assert_eq!(shows_taken(&one, &failed, taken), Err(FraudError::Secret { index: 1 }));
    let mut taken = one.taken(&["payee"]);
    taken.proofs[2] = taken.proofs[0].clone();
    assert_eq!(shows_taken(&one, &failed, taken), Err(FraudError::Secret { index: 2 }));
    // Signed by the seller for another lock.
    let mut taken = one.taken(&["payee"]);
    taken.proofs[0].witness = other.taken(&["payee"]).proofs[0].witness.clone();
    assert_eq!(shows_taken(&one, &failed, taken), Err(FraudError::Witness { index: 0 }));
    // Ys that are named twice, left out, or too many.
    let changes: [fn(&mut Vec<ByteArray<33>>); 4] =
        [|ys| ys[1] = ys[0], |ys| ys.truncate(2), Vec::clear, |ys| *ys = vec![ys[0]; MAX_PROOFS + 1]];
    for change in changes {
        let mut taken = one.taken(&["payee"]);
        change(&mut taken.ys);
        assert_eq!(shows_taken(&one, &failed, taken), Err(FraudError::OtherMoney));
    }
    // Other keys than the award's lock has, of this mode or another.
    for keys in [other_keys(), trade(&Mode::Escrow).deal.lock.without_proofs()] {
        let refused = shows_taken(&one, &failed, Taken { keys, ..one.taken(&["payee"]) });
        assert!(matches!(refused, Err(FraudError::Secret { index: 0 } | FraudError::OtherMoney)), "{refused:?}");
    }
    // Nothing at all.
    let refused = shows_taken(&one, &failed, Taken { proofs: vec![], ..one.taken(&["payee"]) });
    assert_eq!(refused, Err(FraudError::Root));
}

fn other_keys() -> Lock {
    Lock::Prepaid(prepaid::Lock { proofs: vec![], refund: lock_key("another") })
}

#[test]
fn attack_the_witness_is_of_another_key_or_of_none() {
    for mode in Mode::ALL {
        let trade = trade(mode);
        for signers in [&["release"][..], &["refund"], &["stranger"], &[]] {
            let refused = shows_taken(&trade, &trade.failed(FailureCode::Crashed), trade.taken(signers));
            assert_eq!(refused, Err(FraudError::Witness { index: 0 }), "{signers:?}");
        }
        // Among many others the seller's isn't looked for without end; among a few it is found.
        let many: Vec<String> = (0..40).map(|at| format!("stranger {at}")).collect();
        for (count, holds) in [(7, true), (40, false)] {
            let mut taken = trade.taken(&[]);
            for proof in &mut taken.proofs {
                let strangers: Vec<&str> = many[..count].iter().map(String::as_str).chain(["payee"]).collect();
                proof.witness = vec![witness(&proof.secret, &strangers, "")];
            }
            assert_eq!(shows_taken(&trade, &trade.failed(FailureCode::Crashed), taken).is_ok(), holds);
        }
    }
}

#[test]
fn attack_the_ciphertext_is_cut_changed_or_anothers() {
    let trade = trade(&Mode::Escrow);
    let output = vec![3; 2 * CHUNK_SIZE];
    let (ciphertext, commitment) = seal::seal(&SealKey::new(KEY), &SALT, &output).unwrap();
    let evidence = trade.delivered(&ciphertext, commitment);
    let mut changed = ciphertext.clone();
    changed[9] ^= 1;
    for other in
        [&ciphertext[..CHUNK_SIZE], &ciphertext[1..], &changed, b"junk", b"", &[&ciphertext[..], b"."].concat()]
    {
        assert_eq!(shows_opened(&trade, &evidence, other, &KEY), Err(FraudError::Ciphertext));
    }
    // Chunks that are swapped, or named and not there, or there and not named.
    let id = trade.deal.id();
    let mut swapped = exhibit(&ciphertext, &KEY);
    swapped.chunks.swap(0, 1);
    let with = |opened: Exhibit| Exhibits { taken: None, opened: Some(opened) };
    assert_eq!(verify(&file(id, &evidence, &with(swapped), &ciphertext)), Err(FraudError::Ciphertext));
    let whole = with(exhibit(&ciphertext, &KEY));
    assert_eq!(verify(&file(id, &evidence, &whole, &ciphertext[..CHUNK_SIZE])), Err(FraudError::Ciphertext));
    let more = [file(id, &evidence, &whole, &ciphertext), chunk(&[0xff; 3])].concat();
    assert!(matches!(verify(&more), Err(FraudError::Bundle(AuditError::Stray(_)))));
    let unnamed = file(id, &evidence, &Exhibits::default(), &[0xff; 3]);
    assert!(matches!(verify(&unnamed), Err(FraudError::Bundle(AuditError::Stray(_)))));
    let many = with(Exhibit { chunks: vec![ByteArray([0; 32]); MAX_CHUNKS + 1], shown: ByteBuf::from(KEY) });
    assert_eq!(verify(&file(id, &evidence, &many, b"")), Err(FraudError::Ciphertext));
}

#[test]
fn attack_another_key_is_shown() {
    let trade = trade(&Mode::Escrow);
    let (ciphertext, commitment) = seal::seal(&SealKey::new(KEY), &SALT, OUTPUT).unwrap();
    let evidence = trade.delivered(&ciphertext, commitment);
    for other in [&[8; 32][..], &[7; 31], b""] {
        assert_eq!(shows_opened(&trade, &evidence, &ciphertext, other), Err(FraudError::Key));
    }
    // Nothing was delivered sealed: in advance, or because the work failed.
    for (trade, evidence) in [
        (&trade, trade.failed(FailureCode::Crashed)),
        (&trade, trade.accepted()),
        (&super::tests::trade(&Mode::Prepaid), super::tests::trade(&Mode::Prepaid).done()),
    ] {
        assert_eq!(shows_opened(trade, &evidence, &ciphertext, &KEY), Err(FraudError::Unsealed));
    }
}

#[test]
fn attack_the_file_is_edited_or_cut() {
    let trade = trade(&Mode::Escrow);
    let (ciphertext, _) = seal::seal(&SealKey::new(KEY), &SALT, OUTPUT).unwrap();
    let evidence = trade.delivered(&ciphertext, commit(&SALT, b"another"));
    let taken = Some(trade.taken(&["payee", "release"]));
    let exhibits = Exhibits { taken, opened: Some(exhibit(&ciphertext, &KEY)) };
    let good = file(trade.deal.id(), &evidence, &exhibits, &ciphertext);
    convicts(&verify(&good).unwrap(), "wrong-key");
    assert!(is_proof(&good));
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1;
        assert!(verify(&bad).is_err(), "byte {index}");
    }
    for length in 0..good.len() {
        assert!(verify(&good[..length]).is_err(), "cut to {length}");
    }
    // A bundle is no proof, nor is a proof a bundle.
    let bundle = super::super::bundle(&evidence);
    assert!(!is_proof(&bundle) && verify(&bundle).is_err() && super::super::verify(&good).is_err());
}

#[test]
fn attack_two_roots_another_award_or_a_file_over_the_limit() {
    let (trade, other) = (trade(&Mode::Prepaid), trade_for(&Mode::Prepaid, ByteArray([0; 32]), 100));
    let evidence = trade.failed(FailureCode::Crashed);
    let exhibits = Exhibits { taken: Some(trade.taken(&["payee"])), opened: None };
    let good = file(trade.deal.id(), &evidence, &exhibits, b"");
    let elsewhere = file(other.deal.id(), &evidence, &exhibits, b"");
    assert_eq!(verify(&elsewhere), Err(FraudError::Award(other.deal.id())));
    let (roots, rest) = car::read_roots(&good, 1).unwrap();
    for roots in [&[][..], &[roots[0], trade.deal.id()], &[trade.deal.id()]] {
        assert_eq!(verify(&[&car::header(roots), rest].concat()), Err(FraudError::Root));
    }
    let mut large = good.clone();
    large.resize(MAX_FRAUD_PROOF + 1, 0);
    assert_eq!(verify(&large), Err(FraudError::TooLarge(MAX_FRAUD_PROOF + 1)));
    // Statements that are no part of what the award was about.
    let mut more = evidence.clone();
    more.awards.push(other.deal.award.clone());
    more.offers.push(other.deal.offer.clone());
    let report = verify(&file(trade.deal.id(), &more, &exhibits, b"")).unwrap();
    assert_eq!((report.award, report.report.hires.len()), (trade.deal.id(), 2));
}

#[test]
fn a_witness_is_bounded_and_what_counts_in_a_long_one_is_kept() {
    let trade = trade(&Mode::Escrow);
    let (ciphertext, commitment) = seal::seal(&SealKey::new(KEY), &SALT, OUTPUT).unwrap();
    let evidence = trade.delivered(&ciphertext, commitment);
    let mut taken = trade.taken(&["payee", "release"]);
    taken.proofs[1].witness.push(" ".repeat(MAX_WITNESS));
    assert_eq!(shows_taken(&trade, &evidence, taken.clone()), Err(FraudError::Witness { index: 1 }));
    let key_hash = trade.deal.award.part().key_hash();
    for proof in &mut taken.proofs {
        let shown = [witness(&proof.secret, &["payee", "release"], &hex::encode(KEY)), " ".repeat(MAX_WITNESS)];
        *proof = TakenProof::new(proof.secret.clone(), &shown, key_hash);
    }
    assert_eq!(shows_taken(&trade, &evidence, taken).unwrap().finding.as_str(), "nothing");
}

#[test]
fn a_proof_of_a_later_version_is_not_called_forged() {
    let trade = trade(&Mode::Prepaid);
    let root = |format: &str, more: bool| {
        let mut root = BTreeMap::from([
            ("format", ipld_core::ipld::Ipld::String(format.into())),
            ("award", ipld_core::ipld::Ipld::Link(trade.deal.id())),
        ]);
        let bundle = super::super::bundle(&trade.done());
        let (roots, statements) = car::read_roots(&bundle, 9).unwrap();
        root.insert("bundle", ipld_core::ipld::Ipld::List(roots.into_iter().map(Into::into).collect()));
        if more {
            root.insert("later", ipld_core::ipld::Ipld::Bool(true));
        }
        let root = cbor::encode(&root);
        let mut file = car::header(&[cbor::cid_of(&root)]);
        car::section(&mut file, &[&cbor::cid_of(&root).to_bytes(), &root]);
        [&file[..], statements].concat()
    };
    assert_eq!(verify(&root("guilder/fraud-proof/2", false)), Err(FraudError::NotUnderstood));
    assert_eq!(FraudError::NotUnderstood.fault(), Fault::Incompatible);
    assert_eq!(verify(&root("another", false)), Err(FraudError::Root));
    // A field that isn't known is passed over.
    assert_eq!(verify(&root(FORMAT, true)).unwrap().finding.as_str(), "nothing");
    // So is what hangs on a receipt or a cipher of a later version.
    let later = trade.evidence(vec![trade.receipt(Err(FailureCode::Other("later".parse().unwrap())), None, NOW)]);
    assert_eq!(shows_taken(&trade, &later, trade.taken(&["payee"])).unwrap().finding, Finding::NotUnderstood);
    let in_escrow = super::tests::trade(&Mode::Escrow);
    let sealed = Sealed { aead: Cipher::Other("later".parse().unwrap()), ciphertext: ContentId::of(b"x") };
    let later = in_escrow.evidence(vec![in_escrow.receipt(Ok(commit(&SALT, OUTPUT)), Some(&sealed), NOW)]);
    assert_eq!(shows_opened(&in_escrow, &later, b"x", &KEY).unwrap().finding, Finding::NotUnderstood);
}

#[test]
fn nothing_of_the_lock_that_was_not_taken_and_no_key_is_printed() {
    let trade = trade(&Mode::Escrow);
    let printed = format!("{:?} {:?}", trade.taken(&["payee"]), exhibit(b"x", &KEY));
    assert!(
        !printed.contains("HTLC") && !printed.contains(&hex::encode(KEY)) && !printed.contains("7, 7, 7"),
        "{printed}"
    );
    let AwardPart::Escrow(_) = trade.deal.award.part() else { panic!() };
    let Conditions::Escrow(_) = trade.conditions else { panic!() };
}
