//! Do the requests of a session stay with one server, for as long as it can serve them and no longer?

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{
    Client, Configuration, Curl, Gate, Isobar, Load, LoadOptions, Nginx, Origin, Response, Signal, binary, curl,
    eventually, get, wait_for,
};

const HEALTH: &str = "health: { type: tcp, interval: 100ms, timeout: 100ms, rise: 1, fall: 1 }";

/// A browser: curl with a jar of cookies.
struct Visitor {
    jar: tempfile::TempDir,
}

impl Visitor {
    fn new() -> Self {
        Self {
            jar: tempfile::tempdir().unwrap(),
        }
    }

    fn visit(&self, address: SocketAddr, path: &str) -> Curl {
        let jar = self.jar.path().join("jar");
        let jar = jar.to_str().unwrap();
        curl(&["-b", jar, "-c", jar, &format!("http://{address}{path}")])
    }

    fn server(&self, isobar: &Isobar) -> String {
        let answer = self.visit(isobar.address(), "/");
        assert_eq!((answer.status, answer.exit), (200, 0), "{}", answer.heads);
        String::from_utf8(answer.body).unwrap()
    }
}

fn origins() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::named)
}

fn to(origins: &[Origin], sticky: &str) -> Configuration {
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    Configuration::to(&addresses).upstream(format!("balance: round_robin\nsticky: {{ {sticky} }}"))
}

/// An answer to a request with these lines behind its request line.
fn ask(isobar: &Isobar, lines: &str) -> Response {
    ask_for(isobar, "/", lines)
}

fn ask_for(isobar: &Isobar, path: &str, lines: &str) -> Response {
    let mut client = Client::connect(isobar.address()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n");
    client.exchange(request).unwrap()
}

/// The value of the cookie that an answer gives.
fn given(answer: &Response) -> Option<String> {
    let fields = answer.fields.values("set-cookie");
    let of_ours = fields.iter().find_map(|field| field.strip_prefix("SERVERID="));
    of_ours.map(|value| value.split(';').next().unwrap().to_owned())
}

fn counted(isobar: &Isobar, what: &str) -> f64 {
    let name = format!("isobar_upstream_sticky_{what}");
    isobar.metrics().sum(&name, &[("upstream", "web")]).unwrap_or(-1.0)
}

fn set_cookies(visits: &[Curl]) -> usize {
    let heads = visits.iter().map(|visit| visit.heads.to_ascii_lowercase());
    heads.map(|heads| heads.matches("set-cookie: serverid=").count()).sum()
}

#[test]
fn a_client_stays_over_requests_workers_and_reloads() {
    let origins = origins();
    let configuration = to(&origins, "cookie: SERVERID");
    let isobar = binary!().run(&configuration);
    let visitors: Vec<_> = (0..3).map(|_| Visitor::new()).collect();
    let servers: Vec<_> = visitors.iter().map(|visitor| visitor.server(&isobar)).collect();
    assert_eq!(
        servers.iter().collect::<BTreeSet<_>>().len(),
        3,
        "a new client is balanced: {servers:?}"
    );
    let visits: Vec<_> = (0..100).map(|_| visitors[0].visit(isobar.address(), "/")).collect();
    assert!(visits.iter().all(|visit| visit.body == servers[0].as_bytes()));
    assert_eq!(set_cookies(&visits), 0, "it has its cookie");
    assert_eq!(
        (counted(&isobar, "hits_total"), counted(&isobar, "misses_total")),
        (100.0, 3.0)
    );

    // The servers come in another order, and a new one first.
    let newcomer = Origin::named("new");
    let reordered: Vec<_> = [&newcomer, &origins[2], &origins[1], &origins[0]]
        .map(Origin::address)
        .to_vec();
    let reordered = Configuration::to(&reordered).upstream("balance: round_robin\nsticky: { cookie: SERVERID }");
    assert!(isobar.reload(&reordered.yaml()).contains("applied"));
    for (visitor, server) in visitors.iter().zip(&servers) {
        for _ in 0..5 {
            assert_eq!(visitor.server(&isobar), *server);
        }
    }
}

#[test]
fn the_cookie_has_the_attributes_that_were_asked_for() {
    let origin = Origin::named("a");
    let check = |sticky: &str, expected: &str| {
        let configuration = Configuration::to(&[origin.address()]).upstream(format!("sticky: {{ {sticky} }}"));
        let isobar = binary!().run(&configuration);
        let answer = ask(&isobar, "");
        let cookie = answer.fields.value("set-cookie").unwrap();
        let (pair, attributes) = cookie.split_at(cookie.find(';').unwrap());
        assert_eq!(attributes, expected, "{sticky}");
        let value = pair.split_once('=').unwrap().1;
        assert_eq!(value.len(), 32, "{value}");
        assert_eq!(answer.fields.value("cache-control"), Some("private"));
    };
    check("cookie: SERVERID", "; Path=/; SameSite=Lax; HttpOnly");
    check(
        "cookie: __Host-s, secure: true, http_only: false, same_site: strict, max_age: 90m",
        "; Path=/; Max-Age=5400; SameSite=Strict; Secure",
    );
    check(
        "cookie: s, path: /shop, domain: example.com, same_site: none, secure: true, max_age: 1500ms",
        "; Path=/shop; Domain=example.com; Max-Age=2; SameSite=None; Secure; HttpOnly",
    );
}

#[test]
fn what_cannot_be_believed_is_ignored_and_replaced() {
    let origins = origins();
    let two = "web:\n  servers: [ADDRESS]\n  sticky: { cookie: SERVERID }";
    let configuration = to(&origins, "cookie: SERVERID")
        .routes("- { match: { path: /other }, upstream: other }\n- { upstream: web }")
        .yaml()
        .replace(
            "upstreams:\n",
            &format!("upstreams:\n  {}\n", two.replace("web", "other").replace('\n', "\n  "))
                .replace("ADDRESS", &format!("\"{}\"", origins[0].address())),
        );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("isobar.yaml");
    fs::write(&path, configuration).unwrap();
    let isobar = binary!().run_file(directory, &path);
    let value = given(&ask(&isobar, "")).unwrap();
    let foreign = given(&ask_for(&isobar, "/other", "")).unwrap();
    let address = origins[0].address();
    let mut flipped = value.clone().into_bytes();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (number, bad) in [
        foreign.as_str(),
        &flipped,
        &value[..31],
        &format!("{value}A"),
        &address.to_string(),
        "",
        "%00",
        &"A".repeat(32),
        &"x".repeat(5000),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(&isobar, &format!("Cookie: SERVERID={bad}\r\n"));
        assert_eq!(answer.status, 200, "{bad:?}");
        assert!(given(&answer).is_some(), "{bad:?} is replaced");
        assert_eq!(counted(&isobar, "forged_total"), (number + 1) as f64, "{bad:?}");
    }
    // A good one beside a bad one of the same name, as from another path, is believed.
    let answer = ask(&isobar, &format!("Cookie: SERVERID=bad; SERVERID={value}\r\n"));
    assert_eq!(given(&answer), None);
    assert_eq!(counted(&isobar, "hits_total"), 1.0);
    assert!(!value.contains(&address.port().to_string()));
}

#[test]
fn servers_do_not_see_the_cookie_and_caches_keep_it_to_themselves() {
    let origin = Origin::start(|exchange| {
        let cache = exchange
            .request
            .fields
            .value("x-cache")
            .unwrap_or("public, max-age=60")
            .to_owned();
        let fields = [
            ("cache-control", cache.as_str()),
            ("set-cookie", "SERVERID=mine"),
            ("set-cookie", "app=1"),
        ];
        exchange.reply(200, &fields, b"")
    });
    let isobar = binary!().run(&Configuration::to(&[origin.address()]).upstream("sticky: { cookie: SERVERID }"));
    let answer = ask(&isobar, "");
    let value = given(&answer).unwrap();
    assert_ne!(value, "mine");
    let cookies = answer.fields.values("set-cookie");
    assert!(cookies.len() == 2 && cookies.contains(&"app=1"), "{cookies:?}");
    assert_eq!(answer.fields.values("cache-control"), ["public, max-age=60", "private"]);
    let answer = ask(&isobar, "X-Cache: max-age=5, No-Store\r\n");
    assert_eq!(answer.fields.values("cache-control"), ["max-age=5, No-Store"]);

    let seen = |cookie: &str| {
        let answer = ask(&isobar, &format!("{cookie}\r\n"));
        assert_eq!(
            answer.fields.value("cache-control"),
            Some("public, max-age=60"),
            "nothing is given: it is as it was"
        );
        let request = origin.last_request();
        let seen: Vec<_> = request
            .fields
            .values("cookie")
            .iter()
            .map(ToString::to_string)
            .collect();
        seen.join("|")
    };
    assert_eq!(seen(&format!("Cookie: SERVERID={value}")), "");
    assert_eq!(seen(&format!("Cookie: a=1; SERVERID={value}; b=2")), "a=1; b=2");
    assert_eq!(
        seen(&format!("Cookie: SERVERID={value};SERVERID=x;c=3\r\nCookie: d=4")),
        "d=4|c=3"
    );
}

#[test]
fn a_server_dies_and_its_clients_move_without_a_failure() {
    let origins = origins();
    let isobar = binary!().run(&to(&origins, "cookie: SERVERID").upstream(HEALTH));
    let visitor = Visitor::new();
    let server = visitor.server(&isobar);
    let dead = origins
        .iter()
        .position(|origin| get(origin.address(), "/").unwrap().text() == server)
        .unwrap();
    let load = Load::start(isobar.address(), &LoadOptions::default());
    load.passes(50);
    origins[dead].stop();
    // At once: its failure is found out by this very request.
    let second = visitor.visit(isobar.address(), "/");
    assert_eq!(second.status, 200);
    assert_ne!(second.body, server.as_bytes());
    assert_eq!(
        set_cookies(std::slice::from_ref(&second)),
        1,
        "it has another server from now on"
    );
    let second = String::from_utf8(second.body).unwrap();
    for _ in 0..20 {
        assert_eq!(visitor.server(&isobar), second);
    }
    origins[dead].resume();
    eventually("it is back", || {
        isobar.metrics().sum("isobar_server_healthy", &[("upstream", "web")]) == Some(3.0)
    });
    for _ in 0..20 {
        assert_eq!(visitor.server(&isobar), second, "nothing takes it back");
    }
    load.finish().assert_flawless();
    assert_eq!(counted(&isobar, "reassigned_total"), 1.0);
}

#[test]
fn where_sessions_may_not_move_they_wait_for_their_server() {
    let origins = origins();
    let isobar = binary!().run(&to(&origins, "cookie: SERVERID, on_down: fail").upstream(HEALTH));
    let first = ask(&isobar, "");
    let cookie = format!("Cookie: SERVERID={}\r\n", given(&first).unwrap());
    let server = origins.iter().find(|origin| origin.request_count() > 0).unwrap();
    server.stop();
    eventually("it is known to be down", || ask(&isobar, &cookie).status == 503);
    assert_eq!(ask(&isobar, "").status, 200, "others are served");
    assert!(given(&ask(&isobar, &cookie)).is_none());
    server.resume();
    eventually("it is back", || ask(&isobar, &cookie).status == 200);
    assert_eq!(ask(&isobar, &cookie).text(), first.text());
    assert_eq!(counted(&isobar, "reassigned_total"), 0.0);

    // A server that is gone for good comes never back: its sessions move.
    let rest: Vec<_> = origins
        .iter()
        .map(Origin::address)
        .filter(|&address| address != server.address())
        .collect();
    let rest = Configuration::to(&rest).upstream("sticky: { cookie: SERVERID, on_down: fail }");
    assert!(isobar.reload(&rest.yaml()).contains("applied"));
    let moved = ask(&isobar, &cookie);
    assert_eq!((moved.status, given(&moved).is_some()), (200, true));
    assert_eq!(
        (counted(&isobar, "reassigned_total"), counted(&isobar, "forged_total")),
        (1.0, 0.0)
    );
}

#[test]
fn a_server_of_weight_0_keeps_its_sessions_and_gets_no_new_ones() {
    let origins = origins();
    let isobar = binary!().run(&to(&origins, "cookie: SERVERID").upstream(HEALTH));
    let visitor = Visitor::new();
    let server = visitor.server(&isobar);
    let drained = origins
        .iter()
        .position(|origin| get(origin.address(), "/").unwrap().text() == server)
        .unwrap();
    let servers = origins.iter().enumerate().map(|(index, origin)| {
        let weight = u32::from(index != drained);
        format!("{{ address: \"{}\", weight: {weight} }}", origin.address())
    });
    let draining = servers.fold(Configuration::to(&[]), Configuration::server);
    let draining = draining.upstream(format!(
        "balance: round_robin\nsticky: {{ cookie: SERVERID }}\n{HEALTH}"
    ));
    assert!(isobar.reload(&draining.yaml()).contains("applied"));
    for _ in 0..20 {
        assert_eq!(visitor.server(&isobar), server);
        assert_ne!(ask(&isobar, "").text(), server);
    }
    // When it is switched off at last, its sessions move.
    origins[drained].stop();
    let next = visitor.server(&isobar);
    assert_ne!(next, server);
    assert_eq!(visitor.server(&isobar), next);
}

#[test]
fn a_session_waits_for_its_server_while_others_are_served() {
    let gate = Gate::new();
    let held = gate.clone();
    let busy = Origin::start(move |exchange| {
        if exchange.request.target == "/slow" {
            held.pass();
        }
        exchange.reply(200, &[("x-server", "busy")], b"busy")
    });
    let idle = Origin::named("idle");
    let configuration = Configuration::to(&[])
        .server(format!("{{ address: \"{}\", max_connections: 1 }}", busy.address()))
        .server(format!("{{ address: \"{}\" }}", idle.address()))
        .upstream("balance: round_robin\nqueue: { timeout: 3s }\nsticky: { cookie: SERVERID }");
    let isobar = binary!().run(&configuration);
    let answers: Vec<_> = (0..2).map(|_| ask(&isobar, "")).collect();
    let of_busy = answers.iter().find(|answer| answer.text() == "busy").unwrap();
    let cookie = format!("Cookie: SERVERID={}\r\n", given(of_busy).unwrap());
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask_for(&isobar, "/slow", &cookie).text());
        eventually("the server is busy", || gate.waiting() == 1);
        assert_eq!(
            ask(&isobar, &cookie).status,
            503,
            "it may not go elsewhere, and the time is over"
        );
        let patient = scope.spawn(|| ask(&isobar, &cookie));
        eventually("it waits", || {
            isobar.metrics().sum("isobar_upstream_queued", &[]) == Some(1.0)
        });
        assert_eq!(ask(&isobar, "").text(), "idle", "who has no session need not wait");
        gate.open();
        assert_eq!(patient.join().unwrap().text(), "busy");
        assert_eq!(slow.join().unwrap(), "busy");
    });
    assert_eq!(ask(&isobar, &cookie).text(), "busy");
    assert_eq!(
        isobar.metrics().sum("isobar_upstream_queue_timeouts_total", &[]),
        Some(1.0)
    );
    assert_eq!(isobar.metrics().sum("isobar_server_in_flight", &[]), Some(0.0));
}

#[test]
fn a_cookie_of_the_application_is_learned() {
    let nginxes = ["a", "b", "c"].map(|name| {
        Nginx::start(&format!(
            "location = /login {{ add_header Set-Cookie \"JSESSIONID=$request_id; Path=/\"; return 200 {name}; }}\n\
             location / {{ return 200 {name}; }}"
        ))
    });
    let addresses = nginxes.each_ref().map(Nginx::address);
    let settings = "balance: round_robin\nsticky: { learn: JSESSIONID }";
    let isobar = binary!().run(&Configuration::to(&addresses).upstream(settings));
    let visitors: Vec<_> = (0..6).map(|_| Visitor::new()).collect();
    let servers: Vec<_> = visitors
        .iter()
        .map(|visitor| String::from_utf8(visitor.visit(isobar.address(), "/login").body).unwrap())
        .collect();
    assert_eq!(servers.iter().collect::<BTreeSet<_>>().len(), 3, "{servers:?}");
    assert_eq!(counted(&isobar, "sessions"), 6.0);
    let stays = || {
        for (visitor, server) in visitors.iter().zip(&servers) {
            for _ in 0..4 {
                assert_eq!(visitor.server(&isobar), *server);
            }
        }
    };
    stays();
    // Another size, another order: what was learned is not forgotten.
    let [a, b, c] = addresses;
    let settings = "balance: round_robin\nsticky: { learn: JSESSIONID, max_entries: 500, ttl: 2h }";
    assert!(
        isobar
            .reload(&Configuration::to(&[c, b, a]).upstream(settings).yaml())
            .contains("applied")
    );
    stays();
    assert_eq!(counted(&isobar, "sessions"), 6.0);
    // What nobody learned is balanced, and not remembered.
    let unknown: BTreeSet<_> = (0..30)
        .map(|number| ask(&isobar, &format!("Cookie: JSESSIONID={number}\r\n")).text())
        .collect();
    assert_eq!((unknown.len(), counted(&isobar, "sessions")), (3, 6.0));
    // The sessions of a server that left are forgotten; the others stay.
    assert!(
        isobar
            .reload(&Configuration::to(&[b, c]).upstream(settings).yaml())
            .contains("applied")
    );
    let of_others = servers.iter().filter(|server| *server != "a").count();
    assert_eq!(counted(&isobar, "sessions"), of_others as f64);
}

#[test]
fn a_learned_session_moves_when_its_server_dies() {
    let origins = ["a", "b", "c"].map(|name| {
        Origin::start(move |exchange| {
            let cookie = format!("sid={name}{:p}; Path=/", &raw const *exchange);
            match exchange.request.target.as_str() {
                "/login" => exchange.reply(200, &[("set-cookie", &cookie)], name.as_bytes()),
                _ => exchange.reply(200, &[], name.as_bytes()),
            }
        })
    });
    let isobar = binary!().run(&to(&origins, "learn: sid").upstream(HEALTH));
    let login = ask_for(&isobar, "/login", "");
    let cookie = login.fields.value("set-cookie").unwrap().split(';').next().unwrap();
    let cookie = format!("Cookie: x=y; {cookie}\r\n");
    let dead = origins.iter().find(|origin| origin.request_count() == 1).unwrap();
    assert_eq!(ask(&isobar, &cookie).text(), login.text());
    dead.stop();
    let next = ask(&isobar, &cookie);
    assert_eq!(next.status, 200);
    assert_ne!(next.text(), login.text());
    for _ in 0..10 {
        assert_eq!(ask(&isobar, &cookie).text(), next.text());
    }
    assert_eq!(
        (counted(&isobar, "reassigned_total"), counted(&isobar, "sessions")),
        (1.0, 1.0)
    );
}

#[test]
fn the_first_choice_for_a_header_is_remembered() {
    let origins = origins();
    let isobar = binary!().run(&to(&origins, "header: X-Session").upstream(HEALTH));
    let of = |session: u32| ask(&isobar, &format!("x-session: {session}\r\n")).text();
    let first: Vec<_> = (0..9).map(of).collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
    for _ in 0..5 {
        assert_eq!((0..9).map(of).collect::<Vec<_>>(), first);
    }
    assert_eq!(counted(&isobar, "sessions"), 9.0);
    // Without the header every request is for itself.
    assert_eq!(
        (0..9).map(|_| ask(&isobar, "").text()).collect::<BTreeSet<_>>().len(),
        3
    );
    origins[0].stop();
    let moved: Vec<_> = (0..9).map(of).collect();
    for (before, after) in first.iter().zip(&moved) {
        assert!(
            after != "a" && (before == "a" || before == after),
            "{before} to {after}"
        );
    }
    assert_eq!((0..9).map(of).collect::<Vec<_>>(), moved);
}

#[test]
fn sessions_end_with_their_time() {
    let origins = origins();
    let isobar = binary!().run(&to(&origins, "header: x-session, ttl: 1s"));
    ask(&isobar, "x-session: 1\r\n");
    assert_eq!(counted(&isobar, "sessions"), 1.0);
    eventually("it is forgotten", || counted(&isobar, "sessions") == 0.0);
    ask(&isobar, "x-session: 1\r\n");
    assert_eq!(
        (counted(&isobar, "hits_total"), counted(&isobar, "misses_total")),
        (0.0, 2.0)
    );
}

#[test]
fn a_flood_of_sessions_stays_within_its_maximum() {
    let origins = origins();
    let isobar = binary!().run(&to(&origins, "header: x-session, max_entries: 1000"));
    let flood = |name: &str| {
        thread::scope(|scope| {
            for thread in 0..4 {
                let address = isobar.address();
                scope.spawn(move || {
                    let mut client = Client::connect(address).unwrap();
                    for number in 0..2_000 {
                        let session = format!("{name}-{thread}-{number}");
                        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Session: {session}\r\n\r\n");
                        assert_eq!(client.exchange(request).unwrap().status, 200);
                    }
                });
            }
        });
        isobar.process().resident_bytes().unwrap()
    };
    // The first brings the workers' own buffers in, the second finds everything as it is.
    let before = flood("first");
    let grown = flood("second").saturating_sub(before);
    assert!(grown < 8 << 20, "grown by {grown} bytes");
    let sessions = counted(&isobar, "sessions");
    assert!(sessions <= 1000.0 && sessions > 900.0, "{sessions}");
    assert!(counted(&isobar, "evictions_total") >= 15_000.0);
    // Who came last is known.
    let last = ask(&isobar, "x-session: new\r\n").text();
    assert_eq!(ask(&isobar, "x-session: new\r\n").text(), last);
}

const OLD: &str = "an old secret of many bytes";
const NEW: &str = "a new secret of just as many bytes";

#[test]
fn a_secret_in_a_file_outlives_the_process_and_can_be_exchanged() {
    let (directory, origins) = (tempfile::tempdir().unwrap(), origins());
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (old, new) = (file("old.key", OLD), file("new.key", NEW));
    let with = |secrets: &str| to(&origins, &format!("cookie: SERVERID, secret: {secrets}"));
    let stays = |isobar: &Isobar, cookie: &str, server: &str| {
        let answers: Vec<_> = (0..6)
            .map(|_| ask(isobar, &format!("Cookie: SERVERID={cookie}\r\n")))
            .collect();
        assert!(answers.iter().all(|answer| answer.text() == server));
        given(&answers[0])
    };
    let first = binary!().run(&with(&old));
    let second = binary!().run(&with(&old));
    let answer = ask(&first, "");
    let (cookie, server) = (given(&answer).unwrap(), answer.text());
    assert_eq!(stays(&first, &cookie, &server), None);
    assert_eq!(
        stays(&second, &cookie, &server),
        None,
        "another instance with the same secret"
    );
    assert!(
        first
            .reload(&with(&format!("[ {new}, {old} ]")).yaml())
            .contains("applied")
    );
    let renewed = stays(&first, &cookie, &server).expect("a cookie with the new secret is given");
    assert_eq!(stays(&first, &renewed, &server), None);
    assert!(first.reload(&with(&new).yaml()).contains("applied"));
    assert_eq!(stays(&first, &renewed, &server), None);
    assert!(
        given(&ask(&first, &format!("Cookie: SERVERID={cookie}\r\n"))).is_some(),
        "the old secret is gone"
    );
    assert_eq!(counted(&first, "forged_total"), 1.0);
    // The file changes and its name does not: the next reload reads it.
    fs::write(&new, OLD).unwrap();
    assert!(first.reload(&with(&new).yaml()).contains("applied"));
    assert_eq!(stays(&first, &cookie, &server), None);

    let log = first.log();
    assert!(!log.contains(OLD) && !log.contains(NEW), "secrets are not logged");
}

#[test]
fn without_a_file_each_process_has_its_own_secret() {
    let origins = origins();
    let configuration = to(&origins, "cookie: SERVERID");
    let (first, second) = (binary!().run(&configuration), binary!().run(&configuration));
    let cookie = format!("Cookie: SERVERID={}\r\n", given(&ask(&first, "")).unwrap());
    assert_eq!(given(&ask(&first, &cookie)), None);
    assert!(given(&ask(&second, &cookie)).is_some());
    assert_eq!(counted(&second, "forged_total"), 1.0);
}

#[test]
fn a_secret_that_is_none_is_refused() {
    let (directory, origins) = (tempfile::tempdir().unwrap(), origins());
    let short = directory.path().join("short.key");
    fs::write(&short, "too short\n").unwrap();
    let isobar = binary!().run(&to(&origins, "cookie: SERVERID"));
    let cookie = format!("Cookie: SERVERID={}\r\n", given(&ask(&isobar, "")).unwrap());
    for (file, why) in [
        (
            short.display().to_string(),
            "a secret has 16 bytes at least, this one 9",
        ),
        (
            "/nowhere/sticky.key".to_owned(),
            "failed to read the secret /nowhere/sticky.key: no such file or directory",
        ),
        (directory.path().display().to_string(), "it is no ordinary file"),
    ] {
        let refused = to(&origins, &format!("cookie: SERVERID, secret: {file}")).yaml();
        let log = isobar.reload(&refused);
        assert!(log.contains("refused") && log.contains(why), "{log}");
        let path = directory.path().join("isobar.yaml");
        fs::write(&path, refused).unwrap();
        let path = path.to_str().unwrap();
        for arguments in [["check", path], ["run", path]] {
            let outcome = binary!().outcome(&arguments);
            assert!(
                !outcome.status.success() && outcome.stderr.contains(why),
                "{}",
                outcome.stderr
            );
        }
    }
    assert_eq!(given(&ask(&isobar, &cookie)), None, "what was served goes on");
}

#[test]
fn the_log_says_how_a_server_was_chosen() {
    let origins = origins();
    let log = "access_log: { path: access.log, format: json }";
    // One worker, so that lines come in the order of their requests.
    let isobar = binary!().workers(1).run(&to(&origins, "cookie: SERVERID").top(log));
    let cookie = format!("Cookie: SERVERID={}\r\n", given(&ask(&isobar, "")).unwrap());
    ask(&isobar, &cookie);
    origins
        .iter()
        .find(|origin| origin.request_count() == 2)
        .unwrap()
        .stop();
    ask(&isobar, &cookie);
    origins.iter().for_each(Origin::stop);
    assert_eq!(ask(&isobar, &cookie).status, 502);
    let lines = wait_for("four lines", || {
        let text = fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (lines.len() == 4).then_some(lines)
    });
    let picked: Vec<_> = lines
        .iter()
        .map(|line| line["picked"].as_str().unwrap_or("none"))
        .collect();
    assert_eq!(picked, ["balance", "sticky", "reassigned", "reassigned"]);
}

/// Sessions go on while the configuration changes all the time, and nothing is lost.
#[test]
fn reloads_under_load_move_nobody() {
    let origins = origins();
    let plain = to(&origins, "header: x-session, max_entries: 1000").yaml();
    let other = plain.replace("max_entries: 1000", "max_entries: 2000, ttl: 2h");
    let isobar = binary!()
        .workers(2)
        .run(&to(&origins, "header: x-session, max_entries: 1000"));
    let address = isobar.address();
    let server = |client: &mut Client, session: usize| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Session: {session}\r\n\r\n");
        client.exchange(request).unwrap().text()
    };
    let mut client = Client::connect(address).unwrap();
    let first: Vec<_> = (0..20).map(|session| server(&mut client, session)).collect();
    thread::scope(|scope| {
        for _ in 0..3 {
            let first = &first;
            scope.spawn(move || {
                let mut client = Client::connect(address).unwrap();
                for round in 0..400 {
                    let session = round % first.len();
                    assert_eq!(server(&mut client, session), first[session]);
                }
            });
        }
        for round in 0..10 {
            let text = if round % 2 == 0 { &other } else { &plain };
            assert!(isobar.reload(text).contains("applied"));
        }
    });
    assert_eq!(counted(&isobar, "sessions"), 20.0);
}

#[test]
fn stickiness_can_be_taken_away_and_given_back() {
    let origins = origins();
    let sticky = to(&origins, "cookie: SERVERID");
    let mut isobar = binary!().run(&sticky);
    let answer = ask(&isobar, "");
    let cookie = format!("Cookie: SERVERID={}\r\n", given(&answer).unwrap());
    let yaml = sticky.yaml();
    let without: String = yaml
        .lines()
        .filter(|line| !line.contains("sticky:"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(isobar.reload(&without).contains("applied"));
    let servers: BTreeSet<_> = (0..6).map(|_| ask(&isobar, &cookie).text()).collect();
    assert_eq!(servers.len(), 3);
    assert!(isobar.reload(&yaml).contains("applied"));
    assert!((0..6).all(|_| ask(&isobar, &cookie).text() == answer.text()));
    isobar.signal(Signal::TERM);
    assert!(isobar.ends(Duration::from_secs(20)).success());
}
