//! What a mint knows: its keys, every signature that it gave and every proof that was spent.

use std::collections::{BTreeMap, BTreeSet};

use cashu::{
    Amount, BlindSignature, BlindedMessage, CurrencyUnit, Id, KeySet, KeySetInfo, MintKeySet, Proof, ProofState,
    PublicKey, SECP256K1, SecretKey, SpendingConditionVerification as _, State, SwapRequest, Witness,
    dhke::{sign_message, verify_message},
    nut02::KeySetVersion,
};

use super::Lie;

/// The unit of every simulated mint.
pub(crate) const UNIT: &str = "sat";
/// Powers of two that it signs: up to 2^23.
const AMOUNTS: u32 = 24;

/// Why a mint says no: a NUT error code.
pub(super) type Refusal = (u16, &'static str);

const NOT_VERIFIED: Refusal = (10_001, "proof not verified");
const SPENT: Refusal = (11_001, "token already spent");
const SIGNED: Refusal = (11_003, "outputs already signed");
const UNBALANCED: Refusal = (11_005, "transaction is not balanced");
const TWICE_IN: Refusal = (11_007, "duplicate inputs");
const TWICE_OUT: Refusal = (11_008, "duplicate outputs");
const NO_KEYSET: Refusal = (12_001, "keyset is not known");
const INACTIVE: Refusal = (12_002, "keyset is inactive");
const UNKNOWN_QUOTE: Refusal = (20_007, "no such quote");
const ISSUED: Refusal = (20_002, "quote already issued");

/// What a mint has issued and taken back, in its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Issued for quotes, which is new money.
    pub funded: u64,
    /// All that it has signed.
    pub signed: u64,
    /// All that was spent.
    pub spent: u64,
    /// Kept.
    pub fees: u64,
}

impl Totals {
    /// What must be in somebody's wallet.
    pub fn outstanding(&self) -> i128 {
        i128::from(self.signed) - i128::from(self.spent)
    }

    /// Whether no coin came from nowhere and none went there.
    pub fn balances(&self) -> bool {
        self.outstanding() + i128::from(self.fees) == i128::from(self.funded)
    }
}

/// The books.
pub struct Books {
    seed: [u8; 32],
    fee_ppk: u64,
    keysets: BTreeMap<Id, (MintKeySet, bool)>,
    /// A key that it has never announced.
    other_key: SecretKey,
    signed: BTreeMap<[u8; 33], BlindSignature>,
    /// With what each was spent, which NUT-07 shows.
    spent: BTreeMap<[u8; 33], Option<Witness>>,
    /// Amount, and whether it was issued.
    quotes: BTreeMap<String, (u64, bool)>,
    totals: Totals,
}

impl Books {
    pub(crate) fn new(seed: &[u8; 32], fee_ppk: u64) -> Self {
        #[allow(clippy::expect_used)] // 32 bytes of 7 are below the curve's order
        let other_key = SecretKey::from_slice(&[7; 32]).expect("a key");
        let mut books = Self {
            seed: *seed,
            fee_ppk,
            keysets: BTreeMap::new(),
            other_key,
            signed: BTreeMap::new(),
            spent: BTreeMap::new(),
            quotes: BTreeMap::new(),
            totals: Totals::default(),
        };
        books.rotate();
        books
    }

    pub(super) fn rotate(&mut self) {
        self.keysets.values_mut().for_each(|(_, active)| *active = false);
        let mut seed = self.seed.to_vec();
        seed.extend_from_slice(&(self.keysets.len() as u32).to_be_bytes());
        let amounts: Vec<u64> = (0..AMOUNTS).map(|power| 1 << power).collect();
        let keyset = MintKeySet::generate_from_seed(
            &SECP256K1,
            &seed,
            &amounts,
            CurrencyUnit::Sat,
            Default::default(),
            self.fee_ppk,
            None,
            KeySetVersion::Version01,
        );
        self.keysets.insert(keyset.id, (keyset, true));
    }

    /// What it has issued and taken back.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether the proof with this Y was spent.
    pub fn is_spent(&self, y: &[u8; 33]) -> bool {
        self.spent.contains_key(y)
    }

    /// Whether it has signed this blinded message.
    pub fn has_signed(&self, blinded: &[u8; 33]) -> bool {
        self.signed.contains_key(blinded)
    }

    #[cfg(test)]
    pub(crate) fn spend_for_test(&mut self, y: [u8; 33]) {
        self.spent.insert(y, None);
    }

    pub(super) fn infos(&self) -> Vec<KeySetInfo> {
        let info = |(keyset, active): &(MintKeySet, bool)| KeySetInfo {
            id: keyset.id,
            unit: keyset.unit.clone(),
            active: *active,
            input_fee_ppk: keyset.input_fee_ppk,
            final_expiry: keyset.final_expiry,
        };
        self.keysets.values().map(info).collect()
    }

    pub(super) fn keysets(&self, which: impl Fn(Id, bool) -> bool) -> Vec<KeySet> {
        let shown = self.keysets.iter().filter(|(id, (_, active))| which(**id, *active));
        let show = |(keyset, active): &(MintKeySet, bool)| KeySet {
            id: keyset.id,
            unit: keyset.unit.clone(),
            active: Some(*active),
            keys: keyset.keys.clone().into(),
            input_fee_ppk: keyset.input_fee_ppk,
            final_expiry: keyset.final_expiry,
        };
        shown.map(|(_, keyset)| show(keyset)).collect()
    }

    /// A new quote, which is paid already.
    pub(super) fn quote(&mut self, amount: u64) -> String {
        let id = format!("quote-{}", self.quotes.len());
        self.quotes.insert(id.clone(), (amount, false));
        id
    }

    pub(super) fn quoted(&self, id: &str) -> Option<(u64, bool)> {
        self.quotes.get(id).copied()
    }

    /// Issues what a quote is for.
    pub(super) fn mint(
        &mut self,
        quote: &str,
        outputs: &[BlindedMessage],
        lie: Option<Lie>,
    ) -> Result<Vec<BlindSignature>, Refusal> {
        let (amount, issued) = self.quoted(quote).ok_or(UNKNOWN_QUOTE)?;
        if issued {
            return Err(ISSUED);
        }
        self.check_outputs(outputs)?;
        if sum(outputs.iter().map(|output| output.amount)) != amount && lie != Some(Lie::Prints) {
            return Err(UNBALANCED);
        }
        let signatures = self.sign(outputs, lie)?;
        self.quotes.insert(quote.to_owned(), (amount, true));
        self.totals.funded += amount;
        Ok(signatures)
    }

    /// Takes the inputs, signs the outputs: both or neither.
    pub(super) fn swap(&mut self, request: &SwapRequest, lie: Option<Lie>) -> Result<Vec<BlindSignature>, Refusal> {
        let (inputs, outputs) = (request.inputs(), request.outputs());
        let spent = self.check_inputs(inputs)?;
        request.verify_spending_conditions().map_err(|_| NOT_VERIFIED)?;
        self.check_outputs(outputs)?;
        let (came, goes) =
            (sum(inputs.iter().map(|proof| proof.amount)), sum(outputs.iter().map(|output| output.amount)));
        let fee = self.fee(inputs);
        if came != goes + fee && lie != Some(Lie::Prints) {
            return Err(UNBALANCED);
        }
        if lie == Some(Lie::Robs) {
            self.spent.extend(spent);
            self.totals.spent += came;
            self.totals.fees += came;
            return Err(SPENT);
        }
        let signatures = self.sign(outputs, lie)?;
        if lie == Some(Lie::ForgetsInputs) {
            return Ok(signatures);
        }
        self.spent.extend(spent);
        self.totals.spent += came;
        self.totals.fees += fee;
        Ok(signatures)
    }

    pub(super) fn states(&self, ys: &[PublicKey]) -> Vec<ProofState> {
        let state = |y: &PublicKey| match self.spent.get(&y.to_bytes()) {
            Some(witness) => ProofState { y: *y, state: State::Spent, witness: witness.clone() },
            None => ProofState { y: *y, state: State::Unspent, witness: None },
        };
        ys.iter().map(state).collect()
    }

    pub(super) fn restore(&self, outputs: &[BlindedMessage]) -> (Vec<BlindedMessage>, Vec<BlindSignature>) {
        let known = outputs.iter().filter_map(|output| {
            let signature = self.signed.get(&output.blinded_secret.to_bytes())?;
            Some((BlindedMessage { amount: signature.amount, ..output.clone() }, signature.clone()))
        });
        known.unzip()
    }

    fn check_inputs(&self, inputs: &[Proof]) -> Result<BTreeMap<[u8; 33], Option<Witness>>, Refusal> {
        let mut spent = BTreeMap::new();
        for proof in inputs {
            let (keyset, _) = self.keysets.get(&proof.keyset_id).ok_or(NO_KEYSET)?;
            let pair = keyset.keys.get(&proof.amount).ok_or(NOT_VERIFIED)?;
            let y = proof.y().map_err(|_| NOT_VERIFIED)?.to_bytes();
            if self.is_spent(&y) {
                return Err(SPENT);
            }
            verify_message(&pair.secret_key, proof.c, proof.secret.as_bytes()).map_err(|_| NOT_VERIFIED)?;
            if spent.insert(y, proof.witness.clone()).is_some() {
                return Err(TWICE_IN);
            }
        }
        Ok(spent)
    }

    fn check_outputs(&self, outputs: &[BlindedMessage]) -> Result<(), Refusal> {
        let mut seen = BTreeSet::new();
        for output in outputs {
            let (keyset, active) = self.keysets.get(&output.keyset_id).ok_or(NO_KEYSET)?;
            if !active {
                return Err(INACTIVE);
            }
            keyset.keys.get(&output.amount).ok_or(UNBALANCED)?;
            let blinded = output.blinded_secret.to_bytes();
            if self.signed.contains_key(&blinded) {
                return Err(SIGNED);
            }
            if !seen.insert(blinded) {
                return Err(TWICE_OUT);
            }
        }
        Ok(())
    }

    fn sign(&mut self, outputs: &[BlindedMessage], lie: Option<Lie>) -> Result<Vec<BlindSignature>, Refusal> {
        let mut signatures = Vec::with_capacity(outputs.len());
        for output in outputs {
            let (keyset, _) = self.keysets.get(&output.keyset_id).ok_or(NO_KEYSET)?;
            let pair = keyset.keys.get(&output.amount).ok_or(UNBALANCED)?;
            let key = if lie == Some(Lie::WrongKey) { &self.other_key } else { &pair.secret_key };
            let point = sign_message(key, &output.blinded_secret).map_err(|_| NOT_VERIFIED)?;
            let signature = BlindSignature::new(output.amount, point, output.keyset_id, &output.blinded_secret, key);
            signatures.push(signature.map_err(|_| NOT_VERIFIED)?);
        }
        for (output, signature) in outputs.iter().zip(&signatures) {
            // A signature by another key is worth nothing; the coin that was due stays due.
            let due = self.true_signature(output).filter(|_| lie == Some(Lie::WrongKey));
            self.signed.insert(output.blinded_secret.to_bytes(), due.unwrap_or_else(|| signature.clone()));
            self.totals.signed += output.amount.to_u64();
        }
        Ok(signatures)
    }

    fn true_signature(&self, output: &BlindedMessage) -> Option<BlindSignature> {
        let pair = self.keysets.get(&output.keyset_id)?.0.keys.get(&output.amount)?;
        let point = sign_message(&pair.secret_key, &output.blinded_secret).ok()?;
        BlindSignature::new(output.amount, point, output.keyset_id, &output.blinded_secret, &pair.secret_key).ok()
    }

    fn fee(&self, inputs: &[Proof]) -> u64 {
        let ppk = inputs
            .iter()
            .filter_map(|proof| self.keysets.get(&proof.keyset_id))
            .map(|(keyset, _)| keyset.input_fee_ppk);
        ppk.sum::<u64>().div_ceil(1_000)
    }
}

fn sum(amounts: impl Iterator<Item = Amount>) -> u64 {
    amounts.fold(0, |sum, amount| sum.saturating_add(amount.to_u64()))
}
