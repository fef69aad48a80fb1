//! Do DNS and QUIC notice that somebody stands between them and their clients?

use std::collections::BTreeSet;
use std::thread;

use isobar_testkit::{Authority, DnsperfReport, Nsd, QuicServer, Validity, binary, eventually, quic_clients_that_move};

use super::{dropped, open_flows, udp};

/// Below what can be served nothing is lost, however flows begin and end.
fn assert_nothing_lost(report: &DnsperfReport) {
    let number = |words| report.number(words);
    assert!(number("Queries completed:") > Some(1000.0), "{}", report.text());
    assert_eq!(number("Queries lost:"), Some(0.0), "{}", report.text());
    assert!(report.text().contains("NOERROR"), "{}", report.text());
}

#[test]
fn dns_loses_nothing() {
    let servers = [Nsd::start(), Nsd::start()];
    let addresses = servers.each_ref().map(Nsd::address);
    for (settings, flows) in [
        ("{}", 20.0),
        ("{ responses: 1, idle_timeout: 5s, reuse_sockets: true }", 1000.0),
    ] {
        let isobar = binary!().run(&udp(&addresses).listener(format!("udp: {settings}")).top(""));
        let load = ["-l", "3", "-c", "20", "-T", "2", "-q", "40", "-Q", "3000"];
        let report = servers[0].dnsperf(isobar.address(), &load);
        assert_nothing_lost(&report);
        let metrics = isobar.metrics();
        let sum = |name: &str| metrics.sum(name, &[]).unwrap();
        let accepted = sum("isobar_listener_connections_accepted_total");
        assert!(accepted >= flows, "{settings}");
        let [opened, reused] = ["opened", "reused"].map(|how| sum(&format!("isobar_server_connections_{how}_total")));
        assert_eq!(opened + reused, accepted, "{settings}");
        assert_eq!(reused > 0.0, settings.contains("responses"), "{reused} with {settings}");
        let completed = report.number("Queries completed:").unwrap();
        assert_eq!(sum("isobar_listener_datagrams_sent_total"), completed);
        assert_eq!(sum("isobar_listener_datagrams_dropped_total"), 0.0);
        let each = metrics.values("isobar_server_datagrams_sent_total", &[]);
        assert!(each.iter().all(|&count| count > completed / 4.0), "{each:?}");
    }
}

/// The configuration is read anew again and again, and one server is not there: not a question is lost that was not sent to it.
#[test]
fn dns_loses_nothing_across_reloads() {
    let servers = [Nsd::start(), Nsd::start()];
    let addresses = servers.each_ref().map(Nsd::address);
    let configuration = |more: &str| {
        let configuration = udp(&addresses).listener(format!("udp: {{ responses: 1, {more} }}"));
        configuration.top("").upstream("health: { type: udp, send: '\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x02n1\\x07example\\x00\\x00\\x01\\x00\\x01', expect: '\\x12\\x34\\x85\\x00' }")
    };
    let isobar = binary!().run(&configuration("idle_timeout: 5s"));
    let healthy = || {
        isobar
            .metrics()
            .sum("isobar_server_check_state", &[("state", "healthy")])
    };
    eventually("both answer their checks", || healthy() == Some(2.0));
    let load = ["-l", "4", "-c", "10", "-q", "20", "-Q", "1500"];
    thread::scope(|scope| {
        let running = scope.spawn(|| servers[0].dnsperf(isobar.address(), &load));
        let mut reloads = 0;
        while !running.is_finished() {
            let log = isobar.reload(&configuration(&format!("idle_timeout: {}s", 5 + reloads % 2)).yaml());
            assert!(log.contains("applied"), "{log}");
            reloads += 1;
        }
        assert!(reloads > 3);
        assert_nothing_lost(&running.join().unwrap());
    });
    assert_eq!(dropped(&isobar, "to_server") + dropped(&isobar, "no_server"), 0.0);
    eventually("no flow is left", || open_flows(&isobar) == 0.0);
}

/// Clients whose port changes come to either worker, and stay with the server that has their connection.
#[test]
fn quic_clients_that_move_stay_with_their_server() {
    let authority = Authority::new();
    let certified = authority.certify("localhost", Validity::Now);
    let servers = ["a", "b", "c"].map(|name| QuicServer::start(name, &certified));
    let addresses = servers.each_ref().map(QuicServer::address);
    let isobar = binary!().run(&udp(&addresses).listener("udp: { quic: {} }"));
    let heard = quic_clients_that_move(isobar.address(), 12);
    assert_eq!(heard.len(), 12);
    let mut names = BTreeSet::new();
    for answers in &heard {
        let (name, _) = answers[0].split_once(':').unwrap();
        assert_eq!(answers.len(), 4, "{answers:?}");
        assert!(
            answers.iter().all(|answer| answer.starts_with(&format!("{name}:"))),
            "{answers:?}"
        );
        names.insert(name.to_owned());
    }
    assert_eq!(names.len(), 3, "all servers have clients");
    let flows = isobar.metrics().sum("isobar_listener_connections_accepted_total", &[]);
    assert_eq!(flows, Some(48.0), "each move is a flow");
    assert_eq!(dropped(&isobar, "no_server"), 0.0);
}
