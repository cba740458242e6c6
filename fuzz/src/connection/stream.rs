//! A stream of bytes, whole and in pieces.

use banyan_core::command::Operation;
use banyan_core::mqtt::connection::{AckKind, Connection, Effect, ProposeResult, SubscribeResult, UnsubscribeResult};
use banyan_core::state::Outcome;
use bytes::BytesMut;

use super::{connect_bytes, registered, settings};
use crate::choices::Choices;

/// Feeds a stream twice and compares.
pub(super) fn run(choices: &mut Choices<'_>) {
    let (cut, form) = (choices.u8(), choices.u8());
    let mut stream = connect_bytes(choices);
    stream.extend_from_slice(choices.rest());
    let whole = feed(&stream, [usize::MAX, usize::MAX], form);
    let pieces = feed(&stream, [1 + usize::from(cut & 0x0F), 1 + usize::from(cut >> 4)], form);
    assert_eq!(whole, pieces, "the pieces matter");
}

/// Everything a connection does when `stream` arrives in pieces of these lengths by turns, and its questions are answered
/// in order once all has arrived. Only registering cannot wait, since nothing is read meanwhile.
fn feed(stream: &[u8], lengths: [usize; 2], form: u8) -> (Vec<Effect>, BytesMut) {
    let mut connection = Connection::new(settings(), 7, 0);
    let (mut effects, mut handled) = (Vec::new(), 0);
    let mut buf = BytesMut::new();
    let mut rest = stream;
    for length in lengths.into_iter().cycle() {
        let (piece, following) = rest.split_at(length.min(rest.len()));
        rest = following;
        buf.extend_from_slice(piece);
        loop {
            connection.on_bytes(&mut buf, 0, &mut effects);
            let new = &effects[handled..];
            handled = effects.len();
            if !new.iter().any(|effect| matches!(effect, Effect::Authenticated(_))) {
                break;
            }
            connection.on_registered(registered(form), 0, &mut effects);
        }
        if rest.is_empty() {
            break;
        }
    }
    let mut answered = 0;
    while let Some(effect) = effects.get(answered) {
        answered += 1;
        match effect {
            Effect::Propose { token, command } => {
                let token = *token;
                let outcome = match command.operation {
                    Operation::Release(_) => Outcome::Released { known: true },
                    _ => Outcome::Applied {
                        revision: 1,
                        created: true,
                    },
                };
                connection.on_outcome(token, ProposeResult::Outcome(outcome), &mut effects);
            }
            Effect::Subscribe(request) => {
                let token = request.token;
                connection.on_subscribed(token, SubscribeResult::Subscribed { revision: 1 }, &mut effects);
            }
            &Effect::Unsubscribe { token, .. } => {
                connection.on_unsubscribed(token, UnsubscribeResult::Unsubscribed, &mut effects);
            }
            &Effect::Acknowledged {
                packet_id,
                kind: AckKind::Received,
            } => connection.release(packet_id, &mut effects),
            _ => continue,
        }
        connection.on_bytes(&mut buf, 0, &mut effects);
    }
    let close = effects.iter().position(|effect| matches!(effect, Effect::Close(_)));
    assert_eq!(
        close.map(|at| at + 1),
        connection.is_closed().then_some(effects.len()),
        "{effects:?}"
    );
    if connection.is_closed() {
        // What arrives after the end is of no interest.
        buf.clear();
    }
    (effects, buf)
}
