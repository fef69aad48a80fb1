//! Which known word did somebody mean?

use alloc::vec::Vec;

/// The known word with the fewest edits from what was written; none: all are too far from it to be what was meant.
pub(super) fn nearest(written: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let bound = written.chars().count() / 3 + 1;
    known
        .map(|word| (edits(written, word), word))
        .filter(|&(edits, _)| edits <= bound)
        .min()
        .map(|(_, word)| word)
}

/// How many characters must be inserted, removed or replaced to get from one word to the other (Levenshtein distance).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        // The first column counts removals. `diagonal` and `left` are the cells beside the one being filled, the former
        // of the previous row.
        let (mut diagonal, mut left) = (i, i + 1);
        row.iter_mut().take(1).for_each(|first| *first = left);
        for (b, cell) in to.chars().zip(row.iter_mut().skip(1)) {
            left = (left + 1).min(*cell + 1).min(diagonal + usize::from(a != b));
            diagonal = core::mem::replace(cell, left);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn distances() {
        let check = |a: &str, b: &str, expected: usize| {
            assert_eq!((edits(a, b), edits(b, a)), (expected, expected), "{a} {b}");
        };
        check("", "", 0);
        check("", "abc", 3);
        check("status", "status", 0);
        check("kitten", "sitting", 3);
        check("status", "stauts", 2);
        check("é", "e", 1);
    }

    #[test]
    fn suggestions() {
        let check = |written: &str, expected: Option<&str>| {
            assert_eq!(
                nearest(written, ["status", "server", "client"].into_iter()),
                expected,
                "{written}"
            );
        };
        check("stauts", Some("status"));
        check("sever", Some("server"));
        check("clients", Some("client"));
        check("remote_addr", None);
        check("", None);
    }
}
