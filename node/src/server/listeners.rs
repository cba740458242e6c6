//! The listeners of a node, opened before anything else: a port that is taken ends the start at once.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::components::Components;
use crate::metrics::Gauge;
use crate::net::counted::CountedListener;
use crate::net::entrance::{Entrance, PickConfig};
use crate::net::tls::TlsError;
use crate::net::tls::clients::ClientConfigs;
use crate::net::tls::peers::{PeerConfigs, SecuredNet};
use crate::net::tls::reload::Reloading;
use crate::net::{Listener, Net};
use crate::service::metrics::ConnectionGauges;
use crate::settings::{Address, ClientListener, Settings};

/// Everything a node listens on.
pub(super) struct Listeners {
    pub(super) peer: Box<dyn Listener>,
    /// How other nodes are connected to: as they connect to `peer`.
    pub(super) peer_net: Arc<dyn Net>,
    pub(super) mqtt: Vec<Box<dyn Listener>>,
    pub(super) mqtts: Vec<Box<dyn Listener>>,
    pub(super) http: Vec<Box<dyn Listener>>,
    pub(super) https: Vec<Box<dyn Listener>>,
    /// Counts what comes in.
    pub(super) connections: ConnectionGauges,
    certificates: Certificates,
}

impl Listeners {
    /// Opens all of them.
    ///
    /// # Errors
    /// An address is taken, or certificates cannot be used.
    pub(super) async fn open(settings: &Settings, components: &Components) -> Result<Self, RunError> {
        let certificates = Certificates::load(settings)?;
        let peer_net = certificates.secured(&components.net);
        let peer = listen(&*peer_net, "peers", &settings.peer).await?;
        let connections = ConnectionGauges::default();
        let opening = |kind: ClientListener| {
            let entrance = Entrance {
                proxy_protocol: settings.proxy_protocol.contains(&kind),
                tls: certificates.of(kind),
            };
            let (service, addresses, open) = match kind {
                ClientListener::Mqtt => ("MQTT", &settings.mqtt, &connections.mqtt),
                ClientListener::Mqtts => ("MQTT over TLS", &settings.mqtts, &connections.mqtts),
                ClientListener::Http => ("HTTP", &settings.http, &connections.http),
                ClientListener::Https => ("HTTPS", &settings.https, &connections.https),
            };
            listen_all(&*components.net, service, addresses, entrance, open)
        };
        Ok(Self {
            mqtt: opening(ClientListener::Mqtt).await?,
            mqtts: opening(ClientListener::Mqtts).await?,
            http: opening(ClientListener::Http).await?,
            https: opening(ClientListener::Https).await?,
            peer,
            peer_net,
            connections: connections.clone(),
            certificates,
        })
    }

    /// How other nodes are connected to, before there are listeners.
    ///
    /// # Errors
    /// Certificates cannot be used.
    pub(super) fn peer_net(settings: &Settings, components: &Components) -> Result<Arc<dyn Net>, RunError> {
        Ok(Certificates::load(settings)?.secured(&components.net))
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Addresses {
        let of = |listeners: &[Box<dyn Listener>]| {
            let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
            addresses.collect::<Vec<_>>()
        };
        Addresses {
            mqtt: of(&self.mqtt),
            mqtts: of(&self.mqtts),
            http: of(&self.http),
            https: of(&self.https),
        }
    }

    /// Lets certificates follow their files until `stop`, and at once when `reload` says so.
    pub(super) fn follow_certificates(&self, reload: &watch::Sender<()>, stop: &CancellationToken) {
        if let Some(clients) = &self.certificates.clients {
            tokio::spawn(Arc::clone(clients).follow(reload.subscribe(), stop.clone()));
        }
        if let Some(peers) = &self.certificates.peers {
            tokio::spawn(Arc::clone(peers).follow(reload.subscribe(), stop.clone()));
        }
    }
}

/// Where clients connect.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    pub(super) mqtt: Vec<SocketAddr>,
    pub(super) mqtts: Vec<SocketAddr>,
    pub(super) http: Vec<SocketAddr>,
    pub(super) https: Vec<SocketAddr>,
}

/// The certificates of a node, if it has any.
struct Certificates {
    clients: Option<Arc<Reloading<ClientConfigs>>>,
    peers: Option<Arc<Reloading<PeerConfigs>>>,
}

impl Certificates {
    fn load(settings: &Settings) -> Result<Self, RunError> {
        if settings.tls.is_none() && !(settings.mqtts.is_empty() && settings.https.is_empty()) {
            // Never plain instead.
            let message = "`mqtts` and `https` need `tls_certificate` and `tls_key`";
            return Err(RunError::Settings(message.to_owned()));
        }
        let failed = |error: TlsError| RunError::Settings(error.to_string());
        let clients = settings
            .tls
            .clone()
            .map(|tls| Reloading::<ClientConfigs>::for_clients(tls.files, tls.client_certificates));
        let peers = settings.peer_tls.clone().map(Reloading::<PeerConfigs>::for_peers);
        Ok(Self {
            clients: clients.transpose().map_err(failed)?,
            peers: peers.transpose().map_err(failed)?,
        })
    }

    /// `net`, or what secures it.
    fn secured(&self, net: &Arc<dyn Net>) -> Arc<dyn Net> {
        match &self.peers {
            Some(peers) => Arc::new(SecuredNet::new(Arc::clone(net), Arc::clone(peers))),
            None => Arc::clone(net),
        }
    }

    /// What listeners of `kind` speak TLS with, if they do.
    fn of(&self, kind: ClientListener) -> Option<PickConfig> {
        let pick: fn(&ClientConfigs) -> &Arc<rustls::ServerConfig> = match kind {
            ClientListener::Mqtts => |configs| &configs.mqtt,
            ClientListener::Https => |configs| &configs.http,
            ClientListener::Mqtt | ClientListener::Http => return None,
        };
        let clients = Arc::clone(self.clients.as_ref()?);
        Some(Arc::new(move || Arc::clone(pick(&clients.current()))))
    }
}

async fn listen(net: &dyn Net, service: &'static str, address: &Address) -> Result<Box<dyn Listener>, RunError> {
    let bound = net.bind(address.as_str()).await;
    bound.map_err(|error| RunError::Listen {
        service,
        address: address.to_string(),
        error,
    })
}

async fn listen_all(
    net: &dyn Net,
    service: &'static str,
    addresses: &[Address],
    entrance: Entrance,
    open: &Gauge,
) -> Result<Vec<Box<dyn Listener>>, RunError> {
    let mut listeners: Vec<Box<dyn Listener>> = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = entrance.clone().guard(listen(net, service, address).await?);
        listeners.push(Box::new(CountedListener::new(listener, open.clone())));
    }
    Ok(listeners)
}
