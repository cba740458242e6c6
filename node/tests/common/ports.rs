//! Ports that stay free while their node is down.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use banyan_node::settings::{Address, Member};

/// First port handed out: below the range from which systems take the ports of outgoing connections, so that no client of a
/// restarted node sits on the node's port.
const FIRST: u32 = 10_240;
/// Number of ports from there on.
const COUNT: u32 = 20_000;

/// A TCP port of loopback that nobody else who reserves this way uses. The mark is the UDP port of the same number, held
/// open, so that the TCP port itself is free for the node to bind, give up and bind again.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _mark: UdpSocket,
}

impl ReservedPort {
    /// Reserves one.
    ///
    /// # Panics
    /// If all are in use.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Test programs that run side by side begin far from each other.
        let start = std::process::id().wrapping_mul(7_919);
        for _ in 0..COUNT {
            let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
            let number = u16::try_from(FIRST + offset).expect("the range ends below 65,536");
            let address = (Ipv4Addr::LOCALHOST, number);
            if let (Ok(mark), Ok(_free)) = (UdpSocket::bind(address), TcpListener::bind(address)) {
                return Self { number, _mark: mark };
            }
        }
        panic!("no free port");
    }

    /// `N` of them with consecutive numbers.
    pub fn neighbours<const N: usize>() -> [Self; N] {
        loop {
            let ports: [Self; N] = std::array::from_fn(|_| Self::new());
            if ports.is_sorted_by(|a, b| a.number + 1 == b.number) {
                return ports;
            }
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Reserves `count` ports, for the members of one cluster to share.
pub fn reserve(count: usize) -> Arc<[ReservedPort]> {
    (0..count).map(|_| ReservedPort::new()).collect()
}

/// The members of a cluster whose peers listen at `ports`; node ids count from 1.
pub fn members(ports: &[ReservedPort]) -> Vec<Member> {
    (1..)
        .zip(ports)
        .map(|(node_id, port)| Member {
            node_id,
            address: Address::parse(&format!("127.0.0.1:{}", port.number)).expect("an address"),
        })
        .collect()
}
