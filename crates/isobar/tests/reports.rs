//! Do servers get their share by the load that they report, and does nobody else see it?
//!
//! Binary reports were made from the official definition, as in `isobar-wire/src/load/tests.rs`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isobar_testkit::{After, Client, Configuration, Exchange, Isobar, Origin, binary, eventually, get};

const ORCA: &str = "balance: orca_weighted_round_robin";

/// Of half of its capacity, 70 requests a second: the weight is 140.
const BINARY_140: &str = "CQAAAAAAAOA/GEY=";

/// Answers with these fields.
fn saying(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::start(move |exchange| exchange.reply(200, fields, b"ok"))
}

fn in_trailers(exchange: &mut Exchange<'_>, trailers: &str) -> io::Result<After> {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
    exchange.send(format!("{head}{trailers}\r\n"))?;
    Ok(After::Keep)
}

fn to(origins: &[&Origin]) -> Configuration {
    Configuration::to(&origins.iter().map(|origin| origin.address()).collect::<Vec<_>>())
}

/// How many of so many further requests each got, in percent.
fn shares(isobar: &Isobar, origins: &[&Origin], requests: usize) -> Vec<usize> {
    let before: Vec<_> = origins.iter().map(|origin| origin.request_count()).collect();
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..requests {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    let got = origins
        .iter()
        .zip(before)
        .map(|(origin, before)| origin.request_count() - before);
    got.map(|count| count * 100 / requests).collect()
}

/// Waits until the shares are these, in percent, give or take two.
#[track_caller]
fn shares_become(isobar: &Isobar, origins: &[&Origin], expected: &[usize]) {
    let mut last = Vec::new();
    eventually(&format!("the shares are {expected:?}"), || {
        last = shares(isobar, origins, 200);
        last.iter()
            .zip(expected)
            .all(|(share, expected)| share.abs_diff(*expected) <= 2)
    });
}

#[test]
fn weights_follow_reports_in_every_form() {
    // Weights of 200, 400, 140 and 100.
    let text = saying(&[(
        "Endpoint-Load-Metrics",
        "TEXT cpu_utilization=0.5, rps_fractional=100, mem_utilization=0.9",
    )]);
    let json = saying(&[(
        "endpoint-load-metrics",
        r#"JSON {"applicationUtilization": 0.25, "rpsFractional": 100.0}"#,
    )]);
    let binary = saying(&[("endpoint-load-metrics", "BIN CQAAAAAAAOA/GEY=")]);
    let trailer = Origin::start(|exchange| {
        in_trailers(
            exchange,
            "x-kept: 1\r\nendpoint-load-metrics: TEXT cpu_utilization=0.5,rps=50\r\n",
        )
    });
    let grpc = Origin::start(|exchange| in_trailers(exchange, &format!("endpoint-load-metrics-bin: {BINARY_140}\r\n")));
    let origins = [&text, &json, &binary, &trailer, &grpc];
    let configuration = to(&origins)
        .upstream(ORCA)
        .upstream("orca: { blackout: none, update_period: 100ms }");
    let isobar = binary!().workers(2).run(&configuration);
    shares_become(&isobar, &origins, &[20, 41, 14, 10, 14]);
    let metrics = isobar.metrics();
    assert_eq!(metrics.sum("isobar_upstream_reports_informed", &[]), Some(1.0));
    assert_eq!(metrics.sum("isobar_server_reports_malformed_total", &[]), Some(0.0));
    let requests: usize = origins.iter().map(|origin| origin.request_count()).sum();
    assert_eq!(metrics.sum("isobar_server_reports_total", &[]), Some(requests as f64));
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut kept = 0;
    for _ in 0..30 {
        let answer = client.get("/").unwrap();
        let shown = |name| answer.fields.value(name).is_some() || answer.trailers.value(name).is_some();
        assert!(
            !shown("endpoint-load-metrics") && !shown("endpoint-load-metrics-bin"),
            "{answer:?}"
        );
        kept += usize::from(answer.trailers.value("x-kept").is_some());
    }
    assert!(kept > 0, "no other trailer was passed on");
}

#[test]
fn reports_count_after_their_blackout_until_they_expire() {
    let telling = Arc::new(AtomicBool::new(true));
    let origin = |report: &'static str| {
        let telling = Arc::clone(&telling);
        Origin::start(move |exchange| {
            let fields = [("endpoint-load-metrics", report)];
            exchange.reply(200, if telling.load(Ordering::SeqCst) { &fields } else { &[] }, b"ok")
        })
    };
    let (busy, idle) = (
        origin("TEXT cpu_utilization=0.75,rps_fractional=90"),
        origin("TEXT cpu_utilization=0.25,rps_fractional=90"),
    );
    let origins = [&busy, &idle];
    let configuration = to(&origins)
        .upstream(ORCA)
        .upstream("orca: { blackout: 2s, expiration: 3s, update_period: 100ms }");
    let isobar = binary!().run(&configuration);
    let start = std::time::Instant::now();
    assert_eq!(shares(&isobar, &origins, 100), [50, 50]);
    let fallback = || {
        isobar
            .metrics()
            .sum("isobar_upstream_fallback_picks_total", &[])
            .unwrap()
    };
    assert_eq!(fallback(), 100.0);
    shares_become(&isobar, &origins, &[25, 75]);
    assert!(start.elapsed().as_secs() >= 2, "the blackout was {:?}", start.elapsed());
    isobar.wait_for_log("servers of web report their load");
    let before = fallback();
    shares_become(&isobar, &origins, &[25, 75]);
    assert_eq!(fallback(), before);
    telling.store(false, Ordering::SeqCst);
    shares_become(&isobar, &origins, &[50, 50]);
    eventually("it is said that there are no reports", || {
        get(isobar.address(), "/").unwrap();
        isobar.log().contains("servers of web do not report their load")
    });
    assert!(
        isobar.health().to_string().contains("no fresh reports of load"),
        "{}",
        isobar.health()
    );
}

/// Nonsense is counted and left aside: the server counts as one that says nothing, which is the mean of the others.
#[test]
fn a_server_that_lies_gains_nothing() {
    let lies: [&[(&str, &str)]; 7] = [
        &[("endpoint-load-metrics", "TEXT cpu_utilization=NaN,rps_fractional=1e300")],
        &[(
            "endpoint-load-metrics",
            "TEXT cpu_utilization=0.0001,rps_fractional=inf",
        )],
        &[("endpoint-load-metrics", "TEXT cpu_utilization=-1,rps_fractional=100")],
        &[("endpoint-load-metrics", "JSON {\"cpuUtilization\":")],
        &[
            ("endpoint-load-metrics", "TEXT cpu_utilization=0.001,rps=100"),
            ("endpoint-load-metrics", "TEXT cpu_utilization=0.1,rps=100"),
        ],
        &[
            ("endpoint-load-metrics-bin", "AAAA"),
            ("endpoint-load-metrics", "TEXT cpu_utilization=0.001,rps=100"),
        ],
        &[("endpoint-load-metrics", "")],
    ];
    let next = std::sync::atomic::AtomicUsize::new(0);
    let liar = Origin::start(move |exchange| {
        let lie = lies[next.fetch_add(1, Ordering::SeqCst) % lies.len()];
        exchange.reply(200, lie, b"ok")
    });
    let one = saying(&[("endpoint-load-metrics", "TEXT cpu_utilization=0.5,rps=100")]);
    let other = saying(&[("endpoint-load-metrics", "TEXT cpu_utilization=0.25,rps=100")]);
    let origins = [&liar, &one, &other];
    let configuration = to(&origins)
        .upstream(ORCA)
        .upstream("orca: { blackout: none, update_period: 100ms }");
    let isobar = binary!().run(&configuration);
    shares_become(&isobar, &origins, &[33, 22, 44]);
    let address = liar.address().to_string();
    let of_the_liar = |name| isobar.metrics().sum(name, &[("server", &address)]).unwrap();
    eventually("all are counted", || {
        of_the_liar("isobar_server_reports_malformed_total") == liar.request_count() as f64
    });
    assert_eq!(of_the_liar("isobar_server_reports_total"), 0.0);
}

#[test]
fn reports_are_shown_to_clients_where_that_is_asked_for() {
    let report = "TEXT cpu_utilization=0.5,rps=100";
    let origin = Origin::start(move |exchange| {
        if exchange.request.target == "/trailers" {
            in_trailers(exchange, &format!("endpoint-load-metrics: {report}\r\n"))
        } else {
            exchange.reply(
                200,
                &[("endpoint-load-metrics", report), ("x-requests-in-flight", "3")],
                b"ok",
            )
        }
    });
    let check = |upstream: &str, shown: bool, read: f64| {
        let isobar = binary!().run(&to(&[&origin]).upstream(upstream));
        let head = get(isobar.address(), "/").unwrap();
        let trailers = get(isobar.address(), "/trailers").unwrap();
        let expected = shown.then_some(report);
        assert_eq!(head.fields.value("endpoint-load-metrics"), expected, "{upstream}");
        assert_eq!(trailers.trailers.value("endpoint-load-metrics"), expected, "{upstream}");
        let reports = isobar.metrics().sum("isobar_server_reports_total", &[]);
        assert_eq!(reports, Some(read), "{upstream}");
        head.fields.value("x-requests-in-flight").map(str::to_owned)
    };
    assert_eq!(check(ORCA, false, 2.0).as_deref(), Some("3"), "it is no report to ORCA");
    assert_eq!(check("balance: prequal", false, 2.0), None);
    check(&format!("{ORCA}\nreports: {{ strip: false }}"), true, 2.0);
    let other = check("balance: prequal\nreports: { in_flight_header: x-other }", false, 2.0);
    assert_eq!(other.as_deref(), Some("3"));
    // Who does not go by reports does not look for them.
    check("balance: least_connections", true, 0.0);
}

/// A reload of other settings leaves what servers reported where it is.
#[test]
fn a_reload_keeps_what_was_reported() {
    let one = saying(&[("endpoint-load-metrics", "TEXT cpu_utilization=0.5,rps=100")]);
    let other = saying(&[("endpoint-load-metrics", "TEXT cpu_utilization=0.5,rps=300")]);
    let origins = [&one, &other];
    let orca = "orca: { blackout: none, update_period: 100ms }";
    let configuration = to(&origins).upstream(ORCA).upstream(orca);
    let isobar = binary!().run(&configuration);
    shares_become(&isobar, &origins, &[25, 75]);
    let fallback = || {
        isobar
            .metrics()
            .sum("isobar_upstream_fallback_picks_total", &[])
            .unwrap()
    };
    let before = fallback();
    for attempts in 3..6 {
        let next = configuration
            .clone()
            .upstream(format!("retry: {{ attempts: {attempts} }}"));
        assert!(isobar.reload(&next.yaml()).contains("configuration applied"));
        let shares = shares(&isobar, &origins, 200);
        assert!(shares[0].abs_diff(25) <= 2, "{shares:?}");
    }
    assert_eq!(fallback(), before);
}
