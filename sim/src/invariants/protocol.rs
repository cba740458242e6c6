//! Nodes keep to MQTT: what clients could not make sense of, and acknowledgements out of order.

use crate::history::{Finished, Invariant, ProtocolError, Violation};

const ID: &str = ProtocolError::ID;

/// See the module.
#[derive(Debug)]
pub(super) struct Protocol;

impl Invariant for Protocol {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        no_error(finished, ID)
    }
}

/// That no client has seen a node break this promise.
pub(super) fn no_error(finished: &Finished<'_>, id: &'static str) -> Result<(), Violation> {
    let mut errors = finished.history.protocol_errors.iter();
    match errors.find(|error| error.invariant == id) {
        None => Ok(()),
        Some(error) => Err(Violation {
            invariant: id,
            at: error.at,
            message: format!("towards client {} node {}: {}", error.client, error.node, error.what),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn an_error_is_a_violation() {
        let mut run = Run::new();
        assert!(run.finish(&mut Protocol).is_ok());
        run.history.protocol_errors.push(ProtocolError {
            at: 1,
            client: 1,
            node: 2,
            invariant: ID,
            what: "acknowledged out of order".to_owned(),
        });
        assert!(run.finish(&mut Protocol).is_err());
    }
}
