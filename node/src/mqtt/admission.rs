//! How many connections there may be: on this node, and of one address. Who is one too many is told so in CONNACK.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The node has all that it may have.
    Node,
    /// The address has all that it may have.
    Address,
    /// So many are told already that they are too many that this one is closed without a word.
    Unanswered,
}

/// The connections of all MQTT listeners of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// 0: no limit.
    connections_max: usize,
    /// 0: no limit.
    connections_per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    admitted: usize,
    /// By address, where there is a limit; only those that have connections.
    by_address: BTreeMap<IpAddr, usize>,
    /// Connections that are there to be refused.
    refused: usize,
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
    /// Limits on connections, 0 for none: of the node, and of one address.
    pub(super) fn new(connections_max: usize, connections_per_address_max: usize) -> Self {
        Self(Arc::new(Inner {
            connections_max,
            connections_per_address_max,
            open: Mutex::default(),
        }))
    }

    /// Takes a place for a connection from `peer`: as one that is let in, or as one that is told why not.
    pub(super) fn enter(&self, peer: SocketAddr) -> Result<Place, (Refused, Option<Place>)> {
        let address = peer.ip().to_canonical();
        let mut open = self.0.open.lock();
        let is_full = |count: usize, max: usize| max > 0 && count >= max;
        let of_address = open.by_address.get(&address).copied().unwrap_or_default();
        let refused = if is_full(open.admitted, self.0.connections_max) {
            Refused::Node
        } else if is_full(of_address, self.0.connections_per_address_max) {
            Refused::Address
        } else {
            open.admitted += 1;
            if self.0.connections_per_address_max > 0 {
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

    fn refused(admission: &Admission, address: &str) -> Option<Refused> {
        admission.enter(peer(address)).err().map(|(refused, _)| refused)
    }

    #[test]
    fn without_limits_all_are_let_in() {
        let admission = Admission::new(0, 0);
        let places: Vec<_> = (0..5_000).map(|_| admission.enter(peer("10.0.0.1"))).collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(
            admission.0.open.lock().by_address.is_empty(),
            "nothing is counted for nobody"
        );
    }

    #[test]
    fn a_place_that_is_given_back_is_free() {
        let admission = Admission::new(2, 1);
        let first = admission.enter(peer("10.0.0.1")).expect("a place");
        assert_eq!(refused(&admission, "10.0.0.1"), Some(Refused::Address));
        assert_eq!(
            refused(&admission, "::ffff:10.0.0.1"),
            Some(Refused::Address),
            "the same address"
        );
        let second = admission.enter(peer("10.0.0.2")).expect("a place");
        assert_eq!(refused(&admission, "10.0.0.3"), Some(Refused::Node));
        drop(first);
        assert_eq!(refused(&admission, "10.0.0.3"), None);
        drop(second);
        let open = admission.0.open.lock();
        assert_eq!((open.admitted, open.refused, open.by_address.len()), (0, 0, 0));
    }

    #[test]
    fn those_who_are_refused_are_bounded_too() {
        let admission = Admission::new(1, 0);
        let _first = admission.enter(peer("10.0.0.1")).expect("a place");
        let told: Vec<_> = (0..REFUSED_MAX).map(|_| admission.enter(peer("10.0.0.1"))).collect();
        assert!(
            told.iter()
                .all(|entered| matches!(entered, Err((Refused::Node, Some(_)))))
        );
        assert_eq!(refused(&admission, "10.0.0.1"), Some(Refused::Unanswered));
        drop(told);
        assert_eq!(refused(&admission, "10.0.0.1"), Some(Refused::Node));
    }
}
