//! Ports that stay free while their node is down.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

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

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
