//! Packets, by the byte: right ones, and ones that nobody should send.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The default of `packet_bytes_max`.
pub const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// Bytes behind their length.
pub fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a field");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A Variable Byte Integer.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number % 128) as u8;
        number /= 128;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// A packet.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&announced(first, body.len())[..], body].concat()
}

/// The fixed header of a packet of so many bytes.
pub fn announced(first: u8, bytes: usize) -> Vec<u8> {
    [vec![first], varint(bytes)].concat()
}

/// CONNECT of MQTT 5.0, clean start.
pub fn connect(client_id: &str, keep_alive_s: u16, properties: &[u8]) -> Vec<u8> {
    let head = [&field("MQTT")[..], &[5, 2], &keep_alive_s.to_be_bytes()].concat();
    let body = [&head[..], &varint(properties.len()), properties, &field(client_id)].concat();
    packet(0x10, &body)
}

/// Session Expiry Interval of an hour.
pub fn session_expiry() -> Vec<u8> {
    [&[0x11][..], &3_600_u32.to_be_bytes()].concat()
}

/// So many user properties.
pub fn user_properties(count: usize) -> Vec<u8> {
    let property = [&[0x26][..], &field("name"), &field("value")].concat();
    property.repeat(count)
}

/// SUBSCRIBE of MQTT 5.0 to one filter.
pub fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1, 0][..], &field(filter), &[qos]].concat())
}

/// PUBLISH of MQTT 5.0, QoS 0, with these properties.
pub fn publish(topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let body = [&field(topic)[..], &varint(properties.len()), properties, payload].concat();
    packet(0x30, &body)
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// The first flight of a TLS client.
pub fn client_hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a buffer takes all");
    bytes
}

/// The request of a WebSocket at `/mqtt`.
pub const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
