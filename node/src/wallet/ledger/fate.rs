//! What became of an operation whose reply was lost, or was none that could be believed. The one place that decides it.
//!
//! NUT-09 shows that a mint once signed an output, not that this operation was done: an older backup, or another home of
//! the same phrase, may have used the same derivation numbers. So an operation counts as done only where the mint says
//! that all of its inputs are spent (a locked one with a signature by our key, for *spent* doesn't say by whom, and a mint
//! that shows no signatures says nothing of it), and that its outputs are signed for the amounts asked, unspent and new to
//! us; one that issues a quote only where the quote is issued. What another copy does with the same numbers for the same amounts while
//! an operation is under way looks the same: it makes coins that are ours either way, and where people are told what was done, the
//! outputs are seen to be unsigned before the request is posted. Where a mint shows no signatures, money whose reply was lost
//! comes back as *restored*, and its trade is told that the mint doesn't say by whom its lock was spent.
//!
//! | inputs | outputs | it was |
//! |---|---|---|
//! | all spent, locked ones by our key | all signed, unspent, new | done |
//! | all spent | otherwise | somebody else's doing, or another copy's |
//! | some spent | | the same |
//! | unspent | some signed | not done, and our numbers were used before: build it anew |
//! | unspent | none signed | not done |
//! | some pending | | not known yet |

use cdk::nuts::{BlindSignature, State};

use super::super::{
    connector::{ProofState, QuoteState},
    records::{Operation, Purpose},
};

/// What the mint says about an operation.
pub(super) struct Evidence {
    /// Of each input.
    pub(super) inputs: Vec<ProofState>,
    /// Of each output.
    pub(super) outputs: Vec<OutputEvidence>,
    /// If it issues or pays a quote.
    pub(super) quote: Option<QuoteState>,
}

/// What the mint says about an output.
pub(super) struct OutputEvidence {
    pub(super) signature: Option<BlindSignature>,
    /// The coin that it makes is of the amount asked, unspent, and we don't have it otherwise.
    pub(super) fresh: bool,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// Its inputs were used, or its quote issued, by something else.
    Elsewhere,
    /// It was not done, and never will be as it is: its outputs are signed.
    NumbersUsed,
    NotDone,
    Pending,
}

impl Evidence {
    pub(super) fn fate(&self, record: &Operation) -> Fate {
        let signed = |output: &OutputEvidence| output.signature.is_some();
        match (&record.purpose, self.quote) {
            (Purpose::Mint { .. }, Some(QuoteState::Issued)) if self.all_fresh() => Fate::Done,
            (Purpose::Mint { .. }, Some(QuoteState::Issued)) => Fate::Elsewhere,
            (Purpose::Mint { .. }, _) if self.outputs.iter().any(signed) => Fate::NumbersUsed,
            (Purpose::Mint { .. }, _) => Fate::NotDone,
            (Purpose::Melt { .. }, Some(QuoteState::Pending | QuoteState::Unknown)) => Fate::Pending,
            (Purpose::Melt { .. }, Some(QuoteState::Paid)) if self.all(State::Spent) => Fate::Done,
            // The invoice was paid with other money.
            (Purpose::Melt { .. }, Some(QuoteState::Paid)) if self.all(State::Unspent) => Fate::Elsewhere,
            _ => self.fate_of_swap(record),
        }
    }

    fn fate_of_swap(&self, record: &Operation) -> Fate {
        if self.inputs.iter().any(|input| !matches!(input.state, State::Spent | State::Unspent)) {
            return Fate::Pending;
        }
        if self.all(State::Unspent) {
            let used = self.outputs.iter().any(|output| output.signature.is_some());
            return if used { Fate::NumbersUsed } else { Fate::NotDone };
        }
        let is_melt = matches!(record.purpose, Purpose::Melt { .. });
        let mut pairs = record.inputs.iter().zip(&self.inputs);
        let ours = pairs.all(|(input, state)| input.may_be_spent_by_us(&state.signatures));
        if !is_melt && self.all(State::Spent) && ours && self.all_fresh() { Fate::Done } else { Fate::Elsewhere }
    }

    fn all(&self, state: State) -> bool {
        self.inputs.iter().all(|input| input.state == state)
    }

    fn all_fresh(&self) -> bool {
        self.outputs.iter().all(|output| output.signature.is_some() && output.fresh)
    }

    /// Whether another look at the signatures may change the verdict: the mint may have acted between two questions.
    /// Of a melt, a mint signs the change only after it has said that it paid.
    pub(super) fn may_have_been_done_meanwhile(&self, record: &Operation) -> bool {
        let is_open = match self.fate(record) {
            Fate::Elsewhere => true,
            Fate::Done => matches!(record.purpose, Purpose::Melt { .. }),
            _ => false,
        };
        is_open && self.outputs.iter().any(|output| output.signature.is_none())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cdk::nuts::{Id, PublicKey, SecretKey};
    use guilder_protocol::{bytes::ByteArray, time::Timestamp};

    use super::{
        super::super::records::{Coin, Currency, Input, SignedBy, Unlocked},
        *,
    };

    fn signature() -> BlindSignature {
        let c: PublicKey = SecretKey::from_slice(&[1; 32]).unwrap().public_key();
        let keyset_id: Id = "009a1f293253e41e".parse().unwrap();
        BlindSignature { amount: 1.into(), keyset_id, c, dleq: None }
    }

    fn input(key: Option<&SecretKey>) -> Input {
        let id: Id = "009a1f293253e41e".parse().unwrap();
        let coin = Coin { amount: 1, c: ByteArray([2; 33]), dleq: None, id: id.into(), secret: "secret".into() };
        let ours = key.map(|key| vec![SignedBy::sign(key, &key.public_key(), &coin.secret).unwrap()]);
        let unlocked = ours.map(|ours| Unlocked { ours, given: Vec::new(), preimage: None });
        Input { unlocked, ..Input::plain(coin).unwrap() }
    }

    fn operation(purpose: Purpose, inputs: Vec<Input>) -> Operation {
        let currency = Currency::new(&"https://mint.example".parse().unwrap(), &"sat".parse().unwrap());
        Operation { currency, inputs, outputs: Vec::new(), fee: 0, purpose, made: Timestamp::from_secs(0), until: None }
    }

    fn spent_with(key: &SecretKey) -> ProofState {
        let signature = key.sign(b"secret").unwrap().to_string();
        ProofState { state: State::Spent, signatures: vec!["odd".into(), signature], witness: Vec::new() }
    }

    fn state(state: State) -> ProofState {
        ProofState { state, signatures: Vec::new(), witness: Vec::new() }
    }

    /// s: signed and fresh; o: signed and spent, or known; n: not signed.
    fn outputs(text: &str) -> Vec<OutputEvidence> {
        let output = |char| OutputEvidence { signature: (char != 'n').then(signature), fresh: char == 's' };
        text.chars().map(output).collect()
    }

    #[test]
    fn a_swap_is_done_only_if_its_inputs_are_spent_and_its_outputs_are_fresh() {
        use State::{Pending, Spent, Unspent};
        let table = [
            (&[Spent, Spent][..], "ss", Fate::Done),
            (&[Spent, Spent], "so", Fate::Elsewhere),
            (&[Spent, Spent], "sn", Fate::Elsewhere),
            (&[Spent, Spent], "nn", Fate::Elsewhere),
            (&[Spent, Unspent], "ss", Fate::Elsewhere),
            (&[Spent, Unspent], "nn", Fate::Elsewhere),
            (&[Unspent, Unspent], "ss", Fate::NumbersUsed),
            (&[Unspent, Unspent], "oo", Fate::NumbersUsed),
            (&[Unspent, Unspent], "nn", Fate::NotDone),
            (&[Unspent, Unspent], "sn", Fate::NumbersUsed),
            (&[Pending, Spent], "ss", Fate::Pending),
            (&[Pending, Pending], "nn", Fate::Pending),
        ];
        for (states, signed, fate) in table {
            let inputs = states.iter().copied().map(state).collect();
            let record = operation(Purpose::Send, vec![input(None); 2]);
            let evidence = Evidence { inputs, outputs: outputs(signed), quote: None };
            assert_eq!(evidence.fate(&record), fate, "{states:?} {signed}");
        }
    }

    #[test]
    fn a_lock_spent_with_another_key_was_not_spent_by_us() {
        let (ours, theirs) = (SecretKey::from_slice(&[1; 32]).unwrap(), SecretKey::from_slice(&[2; 32]).unwrap());
        let record = operation(Purpose::Redeem { trades: Vec::new() }, vec![input(Some(&ours))]);
        for (spent, fate) in [
            (spent_with(&ours), Fate::Done),
            (spent_with(&theirs), Fate::Elsewhere),
            (state(State::Spent), Fate::Elsewhere),
        ] {
            let evidence = Evidence { inputs: vec![spent], outputs: outputs("s"), quote: None };
            assert_eq!(evidence.fate(&record), fate);
        }
    }

    #[test]
    fn a_quote_is_issued_only_if_the_mint_says_so() {
        use QuoteState::{Issued, Paid, Unpaid};
        let record = operation(Purpose::Mint { quote: "q".into() }, Vec::new());
        for (quote, signed, fate) in [
            (Issued, "ss", Fate::Done),
            (Issued, "so", Fate::Elsewhere),
            (Issued, "nn", Fate::Elsewhere),
            (Paid, "ss", Fate::NumbersUsed),
            (Paid, "nn", Fate::NotDone),
            (Unpaid, "nn", Fate::NotDone),
        ] {
            let evidence = Evidence { inputs: Vec::new(), outputs: outputs(signed), quote: Some(quote) };
            assert_eq!(evidence.fate(&record), fate, "{quote:?} {signed}");
        }
    }

    #[test]
    fn an_invoice_is_paid_by_us_only_with_our_coins() {
        use QuoteState::{Paid, Pending, Unpaid};
        use State::{Spent, Unspent};
        let record = operation(Purpose::Melt { quote: "q".into(), amount: 1 }, vec![input(None)]);
        for (quote, coin, change, fate) in [
            (Paid, Spent, "sn", Fate::Done),
            (Paid, Spent, "", Fate::Done),
            (Paid, Unspent, "n", Fate::Elsewhere),
            (Pending, State::Pending, "n", Fate::Pending),
            (Pending, Unspent, "n", Fate::Pending),
            (Unpaid, Unspent, "n", Fate::NotDone),
            (Unpaid, Unspent, "s", Fate::NumbersUsed),
            (Unpaid, Spent, "s", Fate::Elsewhere),
        ] {
            let evidence = Evidence { inputs: vec![state(coin)], outputs: outputs(change), quote: Some(quote) };
            assert_eq!(evidence.fate(&record), fate, "{quote:?} {coin:?} {change}");
        }
    }

    #[test]
    fn change_that_is_not_signed_yet_is_looked_for_once_more() {
        let record = operation(Purpose::Melt { quote: "q".into(), amount: 1 }, vec![input(None)]);
        for (change, again) in [("n", true), ("sn", true), ("ss", false), ("", false)] {
            let inputs = vec![state(State::Spent)];
            let evidence = Evidence { inputs, outputs: outputs(change), quote: Some(QuoteState::Paid) };
            assert_eq!(evidence.may_have_been_done_meanwhile(&record), again, "{change}");
        }
    }
}
