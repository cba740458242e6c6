//! Configurations that follow their files, without a restart: connections that are open stay as they are, those that come
//! find the new certificate. Files that cannot be used change nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clients::{ClientCertificates, ClientConfigs};
use super::files::Contents;
use super::peers::PeerConfigs;
use super::{TlsError, TlsFiles};
use crate::blocking;

/// How often the files are looked at. A change is taken at the second look that finds it, so that certificate and key can
/// be replaced one after the other.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

type Build<C> = dyn Fn(&TlsFiles, &Contents) -> Result<C, TlsError> + Send + Sync;

/// What is made of some files, and made anew when they change.
pub struct Reloading<C> {
    files: TlsFiles,
    build: Box<Build<C>>,
    current: RwLock<Arc<C>>,
    /// What `current` was made of.
    used: RwLock<Contents>,
}

impl Reloading<ClientConfigs> {
    /// For the listeners of clients. Blocks.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn for_clients(files: TlsFiles, certificates: ClientCertificates) -> Result<Arc<Self>, TlsError> {
        Self::load(files, move |files, contents| {
            ClientConfigs::build(files, contents, certificates)
        })
    }
}

impl Reloading<PeerConfigs> {
    /// For the peer port and the connections to others'. Blocks.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn for_peers(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        Self::load(files, PeerConfigs::build)
    }
}

impl<C: Send + Sync + 'static> Reloading<C> {
    fn load(
        files: TlsFiles,
        build: impl Fn(&TlsFiles, &Contents) -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsError> {
        let contents = files.read()?;
        let current = Arc::new(build(&files, &contents)?);
        Ok(Arc::new(Self {
            files,
            build: Box::new(build),
            current: RwLock::new(current),
            used: RwLock::new(contents),
        }))
    }

    /// What new connections use.
    pub fn current(&self) -> Arc<C> {
        Arc::clone(&self.current.read())
    }

    /// Follows the files until `stop`; looks at once when `asked` says so.
    pub async fn follow(self: Arc<Self>, mut asked: watch::Receiver<()>, stop: CancellationToken) {
        let mut last = Look::default();
        loop {
            let is_asked = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                Ok(()) = asked.changed() => true,
            };
            let this = Arc::clone(&self);
            last = blocking::run(move || this.look(&last, is_asked)).await;
        }
    }

    fn look(&self, last: &Look, is_asked: bool) -> Look {
        let found = self.files.read();
        let is_used = found.as_ref().is_ok_and(|contents| *contents == *self.used.read());
        let is_new = match (&found, &last.contents) {
            (Ok(found), Some(last)) => found != last,
            (Err(error), None) => error.to_string() != last.error,
            _ => true,
        };
        let look = Look {
            error: found.as_ref().err().map(ToString::to_string).unwrap_or_default(),
            contents: found.as_ref().ok().cloned(),
            is_judged: true,
        };
        if is_used {
            if is_asked {
                tracing::info!(certificate = %self.files.certificate.display(), "the certificate is in use already");
            }
            return look;
        }
        if !is_asked && (is_new || last.is_judged) {
            return Look {
                is_judged: last.is_judged && !is_new,
                ..look
            };
        }
        match found.and_then(|contents| Ok(((self.build)(&self.files, &contents)?, contents))) {
            Ok((built, contents)) => {
                *self.current.write() = Arc::new(built);
                *self.used.write() = contents;
                tracing::info!(
                    certificate = %self.files.certificate.display(),
                    "new connections use the new certificate"
                );
            }
            Err(error) => tracing::error!(%error, "the new certificate cannot be used; the old one stays in use"),
        }
        look
    }
}

/// What was found last.
#[derive(Default)]
struct Look {
    contents: Option<Contents>,
    error: String,
    /// It was taken or refused, and is not looked at again until it changes.
    is_judged: bool,
}
