//! The one text of a secret.

/// What makes a secret unique; drawn by the payer, never used twice.
pub type Nonce = [u8; 32];

const NONCE_HEX: usize = 64;

/// Who may take locked money, and when: everything in a secret but its nonce. Each settlement mode has its own.
pub trait SpendingConditions {
    /// What every secret of this kind begins with, up to its nonce in hex.
    const BEFORE_NONCE: &'static str;

    /// The secret of a proof under these conditions: a NUT-10 secret, always these bytes.
    fn secret(&self, nonce: &Nonce) -> String;

    /// The nonce of `secret` if it is a secret under these conditions, byte for byte.
    fn nonce_of(&self, secret: &str) -> Option<Nonce> {
        let digits = secret.strip_prefix(Self::BEFORE_NONCE)?.get(..NONCE_HEX)?;
        let mut nonce = [0; 32];
        hex::decode_to_slice(digits, &mut nonce).ok()?;
        (self.secret(&nonce) == secret).then_some(nonce)
    }
}
