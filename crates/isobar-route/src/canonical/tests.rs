//! Canonical targets: the RFC's examples, the spellings that deceive, and the laws for any bytes.

use super::{Canonical, PathError, canonical_target, path_of};
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

/// The canonical form as a value of its own.
fn canonical(target: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut scratch = b"left over".to_vec();
    Ok(match canonical_target(target, &mut scratch)? {
        Canonical::Same => target.to_vec(),
        Canonical::Rewritten => scratch,
    })
}

fn check(target: &str, expected: &str) {
    let actual = canonical(target.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(actual.as_deref(), Ok(expected), "{target}");
}

#[test]
fn already_canonical() {
    let targets = [
        "/",
        "/a",
        "/a/b/",
        "//",
        "/a//b",
        "/a.b",
        "/.a",
        "/..a",
        "/a.",
        "/a..",
        "/...",
        "/a/.../b",
        "/%2F",
        "/%20a%25",
        "/a!$&'()*+,;=:@-._~b",
        "/?",
        "/a?b=%7e&c=/../#",
        "/?/./",
        "*",
        "*?a",
        "/..;/a",
        "/..%2F",
        "/.well-known/x",
    ];
    for target in targets {
        assert_eq!(
            canonical_target(target.as_bytes(), &mut Vec::new()),
            Ok(Canonical::Same),
            "{target}"
        );
    }
}

#[test]
fn escapes() {
    check("/%7Euser", "/~user");
    check(
        "/%41%5a%61%7a%30%39%2d%2e%5f%7e",
        "/AZaz09-.__~".replace("__", "_").as_str(),
    );
    check("/a%2fb%3a", "/a%2Fb%3A");
    check("/%25%32%65", "/%252e");
    check("/a b", "/a%20b");
    check("/caf\u{e9}", "/caf%C3%A9");
    check("/a\\b", "/a%5Cb");
    check("/a%5cb", "/a%5Cb");
    check("/a#b", "/a%23b");
    check("/\"<>[]^`{|}\u{7f}", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D%7F");
    check("/%0d%0a", "/%0D%0A");
}

#[test]
fn dot_segments() {
    check("/.", "/");
    check("/..", "/");
    check("/./", "/");
    check("/../", "/");
    check("/a/.", "/a/");
    check("/a/..", "/");
    check("/a/b/..", "/a/");
    check("/a/b/../", "/a/");
    check("/a/./b", "/a/b");
    check("/a/../../../b", "/b");
    check("/a//../b", "/a/b");
    check("//../b", "/b");
    check("/a/b/c/./../../g", "/a/g");
    check("/a/..b/.c/", "/a/..b/.c/");
    check("/x/.../../y", "/x/y");
}

#[test]
fn dots_however_they_are_written() {
    check("/a/%2e/b", "/a/b");
    check("/a/%2E%2E/b", "/b");
    check("/a/.%2e/b", "/b");
    check("/a/%2e./b", "/b");
    check("/%2e%2e/%2e%2e/etc", "/etc");
    check("/a/..%2fb", "/a/..%2Fb");
    check("/a/%252e%252e/b", "/a/%252e%252e/b");
    check("/a\\..\\b", "/a%5C..%5Cb");
}

#[test]
fn the_query_is_not_touched() {
    check("/a/../b?c=%7e/../%zz", "/b?c=%7e/../%zz");
    check("/.?", "/?");
    check("?a", "/?a");
    check("", "/");
}

/// RFC 3986 section 5.4: the merged path of each reference that tries the dots, with base path `/b/c/d;p`.
#[test]
fn the_examples_of_the_rfc() {
    check("/b/c/g", "/b/c/g");
    check("/b/c/./g", "/b/c/g");
    check("/b/c/g/", "/b/c/g/");
    check("/b/c/.", "/b/c/");
    check("/b/c/./", "/b/c/");
    check("/b/c/..", "/b/");
    check("/b/c/../", "/b/");
    check("/b/c/../g", "/b/g");
    check("/b/c/../..", "/");
    check("/b/c/../../", "/");
    check("/b/c/../../g", "/g");
    check("/b/c/../../../g", "/g");
    check("/b/c/../../../../g", "/g");
    check("/./g", "/g");
    check("/../g", "/g");
    check("/b/c/g.", "/b/c/g.");
    check("/b/c/.g", "/b/c/.g");
    check("/b/c/g..", "/b/c/g..");
    check("/b/c/..g", "/b/c/..g");
    check("/b/c/./../g", "/b/g");
    check("/b/c/./g/.", "/b/c/g/");
    check("/b/c/g/./h", "/b/c/g/h");
    check("/b/c/g/../h", "/b/c/h");
    check("/b/c/g;x=1/./y", "/b/c/g;x=1/y");
    check("/b/c/g;x=1/../y", "/b/c/y");
}

#[test]
fn what_is_no_path() {
    let check = |target: &str, expected| assert_eq!(canonical(target.as_bytes()), Err(expected), "{target:?}");
    check("/%", PathError::Escape);
    check("/%4", PathError::Escape);
    check("/%4/", PathError::Escape);
    check("/%zz", PathError::Escape);
    check("/%+1", PathError::Escape);
    check("/%%41", PathError::Escape);
    check("/%4?1", PathError::Escape);
    check("/a/%xx/../b", PathError::Escape);
    check("/%00", PathError::Nul);
    check("/a\0", PathError::Nul);
    check("/a/%00/..", PathError::Nul);
    check("a", PathError::NotAbsolute);
    check("**", PathError::NotAbsolute);
    check("example.com:80", PathError::NotAbsolute);
    check("http://a/", PathError::NotAbsolute);
}

#[test]
fn path_of_a_target() {
    let check = |target: &str, expected: &str| assert_eq!(path_of(target.as_bytes()), expected.as_bytes());
    check("", "");
    check("/a", "/a");
    check("/a?b", "/a");
    check("/a?b?c", "/a");
    check("?", "");
}

/// Section 5.2.4 carried out as the RFC writes it, moving a prefix at a time from an input to an output.
fn remove_dot_segments(path: &str) -> String {
    let mut input = String::from(path);
    let mut output = String::new();
    while !input.is_empty() {
        if input.starts_with("/./") || input == "/." {
            input.replace_range(..input.len().min(3), "/");
        } else if input.starts_with("/../") || input == "/.." {
            input.replace_range(..input.len().min(4), "/");
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input
                .bytes()
                .skip(1)
                .position(|byte| byte == b'/')
                .map_or(input.len(), |at| at + 1);
            output.extend(input.drain(..end));
        }
    }
    output
}

proptest! {
    #[test]
    fn dots_are_removed_as_the_rfc_says(path in "(/[.a]{0,3}){1,8}") {
        prop_assert_eq!(canonical(path.as_bytes()), Ok(remove_dot_segments(&path).into_bytes()));
    }

    /// For any bytes: no panic, one canonical form, and `Same` exactly when nothing had to change.
    #[test]
    fn canonical_stays_canonical(target in prop::collection::vec(any::<u8>(), 0..60)) {
        laws(&target)?;
    }

    /// The same for bytes that get further.
    #[test]
    fn canonical_stays_canonical_for_likely_paths(target in "/([a./%?\\\\*é]|%2[eEfF]|%[0-9a-fA-F]{2}){0,20}") {
        laws(target.as_bytes())?;
    }

    /// Escaping any character of a canonical path changes nothing, but for those that are reserved.
    #[test]
    fn an_escape_of_an_unreserved_character_is_the_character(path in "(/[a-zA-Z0-9._~-]{0,5}){1,5}") {
        let mut escaped = String::new();
        for character in path.chars() {
            match character {
                '/' => escaped.push('/'),
                _ => escaped.push_str(&std::format!("%{:02x}", u32::from(character))),
            }
        }
        prop_assert_eq!(canonical(escaped.as_bytes()), canonical(path.as_bytes()));
    }
}

fn laws(target: &[u8]) -> Result<(), TestCaseError> {
    let mut scratch = Vec::new();
    match canonical_target(target, &mut scratch) {
        Ok(Canonical::Same) => prop_assert!(scratch.is_empty(), "nothing is written"),
        Ok(Canonical::Rewritten) => {
            prop_assert_ne!(&scratch[..], target);
            prop_assert!(scratch.starts_with(b"/"));
            prop_assert!(path_of(&scratch).is_ascii());
            let query = |target: &[u8]| target[path_of(target).len()..].to_vec();
            prop_assert_eq!(query(&scratch), query(target));
            prop_assert_eq!(canonical_target(&scratch, &mut Vec::new()), Ok(Canonical::Same));
        }
        Err(_) => {}
    }
    Ok(())
}
