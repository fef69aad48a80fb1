//! Has a server sent exactly as many datagrams as it was to? Knows counts alone.

/// What is still to come from one server, by what `responses` says of it.
#[derive(Debug)]
pub(super) struct Due {
    /// Datagrams that each one is answered with; none: nobody knows.
    each: Option<u32>,
    open: u64,
    /// Whether everything was as it should be so far.
    is_exact: bool,
}

impl Due {
    /// Nothing was sent yet.
    pub(super) const fn new(each: Option<u32>) -> Self {
        Self {
            each,
            open: 0,
            is_exact: true,
        }
    }

    /// So many datagrams went to the server, and some or none were not taken.
    pub(super) fn sent(&mut self, datagrams: usize, refused: usize) {
        let each = u64::from(self.each.unwrap_or(0));
        self.open = self.open.saturating_add(each.saturating_mul(datagrams as u64));
        // Of one that was refused nobody knows whether it was on its way.
        self.is_exact &= refused == 0;
    }

    /// So many came from the server; whether those are more than there should be.
    pub(super) fn came(&mut self, datagrams: u64) -> bool {
        if self.each.is_none() {
            return false;
        }
        let exceeds = datagrams > self.open;
        self.open = self.open.saturating_sub(datagrams);
        self.is_exact &= !exceeds;
        exceeds
    }

    /// Whether one more is to come, and no other.
    pub(super) const fn is_one(&self) -> bool {
        self.open == 1
    }

    /// Whether everything came that was due, and never more: what comes now is nobody's.
    pub(super) fn is_settled(&self) -> bool {
        self.is_exact && self.open == 0 && self.each.is_some_and(|each| each > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Due;

    /// `q` goes, `r` is refused by the kernel, `a` comes.
    #[track_caller]
    fn check(each: Option<u32>, story: &str, expected: bool) {
        let mut due = Due::new(each);
        for what in story.chars() {
            match what {
                'q' => due.sent(1, 0),
                'r' => due.sent(0, 1),
                _ => drop(due.came(1)),
            }
        }
        assert_eq!(due.is_settled(), expected, "{each:?} {story}");
    }

    #[test]
    fn only_what_is_exact_is_settled() {
        for story in ["qa", "qqaa", "qaqa", "qaqqaa"] {
            check(Some(1), story, true);
        }
        check(Some(2), "qaa", true);
        check(Some(2), "qqaaaa", true);
        for story in ["q", "qqa", "qaa", "r", "qra", "qar", "rqa"] {
            check(Some(1), story, false);
        }
        check(Some(2), "qa", false);
        // One too many and one too few do not make up for each other.
        check(Some(1), "qaaq", false);
        check(Some(1), "qaaqqa", false);
        check(Some(1), "aq", false);
        check(Some(0), "q", false);
        check(None, "qa", false);
    }

    #[test]
    fn more_than_was_due_is_told() {
        let mut due = Due::new(Some(2));
        due.sent(2, 0);
        assert!(!due.came(2) && !due.is_one());
        assert!(!due.came(1) && due.is_one());
        assert!(!due.came(1) && !due.is_one() && due.came(1));
        assert!(!Due::new(None).came(9), "nobody knows");
    }
}
