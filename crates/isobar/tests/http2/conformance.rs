//! How many of the rules of HTTP/2 does a foreign judge find kept, and does HAProxy keep more?

use isobar_testkit::http2::{Haproxy, Httpwg, httpwg};
use isobar_testkit::{Configuration, Nginx, binary};

/// Whether the connection or the stream ends as it should, with a reason that is less exact than it could be: the library knows
/// `PROTOCOL_ERROR` alone for what frames say that came to the wrong place. `NO_ERROR` is a stream's whose answer was faster than
/// what is wrong with it.
fn is_a_matter_of_words((_, why): &(String, String)) -> bool {
    why.contains("but got ProtocolError") || why.contains("but got NoError")
}

#[test]
fn isobar_keeps_the_rules_that_haproxy_keeps() {
    let nginx = Nginx::start("location / { return 200 hello; }");
    let isobar = binary!().run(&Configuration::to(&[nginx.address()]));
    let haproxy = Haproxy::start(nginx.address());
    let (ours, theirs) = (httpwg(isobar.address()), httpwg(haproxy.address()));
    let score = |name: &str, Httpwg { passed, failed }: &Httpwg| {
        let words = failed.iter().filter(|failed| is_a_matter_of_words(failed)).count();
        format!(
            "{name}: {passed} of {} passed, {words} failed by the reason given alone",
            passed + failed.len()
        )
    };
    // The score belongs to the run, whether or not it is good enough.
    println!("{}\n{}", score("Isobar", &ours), score("HAProxy", &theirs));
    assert!(ours.passed > 85, "{ours:?}");
    let worse: Vec<_> = ours
        .failed
        .iter()
        .filter(|failed| !is_a_matter_of_words(failed))
        .filter(|(name, _)| theirs.failed.iter().all(|(other, _)| other != name))
        .collect();
    assert!(worse.is_empty(), "{worse:#?}");
}
