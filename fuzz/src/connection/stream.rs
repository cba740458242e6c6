//! A stream of bytes, whole and in pieces.

use banyan_core::mqtt::connection::{Connection, Effect, ProposeResult, RegisterResult, SubscribeResult};
use banyan_core::state::Outcome;
use bytes::BytesMut;

use super::{connect_bytes, settings};
use crate::choices::Choices;

/// Feeds a stream twice and compares.
pub(super) fn run(choices: &mut Choices<'_>) {
    let cut = choices.u8();
    let mut stream = connect_bytes(choices);
    stream.extend_from_slice(choices.rest());
    let whole = feed(&stream, [usize::MAX, usize::MAX]);
    let pieces = feed(&stream, [1 + usize::from(cut & 0x0F), 1 + usize::from(cut >> 4)]);
    assert_eq!(whole, pieces, "the pieces matter");
}

/// Everything a connection does when `stream` arrives in pieces of these lengths by turns, and its questions are answered
/// in order once all has arrived. Only registering cannot wait, since nothing is read meanwhile.
fn feed(stream: &[u8], lengths: [usize; 2]) -> (Vec<Effect>, BytesMut) {
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
            connection.on_registered(RegisterResult::Registered, 0, &mut effects);
        }
        if rest.is_empty() {
            break;
        }
    }
    let mut answered = 0;
    while let Some(effect) = effects.get(answered) {
        answered += 1;
        match effect {
            &Effect::Propose { token, .. } => {
                let outcome = Outcome::Applied {
                    revision: 1,
                    created: true,
                };
                connection.on_outcome(token, ProposeResult::Outcome(outcome), &mut effects);
            }
            Effect::Subscribe(request) => {
                let token = request.token;
                connection.on_subscribed(token, SubscribeResult::Subscribed { revision: 1 }, &mut effects);
            }
            _ => continue,
        }
        connection.on_bytes(&mut buf, 0, &mut effects);
    }
    let close = effects.iter().position(|effect| matches!(effect, Effect::Close));
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
