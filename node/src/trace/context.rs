//! Whose span an operation belongs beneath: W3C Trace Context.

/// A span that others may belong beneath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace it is of.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// Beneath which it is itself.
    pub parent: Option<u64>,
}

/// What a client says of the trace that its request is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The trace.
    pub trace_id: u128,
    /// The client's span.
    pub span_id: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

tokio::task_local! {
    /// The context of the request that this task serves.
    static CURRENT: SpanContext;
}

/// Does `work` in `context`.
pub async fn within<T>(context: SpanContext, work: impl Future<Output = T>) -> T {
    CURRENT.scope(context, work).await
}

/// The context that this is done in.
#[must_use]
pub fn current() -> Option<SpanContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// Reads a `traceparent` header (Trace Context §3.2); `None` if it is none.
#[must_use]
pub fn parse(header: &str) -> Option<Given> {
    let mut fields = header.split('-');
    let (version, trace_id, span_id, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_hex =
        |text: &str, digits| text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_first = version == "00" && fields.next().is_none();
    // Later versions may have more fields behind these.
    if !is_hex(version, 2) || version == "ff" || !(is_first || version != "00") {
        return None;
    }
    if !is_hex(trace_id, 32) || !is_hex(span_id, 16) || !is_hex(flags, 2) {
        return None;
    }
    let given = Given {
        trace_id: u128::from_str_radix(trace_id, 16).ok()?,
        span_id: u64::from_str_radix(span_id, 16).ok()?,
        sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
    };
    (given.trace_id != 0 && given.span_id != 0).then_some(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        let given = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(given.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(given.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(given.sampled);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-what-will-come";
        assert!(!parse(later).unwrap().sampled);
    }

    #[test]
    fn what_is_no_context_is_passed_over() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
    }
}
