//! What is written arrives in the plan, every key of it.

use std::sync::Arc;
use std::time::Duration;

use isobar_balance::{Balance, FailurePercentage, LatencyRule, OutlierSettings, SuccessRate};
use isobar_config::{Source, compile, quick};
use isobar_plan::{
    Action, Admin, Allowance, Authorities, Backoff, CheckTls, Cidr, GrpcCodes, GuardRules, HashPart, HeaderOp,
    HealthCheck, HealthProbe, HealthTls, Hedge, HedgeAfter, HttpProbe, IdleTimeouts, LimitAlgorithm, LimitHeaders,
    LimitKey, LimitKind, LimitMode, LimitPace, LogDestination, LogFormat, MissingKey, Outliers, Plan, Priority, Rate,
    Retry, RetryOn, ServerAddress, ServiceState, StatusRanges, TcpKeepalive, TcpStep, Trust, UpstreamId,
};
use isobar_route::{HostPattern, PathPattern};

const EVERYTHING: &str = include_str!("valid/everything.yaml");

fn plan(text: &str) -> Plan {
    let source = Source {
        name: "plan.yaml".to_owned(),
        text: text.to_owned(),
    };
    isobar_config::load(&source)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .plan
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_listener() {
    let plan = plan(EVERYTHING);
    let [web, second] = plan.listeners.as_slice() else {
        panic!("two listeners")
    };
    assert_eq!((&*web.name, web.address.to_string().as_str()), ("web", "0.0.0.0:8080"));
    assert_eq!(
        (&*second.name, second.address.to_string().as_str()),
        ("listener-2", "[::1]:8081")
    );
    let limits = web.limits;
    assert_eq!(
        (limits.max_connections, limits.max_head_bytes, limits.max_headers),
        (20_000, 16 << 10, 64)
    );
    assert_eq!((limits.max_body_bytes, limits.backlog), (Some(10 << 20), 1024));
    let rate = Some(Rate::per_second(20));
    assert_eq!((limits.sources.max_connections, limits.sources.rate), (Some(50), rate));
    let timeouts = web.timeouts;
    assert_eq!(
        (timeouts.idle, timeouts.head, timeouts.body, timeouts.write),
        (seconds(75), seconds(5), seconds(20), seconds(90))
    );
    let network = |address: &str, prefix| Cidr::new(address.parse().unwrap(), prefix).unwrap();
    let trusted = [
        network("10.0.0.0", 8),
        network("192.0.2.7", 32),
        network("2001:db8::", 32),
    ];
    assert_eq!(web.forwarding.trusted_proxies, trusted);
    assert_eq!((web.forwarding.forwarded, second.forwarding.forwarded), (true, false));
}

#[test]
fn outlier_detection() {
    let everything = plan(EVERYTHING);
    let [api, web] = everything.upstreams.as_slice() else {
        panic!("two upstreams")
    };
    let rules = OutlierSettings {
        interval: seconds(5),
        base_ejection: seconds(20),
        max_ejection: seconds(120),
        jitter: seconds(2),
        max_ejected_percent: 34,
        consecutive_errors: Some(3),
        consecutive_unreachable: None,
        success_rate: Some(SuccessRate {
            stdev_factor_thousandths: 1500,
            minimum_hosts: 3,
            request_volume: 20,
        }),
        failure_percentage: Some(FailurePercentage {
            threshold: 60,
            minimum_hosts: 2,
            request_volume: 10,
        }),
        latency: Some(LatencyRule {
            factor_percent: 250,
            minimum_hosts: 4,
            request_volume: 30,
        }),
        max_fails: None,
    };
    assert_eq!(api.outliers, Some(Outliers { rules, min_servers: 2 }));
    let rules = OutlierSettings::simple(3, seconds(20));
    assert_eq!(web.outliers, Some(Outliers { rules, min_servers: 1 }));
    let states: Vec<_> = api.servers.iter().map(|server| server.state).collect();
    use ServiceState::{Drain, Enabled};
    assert_eq!(states, [Enabled, Enabled, Drain]);

    let of = |setting: &str| {
        let text = format!(
            "listeners: [{{ address: ':1', upstream: a }}]\nupstreams: {{ a: {{ servers: [':2'], {setting} }} }}\n"
        );
        plan(&text).upstreams[0].outliers
    };
    let defaults = Outliers {
        rules: OutlierSettings::DEFAULT,
        min_servers: 5,
    };
    assert_eq!(of(""), Some(defaults));
    assert_eq!(of("outlier_detection: {}"), Some(defaults));
    assert_eq!(of("outlier_detection: none"), None);
}

#[test]
fn routes() {
    let plan = plan(EVERYTHING);
    let routes = &plan.listeners[0].routes;
    let names: Vec<&str> = routes.iter().map(|route| &*route.name).collect();
    assert_eq!(
        names,
        ["api", "*.example.com/img-*", "api.example.com", "/login", "default"]
    );
    let upstreams: Vec<&str> = routes
        .iter()
        .map(|route| {
            let Action::Forward(id) = route.action;
            &*plan.upstream(id).name
        })
        .collect();
    assert_eq!(upstreams, ["api", "api", "web", "web", "web"]);
    assert_eq!(routes[0].rule.host, HostPattern::Exact("api.example.com".into()));
    assert_eq!(routes[0].rule.path, PathPattern::Segments("/v1".into()));
    assert_eq!(routes[1].rule.path, PathPattern::Prefix("/img-".into()));
    assert_eq!(
        (&routes[4].rule.host, &routes[4].rule.path),
        (&HostPattern::Any, &PathPattern::Any)
    );
    let all = |index: usize| {
        let t = routes[index].timeouts;
        [t.connect, t.send, t.read, t.idle.both]
    };
    assert_eq!(
        all(0),
        [seconds(2), seconds(40), seconds(300), seconds(3600)],
        "its own"
    );
    assert_eq!(
        all(1),
        [seconds(1), seconds(20), seconds(10), seconds(300)],
        "the upstream's but one"
    );
    assert_eq!(
        all(4),
        [seconds(3), seconds(30), seconds(60), seconds(600)],
        "the defaults"
    );
    let shorthand = &plan.listeners[1].routes;
    assert_eq!(
        (shorthand.len(), &*shorthand[0].name, shorthand[0].action),
        (1, "default", Action::Forward(UpstreamId(1)))
    );
}

#[test]
fn changes_to_header_fields_are_removed_then_set_then_added() {
    let plan = plan(EVERYTHING);
    let route = &plan.listeners[0].routes[0];
    let set = |name: &str, value: &str| HeaderOp::Set(name.into(), value.into());
    let request = [
        HeaderOp::Remove("x-internal".into()),
        set("x-env", "prod"),
        set("host", "inner.example.com"),
        set("x-debug", "true"),
        set("x-number", "7"),
        HeaderOp::Add("x-via".into(), "isobar; a=\"b\"".into()),
    ];
    assert_eq!(route.request_headers, request);
    let response = [
        HeaderOp::Remove("server".into()),
        HeaderOp::Remove("x-powered-by".into()),
        set("x-served-by", "grüße"),
        HeaderOp::Add("set-cookie".into(), "a=b".into()),
    ];
    assert_eq!(route.response_headers, response);
    assert!(plan.listeners[0].routes[1].request_headers.is_empty());
}

#[test]
fn an_upstream() {
    let plan = plan(EVERYTHING);
    let api = &plan.upstreams[0];
    assert_eq!((&*api.name, api.balance), ("api", Balance::RoundRobin));
    let names: Vec<&str> = api.servers.iter().map(|server| &*server.name).collect();
    assert_eq!(names, ["127.0.0.1:9001", "127.0.0.1:9002", "b"]);
    let (first, last) = (&api.servers[0], &api.servers[2]);
    assert_eq!(first.address, ServerAddress::Socket("127.0.0.1:9001".parse().unwrap()));
    assert_eq!((first.weight, first.max_connections, first.backup), (1, None, false));
    assert_eq!(last.address, ServerAddress::Name("backend.internal".into(), 8080));
    assert_eq!((last.weight, last.max_connections, last.backup), (3, Some(500), true));
    assert_eq!((api.keep_alive.max_idle, api.keep_alive.idle_timeout), (0, seconds(20)));
    assert_eq!((api.queue.max, api.queue.timeout), (0, seconds(1)));
    let timeouts = api.timeouts;
    assert_eq!(
        [timeouts.connect, timeouts.send, timeouts.read, timeouts.idle.both],
        [1, 20, 30, 300].map(seconds)
    );
    let web = &plan.upstreams[1];
    assert_eq!(
        (&*web.name, web.balance, web.servers[0].weight),
        ("web", Balance::Random, 0)
    );
    assert_eq!(
        (web.keep_alive.max_idle, web.keep_alive.idle_timeout),
        (1024, seconds(30))
    );
    assert_eq!((web.queue.max, web.queue.timeout), (1024, seconds(5)));
}

#[test]
fn what_requests_are_told_apart_by() {
    use isobar_plan::HashPart::{ClientIp, Cookie, Path};
    let check = |keys: &str, expected: &[HashPart], effective: &str| {
        let text = format!(
            "listeners: [{{ address: ':80', upstream: a }}]\nupstreams: {{ a: {{ {keys}, servers: [':81'] }} }}\n"
        );
        assert_eq!(plan(&text).upstreams[0].hash, expected, "{keys}");
        let source = Source {
            name: "test.yaml".to_owned(),
            text,
        };
        let written = isobar_config::effective(&isobar_config::load(&source).unwrap().document);
        assert!(written.contains(effective), "{keys}: {written}");
    };
    check("balance: maglev, hash: path", &[Path], "    hash: path\n");
    check("balance: maglev, hash: [path]", &[Path], "    hash: path\n");
    let both = [Path, Cookie("A".into())];
    check(
        "balance: maglev, hash: [path, 'cookie:A']",
        &both,
        "    hash: [path, cookie:A]\n",
    );
    check("balance: maglev", &[ClientIp], "    hash: client_ip\n");
    check("balance: random", &[], "    hash: []\n");
}

#[test]
fn retries_and_hedges() {
    let plan = plan(EVERYTHING);
    let allowance = |percent, min_per_second| Allowance {
        percent,
        min_per_second,
    };
    assert_eq!(plan.upstreams[0].retry_budget, Some(allowance(10, 0)));
    assert_eq!(plan.upstreams[1].retry_budget, None);
    let routes = &plan.listeners[0].routes;
    let full = Retry {
        attempts: 3,
        on: RetryOn {
            connect_failure: true,
            closed: false,
            timeout: true,
            statuses: StatusRanges(vec![(502, 504), (429, 429)]),
            grpc: GrpcCodes::default().with(14).with(8),
        },
        non_idempotent: true,
        try_timeout: Some(seconds(2)),
        deadline: Some(seconds(20)),
        backoff: Some(Backoff {
            base: Duration::from_millis(10),
            max: seconds(1),
        }),
        buffer: 1 << 20,
    };
    assert_eq!(routes[0].retry, full, "the upstream's");
    let own = Retry {
        attempts: 0,
        on: RetryOn {
            connect_failure: false,
            closed: false,
            timeout: false,
            statuses: StatusRanges(vec![]),
            grpc: GrpcCodes::default(),
        },
        non_idempotent: false,
        try_timeout: Some(seconds(1)),
        deadline: None,
        backoff: None,
        buffer: 0,
    };
    assert_eq!(routes[1].retry, own, "the route's");
    assert_eq!(routes[2].retry.on.statuses, StatusRanges(vec![(500, 599)]));
    let hedge = |after, max| Some(Hedge { after, max });
    assert_eq!(routes[0].hedge, hedge(HedgeAfter::Quantile(999), 2));
    assert_eq!(routes[1].hedge, hedge(HedgeAfter::Fixed(Duration::from_millis(50)), 1));
    assert_eq!(routes[2].hedge, None);
}

/// Without a word on it: two more tries, where no connection was made or it was closed; a try timeout adds time-outs.
#[test]
fn what_is_tried_again_where_nothing_is_written() {
    let of = |retry: &str| {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:1, upstream: a }}]\nupstreams: {{ a: {{ servers: [127.0.0.1:2]{retry} }} }}"
        );
        let plan = plan(&text);
        let retry = plan.listeners[0].routes[0].retry.clone();
        let RetryOn {
            connect_failure,
            closed,
            timeout,
            statuses,
            grpc,
        } = retry.on;
        assert_eq!(statuses, StatusRanges(vec![]));
        assert!(grpc.is_empty());
        (
            [connect_failure, closed, timeout],
            retry.attempts,
            retry.buffer,
            plan.upstreams[0].retry_budget,
        )
    };
    let budget = Some(Allowance::DEFAULT);
    assert_eq!(of(""), ([true, true, false], 2, 64 << 10, budget));
    assert_eq!(
        of(", retry: { try_timeout: 1s }"),
        ([true, true, true], 2, 64 << 10, budget)
    );
    assert_eq!(of(", retry: { on: none, try_timeout: 1s }").0, [false; 3]);
}

#[test]
fn health_checks() {
    let plan = plan(EVERYTHING);
    let check = &plan.upstreams[0].health[0];
    let probe = HealthProbe::Http(HttpProbe {
        method: "GET".into(),
        path: "/health?full=1".into(),
        host: Some("health.example.com:81".into()),
        headers: Vec::new(),
        expect: StatusRanges(vec![(200, 200), (204, 204), (300, 399)]),
        body: None,
    });
    assert_eq!(check.probe, probe);
    assert_eq!(
        (check.interval, check.timeout, check.rise, check.fall),
        (seconds(3), seconds(1), 1, 5)
    );
    assert_eq!((&*check.name, check.port, &check.tls), ("http", None, &None));
    let tcp = &plan.upstreams[1].health[0];
    assert_eq!(
        (&tcp.probe, tcp.interval, tcp.timeout),
        (&HealthProbe::Tcp(Vec::new()), seconds(6), seconds(5))
    );
    assert_eq!((tcp.rise, tcp.fall), (2, 3));
}

/// The health checks of an upstream with this setting.
fn checks(health: &str) -> Vec<Arc<HealthCheck>> {
    let text = format!(
        "{{ listeners: [{{ address: ':0', upstream: a }}], upstreams: {{ a: {{ servers: [':1'], health: {health} }} }} }}"
    );
    plan(&text).upstreams.remove(0).health
}

fn get(path: &str, expect: (u16, u16)) -> HttpProbe {
    HttpProbe {
        method: "GET".into(),
        path: path.into(),
        host: None,
        headers: Vec::new(),
        expect: StatusRanges(vec![expect]),
        body: None,
    }
}

fn step(send: &[u8], expect: &[u8]) -> TcpStep {
    TcpStep {
        send: send.into(),
        expect: expect.into(),
    }
}

#[test]
fn what_a_health_check_asks_follows_from_its_keys() {
    let check = |health: &str, expected: Option<HealthProbe>| {
        let found = checks(health);
        assert_eq!(found.first().map(|check| check.probe.clone()), expected, "{health}");
    };
    let http = |path: &str, expect| Some(HealthProbe::Http(get(path, expect)));
    let tcp = |steps: &[TcpStep]| Some(HealthProbe::Tcp(steps.to_vec()));
    check("none", None);
    check("{}", tcp(&[]));
    check("{ interval: 7s }", tcp(&[]));
    check("{ path: /up }", http("/up", (200, 399)));
    check("{ expect: 204 }", http("/", (204, 204)));
    check("{ type: http }", http("/", (200, 399)));
    check("{ type: tcp }", tcp(&[]));
    check("{ type: tcp, expect: '220' }", tcp(&[step(b"", b"220")]));
    check("{ type: tcp, expect: 220 }", tcp(&[step(b"", b"220")]));
    check(
        r"{ send: 'PING\r\n', expect: +PONG }",
        tcp(&[step(b"PING\r\n", b"+PONG")]),
    );
    check(
        r"{ steps: [{ expect: '220' }, { send: QUIT\r\n }] }",
        tcp(&[step(b"", b"220"), step(b"QUIT\r\n", b"")]),
    );
    let grpc = |service: &str, host: Option<&str>| {
        Some(HealthProbe::Grpc {
            service: service.into(),
            host: host.map(Into::into),
        })
    };
    check("{ service: shop.v1.Orders }", grpc("shop.v1.Orders", None));
    check("{ type: grpc, host: api.example }", grpc("", Some("api.example")));
    let full = HttpProbe {
        method: "POST".into(),
        headers: vec![("x-probe".into(), "yes".into())],
        body: Some(b"ok\n".as_slice().into()),
        ..get("/", (200, 399))
    };
    check(
        r"{ method: POST, headers: { X-Probe: 'yes' }, body: { contains: 'ok\n' } }",
        Some(HealthProbe::Http(full.clone())),
    );
    check(
        r"{ type: http, method: POST, headers: { X-Probe: 'yes' }, body: 'ok\n' }",
        Some(HealthProbe::Http(full)),
    );
}

#[test]
fn how_a_probe_is_secured_follows_from_its_keys() {
    let check = |health: &str, expected: Option<(Option<&str>, Trust)>| {
        let tls = expected.map(|(name, trust)| {
            CheckTls::Own(HealthTls {
                server_name: name.map(Into::into),
                trust,
            })
        });
        assert_eq!(checks(health)[0].tls, tls, "{health}");
    };
    check("{ type: http }", None);
    check("{ type: tcp }", None);
    check("{ type: grpc, tls: false }", None);
    check("{ type: https }", Some((None, Trust::System)));
    check(
        "{ path: /, ca: /a.pem }",
        Some((None, Trust::File(Authorities::of_file("/a.pem")))),
    );
    check("{ path: /, tls: true }", Some((None, Trust::System)));
    check("{ verify: none }", Some((None, Trust::Anyone)));
    check(
        "{ type: https, server_name: a.example, verify: full }",
        Some((Some("a.example"), Trust::System)),
    );
    check("{ type: tcp, tls: true, verify: none }", Some((None, Trust::Anyone)));
    check(
        "{ service: a, tls: true, ca: b }",
        Some((None, Trust::File(Authorities::of_file("b")))),
    );
    assert!(matches!(
        checks("{ path: /, ca: /a.pem }")[0].probe,
        HealthProbe::Http(_)
    ));
}

#[test]
fn several_checks_have_names_of_their_own() {
    let check = |health: &str, expected: &[&str]| {
        let found = checks(health);
        let names: Vec<&str> = found.iter().map(|check| &*check.name).collect();
        assert_eq!(names, expected, "{health}");
    };
    check("{ type: tcp, name: port, port: 81 }", &["port"]);
    check("[{ type: tcp }]", &["tcp"]);
    check("[{ path: / }, { type: tcp }, { path: /b }]", &["http", "tcp", "http-2"]);
    check(
        "[{ path: / }, { name: http, type: tcp }, { type: grpc }]",
        &["http-2", "http", "grpc"],
    );
    assert_eq!(checks("[{ type: tcp }, { type: tcp, port: 81 }]")[1].port, Some(81));
}

#[test]
fn the_rest() {
    let plan = plan(EVERYTHING);
    let log = plan.access_log.unwrap();
    assert_eq!(
        log.destination,
        LogDestination::File("/var/log/isobar/access.log".into())
    );
    assert_eq!(
        log.format,
        LogFormat::Template("{client} {method} {target} {status}".into())
    );
    assert_eq!(log.queue, 1000);
    assert_eq!(
        plan.admin,
        Some(Admin {
            address: "127.0.0.1:9900".parse().unwrap()
        })
    );
    assert_eq!(plan.drain_timeout, seconds(10));
}

#[test]
fn made_names_are_unique() {
    let routes = [
        "{ upstream: a }",
        "{ upstream: a }",
        "{ name: default-2, match: { path: /x }, upstream: a }",
        "{ upstream: a }",
    ];
    let text = format!(
        "{{ listeners: [{{ address: ':0', routes: [{}] }}], upstreams: {{ a: {{ servers: [':1'] }} }} }}",
        routes.join(", ")
    );
    let plan = plan(&text);
    let names: Vec<&str> = plan.listeners[0].routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["default", "default-3", "default-2", "default-4"]);
}

#[test]
fn a_command_line_is_a_document() {
    let to = ["127.0.0.1:9001".parse().unwrap(), ":9002".parse().unwrap()];
    let document = quick("127.0.0.1:8080".parse().unwrap(), &to, Balance::Random);
    let loaded = compile(document).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.plan.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(loaded.plan.upstreams[0].balance, Balance::Random);
    assert_eq!(loaded.plan.upstreams[0].servers.len(), 2);
    let written = Source {
        name: "quick.yaml".to_owned(),
        text: isobar_config::to_yaml(&loaded.document),
    };
    assert_eq!(isobar_config::load(&written).unwrap().plan, loaded.plan);
}

#[test]
fn a_document_that_does_not_fit_together_says_so_without_positions() {
    let twice = ["127.0.0.1:9001".parse().unwrap(), ":9001".parse().unwrap()];
    let errors = compile(quick("127.0.0.1:8080".parse().unwrap(), &twice, Balance::Random)).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "error: another server is called `127.0.0.1:9001` already (upstreams.servers.servers[1].address)"
    );
    assert!(errors.iter().all(|error| error.position.is_none()));
    let none = compile(quick("127.0.0.1:8080".parse().unwrap(), &[], Balance::Random)).unwrap_err();
    assert_eq!(
        none.to_string(),
        "error: the upstream has no servers (upstreams.servers.servers)"
    );
}

#[test]
fn diagnostics_for_programs() {
    let source = Source {
        name: "x.yaml".to_owned(),
        text: "listeners: []\nupstreams: { \"a.b\": { servers: [8080] } }\n".to_owned(),
    };
    let errors = isobar_config::load(&source).unwrap_err();
    let json = errors.to_json();
    assert_eq!(
        (
            json["errors"].as_u64(),
            json["warnings"].as_u64(),
            json["left_out"].as_u64()
        ),
        (Some(2), Some(0), Some(0))
    );
    let second = &json["diagnostics"][1];
    assert_eq!(second["path"], "upstreams.\"a.b\".servers[0]");
    assert_eq!(
        (second["severity"].as_str(), second["help"].as_str()),
        (Some("error"), Some("did you mean `:8080`?"))
    );
    assert_eq!(
        (second["line"].as_u64(), second["column"].as_u64()),
        (Some(2), Some(33))
    );
    assert_eq!((second["start"].as_u64(), second["end"].as_u64()), (Some(46), Some(50)));
    let expected = "line 1, column 1: error: there is no listener (listeners)";
    assert_eq!(errors.to_string().lines().next(), Some(expected));
}

#[test]
fn limits() {
    let plan = plan(EVERYTHING);
    let limit = |name: &str| plan.limits.iter().find(|limit| &*limit.name == name).unwrap();
    let [api, _, _, _, rest] = &*plan.listeners[0].routes else {
        panic!("five routes")
    };
    let names = |limits: &[isobar_plan::Name]| limits.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        names(&api.limits),
        ["all", "fixed", "user", "slots", "bucket", "sliding"]
    );
    assert_eq!(names(&rest.limits), ["all", "fixed"]);
    assert!(plan.listeners[1].routes[0].limits.is_empty());

    let all = limit("all");
    let parts = [
        LimitKey::Part(HashPart::ClientIp),
        LimitKey::Part(HashPart::Header("x-user".into())),
        LimitKey::Part(HashPart::Cookie("s".into())),
        LimitKey::Part(HashPart::Query("q".into())),
        LimitKey::Part(HashPart::Host),
        LimitKey::Part(HashPart::Path),
        LimitKey::Method,
        LimitKey::Route,
        LimitKey::TlsName,
    ];
    assert_eq!(all.counting.key, parts);
    let delay = Duration::from_millis(200);
    assert_eq!(
        (all.counting.kind, all.counting.missing),
        (LimitKind::Gcra { delay }, MissingKey::Refuse)
    );
    let rate = Rate::new(20, seconds(10));
    assert_eq!(all.counting.pace, LimitPace::Rate { rate, burst: 30 });
    assert_eq!((all.counting.prefix_v4, all.counting.prefix_v6), (24, 56));
    assert_eq!((all.counting.cost, all.counting.max_keys), (2, 5_000));
    assert_eq!(all.overrides_file.as_deref(), Some("/etc/isobar/rates"));
    assert!(all.exempt[0].contains("10.9.9.9".parse().unwrap()));
    assert!(all.deny[0].contains("192.0.2.7".parse().unwrap()));
    let answer = &all.answer;
    assert_eq!((answer.status, answer.headers), (503, LimitHeaders::Always));
    assert_eq!(answer.jitter, seconds(2));
    assert_eq!(
        (answer.body.as_deref(), &*answer.content_type),
        (Some("later"), "text/html")
    );
    let enforcement = &all.enforcement;
    assert_eq!((enforcement.mode, enforcement.part), (LimitMode::Shadow, 2_500));
    assert_eq!(enforcement.expires, Some(seconds(1_798_675_200)));
    let guard = GuardRules {
        most_refused: 2_000,
        min_requests: 100,
        window: seconds(10),
        watch: seconds(3_600),
    };
    assert_eq!(enforcement.guard, Some(guard));
    assert_eq!(
        (all.note.owner.as_deref(), all.note.reason.as_deref()),
        (Some("network"), Some("a flood"))
    );
}

#[test]
fn upstreams_are_shared_by_key_and_weight() {
    let plan = plan(EVERYTHING);
    let fair = plan.upstreams.iter().find_map(|upstream| upstream.fair_share.as_ref());
    let fair = fair.unwrap();
    let parts = [
        LimitKey::Part(HashPart::ClientIp),
        LimitKey::Part(HashPart::Header("x-customer".into())),
    ];
    assert_eq!(fair.key, parts);
    let weights = fair.weights.iter().map(|one| (one.key.join(" "), one.weight));
    let weights: Vec<_> = weights.collect();
    assert_eq!(
        weights,
        [("10.0.0.7 acme".to_owned(), 3), ("::1 globex".to_owned(), 10_000)]
    );
    assert_eq!(fair.weights_file.as_deref(), Some("/etc/isobar/weights"));
}

#[test]
fn limits_have_paces_by_key() {
    let plan = plan(EVERYTHING);
    let limit = |name: &str| plan.limits.iter().find(|limit| &*limit.name == name).unwrap();
    let paces = |name: &str| {
        let of = limit(name).overrides.iter();
        of.map(|of| (of.key.join("|"), of.pace)).collect::<Vec<_>>()
    };
    let rate = |rate, burst| LimitPace::Rate { rate, burst };
    let expected = [
        ("a b".to_owned(), rate(Rate::per_minute(50), 50)),
        ("c".to_owned(), rate(Rate::per_second(9), 3)),
    ];
    assert_eq!(paces("user"), expected);
    assert_eq!(paces("slots"), [("::1".to_owned(), LimitPace::AtOnce(9))]);
    assert_eq!(limit("slots").counting.pace, LimitPace::AtOnce(8));
    let guard = limit("slots").enforcement.guard.unwrap();
    assert_eq!((guard.most_refused, guard.min_requests), (500, 1_000));
    let kinds = ["bucket", "fixed", "sliding"].map(|name| {
        let counting = &limit(name).counting;
        counting.algorithm(counting.pace)
    });
    assert!(matches!(
        kinds,
        [
            LimitAlgorithm::TokenBucket(_),
            LimitAlgorithm::FixedWindow(_),
            LimitAlgorithm::SlidingWindow(_)
        ]
    ));
    // Logs have room for the largest rate of any key.
    let exact = &limit("exact").counting;
    assert_eq!(
        (exact.kind, exact.log_units()),
        (LimitKind::SlidingLog { units: 250 }, 250)
    );
    assert!(matches!(exact.algorithm(exact.pace), LimitAlgorithm::SlidingLog(_)));
}

#[test]
fn each_direction_may_be_idle_for_a_time_of_its_own() {
    let text = "listeners: [{ address: ':1', protocol: tcp, routes: [{ match: { sni: a.test }, upstream: a, timeouts: { client_idle: none, half_closed: 5s } }, { upstream: a }] }]\n\
        upstreams: { a: { servers: [':2'], timeouts: { idle: 8h, client_idle: 1m, server_idle: 2m } } }";
    let plan = plan(text);
    let [own, rest] = &*plan.tcp[0].routes else {
        panic!("two routes")
    };
    let inherited = IdleTimeouts {
        both: seconds(8 * 3600),
        client: Some(seconds(60)),
        server: Some(seconds(120)),
        half_closed: None,
    };
    assert_eq!(rest.timeouts.idle, inherited);
    let expected = IdleTimeouts {
        client: None,
        half_closed: Some(seconds(5)),
        ..inherited
    };
    assert_eq!(own.timeouts.idle, expected);
}

#[test]
fn the_kernel_asks_whether_the_other_end_is_there() {
    let text = "listeners: [{ address: ':1', tcp_keepalive: {}, upstream: a }, { address: ':2', protocol: tcp, tcp_keepalive: { idle: 5s, interval: 2s, probes: 3, user_timeout: 8s }, upstream: a }]\n\
        upstreams: { a: { servers: [':3'], tcp_keepalive: { idle: 1h } }, b: { servers: [':4'] } }";
    let plan = plan(text);
    let usual = TcpKeepalive {
        idle: seconds(60),
        interval: seconds(10),
        probes: 6,
        user_timeout: None,
    };
    let own = TcpKeepalive {
        idle: seconds(5),
        interval: seconds(2),
        probes: 3,
        user_timeout: Some(seconds(8)),
    };
    assert_eq!(plan.listeners[0].tcp_keepalive, Some(usual));
    assert_eq!(plan.tcp[0].tcp_keepalive, Some(own));
    let patient = TcpKeepalive {
        idle: seconds(3600),
        ..usual
    };
    assert_eq!(plan.upstreams[0].tcp_keepalive, Some(patient));
    assert_eq!(plan.upstreams[1].tcp_keepalive, None, "nobody asks for it");
}

#[test]
fn what_a_listener_passes_on() {
    let text = "listeners:
  - name: web
    address: ':1'
    priority: critical
    tls: { self_signed: [a.test] }
    limits: { max_connections: 5, max_connections_per_source: 2 }
    timeouts: { handshake: 3s }
    passthrough:
      - { match: { sni: b.test }, upstream: behind }
      - { match: { sni: '*.b.test', alpn: h2 }, upstream: behind, timeouts: { idle: 1h }, priority: low }
    routes:
      - { match: { host: b.test, path: /x }, upstream: web }
      - { name: b.test, upstream: web }
upstreams: { web: { servers: [':2'], limits: { max_requests: 9 } }, behind: { servers: [':3'], limits: { max_requests: 9 } } }";
    let plan = plan(text);
    let web = &plan.listeners[0];
    let [first, second] = &*web.passthrough else {
        panic!("two routes")
    };
    // The names of requests come first.
    assert_eq!((&*first.name, &*second.name), ("b.test-2", "*.b.test+h2"));
    assert_eq!((first.upstream, second.upstream), (UpstreamId(1), UpstreamId(1)));
    assert_eq!((first.priority, second.priority), (Priority::Critical, Priority::Low));
    assert_eq!(
        (first.timeouts.idle.both, second.timeouts.idle.both),
        (seconds(600), seconds(3600))
    );
    assert_eq!(second.rule.alpn.as_deref(), Some(&b"h2"[..]));
    let divided = web.divided();
    assert_eq!(
        (divided.limits.max_connections, divided.limits.sources.max_connections),
        (5, Some(2))
    );
    assert_eq!((divided.handshake_timeout, divided.routes.len()), (seconds(3), 2));
    assert!(plan.tcp.is_empty(), "it has one address");
}
