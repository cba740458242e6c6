//! Requests and responses of HTTP/1.1 as bytes (RFC 9112), as far as this client needs them.

use std::fmt::Write as _;

/// Why bytes are no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ResponseError(&'static str);

/// A response, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The value of the first header `name`, given in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Whether the server closes the connection after it.
    pub(super) fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(candidate, _)| candidate == name)?;
    Some(value)
}

/// The bytes of a request.
pub(super) fn request(method: &str, target: &str, headers: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: banyan\r\n");
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(head, "content-length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads a response at the beginning of `bytes`; `None` if more bytes are needed. The second value is how many it took.
pub(super) fn response(bytes: &[u8]) -> Result<Option<(Response, usize)>, ResponseError> {
    let Some(head_end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..head_end]).map_err(|_| ResponseError("the head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or(ResponseError("the status line is none"))?;
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or(ResponseError("a header has no colon"))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let rest = &bytes[head_end + 4..];
    let chunked = header(&headers, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = if chunked {
        chunked_body(rest)?
    } else {
        let length = match header(&headers, "content-length") {
            Some(text) => text
                .parse()
                .map_err(|_| ResponseError("the content length is no number"))?,
            None => 0,
        };
        rest.get(..length).map(|body| (body.to_vec(), length))
    };
    Ok(body.map(|(body, taken)| {
        let response = Response { status, headers, body };
        (response, head_end + 4 + taken)
    }))
}

/// A chunked body (RFC 9112 §7.1) without trailers, and how many bytes it took.
fn chunked_body(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ResponseError> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line_end) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + line_end])
            .ok()
            .and_then(|line| usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).ok())
            .ok_or(ResponseError("a chunk size is no number"))?;
        at += line_end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if &chunk[size..] != b"\r\n" {
            return Err(ResponseError("a chunk does not end where it says"));
        }
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cut of `whole` asks for more; `whole` with more behind it gives the same.
    fn check(whole: &[u8], status: u16, body: &[u8]) -> Response {
        for cut in 0..whole.len() {
            assert_eq!(response(&whole[..cut]), Ok(None), "cut at {cut}");
        }
        let (read, taken) = response(&[whole, b"HTTP"].concat()).unwrap().unwrap();
        assert_eq!((read.status, &read.body[..], taken), (status, body, whole.len()));
        read
    }

    #[test]
    fn bodies_by_length_and_by_chunks() {
        let read = check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nBanyan-Revision: 7\r\n\r\nabc",
            200,
            b"abc",
        );
        assert_eq!(read.header("banyan-revision"), Some("7"));
        assert!(!read.closes());
        let read = check(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            200,
            b"abc0123456789",
        );
        assert!(read.closes());
        check(b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b"");
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            &b"SMTP 200\r\n\r\n"[..],
            b"HTTP/1.1 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(response(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn requests() {
        let headers = [("if-match", "*".to_owned())];
        assert_eq!(
            request("PUT", "/v1/topics/a", &headers, b"1"),
            b"PUT /v1/topics/a HTTP/1.1\r\nhost: banyan\r\nif-match: *\r\ncontent-length: 1\r\n\r\n1"
        );
    }
}
