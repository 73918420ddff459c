//! cdk's own client over any [`Exchange`], to hold the hosted mint against a wallet that we didn't write.

use std::sync::Arc;

use async_trait::async_trait;
use cdk::{
    http_client::{HttpError, RawResponse},
    nuts::AuthToken,
    wallet::{BaseHttpClient, HttpTransport},
};
use guilder_protocol::market::MintUrl;
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use crate::wallet::connector::{
    Exchange, ExchangeError,
    frames::{Method, Request},
};

/// cdk's client, as its own wallets use it.
pub(super) type DynConnector = Arc<dyn cdk::wallet::MintConnector + Send + Sync>;

/// cdk's client of the mint at `url`, through `exchange`.
pub(super) fn over(url: &MintUrl, exchange: Arc<dyn Exchange>) -> DynConnector {
    let mint: cdk::mint_url::MintUrl = url.as_str().parse().unwrap();
    let whole: Url = mint.to_string().parse().unwrap();
    let wire = Wire { exchange, prefix: whole.path().trim_end_matches('/').to_owned() };
    Arc::new(BaseHttpClient::with_transport(mint, wire, None))
}

/// cdk's transport seam. It hands us whole URLs; we send the path below the mint's own.
#[derive(Clone, Debug)]
struct Wire {
    exchange: Arc<dyn Exchange>,
    prefix: String,
}

impl Wire {
    async fn send(&self, method: Method, url: &Url, body: Vec<u8>) -> Result<RawResponse, HttpError> {
        let path = url.path().strip_prefix(self.prefix.as_str()).unwrap_or_else(|| url.path()).to_owned();
        let reply = self.exchange.exchange(Request { method, path, body }).await.map_err(|error| match error {
            ExchangeError::Unreachable(cause) | ExchangeError::Lost(cause) => HttpError::Connection(cause),
            ExchangeError::Malformed(what) => HttpError::Other(what),
        })?;
        Ok(RawResponse::new(reply.status, reply.body))
    }
}

fn read<R: DeserializeOwned>(response: RawResponse) -> Result<R, HttpError> {
    response.json_or_status_error()
}

#[async_trait]
impl HttpTransport for Wire {
    fn with_proxy(&mut self, _: Url, _: Option<&str>, _: bool) -> Result<(), HttpError> {
        Err(HttpError::Proxy("connectors take no proxy".into()))
    }

    async fn http_get<R: DeserializeOwned>(&self, url: Url, auth: Option<AuthToken>) -> Result<R, HttpError> {
        read(self.http_get_raw(url, auth).await?)
    }

    async fn http_get_raw(&self, url: Url, _: Option<AuthToken>) -> Result<RawResponse, HttpError> {
        self.send(Method::Get, &url, Vec::new()).await
    }

    async fn http_post<P, R>(&self, url: Url, _: Option<AuthToken>, payload: &P) -> Result<R, HttpError>
    where
        P: Serialize + Send + Sync,
        R: DeserializeOwned,
    {
        let body = serde_json::to_vec(payload)?;
        read(self.send(Method::Post, &url, body).await?)
    }

    async fn http_post_form_raw<P>(&self, _: Url, _: Option<AuthToken>, _: &P) -> Result<RawResponse, HttpError>
    where
        P: Serialize + Send + Sync,
    {
        Err(HttpError::Other("connectors post JSON only".into()))
    }
}
