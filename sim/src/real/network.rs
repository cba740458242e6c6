//! The links between the nodes, and the faults of links.
//!
//! ```text
//!  namespace of node 1        namespace "switch"          this machine's namespace
//!   eth0 10.x.y.1 ──────────── v1 ┐
//!  namespace of node 2            ├ br0 (bridge) ──────── 10.x.y.254: clients
//!   eth0 10.x.y.2 ──────────── v2 ┘
//! ```
//!
//! A packet from A to B is dropped at B by a policy rule `from A blackhole`, without an answer: the sender sees silence, as
//! of a cut cable. It is slowed down at A, in a traffic class of its own for B. Clients reach every node in any case; only
//! pulling a node's cable cuts them off too.
//!
//! Without namespaces all nodes are on loopback, each with an address of its own, and nothing can be done to their links.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use parking_lot::Mutex;

use super::error::RealError;
use super::machine::{Machine, Slowing};
use super::stage::{self, Stage};
use super::tool;

/// Host number of the clients. Nodes have those from 1.
const CLIENTS: u8 = 254;
/// Rate of a link that is not slow, kbit/s.
const FAST_KBIT: u32 = 10_000_000;
/// Packets that wait behind the rate of a slow link; what comes on top is lost.
const QUEUE_PACKETS: &str = "200";

/// From one node to another, by index.
pub(super) type Link = (usize, usize);

/// How slow a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slowness {
    /// Bytes get through at this rate, kbit/s.
    pub(super) rate_kbit: u32,
    /// Every packet takes this much longer, ms. Only where the kernel can do it.
    pub(super) delay_ms: u32,
    /// Of a hundred packets so many are lost. Only where the kernel can do it.
    pub(super) loss_percent: u32,
}

/// The nodes' network.
#[derive(Debug)]
pub(super) struct Network {
    run: u32,
    size: usize,
    /// First two numbers of the third and second byte of all addresses; `None`: loopback.
    subnet: Option<(u8, u8)>,
    slowing: Option<Slowing>,
    /// How many faults cut a link. Faults overlap: a link heals with the last of them.
    cuts: Mutex<BTreeMap<Link, usize>>,
    /// How many faults have pulled a node's cable.
    pulled: Mutex<BTreeMap<usize, usize>>,
}

impl Network {
    /// Sets up the network of `size` nodes.
    ///
    /// # Errors
    /// A tool failed. What was set up is removed with the stage.
    pub(super) fn new(stage: &Stage, machine: &Machine, size: usize) -> Result<Self, RealError> {
        let subnet = match machine.namespaces {
            Ok(()) => Some(free_subnet(stage.run())?),
            Err(_) => None,
        };
        let network = Self {
            run: stage.run(),
            size,
            subnet,
            slowing: machine.slowing.as_ref().ok().copied(),
            cuts: Mutex::default(),
            pulled: Mutex::default(),
        };
        if network.has_links() {
            network.set_up()?;
        }
        Ok(network)
    }

    /// Whether links can be cut and slowed down.
    pub(super) fn has_links(&self) -> bool {
        self.subnet.is_some()
    }

    /// Address of node `index`.
    pub(super) fn address(&self, index: usize) -> Ipv4Addr {
        self.host(host_number(index))
    }

    /// The namespace in which node `index` runs.
    pub(super) fn namespace(&self, index: usize) -> Option<String> {
        self.has_links()
            .then(|| stage::namespace(self.run, &format!("n{}", index + 1)))
    }

    /// Drops what goes over `links` from now on, until [`Self::heal`] was called as often.
    pub(super) fn cut(&self, links: &[Link]) -> Result<(), RealError> {
        let mut cuts = self.cuts.lock();
        for &link in links {
            let count = cuts.entry(link).or_default();
            if *count == 0 {
                self.rule("add", link)?;
            }
            *count += 1;
        }
        Ok(())
    }

    /// Ends one cut of each of `links`.
    pub(super) fn heal(&self, links: &[Link]) -> Result<(), RealError> {
        let mut cuts = self.cuts.lock();
        for link in links {
            let Some(count) = cuts.get_mut(link) else { continue };
            *count -= 1;
            if *count == 0 {
                cuts.remove(link);
                self.rule("del", *link)?;
            }
        }
        Ok(())
    }

    /// Pulls node `index`'s cable: neither nodes nor clients reach it, and nobody is told.
    pub(super) fn pull(&self, index: usize) -> Result<(), RealError> {
        let mut pulled = self.pulled.lock();
        let count = pulled.entry(index).or_default();
        if *count == 0 {
            self.set_cable(index, "down")?;
        }
        *count += 1;
        Ok(())
    }

    /// Plugs it in again.
    pub(super) fn plug(&self, index: usize) -> Result<(), RealError> {
        let mut pulled = self.pulled.lock();
        let Some(count) = pulled.get_mut(&index) else {
            return Ok(());
        };
        *count -= 1;
        if *count == 0 {
            pulled.remove(&index);
            self.set_cable(index, "up")?;
        }
        Ok(())
    }

    /// Makes `link` slow, or fast again with `None`.
    pub(super) fn slow(&self, (from, to): Link, slowness: Option<Slowness>) -> Result<(), RealError> {
        let (Some(slowing), Some(name)) = (self.slowing, self.namespace(from)) else {
            return Ok(());
        };
        let rate = format!("{}kbit", slowness.map_or(FAST_KBIT, |slowness| slowness.rate_kbit));
        let class = [
            "class",
            "change",
            "dev",
            "eth0",
            "parent",
            "1:",
            "classid",
            &class_id(to),
        ];
        tool::run(
            "tc",
            &[&["-n", &name], &class[..], &["htb", "rate", &rate, "quantum", "3000"]].concat(),
        )?;
        if slowing == Slowing::Delay {
            let (delay, jitter, loss) = slowness.map_or((0, 0, 0), |slowness| {
                (slowness.delay_ms, slowness.delay_ms / 2, slowness.loss_percent)
            });
            let (delay, jitter, loss) = (format!("{delay}ms"), format!("{jitter}ms"), format!("{loss}%"));
            let netem = ["qdisc", "change", "dev", "eth0", "parent", &class_id(to), "netem"];
            let how = ["delay", &delay, &jitter, "loss", &loss];
            tool::run("tc", &[&["-n", &name], &netem[..], &how].concat())?;
        }
        Ok(())
    }

    fn host(&self, number: u8) -> Ipv4Addr {
        match self.subnet {
            Some((second, third)) => Ipv4Addr::new(10, second, third, number),
            // Every address of 127/8 is loopback. The run's number keeps runs beside each other apart.
            None => Ipv4Addr::new(127, (self.run / 250 % 250) as u8, (self.run % 250) as u8, number),
        }
    }

    fn rule(&self, verb: &str, (from, to): Link) -> Result<(), RealError> {
        let Some(name) = self.namespace(to) else { return Ok(()) };
        let from = self.address(from).to_string();
        tool::run(
            "ip",
            &["-n", &name, "rule", verb, "pref", "10", "from", &from, "blackhole"],
        )
        .map(drop)
    }

    fn set_cable(&self, index: usize, state: &str) -> Result<(), RealError> {
        let switch = stage::namespace(self.run, "switch");
        tool::run("ip", &["-n", &switch, "link", "set", &port(index), state]).map(drop)
    }

    fn set_up(&self) -> Result<(), RealError> {
        let ip = |arguments: &[&str]| tool::run("ip", arguments).map(drop);
        let switch = stage::namespace(self.run, "switch");
        let uplink = stage::uplink(self.run);
        // A namespace of its own also keeps the packet filters of this machine away from what is bridged.
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        ip(&[
            "link", "add", &uplink, "type", "veth", "peer", "name", "uplink", "netns", &switch,
        ])?;
        ip(&["-n", &switch, "link", "set", "uplink", "master", "br0", "up"])?;
        ip(&["addr", "add", &format!("{}/24", self.host(CLIENTS)), "dev", &uplink])?;
        ip(&["link", "set", &uplink, "up"])?;
        for index in 0..self.size {
            self.set_up_node(index, &switch)?;
        }
        Ok(())
    }

    fn set_up_node(&self, index: usize, switch: &str) -> Result<(), RealError> {
        let Some(name) = self.namespace(index) else {
            return Ok(());
        };
        let port = port(index);
        tool::run("ip", &["netns", "add", &name])?;
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", &name];
        tool::run("ip", &[&["link", "add", &port, "netns", switch], &peer[..]].concat())?;
        tool::run("ip", &["-n", switch, "link", "set", &port, "master", "br0", "up"])?;
        let address = format!("{}/24", self.address(index));
        for step in [
            &["addr", "add", &address, "dev", "eth0"][..],
            &["link", "set", "eth0", "up"],
            &["link", "set", "lo", "up"],
            // Rules that drop must come before the one that takes in what is for this host.
            &["rule", "add", "pref", "100", "lookup", "local"],
            &["rule", "del", "pref", "0"],
        ] {
            tool::run("ip", &[&["-n", &name], step].concat())?;
        }
        if let Some(slowing) = self.slowing {
            self.set_up_classes(index, &name, slowing)?;
        }
        Ok(())
    }

    /// One traffic class for each other node, and one for all the rest.
    fn set_up_classes(&self, index: usize, name: &str, slowing: Slowing) -> Result<(), RealError> {
        let tc = |arguments: &[&str]| tool::run("tc", &[&["-n", name], arguments].concat()).map(drop);
        let fast = format!("{FAST_KBIT}kbit");
        tc(&[
            "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "htb", "default", "1",
        ])?;
        let class = ["class", "add", "dev", "eth0", "parent", "1:", "classid"];
        tc(&[&class[..], &["1:1", "htb", "rate", &fast, "quantum", "3000"]].concat())?;
        for to in (0..self.size).filter(|&to| to != index) {
            let id = class_id(to);
            tc(&[&class[..], &[&id, "htb", "rate", &fast, "quantum", "3000"]].concat())?;
            let address = format!("{}/32", self.address(to));
            let filter = [
                "filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "prio", "1", "u32",
            ];
            tc(&[&filter[..], &["match", "ip", "dst", &address, "flowid", &id]].concat())?;
            let qdisc = ["qdisc", "add", "dev", "eth0", "parent", &id];
            match slowing {
                Slowing::Delay => tc(&[&qdisc[..], &["netem", "delay", "0ms"]].concat())?,
                Slowing::Rate => tc(&[&qdisc[..], &["pfifo", "limit", QUEUE_PACKETS]].concat())?,
            }
        }
        Ok(())
    }
}

fn host_number(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

fn port(index: usize) -> String {
    format!("v{}", index + 1)
}

/// Traffic class of packets to node `index`. Written in hexadecimal.
fn class_id(index: usize) -> String {
    format!("1:{:x}", 0x10 + index)
}

/// A private network that no interface of this machine uses.
fn free_subnet(run: u32) -> Result<(u8, u8), RealError> {
    let used = tool::run("ip", &["-4", "-o", "addr", "show"])?;
    (0..50_u32)
        .map(|attempt| (200 + (run + attempt) % 50, (run / 50) % 250))
        .map(|(second, third)| (second as u8, third as u8))
        .find(|(second, third)| !used.contains(&format!("inet 10.{second}.{third}.")))
        .ok_or_else(|| RealError::Usage("no free network 10.200.0.0 to 10.249.255.0 on this machine".to_owned()))
}
