//! Who may go where, by tables of rules and destinations?

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec;
use core::net::IpAddr;
use std::format;

use proptest::prelude::*;

use super::{
    Access, AddressRange, Asked, DestinationHost, DestinationRule, DestinationRules, DomainPattern, PortRange,
    special_purpose,
};

fn range(text: &str) -> AddressRange {
    let (address, prefix) = text.split_once('/').unwrap();
    AddressRange::new(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
}

/// `deny example.com 10.0.0.0/8 :25 :8000-8999 @alice`
fn rule(text: &str) -> DestinationRule {
    let mut words = text.split_whitespace();
    let access = match words.next().unwrap() {
        "allow" => Access::Allow,
        "deny" => Access::Deny,
        other => panic!("{other}"),
    };
    let mut rule = DestinationRule {
        access,
        domains: vec![],
        ranges: vec![],
        ports: vec![],
        users: vec![],
    };
    for word in words {
        if let Some(user) = word.strip_prefix('@') {
            rule.users.push(user.into());
        } else if word.contains('/') {
            rule.ranges.push(range(word));
        } else if let Some(ports) = word.strip_prefix(':') {
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
            rule.ports.push(PortRange { first, last });
        } else {
            rule.domains.push(DomainPattern::parse(word).unwrap());
        }
    }
    rule
}

fn rules(text: &str, otherwise: Access) -> DestinationRules {
    let rules = text.split(';').map(str::trim).filter(|text| !text.is_empty());
    DestinationRules {
        rules: rules.map(rule).collect(),
        otherwise,
    }
}

/// What becomes of `user@host:port`, which is at `address`.
fn outcome(rules: &DestinationRules, asked: &str, address: &str) -> String {
    let (user, rest) = asked
        .split_once('@')
        .map_or((None, asked), |(user, rest)| (Some(user), rest));
    let (host, port) = rest.rsplit_once(':').unwrap();
    let host = match DestinationHost::parse(host.as_bytes()) {
        Ok(host) => host,
        Err(error) => return error.to_string(),
    };
    let asked = Asked {
        host: &host,
        port: port.parse().unwrap(),
        user,
    };
    if let Err(denial) = rules.before_lookup(asked) {
        return format!("at once: {denial}");
    }
    let address = match host {
        DestinationHost::Address(address) => address,
        DestinationHost::Name(_) => address.parse().unwrap(),
    };
    match rules.judge(asked, address) {
        Ok(Some(rule)) => format!("allowed by {}", rule + 1),
        Ok(None) => "allowed".to_owned(),
        Err(denial) => denial.to_string(),
    }
}

const PUBLIC: &str = "198.41.0.4";

#[test]
fn domains() {
    let check = |pattern: &str, name: &str, expected: bool| {
        let DestinationHost::Name(host) = DestinationHost::parse(name.as_bytes()).unwrap() else {
            panic!("{name}");
        };
        let pattern = DomainPattern::parse(pattern).unwrap();
        assert_eq!(pattern.covers(&host), expected, "{pattern} {name}");
    };
    check("example.com", "example.com", true);
    check("example.com", "www.example.com", true);
    check("example.com", "a.b.example.com", true);
    check("example.com", "badexample.com", false);
    check("example.com", "example.com.evil.net", false);
    check("example.com", "com", false);
    check("example.com", "EXAMPLE.Com", true);
    check("example.com", "example.com.", true);
    check("Example.COM.", "www.example.com", true);
    check(".example.com", "example.com", true);
    check("*.example.com", "example.com", false);
    check("*.example.com", "www.example.com", true);
    check("com", "example.com", true);
    check("xn--bcher-kva.example", "www.XN--BCHER-KVA.example", true);
    for (text, expected) in [
        (
            "b\u{fc}cher.example",
            "a domain is written as it is looked up, as in `xn--bcher-kva.example`",
        ),
        ("10.0.0.1", "this is an address and no domain"),
        ("*.", "this is no domain"),
        ("a b", "this is no domain"),
        ("*", "this is no domain"),
        ("a.*.b", "this is no domain"),
        ("", "this is no domain"),
    ] {
        assert_eq!(DomainPattern::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

/// What `inet_aton` takes for an address is one in its usual spelling, or nothing.
#[test]
fn hosts() {
    let check = |text: &str, expected: &str| {
        let found = DestinationHost::parse(text.as_bytes()).map_or("-".to_owned(), |host| match host {
            DestinationHost::Address(address) => format!("address {address}"),
            DestinationHost::Name(name) => format!("name {name}"),
        });
        assert_eq!(found, expected, "{text}");
    };
    check("example.com", "name example.com");
    check("EXAMPLE.com.", "name example.com");
    check("localhost", "name localhost");
    check("a_b.example", "name a_b.example");
    check("1.example", "name 1.example");
    check("0xbeef.example", "name 0xbeef.example");
    check("127.0.0.1", "address 127.0.0.1");
    check("[::1]", "address ::1");
    check("[::ffff:10.0.0.1]", "address 10.0.0.1");
    check("[::ffff:a00:1]", "address 10.0.0.1");
    for other in [
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "127.0.0.01",
        "127.0.0.256",
        "1.2.3.4.5",
        "0x",
        "a.0x7f",
        "a.1",
        "::1",
        "[::1",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a b",
        "a%2eb",
        "b\u{fc}cher.example",
        "a/b",
        "a@b",
    ] {
        check(other, "-");
    }
    check(&"a".repeat(63), &format!("name {}", "a".repeat(63)));
    check(&"a".repeat(64), "-");
    check(&"a.".repeat(127), &format!("name {}a", "a.".repeat(126)));
    check(&"a.".repeat(128), "-");
}

#[test]
fn special_addresses() {
    let check = |address: &str, expected: &str| {
        let address: IpAddr = address.parse().unwrap();
        let found = special_purpose(address.to_canonical()).map_or("", |(_, purpose)| purpose);
        assert_eq!(found, expected, "{address}");
    };
    for public in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450::1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
    ] {
        check(public, "");
    }
    check("0.0.0.0", "this network");
    check("0.255.255.255", "this network");
    check("10.0.0.0", "private");
    check("10.255.255.255", "private");
    check("100.64.0.0", "shared behind a provider's translation");
    check("100.127.255.255", "shared behind a provider's translation");
    check("100.100.100.200", "metadata of a cloud");
    check("127.0.0.1", "loopback");
    check("127.255.255.255", "loopback");
    check("168.63.129.16", "metadata of a cloud");
    check("169.254.0.1", "link-local");
    check("169.254.169.254", "metadata of a cloud");
    check("172.16.0.0", "private");
    check("172.31.255.255", "private");
    check("192.0.0.192", "protocol assignments");
    check("192.0.2.1", "documentation");
    check("192.88.99.1", "6to4 relays");
    check("192.168.0.1", "private");
    check("198.18.0.0", "benchmarking");
    check("198.19.255.255", "benchmarking");
    check("198.51.100.1", "documentation");
    check("203.0.113.1", "documentation");
    check("224.0.0.1", "multicast or reserved");
    check("240.0.0.1", "multicast or reserved");
    check("255.255.255.255", "multicast or reserved");
    check("::", "unspecified");
    check("::1", "loopback");
    check("::10.0.0.1", "IPv4-compatible");
    check("::ffff:127.0.0.1", "loopback");
    check("::ffff:169.254.169.254", "metadata of a cloud");
    check("::ffff:0:127.0.0.1", "reserved");
    check("64:ff9b::127.0.0.1", "translation to a special IPv4 address");
    check("64:ff9b::a9fe:a9fe", "translation to a special IPv4 address");
    check("64:ff9b:1::1", "local translation to IPv4");
    check("100::1", "discard");
    check("2001::1", "protocol assignments");
    check("2001:db8::1", "documentation");
    check("2002:7f00:1::1", "6to4");
    check("3fff::1", "documentation");
    check("4000::1", "reserved");
    check("fc00::1", "unique local");
    check("fd00:ec2::254", "metadata of a cloud");
    check("fdff::1", "unique local");
    check("fe80::1", "link-local");
    check("febf::1", "link-local");
    check("fec0::1", "site-local");
    check("ff02::1", "multicast");
}

#[test]
fn the_first_rule_that_holds_decides() {
    let check = |text: &str, asked: &str, expected: &str| {
        assert_eq!(
            outcome(&rules(text, Access::Allow), asked, PUBLIC),
            expected,
            "{text} | {asked}"
        );
    };
    check("", "example.com:443", "allowed");
    check("deny ads.example", "x.ads.example:443", "at once: rule 1 denies it");
    check("deny ads.example", "example.com:443", "allowed");
    check(
        "allow ok.ads.example; deny ads.example",
        "ok.ads.example:80",
        "allowed by 1",
    );
    check(
        "allow ok.ads.example; deny ads.example",
        "no.ads.example:80",
        "at once: rule 2 denies it",
    );
    check(
        "deny ads.example; allow ok.ads.example",
        "ok.ads.example:80",
        "at once: rule 1 denies it",
    );
    check("deny ads.example :80", "ads.example:443", "allowed");
    check("deny :8080", "example.com:8080", "at once: rule 1 denies it");
    check("deny 198.41.0.0/24", "example.com:80", "rule 1 denies it");
    check("deny 198.41.0.0/24", "198.41.0.4:80", "at once: rule 1 denies it");
    check("deny 198.41.1.0/24", "example.com:80", "allowed");
    check(
        "allow 198.41.0.4/32; deny 198.41.0.0/24",
        "example.com:80",
        "allowed by 1",
    );
    check("allow @alice; deny example.com", "alice@example.com:80", "allowed by 1");
    check(
        "allow @alice; deny example.com",
        "bob@example.com:80",
        "at once: rule 2 denies it",
    );
    check(
        "allow @alice; deny example.com",
        "example.com:80",
        "at once: rule 2 denies it",
    );
    // A domain says nothing of whoever asks for an address.
    check("deny example.com", "198.41.0.4:80", "allowed");
    let closed = |text: &str, asked: &str, expected: &str| {
        assert_eq!(
            outcome(&rules(text, Access::Deny), asked, PUBLIC),
            expected,
            "{text} | {asked}"
        );
    };
    closed("", "example.com:443", "at once: no rule allows it");
    closed("allow example.com", "example.com:443", "allowed by 1");
    closed("allow example.com", "badexample.com:443", "at once: no rule allows it");
    closed("allow 198.41.0.0/24", "example.com:443", "allowed by 1");
    closed("allow 198.41.1.0/24", "example.com:443", "no rule allows it");
    closed("deny 198.41.0.0/24", "example.com:443", "at once: no rule allows it");
    closed(
        "deny 198.41.0.0/24; allow example.com",
        "example.com:443",
        "rule 1 denies it",
    );
}

/// Special addresses and unusual ports pass only by a rule that names them.
#[test]
fn what_is_denied_by_default_has_to_be_named() {
    let check = |text: &str, asked: &str, address: &str, expected: &str| {
        let found = outcome(&rules(text, Access::Allow), asked, address);
        assert_eq!(found, expected, "{text} | {asked} | {address}");
    };
    let special =
        |purpose: &str| format!("its address is for a special purpose ({purpose}), and no rule names that range");
    // A name that stands for an address within: rebinding.
    check("", "evil.example:80", "127.0.0.1", &special("loopback"));
    check("", "evil.example:80", "::1", &special("loopback"));
    check("", "evil.example:80", "::ffff:10.0.0.1", &special("private"));
    check(
        "",
        "evil.example:80",
        "64:ff9b::a9fe:a9fe",
        &special("translation to a special IPv4 address"),
    );
    check("allow evil.example", "evil.example:80", "10.0.0.1", &special("private"));
    check("", "127.0.0.1:80", "", &format!("at once: {}", special("loopback")));
    check(
        "",
        "[::ffff:7f00:1]:80",
        "",
        &format!("at once: {}", special("loopback")),
    );
    check("", "[2002:7f00:1::]:80", "", &format!("at once: {}", special("6to4")));
    check(
        "",
        "169.254.169.254:80",
        "",
        &format!("at once: {}", special("metadata of a cloud")),
    );
    check("allow 10.0.0.0/8", "in.example:80", "10.0.0.1", "allowed by 1");
    check("allow 10.1.0.0/16", "in.example:80", "10.0.0.1", &special("private"));
    check(
        "allow in.example 10.0.0.0/8",
        "in.example:80",
        "10.0.0.1",
        "allowed by 1",
    );
    check(
        "allow in.example 10.0.0.0/8",
        "evil.example:80",
        "10.0.0.1",
        &special("private"),
    );
    check("allow ::1/128", "in.example:80", "::1", "allowed by 1");
    check("allow 10.0.0.0/8", "in.example:80", "::ffff:10.0.0.1", "allowed by 1");
    // Whoever speaks of all addresses does not speak of these.
    check("allow 0.0.0.0/0", "evil.example:80", "10.0.0.1", &special("private"));
    check("allow ::/0", "evil.example:80", "::1", &special("loopback"));
    check("allow 8.0.0.0/6", "evil.example:80", "10.0.0.1", &special("private"));
    // Nor does whoever speaks of link-local addresses speak of the metadata among them.
    check("allow 169.254.0.0/16", "in.example:80", "169.254.1.1", "allowed by 1");
    check(
        "allow 169.254.0.0/16",
        "in.example:80",
        "169.254.169.254",
        &special("metadata of a cloud"),
    );
    check(
        "allow 169.254.169.254/32",
        "in.example:80",
        "169.254.169.254",
        "allowed by 1",
    );
    check(
        "allow 10.0.0.0/8",
        "in.example:80",
        "64:ff9b::10.0.0.1",
        &special("translation to a special IPv4 address"),
    );
    check(
        "allow 64:ff9b::/96",
        "in.example:80",
        "64:ff9b::10.0.0.1",
        "allowed by 1",
    );
    // A denial holds for what is within.
    check(
        "deny 198.41.0.0/24",
        "x.example:80",
        "64:ff9b::198.41.0.4",
        "rule 1 denies it",
    );

    let port = |port: u16| format!("no rule names port {port}, and it is none of 80, 443, and 1024 to 65535");
    for unusual in [0, 22, 25, 53, 79, 81, 1023] {
        let expected = format!("at once: {}", port(unusual));
        check("", &format!("a.example:{unusual}"), PUBLIC, &expected);
        check("allow a.example", &format!("a.example:{unusual}"), PUBLIC, &expected);
    }
    check("allow 198.41.0.0/24", "a.example:25", PUBLIC, &port(25));
    for usual in [80, 443, 1024, 65535] {
        check("", &format!("a.example:{usual}"), PUBLIC, "allowed");
    }
    check("allow :22", "a.example:22", PUBLIC, "allowed by 1");
    check("allow :1-1023", "a.example:25", PUBLIC, "allowed by 1");
    check(
        "allow a.example :22",
        "b.example:22",
        PUBLIC,
        &format!("at once: {}", port(22)),
    );
}

/// Where a parent looks names up, rules by address hold for addresses alone.
#[test]
fn names_that_a_parent_looks_up() {
    let check = |text: &str, host: &str, expected: &str| {
        let host = DestinationHost::parse(host.as_bytes()).unwrap();
        let asked = Asked {
            host: &host,
            port: 443,
            user: None,
        };
        let found = rules(text, Access::Allow).judge_unresolved(asked);
        let found = found.map_or_else(
            |denial| denial.to_string(),
            |rule| rule.map_or("allowed".into(), |rule| format!("allowed by {}", rule + 1)),
        );
        assert_eq!(found, expected, "{text}");
    };
    check("", "a.example", "allowed");
    check("deny 198.41.0.0/24", "a.example", "allowed");
    check("deny 198.41.0.0/24", "198.41.0.4", "rule 1 denies it");
    check("deny a.example", "a.example", "rule 1 denies it");
    check("allow 198.41.0.0/24; deny a.example", "a.example", "rule 2 denies it");
    check(
        "",
        "127.0.0.1",
        "its address is for a special purpose (loopback), and no rule names that range",
    );
}

proptest! {
    /// Whatever is read as a name is none that a resolver takes for an address, and reading it again changes nothing.
    #[test]
    fn names_are_no_addresses(bytes in "[0-9a-fxX.\\[\\]:]{0,20}|\\PC{0,20}") {
        if let Ok(host) = DestinationHost::parse(bytes.as_bytes()) {
            prop_assert_eq!(DestinationHost::parse(host.to_string().as_bytes()), Ok(host.clone()));
            if let DestinationHost::Name(name) = host {
                let last = name.rsplit('.').next().unwrap();
                prop_assert!(!last.bytes().all(|byte| byte.is_ascii_digit()));
                prop_assert!(!last.starts_with("0x") || last[2..].bytes().any(|byte| !byte.is_ascii_hexdigit()));
            }
        }
    }

    /// No special address passes where no rule names it, however it is spelled and whatever name it has.
    #[test]
    fn nothing_special_passes_unnamed(bits in any::<u32>(), way in 0..5_u8) {
        let v4 = core::net::Ipv4Addr::from_bits(bits);
        let high = u128::from(bits);
        let address: IpAddr = match way {
            0 => v4.into(),
            1 => v4.to_ipv6_mapped().into(),
            2 => core::net::Ipv6Addr::from_bits(0x0064_ff9b << 96 | high).into(),
            3 => core::net::Ipv6Addr::from_bits(0x2002 << 112 | high << 80).into(),
            _ => core::net::Ipv6Addr::from_bits(high).into(),
        };
        let host = DestinationHost::parse(b"a.example").unwrap();
        let asked = Asked { host: &host, port: 80, user: None };
        let is_special = special_purpose(v4.into()).is_some();
        for text in ["", "allow a.example", "allow 0.0.0.0/0 ::/0"] {
            let passes = rules(text, Access::Allow).judge(asked, address).is_ok();
            prop_assert!(!(is_special && passes), "{} by {:?}", address, text);
        }
    }
}
