//! Which parts of a file are comments?
//!
//! The parser drops them, and a search in the text would find them in strings; so this walks over strings, characters
//! and comments, and knows nothing else of the language.

/// One line of a comment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// From 1.
    pub(super) line: usize,
    /// With its slashes.
    pub(super) text: String,
}

/// Every line that is a comment or has one.
pub(super) fn comments(text: &str) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = token_length(rest).max(first.len_utf8());
        let (token, after) = rest.split_at(length);
        if token.starts_with("//") || token.starts_with("/*") {
            let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
            let lines = token.lines().enumerate();
            found.extend(lines.map(|(offset, part)| Comment {
                line: line + offset,
                text: part.to_owned(),
            }));
        }
        rest = after;
    }
    found
}

/// The bytes of the comment, string, character or word at the front; 0 for anything else.
fn token_length(rest: &str) -> usize {
    let end_of = |pattern: &str, from: usize| rest[from..].find(pattern).map_or(rest.len(), |at| from + at);
    if rest.starts_with("//") {
        return end_of("\n", 0);
    }
    if rest.starts_with("/*") {
        return block_length(rest);
    }
    if rest.starts_with('"') {
        return string_length(rest);
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    let word = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let after = &rest[word..];
    if matches!(&rest[..word], "r" | "br" | "cr") && after.starts_with(['"', '#']) {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let Some(open) = after[hashes..].starts_with('"').then_some(word + hashes + 1) else {
            return word;
        };
        let close = format!("\"{}", "#".repeat(hashes));
        return (end_of(&close, open) + close.len()).min(rest.len());
    }
    word
}

/// Block comments nest.
fn block_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character; a lifetime has no second quote, and counts as its quote alone.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            let after_escape = rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at);
            rest[after_escape..]
                .find('\'')
                .map_or(rest.len(), |at| after_escape + at + 1)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let found = comments(text);
        let found: Vec<_> = found
            .iter()
            .map(|comment| (comment.line, comment.text.as_str()))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn finds_comments_and_nothing_else() {
        check("a // b\n/// c\n", &[(1, "// b"), (2, "/// c")]);
        check(
            "a /* b\n /* c */ d */ e // f",
            &[(1, "/* b"), (2, " /* c */ d */"), (2, "// f")],
        );
        check(r#""// a" // b"#, &[(1, "// b")]);
        check(r#""\"// a" // b"#, &[(1, "// b")]);
        check(r###"r#"// a" // b"# // c"###, &[(1, "// c")]);
        check(r#"br"// \" // c"#, &[(1, "// c")]);
        check(
            "'\"' // a\n'\\'' // b\n'\\u{22}' // c",
            &[(1, "// a"), (2, "// b"), (3, "// c")],
        );
        check("fn f<'a>(a: &'a str) {} // a", &[(1, "// a")]);
        check("r#type // a", &[(1, "// a")]);
        check("\"never closed // a", &[]);
        check("/* never closed", &[(1, "/* never closed")]);
        check("", &[]);
    }
}
