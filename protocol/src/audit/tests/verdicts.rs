//! Every combination of what the two sides can have signed about an award, and what is said of it.

use super::*;

/// What the file holds of the seller's receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signs {
    Nothing,
    Done,
    Late,
    Failed,
    InputMissing,
    InputInvalid,
    Cancelled,
    LaterCode,
    LaterOutcome,
    LaterMoney,
    Two,
}
use Signs::{
    Cancelled, Done, Failed, InputInvalid, InputMissing, Late, LaterCode, LaterMoney, LaterOutcome, Nothing, Two,
};

const RECEIPTS: [Signs; 11] =
    [Nothing, Done, Late, Failed, InputMissing, InputInvalid, Cancelled, LaterCode, LaterOutcome, LaterMoney, Two];

/// What the buyer's *received* names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    No,
    /// The file's receipt; where it has none, the one that was left out.
    This,
    /// A receipt that isn't in the file, though there is one in it.
    Another,
}
use Got::{Another, No, This};

const YES: &[bool] = &[true];
const NO: &[bool] = &[false];
const ANY: &[bool] = &[false, true];

/// receipts | accepted | called off | received | who answers | in words, of {seller} and {buyer}
type Row = (&'static [Signs], &'static [bool], &'static [bool], &'static [Got], Option<&'static str>, &'static str);

const BUYERS: &[Signs] = &[InputMissing, InputInvalid, Cancelled];
const LATER: &[Signs] = &[LaterCode, LaterOutcome];

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (&[Nothing], NO,  NO,  &[No], None, "no receipt: nothing here shows whether the seller took the award"),
    (&[Nothing], YES, NO,  &[No], None, "accepted: {seller} signed that it took the award; this file shows no delivery"),
    (&[Nothing], ANY, YES, &[No], Some("buyer"), "called off: {buyer} signed that it called the award off and answers for it"),
    (&[Nothing], ANY, ANY, &[This, Another], None,
        "delivered: {buyer} signed that it has the output; the receipt is not in this file"),

    (&[Done], ANY, ANY, &[No], Some("seller"), "delivered: {seller} signed for the output and answers for it"),
    (&[Done], ANY, ANY, &[This], Some("seller"),
        "delivered: {seller} signed for the output and answers for it; {buyer} signed that it has the output"),
    (&[Done], ANY, ANY, &[Another], Some("seller"),
        "delivered: {seller} signed for the output and answers for it; {buyer} signed that it has the output of a receipt that is not in this file"),

    (&[Late, Failed], ANY, ANY, &[No], Some("seller"), "failed: {seller} signed that it did not deliver in time and answers for it"),
    (&[Late], ANY, ANY, &[This], Some("seller"),
        "failed: {seller} signed that it did not deliver in time and answers for it; {buyer} signed that it has the output"),
    (&[Failed], ANY, ANY, &[This], Some("seller"),
        "failed: {seller} signed that it did not deliver in time and answers for it; {buyer} signed that it has the output of a receipt that commits to none, which can't be"),
    (&[Late, Failed], ANY, ANY, &[Another], Some("seller"),
        "failed: {seller} signed that it did not deliver in time and answers for it; {buyer} signed that it has the output of a receipt that is not in this file"),

    (&[InputMissing], ANY, NO, &[No], None, "not done: {seller} says that the input never arrived; nothing that the buyer signed shows it"),
    (&[InputInvalid], ANY, NO, &[No], None, "not done: {seller} says that the input was not valid; nothing that the buyer signed shows it"),
    (&[Cancelled],    ANY, NO, &[No], None, "not done: {seller} says that the buyer cancelled; nothing that the buyer signed shows it"),
    (&[InputMissing], ANY, NO, &[This], None,
        "not done: {seller} says that the input never arrived; nothing that the buyer signed shows it; {buyer} signed that it has the output of a receipt that commits to none, which can't be"),
    (&[InputInvalid], ANY, NO, &[This], None,
        "not done: {seller} says that the input was not valid; nothing that the buyer signed shows it; {buyer} signed that it has the output of a receipt that commits to none, which can't be"),
    (&[Cancelled],    ANY, NO, &[This], None,
        "not done: {seller} says that the buyer cancelled; nothing that the buyer signed shows it; {buyer} signed that it has the output of a receipt that commits to none, which can't be"),
    (&[InputMissing], ANY, NO, &[Another], None,
        "not done: {seller} says that the input never arrived; nothing that the buyer signed shows it; {buyer} signed that it has the output of a receipt that is not in this file"),
    (&[InputInvalid], ANY, NO, &[Another], None,
        "not done: {seller} says that the input was not valid; nothing that the buyer signed shows it; {buyer} signed that it has the output of a receipt that is not in this file"),
    (&[Cancelled],    ANY, NO, &[Another], None,
        "not done: {seller} says that the buyer cancelled; nothing that the buyer signed shows it; {buyer} signed that it has the output of a receipt that is not in this file"),
    (BUYERS, ANY, YES, &[No], Some("buyer"), "called off: {buyer} signed that it called the award off and answers for it"),
    (BUYERS, ANY, YES, &[This], Some("buyer"),
        "called off: {buyer} signed that it called the award off and answers for it; {buyer} signed that it has the output of a receipt that commits to none, which can't be"),
    (BUYERS, ANY, YES, &[Another], Some("buyer"),
        "called off: {buyer} signed that it called the award off and answers for it; {buyer} signed that it has the output of a receipt that is not in this file"),

    (LATER, ANY, ANY, &[No], None, NOT_UNDERSTOOD),
    (&[LaterOutcome], ANY, ANY, &[This], None,
        "not understood: it hangs on something of a later version, so nobody is held to answer; {buyer} signed that it has the output"),
    (&[LaterCode], ANY, ANY, &[This], None,
        "not understood: it hangs on something of a later version, so nobody is held to answer; {buyer} signed that it has the output of a receipt that commits to none, which can't be"),
    (LATER, ANY, ANY, &[Another], None,
        "not understood: it hangs on something of a later version, so nobody is held to answer; {buyer} signed that it has the output of a receipt that is not in this file"),
    (&[LaterMoney], ANY, ANY, &[No, This, Another], None, NOT_UNDERSTOOD),

    (&[Two], ANY, ANY, &[No], Some("seller"), "contradicted: {seller} signed receipts that contradict each other and answers for it"),
    (&[Two], ANY, ANY, &[This], Some("seller"),
        "contradicted: {seller} signed receipts that contradict each other and answers for it; {buyer} signed that it has the output"),
    (&[Two], ANY, ANY, &[Another], Some("seller"),
        "contradicted: {seller} signed receipts that contradict each other and answers for it; {buyer} signed that it has the output of a receipt that is not in this file"),
];

fn receipts(has: Signs) -> Vec<Signed<Receipt>> {
    match has {
        Nothing => vec![],
        Done => vec![done()],
        Late => vec![late()],
        Failed => vec![failed(FailureCode::Crashed)],
        InputMissing => vec![failed(FailureCode::InputMissing)],
        InputInvalid => vec![failed(FailureCode::InputInvalid)],
        Cancelled => vec![failed(FailureCode::Cancelled)],
        LaterCode => vec![failed(FailureCode::Other("later".parse().unwrap()))],
        LaterOutcome => vec![with_out(Outcome::Other("later".parse().unwrap()))],
        LaterMoney => {
            let later = ipld_core::ipld::Ipld::Map(BTreeMap::from([("later".to_owned(), 1.into())]));
            let money: ReceiptPart = crate::cbor::decode(&crate::cbor::encode(&later)).unwrap();
            let body = crate::receipt::ReceiptBody { money, ..done().body.clone() };
            vec![Signed::claim(body, done().iat, None, ByteArray([8; 16]), &testing::seller()).unwrap()]
        }
        Two => vec![done(), failed(FailureCode::Crashed)],
    }
}

fn file(has: Signs, accepted: bool, cancelled: bool, received: Got) -> Vec<u8> {
    let receipts = receipts(has);
    let named = match received {
        No => None,
        This => Some(receipts.first().cloned().unwrap_or_else(done)),
        Another => Some(with_out(Outcome::Ok(ByteArray([3; 32])))),
    };
    bundle(&Evidence {
        acceptances: accepted.then(self::accepted).into_iter().collect(),
        cancellations: cancelled.then(|| testing::cancellation(&testing::deal())).into_iter().collect(),
        received: named.iter().map(testing::received).collect(),
        ..evidence(receipts)
    })
}

#[test]
fn each_combination_of_statements_has_its_verdict() {
    let (buyer, seller) = (testing::buyer().id(), testing::seller().id());
    let mut used = vec![false; TABLE.len()];
    for has in RECEIPTS {
        for (accepted, cancelled) in [(false, false), (false, true), (true, false), (true, true)] {
            for received in [No, This, Another] {
                let what = format!("{has:?}, accepted {accepted}, called off {cancelled}, received {received:?}");
                let fits = |row: &Row| {
                    row.0.contains(&has)
                        && row.1.contains(&accepted)
                        && row.2.contains(&cancelled)
                        && row.3.contains(&received)
                };
                let rows: Vec<_> = TABLE.iter().enumerate().filter(|(_, row)| fits(row)).collect();
                let [(index, (.., who, words))] = rows[..] else { panic!("{} rows for {what}", rows.len()) };
                used[index] = true;

                let report = verify(&file(has, accepted, cancelled, received)).unwrap();
                let hire = &report.hires[0];
                let words = words.replace("{seller}", &seller.peer_id()).replace("{buyer}", &buyer.peer_id());
                assert_eq!(hire.verdict(), words, "{what}");
                assert_eq!(report.to_string().lines().last().unwrap(), format!("  => {words}"));
                let who = who.map(|who| if who == "buyer" { buyer } else { seller });
                assert_eq!(hire.answer.who(), who, "{what}");
                convicts_nobody_unsigned(has, cancelled, hire.answer.who());
            }
        }
    }
    assert!(used.into_iter().all(|used| used), "a row that nothing fits");
}

/// Whoever is held to answer has signed something that says so: the seller a receipt, the buyer a cancellation.
fn convicts_nobody_unsigned(has: Signs, cancelled: bool, who: Option<crate::identity::AgentId>) {
    if who == Some(testing::seller().id()) {
        assert_ne!(has, Nothing);
    }
    if who == Some(testing::buyer().id()) {
        assert!(cancelled);
    }
}
