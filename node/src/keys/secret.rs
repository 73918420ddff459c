//! The file that the recovery phrase lies in: in clear, or sealed under a passphrase (argon2id, XChaCha20-Poly1305).
//!
//! Beside it stands in clear whose phrase it is, the peer ID: so that who the node is can be told without the passphrase, and
//! that no other phrase takes the place of this one. It is bound into the seal, and checked against the phrase when that is had.
//!
//! A file that there is gives way to another in one step only ([`SecretFile::replace`]): opened with its own
//! passphrase first, then written beside it, then given the name. Whatever kills the process, the name leads to the one or to the other, whole.

use std::{fmt, io, path::Path};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce, aead::Aead, aead::Payload};
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    home::{self, HomeError},
    phrase::{Phrase, PhraseError},
};

/// argon2id's memory, in KiB: 64 MiB make each guess cost about a tenth of a second.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// A file that asks for more memory than this is damaged or hostile.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;
/// Bound into the seal together with the peer ID, so that one of another version, purpose or node doesn't open.
const CONTEXT: &str = "guilder secret file 1 of ";
const VERSION: u32 = 1;

/// What opens a sealed secret file. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The first line of what was typed or read, without its ending.
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// The text itself: to show it to the node, over the API.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(hidden)")
    }
}

/// Random bytes for one seal.
#[derive(Clone, Copy, Debug)]
pub struct SealEntropy {
    /// argon2id's salt.
    pub salt: [u8; 16],
    /// The cipher's nonce.
    pub nonce: [u8; 24],
}

/// The secret file as it stands on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    version: u32,
    /// Whose phrase it is.
    peer_id: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    Phrase(Words),
    Sealed(Sealed),
}

/// Wiped when dropped, like [`Zeroizing`], which knows no serde.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct Words(String);

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    #[serde(with = "hexadecimal")]
    salt: [u8; 16],
    cipher: String,
    #[serde(with = "hexadecimal")]
    nonce: [u8; 24],
    #[serde(with = "hexadecimal")]
    data: Vec<u8>,
}

impl SecretFile {
    /// The phrase in clear, guarded by the file's permissions alone.
    pub fn clear(phrase: &Phrase) -> Self {
        let peer_id = phrase.seeds().key().id().peer_id();
        Self { version: VERSION, peer_id, content: Content::Phrase(Words(phrase.reveal().to_owned())) }
    }

    /// The phrase sealed under a passphrase. Takes about a tenth of a second and 64 MiB.
    ///
    /// # Errors
    /// If there isn't enough memory.
    pub fn seal(phrase: &Phrase, passphrase: &Passphrase, entropy: SealEntropy) -> Result<Self, SecretError> {
        let mut sealed = Sealed {
            kdf: "argon2id".into(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: entropy.salt,
            cipher: "xchacha20poly1305".into(),
            nonce: entropy.nonce,
            data: Vec::new(),
        };
        let peer_id = phrase.seeds().key().id().peer_id();
        let context = format!("{CONTEXT}{peer_id}");
        let payload = Payload { msg: phrase.reveal().as_bytes(), aad: context.as_bytes() };
        let nonce = XNonce::from(sealed.nonce);
        sealed.data = sealed.cipher(passphrase)?.encrypt(&nonce, payload).map_err(|_| SecretError::Damaged)?;
        Ok(Self { version: VERSION, peer_id, content: Content::Sealed(sealed) })
    }

    /// Whether a passphrase is needed.
    pub fn is_sealed(&self) -> bool {
        matches!(self.content, Content::Sealed(_))
    }

    /// The node whose phrase it is, as the file says.
    ///
    /// # Errors
    /// If that is no peer ID.
    pub fn agent(&self) -> Result<AgentId, SecretError> {
        AgentId::from_peer_id(&self.peer_id).map_err(|_| SecretError::Damaged)
    }

    /// The phrase.
    ///
    /// # Errors
    /// If the file is sealed and the passphrase is missing or wrong, or if what it holds is no phrase, or another node's.
    pub fn open(&self, passphrase: Option<&Passphrase>) -> Result<Phrase, SecretError> {
        let phrase = match &self.content {
            Content::Phrase(words) => Phrase::parse(&words.0)?,
            Content::Sealed(sealed) => {
                let passphrase = passphrase.ok_or(SecretError::PassphraseMissing)?;
                let context = format!("{CONTEXT}{}", self.peer_id);
                let payload = Payload { msg: &sealed.data, aad: context.as_bytes() };
                let opened = sealed.cipher(passphrase)?.decrypt(&XNonce::from(sealed.nonce), payload);
                let words = Zeroizing::new(opened.map_err(|_| SecretError::PassphraseWrong)?);
                Phrase::parse(std::str::from_utf8(&words).map_err(|_| SecretError::Damaged)?)?
            }
        };
        if phrase.seeds().key().id().peer_id() == self.peer_id { Ok(phrase) } else { Err(SecretError::Damaged) }
    }

    /// Writes a new secret file that its owner alone may read.
    ///
    /// # Errors
    /// If there is one already, or the disk fails.
    pub fn create(&self, path: &Path) -> Result<(), SecretError> {
        Ok(home::write_private(path, &self.json()?, home::Existing::Keep)?)
    }

    /// Puts this secret file in the place of the one at `path`, in one step, if `passphrase` opens it: where `path` is a link, of
    /// the file that it leads to, and the link stays. What a killed process left beside either is removed: it may hold in clear
    /// what is sealed by now.
    ///
    /// # Errors
    /// If there is none, `passphrase` doesn't open it, or the disk fails; then the one that was there still is.
    pub fn replace(&self, path: &Path, passphrase: Option<&Passphrase>) -> Result<(), SecretError> {
        home::remove_unfinished(path)?;
        let path = &path.canonicalize().map_err(|cause| HomeError::io("follow", path, cause))?;
        home::remove_unfinished(path)?;
        let json = self.json()?;
        let opens = |written: &[u8]| Self::parse(written).is_ok_and(|file| file.open(passphrase).is_ok());
        if !opens(&json) {
            return Err(SecretError::Damaged);
        }
        Ok(home::write_private(path, &json, home::Existing::Replace)?)
    }

    fn json(&self) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        Ok(Zeroizing::new(serde_json::to_vec_pretty(self).map_err(|_| SecretError::Damaged)?))
    }

    fn parse(json: &[u8]) -> Result<Self, SecretError> {
        let file: Self = serde_json::from_slice(json).map_err(|_| SecretError::Damaged)?;
        if file.version == VERSION { Ok(file) } else { Err(SecretError::Version(file.version)) }
    }

    /// Reads a secret file.
    ///
    /// # Errors
    /// If it isn't there, others may read it, or it is none.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        home::check_private(path)?;
        let json = std::fs::read(path).map(Zeroizing::new);
        Self::parse(&json.map_err(|cause| HomeError::io("read", path, cause))?)
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile(hidden, sealed: {})", self.is_sealed())
    }
}

impl Sealed {
    fn cipher(&self, passphrase: &Passphrase) -> Result<XChaCha20Poly1305, SecretError> {
        let known = self.kdf == "argon2id" && self.cipher == "xchacha20poly1305";
        if !known || self.memory_kib > MAX_MEMORY_KIB || self.passes > MAX_PASSES {
            return Err(SecretError::Damaged);
        }
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|_| SecretError::Damaged)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.0.as_bytes(), &self.salt, &mut key[..])
            .map_err(|_| SecretError::Memory)?;
        Ok(XChaCha20Poly1305::new((&*key).into()))
    }
}

/// Bytes as hexadecimal text.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let bytes = hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        T::try_from(bytes).map_err(|_| D::Error::custom("wrong length"))
    }
}

/// Why the phrase couldn't be stored or had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file or its folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Not what a secret file holds.
    #[error("the secret file is damaged")]
    Damaged,
    /// Made by a later Guilder.
    #[error("the secret file has version {0}, this Guilder reads version {VERSION}")]
    Version(u32),
    /// What it holds is no phrase.
    #[error(transparent)]
    Phrase(#[from] PhraseError),
    /// Sealed, and no passphrase was given.
    #[error("the secret file is sealed with a passphrase")]
    PassphraseMissing,
    /// Sealed under another passphrase.
    #[error("the passphrase doesn't open the secret file")]
    PassphraseWrong,
    /// Not enough memory for argon2id.
    #[error("there isn't enough memory to check the passphrase")]
    Memory,
}

impl AtFault for SecretError {
    fn fault(&self) -> Fault {
        match self {
            Self::Home(error) => error.fault(),
            Self::Phrase(error) => error.fault(),
            Self::Damaged | Self::Memory => Fault::Environment,
            Self::Version(_) | Self::PassphraseMissing | Self::PassphraseWrong => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Home(error) => error.hint(),
            Self::Phrase(error) => error.hint(),
            Self::Damaged => Some(
                "with the recovery phrase, move secret.json out of the way and make it anew: `guilder init --restore`",
            ),
            Self::Version(_) => Some("upgrade Guilder"),
            Self::PassphraseMissing => {
                Some("set GUILDER_PASSPHRASE or give --passphrase-file FILE; at a terminal you are asked")
            }
            Self::PassphraseWrong => Some(
                "if it is lost, give the recovery phrase, and a new passphrase if you like: `guilder init --restore`",
            ),
            Self::Memory => Some("64 MiB are needed for a moment"),
        }
    }
}

impl From<SecretError> for io::Error {
    fn from(error: SecretError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ENTROPY: SealEntropy = SealEntropy { salt: [1; 16], nonce: [2; 24] };

    fn phrase() -> Phrase {
        Phrase::from_entropy(&[9; 16])
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    #[test]
    fn a_sealed_file_opens_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        SecretFile::seal(&phrase(), &passphrase("tulip\n"), ENTROPY).unwrap().create(&path).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(phrase().reveal()));
        let file = SecretFile::load(&path).unwrap();
        assert_eq!(file.open(Some(&passphrase("tulip"))).unwrap().reveal(), phrase().reveal());
        assert!(matches!(file.open(Some(&passphrase("rose"))), Err(SecretError::PassphraseWrong)));
        assert!(matches!(file.open(None), Err(SecretError::PassphraseMissing)));
    }

    #[test]
    fn a_clear_file_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        SecretFile::clear(&phrase()).create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SecretFile::load(&path).unwrap().open(None).unwrap().reveal(), phrase().reveal());

        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = SecretFile::load(&path).unwrap_err();
            assert!(matches!(error, SecretError::Home(HomeError::Exposed { .. })), "{error}");
            assert!(error.hint().unwrap().contains("chmod 600"));
        }
    }

    #[test]
    fn a_secret_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        SecretFile::clear(&phrase()).create(&path).unwrap();
        let again = SecretFile::clear(&Phrase::from_entropy(&[1; 16])).create(&path);
        assert!(matches!(again, Err(SecretError::Home(HomeError::Exists(_)))));
    }

    #[test]
    fn a_secret_file_gives_way_to_another_in_one_step_and_nothing_of_a_killed_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        let sealed = SecretFile::seal(&phrase(), &passphrase("tulip"), ENTROPY).unwrap();
        SecretFile::clear(&phrase()).create(&path).unwrap();
        // Killed at each step: before, while and after the other file was written, before it had the name.
        let json = sealed.json().unwrap();
        for written in [0, json.len() / 2, json.len()] {
            let unfinished = dir.path().join("secret.json.1.new");
            std::fs::write(&unfinished, &json[..written]).unwrap();
            assert_eq!(SecretFile::load(&path).unwrap().open(None).unwrap().reveal(), phrase().reveal());
        }
        sealed.replace(&path, Some(&passphrase("tulip"))).unwrap();
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret.json"]);
        let opened = SecretFile::load(&path).unwrap().open(Some(&passphrase("tulip"))).unwrap();
        assert_eq!(opened.reveal(), phrase().reveal());
        // One that its owner couldn't open takes nobody's place.
        let other = SecretFile::seal(&phrase(), &passphrase("rose"), ENTROPY).unwrap();
        assert!(matches!(other.replace(&path, Some(&passphrase("tulip"))), Err(SecretError::Damaged)));
        SecretFile::load(&path).unwrap().open(Some(&passphrase("tulip"))).unwrap();
    }

    #[test]
    fn given_a_link_the_file_that_it_leads_to_gives_way_and_no_clear_phrase_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (home, vault) = (dir.path().join("home"), dir.path().join("vault"));
        for folder in [&home, &vault] {
            std::fs::create_dir(folder).unwrap();
        }
        let (link, target) = (home.join("secret.json"), vault.join("guilder.json"));
        SecretFile::clear(&phrase()).create(&target).unwrap();
        std::os::unix::fs::symlink("../vault/guilder.json", &link).unwrap();
        let unfinished = vault.join("guilder.json.1.new");
        std::fs::write(&unfinished, phrase().reveal()).unwrap();

        let sealed = SecretFile::seal(&phrase(), &passphrase("tulip"), ENTROPY).unwrap();
        sealed.replace(&link, Some(&passphrase("tulip"))).unwrap();
        assert!(link.is_symlink() && SecretFile::load(&link).unwrap().is_sealed());
        assert!(!std::fs::read_to_string(&target).unwrap().contains(phrase().reveal()) && !unfinished.exists());
        assert_eq!(std::fs::read_dir(&home).unwrap().count() + std::fs::read_dir(&vault).unwrap().count(), 2);
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_what_was_read() {
        for text in ["tulip", "tulip\n", "tulip\r\n", "tulip\n\n", "tulip\r\nof the node in the cellar\n"] {
            assert!(passphrase(text) == passphrase("tulip"), "{text:?}");
        }
        assert!(passphrase(" tulip ") != passphrase("tulip"), "blanks are part of it");
        assert!(passphrase("\ntulip").is_empty() && passphrase("").is_empty());
    }

    #[test]
    fn a_secret_file_says_whose_it_is_and_holds_no_other_s_phrase() {
        let ours = SecretFile::clear(&phrase());
        assert_eq!(ours.agent().unwrap(), phrase().seeds().key().id());
        let other = SecretFile::clear(&Phrase::from_entropy(&[1; 16]));
        let forged = SecretFile { peer_id: other.peer_id.clone(), ..ours };
        assert!(matches!(forged.open(None), Err(SecretError::Damaged)));
        let sealed = SecretFile::seal(&phrase(), &passphrase("tulip"), ENTROPY).unwrap();
        let forged = SecretFile { peer_id: other.peer_id, ..sealed };
        assert!(forged.open(Some(&passphrase("tulip"))).is_err());
    }

    #[test]
    fn a_hostile_file_can_t_ask_for_all_memory() {
        let mut file = SecretFile::seal(&phrase(), &passphrase("tulip"), ENTROPY).unwrap();
        let Content::Sealed(sealed) = &mut file.content else { panic!("not sealed") };
        sealed.memory_kib = u32::MAX;
        assert!(matches!(file.open(Some(&passphrase("tulip"))), Err(SecretError::Damaged)));
    }

    #[test]
    fn secrets_never_print() {
        let shown = format!("{:?} {:?}", SecretFile::clear(&phrase()), passphrase("tulip"));
        assert_eq!(shown, "SecretFile(hidden, sealed: false) Passphrase(hidden)");
    }
}
