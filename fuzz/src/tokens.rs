//! What must hold for every text that a client brings as the value of a stickiness cookie? Written once, for the fuzz target
//! and for the test that replays its corpus.

use isobar_balance::{Judgement, Seal, Token, Tokens};

/// Stands in for a signature: every byte of what is signed reaches every byte of it, and that is all that is needed here.
struct Toy(u64);

impl Toy {
    fn hash(&self, bytes: &[u8], place: u64) -> u64 {
        // Multiplied, so that no byte of what is signed makes up for another secret.
        let start = self.0.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes.iter().fold(start, |hash, &byte| {
            let mixed = (hash ^ u64::from(byte)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            mixed ^ mixed >> 29
        })
    }
}

impl Seal for Toy {
    fn id(&self, server: &[u8]) -> u64 {
        self.hash(server, 0)
    }

    fn tag(&self, id: u64) -> [u8; Token::TAG_BYTES] {
        let mut tag = [0; Token::TAG_BYTES];
        let (left, right) = tag.split_at_mut(8);
        left.copy_from_slice(&self.hash(&id.to_be_bytes(), 1).to_be_bytes());
        right.copy_from_slice(&self.hash(&id.to_be_bytes(), 2).to_be_bytes());
        tag
    }
}

const SERVERS: [&str; 3] = ["a", "b", "c"];

/// Only what was made with one of the secrets is believed, for the server it was made for, in the one spelling it has. The
/// first byte says what the rest is: a text as it is, or changes to a token.
pub(crate) fn sticky_token(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else {
        return;
    };
    let seals = [Toy(7), Toy(8)];
    let tokens = Tokens::new(&seals, &SERVERS);
    if kind & 1 == 0 {
        judged(&tokens, &seals, rest);
        return;
    }
    let seal = &[Toy(7), Toy(8), Toy(9)][usize::from(kind >> 1) % 3];
    let server = ["a", "b", "c", "left"][usize::from(kind >> 3) % 4];
    let id = seal.id(server.as_bytes());
    let made = Token { id, tag: seal.tag(id) }.text();
    let mut text = made.to_vec();
    for change in rest.chunks_exact(2).take(4) {
        let at = usize::from(change[0]) % text.len();
        text[at] ^= change[1];
    }
    if rest.len() % 2 == 1 {
        text.truncate(usize::from(rest[rest.len() - 1]));
    }
    let judgement = judged(&tokens, &seals, &text);
    if text != made {
        assert_eq!(judgement, Judgement::Forged, "{}", text.escape_ascii());
        return;
    }
    let slot = SERVERS.iter().position(|&known| known == server);
    let slot = slot.map(|slot| u32::try_from(slot).unwrap());
    let expected = match (seal.0, slot) {
        (7, Some(slot)) => Judgement::Current(slot),
        (8, Some(slot)) => Judgement::Outdated(slot),
        (9, _) => Judgement::Forged,
        _ => Judgement::Gone,
    };
    assert_eq!(judgement, expected);
}

/// Judges a text, and holds the judgement against the text itself.
fn judged(tokens: &Tokens, seals: &[Toy; 2], text: &[u8]) -> Judgement {
    let judgement = tokens.judge(text, seals);
    let token = Token::read(text);
    if let Some(token) = token {
        assert_eq!(token.text(), text, "a token has one spelling");
    }
    let is_signed = token.is_some_and(|token| seals.iter().any(|seal| seal.tag(token.id) == token.tag));
    assert_eq!(judgement != Judgement::Forged, is_signed, "{}", text.escape_ascii());
    if let Judgement::Current(slot) = judgement {
        assert_eq!(tokens.newest(slot), token);
    }
    judgement
}
