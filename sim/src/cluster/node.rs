//! One node over all its lives.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use banyan_core::state::TombstoneBounds;
use banyan_node::components::Components;
use banyan_node::consensus::replica::ReplicaOpenError;
use banyan_node::fatal::FatalError;
use banyan_node::server::{RunError, Server};
use banyan_node::settings::join_token::JoinToken;
use banyan_node::settings::{Address, Entry, Member, Settings};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::ClusterSettings;
use super::links::host;
use crate::components::clock::SimClock;
use crate::components::disk::SimDisk;
use crate::components::net::{HTTP_PORT, MQTT_PORT, PEER_PORT, SimNet, Wire};
use crate::components::random::{SimRandom, stream};
use crate::components::store::SimStores;

/// Settings that a run turns, the same for all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knobs {
    /// Size of a segment of the log.
    pub log_segment_bytes: u64,
    /// Log kept for followers that lag.
    pub log_keep_bytes: u64,
    /// Changes between two checkpoints.
    pub checkpoint_bytes: usize,
    /// Ring of recent changes.
    pub change_ring_bytes: usize,
    /// How long a write may wait.
    pub write_timeout_ms: u64,
    /// Heartbeats, and shortest and longest election timeout.
    pub heartbeat_ms: u64,
    /// As above.
    pub election_timeout_ms: (u64, u64),
    /// What may wait for one client.
    pub outbound_bytes_max: usize,
    /// Unacknowledged messages taken from one client.
    pub receive_maximum: u16,
    /// How long deletes are remembered.
    pub tombstone_bounds: TombstoneBounds,
}

/// Why a process ended by itself.
#[derive(Debug, Clone)]
pub struct Exit {
    /// In its own words.
    pub reason: String,
    /// It refused to start on what it found on its disk.
    pub is_refusal: bool,
    /// What it is to the cluster from then on.
    pub standing: Standing,
}

/// What a node that has ended is to the cluster, by its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What it was.
    Unchanged,
    /// It asked to be let in, and was not.
    TurnedAway,
    /// It was removed.
    Removed,
}

/// A node: what is left of it when its process is gone, and its process while it runs.
pub struct SimNode {
    id: u64,
    name: String,
    settings: Settings,
    /// How it enters the cluster, if it is not one of the first.
    entry: Mutex<Entry>,
    tombstone_bounds: TombstoneBounds,
    seed: u64,
    disk: SimDisk,
    stores: Arc<SimStores>,
    clock: Arc<SimClock>,
    net: SimNet,
    lives: AtomicU32,
    server: Mutex<Weak<Server>>,
    runtime: Mutex<Option<Handle>>,
    exit: Mutex<Option<Exit>>,
    /// The last life that refused to start.
    refused: Mutex<Option<u32>>,
    /// Lives that ended because it was removed.
    removals: AtomicU32,
    turned_away: AtomicBool,
}

impl SimNode {
    /// Node `id` of the cluster that `ids` begin, itself perhaps not among them.
    pub(super) fn new(id: u64, ids: &[u64], settings: &ClusterSettings, wire: Arc<Wire>) -> Self {
        let name = host(id);
        let disk = SimDisk::new(stream(settings.seed, &format!("disk of {name}")));
        let own = node_settings(id, ids, &settings.knobs);
        Self {
            id,
            entry: Mutex::new(own.entry.clone()),
            settings: own,
            tombstone_bounds: settings.knobs.tombstone_bounds,
            seed: settings.seed,
            stores: Arc::new(SimStores::new(disk.clone())),
            disk,
            clock: Arc::default(),
            net: SimNet::new(wire),
            lives: AtomicU32::new(0),
            server: Mutex::default(),
            runtime: Mutex::default(),
            exit: Mutex::default(),
            refused: Mutex::default(),
            removals: AtomicU32::new(0),
            turned_away: AtomicBool::new(false),
            name,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Name of its host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// What it keeps its state in.
    #[must_use]
    pub fn stores(&self) -> &SimStores {
        &self.stores
    }

    /// Its wall clock.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Where its log is.
    #[must_use]
    pub fn log_directory(&self) -> PathBuf {
        self.settings.data_dir.join("log")
    }

    /// What its data directory says of the cluster that it belongs to.
    #[must_use]
    pub fn cluster_id_file(&self) -> Option<Vec<u8>> {
        self.disk.durable_files().remove(&self.cluster_id_path())
    }

    /// Makes it one of the cluster that `cluster_id` names.
    pub(super) fn name_cluster(&self, cluster_id: Vec<u8>) {
        self.disk.memory().replace(&self.cluster_id_path(), Some(cluster_id));
    }

    /// Makes it ask the members at `addresses` to be let in with `token`.
    pub(super) fn join(&self, addresses: Vec<Address>, token: JoinToken) {
        *self.entry.lock() = Entry::Join(addresses, token);
    }

    fn cluster_id_path(&self) -> PathBuf {
        self.settings.data_dir.join("cluster-id")
    }

    /// Whether it is one of those that the cluster began with.
    #[must_use]
    pub fn is_first(&self) -> bool {
        matches!(self.settings.entry, Entry::Bootstrap(_))
    }

    /// Runs `task` in its process, if that runs.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let runtime = self.runtime.lock();
        runtime.as_ref().map(|runtime| runtime.spawn(task).abort_handle())
    }

    /// All that it has stored is gone, while it is down.
    pub fn wipe(&self) {
        for path in self.disk.durable_files().into_keys() {
            self.disk.memory().replace(&path, None);
        }
        self.stores.wipe();
    }

    /// Its restarts so far.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.lives.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Whether it has ever been started.
    #[must_use]
    pub fn was_started(&self) -> bool {
        self.lives.load(Ordering::Relaxed) > 0
    }

    /// The running server; `None` while it starts, and when it is gone.
    #[must_use]
    pub fn server(&self) -> Option<Arc<Server>> {
        self.server.lock().upgrade()
    }

    /// Tasks of its process.
    #[must_use]
    pub fn task_count(&self) -> u64 {
        let runtime = self.runtime.lock();
        runtime
            .as_ref()
            .map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64)
    }

    /// Why it ended by itself, if it did.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit.lock().clone()
    }

    /// Whether its latest life refused to start on what it found on its disk.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        *self.refused.lock() == Some(self.life())
    }

    /// How many of its lives ended because it was removed from the cluster.
    #[must_use]
    pub fn removals(&self) -> u32 {
        self.removals.load(Ordering::Relaxed)
    }

    /// Whether it asked to be let in, and was not.
    #[must_use]
    pub fn was_turned_away(&self) -> bool {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Its process was taken away.
    pub(super) fn buried(&self) {
        *self.exit.lock() = None;
        *self.server.lock() = Weak::new();
        *self.runtime.lock() = None;
    }

    /// One life: until the host is crashed.
    pub(super) async fn live(self: Arc<Self>) -> turmoil::Result {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        *self.runtime.lock() = Some(Handle::current());
        let random = stream(self.seed, &format!("life {life} of {}", self.name));
        let components = Components {
            clock: Arc::clone(&self.clock) as _,
            random: Arc::new(SimRandom::new(random)),
            net: Arc::new(self.net.clone()),
            disk: Arc::new(self.disk.clone()),
            stores: Arc::clone(&self.stores) as _,
            tombstone_bounds: self.tombstone_bounds,
        };
        let settings = Settings {
            entry: self.entry.lock().clone(),
            ..self.settings.clone()
        };
        let was_removed = self.removals() > 0;
        let exit = match Server::start(settings, components).await {
            Ok(_) if was_removed => panic!("node {} was removed, and starts again", self.id),
            Ok(server) => self.serve(server).await,
            Err(error) => self.exit_of(&error),
        };
        if exit.is_refusal {
            *self.refused.lock() = Some(life);
        }
        match exit.standing {
            Standing::Unchanged => {}
            Standing::TurnedAway => self.turned_away.store(true, Ordering::Relaxed),
            Standing::Removed => drop(self.removals.fetch_add(1, Ordering::Relaxed)),
        }
        *self.exit.lock() = Some(exit);
        // The run sees it after this step, and takes the host away with all its tasks, as the end of a process does.
        std::future::pending().await
    }

    /// Until it stops by itself, as the program does.
    async fn serve(&self, server: Server) -> Exit {
        let server = Arc::new(server);
        *self.server.lock() = Arc::downgrade(&server);
        tokio::select! {
            error = server.fatal().wait() => Exit {
                is_refusal: matches!(error, FatalError::DataGone(_)),
                reason: error.to_string(),
                standing: Standing::Unchanged,
            },
            () = server.removed() => {
                let exit = self.exit_of(&server.mark_removed());
                // Between two steps nobody else holds it.
                if let Ok(server) = Arc::try_unwrap(server) {
                    server.stop().await;
                }
                exit
            }
        }
    }

    fn exit_of(&self, error: &RunError) -> Exit {
        let is_outside = !self.is_first() && self.cluster_id_file().is_none();
        let standing = match error {
            RunError::Removed { .. } => Standing::Removed,
            RunError::Refused(_) if is_outside => Standing::TurnedAway,
            _ => Standing::Unchanged,
        };
        Exit {
            reason: error.to_string(),
            is_refusal: standing == Standing::Unchanged && is_refusal(error),
            standing,
        }
    }
}

/// Whether a node does not start because of what it found, as opposed to a disk that does not work.
fn is_refusal(error: &RunError) -> bool {
    match error {
        RunError::Open(ReplicaOpenError::Log(error)) => error.is_damage(),
        RunError::Open(ReplicaOpenError::Lsm(_) | ReplicaOpenError::Damaged(_)) | RunError::Refused(_) => true,
        _ => false,
    }
}

fn address(host: &str, port: u16) -> Address {
    Address::parse(&format!("{host}:{port}")).expect("a valid address")
}

/// Where other nodes reach node `id`.
pub(crate) fn peer_address(id: u64) -> Address {
    address(&host(id), PEER_PORT)
}

fn node_settings(id: u64, ids: &[u64], knobs: &Knobs) -> Settings {
    let members = ids.iter().map(|id| Member {
        node_id: *id,
        address: peer_address(*id),
    });
    Settings {
        mqtt: vec![address("0.0.0.0", MQTT_PORT)],
        http: vec![address("0.0.0.0", HTTP_PORT)],
        peer: address("0.0.0.0", PEER_PORT),
        peer_advertise: peer_address(id),
        entry: match ids.contains(&id) {
            true => Entry::Bootstrap(members.collect()),
            false => Entry::None,
        },
        allow_anonymous: true,
        insecure_peers: true,
        write_timeout_ms: knobs.write_timeout_ms,
        heartbeat_ms: knobs.heartbeat_ms,
        election_timeout_min_ms: knobs.election_timeout_ms.0,
        election_timeout_max_ms: knobs.election_timeout_ms.1,
        log_segment_bytes: knobs.log_segment_bytes,
        log_keep_bytes: knobs.log_keep_bytes,
        checkpoint_bytes: knobs.checkpoint_bytes,
        change_ring_bytes: knobs.change_ring_bytes,
        outbound_bytes_max: knobs.outbound_bytes_max,
        receive_maximum: knobs.receive_maximum,
        // It is memory here.
        disk_reserve_bytes: 4 * 1024,
        ..Settings::defaults(id, format!("/{}", host(id)))
    }
}
