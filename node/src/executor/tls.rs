//! TLS to what is on other machines: services, MCP servers, webhooks.
//!
//! Trusted are the authorities of Mozilla's list, which stands in the binary, and those in the file that `SSL_CERT_FILE` names, for
//! an authority of one's own.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

/// A connection in clear or under TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The environment variable that names a file of further authorities, in PEM.
const AUTHORITIES: &str = "SSL_CERT_FILE";

/// Begins TLS with whoever shows that it is `host`.
pub(super) async fn begin(stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
    static TRUSTED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = match TRUSTED.get() {
        Some(config) => config,
        None => {
            let config = Arc::new(trusting(own_authorities()?)?);
            TRUSTED.get_or_init(|| config)
        }
    };
    begin_with(stream, host, Arc::clone(config)).await
}

async fn begin_with(stream: TcpStream, host: &str, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is no host's name")))?;
    TlsConnector::from(config).connect(name, stream).await
}

fn own_authorities() -> io::Result<Vec<CertificateDer<'static>>> {
    let Some(path) = std::env::var_os(AUTHORITIES) else { return Ok(Vec::new()) };
    let unreadable =
        |error: &dyn std::fmt::Display| io::Error::other(format!("{AUTHORITIES}, {}: {error}", path.display()));
    let read = CertificateDer::pem_file_iter(&path).map_err(|error| unreadable(&error))?;
    read.collect::<Result<_, _>>().map_err(|error| unreadable(&error))
}

fn trusting(own: Vec<CertificateDer<'static>>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // What can't be read as an authority is none.
    roots.add_parsable_certificates(own);
    // Whatever else in this process speaks TLS may have chosen another provider for the whole of it.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, pki_types::PrivateKeyDer},
    };

    use super::*;

    /// Says `hello` to whoever trusts the certificate that is returned, which is that of `service.example`.
    async fn server() -> (std::net::SocketAddr, CertificateDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["service.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], secret).unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
            }
        });
        (address, certificate.der().clone())
    }

    #[tokio::test]
    async fn only_who_shows_a_trusted_certificate_of_the_name_is_spoken_to() {
        let (address, certificate) = server().await;
        let own = Arc::new(trusting(vec![certificate]).unwrap());
        let strangers = Arc::new(trusting(Vec::new()).unwrap());
        let connect = async |host: &str, config: &Arc<ClientConfig>| {
            let mut stream = begin_with(TcpStream::connect(address).await?, host, Arc::clone(config)).await?;
            let mut said = String::new();
            stream.read_to_string(&mut said).await?;
            io::Result::Ok(said)
        };
        assert_eq!(connect("service.example", &own).await.unwrap(), "hello");
        let error = connect("service.example", &strangers).await.unwrap_err().to_string();
        assert!(error.contains("UnknownIssuer"), "{error}");
        let error = connect("other.example", &own).await.unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{error}");
        assert!(connect("127.0.0.1", &own).await.is_err());
        assert!(connect("no name", &own).await.unwrap_err().to_string().contains("no host's name"));
    }
}
