//! Does finding a rule allocate, or the canonical path it is found by?

use std::net::IpAddr;

use isobar_route::destination::{
    Access, AddressRange, Asked, DestinationHost, DestinationRule, DestinationRules, DomainPattern, PortRange,
};
use isobar_route::{Canonical, HostPattern, PathPattern, RouteTable, Rule, canonical_target};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn allocations() -> u64 {
    dhat::HeapStats::get().total_blocks
}

/// One test, because the counter counts what every thread allocates.
#[test]
fn a_look_up_allocates_nothing() {
    let rule = |(host, path)| Rule {
        host: HostPattern::parse(host).unwrap(),
        path: PathPattern::parse(path).unwrap(),
    };
    let written = [
        ("www.example.com", "/v1/*"),
        ("*.example.com", "/v1*"),
        ("[2001:db8::1]", "/"),
        ("*", "/x"),
        ("*", "*"),
    ];
    let rules = written.map(rule);
    let table = RouteTable::new(&rules);

    let _profiler = dhat::Profiler::builder().testing().build();
    let counted = allocations();
    drop(Box::new(1));
    assert_eq!(allocations(), counted + 1, "the counter counts");

    let mut scratch = Vec::with_capacity(100);
    let before = allocations();
    assert_eq!(
        canonical_target(b"/v1/users/%2F?q=%7e", &mut scratch),
        Ok(Canonical::Same)
    );
    assert_eq!(
        canonical_target(b"/v1/../users?q=%7e", &mut scratch),
        Ok(Canonical::Rewritten)
    );
    assert_eq!(table.find(b"WWW.Example.com.:443", b"/v1/users"), Some(0));
    assert_eq!(table.find(b"a.b.example.com", b"/v10"), Some(1));
    assert_eq!(table.find(b"[2001:DB8:0::1]:8080", b"/"), Some(2));
    assert_eq!(table.find(b"example.org", b"/x"), Some(3));
    assert_eq!(table.find(&[b'a'; 5000], b"/y"), Some(4));
    assert_eq!(allocations(), before);

    let judged = destinations();
    let before = allocations();
    for (host, address) in &judged.hosts {
        let asked = Asked {
            host,
            port: 443,
            user: Some("alice"),
        };
        assert_eq!(judged.rules.before_lookup(asked), Ok(()));
        assert_eq!(judged.rules.judge(asked, *address), Ok(Some(1)));
    }
    assert_eq!(allocations(), before);
}

/// Rules of a forward proxy, and destinations that the second one takes.
struct Judged {
    rules: DestinationRules,
    hosts: [(DestinationHost, IpAddr); 2],
}

fn destinations() -> Judged {
    let rule = |access, domains: &[&str], range: &str| DestinationRule {
        access,
        domains: domains.iter().map(|text| DomainPattern::parse(text).unwrap()).collect(),
        ranges: AddressRange::new(range.parse().unwrap(), 8).into_iter().collect(),
        ports: vec![PortRange { first: 443, last: 443 }],
        users: vec!["bob".into(), "alice".into()],
    };
    let host = |text: &str| DestinationHost::parse(text.as_bytes()).unwrap();
    Judged {
        rules: DestinationRules {
            rules: [
                rule(Access::Deny, &["ads.example"], "0.0.0.0"),
                rule(Access::Allow, &[], "198.0.0.0"),
            ]
            .into(),
            otherwise: Access::Deny,
        },
        hosts: [
            (host("www.example.com"), IpAddr::from([198, 41, 0, 4])),
            (host("198.41.0.4"), IpAddr::from([198, 41, 0, 4])),
        ],
    }
}
