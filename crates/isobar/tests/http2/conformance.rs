//! How many of the rules of HTTP/2 does a foreign judge find kept, and does HAProxy keep more?

use isobar_testkit::http2::{Haproxy, Httpwg, httpwg};
use isobar_testkit::{Configuration, Origin, binary};

/// The judge waits for a frame no longer than a few seconds, which a machine with other work may take: what is wrong is so each time.
const RUNS: usize = 3;

#[test]
fn isobar_keeps_the_rules_that_haproxy_keeps() {
    // An answer that comes before its request is whole would end the stream before the judge has said all of it.
    let origin = Origin::start(|exchange| {
        exchange.body()?;
        exchange.reply(200, &[], b"hello")
    });
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let haproxy = Haproxy::start(origin.address());
    let theirs = httpwg(haproxy.address());
    let score = |name: &str, Httpwg { passed, failed }: &Httpwg| {
        format!(
            "{name}: {passed} of {} passed; failed: {failed:#?}",
            passed + failed.len()
        )
    };
    println!("{}", score("HAProxy", &theirs));
    let mut worse: Option<Vec<String>> = None;
    for _ in 0..RUNS {
        let ours = httpwg(isobar.address());
        // The score belongs to the run, whether or not it is good enough.
        println!("{}", score("Isobar", &ours));
        assert!(ours.passed > 95, "{ours:?}");
        let failed = ours.failed.into_iter().map(|(name, _)| name);
        let failed = failed.filter(|name| theirs.failed.iter().all(|(other, _)| other != name));
        let again: Vec<_> = failed
            .filter(|name| worse.as_ref().is_none_or(|worse| worse.contains(name)))
            .collect();
        if again.is_empty() {
            return;
        }
        worse = Some(again);
    }
    panic!("HAProxy keeps what we do not: {worse:#?}");
}
