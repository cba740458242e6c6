//! Mutual TLS between nodes: 1.3 only, and a certificate of the nodes' CA on both sides.
//!
//! A certificate says that its holder is a node, not which one: names in it are not compared, since a node is known by its
//! id, and may be reached by any address. What counts is the chain to the CA, the time, and that the certificate is not
//! restricted to clients or to servers: one that was made for a client opens no peer port.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::files::Contents;
use super::reload::Reloading;
use super::{TlsError, TlsFiles, provider};
use crate::net::entrance::Entrance;
use crate::net::settled::Settled;
use crate::net::{BoxStream, Listener, Net};

/// The name that nodes ask each other for; nobody compares it.
const ANY_NODE: &str = "node.banyan.invalid";

/// What the peer port and the connections to others' use.
pub struct PeerConfigs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl PeerConfigs {
    /// Makes the configurations.
    pub(super) fn build(files: &TlsFiles, contents: &Contents) -> Result<Self, TlsError> {
        let provider = provider();
        let verifier = Arc::new(NodeVerifier::new(files.roots(contents)?, &provider)?);
        let (chain, key) = (files.chain(contents)?, files.key(contents)?);
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Pair)?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(TlsError::Pair)?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Pair)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Pair)?;
        // Connections between nodes are few: each proves anew who is there.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

/// A network on which nodes prove that they are nodes. Nothing is read or sent before both sides have.
pub struct SecuredNet {
    net: Arc<dyn Net>,
    configs: Arc<Reloading<PeerConfigs>>,
}

impl SecuredNet {
    /// Secures `net`.
    pub fn new(net: Arc<dyn Net>, configs: Arc<Reloading<PeerConfigs>>) -> Self {
        Self { net, configs }
    }
}

impl Net for SecuredNet {
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = self.net.bind(address).await?;
            let configs = Arc::clone(&self.configs);
            let entrance = Entrance {
                proxy_protocol: false,
                tls: Some(Arc::new(move || Arc::clone(&configs.current().server))),
            };
            Ok(entrance.guard(listener))
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = self.net.connect(address).await?;
            let name = ServerName::try_from(ANY_NODE).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::clone(&self.configs.current().client));
            let encrypted = connector.connect(name, stream).await?;
            Ok(Box::new(Settled::new(encrypted)) as BoxStream)
        })
    }
}

/// Tells nodes from others, on both sides of a connection.
#[derive(Debug)]
struct NodeVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    as_server: Arc<WebPkiServerVerifier>,
    as_client: Arc<dyn ClientCertVerifier>,
}

impl NodeVerifier {
    fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let (roots, provider) = (Arc::new(roots), Arc::clone(provider));
        let server = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let client = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        Ok(Self {
            as_server: server.build()?,
            as_client: client.build()?,
            roots,
            provider,
        })
    }

    /// Whether the certificate may be shown by a node: as the side that listens, and as the side that connects.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        self.as_client
            .verify_client_cert(certificate, intermediates, now)
            .map(drop)
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(certificate, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.as_server.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.as_server.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.as_server.supported_verify_schemes()
    }
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.as_client.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(certificate, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.as_client.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.as_client.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.as_client.supported_verify_schemes()
    }
}
