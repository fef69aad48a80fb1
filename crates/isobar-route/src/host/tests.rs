//! Host patterns as written, and hosts as sent.

use super::{HostPattern, MAX_NAME, canonical_host};
use crate::PatternError;
use proptest::prelude::*;
use std::format;
use std::string::ToString;

use HostPattern::{Any, Exact, Wildcard};

#[test]
fn patterns() {
    let check = |text: &str, expected: HostPattern, shown: &str| {
        let pattern = HostPattern::parse(text);
        assert_eq!(pattern, Ok(expected), "{text}");
        assert_eq!(pattern.map(|pattern| pattern.to_string()).as_deref(), Ok(shown));
        assert_eq!(
            text.parse::<HostPattern>()
                .map(|pattern| pattern.to_string())
                .as_deref(),
            Ok(shown)
        );
    };
    check("*", Any, "*");
    check("example.com", Exact("example.com".into()), "example.com");
    check("Example.COM.", Exact("example.com".into()), "example.com");
    check("localhost", Exact("localhost".into()), "localhost");
    check("my_service-1", Exact("my_service-1".into()), "my_service-1");
    check("192.0.2.1", Exact("192.0.2.1".into()), "192.0.2.1");
    check("*.example.com", Wildcard("example.com".into()), "*.example.com");
    check("*.COM.", Wildcard("com".into()), "*.com");
    check("[2001:DB8:0:0::1]", Exact("[2001:db8::1]".into()), "[2001:db8::1]");
    check(
        "[::ffff:192.0.2.1]",
        Exact("[::ffff:192.0.2.1]".into()),
        "[::ffff:192.0.2.1]",
    );
}

#[test]
fn what_is_no_pattern() {
    let check = |text: &str, expected: PatternError| assert_eq!(HostPattern::parse(text), Err(expected), "{text}");
    check("", PatternError::HostEmpty);
    check("example.com:80", PatternError::HostPort(":80".into()));
    check("*.example.com:80", PatternError::HostPort(":80".into()));
    check("[::1]:80", PatternError::HostPort(":80".into()));
    check("[::1", PatternError::HostAddress("[::1".into()));
    check("[192.0.2.1]", PatternError::HostAddress("[192.0.2.1]".into()));
    check("*example.com", PatternError::HostWildcard);
    check("www.*.com", PatternError::HostWildcard);
    check("*.*.com", PatternError::HostWildcard);
    check("**", PatternError::HostWildcard);
    check("*.", PatternError::HostLabel("".into()));
    check(".", PatternError::HostLabel("".into()));
    check(".example.com", PatternError::HostLabel("".into()));
    check("example..com", PatternError::HostLabel("".into()));
    check("example.com..", PatternError::HostLabel("".into()));
    check("exam ple.com", PatternError::HostCharacter(' '));
    check("example.com/v1", PatternError::HostCharacter('/'));
    check("exämple.com", PatternError::HostNotAscii('ä'));
    let label = "a".repeat(64);
    check(&label, PatternError::HostLabel(label.as_str().into()));
    check(&["abcdefg"; 32].join("."), PatternError::HostTooLong(255));
}

#[test]
fn errors_read_as_text() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            HostPattern::parse(text).map_err(|error| error.to_string()),
            Err(expected.to_string())
        );
    };
    check("example.com:80", "a host is matched on every port; leave out `:80`");
    check("a..b", "a label of a host name has 1 to 63 characters, `` has 0");
    check("a b", "` ` cannot stand in a host name");
}

#[test]
fn hosts_as_sent() {
    let check = |host: &str, expected: &str| {
        let mut buffer = [0; MAX_NAME];
        let canonical = canonical_host(host.as_bytes(), &mut buffer);
        assert_eq!(std::str::from_utf8(canonical), Ok(expected), "{host}");
    };
    check("", "");
    check("example.com", "example.com");
    check("EXAMPLE.com", "example.com");
    check("example.com.", "example.com");
    check("example.com..", "example.com.");
    check("example.com:8080", "example.com");
    check("Example.com.:8080", "example.com");
    check("example.com:", "example.com");
    check("example.com:80a", "example.com:80a");
    check("192.0.2.1:80", "192.0.2.1");
    check("80", "80");
    check(":80", "");
    check("[::1]", "[::1]");
    check("[::1]:80", "[::1]");
    check("[0:0:0:0:0:0:0:1]:80", "[::1]");
    check("[2001:DB8::0001]", "[2001:db8::1]");
    check(
        "[0000:0000:0000:0000:0000:ffff:192.168.100.228]",
        "[::ffff:192.168.100.228]",
    );
    check("[nonsense]:80", "[nonsense]");
    check(&"a".repeat(253), &"a".repeat(253));
    check(&"a".repeat(254), "");
    check(&format!("{}.:65535", "A".repeat(253)), &"a".repeat(253));
}

#[test]
fn matches() {
    let check = |pattern: &str, host: &str, expected| {
        assert_eq!(
            HostPattern::parse(pattern).unwrap().matches(host.as_bytes()),
            expected,
            "{pattern} {host}"
        );
    };
    check("*", "", true);
    check("*", "example.com", true);
    check("example.com", "example.com", true);
    check("example.com", "www.example.com", false);
    check("example.com", "xexample.com", false);
    check("*.example.com", "www.example.com", true);
    check("*.example.com", "a.b.example.com", true);
    check("*.example.com", "example.com", false);
    check("*.example.com", ".example.com", false);
    check("*.example.com", "xexample.com", false);
    check("*.example.com", "www.example.com.org", false);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = HostPattern::parse(&text);
    }

    #[test]
    fn a_pattern_reads_as_it_is_shown(text in "(\\*\\.)?[a-zA-Z0-9_-]{1,5}(\\.[a-zA-Z0-9_-]{1,5}){0,4}\\.?") {
        let pattern = HostPattern::parse(&text).unwrap();
        prop_assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
    }

    #[test]
    fn any_bytes_have_a_canonical_form_that_stays(host in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut first, mut second) = ([0; MAX_NAME], [0; MAX_NAME]);
        let canonical = canonical_host(&host, &mut first);
        prop_assume!(!canonical.contains(&b':') && !canonical.ends_with(b"."));
        prop_assert_eq!(canonical_host(canonical, &mut second), canonical);
    }

    /// A name matches its own pattern however it is spelled.
    #[test]
    fn spelling_does_not_matter(name in "[a-zA-Z0-9-]{1,9}(\\.[a-zA-Z0-9-]{1,9}){0,3}", port: u16) {
        let pattern = HostPattern::parse(&name).unwrap();
        let spellings =
            [name.clone(), name.to_uppercase(), format!("{name}."), format!("{name}:{port}"), format!("{name}.:{port}")];
        for spelling in spellings {
            let mut buffer = [0; MAX_NAME];
            prop_assert!(pattern.matches(canonical_host(spelling.as_bytes(), &mut buffer)), "{}", spelling);
        }
    }
}
