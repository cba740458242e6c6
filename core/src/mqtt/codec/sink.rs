//! The data types of §1.5, written: to a buffer, or only counted.
//!
//! Lengths stand before what they count, so every packet is walked twice by the same code: first with [`Length`], then
//! with the buffer. The two cannot disagree.

use bytes::{BufMut, Bytes, BytesMut};

use super::properties::Property;
use super::varint;
use crate::mqtt::packet::UserProperties;

/// Where encoded bytes go.
pub(super) trait Sink {
    /// Appends `bytes`.
    fn bytes(&mut self, bytes: &[u8]);

    /// Appends a byte.
    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// Appends a Two Byte Integer (§1.5.2).
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends a Four Byte Integer (§1.5.3).
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends a Variable Byte Integer (§1.5.5).
    fn varint(&mut self, value: u32) {
        let (bytes, len) = varint::encode(value);
        self.bytes(bytes.get(..len).unwrap_or_default());
    }

    /// Appends Binary Data (§1.5.6): at most 65,535 bytes of it.
    fn binary(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
        self.u16(bytes.len() as u16);
        self.bytes(bytes);
    }

    /// Appends a UTF-8 Encoded String (§1.5.4): at most 65,535 bytes of it, cut at a character.
    fn str(&mut self, text: &str) {
        let mut cut = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        self.binary(text.get(..cut).unwrap_or_default().as_bytes());
    }
}

impl Sink for BytesMut {
    fn bytes(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Default)]
pub(super) struct Length(pub(super) usize);

impl Sink for Length {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Writes a property section: its length, then what `write` writes (§2.2.2).
pub(super) fn properties(out: &mut dyn Sink, write: impl Fn(&mut dyn Sink)) {
    let mut length = Length::default();
    write(&mut length);
    out.varint(length.0 as u32);
    write(out);
}

/// Whether `write` writes nothing.
pub(super) fn is_empty(write: impl Fn(&mut dyn Sink)) -> bool {
    let mut length = Length::default();
    write(&mut length);
    length.0 == 0
}

/// One property each; `None` writes nothing.
impl dyn Sink + '_ {
    pub(super) fn u8_property(&mut self, property: Property, value: Option<u8>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.u8(value);
        }
    }

    pub(super) fn bool_property(&mut self, property: Property, value: Option<bool>) {
        self.u8_property(property, value.map(u8::from));
    }

    pub(super) fn u16_property(&mut self, property: Property, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.u16(value);
        }
    }

    pub(super) fn u32_property(&mut self, property: Property, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.u32(value);
        }
    }

    pub(super) fn varint_property(&mut self, property: Property, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.varint(value);
        }
    }

    pub(super) fn str_property(&mut self, property: Property, value: Option<&str>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.str(value);
        }
    }

    /// Binary data, or text that was checked when it became `Bytes`: both are written alike.
    pub(super) fn bytes_property(&mut self, property: Property, value: Option<&Bytes>) {
        if let Some(value) = value {
            self.u8(property as u8);
            self.binary(value);
        }
    }

    pub(super) fn user_properties(&mut self, properties: &UserProperties) {
        for (name, value) in properties {
            self.u8(Property::User as u8);
            self.binary(name);
            self.binary(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character() {
        let text = format!("{}€", "a".repeat(65_534));
        let mut out = BytesMut::new();
        out.str(&text);
        assert_eq!(out.len(), 2 + 65_534);
        assert_eq!(&out[..2], &65_534_u16.to_be_bytes());
    }

    #[test]
    fn binary_is_cut_at_its_longest() {
        let mut out = BytesMut::new();
        out.binary(&vec![7; 70_000]);
        assert_eq!(out.len(), 2 + 65_535);
        assert_eq!(&out[..2], &[0xFF, 0xFF]);
    }
}
