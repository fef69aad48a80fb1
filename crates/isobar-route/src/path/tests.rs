//! Path patterns as written, and the paths they take.

use super::PathPattern;
use crate::{PathError, PatternError};
use proptest::prelude::*;
use std::string::ToString;

use PathPattern::{Any, Exact, Prefix, Segments};

#[test]
fn patterns() {
    let check = |text: &str, expected: PathPattern, shown: &str| {
        let pattern = PathPattern::parse(text);
        assert_eq!(pattern, Ok(expected), "{text}");
        assert_eq!(pattern.map(|pattern| pattern.to_string()).as_deref(), Ok(shown));
        assert_eq!(
            text.parse::<PathPattern>()
                .map(|pattern| pattern.to_string())
                .as_deref(),
            Ok(shown)
        );
    };
    check("*", Any, "*");
    check("/", Exact("/".into()), "/");
    check("/v1/users", Exact("/v1/users".into()), "/v1/users");
    check("/v1/", Exact("/v1/".into()), "/v1/");
    check("/*", Segments("".into()), "/*");
    check("/v1/*", Segments("/v1".into()), "/v1/*");
    check("/v1//*", Segments("/v1/".into()), "/v1//*");
    check("/v1*", Prefix("/v1".into()), "/v1*");
    check("/v1/u*", Prefix("/v1/u".into()), "/v1/u*");
}

/// As requests are, so are patterns: otherwise a pattern could never match.
#[test]
fn patterns_are_canonical() {
    let check = |text: &str, expected: PathPattern| assert_eq!(PathPattern::parse(text), Ok(expected), "{text}");
    check("/%7euser/%2f", Exact("/~user/%2F".into()));
    check("/a/../b", Exact("/b".into()));
    check("/café", Exact("/caf%C3%A9".into()));
    check("/a/../*", Segments("".into()));
    check("/a/./*", Segments("/a".into()));
    check("/a/.*", Prefix("/a/.".into()));
    check("/a/..*", Prefix("/a/..".into()));
    check("/a/%2e*", Prefix("/a/.".into()));
    check("/a/../b*", Prefix("/b".into()));
    check("/é*", Prefix("/%C3%A9".into()));
}

#[test]
fn what_is_no_pattern() {
    let check = |text: &str, expected: PatternError| assert_eq!(PathPattern::parse(text), Err(expected), "{text}");
    check("", PatternError::PathStart);
    check("v1", PatternError::PathStart);
    check("*/v1", PatternError::PathStart);
    check("**", PatternError::PathStart);
    check("/*/users", PatternError::PathWildcard);
    check("/v1/**", PatternError::PathWildcard);
    check("/a*b", PatternError::PathWildcard);
    check("/a?b=1", PatternError::PathEnd('?'));
    check("/a#b", PatternError::PathEnd('#'));
    check("/a%", PatternError::Path(PathError::Escape));
    check("/a%4*", PatternError::Path(PathError::Escape));
    check("/a%zz/*", PatternError::Path(PathError::Escape));
    check("/a%00", PatternError::Path(PathError::Nul));
}

#[test]
fn matches() {
    let check = |pattern: &str, path: &str, expected| {
        assert_eq!(
            PathPattern::parse(pattern).unwrap().matches(path.as_bytes()),
            expected,
            "{pattern} {path}"
        );
    };
    check("*", "/", true);
    check("*", "*", true);
    check("/", "/", true);
    check("/", "/a", false);
    check("/v1", "/v1", true);
    check("/v1", "/v1/", false);
    check("/v1/*", "/v1", true);
    check("/v1/*", "/v1/", true);
    check("/v1/*", "/v1/users", true);
    check("/v1/*", "/v10", false);
    check("/v1/*", "/v", false);
    check("/*", "/", true);
    check("/*", "/v1", true);
    check("/*", "*", false);
    check("/v1*", "/v1", true);
    check("/v1*", "/v10", true);
    check("/v1*", "/v1/users", true);
    check("/v1*", "/v", false);
    check("/V1", "/v1", false);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = PathPattern::parse(&text);
    }

    #[test]
    fn a_pattern_reads_as_it_is_shown(text in "(/[a.é%/]{0,4}(2[eEfF])?){1,4}\\*?") {
        if let Ok(pattern) = PathPattern::parse(&text) {
            prop_assert_eq!(PathPattern::parse(&pattern.to_string()), Ok(pattern));
        }
    }
}
