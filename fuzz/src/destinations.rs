//! What holds for every destination that a client of a forward proxy can ask for?

use std::net::IpAddr;
use std::sync::Arc;

use isobar_route::destination::{
    Access, Asked, DestinationHost, DestinationRule, DestinationRules, DomainPattern, special_purpose,
};

/// Rules that allow everything without naming anything.
fn open() -> DestinationRules {
    let rule = |domains| DestinationRule {
        access: Access::Allow,
        domains,
        ranges: Vec::new(),
        ports: Vec::new(),
        users: Vec::new(),
    };
    let all = DomainPattern::parse("example.com").expect("it is a domain");
    DestinationRules {
        rules: Arc::from([rule(vec![all]), rule(Vec::new())]),
        otherwise: Access::Allow,
    }
}

/// A host is read as one thing, and what is special passes in no spelling.
pub(crate) fn destination(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = DomainPattern::parse(&text).map(|domain| domain.covers(&text));
    let Ok(host) = DestinationHost::parse(input) else {
        return;
    };
    let again = DestinationHost::parse(host.to_string().as_bytes());
    assert_eq!(again.as_ref(), Ok(&host), "it is written as it is read");
    let asked = Asked {
        host: &host,
        port: 80,
        user: None,
    };
    match &host {
        DestinationHost::Address(address) => {
            let is_special = special_purpose(*address).is_some();
            assert_eq!(open().before_lookup(asked).is_err(), is_special, "{address}");
            assert_eq!(open().judge(asked, *address).is_err(), is_special, "{address}");
            assert_eq!(address.to_canonical(), *address, "an IPv4 address is one");
        }
        DestinationHost::Name(name) => {
            assert!(name.parse::<IpAddr>().is_err() && name.len() <= 253, "{name}");
            assert!(
                !name.bytes().any(|byte| byte.is_ascii_uppercase()) && !name.ends_with('.'),
                "{name}"
            );
            assert!(open().before_lookup(asked).is_ok(), "{name}");
            assert!(open().judge(asked, IpAddr::from([127, 0, 0, 1])).is_err(), "{name}");
        }
    }
}
