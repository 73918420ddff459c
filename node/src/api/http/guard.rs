//! Who may talk to the control API: programs of the same user, which can read the token file. Not web pages.
//!
//! The listener is on loopback; every request must carry the token; and its `Host` must be the loopback address that we
//! listen on, so that a page whose name was rebound to 127.0.0.1 (DNS rebinding) is refused before its token is looked
//! at. There are no CORS headers: a page of another origin can't read an answer.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

use super::Failure;
use crate::api::{caller::Caller, types::ApiError};

/// What a request is held to.
#[derive(Clone)]
pub(super) struct Guard {
    port: u16,
    token: [u8; 32],
}

impl Guard {
    /// For a listener at `address` and a bearer token.
    pub(super) fn new(address: SocketAddr, token: &str) -> Self {
        Self { port: address.port(), token: Sha256::digest(token).into() }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if !self.is_own_host(headers) {
            return Err((StatusCode::FORBIDDEN, "the Host header is not this API's loopback address"));
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Digests are compared, so the time that it takes says nothing about the token.
        if bearer.is_none_or(|token| <[u8; 32]>::from(Sha256::digest(token)) != self.token) {
            return Err((StatusCode::UNAUTHORIZED, "the token is missing or wrong"));
        }
        Ok(())
    }

    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let Some((name, port)) = host.and_then(|host| host.rsplit_once(':')) else { return false };
        port == self.port.to_string() && ["127.0.0.1", "localhost", "[::1]"].contains(&name)
    }
}

/// Refuses what the guard refuses, before anything of the request is read. Who has the token speaks for the owner.
pub(super) async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.check(request.headers()) {
        Ok(()) => {
            request.extensions_mut().insert(Caller::owner());
            next.run(request).await
        }
        Err((status, reason)) => (status, Failure(ApiError::unknown_caller(reason))).into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(host: Option<&str>, authorization: Option<&str>) -> Option<StatusCode> {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::AUTHORIZATION, authorization)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        Guard::new(([127, 0, 0, 1], 4000).into(), "tulip").check(&headers).err().map(|(status, _)| status)
    }

    #[test]
    fn the_token_opens_on_loopback_names_only() {
        let right = Some("Bearer tulip");
        assert_eq!(status(Some("127.0.0.1:4000"), right), None);
        assert_eq!(status(Some("localhost:4000"), right), None);
        for host in [None, Some("evil.example:4000"), Some("127.0.0.1:4001"), Some("127.0.0.1"), Some("[::1].x:4000")] {
            assert_eq!(status(host, right), Some(StatusCode::FORBIDDEN), "{host:?}");
        }
        for authorization in [None, Some("Bearer rose"), Some("tulip"), Some("bearer tulip"), Some("Bearer tulip ")] {
            assert_eq!(
                status(Some("127.0.0.1:4000"), authorization),
                Some(StatusCode::UNAUTHORIZED),
                "{authorization:?}"
            );
        }
    }
}
