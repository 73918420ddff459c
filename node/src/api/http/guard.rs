//! Who may talk to the control API: programs of the same user, which can read the token file, callers with tokens of their own, and those
//! that work on a task and were given a key for it. Not web pages.
//!
//! The listener is on loopback; every request must carry the token; and its `Host` must be the loopback address that we
//! listen on, so that a page whose name was rebound to 127.0.0.1 (DNS rebinding) is refused before its token is looked
//! at. There are no CORS headers: a page of another origin can't read an answer.
//!
//! A stream that goes on when its caller is revoked ends there.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hyper::body::Body as _;
use sha2::{Digest as _, Sha256};

use super::{Failure, NDJSON, last_line};
use crate::api::{
    access::{Hello, Proof},
    caller::Caller,
    types::ApiError,
};
use crate::{gate::Gate, trade::TaskKeys};

/// Where the server proves that it knows the token, to whoever asks: see [`access`](crate::api::access).
pub(super) const HELLO: &str = "/v1/hello";

/// What a request is held to.
#[derive(Clone)]
pub(super) struct Guard {
    port: u16,
    token: Arc<str>,
    digest: [u8; 32],
    task_keys: TaskKeys,
    gate: Gate,
}

impl Guard {
    /// For a listener at `address` and a bearer token.
    pub(super) fn new(address: SocketAddr, token: &str, task_keys: TaskKeys, gate: Gate) -> Self {
        Self { port: address.port(), token: token.into(), digest: Sha256::digest(token).into(), task_keys, gate }
    }

    /// What shows a client that it talks to us.
    pub(super) fn prove(&self, hello: &Hello) -> Result<Proof, ApiError> {
        let token = match &hello.of {
            None => Some(self.token.to_string()),
            Some(name) => match self.task_keys.named(name) {
                Some(token) => Some(token),
                None => self.gate.known(name)?,
            },
        };
        let token = token.ok_or_else(|| {
            ApiError::unknown_caller("there is no such caller, and no task of that key is being worked on")
        })?;
        let proof = Proof::of(&token, self.port, hello);
        proof.ok_or_else(|| ApiError::misuse("the nonce is none", "give 32 random bytes as hexadecimal digits"))
    }

    /// Who it is that asks; nobody, for a hello.
    fn check(&self, path: &str, headers: &HeaderMap) -> Result<Option<Caller>, (StatusCode, &'static str)> {
        if !self.is_own_host(headers) {
            return Err((StatusCode::FORBIDDEN, "the Host header is not this API's loopback address"));
        }
        if path == HELLO {
            return Ok(None);
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Digests are compared, so the time that it takes says nothing about the token.
        let digest = |token: &[u8]| <[u8; 32]>::from(Sha256::digest(token));
        let Some(bearer) = bearer else { return Err((StatusCode::UNAUTHORIZED, "the token is missing")) };
        if digest(bearer) == self.digest {
            return Ok(Some(Caller::owner()));
        }
        let same = |known: &str, shown: &str| digest(known.as_bytes()) == digest(shown.as_bytes());
        let under = std::str::from_utf8(bearer).ok().and_then(|token| self.task_keys.holder(token, same));
        if let Some(under) = under {
            return Ok(Some(Caller::task(under)));
        }
        // A store that can't be read opens for nobody.
        let named = std::str::from_utf8(bearer).ok().and_then(|token| self.gate.holder(token).ok().flatten());
        let wrong = "the token is wrong, or revoked, or its task is over";
        named.map(Some).ok_or((StatusCode::UNAUTHORIZED, wrong))
    }

    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let Some((name, port)) = host.and_then(|host| host.rsplit_once(':')) else { return false };
        port == self.port.to_string() && ["127.0.0.1", "localhost", "[::1]"].contains(&name)
    }
}

/// Refuses what the guard refuses, before anything of the request is read. Who has the daemon's token speaks for the owner.
pub(super) async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.check(request.uri().path(), request.headers()) {
        Ok(caller) => {
            if let Some(caller) = &caller {
                request.extensions_mut().insert(caller.clone());
            }
            request.extensions_mut().insert(guard.clone());
            let response = next.run(request).await;
            match caller.filter(|caller| caller.scope().is_some()) {
                Some(caller) => until_revoked(response, guard.gate, caller),
                None => response,
            }
        }
        Err((status, reason)) => (status, Failure(ApiError::unknown_caller(reason))).into_response(),
    }
}

/// The same answer; one that comes bit by bit ends when its caller is revoked, with an error: as the last line where it has lines, else
/// by breaking off, so that no part is taken for the whole.
fn until_revoked(response: Response, gate: Gate, caller: Caller) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS || response.body().size_hint().exact().is_some() {
        return response;
    }
    let has_lines = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == NDJSON);
    let revoked = Box::pin(async move { gate.until_revoked(&caller).await });
    response.map(|body| {
        let pieces = stream::unfold(Some((body.into_data_stream(), revoked)), move |open| async move {
            let (mut pieces, mut revoked) = open?;
            tokio::select! {
                biased;
                () = &mut revoked => Some((the_end(has_lines), None)),
                piece = pieces.next() => piece.map(|piece| (piece.map_err(io::Error::other), Some((pieces, revoked)))),
            }
        });
        Body::from_stream(pieces)
    })
}

fn the_end(has_lines: bool) -> io::Result<Bytes> {
    let revoked = || ApiError::unknown_caller("this caller was revoked");
    if has_lines { Ok(last_line(revoked())) } else { Err(io::Error::other(revoked().message)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        gate::Scope,
        runtime::Runtime,
        store::{Store, testing::CrashBackend},
    };

    async fn status(host: Option<&str>, authorization: Option<&str>) -> Option<StatusCode> {
        status_at("/v1/wallet", host, authorization).await
    }

    async fn gate() -> Gate {
        let runtime = Runtime::anchored(guilder_protocol::time::Timestamp::from_secs(1_000_000));
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        Gate::new(store, runtime, crate::events::Events::new(), 100)
    }

    fn guard(gate: Gate) -> Guard {
        Guard::new(([127, 0, 0, 1], 4000).into(), "tulip", TaskKeys::default(), gate)
    }

    fn said(host: Option<&str>, authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::AUTHORIZATION, authorization)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        headers
    }

    async fn status_at(path: &str, host: Option<&str>, authorization: Option<&str>) -> Option<StatusCode> {
        guard(gate().await).check(path, &said(host, authorization)).err().map(|(status, _)| status)
    }

    #[tokio::test]
    async fn the_token_opens_on_loopback_names_only() {
        let right = Some("Bearer tulip");
        assert_eq!(status(Some("127.0.0.1:4000"), right).await, None);
        assert_eq!(status(Some("localhost:4000"), right).await, None);
        for host in [None, Some("evil.example:4000"), Some("127.0.0.1:4001"), Some("127.0.0.1"), Some("[::1].x:4000")] {
            assert_eq!(status(host, right).await, Some(StatusCode::FORBIDDEN), "{host:?}");
        }
        for authorization in [None, Some("Bearer rose"), Some("tulip"), Some("bearer tulip"), Some("Bearer tulip ")] {
            assert_eq!(
                status(Some("127.0.0.1:4000"), authorization).await,
                Some(StatusCode::UNAUTHORIZED),
                "{authorization:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_hello_needs_no_token_and_nothing_else_does_without() {
        assert_eq!(status_at(HELLO, Some("127.0.0.1:4000"), None).await, None);
        assert_eq!(status_at(HELLO, Some("evil.example:4000"), None).await, Some(StatusCode::FORBIDDEN));
        for path in ["/v1/hello/", "/v1/helloo", "/v1/hello/../wallet", "/v1/status"] {
            assert_eq!(status_at(path, Some("127.0.0.1:4000"), None).await, Some(StatusCode::UNAUTHORIZED), "{path}");
        }
    }

    #[tokio::test]
    async fn a_stream_ends_when_its_caller_is_revoked_and_no_other_does() {
        let gate = gate().await;
        let scope = || Scope::hiring(10, "play".parse().unwrap(), vec![]);
        let (caller, other) = (gate.added("ci", scope()).await, gate.added("other", scope()).await);
        let open = |kind: &'static str, caller: &Caller| {
            let pieces = stream::iter([Ok::<_, io::Error>("first\n")]).chain(stream::pending());
            let response = ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response();
            until_revoked(response, gate.clone(), caller.clone()).into_body().into_data_stream()
        };
        let (mut lines, mut bytes) = (open(NDJSON, &caller), open("application/octet-stream", &caller));
        let mut others = open(NDJSON, &other);
        for stream in [&mut lines, &mut bytes, &mut others] {
            assert_eq!(stream.next().await.unwrap().unwrap(), "first\n");
        }
        gate.revoke_caller("ci").await.unwrap();
        let last: serde_json::Value = serde_json::from_slice(&lines.next().await.unwrap().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "not_allowed", "{last}");
        assert!(lines.next().await.is_none());
        assert!(bytes.next().await.unwrap().is_err(), "cut off: no part is the whole");
        assert!(futures::poll!(others.next()).is_pending(), "another's goes on");
        // One of the same name has another token; what was opened under the old one stays shut.
        gate.added("ci", scope()).await;
        let mut late = open(NDJSON, &caller);
        assert!(late.next().await.unwrap().unwrap().starts_with(b"{\"error\""));
    }

    #[tokio::test]
    async fn a_callers_token_opens_until_it_is_revoked_and_speaks_for_that_caller() {
        let gate = gate().await;
        let scope = Scope::hiring(10, "play".parse().unwrap(), vec![]);
        let token = gate.with_token("ci", scope).await.unwrap();
        let guard = guard(gate.clone());
        let host = Some("127.0.0.1:4000");
        let asks = |token: &str| guard.check("/v1/wallet", &said(host, Some(&format!("Bearer {token}"))));
        let caller = asks(&token).unwrap().unwrap();
        assert!(caller.name() == "caller/ci" && !caller.is_owner());
        let (account, secret) = token.split_once('.').unwrap();
        for wrong in [account.to_owned(), format!("{account}."), format!("caller/other.{secret}"), format!("{token}0")]
        {
            assert!(asks(&wrong).is_err(), "{wrong}");
        }
        // The hello shows that the node knows it, and gives nothing away of it.
        let hello = Hello { nonce: hex::encode([1; 32]), of: Some(account.to_owned()) };
        let known = crate::gate::callers::known_of(&token).unwrap();
        assert_eq!(guard.prove(&hello).unwrap(), Proof::of(&known, 4000, &hello).unwrap());
        assert!(guard.prove(&Hello { of: Some("caller/other".into()), ..hello.clone() }).is_err());
        gate.revoke_caller("ci").await.unwrap();
        assert!(asks(&token).is_err() && guard.prove(&hello).is_err(), "revoked");
        let again = gate.with_token("ci", Scope::hiring(10, "play".parse().unwrap(), vec![])).await.unwrap();
        assert!(asks(&token).is_err() && asks(&again).is_ok(), "another of the same name has another token");
    }
}
