//! What must hold of the frames of HTTP/2, whatever the bytes and the pieces in which they come? Written once, for the fuzz target and
//! for the tests.

use isobar_wire::http2::frames::Frames;
use isobar_wire::http2::meter::{Budgets, Meter};

const BUDGETS: Budgets = Budgets {
    window_ms: 1_000,
    resets: 3,
    resets_sent: 3,
    pings: 3,
    settings: 3,
    empty_data: 3,
    priorities: 3,
    window_updates: 3,
    continuations: 3,
};

/// What a meter says.
fn verdict(meter: &Meter) -> impl PartialEq + std::fmt::Debug {
    (
        meter.excess(),
        meter.fault(),
        meter.heads(),
        meter.has_settings(),
        meter.is_within_head(),
    )
}

/// The first byte is the length of the pieces, the others are what comes.
pub(crate) fn http2_frames(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let piece = usize::from(piece) + 1;
    // Found as whole frames, by their lengths alone.
    let (mut expected, mut rest) = (Vec::new(), bytes);
    while let [a, b, c, kind, flags, _, _, _, _, payload @ ..] = rest {
        let len = u32::from_be_bytes([0, *a, *b, *c]);
        // Of a RST_STREAM the reason is waited for.
        if *kind == 3 && len == 4 && payload.len() < 4 {
            break;
        }
        let error = (*kind == 3 && len == 4).then(|| u32::from_be_bytes(payload[..4].try_into().expect("four bytes")));
        expected.push((*flags, len, error));
        rest = payload.get(len as usize..).unwrap_or_default();
    }
    let mut found = Vec::new();
    let mut frames = Frames::behind(0);
    for piece in bytes.chunks(piece) {
        frames.pass(piece, |head| found.push((head.flags, head.len, head.error)));
    }
    assert_eq!(found, expected);

    for new in [Meter::of_client, Meter::of_server] {
        let (mut whole, mut pieces) = (new(BUDGETS), new(BUDGETS));
        whole.received(bytes, 0);
        whole.sent(bytes);
        let mut first = None;
        for piece in bytes.chunks(piece) {
            pieces.received(piece, 0);
            // What was too much stays so.
            assert!(first.is_none() || pieces.excess() == first);
            first = pieces.excess();
        }
        pieces.sent(bytes);
        assert_eq!(verdict(&whole), verdict(&pieces));
    }
}
