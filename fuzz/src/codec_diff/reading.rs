//! What a packet says, in a form that no codec uses itself.

use std::collections::BTreeMap;

/// One thing that a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Something outside the properties, by its name in the standard.
    Named(&'static str),
    /// A property, by its identifier.
    Property(u8),
    /// A property of the will.
    WillProperty(u8),
}

/// The value of a field, by its type (§1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of any width.
    Number(u32),
    /// UTF-8 Encoded String.
    Text(Vec<u8>),
    /// Binary Data.
    Binary(Vec<u8>),
    /// UTF-8 String Pair.
    Pair(Vec<u8>, Vec<u8>),
}

/// All that a packet says. Values of a field keep their order; between fields there is none, as between properties of
/// different identifiers.
///
/// A property that says what its absence says (§3.1.2.11 and alike) is left out: some codecs do not tell the two apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading(BTreeMap<Field, Vec<Value>>);

impl Reading {
    /// Nothing but the packet type, the upper four bits of the first byte.
    pub fn of(packet_type: u8) -> Self {
        let mut reading = Self(BTreeMap::new());
        reading.number("packet type", packet_type);
        reading
    }

    /// Adds a number.
    pub fn number(&mut self, name: &'static str, value: impl Into<u32>) {
        self.add(Field::Named(name), Value::Number(value.into()));
    }

    /// Adds a text.
    pub fn text(&mut self, name: &'static str, text: &[u8]) {
        self.add(Field::Named(name), Value::Text(text.to_vec()));
    }

    /// Adds bytes that need not be text.
    pub fn binary(&mut self, name: &'static str, bytes: &[u8]) {
        self.add(Field::Named(name), Value::Binary(bytes.to_vec()));
    }

    /// Adds a property.
    pub fn property(&mut self, identifier: u8, value: Value) {
        if !says_nothing(self.packet_type(), identifier, &value) {
            self.add(Field::Property(identifier), value);
        }
    }

    /// Adds a property of the will.
    pub fn will_property(&mut self, identifier: u8, value: Value) {
        if !says_nothing(self.packet_type(), identifier, &value) {
            self.add(Field::WillProperty(identifier), value);
        }
    }

    /// Adds a property that is a number, if it is there.
    pub fn number_property(&mut self, identifier: u8, value: Option<impl Into<u32>>) {
        if let Some(value) = value {
            self.property(identifier, Value::Number(value.into()));
        }
    }

    /// Adds a property that is text, if it is there.
    pub fn text_property(&mut self, identifier: u8, text: Option<impl AsRef<[u8]>>) {
        if let Some(text) = text {
            self.property(identifier, Value::Text(text.as_ref().to_vec()));
        }
    }

    fn add(&mut self, field: Field, value: Value) {
        self.0.entry(field).or_default().push(value);
    }

    /// The packet type.
    pub fn packet_type(&self) -> u8 {
        self.first("packet type").unwrap_or_default() as u8
    }

    /// The values of `field`.
    pub fn values(&self, field: Field) -> &[Value] {
        self.0.get(&field).map_or(&[], Vec::as_slice)
    }

    /// The first number of a field.
    pub fn first(&self, name: &'static str) -> Option<u32> {
        match self.values(Field::Named(name)).first() {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The texts of a field.
    pub fn texts(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.values(Field::Named(name)).iter().filter_map(|value| match value {
            Value::Text(text) => Some(&text[..]),
            _ => None,
        })
    }

    /// Whether there is such a field.
    pub fn has(&self, field: Field) -> bool {
        self.0.contains_key(&field)
    }

    /// Every field with its values.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &[Value])> {
        self.0.iter().map(|(&field, values)| (field, &values[..]))
    }

    /// The fields of which the two do not say the same.
    pub fn differing(&self, other: &Self) -> Vec<Field> {
        let mut fields: Vec<Field> = self.0.keys().chain(other.0.keys()).copied().collect();
        fields.sort();
        fields.dedup();
        fields.retain(|&field| self.values(field) != other.values(field));
        fields
    }
}

/// Whether the property says what its absence says.
fn says_nothing(packet_type: u8, identifier: u8, value: &Value) -> bool {
    let Value::Number(value) = *value else { return false };
    match (identifier, value) {
        // Payload Format Indicator, Request Response Information, Will Delay Interval, Topic Alias Maximum.
        (0x01 | 0x19 | 0x18 | 0x22, 0) => true,
        // Session Expiry Interval: elsewhere its absence says "as before".
        (0x11, 0) => packet_type == 1,
        // Request Problem Information; Retain, Wildcard, Identifiers and Shared Subscription Available.
        (0x17 | 0x25 | 0x28 | 0x29 | 0x2A, 1) => true,
        // Receive Maximum.
        (0x21, 65_535) => true,
        _ => false,
    }
}
