//! Where the parts of a packet lie, read as plainly as can be and without any judgement: for rules that are about bytes which
//! no longer show in what was read.

use std::ops::Range;

use banyan_core::mqtt::ProtocolVersion;

use super::{CONNECT, Frame};

/// Parts of a packet's body, as offsets into it.
#[derive(Debug, Default)]
pub struct Layout {
    /// The protocol name of a CONNECT, then its level and flags.
    pub protocol: Option<(Vec<u8>, u8, u8)>,
    /// Property sections, their lengths included.
    pub sections: Vec<Range<usize>>,
    /// The byte behind each filter of a SUBSCRIBE.
    pub options: Vec<u8>,
    /// Behind the last field.
    pub end: usize,
}

impl Layout {
    /// The layout of `frame`, or `None` if a field reaches beyond it.
    pub fn of(frame: &Frame) -> Option<Self> {
        let mut walk = Walk {
            body: frame.body(),
            layout: Self::default(),
        };
        walk.packet(frame)?;
        Some(walk.layout)
    }
}

struct Walk<'a> {
    body: &'a [u8],
    layout: Layout,
}

impl Walk<'_> {
    fn packet(&mut self, frame: &Frame) -> Option<()> {
        let is_v5 = frame.version == ProtocolVersion::V5;
        match frame.packet_type() {
            CONNECT => self.connect()?,
            2 => {
                self.bytes(2)?;
                self.section_if(is_v5)?;
            }
            3 => {
                self.field()?;
                self.bytes(if frame.first() & 0b110 == 0 { 0 } else { 2 })?;
                self.section_if(is_v5)?;
                self.layout.end = self.body.len();
            }
            4..=7 => {
                self.bytes(2)?;
                self.reason_and_section(is_v5)?;
            }
            8 => {
                self.bytes(2)?;
                self.section_if(is_v5)?;
                while self.left() > 0 {
                    self.field()?;
                    let options = self.bytes(1)?[0];
                    self.layout.options.push(options);
                }
            }
            9 | 10 => {
                self.bytes(2)?;
                self.section_if(is_v5)?;
                self.layout.end = self.body.len();
            }
            11 => {
                self.bytes(2)?;
                if is_v5 {
                    self.section_if(true)?;
                    self.layout.end = self.body.len();
                }
            }
            14 | 15 => self.reason_and_section(is_v5)?,
            _ => {}
        }
        Some(())
    }

    fn connect(&mut self) -> Option<()> {
        let name = self.field()?.to_vec();
        let &[level, flags] = self.bytes(2)? else { return None };
        self.layout.protocol = Some((name, level, flags));
        self.bytes(2)?;
        self.section_if(level == 5)?;
        self.field()?;
        if flags & 0b100 != 0 {
            self.section_if(level == 5)?;
            self.field()?;
            self.field()?;
        }
        for flag in [0x80, 0x40] {
            if flags & flag != 0 {
                self.field()?;
            }
        }
        Some(())
    }

    fn reason_and_section(&mut self, is_v5: bool) -> Option<()> {
        if is_v5 && self.left() > 0 {
            self.bytes(1)?;
            let is_there = self.left() > 0;
            self.section_if(is_there)?;
        }
        Some(())
    }

    fn section_if(&mut self, is_there: bool) -> Option<()> {
        if !is_there {
            return Some(());
        }
        let start = self.layout.end;
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.bytes(1)?[0];
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.bytes(length)?;
        self.layout.sections.push(start..self.layout.end);
        Some(())
    }

    /// Two bytes of length and as many more.
    fn field(&mut self) -> Option<&[u8]> {
        let &[high, low] = self.bytes(2)? else { return None };
        self.bytes(u16::from_be_bytes([high, low]).into())
    }

    fn bytes(&mut self, count: usize) -> Option<&[u8]> {
        let start = self.layout.end;
        let bytes = self.body.get(start..start + count)?;
        self.layout.end += count;
        Some(bytes)
    }

    fn left(&self) -> usize {
        self.body.len() - self.layout.end
    }
}
