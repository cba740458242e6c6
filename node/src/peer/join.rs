//! One question of a node that is no member yet: may it enter?
//!
//! The connection begins with a hello like any other, with the id of the cluster that the node wants to enter. Then goes one
//! request and comes one response, both bounded, and the connection is closed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::PeerHandler;
use super::frame::{FRAME_HEADER_BYTES, Frame, FrameType, Status};
use super::handshake::{self, HandshakeError, Hello, Purpose, Refusal};
use super::standing::Unproven;
use crate::net::{BoxStream, Net};

/// Largest question and answer.
const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + 4096;
/// Time for the question to arrive after the hello.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time that the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a node that asked to be let in got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It could not be asked, or did not answer. It may have let the node in; asking again is safe.
    #[error("{0}")]
    Unreachable(String),
    /// It does not talk to this node.
    #[error("{0}")]
    Refused(Refusal),
}

/// Asks the node at `address` of cluster `cluster_id` to let node `local` in, at most `timeout`. What is asked and answered is
/// between this and [`PeerHandler::on_join`].
///
/// # Errors
/// [`JoinError`].
pub async fn ask_to_join(
    net: &dyn Net,
    cluster_id: u64,
    local: u64,
    address: &str,
    body: Bytes,
    timeout: Duration,
) -> Result<Bytes, JoinError> {
    let asked = async {
        let mut stream = net.connect(address).await?;
        let mut buffer = BytesMut::new();
        let hello = Hello {
            cluster_id,
            from: local,
            to: 0,
            purpose: Purpose::Join,
        };
        handshake::open(&mut stream, &mut buffer, &hello, &Unproven).await?;
        let request = Frame {
            frame_type: FrameType::Request,
            kind: 0,
            id: 1,
            timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            body,
        };
        handshake::write(&mut stream, &request).await?;
        handshake::read_bounded(&mut stream, &mut buffer, FRAME_BYTES_MAX).await
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(response)) if response.frame_type == FrameType::Response => match Status::from_u8(response.kind) {
            Some(Status::Ok) => Ok(response.body),
            _ => Err(JoinError::Unreachable(
                String::from_utf8_lossy(&response.body).into_owned(),
            )),
        },
        Ok(Ok(_)) => Err(JoinError::Unreachable(HandshakeError::Unexpected.to_string())),
        Ok(Err(HandshakeError::Refused(refusal))) => Err(JoinError::Refused(refusal)),
        Ok(Err(error)) => Err(JoinError::Unreachable(error.to_string())),
        Err(_) => Err(JoinError::Unreachable("no answer in time".to_owned())),
    }
}

/// Answers node `from` on a connection that it opened to join.
///
/// # Errors
/// The connection broke, or carried something else.
pub(super) async fn answer(
    stream: &mut BoxStream,
    buffer: &mut BytesMut,
    from: u64,
    handler: &dyn PeerHandler,
) -> Result<(), HandshakeError> {
    let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let question = handshake::read_bounded(stream, buffer, FRAME_BYTES_MAX);
    let question = tokio::time::timeout(QUESTION_TIMEOUT, question)
        .await
        .map_err(|_| timed_out())??;
    if question.frame_type != FrameType::Request {
        return Err(HandshakeError::Unexpected);
    }
    let timeout = Duration::from_millis(question.timeout_ms.into()).min(ANSWER_TIMEOUT);
    let (status, body) = match tokio::time::timeout(timeout, handler.on_join(from, question.body)).await {
        Ok(Ok(body)) => (Status::Ok, body),
        Ok(Err(reason)) => (Status::Failed, Bytes::from(reason)),
        Err(_) => (Status::Failed, Bytes::from_static(b"no answer in time")),
    };
    let response = Frame::of(FrameType::Response, status as u8, question.id, body);
    tokio::time::timeout(QUESTION_TIMEOUT, handshake::write(stream, &response))
        .await
        .map_err(|_| timed_out())??;
    Ok(())
}
