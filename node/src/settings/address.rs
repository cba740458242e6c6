//! Addresses as they are written: `host:port`, and `id@host:port` for a member of a new cluster.

use std::fmt;
use std::net::IpAddr;

/// `host:port`. The host is a name, an IPv4 address, or an IPv6 address in brackets; names are not looked up here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    text: String,
    port: u16,
    host_len: usize,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No colon, or nothing after it.
    #[error("`{0}` has no port: write `host:port`")]
    NoPort(String),
    /// The port is no number up to 65,535.
    #[error("`{0}` does not end in a port between 0 and 65535")]
    Port(String),
    /// Nothing before the colon.
    #[error("`{0}` has no host: write `127.0.0.1{0}`, or `0.0.0.0{0}` for every interface")]
    NoHost(String),
    /// An IPv6 address whose colons cannot be told from the port's.
    #[error("`{0}`: write an IPv6 address in brackets, as in `[::1]:7400`")]
    Brackets(String),
    /// Characters that occur in no host.
    #[error("`{0}` is no host name or address (a scheme such as `mqtt://` does not belong here)")]
    Host(String),
}

impl Address {
    /// Parses `host:port`.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.contains('/') {
            return Err(AddressError::Host(text.to_owned()));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
        if port.is_empty() {
            return Err(AddressError::NoPort(text.to_owned()));
        }
        if host.is_empty() {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        let is_digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|_| is_digits)
            .ok_or_else(|| AddressError::Port(text.to_owned()))?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bracketed {
            Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_err() => {
                return Err(AddressError::Host(text.to_owned()));
            }
            Some(_) => {}
            None if host.contains(':') => return Err(AddressError::Brackets(text.to_owned())),
            None if !host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) =>
            {
                return Err(AddressError::Host(text.to_owned()));
            }
            None => {}
        }
        Ok(Self {
            text: text.to_owned(),
            port,
            host_len: host.len(),
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.text.get(..self.host_len).unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port; 0 lets the system choose one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port, as it is written.
    #[must_use]
    pub fn with_port(&self, port: u16) -> String {
        format!("{}:{port}", self.text.get(..self.host_len).unwrap_or_default())
    }

    /// Whether only this machine can reach it. A name other than `localhost` counts as reachable, wherever it leads.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.host().parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host().eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether it stands for every interface, so that nobody can connect to it as it is written.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        self.host()
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A member of a new cluster: its id, and where its peers reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Node id, not 0.
    pub node_id: u64,
    /// Advertised peer address.
    pub address: Address,
}

/// Why a text is no member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// No `@`, or no id before it.
    #[error("`{0}` is no member: write its node id and peer address, as in `1@node1.example.org:7400`")]
    Form(String),
    /// What follows the `@` is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody can connect there.
    #[error("`{0}`: other nodes cannot connect to this address; write the host and port they reach the node by")]
    Unreachable(String),
}

impl Member {
    /// Parses `id@host:port`.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, MemberError> {
        let form = || MemberError::Form(text.to_owned());
        let (id, address) = text.split_once('@').ok_or_else(form)?;
        let node_id = id
            .parse()
            .ok()
            .filter(|&id| id != 0 && i64::try_from(id).is_ok())
            .ok_or_else(form)?;
        let address = Address::parse(address)?;
        if address.port() == 0 || address.is_unspecified() {
            return Err(MemberError::Unreachable(text.to_owned()));
        }
        Ok(Self { node_id, address })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node_id, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_and_both_kinds_of_ip_address() {
        let name = Address::parse("node-1.example.org:7400").unwrap();
        assert_eq!(
            (name.host(), name.port(), name.is_loopback()),
            ("node-1.example.org", 7400, false)
        );
        let v4 = Address::parse("127.0.0.1:0").unwrap();
        assert_eq!((v4.host(), v4.port(), v4.is_loopback()), ("127.0.0.1", 0, true));
        let v6 = Address::parse("[::1]:7400").unwrap();
        assert_eq!((v6.host(), v6.is_loopback(), v6.as_str()), ("::1", true, "[::1]:7400"));
        assert!(Address::parse("LOCALHOST:1").unwrap().is_loopback());
        assert!(Address::parse("0.0.0.0:1").unwrap().is_unspecified());
        assert!(Address::parse("[::]:1").unwrap().is_unspecified());
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("localhost", AddressError::NoPort("localhost".to_owned())),
            ("localhost:", AddressError::NoPort("localhost:".to_owned())),
            (":1883", AddressError::NoHost(":1883".to_owned())),
            ("a:65536", AddressError::Port("a:65536".to_owned())),
            ("a:+1", AddressError::Port("a:+1".to_owned())),
            ("::1:7400", AddressError::Brackets("::1:7400".to_owned())),
            ("mqtt://a:1", AddressError::Host("mqtt://a:1".to_owned())),
            ("[zz]:1", AddressError::Host("[zz]:1".to_owned())),
            ("a b:1", AddressError::Host("a b:1".to_owned())),
        ] {
            assert_eq!(Address::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn members_have_an_id_and_a_reachable_address() {
        let member = Member::parse("7@h:7400").unwrap();
        assert_eq!((member.node_id, member.to_string().as_str()), (7, "7@h:7400"));
        for wrong in [
            "h:7400",
            "0@h:7400",
            "x@h:7400",
            "1@h",
            "1@0.0.0.0:7400",
            "1@h:0",
            "18446744073709551615@h:1",
        ] {
            assert!(Member::parse(wrong).is_err(), "{wrong}");
        }
    }
}
