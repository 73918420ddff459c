//! Webhooks: who may set a duty off from outside, and how that is checked.
//!
//! ```text
//! request ─▶ a hook of that name? ─▶ body, bounded ─▶ HMAC, in constant time ─▶ its delivery ID known? ── StoreDelivery ─▶ 202
//! ```
//!
//! Nothing of a body is parsed before its signature is checked. What is known by then is the name in the path, the headers, and the
//! bytes. The same delivery again changes nothing; nor does the same signed body under another ID, since GitHub signs no ID: whoever
//! has seen one delivery can't play it again under a new one.
//!
//! Sources: GitHub, "Validating webhook deliveries" (`X-Hub-Signature-256`); Standard Webhooks 1.0, "Signature scheme".

use bitcoin_hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use bytes::Bytes;
use data_encoding::BASE64;
use guilder_protocol::{
    fault::{AtFault, Fault},
    limits::MAX_INLINE,
    time::Timestamp,
    trade::Stored,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use utoipa::ToSchema;

use super::{
    Duties, DutyError,
    file::is_name,
    limits::{HOOK_TOLERANCE_SECS, MAX_HOOK_BODY, MAX_HOOK_HEADER, MAX_HOOKS},
    records::{DELIVERIES, HOOKS, HookKind, HookRecord},
};
use crate::{
    content::{self, ContentError},
    failpoint::Step,
    store::{Key, KeyRange, Reader as _, StoreError},
};

/// Bytes of a secret: as many as HMAC-SHA256 makes use of.
pub(crate) const SECRET_LEN: usize = 32;
/// Before the secret of a Standard Webhook, as its specification writes it.
const STANDARD_PREFIX: &str = "whsec_";

/// A hook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hook {
    /// Its name: the end of its URL's path.
    pub name: String,
    /// How it is signed.
    pub kind: HookKind,
    /// When it was added, in Unix seconds.
    #[schema(value_type = u64)]
    pub added: Timestamp,
    /// Deliveries that were taken.
    pub taken: u64,
    /// When the last was, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub last: Option<Timestamp>,
    /// Secrets that are taken: two while one is replaced.
    pub secrets: u64,
    /// The secret, as its sender wants it: said once, where it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What of a request's head is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// `X-Hub-Signature-256`, or `webhook-signature`.
    pub signature: Option<&'a str>,
    /// `X-GitHub-Delivery`, or `webhook-id`.
    pub delivery: Option<&'a str>,
    /// `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// `webhook-timestamp`.
    pub timestamp: Option<&'a str>,
}

/// Why a webhook isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum HookRefusal {
    /// There is no hook of that name.
    #[error("there is no such hook")]
    Unknown,
    /// A header that it needs isn't there, or is too long.
    #[error("the header {0} is missing, or can't be that")]
    Header(&'static str),
    /// It isn't signed with the hook's secret.
    #[error("the signature isn't that of this hook")]
    Signature,
    /// It was signed too long ago, or ahead of time.
    #[error("it was signed more than five minutes from now")]
    Stale,
    /// It can't be stored.
    #[error(transparent)]
    Duty(#[from] DutyError),
    /// It can't be stored.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl AtFault for HookRefusal {
    fn fault(&self) -> Fault {
        match self {
            Self::Duty(error) => error.fault(),
            Self::Content(error) => error.fault(),
            _ => Fault::Peer,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        None
    }
}

impl HookKind {
    /// The names of the headers that it reads: signature, delivery, event, timestamp.
    pub fn headers(self) -> [&'static str; 4] {
        match self {
            Self::Github => ["x-hub-signature-256", "x-github-delivery", "x-github-event", ""],
            Self::Standard => ["webhook-signature", "webhook-id", "", "webhook-timestamp"],
        }
    }

    /// A secret as its sender wants it.
    fn written(self, secret: &[u8]) -> String {
        match self {
            // Taken as it is, letter for letter.
            Self::Github => String::from_utf8_lossy(secret).into_owned(),
            Self::Standard => standard_secret(secret),
        }
    }
}

/// Checks a webhook's signature, and returns the ID of its delivery.
///
/// # Errors
/// If it isn't signed with one of the secrets, or not in time.
pub fn check(
    kind: HookKind,
    secrets: &[impl AsRef<[u8]>],
    head: &Head<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<String, HookRefusal> {
    let [signature_name, delivery_name, _, timestamp_name] = kind.headers();
    let fits =
        |text: &&str| !text.is_empty() && text.len() <= MAX_HOOK_HEADER && text.bytes().all(|b| b.is_ascii_graphic());
    let delivery = head.delivery.filter(fits).ok_or(HookRefusal::Header(delivery_name))?;
    let signature = head.signature.ok_or(HookRefusal::Header(signature_name))?;
    let (signed, claims): (Vec<&[u8]>, Vec<[u8; 32]>) = match kind {
        HookKind::Github => {
            let claim = signature.strip_prefix("sha256=").and_then(|hex| hex::decode(hex).ok());
            let claim = claim.and_then(|bytes| bytes.try_into().ok());
            (vec![body], vec![claim.ok_or(HookRefusal::Signature)?])
        }
        HookKind::Standard => {
            let timestamp = head.timestamp.filter(fits).ok_or(HookRefusal::Header(timestamp_name))?;
            let at: u64 = timestamp.parse().map_err(|_| HookRefusal::Header(timestamp_name))?;
            if at.abs_diff(now.as_secs()) > HOOK_TOLERANCE_SECS {
                return Err(HookRefusal::Stale);
            }
            // Several, with blanks between; other versions than v1 are somebody else's.
            let claims = signature.split(' ').take(16).filter_map(|one| one.strip_prefix("v1,"));
            let claims = claims.filter_map(|text| BASE64.decode(text.as_bytes()).ok()?.try_into().ok());
            (vec![delivery.as_bytes(), b".", timestamp.as_bytes(), b".", body], claims.collect())
        }
    };
    let mut holds = false;
    for secret in secrets {
        let mac = mac(secret.as_ref(), &signed);
        // Every claim against every secret, so that the time says nothing of which.
        for claim in &claims {
            holds |= equal(&mac, claim);
        }
    }
    if holds { Ok(delivery.to_owned()) } else { Err(HookRefusal::Signature) }
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(secret);
    parts.iter().for_each(|part| engine.input(part));
    Hmac::from_engine(engine).to_byte_array()
}

/// A Standard Webhook's `webhook-signature`: one for each secret that its receiver may go by.
pub(crate) fn sign(secrets: &[impl AsRef<[u8]>], id: &str, timestamp: &str, body: &[u8]) -> String {
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signatures = secrets.iter().map(|secret| format!("v1,{}", BASE64.encode(&mac(secret.as_ref(), &parts))));
    signatures.collect::<Vec<_>>().join(" ")
}

/// A Standard Webhook's secret, as its receiver wants it.
pub(crate) fn standard_secret(secret: &[u8]) -> String {
    format!("{STANDARD_PREFIX}{}", BASE64.encode(secret))
}

/// Whether two codes are the same, in a time that doesn't depend on where they differ.
fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differ = a.iter().zip(b).fold(0_u8, |differ, (a, b)| differ | std::hint::black_box(a ^ b));
    std::hint::black_box(differ) == 0
}

impl Duties {
    /// Adds a hook. Its secret is in what comes back, and nowhere else.
    ///
    /// # Errors
    /// If its name is taken or none, there are too many, or the store fails.
    pub async fn add_hook(&self, name: &str, kind: HookKind) -> Result<Hook, DutyError> {
        if !is_name(name) {
            return Err(DutyError::HookName(name.to_owned()));
        }
        let (secret, now, name) = (self.secret(kind), self.now(), name.to_owned());
        self.0
            .books
            .commit(Step::Other, move |w| {
                if w.contains(HOOKS, Key::of(name.as_str()))? {
                    return Err(DutyError::HookTaken(name));
                }
                if w.range(HOOKS, KeyRange::all(), MAX_HOOKS)?.len() >= MAX_HOOKS {
                    return Err(DutyError::TooManyHooks);
                }
                let secrets = vec![ByteBuf::from(secret.clone())];
                let record = HookRecord { kind, secrets, added: now, taken: 0, last: None };
                w.put(HOOKS, Key::of(name.as_str()), &record)?;
                Ok(Hook { secret: Some(kind.written(&secret)), ..Hook::of(name, &record) })
            })
            .await
    }

    fn secret(&self, kind: HookKind) -> Vec<u8> {
        let secret = self.0.runtime.random::<SECRET_LEN>();
        match kind {
            HookKind::Github => hex::encode(secret).into_bytes(),
            HookKind::Standard => secret.to_vec(),
        }
    }

    /// All hooks, by name.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn hooks(&self) -> Result<Vec<Hook>, DutyError> {
        let rows = self.0.books.read(|r| r.range(HOOKS, KeyRange::all(), usize::MAX))?;
        let hook = |(row, record): (Vec<u8>, HookRecord)| {
            let name = row.strip_suffix(&[0, 1]).unwrap_or(&row);
            Hook::of(String::from_utf8_lossy(name).into_owned(), &record)
        };
        Ok(rows.into_iter().map(hook).collect())
    }

    /// Gives a hook a new secret. The one before is taken beside it until `done` says that its sender has the new one.
    ///
    /// # Errors
    /// If there is none of that name, or the store fails.
    pub async fn rotate_hook(&self, name: &str, done: bool) -> Result<Hook, DutyError> {
        let name = name.to_owned();
        let made = [HookKind::Github, HookKind::Standard].map(|kind| (kind, self.secret(kind)));
        self.0
            .books
            .commit(Step::Other, move |w| {
                let record = w.get(HOOKS, Key::of(name.as_str()))?;
                let mut record = record.ok_or_else(|| DutyError::UnknownHook(name.clone()))?;
                let mut said = None;
                if done {
                    record.secrets.truncate(1);
                } else if let Some((kind, secret)) = made.into_iter().find(|(kind, _)| *kind == record.kind) {
                    record.secrets.insert(0, ByteBuf::from(secret.clone()));
                    record.secrets.truncate(2);
                    said = Some(kind.written(&secret));
                }
                w.put(HOOKS, Key::of(name.as_str()), &record)?;
                Ok(Hook { secret: said, ..Hook::of(name, &record) })
            })
            .await
    }

    /// Removes a hook, with what is remembered of its deliveries.
    ///
    /// # Errors
    /// If there is none of that name, or the store fails.
    pub async fn remove_hook(&self, name: &str) -> Result<(), DutyError> {
        let name = name.to_owned();
        self.0
            .books
            .commit(Step::Other, move |w| {
                if !w.contains(HOOKS, Key::of(name.as_str()))? {
                    return Err(DutyError::UnknownHook(name));
                }
                for (row, delivery) in w.range(DELIVERIES, Key::of(name.as_str()).range(), usize::MAX)? {
                    if let Some(Stored::Content(id)) = delivery.body {
                        content::release(w, id, super::books::holder_of(&name, &row))?;
                    }
                    w.delete(DELIVERIES, row)?;
                }
                Ok(w.delete(HOOKS, Key::of(name.as_str()))?)
            })
            .await
    }

    /// How a hook is signed, if there is one of that name.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn hook_kind(&self, name: &str) -> Result<Option<HookKind>, StoreError> {
        Ok(self.0.books.read(|r| r.get(HOOKS, Key::of(name)))?.map(|record| record.kind))
    }

    /// Takes a webhook: once this returns, it is stored. Says whether it is new.
    ///
    /// # Errors
    /// If it isn't signed as it must be, or the store fails.
    pub async fn receive(&self, name: &str, head: &Head<'_>, body: Bytes) -> Result<bool, HookRefusal> {
        let record = self.0.books.read(|r| r.get(HOOKS, Key::of(name))).map_err(DutyError::from)?;
        let record = record.ok_or(HookRefusal::Unknown)?;
        debug_assert!(body.len() <= MAX_HOOK_BODY);
        let delivery = check(record.kind, &record.secrets, head, &body, self.now())?;
        let event = match record.kind {
            HookKind::Github => head.event.map(ToOwned::to_owned),
            // In the body, which is signed: only now is it looked into.
            HookKind::Standard => event_in(&body),
        };
        let event = event.filter(|event| event.len() <= MAX_HOOK_HEADER);
        let replay = match record.kind {
            // Neither the ID nor the event is signed: what is, is what can't come twice.
            HookKind::Github => head.signature.map(|signature| signature.to_ascii_lowercase()),
            HookKind::Standard => None,
        };
        let stored = if body.len() <= MAX_INLINE {
            (Stored::Inline(ByteBuf::from(body.to_vec())), None)
        } else {
            let pin = self.0.runner.hands.content.put(body).await?;
            (Stored::Content(pin.id()), Some(pin))
        };
        Ok(self.take(name, (delivery, replay), event, stored).await?)
    }
}

/// What a Standard Webhook's payload says that it is of.
fn event_in(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_slice::<Typed>(body).ok().map(|typed| typed.kind)
}

impl Hook {
    fn of(name: String, record: &HookRecord) -> Self {
        let HookRecord { kind, secrets, added, taken, last } = record;
        Self {
            name,
            kind: *kind,
            added: *added,
            taken: *taken,
            last: *last,
            secrets: secrets.len() as u64,
            secret: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_614_265_330);

    /// The example of GitHub's page on validating deliveries.
    #[test]
    fn githubs_own_example_is_taken_and_nothing_near_it() {
        let secret = b"It's a Secret to Everybody".as_slice();
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let head = Head { signature: Some(signature), delivery: Some("72d3162e"), ..Head::default() };
        let checked =
            |secrets: &[&[u8]], head: &Head<'_>, body: &[u8]| check(HookKind::Github, secrets, head, body, NOW);
        assert_eq!(checked(&[secret], &head, b"Hello, World!").unwrap(), "72d3162e");
        assert_eq!(checked(&[b"new", secret], &head, b"Hello, World!").unwrap(), "72d3162e", "while it is replaced");
        assert!(matches!(checked(&[secret], &head, b"Hello, World?"), Err(HookRefusal::Signature)));
        assert!(matches!(checked(&[b"other"], &head, b"Hello, World!"), Err(HookRefusal::Signature)));
        assert!(matches!(checked(&[], &head, b"Hello, World!"), Err(HookRefusal::Signature)));
        for wrong in ["", "sha256=", "sha1=757107ea", &signature[7..], &signature[..70]] {
            let head = Head { signature: Some(wrong), ..head };
            assert!(matches!(checked(&[secret], &head, b"Hello, World!"), Err(HookRefusal::Signature)), "{wrong}");
        }
        for delivery in [None, Some(""), Some("a b"), Some("a\0b"), Some(&*"x".repeat(MAX_HOOK_HEADER + 1))] {
            let head = Head { delivery, ..head };
            assert!(matches!(checked(&[secret], &head, b"Hello, World!"), Err(HookRefusal::Header(_))), "{delivery:?}");
        }
    }

    /// The example of the Standard Webhooks libraries' tests.
    #[test]
    fn the_standards_own_example_is_taken_within_five_minutes() {
        let secret = BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let head = Head {
            signature: Some(
                "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= v2,MzJsNDk4MzI0K2VvdSMjMTEjQEBAQDEyMzMzMzEyMwo= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            delivery: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
            timestamp: Some("1614265330"),
            event: None,
        };
        let checked =
            |head: &Head<'_>, now: u64| check(HookKind::Standard, &[&secret], head, body, Timestamp::from_secs(now));
        for now in [1_614_265_330, 1_614_265_630, 1_614_265_030] {
            assert_eq!(checked(&head, now).unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek");
        }
        for now in [1_614_265_631, 1_614_265_029, 0] {
            assert!(matches!(checked(&head, now), Err(HookRefusal::Stale)));
        }
        let ours = sign(&[b"new".as_slice(), &secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert!(ours.ends_with(" v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), "{ours}");
        let other = Head { delivery: Some("msg_other"), ..head };
        assert!(matches!(checked(&other, 1_614_265_330), Err(HookRefusal::Signature)), "the ID is signed");
        let later = Head { timestamp: Some("1614265331"), ..head };
        assert!(matches!(checked(&later, 1_614_265_330), Err(HookRefusal::Signature)), "the moment is signed");
        for timestamp in [None, Some(""), Some("-1"), Some("now")] {
            let head = Head { timestamp, ..head };
            assert!(matches!(checked(&head, 1_614_265_330), Err(HookRefusal::Header(_))), "{timestamp:?}");
        }
    }

    #[test]
    fn codes_are_equal_only_if_every_byte_is() {
        let code = [7; 32];
        assert!(equal(&code, &code));
        for at in 0..32 {
            let mut other = code;
            other[at] ^= 0x80;
            assert!(!equal(&code, &other));
        }
    }

    #[test]
    fn secrets_stay_out_of_what_is_printed_for_debugging() {
        let secrets = vec![ByteBuf::from(b"hunter2".to_vec())];
        let record = HookRecord { kind: HookKind::Github, secrets, added: NOW, taken: 0, last: None };
        let printed = format!("{record:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("104, 117"), "{printed}");
    }
}
