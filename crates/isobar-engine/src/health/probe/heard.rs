//! Has a server said what it was to say?
//!
//! Looks for a text in bytes that come in pieces, and keeps no more of them than it was told to.

use memchr::memmem;

/// Bytes looked through at most.
pub(super) const MAX_HEARD: usize = 64 * 1024;

/// Bytes of what a server said that are shown to a person.
const MAX_SHOWN: usize = 80;

/// What a server has said so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    bytes: Vec<u8>,
    /// Up to where nothing was found.
    searched: usize,
}

impl Heard {
    /// Takes in a piece; past [`MAX_HEARD`] the rest of it is left out.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let room = MAX_HEARD.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    /// Whether no more will be kept.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= MAX_HEARD
    }

    /// Looks for a text that is not empty. Where it is found, everything up to its end is done with.
    ///
    /// *Cost*: every byte is looked at once, in however many pieces they come.
    pub(super) fn find(&mut self, text: &[u8]) -> bool {
        let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
        if let Some(at) = memmem::find(unsearched, text) {
            self.bytes.drain(..self.searched + at + text.len());
            self.searched = 0;
            return true;
        }
        self.searched = self.searched.max((self.bytes.len() + 1).saturating_sub(text.len()));
        false
    }

    /// Forgets where it looked, so that another text can be looked for.
    pub(super) fn again(&mut self) {
        self.searched = 0;
    }

    /// The beginning of what is left, for a person.
    pub(super) fn shown(&self) -> String {
        if self.bytes.is_empty() {
            return "nothing".to_owned();
        }
        shown(&self.bytes)
    }
}

/// The beginning of a text, for a person.
pub(super) fn shown(bytes: &[u8]) -> String {
    let dots = if bytes.len() > MAX_SHOWN { "…" } else { "" };
    format!("`{}{dots}`", bytes.get(..MAX_SHOWN).unwrap_or(bytes).escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_however_the_bytes_come() {
        for size in 1..12 {
            let mut heard = Heard::default();
            let mut found = 0;
            for piece in b"220 hello\r\n220 again".chunks(size) {
                heard.push(piece);
                while heard.find(b"220 ") {
                    found += 1;
                }
            }
            assert_eq!((found, heard.shown().as_str()), (2, "`again`"), "{size}");
        }
    }

    #[test]
    fn what_follows_a_text_is_looked_through_for_the_next() {
        let mut heard = Heard::default();
        heard.push(b"abcd");
        assert!(!heard.find(b"xyzw") && heard.find(b"b") && !heard.find(b"zzz"));
        heard.again();
        assert!(heard.find(b"cd") && !heard.find(b"c"));
        assert_eq!(heard.shown(), "nothing");
    }

    #[test]
    fn no_more_is_kept_than_is_looked_through() {
        let mut heard = Heard::default();
        for _ in 0..100 {
            heard.push(&[b'a'; 1000]);
        }
        heard.push(b"needle");
        assert!(heard.is_full() && !heard.find(b"needle"));
        assert_eq!(heard.bytes.len(), MAX_HEARD);
        assert_eq!(heard.shown(), format!("`{}…`", "a".repeat(MAX_SHOWN)));
    }
}
