//! Join tokens as they are written: the cluster, a secret, and a check that all of it was copied.
//!
//! `banyan-` CLUSTER (16 hexadecimal digits) `-` SECRET (32) `-` CHECK (4, of the CRC-32C of what is before it)

use std::fmt;

use banyan_core::keyspace::member::TokenHash;

const PREFIX: &str = "banyan-";

/// With which one node may enter a cluster, once. Does not show its secret in debug output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JoinToken {
    /// The cluster.
    pub cluster_id: u64,
    /// What the cluster knows the hash of.
    pub secret: [u8; 16],
}

/// Why a text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no join token, or not all of one; copy what `banyanctl member add` printed, from `banyan-` on")]
pub struct JoinTokenError;

impl JoinToken {
    /// Parses what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// It is none, or was cut or mistyped.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        let (body, check) = text.rsplit_once('-').ok_or(JoinTokenError)?;
        let (cluster, secret) = body
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .ok_or(JoinTokenError)?;
        let is_hexadecimal = |text: &str, digits: usize| {
            text.len() == digits
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        if !is_hexadecimal(cluster, 16) || !is_hexadecimal(secret, 32) || check != check_of(body) {
            return Err(JoinTokenError);
        }
        let cluster_id = u64::from_str_radix(cluster, 16).map_err(|_| JoinTokenError)?;
        let secret = u128::from_str_radix(secret, 16).map_err(|_| JoinTokenError)?;
        Ok(Self {
            cluster_id,
            secret: secret.to_be_bytes(),
        })
    }

    /// What the cluster knows of the secret.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        hash_of(&self.secret)
    }
}

/// SHA-256 of a secret.
#[must_use]
pub fn hash_of(secret: &[u8; 16]) -> TokenHash {
    let digest = ring::digest::digest(&ring::digest::SHA256, secret);
    let mut hash = TokenHash::default();
    hash.copy_from_slice(digest.as_ref());
    hash
}

fn check_of(body: &str) -> String {
    format!("{:04x}", crc32c::crc32c(body.as_bytes()) & 0xFFFF)
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = u128::from_be_bytes(self.secret);
        let body = format!("{PREFIX}{:016x}-{secret:032x}", self.cluster_id);
        write!(f, "{body}-{}", check_of(&body))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken(for cluster {:016x})", self.cluster_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: JoinToken = JoinToken {
        cluster_id: 0xAB,
        secret: [7; 16],
    };

    #[test]
    fn tokens_come_back_as_they_were_written() {
        let text = TOKEN.to_string();
        assert!(text.starts_with("banyan-00000000000000ab-0707"), "{text}");
        assert_eq!(JoinToken::parse(&text), Ok(TOKEN));
    }

    #[test]
    fn what_was_cut_or_mistyped_is_noticed() {
        let text = TOKEN.to_string();
        for length in 0..text.len() {
            assert_eq!(JoinToken::parse(&text[..length]), Err(JoinTokenError), "{length}");
        }
        for at in 0..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[at] = if typo[at] == b'0' { b'1' } else { b'0' };
            let typo = String::from_utf8(typo).unwrap();
            assert_eq!(JoinToken::parse(&typo), Err(JoinTokenError), "{typo}");
        }
    }

    #[test]
    fn the_secret_is_not_shown_and_its_hash_is_sha_256() {
        assert_eq!(format!("{TOKEN:?}"), "JoinToken(for cluster 00000000000000ab)");
        // sha256sum of sixteen bytes 0x00
        let zero = hash_of(&[0; 16]);
        assert_eq!(zero[..4], [0x37, 0x47, 0x08, 0xff]);
    }
}
