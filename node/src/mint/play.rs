//! Play money: a Lightning backend with nobody behind it, whose invoices pay themselves.
//!
//! Invoices are real BOLT 11 (regtest), signed, with real preimages: `payment_hash = sha256(preimage)`, and a paid melt
//! hands the preimage out. One unit is written as one satoshi. Nothing is ever stored:
//!
//! ```text
//! invoice    payment_secret = 32 random bytes
//! preimage   HMAC-SHA-256(key, unit ‖ payment_secret), so the invoice and the seed give it at any time
//! lookup id  when the invoice was made, its amount and its unit, kept by cdk with the quote
//! paid       from `created + pays_itself_after_secs` on, by the clock
//! ```
//!
//! So there is no instant at which a crash can lose anything of the backend's: before cdk stored the quote nobody knows
//! the invoice; after it, the quote's own row says all. An unpaid invoice of this mint can also be paid by a melt at
//! this mint, which cdk books in one transaction and never asks us about. No other invoice can be paid: play money
//! can't leave its mint.

use std::{collections::HashMap, fmt, pin::Pin, time::Duration};

use async_trait::async_trait;
use cdk_common::{
    Amount, Bolt11Invoice, CurrencyUnit, MeltQuoteState,
    bitcoin::{
        hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256},
        secp256k1::{Secp256k1, SecretKey},
    },
    payment::{
        Bolt11IncomingPaymentOptions, Bolt11Settings, CreateIncomingPaymentResponse, Error, Event,
        IncomingPaymentOptions, MakePaymentResponse, MintPayment, OutgoingPaymentOptions, PaymentIdentifier,
        PaymentQuoteResponse, SettingsResponse, WaitPaymentResponse,
    },
};
use futures::{Stream, stream};
use guilder_protocol::time::Timestamp;
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};

use crate::runtime::Runtime;

/// What an invoice says when nobody said what it is for.
const DESCRIPTION: &str = "Play money, worth nothing";

/// The key that all preimages of a mint come from, and the node key that its invoices are signed with.
#[derive(Clone)]
pub(super) struct PlayKey {
    preimages: [u8; 32],
    node: SecretKey,
}

impl fmt::Debug for PlayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlayKey(hidden)")
    }
}

impl PlayKey {
    /// Derives both from the mint's seed.
    pub(super) fn new(seed: &[u8]) -> Self {
        let node = (0..=u8::MAX).find_map(|n| SecretKey::from_slice(&mac(seed, &[b"play/node", &[n]])).ok());
        let node = node.unwrap_or_else(|| unreachable!("256 digests in a row beyond the curve's order"));
        Self { preimages: mac(seed, &[b"play/preimages"]), node }
    }

    /// The preimage of `invoice`, if it is one of ours in `unit`.
    pub(super) fn preimage(&self, unit: &CurrencyUnit, invoice: &Bolt11Invoice) -> Option<[u8; 32]> {
        let preimage = self.derive(unit, &invoice.payment_secret().0);
        (sha256::Hash::hash(&preimage) == *invoice.payment_hash()).then_some(preimage)
    }

    fn derive(&self, unit: &CurrencyUnit, secret: &[u8; 32]) -> [u8; 32] {
        mac(&self.preimages, &[unit.to_string().as_bytes(), b"\0", secret])
    }
}

/// What a seed is recognised by, and tells nothing about it.
pub(super) fn mark(seed: &[u8]) -> [u8; 32] {
    mac(seed, &[b"mark"])
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    parts.iter().for_each(|part| engine.input(part));
    Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()
}

/// The backend of one unit.
#[derive(Debug)]
pub(super) struct PlayMoney {
    key: PlayKey,
    pays_itself_after_secs: u64,
    runtime: Runtime,
}

impl PlayMoney {
    pub(super) fn new(key: PlayKey, pays_itself_after_secs: u64, runtime: Runtime) -> Self {
        Self { key, pays_itself_after_secs, runtime }
    }

    fn invoice(&self, options: &Bolt11IncomingPaymentOptions, now: Timestamp) -> Result<Bolt11Invoice, Error> {
        let secret = self.runtime.random::<32>();
        let preimage = self.key.derive(options.amount.unit(), &secret);
        let expiry = options.unix_expiry.map_or(3_600, |at| at.saturating_sub(now.as_secs()));
        let msat = options.amount.value().checked_mul(1_000).ok_or(Error::AmountMismatch)?;
        InvoiceBuilder::new(Currency::Regtest)
            .description(options.description.clone().unwrap_or_else(|| DESCRIPTION.into()))
            .payment_hash(sha256::Hash::hash(&preimage))
            .payment_secret(PaymentSecret(secret))
            .amount_milli_satoshis(msat)
            .duration_since_epoch(Duration::from_secs(now.as_secs()))
            .expiry_time(Duration::from_secs(expiry))
            .min_final_cltv_expiry_delta(144)
            .build_signed(|message| Secp256k1::signing_only().sign_ecdsa_recoverable(message, &self.key.node))
            .map_err(|error| Error::Backend(Box::new(error)))
    }
}

/// An invoice's row in cdk's table of quotes, as far as we need it.
struct Lookup {
    created: Timestamp,
    amount: Amount<CurrencyUnit>,
    hash: sha256::Hash,
}

impl Lookup {
    fn write(&self) -> PaymentIdentifier {
        let (created, hash) = (self.created.as_secs(), self.hash);
        PaymentIdentifier::CustomId(format!("play:{created}:{}:{}:{hash}", self.amount.value(), self.amount.unit()))
    }

    fn read(id: &PaymentIdentifier) -> Option<Self> {
        let PaymentIdentifier::CustomId(text) = id else { return None };
        let mut parts = text.strip_prefix("play:")?.splitn(4, ':');
        let created = Timestamp::from_secs(parts.next()?.parse().ok()?);
        let value = parts.next()?.parse().ok()?;
        let unit = parts.next()?.parse().ok()?;
        Some(Self { created, amount: Amount::new(value, unit), hash: parts.next()?.parse().ok()? })
    }
}

#[async_trait]
impl MintPayment for PlayMoney {
    type Err = Error;

    async fn get_settings(&self) -> Result<SettingsResponse, Error> {
        let bolt11 = Bolt11Settings { mpp: false, amountless: false, invoice_description: true };
        Ok(SettingsResponse {
            unit: CurrencyUnit::Sat.to_string(),
            bolt11: Some(bolt11),
            bolt12: None,
            onchain: None,
            custom: HashMap::new(),
        })
    }

    async fn create_incoming_payment_request(
        &self,
        options: IncomingPaymentOptions,
    ) -> Result<CreateIncomingPaymentResponse, Error> {
        let IncomingPaymentOptions::Bolt11(options) = options else {
            return Err(Error::UnsupportedPaymentOption);
        };
        let created = self.runtime.now();
        let invoice = self.invoice(&options, created)?;
        let lookup = Lookup { created, amount: options.amount, hash: *invoice.payment_hash() };
        Ok(CreateIncomingPaymentResponse {
            request_lookup_id: lookup.write(),
            request: invoice.to_string(),
            expiry: options.unix_expiry,
            extra_json: None,
        })
    }

    async fn get_payment_quote(
        &self,
        unit: &CurrencyUnit,
        options: OutgoingPaymentOptions,
    ) -> Result<PaymentQuoteResponse, Error> {
        let OutgoingPaymentOptions::Bolt11(options) = options else {
            return Err(Error::UnsupportedPaymentOption);
        };
        // Only what was made here can be paid here.
        self.key.preimage(unit, &options.bolt11).ok_or(Error::UnsupportedPaymentOption)?;
        let msat = options.bolt11.amount_milli_satoshis().ok_or(Error::AmountMismatch)?;
        Ok(PaymentQuoteResponse {
            request_lookup_id: Some(PaymentIdentifier::PaymentHash(*options.bolt11.payment_hash().as_ref())),
            amount: Amount::new(msat / 1_000, unit.clone()),
            fee: Amount::new(0, unit.clone()),
            state: MeltQuoteState::Unpaid,
            extra_json: None,
            estimated_blocks: None,
            fee_options: None,
        })
    }

    /// cdk comes here only with an invoice that none of its unpaid quotes has. There is nobody to pay.
    async fn make_payment(
        &self,
        unit: &CurrencyUnit,
        options: OutgoingPaymentOptions,
    ) -> Result<MakePaymentResponse, Error> {
        let OutgoingPaymentOptions::Bolt11(options) = options else {
            return Err(Error::UnsupportedPaymentOption);
        };
        Ok(unpaid(PaymentIdentifier::PaymentHash(*options.bolt11.payment_hash().as_ref()), unit.clone()))
    }

    /// No events: cdk asks when a wallet does, and the clock has the answer.
    async fn wait_payment_event(&self) -> Result<Pin<Box<dyn Stream<Item = Event> + Send>>, Error> {
        Ok(Box::pin(stream::pending()))
    }

    fn is_payment_event_stream_active(&self) -> bool {
        false
    }

    fn cancel_payment_event_stream(&self) {}

    async fn check_incoming_payment_status(&self, id: &PaymentIdentifier) -> Result<Vec<WaitPaymentResponse>, Error> {
        let lookup = Lookup::read(id).ok_or(Error::UnknownPaymentState)?;
        if self.runtime.now() < lookup.created.saturating_add(self.pays_itself_after_secs) {
            return Ok(Vec::new());
        }
        Ok(vec![WaitPaymentResponse {
            payment_identifier: id.clone(),
            payment_amount: lookup.amount,
            payment_id: lookup.hash.to_string(),
        }])
    }

    /// A payment that cdk didn't book itself was never made, and never will be.
    async fn check_outgoing_payment(&self, id: &PaymentIdentifier) -> Result<MakePaymentResponse, Error> {
        Ok(unpaid(id.clone(), CurrencyUnit::Sat))
    }
}

fn unpaid(payment_lookup_id: PaymentIdentifier, unit: CurrencyUnit) -> MakePaymentResponse {
    let status = MeltQuoteState::Failed;
    MakePaymentResponse { payment_lookup_id, payment_proof: None, status, total_spent: Amount::new(0, unit) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::str::FromStr;

    use super::*;

    fn play() -> CurrencyUnit {
        CurrencyUnit::custom("play")
    }

    fn backend(seed: &[u8], pays_itself_after_secs: u64) -> PlayMoney {
        PlayMoney::new(
            PlayKey::new(seed),
            pays_itself_after_secs,
            Runtime::anchored(Timestamp::from_secs(1_800_000_000)),
        )
    }

    async fn invoice(backend: &PlayMoney, amount: u64) -> (Bolt11Invoice, PaymentIdentifier) {
        let options = Bolt11IncomingPaymentOptions {
            description: None,
            amount: Amount::new(amount, play()),
            unix_expiry: Some(1_800_000_600),
        };
        let made = backend.create_incoming_payment_request(IncomingPaymentOptions::Bolt11(options)).await.unwrap();
        (Bolt11Invoice::from_str(&made.request).unwrap(), made.request_lookup_id)
    }

    #[tokio::test(start_paused = true)]
    async fn an_invoice_has_a_preimage_that_a_restarted_mint_still_knows() {
        let (invoice, _) = invoice(&backend(b"seed", 0), 21).await;
        assert_eq!(invoice.amount_milli_satoshis(), Some(21_000));
        let preimage = PlayKey::new(b"seed").preimage(&play(), &invoice).unwrap();
        assert_eq!(sha256::Hash::hash(&preimage), *invoice.payment_hash());
        assert_eq!(PlayKey::new(b"other").preimage(&play(), &invoice), None);
        assert_eq!(PlayKey::new(b"seed").preimage(&CurrencyUnit::Sat, &invoice), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_invoice_pays_itself_in_full_and_in_time() {
        let backend = backend(b"seed", 30);
        let (_, id) = invoice(&backend, 21).await;
        assert!(backend.check_incoming_payment_status(&id).await.unwrap().is_empty());
        tokio::time::advance(Duration::from_secs(30)).await;
        let paid = backend.check_incoming_payment_status(&id).await.unwrap();
        assert_eq!(paid.len(), 1);
        assert_eq!(paid[0].payment_amount, Amount::new(21, play()));
        assert_eq!(paid[0].payment_identifier, id);
    }

    #[tokio::test(start_paused = true)]
    async fn foreign_invoices_are_not_paid() {
        let (foreign, _) = invoice(&backend(b"other", 0), 21).await;
        let options = cdk_common::payment::Bolt11OutgoingPaymentOptions {
            bolt11: foreign,
            max_fee_amount: None,
            timeout_secs: None,
            melt_options: None,
            quote_id: cdk_common::QuoteId::new(),
        };
        let options = OutgoingPaymentOptions::Bolt11(Box::new(options));
        assert!(backend(b"seed", 0).get_payment_quote(&play(), options.clone()).await.is_err());
        let made = backend(b"seed", 0).make_payment(&play(), options).await.unwrap();
        assert_eq!(made.status, MeltQuoteState::Failed);
    }

    #[test]
    fn the_key_never_prints() {
        assert_eq!(format!("{:?}", PlayKey::new(b"seed")), "PlayKey(hidden)");
    }
}
