//! Mints over HTTP: any public mint, and one on this machine without TLS.
//!
//! Redirects are not followed: money goes to the host that the operator named. A reply is bounded.

use std::{fmt, net::SocketAddr};

use async_trait::async_trait;
use bitreq::RequestExt;
use guilder_protocol::market::MintUrl;

use super::{
    ConnectorError, Exchange, ExchangeError,
    frames::{Method, Reply, Request},
    limits::{MAX_STREAMS, MAX_WEB_REPLY, MELT_TIMEOUT},
    web6,
};

/// One mint's web address.
pub(super) struct Web {
    base: String,
    way: Way,
}

/// How it is reached.
enum Way {
    /// With a few connections kept.
    Client(bitreq::Client),
    /// At this address of this machine, under this path.
    Local6(SocketAddr, String),
}

impl Web {
    /// # Errors
    /// If `mint` is plain HTTP to another machine, or another machine's IPv6 address.
    pub(super) fn new(mint: &MintUrl) -> Result<Self, ConnectorError> {
        let url: url::Url = mint.as_str().parse().map_err(|_| ConnectorError::Url(mint.clone()))?;
        if url.scheme() == "http" && !is_this_machine(&url) {
            return Err(ConnectorError::Plain(mint.clone()));
        }
        if let Some(url::Host::Ipv6(ip)) = url.host() {
            if url.scheme() != "http" {
                return Err(ConnectorError::Ipv6(mint.clone()));
            }
            let address = SocketAddr::from((ip, url.port_or_known_default().unwrap_or(80)));
            let path = url.path().trim_end_matches('/').to_owned();
            return Ok(Self { base: mint.to_string(), way: Way::Local6(address, path) });
        }
        // cdk's client picks the TLS provider for the process when it is made.
        let _ = cdk::http_client::HttpClient::new();
        Ok(Self { base: mint.to_string(), way: Way::Client(bitreq::Client::new(MAX_STREAMS)) })
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
        let reply = match &self.way {
            Way::Client(client) => self.ask(client, request).await?,
            Way::Local6(address, path) => web6::exchange(*address, path, request).await?,
        };
        if (300..400).contains(&reply.status) {
            return Err(ExchangeError::Malformed(REDIRECT.into()));
        }
        Ok(reply)
    }
}

impl Web {
    async fn ask(&self, client: &bitreq::Client, request: Request) -> Result<Reply, ExchangeError> {
        let url = format!("{}{}", self.base, request.path);
        let call = match request.method {
            Method::Get => bitreq::get(url),
            Method::Other(_) => return Err(ExchangeError::Malformed("no method of HTTP".into())),
            Method::Post => bitreq::post(url).with_header("content-type", "application/json").with_body(request.body),
        };
        let call = call.with_max_redirects(0).with_max_body_size(MAX_WEB_REPLY).with_timeout(MELT_TIMEOUT.as_secs());
        let response = call.send_async_with_client(client).await.map_err(diagnose)?;
        let status = u16::try_from(response.status_code).unwrap_or(0);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers one request at `host`; where it is asked for as a mint. `None` if this machine has no such address.
    async fn mint_at(host: &str, answer: &'static str) -> Option<MintUrl> {
        let listener = TcpListener::bind((host, 0)).await.ok()?;
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        Some(format!("http://{address}").parse().unwrap())
    }

    async fn info_of(mint: &MintUrl) -> Result<Reply, ExchangeError> {
        let request = Request { method: Method::Get, path: "/v1/info".into(), body: Vec::new() };
        Web::new(mint).unwrap().exchange(request).await
    }

    #[tokio::test]
    async fn a_mint_is_reached_at_an_ipv4_and_at_an_ipv6_address() {
        for host in ["127.0.0.1", "::1"] {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let Some(mint) = mint_at(host, answer).await else {
                // A machine may have no IPv6.
                assert_eq!(host, "::1");
                continue;
            };
            let reply = info_of(&mint).await.unwrap();
            assert_eq!((reply.status, &reply.body[..]), (200, &b"{}"[..]), "{mint}");
        }
    }

    #[test]
    fn plain_http_goes_to_this_machine_alone() {
        let new = |url: &str| Web::new(&url.parse().unwrap());
        for good in ["http://127.0.0.1:3338", "http://[::1]:3338", "http://localhost", "https://mint.example"] {
            assert!(new(good).is_ok(), "{good}");
        }
        for bad in ["http://[2001:db8::1]:3338", "http://192.0.2.1", "http://mint.example", "http://127.0.0.1.example"]
        {
            assert!(matches!(new(bad), Err(ConnectorError::Plain(_))), "{bad}");
        }
        for bad in ["https://[2001:db8::1]:3338", "https://[::1]"] {
            assert!(matches!(new(bad), Err(ConnectorError::Ipv6(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_mint_that_redirects_is_to_be_named_by_the_address_that_it_redirects_to() {
        for answer in [
            "HTTP/1.1 301 Moved Permanently\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nlocation: /v2/info\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 308 Permanent Redirect\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ] {
            let mint = mint_at("127.0.0.1", answer).await.unwrap();
            let error = info_of(&mint).await.unwrap_err();
            assert!(error.to_string().contains(REDIRECT), "{answer}: {error}");
        }
    }
}
