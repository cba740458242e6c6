//! Certificates and keys out of PEM files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Largest file read, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Permission of those who are neither the file's owner nor in its group.
const OTHERS: u32 = 0o007;

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those between it and its CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CAs whose certificates the other side may show.
    pub ca: Option<PathBuf>,
}

/// What was in the files at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Reads the files. Blocks.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            certificate: read(&self.certificate, false)?,
            key: read(&self.key, true)?,
            ca: self.ca.as_deref().map(|path| read(path, false)).transpose()?,
        })
    }

    /// The certificate and those between it and its CA.
    pub(super) fn chain(&self, contents: &Contents) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.certificate, &contents.certificate)
    }

    /// The private key.
    pub(super) fn key(&self, contents: &Contents) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| TlsError::Content {
            path: self.key.clone(),
            expected: "private key",
            because: format!(": {error}"),
        })
    }

    /// The CAs; none if no file was given.
    pub(super) fn roots(&self, contents: &Contents) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let (Some(path), Some(pem)) = (&self.ca, &contents.ca) {
            for certificate in certificates(path, pem)? {
                roots.add(certificate).map_err(|error| TlsError::Content {
                    path: path.clone(),
                    expected: "CA certificate",
                    because: format!(": {error}"),
                })?;
            }
        }
        Ok(roots)
    }
}

fn read(path: &Path, is_secret: bool) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read {
        path: path.to_path_buf(),
        error,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    if is_secret && metadata.permissions().mode() & OTHERS != 0 {
        return Err(TlsError::Permissions {
            path: path.to_path_buf(),
        });
    }
    let mut contents = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut contents)
        .map_err(failed)?;
    if contents.len() as u64 > FILE_BYTES_MAX {
        let text = format!("it is larger than {FILE_BYTES_MAX} bytes, which no such file is");
        return Err(failed(io::Error::other(text)));
    }
    Ok(contents)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |because| TlsError::Content {
        path: path.to_path_buf(),
        expected: "certificate",
        because,
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(format!(": {error}")))?;
    match certificates.is_empty() {
        true => Err(unusable(String::new())),
        false => Ok(certificates),
    }
}
