//! The mark of a write.

use std::fmt;

/// Tells one client's write from every other write of the run.
///
/// It stands in the payload as text `c<client>-<counter>`, then optional padding after a space. A client that sends a
/// message again because it does not know what became of it keeps the whole payload: how often a serial may have taken effect
/// is the number of [operations](super::Operation) that carry it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Serial {
    /// The client.
    pub client: u32,
    /// Its writes are counted from 1.
    pub counter: u32,
}

impl Serial {
    /// Reads the serial at the beginning of a payload; `None` if the payload is none of a client of the run.
    #[must_use]
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        let text = payload.split(|&byte| byte == b' ').next()?;
        let (client, counter) = std::str::from_utf8(text).ok()?.strip_prefix('c')?.split_once('-')?;
        let serial = Self {
            client: client.parse().ok()?,
            counter: counter.parse().ok()?,
        };
        // One serial has one spelling: `c+1-02` is none.
        (serial.to_string().as_bytes() == text).then_some(serial)
    }

    /// A payload of at least `bytes` bytes.
    #[must_use]
    pub fn payload(self, bytes: usize) -> Vec<u8> {
        let mut payload = self.to_string().into_bytes();
        if payload.len() < bytes {
            payload.push(b' ');
            payload.resize(bytes, b'.');
        }
        payload
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}-{}", self.client, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_its_serial_back() {
        let serial = Serial {
            client: 12,
            counter: 345,
        };
        for bytes in [0, 7, 8, 9, 100] {
            let payload = serial.payload(bytes);
            assert!(payload.len() >= bytes);
            assert_eq!(Serial::of_payload(&payload), Some(serial), "{bytes}");
        }
    }

    #[test]
    fn other_payloads_have_none() {
        for payload in [
            "", "c1", "c1-", "c-1", "1-1", "c01-1", "c1-1x", "c+1-1", "c1-1-1", " c1-1",
        ] {
            assert_eq!(Serial::of_payload(payload.as_bytes()), None, "{payload:?}");
        }
        assert_eq!(Serial::of_payload(&[0xff, 0xfe]), None);
    }
}
