//! Does Prequal send requests where servers say that they have least to do, and ask them without being in the way?

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::{Client, Configuration, Gate, Isobar, Load, LoadOptions, Origin, binary, eventually, get};

const PREQUAL: &str = "balance: prequal";

/// The field in which servers tell, unless another is configured.
const FIELD: &str = "x-requests-in-flight";

fn to(origins: &[Origin]) -> Configuration {
    Configuration::to(&origins.iter().map(Origin::address).collect::<Vec<_>>()).upstream(PREQUAL)
}

/// Says in every answer that it has so many in flight.
fn saying(in_flight: &'static str) -> Origin {
    Origin::start(move |exchange| exchange.reply(200, &[(FIELD, in_flight)], b"ok"))
}

/// Says so only when it is asked, at `/load`.
fn asked(in_flight: &'static str) -> Origin {
    Origin::start(move |exchange| match &*exchange.request.target {
        "/load" => exchange.reply(200, &[(FIELD, in_flight)], b"a body that is of no interest"),
        _ => exchange.reply(200, &[], b"ok"),
    })
}

fn requests(origin: &Origin) -> usize {
    let all = origin.requests();
    all.iter().filter(|request| request.target != "/load").count()
}

fn send(isobar: &Isobar, count: usize) {
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..count {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
}

fn metric(isobar: &Isobar, name: &str) -> f64 {
    isobar
        .metrics()
        .sum(name, &[])
        .unwrap_or_else(|| panic!("there is no {name}"))
}

#[test]
fn what_answers_say_is_enough() {
    let origins = [
        saying("1"),
        saying("90"),
        saying("0;latency_ms=2"),
        saying("1"),
        saying("many"),
        saying("1"),
    ];
    let isobar = binary!().run(&to(&origins));
    send(&isobar, 600);
    let counts: Vec<_> = origins.iter().map(requests).collect();
    assert!(counts[1] < 40, "the busy server got {counts:?}");
    assert_eq!(metric(&isobar, "isobar_server_load_probes_total"), 0.0);
    assert_eq!(metric(&isobar, "isobar_server_reports_total"), (600 - counts[4]) as f64);
    assert_eq!(
        metric(&isobar, "isobar_server_reports_malformed_total"),
        counts[4] as f64
    );
    assert_eq!(metric(&isobar, "isobar_upstream_reports_informed"), 1.0);
    assert!(metric(&isobar, "isobar_upstream_fallback_picks_total") < 60.0);
    assert_eq!(get(isobar.address(), "/").unwrap().fields.value(FIELD), None);
}

#[test]
fn servers_are_asked_where_their_answers_say_nothing() {
    let origins = [asked("0"), asked("80"), asked("0"), asked("80"), asked("0")];
    let isobar = binary!()
        .workers(2)
        .run(&to(&origins).upstream("prequal: { probe: /load }"));
    eventually("it goes by reports", || {
        send(&isobar, 50);
        metric(&isobar, "isobar_upstream_reports_informed") == 1.0
    });
    let before: Vec<_> = origins.iter().map(requests).collect();
    send(&isobar, 1000);
    let counts: Vec<_> = origins
        .iter()
        .zip(before)
        .map(|(origin, before)| requests(origin) - before)
        .collect();
    assert!(counts[1] + counts[3] < 150, "busy servers got their part of {counts:?}");
    let probes = metric(&isobar, "isobar_server_load_probes_total");
    assert!(probes >= 5.0, "{probes} probes");
    assert_eq!(metric(&isobar, "isobar_server_load_probes_failed_total"), 0.0);
    // One connection for probes, and one for each worker's requests, one after the other.
    assert!(origins.iter().all(|origin| origin.connections_accepted() <= 3));
    let asked = origins[0]
        .requests()
        .into_iter()
        .find(|request| request.target == "/load")
        .unwrap();
    assert_eq!(asked.fields.value("user-agent"), Some("isobar-load-probe"));
    assert_eq!(asked.fields.value("host"), Some(&*origins[0].address().to_string()));
}

/// Reports may come as ORCA's too, in a head or behind a body, and from whatever path.
#[test]
fn probes_are_answered_in_every_form() {
    let named =
        |in_flight: u32| format!("TEXT named_metrics.requests_in_flight={in_flight},named_metrics.latency_ms=3");
    let idle = Origin::start(move |exchange| match &*exchange.request.target {
        "/metrics?load=1" => exchange.reply(200, &[("endpoint-load-metrics", &named(0))], b"x"),
        _ => exchange.reply(200, &[], b"ok"),
    });
    let busy = Origin::start(move |exchange| match &*exchange.request.target {
        "/metrics?load=1" => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
            exchange.send(format!("{head}endpoint-load-metrics: {}\r\n\r\n", named(70)))?;
            Ok(isobar_testkit::After::Keep)
        }
        _ => exchange.reply(200, &[], b"ok"),
    });
    let origins = [idle, busy];
    let probe = "prequal: { probe: { path: \"/metrics?load=1\", host: load.example, timeout: 500ms } }";
    let isobar = binary!().run(&to(&origins).upstream(probe));
    eventually("it goes by reports", || {
        send(&isobar, 20);
        metric(&isobar, "isobar_upstream_reports_informed") == 1.0
    });
    let at_the_busy = || {
        origins[1]
            .requests()
            .iter()
            .filter(|request| request.target == "/")
            .count()
    };
    let before = at_the_busy();
    send(&isobar, 200);
    assert!(
        at_the_busy() - before < 30,
        "{} at the busy server",
        at_the_busy() - before
    );
    let requests = origins[1].requests();
    let asked = requests.iter().find(|request| request.target != "/").unwrap();
    assert_eq!(asked.fields.value("host"), Some("load.example"));
}

/// Probes that hang delay nobody, take no place, are told in log and metrics, and do no harm when they go on.
#[test]
fn a_server_that_stops_answering_probes_is_still_served() {
    let gate = Gate::new();
    let origins: Vec<_> = (0..4)
        .map(|_| {
            let gate = gate.clone();
            Origin::start(move |exchange| match &*exchange.request.target {
                "/load" => {
                    gate.pass();
                    exchange.reply(200, &[(FIELD, "1")], b"ok")
                }
                _ => exchange.reply(200, &[], b"ok"),
            })
        })
        .collect();
    let isobar = binary!().run(&to(&origins).upstream("prequal: { max_age: 300ms, probe: /load }"));
    eventually("probes fail", || {
        send(&isobar, 20);
        // Those that wait for an answer would hold theirs for as long as this lasts.
        eventually("probes take no place", || {
            metric(&isobar, "isobar_server_in_flight") == 0.0
        });
        metric(&isobar, "isobar_server_load_probes_failed_total") > 4.0
    });
    assert!(gate.waiting() > 0);
    eventually("it is said", || {
        send(&isobar, 5);
        isobar.log().contains("servers of web do not report their load")
    });
    assert!(metric(&isobar, "isobar_upstream_fallback_picks_total") > 20.0);
    assert_eq!(metric(&isobar, "isobar_upstream_reports_informed"), 0.0);
    let counts: Vec<_> = origins.iter().map(requests).collect();
    let sum: usize = counts.iter().sum();
    assert!(
        counts.iter().all(|count| count * 10 > sum),
        "without reports all are used: {counts:?}"
    );
    gate.open();
    eventually("it goes by reports", || {
        send(&isobar, 20);
        isobar.log().contains("servers of web report their load")
    });
}

/// A server that is gone, and one that comes back; the others are asked as before.
#[test]
fn servers_that_vanish_are_asked_again_when_they_are_back() {
    let origins = [asked("0"), asked("0"), asked("0")];
    let isobar = binary!().run(&to(&origins).upstream("prequal: { probe: /load }"));
    let probed = || {
        origins[1]
            .requests()
            .iter()
            .filter(|request| request.target == "/load")
            .count()
    };
    let sent = |done: &dyn Fn() -> bool| {
        eventually("it comes about", || {
            send(&isobar, 20);
            done()
        });
    };
    sent(&|| probed() > 0);
    origins[1].stop();
    sent(&|| metric(&isobar, "isobar_server_load_probes_failed_total") > 1.0);
    origins[1].resume();
    let before = probed();
    sent(&|| probed() > before);
    assert_eq!(metric(&isobar, "isobar_server_in_flight"), 0.0);
}

#[test]
fn probes_keep_to_their_budget() {
    let origins: Vec<_> = (0..6).map(|_| asked("0")).collect();
    let probe = "prequal: { fresh: 1ms, probe: { path: /load, max_per_second: 40 } }";
    let isobar = binary!().run(&to(&origins).upstream(probe));
    let load = Load::start(isobar.address(), &LoadOptions::default());
    load.passes(100);
    let probes = || metric(&isobar, "isobar_server_load_probes_total");
    let (start, before) = (Instant::now(), probes());
    eventually("many were sent", || probes() - before >= 60.0);
    let most = start.elapsed().as_secs_f64() * 40.0 + 4.0;
    assert!(
        probes() - before <= most + 40.0 * 0.2,
        "{} of {most}",
        probes() - before
    );
    load.finish().assert_flawless();
}

#[test]
fn a_reload_keeps_candidates_and_connections() {
    let origins: Vec<_> = (0..8).map(|_| asked("0")).collect();
    let configuration = to(&origins).upstream("prequal: { max_age: 30s, probe: { path: /load, timeout: 1s } }");
    let isobar = binary!().run(&configuration);
    eventually("there are candidates", || {
        send(&isobar, 20);
        metric(&isobar, "isobar_upstream_candidates") >= 2.0
            && metric(&isobar, "isobar_upstream_reports_informed") == 1.0
    });
    eventually("every server was asked", || {
        send(&isobar, 20);
        origins
            .iter()
            .all(|origin| origin.requests().iter().any(|request| request.target == "/load"))
    });
    let candidates = metric(&isobar, "isobar_upstream_candidates");
    let fallback = metric(&isobar, "isobar_upstream_fallback_picks_total");
    let accepted: Vec<_> = origins.iter().map(Origin::connections_accepted).collect();
    let next = configuration.clone().upstream("retry: { attempts: 4 }");
    assert!(isobar.reload(&next.yaml()).contains("configuration applied"));
    assert_eq!(metric(&isobar, "isobar_upstream_candidates"), candidates);
    send(&isobar, 100);
    assert!(metric(&isobar, "isobar_upstream_fallback_picks_total") <= fallback + 1.0);
    let now: Vec<_> = origins.iter().map(Origin::connections_accepted).collect();
    let new: usize = now.iter().zip(accepted).map(|(now, before)| now - before).sum();
    assert!(new <= 16, "{new} new connections, of requests alone");
    // To another algorithm and back, under load.
    let load = Load::start(isobar.address(), &LoadOptions::default());
    for round in 0..20 {
        let other = Configuration::to(&origins.iter().map(Origin::address).collect::<Vec<_>>());
        let text = if round % 2 == 0 {
            other.yaml()
        } else {
            configuration.yaml()
        };
        assert!(isobar.reload(&text).contains("configuration applied"));
        load.passes(20);
    }
    load.finish().assert_flawless();
    isobar.comes_to_rest();
}

/// A server that works on one request at a time and tells how many it has.
fn worker(service: Duration) -> Origin {
    let (busy, in_flight, total) = (Mutex::new(()), AtomicUsize::new(0), AtomicUsize::new(0));
    Origin::start(move |exchange| {
        total.fetch_add(1, Ordering::SeqCst);
        let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        if exchange.request.target != "/load" {
            let _working = busy.lock().unwrap();
            thread::sleep(service);
        }
        in_flight.fetch_sub(1, Ordering::SeqCst);
        let latency = service.as_millis() as usize * now;
        let others = in_flight.load(Ordering::SeqCst);
        exchange.reply(200, &[(FIELD, &format!("{others};latency_ms={latency}"))], b"ok")
    })
}

/// The 50th, 90th and 99th of a hundred response times in milliseconds, of clients of both instances.
fn response_times(upstream: &str) -> [f64; 3] {
    // Eight servers, one of which has an antagonist that leaves it a twelfth.
    let origins: Vec<_> = (0..8)
        .map(|n| worker(Duration::from_millis(if n == 3 { 60 } else { 5 })))
        .collect();
    let servers: Vec<_> = origins.iter().map(Origin::address).collect();
    let instances = [0, 1].map(|_| {
        binary!()
            .workers(1)
            .run(&Configuration::to(&servers).upstream(upstream))
    });
    let stopping = Arc::new(AtomicBool::new(false));
    let times = Arc::new(Mutex::new(Vec::new()));
    let client = |address: SocketAddr| {
        let (stopping, times) = (Arc::clone(&stopping), Arc::clone(&times));
        thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            let begun = Instant::now();
            while !stopping.load(Ordering::SeqCst) {
                let start = Instant::now();
                assert_eq!(client.get("/").unwrap().status, 200);
                if begun.elapsed() > Duration::from_millis(500) {
                    times.lock().unwrap().push(start.elapsed());
                }
                thread::sleep(Duration::from_millis(4));
            }
        })
    };
    let clients: Vec<_> = (0..10).map(|n| client(instances[n % 2].address())).collect();
    eventually("there are enough response times", || {
        times.lock().unwrap().len() >= 3000
    });
    stopping.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let mut times = times.lock().unwrap();
    times.sort_unstable();
    [50, 90, 99].map(|percent| times[times.len() * percent / 100].as_secs_f64() * 1e3)
}

/// Two instances that know nothing of each other, and a server that others slow down. The table in docs/algorithms.md has
/// these numbers.
#[test]
fn an_antagonist_is_avoided_by_two_instances() {
    let check = |upstream: &str| {
        let times = response_times(upstream);
        println!("50 %, 90 % and 99 % in ms: {times:.1?} with {upstream}");
        times
    };
    let prequal = check("balance: prequal\nprequal: { probe: /load }");
    check("balance: prequal");
    check("balance: least_connections");
    let two = check("balance: power_of_two");
    assert!(prequal[2] < two[2], "prequal {prequal:?}, power_of_two {two:?}");
}

/// The example runs as it says: three servers of its kind, the slowest of which gets least.
#[test]
fn the_example_runs() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut text = fs::read_to_string(examples.join("reports.yaml")).unwrap();
    let servers: Vec<_> = [("9001", "0.005"), ("9002", "0.005"), ("9003", "0.030")]
        .map(|(written, work)| {
            let server = Reporting::start(&examples, work);
            text = text.replace(&format!("127.0.0.1:{written}"), &server.address.to_string());
            server
        })
        .into();
    let text = text
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9900", "127.0.0.1:0");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("reports.yaml");
    fs::write(&file, text).unwrap();
    let isobar = binary!().run_file(directory, &file);
    let load = Load::start(isobar.address(), &LoadOptions::default());
    load.passes(400);
    load.finish().assert_flawless();
    let of = |server: &Reporting, name| {
        let label = server.address.to_string();
        isobar.metrics().sum(name, &[("server", &label)]).unwrap()
    };
    let requests: Vec<_> = servers
        .iter()
        .map(|server| of(server, "isobar_server_requests_total"))
        .collect();
    assert!(requests[2] < requests[0] && requests[2] < requests[1], "{requests:?}");
    for server in &servers {
        assert!(of(server, "isobar_server_reports_total") >= of(server, "isobar_server_requests_total"));
        assert_eq!(of(server, "isobar_server_reports_malformed_total"), 0.0);
    }
}

/// A process of examples/servers/reporting.py; it ends when dropped.
struct Reporting {
    process: Child,
    address: SocketAddr,
}

impl Reporting {
    fn start(examples: &Path, work: &str) -> Self {
        let mut command = Command::new("python3");
        command.arg(examples.join("servers/reporting.py")).args(["0", work]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("it says where it listens");
        Self {
            address: address.parse().unwrap(),
            process,
        }
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
