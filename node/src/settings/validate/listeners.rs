//! The rules for listeners: who may reach them, and what certificates they need.

use std::path::PathBuf;

use super::Validation;
use crate::net::tls::TlsFiles;
use crate::net::tls::clients::ClientCertificates;
use crate::settings::address::Address;
use crate::settings::error::Problem;
use crate::settings::keys::{self, Key};
use crate::settings::{ClientListener, TlsSettings};

/// The addresses of each kind of listener for clients, by the key that lists them.
type ClientListeners = [(&'static Key, Vec<Address>); 4];

impl Validation<'_> {
    /// In the order of [`ClientListener`].
    pub(super) fn client_listeners(&mut self) -> ClientListeners {
        [&keys::MQTT, &keys::MQTTS, &keys::HTTP, &keys::HTTPS].map(|key| {
            let addresses = self.listeners(key);
            self.anonymous_only_on_loopback(key, &addresses);
            (key, addresses)
        })
    }

    /// What clients are told to connect to.
    pub(super) fn client_advertise(&mut self, key: &'static Key) -> Option<Address> {
        let advertised = self.address(key)?;
        if advertised.is_unspecified() || advertised.port() == 0 {
            let message = format!(
                "`{}` is `{advertised}`, which nobody can connect to; write the host and port that clients reach this node by",
                key.name
            );
            self.problem(key, message);
        }
        Some(advertised)
    }

    pub(super) fn distinct_listeners<'a>(&mut self, addresses: impl Iterator<Item = &'a Address>) {
        let mut seen = std::collections::BTreeSet::new();
        for address in addresses {
            if address.port() != 0 && !seen.insert(address) {
                let message = format!("two listeners have the address `{address}`; give each its own port");
                self.problems.push(Problem {
                    place: "settings".to_owned(),
                    message,
                });
            }
        }
    }

    fn anonymous_only_on_loopback(&mut self, key: &'static Key, addresses: &[Address]) {
        if self.values.switch(&keys::ALLOW_ANONYMOUS) {
            return;
        }
        for address in addresses.iter().filter(|address| !address.is_loopback()) {
            self.problem(
                key,
                format!(
                    "`{address}` can be reached from other machines, and there are no users yet: listen on 127.0.0.1, or \
                     write `allow_anonymous = true` to let everybody read and write"
                ),
            );
        }
    }

    /// The certificate of the listeners, if any of them speaks TLS.
    pub(super) fn tls(&mut self, listeners: &ClientListeners) -> Option<TlsSettings> {
        let speaking = listeners.iter().find_map(|(key, addresses)| {
            let speaks_tls = [&keys::MQTTS, &keys::HTTPS].contains(key);
            (speaks_tls && !addresses.is_empty()).then_some(*key)
        });
        let client_certificates = match self.values.text(&keys::TLS_CLIENT_CERTIFICATES) {
            Some("optional") => ClientCertificates::Optional,
            Some("required") => ClientCertificates::Required,
            _ => ClientCertificates::Off,
        };
        let ca = self.path(&keys::TLS_CLIENT_CA);
        match (client_certificates, &ca) {
            (ClientCertificates::Off, Some(_)) => {
                let message = "`tls_client_ca` has no effect as long as clients are not asked for certificates: write \
                               `tls_client_certificates = \"required\"` or `\"optional\"` too, or remove it";
                self.problem(&keys::TLS_CLIENT_CA, message.to_owned());
            }
            (ClientCertificates::Optional | ClientCertificates::Required, None) => {
                let message = format!(
                    "the clients' certificates cannot be verified without a CA; add, for example: {}",
                    keys::TLS_CLIENT_CA.example
                );
                self.problem(&keys::TLS_CLIENT_CERTIFICATES, message);
            }
            _ => {}
        }
        let [certificate, key] = [&keys::TLS_CERTIFICATE, &keys::TLS_KEY].map(|key| {
            let path = self.path(key);
            match (speaking, &path) {
                (Some(listener), None) => {
                    let message = format!("`{}` needs `{}`; for example: {}", listener.name, key.name, key.example);
                    self.problem(listener, message);
                }
                (None, Some(_)) => {
                    let message = format!(
                        "`{}` is used by no listener; add one, for example: {}",
                        key.name,
                        keys::MQTTS.example
                    );
                    self.problem(key, message);
                }
                _ => {}
            }
            path
        });
        if speaking.is_none() && client_certificates != ClientCertificates::Off {
            let message = format!(
                "only TLS listeners can ask for certificates; add one, for example: {}",
                keys::MQTTS.example
            );
            self.problem(&keys::TLS_CLIENT_CERTIFICATES, message);
        }
        Some(TlsSettings {
            files: TlsFiles {
                certificate: certificate?,
                key: key?,
                ca,
            },
            client_certificates,
        })
    }

    pub(super) fn proxy_protocol(&mut self) -> Vec<ClientListener> {
        let mut kinds = Vec::new();
        for text in self.values.list(&keys::PROXY_PROTOCOL) {
            match ClientListener::ALL.into_iter().find(|kind| kind.name() == text) {
                Some(kind) => kinds.push(kind),
                None => {
                    let names = ClientListener::ALL.map(ClientListener::name).join(", ");
                    let message =
                        format!("`proxy_protocol` lists `{text}`, which is no kind of listener; there are: {names}");
                    self.problem(&keys::PROXY_PROTOCOL, message);
                }
            }
        }
        kinds
    }

    /// Origins as browsers send them: anything else would never match.
    pub(super) fn websocket_origins(&mut self) -> Vec<String> {
        let origins = self.values.list(&keys::WEBSOCKET_ORIGINS).to_vec();
        for origin in &origins {
            let is_origin = origin
                .split_once("://")
                .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*']));
            if !is_origin {
                let message = format!(
                    "`websocket_origins` lists `{origin}`; write scheme, host and port as browsers send them, without a path: \
                     {}",
                    keys::WEBSOCKET_ORIGINS.example
                );
                self.problem(&keys::WEBSOCKET_ORIGINS, message);
            }
        }
        origins
    }

    /// The certificates between nodes: all three files, or none.
    pub(super) fn peer_tls(&mut self) -> Option<TlsFiles> {
        let keys = [&keys::PEER_CERTIFICATE, &keys::PEER_KEY, &keys::PEER_CA];
        let given = keys.into_iter().find(|key| self.values.is_given(key))?;
        let [certificate, key, ca] = keys.map(|key| {
            let path = self.path(key);
            if path.is_none() {
                let message = format!(
                    "`{}` needs `{}` beside it; for example: {}",
                    given.name, key.name, key.example
                );
                self.problem(given, message);
            }
            path
        });
        if self.values.switch(&keys::INSECURE_PEERS) {
            let message = format!(
                "`insecure_peers = true` contradicts `{}`; remove one of both",
                given.name
            );
            self.problem(&keys::INSECURE_PEERS, message);
        }
        Some(TlsFiles {
            certificate: certificate?,
            key: key?,
            ca: Some(ca?),
        })
    }

    pub(super) fn peers_prove_themselves(&mut self, peer: &Address) {
        let is_secured = self.values.is_given(&keys::PEER_CERTIFICATE);
        if peer.is_loopback() || is_secured || self.values.switch(&keys::INSECURE_PEERS) {
            return;
        }
        let message = format!(
            "`{peer}` can be reached from other machines: set `peer_certificate`, `peer_key` and `peer_ca`, listen on \
             127.0.0.1, or write `insecure_peers = true` to trust everybody who reaches this port"
        );
        self.problem(&keys::PEER, message);
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        self.values.text(key).map(PathBuf::from)
    }
}
