//! What must be true of a topic for a write to be applied.

/// A condition on the stored value, decided when the write is applied and before its timestamp is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Always met.
    #[default]
    None,
    /// The value has exactly this revision; 0: there is no value (`if-revision`, `If-Match`).
    Revision(u64),
    /// There is no value (`if-absent`, `If-None-Match: *`).
    Absent,
    /// There is a value (`if-present`).
    Present,
}

impl Condition {
    /// Whether it is met by a topic whose value has revision `current`, or that has none.
    #[must_use]
    pub const fn is_met(self, current: Option<u64>) -> bool {
        match (self, current) {
            (Self::None, _) | (Self::Revision(0) | Self::Absent, None) | (Self::Present, Some(_)) => true,
            (Self::Revision(revision), Some(current)) => revision == current,
            (Self::Revision(_) | Self::Present, None) | (Self::Absent, Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_about_the_value() {
        let table = [
            (Condition::None, true, true),
            (Condition::Revision(0), true, false),
            (Condition::Revision(7), false, true),
            (Condition::Revision(8), false, false),
            (Condition::Absent, true, false),
            (Condition::Present, false, true),
        ];
        for (condition, missing, at_seven) in table {
            assert_eq!(condition.is_met(None), missing, "{condition:?}");
            assert_eq!(condition.is_met(Some(7)), at_seven, "{condition:?}");
        }
    }
}
