//! Precedence by tables, and the whole table against a search that looks at every rule.

use super::{Considered, RouteTable, Verdict, host_rank, path_rank};
use crate::host::{MAX_NAME, canonical_host};
use crate::{HostPattern, PathPattern, Rule};
use proptest::prelude::*;
use std::vec::Vec;

/// A rule from `host path`.
fn rule(text: &str) -> Rule {
    let (host, path) = text.split_once(' ').unwrap();
    Rule {
        host: HostPattern::parse(host).unwrap(),
        path: PathPattern::parse(path).unwrap(),
    }
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| rule(text)).collect()
}

#[test]
fn host_comes_before_path() {
    let rules = rules(&["* /a", "*.com /a/b", "*.example.com *", "www.example.com /a/*", "* *"]);
    let table = RouteTable::new(&rules);
    let check = |host: &str, path: &str, expected| {
        assert_eq!(
            table.find(host.as_bytes(), path.as_bytes()),
            Some(expected),
            "{host} {path}"
        );
    };
    check("www.example.com", "/a/b", 3);
    check("WWW.Example.com.:443", "/a", 3);
    check("www.example.com", "/b", 2);
    check("api.example.com", "/a", 2);
    check("a.b.example.com", "/a/b", 2);
    check("example.com", "/a/b", 1);
    check("example.com", "/a", 0);
    check("example.org", "/a", 0);
    check("example.org", "/b", 4);
    check("", "/b", 4);
    check("com", "/a/b", 4);
    check("*", "*", 4);
}

#[test]
fn the_longest_path_comes_first() {
    let rules = rules(&[
        "* *",
        "* /*",
        "* /v1*",
        "* /v1/*",
        "* /v1",
        "* /v1/users/*",
        "* /v1/u*",
        "* /v1/users",
    ]);
    let table = RouteTable::new(&rules);
    let check = |path: &str, expected| {
        assert_eq!(table.find(b"example.com", path.as_bytes()), Some(expected), "{path}");
    };
    check("*", 0);
    check("/", 1);
    check("/v", 1);
    check("/v1", 4);
    check("/v10", 2);
    check("/v1/", 3);
    check("/v1/a", 3);
    check("/v1/u", 6);
    check("/v1/users", 7);
    check("/v1/users/", 5);
    check("/v1/users/7", 5);
    check("/v1/usersx", 6);
    check("/w", 1);
}

#[test]
fn of_equal_rules_the_first_written() {
    let rules = rules(&["a /x", "a /x", "* *", "* *", "*.a /x/*", "*.a /x/*"]);
    let table = RouteTable::new(&rules);
    assert_eq!(table.find(b"a", b"/x"), Some(0));
    assert_eq!(table.find(b"b", b"/x"), Some(2));
    assert_eq!(table.find(b"b.a", b"/x"), Some(4));
}

#[test]
fn nothing_matches() {
    let check = |texts: &[&str], host: &str, path: &str| {
        assert_eq!(
            RouteTable::new(&rules(texts)).find(host.as_bytes(), path.as_bytes()),
            None,
            "{texts:?}"
        );
    };
    check(&[], "a", "/");
    check(&["a *"], "b", "/");
    check(&["*.a *"], "a", "/");
    check(&["* /x"], "a", "/y");
    check(&["a /x", "*.b *"], "a", "/y");
}

#[test]
fn addresses() {
    let rules = rules(&["[2001:db8::1] *", "192.0.2.1 *", "*.example.com *"]);
    let table = RouteTable::new(&rules);
    let check = |host: &str, expected| assert_eq!(table.find(host.as_bytes(), b"/"), expected, "{host}");
    check("[2001:DB8:0::1]:8080", Some(0));
    check("[2001:db8::2]", None);
    check("192.0.2.1:80", Some(1));
}

#[test]
fn considered_in_order_of_precedence() {
    use Verdict::{Chosen, HostDiffers, PathDiffers, Shadowed};
    let rules = rules(&["* *", "a.b /x*", "*.b /x/*", "a.b /x/*", "c *", "a.b /y"]);
    let expected = [
        (5, PathDiffers),
        (3, PathDiffers),
        (1, Chosen),
        (4, HostDiffers),
        (2, PathDiffers),
        (0, Shadowed),
    ];
    let considered = RouteTable::new(&rules).consider(b"A.B:80", b"/xy");
    assert_eq!(considered, expected.map(|(rule, verdict)| Considered { rule, verdict }));
}

/// Few names and letters, so that rules meet.
fn any_rule() -> impl Strategy<Value = Rule> {
    let host = "\\*|(\\*\\.)?[ab](\\.[ab]){0,2}";
    let path = "\\*|(/[ab.]{0,2}){1,3}(/?\\*)?";
    (host, path).prop_map(|(host, path)| Rule {
        host: HostPattern::parse(&host).unwrap(),
        path: PathPattern::parse(&path).unwrap(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The rule found is the least, by the documented precedence, of all that match when looked at one by one.
    #[test]
    fn finds_what_a_look_at_every_rule_finds(
        rules in prop::collection::vec(any_rule(), 0..30),
        host in "[abAB](\\.[ab]){0,3}\\.?(:80)?",
        path in "(/[ab]{0,2}){1,4}",
    ) {
        let table = RouteTable::new(&rules);
        let mut buffer = [0; MAX_NAME];
        let canonical = canonical_host(host.as_bytes(), &mut buffer);
        let expected = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.host.matches(canonical) && rule.path.matches(path.as_bytes()))
            .min_by_key(|&(position, rule)| (host_rank(&rule.host), path_rank(&rule.path), position))
            .map(|(position, _)| position);
        prop_assert_eq!(table.find(host.as_bytes(), path.as_bytes()), expected);
        consider_agrees(&table, rules.len(), &host, &path)?;
    }

    #[test]
    fn any_bytes_are_looked_up(
        rules in prop::collection::vec(any_rule(), 0..9),
        host in prop::collection::vec(any::<u8>(), 0..40),
        path in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let table = RouteTable::new(&rules);
        let found = table.find(&host, &path);
        prop_assert!(found.is_none_or(|rule| rule < rules.len()));
    }
}

/// Every rule once; the chosen one is the one found, and no rule that matches comes before it.
fn consider_agrees(table: &RouteTable, rules: usize, host: &str, path: &str) -> Result<(), TestCaseError> {
    let considered = table.consider(host.as_bytes(), path.as_bytes());
    let mut positions: Vec<usize> = considered.iter().map(|considered| considered.rule).collect();
    positions.sort_unstable();
    prop_assert_eq!(positions, (0..rules).collect::<Vec<_>>());
    let matching = considered
        .iter()
        .find(|c| matches!(c.verdict, Verdict::Chosen | Verdict::Shadowed));
    let chosen = table.find(host.as_bytes(), path.as_bytes());
    let expected = chosen.map(|rule| Considered {
        rule,
        verdict: Verdict::Chosen,
    });
    prop_assert_eq!(matching.copied(), expected);
    Ok(())
}
