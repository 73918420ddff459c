//! What a request brings, read into types. What can't be read is refused in the shape of all other errors.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{Extensions, Uri, request::Parts, uri::InvalidUri},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::api::{Api, caller::Caller, types::ApiError};

/// The terms after the `?`.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let caller = who_asks(&parts.extensions);
        let named = with_names(api, &caller, parts.uri.query().unwrap_or_default()).await?;
        let terms = axum::extract::Query::try_from_uri(named.as_ref().unwrap_or(&parts.uri));
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

impl<T: DeserializeOwned> FromRequest<Api> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let caller = who_asks(request.extensions());
        let body = axum::Json::<Value>::from_request(request, api).await;
        let axum::Json(body) = body.map_err(|rejection| unreadable(&rejection.body_text()))?;
        let body = T::deserialize(api.without_aliases(&caller, body).await?);
        body.map(Self).map_err(|error| unreadable(&error.to_string()))
    }
}

/// Whom the guard admitted; nobody, who may do nothing, where it asks for no token.
fn who_asks(extensions: &Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_else(Caller::nobody)
}

/// A query with what the aliases in it stand for; none if there are none in it.
async fn with_names(api: &Api, caller: &Caller, query: &str) -> Result<Option<Uri>, Failure> {
    // `@`, as it is or escaped.
    if !query.contains(['@', '%']) {
        return Ok(None);
    }
    let Ok(terms) = serde_urlencoded::from_str::<Vec<(String, String)>>(query) else { return Ok(None) };
    let mut named = Vec::with_capacity(terms.len());
    for (name, value) in terms {
        let term = Value::Object([(name, Value::String(value))].into_iter().collect());
        let Value::Object(term) = api.without_aliases(caller, term).await? else { continue };
        named.extend(term.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))));
    }
    let query = serde_urlencoded::to_string(named).map_err(|error| unreadable(&error.to_string()))?;
    Ok(Some(format!("/?{query}").parse().map_err(|error: InvalidUri| unreadable(&error.to_string()))?))
}

fn unreadable(why: &str) -> Failure {
    let hint = "docs/openapi.json describes what goes in and out; a node serves it at /v1/openapi.json";
    Failure(ApiError::misuse(format!("the request can't be read: {why}"), hint))
}
