//! Which of the words that are known was probably meant?

/// Longer words are compared by nobody: what they were meant to be is anybody's guess.
const MAX_CHARS: usize = 64;

/// The nearest of the known words, if one is near enough to be what was meant.
///
/// Near is at most a third of the characters, counting a character added, left out, replaced or swapped with its
/// neighbour as one step (optimal string alignment); case and `-` instead of `_` count nothing. Of words equally
/// near the first wins. *Cost*: the product of the lengths for each word of similar length.
pub(crate) fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str> + Clone) -> Option<&'w str> {
    let word = normal(word);
    if word.len() > MAX_CHARS {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in known.clone() {
        let other = normal(candidate);
        let allowed = (word.len().max(other.len()) / 3).max(1);
        if other.len() > MAX_CHARS || word.len().abs_diff(other.len()) > allowed {
            continue;
        }
        let steps = distance(&word, &other, allowed);
        // A word of one or two characters is near everything; only a difference in case or sign makes it meant.
        let near = steps == 0 || (steps <= allowed && steps < word.len().min(other.len()));
        if near && best.is_none_or(|(least, _)| steps < least) {
            best = Some((steps, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
        .or_else(|| same_beginning(&word, known))
}

/// The word that begins with most of the characters of an abbreviation such as `max_conns`.
fn same_beginning<'w>(word: &[char], known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    const LEAST: usize = 4;
    let shared = |other: &str| normal(other).iter().zip(word).take_while(|(a, b)| a == b).count();
    let enough = |other: &&str| shared(other) >= LEAST && shared(other) * 4 >= word.len() * 3;
    known.into_iter().find(enough)
}

/// The sentence that proposes a word.
pub(crate) fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

fn normal(word: &str) -> Vec<char> {
    word.chars()
        .take(MAX_CHARS + 1)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '-' { '_' } else { c })
        .collect()
}

/// The steps from one word to the other; a number past `most` where there are more than that.
fn distance(left: &[char], right: &[char], most: usize) -> usize {
    let width = right.len() + 1;
    let mut before = vec![0; width];
    let mut above: Vec<usize> = (0..width).collect();
    let mut row = vec![0; width];
    for (i, &l) in left.iter().enumerate() {
        row[0] = i + 1;
        for (j, &r) in right.iter().enumerate() {
            let replaced = above[j] + usize::from(l != r);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && l == right[j - 1] && left[i - 1] == r {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        if row.iter().min().is_some_and(|least| *least > most) {
            return most + 1;
        }
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances() {
        let check = |left: &str, right: &str, expected| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(left), &chars(right), 9), expected, "{left} {right}");
            assert_eq!(distance(&chars(right), &chars(left), 9), expected, "{right} {left}");
            for most in 0..expected {
                assert!(
                    distance(&chars(left), &chars(right), most) > most,
                    "{left} {right} {most}"
                );
            }
        };
        check("", "", 0);
        check("", "abc", 3);
        check("adress", "address", 1);
        check("wieght", "weight", 1);
        check("kitten", "sitting", 3);
        check("ca", "abc", 3);
    }

    #[test]
    fn nearest_words() {
        let known = ["address", "balance", "health", "max_connections", "up"];
        let check = |word: &str, expected| assert_eq!(nearest(word, known), expected, "{word}");
        check("adress", Some("address"));
        check("Address", Some("address"));
        check("max-connections", Some("max_connections"));
        check("maxconnections", Some("max_connections"));
        check("max_conns", Some("max_connections"));
        check("helth", Some("health"));
        check("UP", Some("up"));
        check("in", None);
        check("timeout", None);
        check("", None);
        check(&"a".repeat(10_000), None);
    }
}
