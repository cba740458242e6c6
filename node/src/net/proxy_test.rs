use super::*;

/// A header with this command and family.
fn header(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([version_command, family]);
    header.extend((rest.len() as u16).to_be_bytes());
    header.extend(rest);
    header
}

/// 192.0.2.7:40000 to 198.51.100.1:1883, then `extensions`.
fn tcp4(extensions: &[u8]) -> Vec<u8> {
    let mut rest = vec![192, 0, 2, 7, 198, 51, 100, 1];
    rest.extend(40_000_u16.to_be_bytes());
    rest.extend(1883_u16.to_be_bytes());
    rest.extend(extensions);
    header(0x21, 0x11, &rest)
}

fn client() -> SocketAddr {
    "192.0.2.7:40000".parse().unwrap()
}

#[test]
fn names_the_client() {
    assert_eq!(parse(&tcp4(&[])).unwrap(), Some(client()));
    let mut rest = [0; 36];
    rest[15] = 1;
    rest[32..34].copy_from_slice(&9_u16.to_be_bytes());
    assert_eq!(
        parse(&header(0x21, 0x21, &rest)).unwrap(),
        Some("[::1]:9".parse().unwrap())
    );
}

#[test]
fn a_probe_or_an_unknown_client_stands_for_itself() {
    assert_eq!(parse(&header(0x20, 0x00, &[])).unwrap(), None);
    assert_eq!(parse(&header(0x20, 0x11, &[1, 2, 3])).unwrap(), None);
    assert_eq!(parse(&header(0x21, 0x00, &[1, 2, 3])).unwrap(), None);
    assert_eq!(parse(&header(0x21, 0x31, &[0; UNIX_BYTES])).unwrap(), None);
}

#[test]
fn extensions_are_passed_over_if_they_are_whole() {
    assert_eq!(parse(&tcp4(&[0x04, 0, 2, 0, 0, 0x20, 0, 0])).unwrap(), Some(client()));
    for cut in [&[0x04][..], &[0x04, 0], &[0x04, 0, 2, 0], &[0x04, 0xff, 0xff]] {
        assert!(matches!(parse(&tcp4(cut)), Err(ProxyError::Malformed(_))), "{cut:?}");
    }
}

#[test]
fn a_checksum_must_be_right() {
    let mut whole = tcp4(&[EXTENSION_CRC32C, 0, 4, 0, 0, 0, 0, 0x04, 0, 1, 7]);
    let at = whole.len() - 8;
    let crc = crc32c::crc32c(&whole);
    whole[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(parse(&whole).unwrap(), Some(client()));
    whole[at] ^= 1;
    assert!(matches!(parse(&whole), Err(ProxyError::Malformed(_))));
    let wrong_size = tcp4(&[EXTENSION_CRC32C, 0, 1, 0]);
    assert!(matches!(parse(&wrong_size), Err(ProxyError::Malformed(_))));
}

#[test]
fn refuses_what_no_stream_can_have() {
    for (version_command, family) in [
        (0x11, 0x11),
        (0x22, 0x11),
        (0x21, 0x12),
        (0x21, 0x22),
        (0x21, 0x32),
        (0x21, 0x41),
    ] {
        let outcome = parse(&header(version_command, family, &[0; UNIX_BYTES]));
        assert!(
            matches!(outcome, Err(ProxyError::Malformed(_))),
            "{version_command:x} {family:x}: {outcome:?}"
        );
    }
    let whole = tcp4(&[]);
    for length in 0..whole.len() {
        assert!(parse(&whole[..length]).is_err(), "cut off at {length}");
    }
    assert!(parse(&[whole, vec![0]].concat()).is_err());
}

#[tokio::test]
async fn reads_not_a_byte_beyond_the_header() {
    let bytes = [tcp4(&[]), b"CONNECT".to_vec()].concat();
    let mut stream = bytes.as_slice();
    assert_eq!(read(&mut stream).await.unwrap(), Some(client()));
    assert_eq!(stream, b"CONNECT");
}

#[tokio::test]
async fn what_is_no_header_is_known_by_its_first_wrong_byte() {
    // The stream stays open, so that waiting for a whole header would hang.
    for bytes in [
        &b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"[..],
        b"\x10",
        b"\r\n\r\n\0\r\nQUIX",
    ] {
        let (mut near, mut far) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut far, bytes).await.unwrap();
        assert!(
            matches!(read(&mut near).await, Err(ProxyError::NotAHeader)),
            "{bytes:?}"
        );
    }
    let too_long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert!(matches!(
        read(&mut too_long.as_slice()).await,
        Err(ProxyError::TooLong(_))
    ));
    let cut_off = &tcp4(&[])[..20];
    assert!(matches!(read(&mut &*cut_off).await, Err(ProxyError::Io(_))));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(version_command: u8, family: u8, rest: Vec<u8>, raw: Vec<u8>) {
        let _either_way = parse(&header(version_command, family, &rest));
        let _either_way = parse(&raw);
        let _either_way = parse(&tcp4(&rest));
    }
}
