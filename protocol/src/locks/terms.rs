//! The one text of a prepaid secret.

use serde::{Deserialize, Serialize};

use crate::{bytes::LockKey, time::Timestamp};

/// What makes a secret unique; drawn by the payer, never used twice.
pub type Nonce = [u8; 32];

const BEFORE_NONCE: &str = r#"["P2PK",{"nonce":""#;
const NONCE_HEX: usize = 64;

/// Who may take the money, and when: everything in a prepaid secret but its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepaidTerms {
    /// From this moment on, by the mint's clock, the refund key may take it too.
    pub locktime: Timestamp,
    /// The seller's key.
    pub payee: LockKey,
    /// The buyer's key after the locktime.
    pub refund: LockKey,
}

impl PrepaidTerms {
    /// The secret of a proof under these terms: a NUT-11 P2PK secret, always these bytes.
    pub fn secret(&self, nonce: &Nonce) -> String {
        let Self { locktime, payee, refund } = self;
        format!(
            r#"{BEFORE_NONCE}{}","data":"{payee}","tags":[["locktime","{}"],["refund","{refund}"],["sigflag","SIG_INPUTS"]]}}]"#,
            hex::encode(nonce),
            locktime.as_secs(),
        )
    }

    /// The nonce of `secret` if it is a secret under these terms, byte for byte.
    pub fn nonce_of(&self, secret: &str) -> Option<Nonce> {
        let digits = secret.strip_prefix(BEFORE_NONCE)?.get(..NONCE_HEX)?;
        let mut nonce = [0; 32];
        hex::decode_to_slice(digits, &mut nonce).ok()?;
        (self.secret(&nonce) == secret).then_some(nonce)
    }
}
