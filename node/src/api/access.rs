//! How the two ends of the control API find and know each other: `api.json` in the home folder.
//!
//! The client shows the token, and the server is to show first that it knows it too: after a daemon was killed, its port may
//! be anybody's, and the token and what is sent with it (ecash, a phrase) would be that one's.
//!
//! ```text
//! client ── GET /v1/hello?nonce=… (no token) ──▶ server
//! client ◀── HMAC-SHA256(token, "guilder/api/hello/1" ‖ port ‖ nonce) ── server      on the same connection
//! client ── requests, with the token ──▶
//! ```
//!
//! A caller's token is known to the node by its SHA-256 alone ([`crate::gate::callers`]): the code is under that then, as hexadecimal
//! digits.
//!
//! The port is in it so that an answer can't be fetched from the true server and passed on from another port.

use std::{net::SocketAddr, path::Path};

use bitcoin_hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::keys::{Existing, HomeError, write_private};

/// Where a running node's API is and what opens it: the content of `api.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Loopback address.
    pub address: SocketAddr,
    /// Bearer token, new at every start.
    pub token: String,
    /// The daemon's process.
    pub pid: u32,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("address", &self.address).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Asks the server whether it knows the token.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Hello {
    /// 32 random bytes as hexadecimal digits: an answer to another hello proves nothing.
    pub nonce: String,
    /// Whose token the server is to know: what stands before the dot in that of a task or a caller. Not there: the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// Shows that the server knows the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// The code over port and nonce under the token, as hexadecimal digits.
    pub proof: String,
}

impl Proof {
    /// What the server on `port` answers that knows `token` (of a caller: its digest); `None` if the nonce is none.
    pub fn of(token: &str, port: u16, hello: &Hello) -> Option<Self> {
        let nonce: [u8; 32] = hex::decode(&hello.nonce).ok()?.try_into().ok()?;
        let mut engine = HmacEngine::<sha256::Hash>::new(token.as_bytes());
        engine.input(b"guilder/api/hello/1");
        engine.input(&port.to_be_bytes());
        engine.input(&nonce);
        Some(Self { proof: hex::encode(Hmac::from_engine(engine).to_byte_array()) })
    }
}

/// Puts a daemon's access file in place for the command line to find.
///
/// # Errors
/// If it can't be written.
pub(crate) fn publish(path: &Path, access: &Access) -> Result<(), HomeError> {
    let json = serde_json::to_vec_pretty(access).map_err(|error| HomeError::io("write", path, error.into()))?;
    write_private(path, &json, Existing::Replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_token_one_port_and_one_nonce() {
        let hello = |byte| Hello { nonce: hex::encode([byte; 32]), of: None };
        let proof = Proof::of("tulip", 4_000, &hello(1));
        assert!(proof.is_some());
        assert_eq!(proof, Proof::of("tulip", 4_000, &hello(1)));
        for other in [
            Proof::of("rose", 4_000, &hello(1)),
            Proof::of("tulip", 4_001, &hello(1)),
            Proof::of("tulip", 4_000, &hello(2)),
        ] {
            assert!(other.is_some() && other != proof);
        }
        for nonce in ["", "00", "zz"] {
            assert_eq!(Proof::of("tulip", 4_000, &Hello { nonce: nonce.into(), of: None }), None);
        }
    }

    #[test]
    fn the_token_never_prints() {
        let access = Access { address: ([127, 0, 0, 1], 80).into(), token: "s3cret".into(), pid: 1 };
        assert!(!format!("{access:?}").contains("s3cret"));
    }
}
