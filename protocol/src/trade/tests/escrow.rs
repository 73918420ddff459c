//! The two machines in escrow, with a mint between them: whatever gets lost, comes twice or dies, and whichever side stops
//! playing by the rules, the money goes to one of them, the key goes with it, and both find an end.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{
    award::Award,
    content::ContentId,
    limits::{KEY_WAIT_SECS, MIN_REDEEM_MARGIN_SECS, MIN_REDEEM_SECS, MIN_RELEASE_SECS},
    locks::{Dleq, LockedProof},
    market::OfferBody,
    seal::{self, Cipher, SealKey, Sealed},
    settlement::{AwardPart, Lock, Terms, escrow},
    time::SKEW_SECS,
};

const LOCKED: u64 = 8;

fn key() -> SealKey {
    SealKey::new([7; 32])
}

/// The tests' trade in escrow: the machines look at nothing of its one proof but the amount.
fn deal() -> Deal {
    let ask = testing::ask();
    let prepaid = testing::offer(&ask);
    let release_by = prepaid.body.deadline.saturating_add(10 * MIN_RELEASE_SECS);
    let redeem_by = release_by.saturating_add(10 * MIN_REDEEM_SECS);
    let locktime = redeem_by.saturating_add(5 * MIN_REDEEM_MARGIN_SECS);
    let [payee, release] = testing::lock_keys();
    let (label, key_hash) = (ByteArray([1; 16]), key().hash());
    let terms = escrow::Terms { label, payee, key_hash, release_by, redeem_by, locktime };
    let body = OfferBody { terms: Terms::Escrow(terms), ..prepaid.body.clone() };
    let offer = Signed::claim(body, NOW, prepaid.exp, ByteArray([4; 16]), &testing::seller()).unwrap();
    let part = AwardPart::Escrow(escrow::AwardPart { locktime, key_hash, ys: ByteArray([5; 32]) });
    let (buyer, args) = (testing::buyer(), testing::args(&offer));
    let award = Award::sign(&args, &part, buyer.id(), vec![], NOW, ByteArray([6; 16]), &buyer).unwrap();
    award.matches(&offer).unwrap();
    let dleq = Dleq { e: ByteArray([0; 32]), s: ByteArray([0; 32]), r: ByteArray([0; 32]) };
    let id = "00deadbeef123456".parse().unwrap();
    let proof = LockedProof { amount: LOCKED, c: ByteArray([2; 33]), dleq, id, secret: "secret".into() };
    let lock = Lock::Escrow(escrow::Lock { proofs: vec![proof], release, refund: payee });
    Deal { award, offer, ask: ask.bytes().to_vec().into(), chain: vec![], lock, ..testing::deal() }
}

fn terms(deal: &Deal) -> &escrow::Terms {
    deal.escrow().unwrap().0
}

/// What an honest seller delivers.
fn sealed() -> (Vec<u8>, crate::bytes::Digest) {
    seal::seal(&key(), &SALT, OUTPUT).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    ToSeller,
    ToBuyer,
    AgainToSeller,
    AgainToBuyer,
    LoseToSeller,
    LoseToBuyer,
    Reconnect,
    CrashBuyer,
    CrashSeller,
    Finish,
    /// The buyer's node does what it was told to: signs, fetches, asks the mint, opens.
    BuyerWorks,
    /// The seller's wallet redeems what is due.
    Redeem,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::ToSeller),
        8 => Just(Step::ToBuyer),
        2 => Just(Step::AgainToSeller),
        2 => Just(Step::AgainToBuyer),
        1 => Just(Step::LoseToSeller),
        1 => Just(Step::LoseToBuyer),
        1 => Just(Step::Reconnect),
        1 => Just(Step::CrashBuyer),
        1 => Just(Step::CrashSeller),
        5 => Just(Step::Finish),
        6 => Just(Step::BuyerWorks),
        4 => Just(Step::Redeem),
        3 => (0_u16..400).prop_map(Step::Wait),
    ]
}

/// How a side departs from the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deviation {
    None,
    /// The buyer never sends its release.
    Withholds,
    /// The seller redeems and says nothing afterwards.
    HidesKey,
    /// The same, and what the mint shows of it has no key.
    ShowsNoKey,
    /// The same, and the mint shows nothing of it.
    ShowsNothing,
    /// The seller never redeems.
    NeverRedeems,
    /// The seller seals something else than it commits to.
    Forges,
    /// The seller never delivers.
    Vanishes,
}

const DEVIATIONS: [Deviation; 8] = [
    Deviation::None,
    Deviation::Withholds,
    Deviation::HidesKey,
    Deviation::ShowsNoKey,
    Deviation::ShowsNothing,
    Deviation::NeverRedeems,
    Deviation::Forges,
    Deviation::Vanishes,
];

impl Deviation {
    /// Whether the key can be had of nobody.
    fn hides_all(self) -> bool {
        matches!(self, Self::ShowsNoKey | Self::ShowsNothing)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coins {
    Locked,
    Sellers,
    Buyers,
}

struct Escrow {
    deal: Deal,
    deviation: Deviation,
    large: bool,
    now: Timestamp,
    buyer: Buyer,
    buyer_disk: Buyer,
    buyer_open: bool,
    buyer_alarm: Option<Timestamp>,
    seller: Option<Seller>,
    seller_disk: Option<Seller>,
    seller_open: bool,
    seller_alarm: Option<Timestamp>,
    working: bool,
    /// What the buyer's node has been told to do and hasn't done.
    tasks: VecDeque<buyer::Effect>,
    to_seller: VecDeque<Message>,
    to_buyer: VecDeque<Message>,
    coins: Coins,
    /// Released to the seller's wallet.
    due: bool,
    voided: bool,
    refunding: bool,
    paid: bool,
    accused: bool,
    /// What was said of the seller.
    conduct: Vec<buyer::SellerConduct>,
}

impl Escrow {
    fn new(large: bool, deviation: Deviation) -> Self {
        let deal = deal();
        let step = Buyer::begin(&deal, NOW);
        let mut world = Self {
            deal,
            deviation,
            large,
            now: NOW,
            buyer: step.state.clone(),
            buyer_disk: step.state.clone(),
            buyer_open: false,
            buyer_alarm: None,
            seller: None,
            seller_disk: None,
            seller_open: false,
            seller_alarm: None,
            working: false,
            tasks: VecDeque::new(),
            to_seller: VecDeque::new(),
            to_buyer: VecDeque::new(),
            coins: Coins::Locked,
            due: false,
            voided: false,
            refunding: false,
            paid: false,
            accused: false,
            conduct: Vec::new(),
        };
        world.buyer_step(step);
        world
    }

    fn buyer_input(&mut self, input: buyer::Input) {
        let step = self.buyer.clone().handle(&self.deal, input, self.now);
        self.buyer_step(step);
    }

    fn buyer_step(&mut self, step: buyer::Step) {
        self.buyer = step.state;
        for write in step.writes {
            match write {
                buyer::Write::State | buyer::Write::Behind => self.buyer_disk = self.buyer.clone(),
                buyer::Write::Open => self.buyer_open = true,
                buyer::Write::Close => self.buyer_open = false,
                buyer::Write::Settle(buyer::LockOutcome::Paid) => self.paid = true,
                buyer::Write::Settle(_) => self.refunding = true,
                buyer::Write::Conduct(conduct) => self.conduct.push(conduct),
                _ => {}
            }
        }
        for effect in step.effects {
            match effect {
                buyer::Effect::Send(Message::Release(_)) if self.deviation == Deviation::Withholds => {}
                buyer::Effect::Send(message) => {
                    if matches!(message, Message::Release(_)) {
                        let stored = matches!(&self.buyer_disk, Buyer::Unopened(stored) if stored.is_released());
                        assert!(stored, "a release goes out before it is on disk");
                    }
                    self.to_seller.push_back(message);
                }
                buyer::Effect::WakeAt(at) => self.buyer_alarm = Some(at),
                buyer::Effect::Finish => self.buyer_alarm = None,
                buyer::Effect::Accuse(_) => self.accused = true,
                task => self.tasks.push_back(task),
            }
        }
    }

    fn seller_input(&mut self, input: seller::Input) {
        if let Some(seller) = self.seller.clone() {
            let step = seller.handle(&self.deal, input, self.now);
            self.seller_step(step);
        }
    }

    fn seller_step(&mut self, step: seller::Step) {
        self.seller = Some(step.state);
        for write in step.writes {
            match write {
                seller::Write::State | seller::Write::Behind => self.seller_disk.clone_from(&self.seller),
                seller::Write::Open => self.seller_open = true,
                seller::Write::Close => self.seller_open = false,
                seller::Write::Release => self.due = true,
                seller::Write::Void => self.voided = true,
                seller::Write::Redeem => panic!("nothing in escrow is redeemed without a release"),
                _ => {}
            }
        }
        for effect in step.effects {
            match effect {
                seller::Effect::Send(message) => self.seller_sends(message),
                seller::Effect::WakeAt(at) => self.seller_alarm = Some(at),
                seller::Effect::Run => self.working = true,
                seller::Effect::Finish => (self.working, self.seller_alarm) = (false, None),
                seller::Effect::Abort(code, why) => {
                    self.working = false;
                    self.conclude(Err(TaskError { code, text: why.into() }));
                }
                seller::Effect::SendKey => {
                    assert_eq!(self.coins, Coins::Sellers, "the key goes out before the mint has it");
                    self.seller_sends(wire::Opened { award: self.deal.id(), key: key() }.into());
                }
                seller::Effect::Fetch(_) | seller::Effect::Accuse(_) => {}
            }
        }
    }

    fn seller_sends(&mut self, message: Message) {
        match (&message, self.deviation) {
            (Message::Opened(_), deviation) if deviation == Deviation::HidesKey || deviation.hides_all() => {}
            (Message::Delivered(_), Deviation::Vanishes) => {}
            _ => self.to_buyer.push_back(message),
        }
    }

    fn conclude(&mut self, out: Result<(), TaskError>) {
        let Some(began) = self.seller.as_ref().and_then(Seller::began) else { return };
        let (ciphertext, mut commitment) = sealed();
        if self.deviation == Deviation::Forges {
            commitment.0[0] ^= 1;
        }
        let id = ContentId::of(&ciphertext);
        let named = Sealed { aead: Cipher::ChaCha20Poly1305Stream, ciphertext: id };
        let stored = if self.large { Stored::Content(id) } else { Stored::Inline(ciphertext.into()) };
        let body = seller::receipt_body(&self.deal, out.map(|()| commitment), Some(&named), began, self.now);
        let output = matches!(body.out, receipt::Outcome::Ok(_)).then_some((SALT, stored));
        let receipt = Signed::claim(body, self.now, None, ByteArray([7; 16]), &testing::seller()).unwrap();
        self.seller_input(seller::Input::Concluded { receipt, output });
    }

    fn at_seller(&mut self, message: Message) {
        match (message, &self.seller) {
            (Message::Awarded(_), None) if self.now <= self.deal.award.args().deadline => {
                let body = crate::acceptance::AcceptanceBody::of(&self.deal);
                let acceptance = Signed::claim(body, self.now, None, ByteArray([8; 16]), &testing::seller()).unwrap();
                let step = Seller::begin(&self.deal, acceptance, self.now, self.now);
                self.seller_step(step);
            }
            (Message::Awarded(_) | Message::Status(_), Some(_)) => self.seller_input(seller::Input::Asked),
            (Message::Release(release), Some(Seller::Unreleased(_))) => {
                self.seller_input(seller::Input::Released(release.signatures));
            }
            (Message::Release(_), _) => self.seller_input(seller::Input::Released(vec![])),
            (Message::Status(_), None) => self.to_buyer.push_back(wire::Unknown { award: self.deal.id() }.into()),
            _ => {}
        }
    }

    fn at_buyer(&mut self, message: Message) {
        match message {
            Message::Accepted(message) => {
                let acceptance = buyer::check_accepted(&self.deal, &message).unwrap();
                self.buyer_input(buyer::Input::Accepted(acceptance));
            }
            Message::Unknown(_) => self.buyer_input(buyer::Input::Unknown),
            Message::Delivered(message) => {
                let delivery = buyer::check_delivery(&self.deal, &message, MAX_CONTENT).unwrap();
                self.buyer_input(buyer::Input::Delivered(delivery));
            }
            Message::Opened(opened) => self.buyer_input(buyer::Input::Shown(escrow::Shown::Key(opened.key))),
            _ => {}
        }
    }

    fn buyer_works(&mut self) {
        match self.tasks.pop_front() {
            Some(buyer::Effect::Fetch { .. }) => {
                self.buyer_input(buyer::Input::Fetched { commitment: ByteArray([0; 32]), received: None });
            }
            Some(buyer::Effect::Release) => self.buyer_input(buyer::Input::Release(vec![ByteArray([1; 64])])),
            Some(buyer::Effect::FindKey) if self.coins == Coins::Sellers && !self.deviation.hides_all() => {
                self.buyer_input(buyer::Input::Shown(escrow::Shown::Key(key())));
            }
            Some(buyer::Effect::Open { shown, .. }) => {
                let (output, opened) = seal::open(&key(), &sealed().0).unwrap();
                let opened = Some((opened, Stored::Inline(output.into())));
                self.buyer_input(buyer::Input::Unsealed { shown, opened, received: None });
            }
            _ => {}
        }
    }

    /// The seller's wallet: never after `redeem_by`.
    fn redeem(&mut self) {
        if !self.due || self.deviation == Deviation::NeverRedeems {
            return;
        }
        let in_time = self.now <= terms(&self.deal).redeem_by;
        if self.coins == Coins::Locked && in_time {
            self.coins = Coins::Sellers;
        }
        if self.coins == Coins::Sellers {
            self.seller_input(seller::Input::Redeemed { amount: LOCKED });
        } else if !in_time {
            self.seller_input(seller::Input::RedeemFailed("too late".into()));
        }
    }

    /// The buyer's wallet, once the locktime has passed.
    fn refund(&mut self) {
        if !self.refunding || self.now <= terms(&self.deal).locktime.saturating_add(SKEW_SECS) {
            return;
        }
        if self.coins == Coins::Locked {
            self.coins = Coins::Buyers;
        }
        let (refunded, redeemed) = match self.coins {
            Coins::Buyers => (LOCKED, 0),
            _ if self.deviation == Deviation::ShowsNothing => (0, 0),
            _ => (0, LOCKED),
        };
        self.buyer_input(buyer::Input::Refunded { refunded, redeemed, fee: 0 });
    }

    fn wait(&mut self, secs: u64) {
        self.now = self.now.saturating_add(secs);
        if self.buyer_alarm.is_some_and(|at| at <= self.now) {
            self.buyer_alarm = None;
            self.buyer_input(buyer::Input::Tick);
        }
        if self.seller_alarm.is_some_and(|at| at <= self.now) {
            self.seller_alarm = None;
            self.seller_input(seller::Input::Tick);
        }
        self.refund();
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::ToSeller => _ = self.to_seller.pop_front().map(|message| self.at_seller(message)),
            Step::ToBuyer => _ = self.to_buyer.pop_front().map(|message| self.at_buyer(message)),
            Step::AgainToSeller => _ = self.to_seller.front().cloned().map(|message| self.at_seller(message)),
            Step::AgainToBuyer => _ = self.to_buyer.front().cloned().map(|message| self.at_buyer(message)),
            Step::LoseToSeller => _ = self.to_seller.pop_front(),
            Step::LoseToBuyer => _ = self.to_buyer.pop_front(),
            Step::Reconnect => {
                self.to_seller.clear();
                self.to_buyer.clear();
                self.buyer_input(buyer::Input::Resume);
            }
            Step::CrashBuyer => {
                self.buyer = self.buyer_disk.clone();
                self.tasks.clear();
                self.buyer_alarm = None;
                if self.buyer_open {
                    self.buyer_input(buyer::Input::Resume);
                }
            }
            Step::CrashSeller => {
                self.seller.clone_from(&self.seller_disk);
                (self.working, self.seller_alarm) = (false, None);
                if self.seller_open {
                    self.seller_input(seller::Input::Resume);
                }
            }
            Step::Finish if self.working => self.conclude(Ok(())),
            Step::Finish => {}
            Step::BuyerWorks => self.buyer_works(),
            Step::Redeem => self.redeem(),
            Step::Wait(secs) => self.wait(secs.into()),
        }
    }

    /// Lets everything take its course, until long after the locktime.
    fn settle(&mut self) {
        let round = [Step::ToSeller, Step::ToBuyer, Step::BuyerWorks, Step::Finish, Step::Redeem, Step::BuyerWorks];
        let long = usize::try_from(KEY_WAIT_SECS / 600).unwrap() + 2;
        for secs in
            std::iter::repeat_n(10, 400).chain(std::iter::repeat_n(200, 40)).chain(std::iter::repeat_n(600, long))
        {
            round.into_iter().for_each(|step| self.act(step));
            self.wait(secs);
        }
    }

    fn bought(&self) -> &buyer::Ended {
        let Buyer::Ended(ended) = &self.buyer else { panic!("the buyer hangs: {:?}", self.buyer) };
        ended
    }

    /// What must be true in the end, whatever happened.
    fn judge(&self) {
        let ended = self.bought();
        assert!(!self.buyer_open && !self.seller_open);
        let has_output = matches!(ended.outcome, BuyerOutcome::Delivered { .. });
        // That it took money for what it failed to do is said when that is seen.
        let judged = self.conduct.iter().filter(|conduct| !matches!(conduct, buyer::SellerConduct::Redeemed(_)));
        assert!(judged.count() <= 1, "judged twice for one trade: {:?}", self.conduct);
        match self.coins {
            Coins::Sellers if self.deviation.hides_all() => {
                let by_seller = self.deviation == Deviation::ShowsNoKey;
                assert_eq!((&ended.outcome, self.accused), (&BuyerOutcome::Keyless { by_seller }, by_seller));
                let took = by_seller.then_some(buyer::SellerConduct::Redeemed(LOCKED));
                assert_eq!(self.conduct, Vec::from_iter(took), "nobody is judged by the mint's word alone");
            }
            Coins::Sellers if self.deviation == Deviation::Forges => {
                assert_eq!(ended.outcome, BuyerOutcome::Mismatch);
                assert_eq!(ended.forged.as_ref().unwrap().shown.as_slice(), key().reveal());
                assert!(self.accused);
            }
            Coins::Sellers => {
                assert!(has_output && !self.accused, "the seller has the money and the buyer nothing: {ended:?}");
                assert_eq!(ended.output, Some((SALT, Stored::Inline(OUTPUT.to_vec().into()))));
            }
            Coins::Buyers => {
                assert!(!has_output && !self.accused && !self.paid, "{ended:?}");
                assert_eq!(ended.money, buyer::Money::Settled { refunded: LOCKED, redeemed: 0, fee: 0 });
            }
            Coins::Locked => panic!("the money is nobody's: {ended:?}"),
        }
        match (&self.seller, self.coins) {
            (None, _) => {}
            (Some(Seller::Ended(ended)), Coins::Sellers) => {
                assert_eq!(ended.money, seller::Money::Redeemed { amount: LOCKED });
            }
            (Some(Seller::Ended(ended)), _) if self.due && self.deviation == Deviation::NeverRedeems => {
                assert_eq!(ended.money, seller::Money::Due);
            }
            (Some(Seller::Ended(ended)), _) => {
                assert!(matches!(ended.money, seller::Money::Voided | seller::Money::Lost(_)), "{ended:?}");
            }
            (Some(other), _) => panic!("the seller hangs: {other:?}"),
        }
    }
}

/// A trade in which nothing gets lost, played to its end.
fn played(large: bool, deviation: Deviation) -> Escrow {
    let mut world = Escrow::new(large, deviation);
    world.settle();
    world.judge();
    world
}

#[test]
fn an_honest_trade_gives_the_seller_the_money_and_the_buyer_the_output() {
    for large in [false, true] {
        let world = played(large, Deviation::None);
        assert_eq!((world.coins, world.paid, world.refunding), (Coins::Sellers, true, false));
        assert_eq!(world.bought().outcome, BuyerOutcome::Delivered { late: false });
        assert!(world.bought().at <= terms(&world.deal).release_by);
    }
}

#[test]
fn a_buyer_that_withholds_its_release_gets_its_money_back_and_no_output() {
    let world = played(false, Deviation::Withholds);
    assert_eq!((world.coins, world.voided), (Coins::Buyers, true));
}

#[test]
fn a_key_that_its_seller_hides_is_read_at_the_mint() {
    let world = played(false, Deviation::HidesKey);
    assert_eq!(world.coins, Coins::Sellers);
    assert_eq!(world.bought().outcome, BuyerOutcome::Delivered { late: false });
}

#[test]
fn money_that_was_taken_without_a_key_convicts_its_seller_a_day_later_if_the_mint_shows_who_took_it() {
    for deviation in [Deviation::ShowsNoKey, Deviation::ShowsNothing] {
        let world = played(false, deviation);
        assert_eq!(world.coins, Coins::Sellers);
        let known = terms(&world.deal).locktime.saturating_add(SKEW_SECS);
        assert!(world.bought().at.since(known) >= KEY_WAIT_SECS, "the key may still come until then");
    }
}

#[test]
fn a_key_that_comes_within_a_day_still_opens_what_was_delivered() {
    let mut world = Escrow::new(false, Deviation::ShowsNothing);
    while world.now <= terms(&world.deal).locktime.saturating_add(KEY_WAIT_SECS / 2) {
        for step in [Step::ToSeller, Step::ToBuyer, Step::BuyerWorks, Step::Finish, Step::Redeem] {
            world.act(step);
        }
        world.wait(30);
    }
    assert!(matches!(world.buyer, Buyer::Unopened(_)));
    world.deviation = Deviation::None;
    world.settle();
    world.judge();
    assert_eq!(world.bought().outcome, BuyerOutcome::Delivered { late: true });
    assert_eq!(world.conduct, [buyer::SellerConduct::Delivered]);
}

/// A seller that dates its receipt before the deadline and delivers after it, while the buyer is there.
#[test]
fn nothing_is_released_for_what_comes_after_the_user_was_told_that_nothing_did() {
    for large in [false, true] {
        let mut world = Escrow::new(large, Deviation::None);
        [Step::ToSeller, Step::ToBuyer, Step::Finish].into_iter().for_each(|step| world.act(step));
        let held = std::mem::take(&mut world.to_buyer);
        assert!(matches!(held.back(), Some(Message::Delivered(_))));
        while !matches!(world.buyer, Buyer::GivenUp(_)) {
            world.wait(1);
            world.to_seller.clear();
        }
        assert!(world.now <= world.deal.award.args().deadline.saturating_add(10));
        world.to_buyer = held;
        world.settle();
        world.judge();
        assert_eq!((world.coins, &world.bought().outcome), (Coins::Buyers, &BuyerOutcome::Overdue));
        assert_eq!(world.conduct, [buyer::SellerConduct::Failed]);
    }
}

#[test]
fn a_seller_that_never_redeems_costs_the_buyer_time_only() {
    let world = played(false, Deviation::NeverRedeems);
    assert_eq!((world.coins, &world.bought().outcome), (Coins::Buyers, &BuyerOutcome::Unopened));
}

#[test]
fn a_seller_that_seals_something_else_is_shown_to_have() {
    for large in [false, true] {
        assert_eq!(played(large, Deviation::Forges).coins, Coins::Sellers);
    }
}

#[test]
fn a_seller_that_vanishes_costs_the_buyer_time_only() {
    let world = played(false, Deviation::Vanishes);
    assert_eq!((world.coins, &world.bought().outcome), (Coins::Buyers, &BuyerOutcome::Overdue));
}

/// Up to the moment when the buyer's release is on disk.
fn released() -> Escrow {
    let mut world = Escrow::new(false, Deviation::None);
    let steps = [Step::ToSeller, Step::ToBuyer, Step::Finish, Step::ToBuyer, Step::BuyerWorks];
    steps.into_iter().for_each(|step| world.act(step));
    assert!(matches!(&world.buyer_disk, Buyer::Unopened(unopened) if unopened.is_released()));
    world
}

#[test]
fn a_buyer_that_sleeps_for_weeks_after_its_release_still_gets_its_output() {
    let mut world = released();
    world.act(Step::ToSeller);
    world.act(Step::Redeem);
    assert_eq!(world.coins, Coins::Sellers);
    // The key gets lost, and the buyer is away.
    world.to_buyer.clear();
    world.buyer_alarm = None;
    world.wait(3 * 7 * 86_400);
    world.act(Step::CrashBuyer);
    world.settle();
    world.judge();
    assert!(matches!(world.bought().outcome, BuyerOutcome::Delivered { .. }));
}

/// Delivered in time, while the buyer is away until a moment.
fn slept_until(moment: impl Fn(&escrow::Terms) -> Timestamp) -> Escrow {
    let mut world = Escrow::new(false, Deviation::None);
    world.act(Step::ToSeller);
    world.act(Step::Finish);
    world.to_buyer.clear();
    world.buyer_alarm = None;
    world.now = moment(terms(&world.deal));
    world.act(Step::CrashBuyer);
    world.settle();
    world.judge();
    world
}

#[test]
fn a_buyer_that_sleeps_over_the_deadline_still_releases_in_time_and_no_later() {
    let in_time = slept_until(|terms| terms.release_by.saturating_sub(100));
    assert_eq!((in_time.coins, &in_time.conduct[..]), (Coins::Sellers, &[buyer::SellerConduct::Delivered][..]));
    // The seller kept its part: that the buyer was away is not held against it.
    let missed = slept_until(|terms| terms.release_by.saturating_add(1));
    assert_eq!((missed.coins, &missed.bought().outcome), (Coins::Buyers, &BuyerOutcome::Missed));
    assert!(missed.conduct.is_empty(), "{:?}", missed.conduct);
}

#[test]
fn a_buyer_that_was_away_releases_for_what_comes_once_it_has_given_up() {
    let mut world = Escrow::new(false, Deviation::None);
    [Step::ToSeller, Step::ToBuyer, Step::Finish].into_iter().for_each(|step| world.act(step));
    world.to_buyer.clear();
    world.now = terms(&world.deal).release_by.saturating_sub(200);
    world.act(Step::CrashBuyer);
    // The seller isn't there just now.
    world.to_seller.clear();
    world.wait(10);
    assert!(matches!(world.buyer, Buyer::GivenUp(_)) && world.conduct.is_empty());
    world.act(Step::Reconnect);
    world.settle();
    world.judge();
    assert_eq!((world.coins, &world.conduct[..]), (Coins::Sellers, &[buyer::SellerConduct::Delivered][..]));
}

#[test]
fn a_seller_that_says_nothing_until_the_money_falls_back_is_judged_once_by_who_was_away_too() {
    let mut world = Escrow::new(false, Deviation::Vanishes);
    world.act(Step::ToSeller);
    world.now = terms(&world.deal).release_by.saturating_sub(200);
    world.act(Step::CrashBuyer);
    world.settle();
    world.judge();
    assert_eq!(world.conduct, [buyer::SellerConduct::Failed]);
}

#[test]
fn a_seller_is_not_judged_for_a_release_that_may_never_have_gone_out() {
    let mut world = released();
    world.to_seller.clear();
    world.now = terms(&world.deal).release_by.saturating_add(SKEW_SECS + 1);
    world.act(Step::CrashBuyer);
    world.settle();
    world.judge();
    assert_eq!((world.coins, &world.bought().outcome), (Coins::Buyers, &BuyerOutcome::Unopened));
    assert!(world.conduct.is_empty(), "{:?}", world.conduct);
}

#[test]
fn a_seller_that_is_away_until_its_last_moment_has_passed_shows_no_key() {
    let mut world = released();
    world.act(Step::ToSeller);
    assert!(world.due);
    world.now = terms(&world.deal).redeem_by.saturating_add(1);
    world.act(Step::CrashSeller);
    world.settle();
    world.judge();
    assert_eq!(world.coins, Coins::Buyers);
}

#[test]
fn a_release_that_comes_after_its_moment_is_not_taken() {
    for (late, taken) in [(0, true), (1, false)] {
        let mut world = released();
        world.now = terms(&world.deal).release_by.saturating_add(SKEW_SECS + late);
        world.act(Step::ToSeller);
        assert_eq!((world.due, world.voided), (taken, !taken));
    }
}

#[test]
fn a_delivery_in_escrow_is_the_ciphertext_that_the_receipt_names() {
    let deal = deal();
    let (ciphertext, commitment) = sealed();
    let named = Sealed { aead: Cipher::ChaCha20Poly1305Stream, ciphertext: ContentId::of(&ciphertext) };
    let receipt = |sealed: Option<&Sealed>, out| {
        let body = seller::receipt_body(&deal, out, sealed, NOW, NOW);
        Signed::claim(body, NOW, None, ByteArray([7; 16]), &testing::seller()).unwrap()
    };
    let check = |receipt: &Signed<crate::receipt::Receipt>, output, sealed| {
        let receipt = receipt.bytes().to_vec().into();
        let message = wire::Delivered { award: deal.id(), receipt, output, sealed, evidence: None };
        buyer::check_delivery(&deal, &message, MAX_CONTENT).map(|_| ())
    };
    let inline = |bytes: &[u8]| Some(Payload::Inline(bytes.to_vec().into()));
    let good = receipt(Some(&named), Ok(commitment));
    assert_eq!(check(&good, None, inline(&ciphertext)), Ok(()));
    assert_eq!(check(&good, None, Some(Payload::Content(named.ciphertext))), Ok(()));
    let clear = Some(wire::Output { salt: SALT, data: Payload::Inline(OUTPUT.to_vec().into()) });
    assert_eq!(check(&good, clear, None), Err(buyer::DeliveryError::Output));
    assert_eq!(check(&good, None, None), Err(buyer::DeliveryError::Output));
    assert_eq!(check(&good, None, inline(b"other")), Err(buyer::DeliveryError::Sealed));
    let other = Payload::Content(ContentId::of(b"other"));
    assert_eq!(check(&good, None, Some(other)), Err(buyer::DeliveryError::Sealed));
    assert_eq!(check(&receipt(None, Ok(commitment)), None, inline(&ciphertext)), Err(buyer::DeliveryError::Output));
    let later = receipt(Some(&Sealed { aead: Cipher::Other("later".parse().unwrap()), ..named }), Ok(commitment));
    assert_eq!(check(&later, None, inline(&ciphertext)), Err(buyer::DeliveryError::NotUnderstood));
    let failed = receipt(None, Err(TaskError { code: FailureCode::Crashed, text: String::new() }));
    assert_eq!(check(&failed, None, None), Ok(()));
    assert_eq!(check(&failed, None, inline(&ciphertext)), Err(buyer::DeliveryError::Output));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_key_and_the_money_change_hands_together(
        steps in prop::collection::vec(step(), 0..60),
        large: bool,
        deviation in prop::sample::select(&DEVIATIONS),
    ) {
        let mut world = Escrow::new(large, deviation);
        for step in steps {
            world.act(step);
        }
        world.settle();
        world.judge();
    }
}
