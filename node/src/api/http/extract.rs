//! What a request brings, read into types. What can't be read is refused in the shape of all other errors.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::Failure;
use crate::api::types::ApiError;

/// The terms after the `?`.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let terms = axum::extract::Query::try_from_uri(&parts.uri);
        terms.map(|axum::extract::Query(terms)| Self(terms)).map_err(|rejection| unreadable(&rejection.body_text()))
    }
}

/// The part of the path that varies.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let part = axum::extract::Path::from_request_parts(parts, state).await;
        part.map(|axum::extract::Path(part)| Self(part)).map_err(|rejection| unreadable(&rejection.body_text()))
    }
}

/// A body of JSON.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = axum::Json::from_request(request, state).await;
        body.map(|axum::Json(body)| Self(body)).map_err(|rejection| unreadable(&rejection.body_text()))
    }
}

fn unreadable(why: &str) -> Failure {
    let hint = "docs/openapi.json describes what goes in and out; a node serves it at /v1/openapi.json";
    Failure(ApiError::misuse(format!("the request can't be read: {why}"), hint))
}
