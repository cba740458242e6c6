//! How many connections there may be, on this node and of one address, and how fast one address may make them. Who is one too
//! many is told so in CONNACK.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The node has all that it may have.
    Node,
    /// The address has all that it may have.
    Address,
    /// The address connects too often.
    Rate,
    /// So many are told already that they are too many that this one is closed without a word.
    Unanswered,
}

/// The connections of all MQTT listeners of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Inner>);

/// Limits on connections, 0 for none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AdmissionLimits {
    /// Of the node.
    pub(super) connections_max: usize,
    /// Of one address.
    pub(super) connections_per_address_max: usize,
    /// New ones of one address, a second.
    pub(super) connection_rate_per_address_max: u32,
}

#[derive(Debug)]
struct Inner {
    limits: AdmissionLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    admitted: usize,
    /// By address, where there is a limit; only those that have connections.
    by_address: BTreeMap<IpAddr, usize>,
    /// Connections that are there to be refused.
    refused: usize,
    arrivals: Arrivals,
}

/// When all connections of an address would have been made at the rate allowed, for those addresses that are ahead of it.
#[derive(Debug, Default)]
struct Arrivals {
    due: BTreeMap<IpAddr, Instant>,
    /// Those that are not ahead any more are looked for when there are so many.
    looked_through_at: usize,
}

/// What an address may be ahead of its rate: the connections of so long may come at once.
const BURST: Duration = Duration::from_secs(5);
/// Addresses that are kept without looking which of them are needed.
const ADDRESSES_KEPT: usize = 1_024;

impl Arrivals {
    /// Whether another connection of `address` keeps to `rate_max` a second; if so, it is counted.
    fn take(&mut self, address: IpAddr, rate_max: u32, now: Instant) -> bool {
        let Some(interval) = Duration::from_secs(1).checked_div(rate_max) else {
            return true;
        };
        if self.due.len() >= self.looked_through_at.max(ADDRESSES_KEPT) {
            self.due.retain(|_, due| *due > now);
            self.looked_through_at = 2 * self.due.len();
        }
        let due = self.due.get(&address).map_or(now, |due| *due.max(&now)) + interval;
        let keeps_to_it = due <= now + BURST.max(interval);
        if keeps_to_it {
            self.due.insert(address, due);
        }
        keeps_to_it
    }
}

/// Connections at a time that may wait to be told that they are too many.
const REFUSED_MAX: usize = 1_000;

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Admission,
    /// Of an admitted one.
    address: Option<IpAddr>,
}

impl Admission {
    /// Nobody is there yet.
    pub(super) fn new(limits: AdmissionLimits) -> Self {
        Self(Arc::new(Inner {
            limits,
            open: Mutex::default(),
        }))
    }

    /// Takes a place for a connection from `peer`, made `now`: as one that is let in, or as one that is told why not.
    pub(super) fn enter(&self, peer: SocketAddr, now: Instant) -> Result<Place, (Refused, Option<Place>)> {
        let address = peer.ip().to_canonical();
        let limits = self.0.limits;
        let mut open = self.0.open.lock();
        let is_full = |count: usize, max: usize| max > 0 && count >= max;
        let of_address = open.by_address.get(&address).copied().unwrap_or_default();
        let refused = if is_full(open.admitted, limits.connections_max) {
            Refused::Node
        } else if is_full(of_address, limits.connections_per_address_max) {
            Refused::Address
        } else if !open.arrivals.take(address, limits.connection_rate_per_address_max, now) {
            Refused::Rate
        } else {
            open.admitted += 1;
            if limits.connections_per_address_max > 0 {
                *open.by_address.entry(address).or_default() += 1;
            }
            drop(open);
            return Ok(self.place(Some(address)));
        };
        if open.refused >= REFUSED_MAX {
            return Err((Refused::Unanswered, None));
        }
        open.refused += 1;
        drop(open);
        Err((refused, Some(self.place(None))))
    }

    fn place(&self, address: Option<IpAddr>) -> Place {
        Place {
            admission: self.clone(),
            address,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.0.open.lock();
        let Some(address) = self.address else {
            open.refused -= 1;
            return;
        };
        open.admitted -= 1;
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 1)
    }

    fn admission(connections_max: usize, connections_per_address_max: usize) -> Admission {
        Admission::new(AdmissionLimits {
            connections_max,
            connections_per_address_max,
            connection_rate_per_address_max: 0,
        })
    }

    fn refused(admission: &Admission, address: &str) -> Option<Refused> {
        admission
            .enter(peer(address), Instant::now())
            .err()
            .map(|(refused, _)| refused)
    }

    #[test]
    fn without_limits_all_are_let_in() {
        let admission = admission(0, 0);
        let places: Vec<_> = (0..5_000)
            .map(|_| admission.enter(peer("10.0.0.1"), Instant::now()))
            .collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(
            admission.0.open.lock().by_address.is_empty(),
            "nothing is counted for nobody"
        );
    }

    #[test]
    fn a_place_that_is_given_back_is_free() {
        let admission = admission(2, 1);
        let first = admission.enter(peer("10.0.0.1"), Instant::now()).expect("a place");
        assert_eq!(refused(&admission, "10.0.0.1"), Some(Refused::Address));
        assert_eq!(
            refused(&admission, "::ffff:10.0.0.1"),
            Some(Refused::Address),
            "the same address"
        );
        let second = admission.enter(peer("10.0.0.2"), Instant::now()).expect("a place");
        assert_eq!(refused(&admission, "10.0.0.3"), Some(Refused::Node));
        drop(first);
        assert_eq!(refused(&admission, "10.0.0.3"), None);
        drop(second);
        let open = admission.0.open.lock();
        assert_eq!((open.admitted, open.refused, open.by_address.len()), (0, 0, 0));
    }

    #[test]
    fn those_who_are_refused_are_bounded_too() {
        let admission = admission(1, 0);
        let _first = admission.enter(peer("10.0.0.1"), Instant::now()).expect("a place");
        let told: Vec<_> = (0..REFUSED_MAX)
            .map(|_| admission.enter(peer("10.0.0.1"), Instant::now()))
            .collect();
        assert!(
            told.iter()
                .all(|entered| matches!(entered, Err((Refused::Node, Some(_)))))
        );
        assert_eq!(refused(&admission, "10.0.0.1"), Some(Refused::Unanswered));
        drop(told);
        assert_eq!(refused(&admission, "10.0.0.1"), Some(Refused::Node));
    }

    #[test]
    fn an_address_may_connect_so_often() {
        let admission = Admission::new(AdmissionLimits {
            connection_rate_per_address_max: 2,
            ..AdmissionLimits::default()
        });
        let start = Instant::now();
        let enter = |address: &str, ms: u64| {
            let entered = admission.enter(peer(address), start + Duration::from_millis(ms));
            entered.err().map(|(refused, _)| refused)
        };
        assert!((0..10).all(|_| enter("10.0.0.1", 0).is_none()), "those of 5 seconds");
        assert_eq!(enter("10.0.0.1", 0), Some(Refused::Rate));
        assert_eq!(enter("10.0.0.2", 0), None, "another address");
        assert_eq!(
            enter("10.0.0.1", 499),
            Some(Refused::Rate),
            "being refused costs nothing"
        );
        assert_eq!(enter("10.0.0.1", 500), None);
        assert_eq!(enter("10.0.0.1", 501), Some(Refused::Rate));
        assert!((0..10).all(|_| enter("10.0.0.1", 60_000).is_none()));
        assert_eq!(
            enter("10.0.0.1", 60_000),
            Some(Refused::Rate),
            "no more than that is saved"
        );
    }

    #[test]
    fn addresses_are_forgotten() {
        let mut arrivals = Arrivals::default();
        let start = Instant::now();
        for address in 0..100_000_u32 {
            let now = start + Duration::from_millis(u64::from(address));
            assert!(arrivals.take(IpAddr::from(address.to_be_bytes()), 1, now));
        }
        assert!(arrivals.due.len() <= 2 * 1_024, "{}", arrivals.due.len());
        assert!(
            (0..10).all(|_| arrivals.take(IpAddr::from([0; 4]), 0, start)),
            "no limit"
        );
    }
}
