//! Where a node's secrets come from and where they lie.
//!
//! ```text
//! recovery phrase (BIP-39, 12 words)                   shown once by `guilder init`; identity and free coins come back by it
//!   └─ 64-byte seed (BIP-39, empty passphrase)
//!        ├─ HMAC-SHA512(seed, "guilder/identity")[..32]   Ed25519 seed: peer ID and DID
//!        ├─ HMAC-SHA512(seed, "guilder/wallet")           seed of the wallet's coins (NUT-13), and of tokens sent
//!        ├─ HMAC-SHA512(seed, "guilder/locks")[..32]      root of the secp256k1 keys in locks
//!        └─ HMAC-SHA512(seed, "guilder/mint")             seed of the hosted mint's keysets
//! ```
//!
//! The phrase lies in the [`Home`] folder, in a file that its owner alone may read, sealed under a passphrase if the
//! owner wants one. Nothing here draws random numbers: whoever makes a phrase or seals one brings the entropy.

mod home;
mod phrase;
mod secret;

pub(crate) use self::home::{Existing, check_private, remove_unfinished, write_private};
pub use self::{
    home::{Home, HomeError},
    phrase::{Phrase, PhraseError, Seeds},
    secret::{Passphrase, SealEntropy, SecretError, SecretFile},
};
