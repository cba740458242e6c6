//! Which characters may stand in a topic name or filter (§1.5.4).

/// What is wrong with the characters of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadCharacter {
    /// U+0000 [MQTT-4.7.3-2].
    Null,
    /// A control character or a non-character: legal to refuse (§1.5.4).
    Control,
}

/// Finds the first character that we refuse. One pass over the bytes; characters are decoded only if one is not ASCII.
pub(super) fn check(text: &str) -> Result<(), BadCharacter> {
    let mut ascii = true;
    for byte in text.bytes() {
        match byte {
            0 => return Err(BadCharacter::Null),
            0x01..=0x1F | 0x7F => return Err(BadCharacter::Control),
            0x80.. => ascii = false,
            _ => {}
        }
    }
    if !ascii && text.chars().any(is_refused) {
        return Err(BadCharacter::Control);
    }
    Ok(())
}

/// C1 control characters and the 66 non-characters; what is ASCII was checked before.
fn is_refused(character: char) -> bool {
    let code = u32::from(character);
    matches!(code, 0x80..=0x9F | 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_text_of_all_planes() {
        for text in [
            "",
            "a/b",
            "Zürich/温度",
            "🌳",
            " ~",
            "\u{A0}",
            "\u{FFFD}",
            "\u{10FFFD}",
            "\u{FEFF}",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn refuses_null() {
        // [MQTT-4.7.3-2]
        assert_eq!(check("a\0"), Err(BadCharacter::Null));
    }

    #[test]
    fn refuses_control_characters() {
        for code in (0x01..=0x1F).chain(0x7F..=0x9F) {
            let text = format!("a{}b", char::from_u32(code).unwrap());
            assert_eq!(check(&text), Err(BadCharacter::Control), "U+{code:04X}");
        }
    }

    #[test]
    fn refuses_all_66_non_characters() {
        let refused = (0..=0x10_FFFF)
            .filter_map(char::from_u32)
            .filter(|character| *character > '\u{9F}' && is_refused(*character))
            .count();
        assert_eq!(refused, 66);
    }
}
