//! The two machines against each other: every order of arrival, loss, repetition and crash that a network and two disks
//! can bring about ends in an outcome on both sides, and both mean the same money.
#![allow(clippy::unwrap_used)]

mod escrow;

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{
    buyer::{self, Buyer, BuyerOutcome},
    seller::{self, Seller},
    *,
};
use crate::{
    bytes::ByteArray,
    limits::MAX_CONTENT,
    receipt::{self, FailureCode, TaskError},
    testing::{self, NOW, OUTPUT, SALT},
    time::Timestamp,
    ucan::chain::NoRevocations,
    wire::{Message, Payload, Reason},
};

/// What a world does next.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// The oldest message to a side arrives.
    ToSeller,
    ToBuyer,
    /// It arrives and stays under way: a repeat.
    AgainToSeller,
    AgainToBuyer,
    /// It is lost.
    LoseToSeller,
    LoseToBuyer,
    /// All that is under way is lost, and the two meet again.
    Reconnect,
    /// A side dies and starts again from its disk.
    CrashBuyer,
    CrashSeller,
    /// The seller's work ends.
    Finish,
    Fail,
    /// The buyer calls it off.
    Cancel,
    /// The output arrives as content.
    Fetched,
    FetchFailed,
    /// Time passes, in seconds, and alarms ring.
    Wait(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::ToSeller),
        8 => Just(Act::ToBuyer),
        2 => Just(Act::AgainToSeller),
        2 => Just(Act::AgainToBuyer),
        1 => Just(Act::LoseToSeller),
        1 => Just(Act::LoseToBuyer),
        1 => Just(Act::Reconnect),
        1 => Just(Act::CrashBuyer),
        1 => Just(Act::CrashSeller),
        3 => Just(Act::Finish),
        1 => Just(Act::Fail),
        1 => Just(Act::Cancel),
        2 => Just(Act::Fetched),
        1 => Just(Act::FetchFailed),
        3 => (0_u16..40).prop_map(Act::Wait),
    ]
}

/// A buyer, a seller, and what is between them.
struct World {
    deal: Deal,
    now: Timestamp,
    buyer: Buyer,
    buyer_disk: Buyer,
    /// What is written behind, until something else is or time passes; a crash takes it.
    buyer_behind: Option<Buyer>,
    buyer_open: bool,
    buyer_alarm: Option<Timestamp>,
    seller: Option<Seller>,
    seller_disk: Option<Seller>,
    seller_behind: Option<Seller>,
    seller_open: bool,
    seller_alarm: Option<Timestamp>,
    working: bool,
    fetching: bool,
    to_seller: VecDeque<Message>,
    to_buyer: VecDeque<Message>,
    /// What the wallets were told, in order.
    settled: Vec<buyer::Money>,
    redeemed: u32,
    voided: u32,
    /// What the seller was said to have taken for nothing.
    accused: Vec<u64>,
    /// Whether the output goes as content.
    large: bool,
    /// Whether the seller refuses the award.
    refuses: bool,
}

impl World {
    fn new(large: bool, refuses: bool) -> Self {
        let deal = testing::deal();
        let step = Buyer::begin(&deal, NOW);
        let mut world = Self {
            now: NOW,
            buyer: step.state.clone(),
            buyer_disk: step.state.clone(),
            buyer_behind: None,
            buyer_open: false,
            buyer_alarm: None,
            seller: None,
            seller_disk: None,
            seller_behind: None,
            seller_open: false,
            seller_alarm: None,
            working: false,
            fetching: false,
            to_seller: VecDeque::new(),
            to_buyer: VecDeque::new(),
            settled: Vec::new(),
            redeemed: 0,
            voided: 0,
            accused: Vec::new(),
            large,
            refuses,
            deal,
        };
        world.write_buyer(&step.state, &step.writes);
        world.perform_buyer(step.effects);
        world
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::ToSeller => _ = self.to_seller.pop_front().map(|message| self.hear_seller(message)),
            Act::ToBuyer => _ = self.to_buyer.pop_front().map(|message| self.hear_buyer(message)),
            Act::AgainToSeller => _ = self.to_seller.front().cloned().map(|message| self.hear_seller(message)),
            Act::AgainToBuyer => _ = self.to_buyer.front().cloned().map(|message| self.hear_buyer(message)),
            Act::LoseToSeller => _ = self.to_seller.pop_front(),
            Act::LoseToBuyer => _ = self.to_buyer.pop_front(),
            Act::Reconnect => {
                self.disconnect();
                self.feed_buyer(buyer::Input::Resume);
            }
            Act::CrashBuyer => {
                self.disconnect();
                (self.buyer, self.buyer_alarm, self.fetching) = (self.buyer_disk.clone(), None, false);
                self.buyer_behind = None;
                self.feed_buyer(buyer::Input::Resume);
            }
            Act::CrashSeller => {
                self.disconnect();
                (self.seller, self.seller_alarm, self.working) = (self.seller_disk.clone(), None, false);
                self.seller_behind = None;
                self.feed_seller(seller::Input::Resume);
                self.feed_buyer(buyer::Input::Resume);
            }
            Act::Finish if self.working => self.conclude(Ok(())),
            Act::Fail if self.working => {
                self.conclude(Err(TaskError { code: FailureCode::Crashed, text: "crashed".into() }));
            }
            Act::Fetched if self.fetching => {
                let commitment = receipt::commit(&SALT, OUTPUT);
                let received = self.buyer.received(commitment).map(|body| testing::claim(body, &testing::buyer()));
                self.feed_buyer(buyer::Input::Fetched { commitment, received });
            }
            Act::FetchFailed if self.fetching => self.feed_buyer(buyer::Input::FetchFailed),
            Act::Cancel => self.feed_buyer(buyer::Input::Cancel(testing::cancellation(&self.deal))),
            Act::Wait(secs) => self.wait(u64::from(secs)),
            Act::Finish | Act::Fail | Act::Fetched | Act::FetchFailed => {}
        }
    }

    fn disconnect(&mut self) {
        self.to_seller.clear();
        self.to_buyer.clear();
    }

    fn wait(&mut self, secs: u64) {
        self.now = self.now.saturating_add(secs);
        if let Some(behind) = self.buyer_behind.take() {
            self.buyer_disk = behind;
        }
        if let Some(behind) = self.seller_behind.take() {
            self.seller_disk = Some(behind);
        }
        if self.buyer_alarm.is_some_and(|at| at <= self.now) {
            self.buyer_alarm = None;
            self.feed_buyer(buyer::Input::Tick);
        }
        if self.seller_alarm.is_some_and(|at| at <= self.now) {
            self.seller_alarm = None;
            self.feed_seller(seller::Input::Tick);
        }
    }

    fn hear_seller(&mut self, message: Message) {
        match message {
            Message::Awarded(_) if self.seller.is_some() => self.feed_seller(seller::Input::Asked),
            Message::Awarded(award) => {
                let (from, me) = (self.deal.buyer(), self.deal.seller());
                match intake::read(&award, from, me, self.now, &NoRevocations) {
                    Ok(deal) if !self.refuses => {
                        assert_eq!(deal, self.deal);
                        let step = Seller::begin(&deal, self.acceptance(), self.now, self.now);
                        self.take_seller(step);
                    }
                    Ok(_) => self.refuse(Reason::Busy),
                    Err(reason) => self.refuse(reason),
                }
            }
            Message::Status(_) if self.seller.is_some() => self.feed_seller(seller::Input::Asked),
            Message::Cancel(body) if self.seller.is_some() => {
                let cancellation = seller::check_cancel(&self.deal, &body).unwrap();
                self.feed_seller(seller::Input::Cancel(cancellation));
            }
            Message::Received(body) => {
                let seller = self.seller.as_ref().unwrap();
                let received = seller::check_received(&self.deal, seller, &body).unwrap();
                self.feed_seller(seller::Input::Received(received));
            }
            Message::Status(_) | Message::Cancel(_) => {
                self.to_buyer.push_back(wire::Unknown { award: self.deal.id() }.into());
            }
            other => panic!("to a seller: {other:?}"),
        }
    }

    fn acceptance(&self) -> Signed<crate::acceptance::Acceptance> {
        let body = crate::acceptance::AcceptanceBody::of(&self.deal);
        Signed::claim(body, self.now, None, ByteArray([8; 16]), &testing::seller()).unwrap()
    }

    fn refuse(&mut self, reason: Reason) {
        self.to_buyer.push_back(wire::Refused { award: self.deal.id(), reason }.into());
    }

    fn hear_buyer(&mut self, message: Message) {
        match message {
            Message::Accepted(body) => {
                let acceptance = buyer::check_accepted(&self.deal, &body).unwrap();
                self.feed_buyer(buyer::Input::Accepted(acceptance));
            }
            Message::Status(_) => self.feed_buyer(buyer::Input::Asked),
            Message::Refused(body) => self.feed_buyer(buyer::Input::Refused(body.reason)),
            Message::Unknown(_) => self.feed_buyer(buyer::Input::Unknown),
            Message::Delivered(body) => {
                let delivery = buyer::check_delivery(&self.deal, &body, MAX_CONTENT).unwrap();
                let delivery = match delivery.received() {
                    Some(body) => delivery.with_received(testing::claim(body, &testing::buyer())),
                    None => delivery,
                };
                self.feed_buyer(buyer::Input::Delivered(delivery));
            }
            other => panic!("to a buyer: {other:?}"),
        }
    }

    fn feed_buyer(&mut self, input: buyer::Input) {
        let before = self.buyer.clone();
        let step = before.clone().handle(&self.deal, input, self.now);
        self.write_buyer(&step.state, &step.writes);
        if !step.writes.contains(&buyer::Write::State) {
            assert!(!step.effects.contains(&buyer::Effect::Finish));
            assert_eq!(before.is_ended(), step.state.is_ended());
            // What was signed besides may come later.
            let told = |state: &Buyer| state.ended().map(|ended| (ended.outcome.clone(), ended.money, ended.at));
            assert_eq!(told(&before), told(&step.state));
        }
        self.buyer = step.state;
        self.perform_buyer(step.effects);
    }

    fn write_buyer(&mut self, state: &Buyer, writes: &[buyer::Write]) {
        for write in writes {
            match write {
                buyer::Write::State => (self.buyer_disk, self.buyer_behind) = (state.clone(), None),
                buyer::Write::Behind => self.buyer_behind = Some(state.clone()),
                buyer::Write::Settle(settlement) => self.settled.push((*settlement).into()),
                buyer::Write::Open => self.buyer_open = true,
                buyer::Write::Close => self.buyer_open = false,
                buyer::Write::Deal | buyer::Write::Keep(_) | buyer::Write::Share(_) => {}
                buyer::Write::Acknowledge | buyer::Write::Conduct(_) | buyer::Write::Forget(_) => {}
            }
        }
        assert_eq!(self.buyer_open, !self.buyer_disk.is_ended(), "what isn't over is resumed");
    }

    fn perform_buyer(&mut self, effects: Vec<buyer::Effect>) {
        for effect in effects {
            match effect {
                buyer::Effect::Send(message) => self.to_seller.push_back(message),
                buyer::Effect::WakeAt(at) => self.buyer_alarm = Some(at),
                buyer::Effect::Fetch { .. } => self.fetching = true,
                buyer::Effect::Accuse(redeemed) => self.accused.push(redeemed),
                buyer::Effect::Release | buyer::Effect::FindKey | buyer::Effect::Open { .. } => panic!("in prepaid"),
                buyer::Effect::Finish => (self.fetching, self.buyer_alarm) = (false, None),
            }
        }
    }

    fn feed_seller(&mut self, input: seller::Input) {
        let Some(seller) = self.seller.clone() else { return };
        let step = seller.handle(&self.deal, input, self.now);
        self.take_seller(step);
    }

    fn take_seller(&mut self, step: seller::Step) {
        for write in &step.writes {
            match write {
                seller::Write::State => (self.seller_disk, self.seller_behind) = (Some(step.state.clone()), None),
                seller::Write::Behind => self.seller_behind = Some(step.state.clone()),
                seller::Write::Redeem => self.redeemed += 1,
                seller::Write::Release => panic!("in prepaid"),
                seller::Write::Void => self.voided += 1,
                seller::Write::Open => self.seller_open = true,
                seller::Write::Close => self.seller_open = false,
                seller::Write::Deal | seller::Write::Keep(_) | seller::Write::Share(_) => {}
                seller::Write::Acknowledge | seller::Write::Conduct(_) => {}
            }
        }
        let is_open = self.seller_disk.as_ref().is_some_and(|disk| !disk.is_ended());
        assert_eq!(self.seller_open, is_open, "what isn't over is resumed");
        self.seller = Some(step.state);
        for effect in step.effects {
            match effect {
                seller::Effect::Send(message) => self.to_buyer.push_back(message),
                seller::Effect::WakeAt(at) => self.seller_alarm = Some(at),
                seller::Effect::Fetch(_) => panic!("the input is inline"),
                seller::Effect::Run => self.working = true,
                seller::Effect::Accuse(conduct) => panic!("the input was in the award: {conduct:?}"),
                seller::Effect::Abort(code, why) => self.conclude(Err(TaskError { code, text: why.into() })),
                seller::Effect::SendKey => panic!("in prepaid"),
                seller::Effect::Finish => (self.working, self.seller_alarm) = (false, None),
            }
        }
    }

    fn conclude(&mut self, work: Result<(), TaskError>) {
        self.working = false;
        let out = work.map(|()| receipt::commit(&SALT, OUTPUT));
        let receipt = testing::receipt(&self.deal, out, self.now);
        let stored =
            if self.large { Stored::Content(ContentId::of(OUTPUT)) } else { Stored::Inline(OUTPUT.to_vec().into()) };
        let output = matches!(receipt.body.out, receipt::Outcome::Ok(_)).then_some((SALT, stored));
        self.feed_seller(seller::Input::Concluded { receipt, output });
    }

    /// Lets everything that is still to come, come: then both sides have ended.
    fn run_down(&mut self) {
        for _ in 0..200 {
            while !self.to_seller.is_empty() || !self.to_buyer.is_empty() {
                self.act(Act::ToSeller);
                self.act(Act::ToBuyer);
            }
            self.act(Act::Finish);
            self.act(Act::Fetched);
            let is_over = self.buyer.ended().is_some() && self.seller.as_ref().is_none_or(Seller::is_ended);
            if is_over && self.to_seller.is_empty() && self.to_buyer.is_empty() {
                return;
            }
            self.wait(5);
        }
        panic!("no end: {:?} {:?}", self.buyer, self.seller);
    }

    fn ended(&self) -> &buyer::Ended {
        self.buyer.ended().unwrap_or_else(|| panic!("{:?}", self.buyer))
    }

    /// What both sides believe of the money fits together.
    fn check(&self) {
        let ended = self.ended();
        assert!(self.settled.len() <= 1, "the wallet is told once: {:?}", self.settled);
        assert_eq!(self.settled.last(), Some(&ended.money));
        assert_eq!(self.buyer_behind.as_ref().unwrap_or(&self.buyer_disk), &self.buyer);
        assert!(self.redeemed + self.voided <= 1);
        let seller = match &self.seller {
            Some(Seller::Ended(seller)) => Some(seller),
            Some(other) => panic!("{other:?}"),
            None => None,
        };
        match seller.map(|seller| &seller.money) {
            // It redeems: the buyer has paid, or will find out at the locktime.
            Some(seller::Money::Due) => assert!(matches!(ended.money, buyer::Money::Paid | buyer::Money::Waiting)),
            // It doesn't: the buyer hasn't paid.
            Some(seller::Money::Voided) => assert_eq!(ended.money, buyer::Money::Waiting),
            None => assert!(matches!(ended.money, buyer::Money::Waiting | buyer::Money::Returned)),
            Some(other) => panic!("{other:?}"),
        }
        if ended.money == buyer::Money::Paid {
            assert_eq!(self.redeemed, 1);
            assert_eq!(ended.receipt.as_ref(), seller.map(|seller| &seller.receipt));
        }
        if let BuyerOutcome::Delivered { .. } = ended.outcome {
            assert!(ended.output.is_some() && ended.receipt.is_some());
            let received = ended.signed.received.as_ref().map(|received| received.body.receipt);
            assert_eq!(received, ended.receipt.as_ref().map(Signed::cid));
        } else {
            assert!(ended.signed.received.is_none());
        }
        if let BuyerOutcome::Failed(TaskError { code: FailureCode::Cancelled, .. }) = ended.outcome {
            assert!(ended.signed.cancellation.is_some());
            assert!(self.seller.as_ref().is_some_and(|seller| seller.signed().cancellation.is_some()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn every_trade_ends_and_its_money_adds_up(
        acts in prop::collection::vec(act(), 0..60), large: bool, refuses in prop::bool::weighted(0.1),
    ) {
        let mut world = World::new(large, refuses);
        for act in acts {
            world.act(act);
        }
        world.run_down();
        world.check();
    }

    #[test]
    fn what_has_ended_stays_so(acts in prop::collection::vec(act(), 0..40), late in prop::collection::vec(act(), 0..20)) {
        let mut world = World::new(false, false);
        for act in acts {
            world.act(act);
        }
        world.run_down();
        let (money, settled) = (world.ended().money, world.settled.clone());
        for act in late {
            world.act(act);
        }
        world.run_down();
        world.check();
        prop_assert_eq!(world.ended().money, money);
        prop_assert_eq!(&world.settled, &settled);
    }
}

#[test]
fn a_trade_that_goes_well_takes_four_messages_and_one_behind() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::Finish);
    assert_eq!(world.to_buyer.len(), 2);
    world.act(Act::ToBuyer);
    world.act(Act::ToBuyer);
    assert_eq!(world.ended().outcome, BuyerOutcome::Delivered { late: false });
    assert_eq!(world.ended().money, buyer::Money::Paid);
    assert!(matches!(world.to_seller.make_contiguous(), [Message::Received(_)]), "{:?}", world.to_seller);
    world.act(Act::ToSeller);
    assert!(world.seller.as_ref().is_some_and(|seller| !seller.awaits_word()));
    assert!(world.to_seller.is_empty() && world.to_buyer.is_empty());
    world.check();
}

#[test]
fn a_lost_delivery_is_asked_for_again() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::ToBuyer);
    world.act(Act::Finish);
    world.act(Act::LoseToBuyer);
    assert!(matches!(world.buyer, Buyer::Working(_)));
    world.wait(31);
    world.act(Act::ToSeller);
    world.act(Act::ToBuyer);
    world.act(Act::ToBuyer);
    assert_eq!(world.ended().outcome, BuyerOutcome::Delivered { late: false });
}

#[test]
fn an_acceptance_that_got_lost_is_asked_for_once_when_the_output_is_here() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::LoseToBuyer);
    world.act(Act::Finish);
    world.act(Act::ToBuyer);
    assert!(matches!(world.to_seller.make_contiguous(), [Message::Received(_), Message::Status(_)]));
    world.run_down();
    assert!(world.ended().signed.acceptance.is_some());
    world.check();
}

#[test]
fn a_word_that_the_output_is_here_which_got_lost_is_asked_for_once_when_the_money_is_redeemed() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::Finish);
    world.run_down();
    let mut lost = World::new(false, false);
    lost.act(Act::ToSeller);
    lost.act(Act::Finish);
    lost.act(Act::ToBuyer);
    lost.act(Act::ToBuyer);
    lost.disconnect();
    for world in [&mut world, &mut lost] {
        world.feed_seller(seller::Input::Redeemed { amount: 7 });
        world.run_down();
        assert!(world.seller.as_ref().is_some_and(|seller| seller.signed().received.is_some()));
        world.feed_seller(seller::Input::Redeemed { amount: 7 });
        assert!(world.to_buyer.is_empty(), "once");
    }
}

/// Each side keeps its own word and the other's, across crashes; and neither takes a stranger's for the other's.
#[test]
fn a_statement_must_be_the_other_sides_own_about_this_trade() {
    use crate::{cancellation::CancellationBody, received::ReceivedBody};
    let deal = testing::deal();
    let (good, stranger) = (testing::good_receipt(&deal), crate::identity::AgentKey::from_seed(&[77; 32]));
    let bytes = |bytes: &[u8]| serde_bytes::ByteBuf::from(bytes);
    let accepted = |signed: &[u8]| {
        buyer::check_accepted(&deal, &wire::Accepted { award: deal.id(), acceptance: bytes(signed) }).err()
    };
    let body = testing::acceptance(&deal).body.clone();
    assert_eq!(accepted(testing::acceptance(&deal).bytes()), None);
    for key in [testing::buyer(), stranger.clone()] {
        assert_eq!(accepted(testing::claim(body.clone(), &key).bytes()), Some(StatementError::Acceptance));
    }
    type Change = fn(&mut crate::acceptance::Acceptance);
    let changes: [Change; 6] = [
        |said| said.body.award = said.body.offer,
        |said| said.body.offer = said.body.award,
        |said| said.body.locked = None,
        |said| said.body.locked.as_mut().unwrap().amount += 1,
        |said| said.iat = NOW.saturating_sub(61),
        |said| said.iat = NOW.saturating_add(51),
    ];
    for change in changes {
        let mut said = testing::acceptance(&deal).payload().clone();
        change(&mut said);
        let signed = Signed::sign(said, &testing::seller()).unwrap();
        assert_eq!(accepted(signed.bytes()), Some(StatementError::Acceptance));
    }
    let mut torn = testing::acceptance(&deal).bytes().to_vec();
    torn[10] ^= 1;
    assert_eq!(accepted(&torn), Some(StatementError::Acceptance));
    assert_eq!(accepted(good.bytes()), Some(StatementError::Acceptance), "another statement");

    let cancelled = |signed: &[u8]| {
        seller::check_cancel(&deal, &wire::Cancel { award: deal.id(), cancellation: bytes(signed) }).err()
    };
    let other = CancellationBody { award: deal.offer.cid() };
    assert_eq!(cancelled(testing::cancellation(&deal).bytes()), None);
    assert_eq!(cancelled(testing::claim(other, &testing::buyer()).bytes()), Some(StatementError::Cancellation));
    for key in [testing::seller(), stranger.clone()] {
        let signed = testing::claim(buyer::cancellation(&deal), &key);
        assert_eq!(cancelled(signed.bytes()), Some(StatementError::Cancellation));
    }

    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    let received = |world: &World, signed: &[u8]| {
        let message = wire::Received { award: deal.id(), received: bytes(signed) };
        seller::check_received(&deal, world.seller.as_ref().unwrap(), &message).err()
    };
    let forged = Some(StatementError::Received);
    assert_eq!(received(&world, testing::received(&good).bytes()), forged, "there is no receipt yet");
    world.act(Act::Finish);
    let Some(Seller::Ended(ended)) = &world.seller else { panic!() };
    let body = ReceivedBody { award: deal.id(), receipt: ended.receipt.cid() };
    assert_eq!(received(&world, testing::claim(body.clone(), &testing::buyer()).bytes()), None);
    for key in [testing::seller(), stranger] {
        assert_eq!(received(&world, testing::claim(body.clone(), &key).bytes()), forged);
    }
    for other in
        [ReceivedBody { receipt: deal.id(), ..body.clone() }, ReceivedBody { award: deal.offer.cid(), ..body.clone() }]
    {
        assert_eq!(received(&world, testing::claim(other, &testing::buyer()).bytes()), forged);
    }
    let mut failed = World::new(false, false);
    failed.act(Act::ToSeller);
    failed.act(Act::Fail);
    let Some(Seller::Ended(ended)) = &failed.seller else { panic!() };
    let body = ReceivedBody { award: deal.id(), receipt: ended.receipt.cid() };
    assert_eq!(received(&failed, testing::claim(body, &testing::buyer()).bytes()), forged, "it commits to no output");
}

#[test]
fn a_seller_that_vanishes_is_overdue_and_its_money_waits() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::ToBuyer);
    world.act(Act::Wait(49));
    world.disconnect();
    world.act(Act::Wait(2));
    assert!(world.buyer.ended().is_none(), "it is asked once more");
    world.disconnect();
    world.act(Act::Wait(30));
    world.disconnect();
    assert_eq!(world.ended().outcome, BuyerOutcome::Overdue);
    assert_eq!(world.ended().outcome.fault(), Some(crate::fault::Fault::Peer));
    assert_eq!(world.ended().money, buyer::Money::Waiting);
}

#[test]
fn a_delivery_after_the_end_is_kept_and_changes_no_money() {
    for large in [false, true] {
        let mut world = World::new(large, false);
        world.act(Act::ToSeller);
        world.act(Act::Finish);
        let delivery = world.to_buyer.pop_back().unwrap();
        world.disconnect();
        for secs in [60, 10] {
            world.act(Act::Wait(secs));
            world.disconnect();
        }
        world.feed_buyer(buyer::Input::Refunded { refunded: 0, redeemed: 8, fee: 0 });
        world.hear_buyer(delivery);
        world.act(Act::Fetched);
        assert_eq!(world.ended().outcome, BuyerOutcome::Delivered { late: true });
        assert_eq!(world.ended().money, buyer::Money::Settled { refunded: 0, redeemed: 8, fee: 0 });
        assert_eq!(world.settled, [buyer::Money::Waiting]);
    }
}

#[test]
fn a_cancelled_award_that_never_arrived_is_not_sent_again() {
    let mut world = World::new(false, false);
    world.act(Act::LoseToSeller);
    world.act(Act::Cancel);
    world.act(Act::ToSeller);
    world.act(Act::ToBuyer);
    assert_eq!(world.ended().outcome, BuyerOutcome::Refused(Reason::Cancelled));
    assert!(world.to_seller.is_empty() && world.seller.is_none());
}

#[test]
fn a_cancel_at_work_costs_the_price() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::Cancel);
    world.act(Act::ToSeller);
    world.run_down();
    let BuyerOutcome::Failed(error) = &world.ended().outcome else { panic!("{:?}", world.ended()) };
    assert_eq!(error.code, FailureCode::Cancelled);
    assert_eq!((world.ended().money, world.redeemed), (buyer::Money::Paid, 1));
}

#[test]
fn a_cancel_that_nobody_asked_for_earns_nothing() {
    for accepted in [false, true] {
        let mut world = World::new(false, false);
        world.act(Act::ToSeller);
        if accepted {
            world.act(Act::ToBuyer);
        }
        world.disconnect();
        world.conclude(Err(TaskError { code: FailureCode::Cancelled, text: "cancelled by the buyer".into() }));
        world.act(Act::ToBuyer);
        let ended = world.ended();
        assert_eq!((&ended.outcome, ended.money), (&BuyerOutcome::Mismatch, buyer::Money::Waiting));
        assert_eq!(ended.outcome.fault(), Some(crate::fault::Fault::Peer));
        // It stays as proof of what the seller signed.
        assert!(ended.receipt.is_some());
    }
}

#[test]
fn a_content_that_never_comes_ends_the_trade_after_a_restart_too() {
    let mut world = World::new(true, false);
    world.act(Act::ToSeller);
    world.act(Act::Finish);
    world.act(Act::ToBuyer);
    world.act(Act::ToBuyer);
    assert!(matches!(world.buyer, Buyer::Fetching(_)));
    world.act(Act::CrashBuyer);
    assert!(world.fetching);
    world.wait(2_000);
    assert_eq!((&world.ended().outcome, world.ended().money), (&BuyerOutcome::Overdue, buyer::Money::Waiting));
}

#[test]
fn repeated_unknown_answers_do_not_resend_the_award_faster() {
    let mut world = World::new(false, false);
    world.disconnect();
    let mut sent = 0;
    for _ in 0..100 {
        world.feed_buyer(buyer::Input::Unknown);
        sent += world.to_seller.drain(..).count();
    }
    assert!(sent <= 4, "{sent}");
    assert!(world.buyer_alarm.is_some());
}

#[test]
fn work_that_ends_after_the_deadline_is_not_charged() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.now = world.now.saturating_add(51);
    world.act(Act::Finish);
    let Some(Seller::Ended(ended)) = &world.seller else { panic!("{:?}", world.seller) };
    assert_eq!(ended.money, seller::Money::Voided);
    assert!(ended.output.is_none());
}

#[test]
fn an_output_that_differs_from_its_receipt_is_not_paid() {
    let deal = testing::deal();
    let receipt = testing::good_receipt(&deal);
    let other = wire::Output { salt: SALT, data: Payload::Inline(b"other".to_vec().into()) };
    let message = wire::Delivered {
        award: deal.id(),
        receipt: receipt.bytes().to_vec().into(),
        output: Some(other),
        sealed: None,
        evidence: None,
    };
    let delivery = buyer::check_delivery(&deal, &message, MAX_CONTENT).unwrap();
    let step = Buyer::begin(&deal, NOW).state.handle(&deal, buyer::Input::Delivered(delivery), NOW);
    let Buyer::Ended(ended) = step.state else { panic!() };
    assert_eq!((ended.outcome, ended.money), (BuyerOutcome::Mismatch, buyer::Money::Waiting));
}

fn prepaid(body: &mut crate::receipt::ReceiptBody) -> &mut crate::settlement::prepaid::ReceiptPart {
    match &mut body.money {
        crate::settlement::ReceiptPart::Prepaid(money) => money,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delivery_must_belong_to_the_deal() {
    use buyer::{DeliveryError, check_delivery};
    let deal = testing::deal();
    let good = testing::good_receipt(&deal);
    let output = || Some(wire::Output { salt: SALT, data: Payload::Inline(OUTPUT.to_vec().into()) });
    let with = |receipt: &Signed<crate::receipt::Receipt>, output| wire::Delivered {
        award: deal.id(),
        receipt: receipt.bytes().to_vec().into(),
        output,
        sealed: None,
        evidence: None,
    };
    assert!(check_delivery(&deal, &with(&good, output()), MAX_CONTENT).is_ok());
    assert_eq!(check_delivery(&deal, &with(&good, None), MAX_CONTENT).unwrap_err(), DeliveryError::Output);
    assert_eq!(check_delivery(&deal, &with(&good, output()), 3).unwrap_err(), DeliveryError::TooLarge);
    let forged = |change: fn(&mut crate::receipt::ReceiptBody), key| {
        let mut body = good.body.clone();
        change(&mut body);
        Signed::claim(body, NOW, None, ByteArray([7; 16]), &key).unwrap()
    };
    for (receipt, expected) in [
        (forged(|_| {}, testing::buyer()), DeliveryError::Receipt),
        (forged(|body| body.award = body.offer, testing::seller()), DeliveryError::Receipt),
        (forged(|body| body.offer = body.award, testing::seller()), DeliveryError::Receipt),
        (forged(|body| body.sub = vec![body.offer], testing::seller()), DeliveryError::PassedOn),
        (forged(|body| prepaid(body).amount += 1, testing::seller()), DeliveryError::Locked),
        (forged(|body| prepaid(body).ys = ByteArray([0; 32]), testing::seller()), DeliveryError::Locked),
    ] {
        assert_eq!(check_delivery(&deal, &with(&receipt, output()), MAX_CONTENT).unwrap_err(), expected);
    }
    // Work that was passed on and done before the buyer called all of it off.
    let cancelled = forged(
        |body| {
            let error = TaskError { code: FailureCode::Cancelled, text: "called off".into() };
            (body.out, body.sub) = (crate::receipt::Outcome::Error(error), vec![body.award]);
        },
        testing::seller(),
    );
    let granting = Deal { grant: testing::granting_deal().grant, ..deal.clone() };
    assert!(check_delivery(&granting, &with(&cancelled, None), MAX_CONTENT).is_ok());
    assert_eq!(check_delivery(&deal, &with(&cancelled, None), MAX_CONTENT).unwrap_err(), DeliveryError::PassedOn);
    let mut torn = with(&good, output());
    torn.receipt[80] ^= 1;
    assert_eq!(check_delivery(&deal, &torn, MAX_CONTENT).unwrap_err(), DeliveryError::Receipt);
}

#[test]
fn states_read_back_from_disk() {
    let mut world = World::new(true, false);
    world.act(Act::ToSeller);
    world.act(Act::Finish);
    for state in [&world.buyer_disk, &Buyer::begin(&world.deal, NOW).state] {
        assert_eq!(crate::cbor::decode::<Buyer>(&crate::cbor::encode(state)).unwrap(), *state);
    }
    world.act(Act::ToBuyer);
    world.act(Act::ToBuyer);
    assert!(matches!(world.buyer, Buyer::Fetching(_)));
    assert_eq!(crate::cbor::decode::<Buyer>(&crate::cbor::encode(&world.buyer)).unwrap(), world.buyer);
    let seller = world.seller.as_ref().unwrap();
    assert_eq!(crate::cbor::decode::<Seller>(&crate::cbor::encode(seller)).unwrap(), *seller);
    assert_eq!(crate::cbor::decode::<Deal>(&crate::cbor::encode(&world.deal)).unwrap(), world.deal);
}

#[test]
fn a_trade_that_its_node_cannot_go_on_with_ends_at_nobody_elses_expense() {
    let deal = testing::deal();
    let step = Buyer::begin(&deal, NOW).state.handle(&deal, buyer::Input::Broken("a bug".into()), NOW);
    let Buyer::Ended(ended) = &step.state else { panic!("{step:?}") };
    assert_eq!(ended.outcome.fault(), Some(crate::fault::Fault::Internal));
    assert_eq!(ended.money, buyer::Money::Waiting);
    assert!(step.writes.contains(&buyer::Write::Settle(buyer::LockOutcome::Refund)));
    assert!(step.writes.contains(&buyer::Write::Close));
    assert!(
        !step.writes.iter().any(|write| matches!(write, buyer::Write::Conduct(_))),
        "the seller isn't judged by it"
    );

    let step = Seller::begin(&deal, testing::acceptance(&deal), NOW, NOW).state.handle(
        &deal,
        seller::Input::Broken("a bug".into()),
        NOW,
    );
    assert!(step.state.is_ended());
    assert_eq!(step.writes, [seller::Write::State, seller::Write::Close, seller::Write::Void]);
    let after = step.state.clone().handle(&deal, seller::Input::Asked, NOW);
    assert_eq!((after.state, after.writes, after.effects), (step.state, vec![], vec![]));
}

/// A laptop that was shut over the deadline: the seller delivered in time, and is asked before anything is given up.
#[test]
fn a_delivery_that_is_not_understood_ends_the_trade_at_once_and_blames_nobody() {
    for accepted in [false, true] {
        let mut world = World::new(false, false);
        world.act(Act::ToSeller);
        if accepted {
            world.act(Act::ToBuyer);
        }
        world.feed_buyer(buyer::Input::NotUnderstood);
        let ended = world.ended().clone();
        assert_eq!((&ended.outcome, ended.money), (&BuyerOutcome::NotUnderstood, buyer::Money::Waiting));
        assert_eq!(ended.outcome.fault(), Some(crate::fault::Fault::Incompatible));
        world.feed_buyer(buyer::Input::NotUnderstood);
        assert_eq!(*world.ended(), ended, "once said is enough");
        assert!(world.accused.is_empty());
        // What the seller delivers then in a form that is understood is still taken.
        world.act(Act::Finish);
        world.run_down();
        assert!(matches!(world.ended().outcome, BuyerOutcome::Delivered { late: true }), "{:?}", world.ended());
    }
}

#[test]
fn a_buyer_that_slept_over_the_deadline_gets_what_was_delivered_in_time() {
    for crashed in [false, true] {
        let mut world = World::new(false, false);
        world.act(Act::ToSeller);
        world.act(Act::ToBuyer);
        world.act(Act::Finish);
        world.disconnect();
        world.now = world.now.saturating_add(400);
        world.act(if crashed { Act::CrashBuyer } else { Act::Reconnect });
        world.act(Act::ToSeller);
        world.act(Act::ToBuyer);
        world.act(Act::ToBuyer);
        assert_eq!(world.ended().outcome, BuyerOutcome::Delivered { late: true });
        assert_eq!(world.ended().money, buyer::Money::Paid);
        world.check();
    }
}

#[test]
fn a_trade_that_is_given_up_is_asked_for_on_every_reconnect_until_the_money_falls_back() {
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::Finish);
    world.disconnect();
    for secs in [60, 10] {
        world.act(Act::Wait(secs));
        world.disconnect();
    }
    assert_eq!((&world.ended().outcome, world.buyer_open), (&BuyerOutcome::Overdue, true));
    assert_eq!(world.settled, [buyer::Money::Waiting]);
    world.act(Act::CrashBuyer);
    assert!(matches!(world.to_seller.front(), Some(Message::Status(_))), "{:?}", world.to_seller);
    world.act(Act::ToSeller);
    world.act(Act::ToBuyer);
    world.act(Act::ToBuyer);
    assert_eq!(world.ended().outcome, BuyerOutcome::Delivered { late: true });
    assert_eq!((world.ended().money, world.buyer_open), (buyer::Money::Waiting, false));

    let mut silent = World::new(false, false);
    for _ in 0..100 {
        silent.act(Act::Wait(30));
        silent.disconnect();
    }
    assert!(silent.buyer.is_ended() && !silent.buyer_open && silent.buyer_alarm.is_none());
    assert_eq!(silent.ended().outcome, BuyerOutcome::Overdue);
}

#[test]
fn an_input_that_is_not_served_ends_the_trade_early_as_the_buyers_doing() {
    let mut deal = testing::deal();
    let id = ContentId { size: 640 * 1024, ..ContentId::of(testing::INPUT) };
    deal.input = Payload::Content(id);
    let by = seller::input_by(&deal, 10, NOW);
    assert_eq!(by, NOW.saturating_add(40), "30 s to begin, and ten for ten times 64 KiB");
    assert_eq!(seller::input_by(&deal, 40, NOW), NOW.saturating_add(30), "the work keeps its time, all but the grace");
    let step = Seller::begin(&deal, testing::acceptance(&deal), by, NOW);
    assert!(matches!(step.state, Seller::Fetching(_)));
    assert!(!step.effects.contains(&seller::Effect::Run));
    assert!(step.effects.contains(&seller::Effect::WakeAt(by.saturating_add(1))));
    let waiting = step.state.clone().handle(&deal, seller::Input::Tick, by);
    assert_eq!(waiting.effects, []);
    for input in [seller::Input::Tick, seller::Input::Resume] {
        let late = step.state.clone().handle(&deal, input, by.saturating_add(1));
        assert!(matches!(late.effects[..], [seller::Effect::Abort(FailureCode::InputMissing, _)]), "{late:?}");
    }
    // Once it is here, all the time up to the deadline is the work's, after a restart as well.
    let here = step.state.handle(&deal, seller::Input::InputReady, by);
    assert_eq!(here.writes, [seller::Write::State]);
    assert!(here.effects.contains(&seller::Effect::Run));
    let later = here.state.handle(&deal, seller::Input::Resume, by.saturating_add(5));
    assert!(later.effects.contains(&seller::Effect::Run), "{later:?}");
}

/// Refused, failed or silent, and the money taken all the same: the seller is charged with it, once.
#[test]
fn a_seller_that_takes_without_giving_is_charged_with_it() {
    let refunded = buyer::Input::Refunded { refunded: 0, redeemed: 8, fee: 0 };
    let failed = |code| TaskError { code, text: String::new() };
    type Play = fn(&mut World);
    let refused: Play = |world| world.hear_buyer(wire::Refused { award: world.deal.id(), reason: Reason::Busy }.into());
    let silent: Play = |world| (0..3).for_each(|_| world.wait(60));
    for play in [refused, silent] {
        let mut world = World::new(false, false);
        play(&mut world);
        world.feed_buyer(refunded.clone());
        world.feed_buyer(refunded.clone());
        assert_eq!(world.accused, [8]);
        assert_eq!(world.ended().money, buyer::Money::Settled { refunded: 0, redeemed: 8, fee: 0 });
    }
    // Part by part, each time with the sum so far; what is said twice is heard once.
    let mut world = World::new(false, false);
    refused(&mut world);
    for redeemed in [2, 2, 8, 2] {
        world.feed_buyer(buyer::Input::Refunded { refunded: 8 - redeemed, redeemed, fee: 0 });
    }
    assert_eq!(world.accused, [2, 8]);
    assert_eq!(world.ended().money, buyer::Money::Settled { refunded: 0, redeemed: 8, fee: 0 });
    // A signed failure is no right to the money, but for a task that was called off.
    for code in [FailureCode::InputInvalid, FailureCode::InputMissing, FailureCode::Crashed] {
        let mut world = World::new(false, false);
        world.act(Act::ToSeller);
        world.conclude(Err(failed(code.clone())));
        world.run_down();
        world.feed_buyer(refunded.clone());
        assert_eq!(world.accused, [8], "{code:?}");
    }
    // Nothing taken, nothing said.
    let mut world = World::new(false, false);
    silent(&mut world);
    world.feed_buyer(buyer::Input::Refunded { refunded: 8, redeemed: 0, fee: 0 });
    assert!(world.accused.is_empty() && world.buyer.is_ended() && !world.buyer_open);
    // A late delivery is one.
    let mut world = World::new(false, false);
    world.act(Act::ToSeller);
    world.act(Act::Finish);
    let delivery = world.to_buyer.pop_back().unwrap();
    world.disconnect();
    (0..3).for_each(|_| {
        world.wait(60);
        world.disconnect();
    });
    world.hear_buyer(delivery);
    world.feed_buyer(refunded);
    assert!(world.accused.is_empty());
}

#[test]
fn what_a_seller_may_pass_on_is_in_the_money_of_its_award() {
    use crate::ucan::{
        chain::{ChainError, check_sub_grant},
        grant::SubGrant,
    };
    let deal = testing::deal();
    let check = |grant: SubGrant| {
        let grant = Signed::sign(grant.delegation().unwrap(), &testing::buyer()).unwrap();
        check_sub_grant(&grant, &deal.award, &[])
    };
    assert_eq!(check(testing::sub_grant(&deal)), Ok(()));
    // A number of another unit, or of a mint whose money is worth nothing, would be counted against the price all the same.
    for other in [
        SubGrant { unit: "usd".into(), ..testing::sub_grant(&deal) },
        SubGrant { mint: "https://other.example.com".into(), ..testing::sub_grant(&deal) },
    ] {
        assert!(matches!(check(other), Err(ChainError::SubGrant(_))));
    }
}

/// What a seller answers to the last question doesn't put off the moment by which it must have delivered, nor bring it nearer.
#[test]
fn a_seller_that_accepts_again_past_the_deadline_has_as_long_to_deliver_as_it_had() {
    let deal = testing::deal();
    let accepted = || buyer::Input::Accepted(testing::acceptance(&deal));
    let past = deal.award.args().deadline.saturating_add(1);
    let awarded = Buyer::begin(&deal, NOW).state;
    for heard in [vec![], vec![accepted()]] {
        let before = heard.into_iter().fold(awarded.clone(), |state, input| state.handle(&deal, input, NOW).state);
        let asked = before.handle(&deal, buyer::Input::Tick, past);
        let until = past.saturating_add(buyer::LATE_ANSWER_SECS);
        assert!(asked.effects.contains(&buyer::Effect::WakeAt(until)), "{:?}", asked.effects);
        let answered = asked.state.handle(&deal, accepted(), past);
        assert!(matches!(answered.state, Buyer::Working(_)), "{:?}", answered.state);
        assert!(
            !answered.effects.iter().any(|effect| matches!(effect, buyer::Effect::WakeAt(_))),
            "{:?}",
            answered.effects
        );
    }
}

#[test]
fn a_receipt_of_a_later_version_of_ourselves_is_held_against_no_buyer() {
    let deal = testing::deal();
    let good = testing::good_receipt(&deal);
    assert_eq!(seller::check_held(&deal, good.bytes()).unwrap().cid(), good.cid());
    let mut body = good.body.clone();
    body.money = crate::cbor::decode(&crate::cbor::encode(&ipld_core::ipld!({ "streamed": 1 }))).unwrap();
    let later = Signed::<receipt::Receipt>::claim(body, NOW, None, ByteArray([7; 16]), &testing::seller()).unwrap();
    assert_eq!(seller::check_held(&deal, later.bytes()), Err(super::StatementError::NotUnderstood));
}
