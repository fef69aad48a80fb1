//! What does a client bring along to be sent to its server again, and can it be believed?
//!
//! A token is an id and a tag over it. The id stands for a server and says nothing of it; the tag shows that one who has
//! the secret made the token. How both follow from the secret is the [`Seal`]'s business.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::black_box;

/// A secret, bound to those whose servers its tokens name.
pub trait Seal {
    /// What tokens call the server that is described by these bytes: another with each secret.
    fn id(&self, server: &[u8]) -> u64;

    /// What shows that the token of this id was made with the secret.
    fn tag(&self, id: u64) -> [u8; Token::TAG_BYTES];
}

/// The name of a server that a client can keep and cannot make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What stands for the server.
    pub id: u64,
    /// What shows that it was made here.
    pub tag: [u8; Self::TAG_BYTES],
}

impl Token {
    /// Bytes of a tag: who tries a thousand million tokens a second hits one in 10²² years.
    pub const TAG_BYTES: usize = 16;

    /// Bytes of a token as text: 24 of its own, four for every three.
    pub const TEXT_BYTES: usize = 32;

    /// As text, in the base64 of URLs (RFC 4648 section 5), which needs no padding for this length.
    #[must_use]
    pub fn text(&self) -> [u8; Self::TEXT_BYTES] {
        let mut bytes = [0; 24];
        let (id, tag) = bytes.split_at_mut(8);
        id.copy_from_slice(&self.id.to_be_bytes());
        tag.copy_from_slice(&self.tag);
        let mut text = [0; Self::TEXT_BYTES];
        for (three, four) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
            let bits = three.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
            for (place, digit) in four.iter_mut().enumerate() {
                *digit = digit_of(bits >> (18 - 6 * place) & 63);
            }
        }
        text
    }

    /// Reads the text of a token; none: it is not one. No two texts are one token.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.len() != Self::TEXT_BYTES {
            return None;
        }
        let mut bytes = [0; 24];
        for (four, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
            let mut bits = 0;
            for &digit in four {
                bits = bits << 6 | value_of(digit)?;
            }
            let [_, high, middle, low] = bits.to_be_bytes();
            three.copy_from_slice(&[high, middle, low]);
        }
        let (id, tag) = bytes.split_at(8);
        Some(Self {
            id: u64::from_be_bytes(id.try_into().ok()?),
            tag: tag.try_into().ok()?,
        })
    }
}

fn digit_of(value: u32) -> u8 {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    DIGITS.get(value as usize).copied().unwrap_or(b'A')
}

fn value_of(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// What a text that should be a token turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The newest token of the server at this slot.
    Current(u32),
    /// A token of the server at this slot, made with an older secret.
    Outdated(u32),
    /// It was made here, for a server that is not there any more.
    Gone,
    /// It was made with none of the secrets, or is no token at all.
    Forged,
}

/// The tokens of the servers that are there.
#[derive(Debug)]
pub struct Tokens {
    /// The newest token of each server, by slot.
    newest: Box<[Token]>,
    /// All of them with their judgement, by id.
    known: Box<[(Token, Judgement)]>,
}

impl Tokens {
    /// The tokens of these servers, given by slot: new ones are made with the first seal, those of all are known.
    #[must_use]
    pub fn new<S: Seal>(seals: &[S], servers: &[impl AsRef<[u8]>]) -> Self {
        let token = |seal: &S, server: &[u8]| {
            let id = seal.id(server);
            let tag = seal.tag(id);
            Token { id, tag }
        };
        let of = |seal: &S| -> Vec<Token> { servers.iter().map(|server| token(seal, server.as_ref())).collect() };
        let newest = seals.first().map(of).unwrap_or_default();
        let mut known: Vec<_> = (0..)
            .zip(&newest)
            .map(|(slot, &token)| (token, Judgement::Current(slot)))
            .collect();
        for seal in seals.iter().skip(1) {
            let tokens = (0..).zip(of(seal));
            known.extend(tokens.map(|(slot, token)| (token, Judgement::Outdated(slot))));
        }
        // A secret that is listed twice is the newest it is listed as: the order among equals stays.
        known.sort_by_key(|(token, _)| token.id);
        known.dedup_by_key(|(token, _)| token.id);
        Self {
            newest: newest.into(),
            known: known.into(),
        }
    }

    /// The token for the server at a slot.
    #[must_use]
    pub fn newest(&self, slot: u32) -> Option<Token> {
        self.newest.get(slot as usize).copied()
    }

    /// Judges a text.
    ///
    /// Ids are no secret, so that finding one may take as long as it takes; tags are compared in constant time.
    /// *Cost*: a binary search and a comparison for a token of a server that is there; one signature with each secret for
    /// others of the right shape. No allocation.
    pub fn judge<S: Seal>(&self, text: &[u8], seals: &[S]) -> Judgement {
        let Some(token) = Token::read(text) else {
            return Judgement::Forged;
        };
        let found = self.known.binary_search_by_key(&token.id, |(known, _)| known.id);
        if let Some((known, judgement)) = found.ok().and_then(|at| self.known.get(at)) {
            return if is_equal(&known.tag, &token.tag) {
                *judgement
            } else {
                Judgement::Forged
            };
        }
        let is_ours = seals.iter().fold(false, |is_ours, seal| {
            is_ours | is_equal(&seal.tag(token.id), &token.tag)
        });
        if is_ours { Judgement::Gone } else { Judgement::Forged }
    }
}

/// Whether two tags are equal, found out in a time that does not depend on where they differ.
fn is_equal(left: &[u8; Token::TAG_BYTES], right: &[u8; Token::TAG_BYTES]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |all, (left, right)| all | (left ^ right));
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::{Judgement, Seal, Token, Tokens};
    use crate::mix::mix;
    use proptest::prelude::*;

    /// Stands in for a signature: it depends on everything, and that is all these tests want.
    struct Toy(u64);

    impl Seal for Toy {
        fn id(&self, server: &[u8]) -> u64 {
            server.iter().fold(self.0, |hash, &byte| mix(hash, u64::from(byte)))
        }

        fn tag(&self, id: u64) -> [u8; Token::TAG_BYTES] {
            let halves = [mix(self.0, id), mix(id, self.0)].map(u64::to_be_bytes);
            halves.concat().try_into().unwrap()
        }
    }

    fn text(seal: &Toy, server: &[u8]) -> [u8; Token::TEXT_BYTES] {
        let id = seal.id(server);
        Token { id, tag: seal.tag(id) }.text()
    }

    #[test]
    fn texts_are_base64_of_urls() {
        let token = Token {
            id: 0xfbff_0000_0000_0001,
            tag: *b"0123456789abcdef",
        };
        // By `base64.urlsafe_b64encode` of Python 3.11.
        assert_eq!(&token.text(), b"-_8AAAAAAAEwMTIzNDU2Nzg5YWJjZGVm");
        assert_eq!(Token::read(&token.text()), Some(token));
    }

    #[test]
    fn decisions() {
        let (new, old, foreign) = (Toy(1), Toy(2), Toy(3));
        let tokens = Tokens::new(&[Toy(1), Toy(2)], &["a", "b"]);
        let check = |text: &[u8], expected| assert_eq!(tokens.judge(text, &[Toy(1), Toy(2)]), expected);
        check(&text(&new, b"a"), Judgement::Current(0));
        check(&text(&new, b"b"), Judgement::Current(1));
        check(&text(&old, b"b"), Judgement::Outdated(1));
        check(&text(&new, b"left"), Judgement::Gone);
        check(&text(&old, b"left"), Judgement::Gone);
        check(&text(&foreign, b"a"), Judgement::Forged);
        check(b"", Judgement::Forged);
        check(&text(&new, b"a")[1..], Judgement::Forged);
        check(&[b"A".as_slice(), &text(&new, b"a")].concat(), Judgement::Forged);
        check(&[b'='; Token::TEXT_BYTES], Judgement::Forged);
        assert_eq!(tokens.newest(1).map(|token| token.text()), Some(text(&new, b"b")));
        assert_eq!(tokens.newest(2), None);
    }

    #[test]
    fn a_secret_listed_twice_is_the_first() {
        let tokens = Tokens::new(&[Toy(1), Toy(1)], &["a"]);
        assert_eq!(
            tokens.judge(&text(&Toy(1), b"a"), &[Toy(1), Toy(1)]),
            Judgement::Current(0)
        );
    }

    #[test]
    fn without_secrets_nothing_is_believed() {
        let tokens = Tokens::new::<Toy>(&[], &["a"]);
        assert_eq!(tokens.judge::<Toy>(&text(&Toy(1), b"a"), &[]), Judgement::Forged);
        assert_eq!(tokens.newest(0), None);
    }

    proptest! {
        #[test]
        fn tokens_read_as_they_are_written(id: u64, tag: [u8; Token::TAG_BYTES]) {
            let token = Token { id, tag };
            prop_assert_eq!(Token::read(&token.text()), Some(token));
        }

        #[test]
        fn texts_that_read_are_written_so(text: [u8; Token::TEXT_BYTES]) {
            if let Some(token) = Token::read(&text) {
                prop_assert_eq!(token.text(), text);
            }
        }

        #[test]
        fn a_token_with_one_other_byte_is_forged(at in 0..Token::TEXT_BYTES, other: u8) {
            let seals = [Toy(1)];
            let tokens = Tokens::new(&seals, &["a", "b"]);
            let mut text = text(&seals[0], b"a");
            prop_assume!(text[at] != other);
            text[at] = other;
            prop_assert_eq!(tokens.judge(&text, &seals), Judgement::Forged);
        }
    }
}
