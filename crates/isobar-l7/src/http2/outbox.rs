//! What was written and the socket has not taken?

/// More than this may not be taken again and again without being moved to the front.
const MOVED: usize = 64 * 1024;

/// What is gathered for the socket.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How many of them the socket has taken.
    sent: usize,
}

impl Outbox {
    /// How many bytes the socket has not taken.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Those.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// The socket took some.
    pub(super) fn took(&mut self, count: usize) {
        self.sent += count;
    }

    /// Where to append; `spare` is used where there is no room yet.
    pub(super) fn end(&mut self, spare: &mut Vec<u8>) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            std::mem::swap(&mut self.bytes, spare);
        }
        if self.sent >= MOVED {
            // A socket that never takes all of it must not make it grow.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// Gives back its room once all was taken, where it is no more than `max`.
    pub(super) fn rests(&mut self, spare: &mut Vec<u8>, max: usize) {
        if self.left() > 0 || self.bytes.capacity() == 0 {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        self.sent = 0;
        if spare.capacity() == 0 && bytes.capacity() <= max {
            bytes.clear();
            *spare = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;

    const FULL: usize = 64 * 1024;

    #[test]
    fn a_socket_that_never_takes_all_makes_nothing_grow() {
        static FRAME: [u8; 16_393] = [7; 16_393];
        let mut outbox = Outbox::default();
        let mut spare = Vec::new();
        let (mut gathered, mut taken) = (0, 0);
        for turn in 0..10_000 {
            while outbox.left() < FULL {
                outbox.end(&mut spare).extend_from_slice(&FRAME);
                gathered += FRAME.len();
            }
            // Another part of it each time, and always less than there is.
            let count = 1 + turn * 7919 % (FULL - 1);
            assert_eq!(outbox.rest().len(), outbox.left());
            outbox.took(count);
            taken += count;
            assert_eq!(outbox.left(), gathered - taken);
            let capacity = outbox.bytes.capacity();
            assert!(capacity <= 5 * FULL, "{capacity} bytes after {gathered}");
        }
    }

    #[test]
    fn room_is_given_back() {
        let mut outbox = Outbox::default();
        let mut spare = Vec::with_capacity(100);
        outbox.end(&mut spare).extend_from_slice(b"abc");
        assert_eq!(spare.capacity(), 0);
        outbox.rests(&mut spare, 1000);
        assert_eq!(outbox.rest(), b"abc", "not while something is left");
        outbox.took(3);
        outbox.rests(&mut spare, 1000);
        assert!(spare.is_empty() && spare.capacity() >= 100);
        outbox.end(&mut spare).extend_from_slice(b"abc");
        outbox.took(3);
        outbox.rests(&mut spare, 10);
        assert_eq!(spare.capacity(), 0, "not where it is too much");
    }
}
