//! The PROXY protocol, version 2: a load balancer says, before anything else, for whom it opened the connection.
//!
//! Read only on listeners that ask for it, since whoever may send it may claim any address. A connection that does not
//! begin with a header is closed at the first byte that differs. Version 1, the line of text, is not taken.
//!
//! Header: signature of 12 bytes; version 2 and command, a nibble each; family and transport, a nibble each; length u16 of
//! what follows: addresses, then extensions of type u8, length u16, value. All numbers are big-endian.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What every header begins with, up to and with the length of the rest.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;
/// Most bytes that may follow: room for the certificate that a load balancer may pass on.
const REST_BYTES_MAX: usize = 4096;
/// Two names of Unix sockets, 108 bytes each.
const UNIX_BYTES: usize = 216;
/// The extension that holds a checksum of the whole header.
const EXTENSION_CRC32C: u8 = 0x03;

/// Why a connection has no header that can be used. It is closed.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The connection broke or ended within the header.
    #[error("the connection ended within its PROXY header: {0}")]
    Io(#[from] io::Error),
    /// Something else than a header.
    #[error("the connection does not begin with a PROXY protocol header of version 2")]
    NotAHeader,
    /// A length that nobody needs.
    #[error("a PROXY header of {0} bytes is longer than is taken")]
    TooLong(usize),
    /// It contradicts itself, or says what no listener of a stream can be told.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

/// Reads the header, and nothing beyond it. Returns the client that it names; `None` if it names none, as for the load
/// balancer's own probes: then the connection stands for itself. The caller sets the deadline.
///
/// # Errors
/// Any of [`ProxyError`]; the connection is of no use then.
pub async fn read(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = Vec::with_capacity(FIXED_BYTES);
    while header.len() < FIXED_BYTES {
        let missing = (FIXED_BYTES - header.len()) as u64;
        if (&mut *stream).take(missing).read_buf(&mut header).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if !header.iter().zip(&SIGNATURE).all(|(byte, expected)| byte == expected) {
            return Err(ProxyError::NotAHeader);
        }
    }
    let rest = match header.as_slice() {
        [.., high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    if rest > REST_BYTES_MAX {
        return Err(ProxyError::TooLong(FIXED_BYTES + rest));
    }
    header.resize(FIXED_BYTES + rest, 0);
    if let Some(rest) = header.get_mut(FIXED_BYTES..) {
        stream.read_exact(rest).await?;
    }
    parse(&header)
}

/// The client that a whole header names, if it names one.
///
/// # Errors
/// [`ProxyError::NotAHeader`] or [`ProxyError::Malformed`].
pub fn parse(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let after_signature = header.strip_prefix(&SIGNATURE).ok_or(ProxyError::NotAHeader)?;
    let ([version_command, family, length @ ..], rest) = after_signature
        .split_first_chunk::<4>()
        .ok_or(ProxyError::Malformed("it is cut off"))?;
    if usize::from(u16::from_be_bytes(*length)) != rest.len() {
        return Err(ProxyError::Malformed("its length is wrong"));
    }
    match version_command {
        // LOCAL: the load balancer speaks for itself; what it says about addresses is to be ignored.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(ProxyError::Malformed("neither LOCAL nor PROXY of version 2")),
    }
    let (source, extensions) = match family {
        // Unknown to the sender: what follows is to be ignored.
        0x00 => return Ok(None),
        0x11 => addresses::<4>(rest)?,
        0x21 => addresses::<16>(rest)?,
        // A Unix socket has no address that could be told.
        0x31 => (
            None,
            rest.get(UNIX_BYTES..)
                .ok_or(ProxyError::Malformed("its addresses are cut off"))?,
        ),
        _ => return Err(ProxyError::Malformed("neither TCP nor a Unix stream")),
    };
    check_extensions(header, extensions)?;
    Ok(source)
}

/// The source out of the addresses of a TCP connection (source, destination, port of each), and what follows them.
fn addresses<const N: usize>(rest: &[u8]) -> Result<(Option<SocketAddr>, &[u8]), ProxyError>
where
    IpAddr: From<[u8; N]>,
{
    let split = || {
        let (source, rest) = rest.split_first_chunk::<N>()?;
        let (_destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk::<2>()?;
        let (_destination_port, rest) = rest.split_first_chunk::<2>()?;
        let source = SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes(*source_port));
        Some((Some(source), rest))
    };
    split().ok_or(ProxyError::Malformed("its addresses are cut off"))
}

/// Checks that extensions end where the header does, and the checksum if there is one.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), ProxyError> {
    while !extensions.is_empty() {
        let split = || {
            let ([kind, length @ ..], rest) = extensions.split_first_chunk::<3>()?;
            let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            Some((*kind, value, rest))
        };
        let (kind, value, rest) = split().ok_or(ProxyError::Malformed("an extension is cut off"))?;
        if kind == EXTENSION_CRC32C {
            // Counted over the header with zeros in place of the checksum.
            let before = header.len() - rest.len() - value.len();
            let crc = crc32c::crc32c(header.get(..before).unwrap_or_default());
            let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &[0; 4]), rest);
            if value != crc.to_be_bytes() {
                return Err(ProxyError::Malformed("its checksum is wrong"));
            }
        }
        extensions = rest;
    }
    Ok(())
}

#[cfg(test)]
#[path = "proxy_test.rs"]
mod proxy_test;
