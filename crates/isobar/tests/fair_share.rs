//! Do those who ask for little get it, with somebody beside them who asks for more than there is?

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::{Client, Configuration, Gate, Isobar, Origin, binary, eventually};

/// Requests that the server works on at once.
const PLACES: u32 = 40;

/// How long each takes on average: from half as long to one and a half times as long.
const SERVICE: Duration = Duration::from_secs(1);

/// A customer who comes however long others wait, and what he was answered.
#[derive(Default)]
struct Customer {
    answers: Mutex<Vec<(u16, Duration)>>,
}

impl Customer {
    fn count(&self, status: u16) -> usize {
        self.answers.lock().unwrap().iter().filter(|it| it.0 == status).count()
    }

    fn len(&self) -> usize {
        self.answers.lock().unwrap().len()
    }
}

/// Asks on a connection that is free, or a new one.
fn ask(isobar: &Isobar, customer: &str, free: &Mutex<Vec<Client>>) -> (u16, Duration) {
    let came = Instant::now();
    let kept = free.lock().unwrap().pop();
    let answer = || {
        let mut client = kept.map_or_else(|| Client::connect(isobar.address()), Ok)?;
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-customer: {customer}\r\n\r\n");
        let status = client.exchange(request)?.status;
        free.lock().unwrap().push(client);
        Ok::<_, std::io::Error>(status)
    };
    (answer().unwrap_or(0), came.elapsed())
}

/// Customers come for a while, each evenly, asking for so many hundredths of what the server can do.
fn run(isobar: &Isobar, percent: &[u32], time: Duration) -> Vec<Customer> {
    let customers: Vec<_> = percent.iter().map(|_| Customer::default()).collect();
    let capacity = f64::from(PLACES) / SERVICE.as_secs_f64();
    let start = Instant::now();
    let free = &Mutex::default();
    thread::scope(|scope| {
        for ((customer, percent), number) in customers.iter().zip(percent).zip(1..) {
            let pause = Duration::from_secs_f64(100.0 / f64::from(*percent) / capacity);
            // They do not come at the same instant.
            let first = pause * number / 7;
            scope.spawn(move || {
                for at in (0..).map(|index| first + pause * index).take_while(|at| *at < time) {
                    thread::sleep((start + at).saturating_duration_since(Instant::now()));
                    let ask = move || {
                        let answer = ask(isobar, &format!("customer-{number}"), free);
                        customer.answers.lock().unwrap().push(answer);
                    };
                    let thread = thread::Builder::new().stack_size(128 << 10);
                    thread.spawn_scoped(scope, ask).unwrap();
                }
            });
        }
    });
    customers
}

/// A percentile of how long the first three waited for their answers.
fn percentile(customers: &[Customer], hundredths: usize) -> Duration {
    let mut took: Vec<_> = customers
        .iter()
        .take(3)
        .flat_map(|customer| customer.answers.lock().unwrap().clone())
        .map(|(_, took)| took)
        .collect();
    took.sort_unstable();
    took[took.len() * hundredths / 100]
}

/// A server that takes as many at once as it has places, and for each more or less as long, evenly spread.
fn bounded() -> Origin {
    let turn = Mutex::new(0u32);
    Origin::start(move |exchange| {
        let step = {
            let mut turn = turn.lock().unwrap();
            // Steps of the golden ratio fill the range evenly, in whichever order they are taken.
            *turn = turn.wrapping_add(2_654_435_769);
            f64::from(*turn) / f64::from(u32::MAX)
        };
        thread::sleep(SERVICE.mul_f64(0.5 + step));
        exchange.reply(200, &[], b"done")
    })
}

fn instance(origin: &Origin, upstream: &str) -> Isobar {
    let server = format!("{{ address: \"{}\", max_connections: {PLACES} }}", origin.address());
    binary!().run(&Configuration::default().server(server).upstream(upstream))
}

/// Three ask for a tenth of what there is each, and a fourth for ten times all of it: without fair share, and with it.
///
/// The machine that runs this may be busy with other things, so it may need a second or a third try.
#[test]
fn three_lose_nothing_to_a_fourth_who_asks_for_everything() {
    let origin = bounded();
    let unfair = instance(&origin, "queue: { max: 80, timeout: 20s }");
    let customers = run(&unfair, &[10, 10, 10, 1_000], Duration::from_secs(4));
    let lost: usize = customers[..3].iter().map(|it| it.len() - it.count(200)).sum();
    let all: usize = customers[..3].iter().map(Customer::len).sum();
    assert!(lost > all / 2, "nobody needs protection: {lost} of {all}");
    drop(unfair);
    let isobar = instance(
        &origin,
        "fair_share: { key: \"header:x-customer\" }\nqueue: { max: 80, timeout: 20s }",
    );
    let mut report = String::new();
    for _ in 0..3 {
        let alone = run(&isobar, &[10, 10, 10], Duration::from_secs(10));
        let crowded = run(&isobar, &[10, 10, 10, 1_000], Duration::from_secs(10));
        for customer in &crowded[..3] {
            assert_eq!(customer.count(200), customer.len(), "a request was lost");
        }
        let greedy = &crowded[3];
        let (served, refused) = (greedy.count(200), greedy.count(429));
        assert!(served > 0 && refused > greedy.len() / 2, "{served}, {refused}");
        let [before, after] = [&alone, &crowded].map(|customers| percentile(customers, 99));
        report = format!(
            "{} of {} requests of the three: p50 {} ms alone and {} ms beside the fourth, p99 {} and {} ms; \
             of {} of the fourth {served} served, {refused} answered 429",
            crowded[..3].iter().map(|it| it.count(200)).sum::<usize>(),
            crowded[..3].iter().map(Customer::len).sum::<usize>(),
            percentile(&alone, 50).as_millis(),
            percentile(&crowded, 50).as_millis(),
            before.as_millis(),
            after.as_millis(),
            greedy.len(),
        );
        eprintln!("{report}");
        if after <= before.mul_f64(1.2) {
            nothing_is_left(&isobar);
            return;
        }
    }
    panic!("{report}");
}

fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |exchange| {
        gate.pass();
        exchange.reply(200, &[], b"done")
    })
}

fn send(isobar: &Isobar, customer: &str) -> Client {
    let mut client = Client::connect(isobar.address()).unwrap();
    client
        .send(format!("GET / HTTP/1.1\r\nhost: a\r\nx-customer: {customer}\r\n\r\n"))
        .unwrap();
    client
}

fn metric(isobar: &Isobar, name: &str) -> f64 {
    isobar.metrics().sum(name, &[]).unwrap_or(-1.0)
}

/// Lets each wait before the next comes.
fn join(isobar: &Isobar, customers: &[&str]) -> Vec<Client> {
    let mut clients = Vec::new();
    for customer in customers {
        let before = metric(isobar, "isobar_upstream_queue_entered_total");
        clients.push(send(isobar, customer));
        eventually("it waits", || {
            metric(isobar, "isobar_upstream_queue_entered_total") > before
        });
    }
    clients
}

fn nothing_is_left(isobar: &Isobar) {
    eventually("everything is given back", || {
        let metrics = isobar.metrics();
        let names = [
            "isobar_upstream_queued",
            "isobar_upstream_in_flight",
            "isobar_fair_keys",
        ];
        names.iter().all(|name| metrics.sum(name, &[]) == Some(0.0))
    });
}

fn detail(isobar: &Isobar) -> String {
    let health = isobar.health();
    let checks = health["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "upstream web").unwrap();
    check["detail"].as_str().unwrap().to_owned()
}

fn with(origin: &Origin, queue: u32, share: &str) -> Configuration {
    let server = format!("{{ address: \"{}\", max_connections: 1 }}", origin.address());
    Configuration::default()
        .server(server)
        .upstream(format!(
            "queue: {{ max: {queue}, timeout: 60s }}\nretry: {{ attempts: 0 }}\nfair_share: {share}"
        ))
        .top("access_log: { path: access.log, format: \"{status} {cause}\" }")
}

/// An instance before a server that takes one at a time, and has one.
fn occupied(origin: &Origin, gate: &Gate, queue: u32) -> (Isobar, Client) {
    let isobar = binary!().run(&with(origin, queue, "\"header:x-customer\""));
    let first = send(&isobar, "greedy");
    eventually("the server is busy", || gate.waiting() == 1);
    (isobar, first)
}

#[test]
fn in_a_full_queue_those_with_little_take_the_place_of_those_with_much() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (isobar, mut first) = occupied(&origin, &gate, 4);
    assert_eq!(metric(&isobar, "isobar_fair_keys"), 0.0, "nobody waits");
    let mut greedy = join(&isobar, &["greedy"; 4]);
    let alone = send(&isobar, "greedy").receive().unwrap();
    assert_eq!(alone.status, 503, "there is nobody to be fair to");
    let mut others = join(&isobar, &["other", "third"]);
    // The last two of the four were told so, and may come again on the same connection.
    for client in greedy.split_off(2).iter_mut() {
        let answer = client.receive().unwrap();
        assert_eq!((answer.status, answer.fields.value("retry-after")), (429, Some("1")));
        assert_eq!(answer.fields.value("connection"), None);
    }
    assert_eq!(send(&isobar, "greedy").receive().unwrap().status, 429);
    let told = detail(&isobar);
    assert!(
        told.contains("4 of 4 requests waiting, shared by 3 keys (at most 2 waiting and 0 in flight of one)"),
        "{told}"
    );
    let metrics = isobar.metrics();
    let refused = [("cause", "fair_share"), ("priority", "normal")];
    assert_eq!(metrics.sum("isobar_upstream_refused_total", &refused), Some(3.0));
    assert_eq!(metrics.sum("isobar_fair_most_waiting", &[]), Some(2.0));
    gate.open();
    for client in greedy.iter_mut().chain(&mut others).chain([&mut first]) {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    nothing_is_left(&isobar);
    let log = isobar.directory().join("access.log");
    eventually("it is logged", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.matches("429 fair_share\n").count() == 3)
    });
}

#[test]
fn at_the_worst_moments_nobody_is_forgotten() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let (isobar, first) = occupied(&origin, &gate, 100);
    let mut clients = join(&isobar, &["greedy", "greedy", "other", "greedy", "other"]);
    // Clients leave: one that waits, and the one that is being served.
    drop(clients.remove(1));
    drop(first);
    eventually("one has left", || metric(&isobar, "isobar_upstream_queued") == 3.0);
    // Weights change, and fair share goes and comes back, while some wait.
    for share in [
        "{ key: \"header:x-customer\", weights: { greedy: 5 } }",
        "none",
        "client_ip",
        "{ key: \"header:x-customer\", weights: { other: 10000 } }",
    ] {
        isobar.reload(&with(&origin, 100, share).yaml());
        clients.extend(join(&isobar, &["greedy", "other"]));
    }
    // Another server takes the place of the first, which dies under the request that it has.
    let other_gate = Gate::new();
    let other = gated(&other_gate);
    isobar.reload(&with(&other, 100, "\"header:x-customer\"").yaml());
    eventually("the other server has one", || other_gate.waiting() == 1);
    origin.stop();
    gate.open();
    clients.extend(join(&isobar, &["other"]));
    other_gate.open();
    let statuses: Vec<_> = clients
        .iter_mut()
        .map(|client| client.receive().unwrap().status)
        .collect();
    let served = statuses.iter().filter(|status| **status == 200).count();
    let failed = statuses.iter().filter(|status| **status == 502).count();
    assert_eq!(served + failed, statuses.len(), "{statuses:?}");
    assert!(failed <= 1, "{statuses:?}");
    nothing_is_left(&isobar);
}

#[test]
fn a_file_of_weights_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let weights = directory.path().join("weights");
    std::fs::write(&weights, "# customers\nacme 3\n").unwrap();
    let gate = Gate::new();
    let origin = gated(&gate);
    let configuration = with(&origin, 8, "{ key: \"header:x-customer\", weights_file: weights }");
    let file = directory.path().join("isobar.yaml");
    std::fs::write(&file, configuration.yaml()).unwrap();
    let isobar = binary!().run_file(directory, &file);
    let _first = send(&isobar, "first");
    eventually("the server is busy", || gate.waiting() == 1);
    // Of eight places in the queue, three quarters and one quarter.
    let _others = join(&isobar, &["other"; 8]);
    let mut acme = join(&isobar, &["acme"; 6]);
    assert_eq!(send(&isobar, "acme").receive().unwrap().status, 429);
    std::fs::write(&weights, "acme 7\n").unwrap();
    isobar.wait_for_log("upstream web changed");
    acme.extend(join(&isobar, &["acme"]));
    assert_eq!(send(&isobar, "acme").receive().unwrap().status, 429);
    std::fs::write(&weights, "acme many\n").unwrap();
    isobar.wait_for_log("failed to read the weights in weights: line 1: `many` is no weight from 1 to 10000");
    gate.open();
    for client in &mut acme {
        assert_eq!(client.receive().unwrap().status, 200);
    }
}
