//! TLS: rustls, with ring as its only provider of cryptography.
//!
//! | module | responsibility |
//! |---|---|
//! | `files` | certificates and keys out of PEM files |
//! | [`clients`] | what the `mqtts` and `https` listeners use |
//! | [`peers`] | mutual TLS between nodes |
//! | [`reload`] | configurations that follow their files |

pub mod clients;
mod files;
pub mod peers;
pub mod reload;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;

pub use self::files::TlsFiles;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is none of these.
    #[error("{path} cannot be read: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The key can be read by users that need not know it.
    #[error("{path} can be read by everybody on this machine; run `chmod o-rwx {path}`")]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {expected} in PEM form that can be used{because}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What was found instead, if that can be said.
        because: String,
    },
    /// Certificate and key are no pair, or of a kind that is not supported.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(rustls::Error),
    /// The CA cannot be used to verify certificates.
    #[error("the CA cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
