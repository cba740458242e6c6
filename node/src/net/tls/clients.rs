//! TLS of the listeners for clients: 1.2 and 1.3, one certificate for all of them, certificates of clients if asked for.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::files::Contents;
use super::{TlsError, TlsFiles, provider};

/// Whether clients show a certificate. One that is shown must be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    Off,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// What the listeners use.
pub struct ClientConfigs {
    /// `mqtts`
    pub mqtt: Arc<ServerConfig>,
    /// `https`
    pub http: Arc<ServerConfig>,
}

impl ClientConfigs {
    /// Makes the configurations.
    pub(super) fn build(
        files: &TlsFiles,
        contents: &Contents,
        certificates: ClientCertificates,
    ) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?;
        let roots = Arc::new(files.roots(contents)?);
        let verifier = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
        let builder = match certificates {
            ClientCertificates::Off => builder.with_no_client_auth(),
            ClientCertificates::Optional => {
                builder.with_client_cert_verifier(verifier().allow_unauthenticated().build()?)
            }
            ClientCertificates::Required => builder.with_client_cert_verifier(verifier().build()?),
        };
        let config = builder
            .with_single_cert(files.chain(contents)?, files.key(contents)?)
            .map_err(TlsError::Pair)?;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self {
            mqtt: speaking(b"mqtt"),
            http: speaking(b"http/1.1"),
        })
    }
}
