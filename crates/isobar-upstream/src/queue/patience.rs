//! Do those who wait last until it is their turn?
//!
//! Under overload a line that serves who came first serves the dead: everybody waits for almost as long as clients have
//! patience, and most leave while a server works for them. Who came last still has all of its patience. So when more than
//! a quarter of those who lately left the line did so in vain, the newest go first, until that is over.

/// What became of those who left the line lately.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Which part of them left in vain, in 1/4096; each weighs a sixteenth of what it finds.
    lost: u32,
}

const ALL: u32 = 4096;

const WEIGHT: u32 = 16;

/// From this part on the newest go first.
const TOO_MANY: u32 = ALL / 4;

impl Patience {
    /// One got what it waited for.
    pub(super) fn served(&mut self) {
        self.lost -= self.lost.div_ceil(WEIGHT);
    }

    /// One waited in vain.
    pub(super) fn lost(&mut self) {
        self.lost += (ALL - self.lost) / WEIGHT;
    }

    /// Whether the newest are to go first.
    pub(super) fn is_over(&self) -> bool {
        self.lost > TOO_MANY
    }
}

#[cfg(test)]
mod tests {
    use super::Patience;

    #[test]
    fn it_takes_some_to_end_it_and_some_to_bring_it_back() {
        let mut patience = Patience::default();
        (0..4).for_each(|_| patience.lost());
        assert!(!patience.is_over(), "a few that leave are no overload");
        patience.lost();
        assert!(patience.is_over());
        (0..10_000).for_each(|_| patience.lost());
        (0..20).for_each(|_| patience.served());
        assert!(patience.is_over());
        (0..5).for_each(|_| patience.served());
        assert!(!patience.is_over(), "{patience:?}");
        (0..10_000).for_each(|_| patience.served());
        assert_eq!(patience.lost, 0);
        // One in eight that leaves is not enough, one in two is.
        let mut run = |served| {
            for _ in 0..1000 {
                patience.lost();
                (0..served).for_each(|_| patience.served());
            }
            patience.is_over()
        };
        assert!(!run(7));
        assert!(run(1));
    }
}
