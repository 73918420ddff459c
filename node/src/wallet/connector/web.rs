//! Mints over HTTP: any public mint, and one on this machine without TLS.
//!
//! Redirects are not followed: money goes to the host that the operator named. A reply is bounded.

use std::fmt;

use async_trait::async_trait;
use bitreq::RequestExt;
use guilder_protocol::market::MintUrl;

use super::{
    ConnectorError, Exchange, ExchangeError,
    frames::{Method, Reply, Request},
    limits::{MAX_STREAMS, MAX_WEB_REPLY, MELT_TIMEOUT},
};

/// One mint's web address, with a few connections kept.
pub(super) struct Web {
    base: String,
    client: bitreq::Client,
}

impl Web {
    /// # Errors
    /// If `mint` is plain HTTP to another machine.
    pub(super) fn new(mint: &MintUrl) -> Result<Self, ConnectorError> {
        let url: url::Url = mint.as_str().parse().map_err(|_| ConnectorError::Url(mint.clone()))?;
        if url.scheme() == "http" && !is_this_machine(&url) {
            return Err(ConnectorError::Plain(mint.clone()));
        }
        // cdk's client picks the TLS provider for the process when it is made.
        let _ = cdk::http_client::HttpClient::new();
        Ok(Self { base: mint.to_string(), client: bitreq::Client::new(MAX_STREAMS) })
    }
}

fn is_this_machine(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[async_trait]
impl Exchange for Web {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let url = format!("{}{}", self.base, request.path);
        let call = match request.method {
            Method::Get => bitreq::get(url),
            Method::Other(_) => return Err(ExchangeError::Malformed("no method of HTTP".into())),
            Method::Post => bitreq::post(url).with_header("content-type", "application/json").with_body(request.body),
        };
        let call = call.with_max_redirects(0).with_max_body_size(MAX_WEB_REPLY).with_timeout(MELT_TIMEOUT.as_secs());
        let response = call.send_async_with_client(&self.client).await.map_err(diagnose)?;
        let status = u16::try_from(response.status_code).unwrap_or(0);
        if (300..400).contains(&status) {
            return Err(ExchangeError::Malformed(REDIRECT.into()));
        }
        Ok(Reply { status, body: response.into_bytes() })
    }
}

const REDIRECT: &str = "a redirect; name the mint by the address that it redirects to";

fn diagnose(error: bitreq::Error) -> ExchangeError {
    match error {
        bitreq::Error::TooManyRedirections
        | bitreq::Error::InfiniteRedirectionLoop
        | bitreq::Error::RedirectLocationMissing => ExchangeError::Malformed(REDIRECT.into()),
        bitreq::Error::BodyOverflow | bitreq::Error::HeadersOverflow => {
            ExchangeError::Malformed(format!("longer than {MAX_WEB_REPLY} bytes"))
        }
        bitreq::Error::AddressNotFound => ExchangeError::Unreachable(error.to_string()),
        bitreq::Error::IoError(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            ExchangeError::Unreachable(io.to_string())
        }
        other => ExchangeError::Lost(other.to_string()),
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web({})", self.base)
    }
}
