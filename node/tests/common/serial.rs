//! Payloads that say who wrote them and when.

use std::fmt;
use std::str::FromStr;

/// One attempt to write. No attempt is made twice: after a lost connection a writer goes on with new numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial {
    /// Who wrote.
    pub writer: usize,
    /// Counts the writer's attempts from 0.
    pub number: u64,
}

impl Serial {
    /// The payload: the serial as text, filled up with blanks to `bytes`.
    pub fn payload(self, bytes: usize) -> String {
        format!("{:<bytes$}", self.to_string())
    }

    /// The serial in a payload.
    ///
    /// # Panics
    /// If there is none.
    pub fn of_payload(payload: &[u8]) -> Self {
        let text = std::str::from_utf8(payload).expect("a payload of these tests is text");
        text.parse()
            .unwrap_or_else(|()| panic!("the payload {text:?} was never written"))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "writer {} number {}", self.writer, self.number)
    }
}

impl FromStr for Serial {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (writer, number) = text
            .trim_end()
            .strip_prefix("writer ")
            .ok_or(())?
            .split_once(" number ")
            .ok_or(())?;
        Ok(Self {
            writer: writer.parse().map_err(drop)?,
            number: number.parse().map_err(drop)?,
        })
    }
}
