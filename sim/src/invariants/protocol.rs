//! Nodes keep to MQTT: what clients could not make sense of, and acknowledgements out of order.

use crate::history::{Finished, Invariant, Violation};

const ID: &str = "protocol";

/// See the module.
#[derive(Debug)]
pub(super) struct Protocol;

impl Invariant for Protocol {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        match finished.history.protocol_errors.first() {
            None => Ok(()),
            Some(error) => Err(Violation {
                invariant: ID,
                at: error.at,
                message: format!("towards client {} node {}: {}", error.client, error.node, error.what),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::ProtocolError;

    #[test]
    fn an_error_is_a_violation() {
        let mut run = Run::new();
        assert!(run.finish(&mut Protocol).is_ok());
        run.history.protocol_errors.push(ProtocolError {
            at: 1,
            client: 1,
            node: 2,
            what: "acknowledged out of order".to_owned(),
        });
        assert!(run.finish(&mut Protocol).is_err());
    }
}
