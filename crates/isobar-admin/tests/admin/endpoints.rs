//! What operators, supervisors and load balancers get.

use isobar_plan::{EngineState, HealthState};
use isobar_testkit::serde_json::{Value, from_slice, json};
use isobar_testkit::{Client, curl};

use crate::fake::{Admin, ODD_NAME};

fn asked(admin: &Admin, path: &str) -> (u16, Value) {
    let answer = curl(&[&admin.url(path)]);
    assert!(
        answer.heads.contains("content-type: application/json\r\n"),
        "{}",
        answer.heads
    );
    assert!(answer.heads.contains("cache-control: no-store\r\n"), "{}", answer.heads);
    (answer.status, from_slice(&answer.body).expect("the answer is JSON"))
}

#[test]
fn a_running_instance_is_live_healthy_and_ready() {
    let admin = Admin::start();
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(asked(&admin, path), (200, json!({"status": "pass"})), "{path}");
    }
}

#[test]
fn a_draining_instance_is_live_only() {
    let admin = Admin::start();
    admin.change(|status| status.state = EngineState::Draining);
    assert_eq!(asked(&admin, "/health/live").0, 200);
    let refused = json!({"status": "fail", "reason": "draining: no new connections are taken"});
    for path in ["/health", "/health/ready"] {
        assert_eq!(asked(&admin, path), (503, refused.clone()), "{path}");
    }
    assert_eq!(asked(&admin, "/health/detailed").0, 503);
}

#[test]
fn an_instance_without_servers_is_healthy_but_not_ready() {
    let admin = Admin::start();
    admin.change(|status| {
        let servers = status.upstreams.iter_mut().flat_map(|upstream| &mut upstream.servers);
        servers.for_each(|server| server.health = HealthState::Unhealthy);
    });
    assert_eq!(asked(&admin, "/health").0, 200);
    let refused = json!({"status": "fail", "reason": "no upstream has an available server"});
    assert_eq!(asked(&admin, "/health/ready"), (503, refused));
}

#[test]
fn the_detailed_report_names_every_dependency() {
    let admin = Admin::start();
    let (code, report) = asked(&admin, "/health/detailed");
    assert_eq!((code, &report["status"]), (200, &json!("warn")));
    let checks = report["checks"].as_array().expect("a list of checks");
    let names: Vec<&str> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    let odd_upstream = format!("upstream {ODD_NAME}");
    let odd_server = format!("server {ODD_NAME}/127.0.0.1:9003");
    let expected = [
        "instance",
        "configuration",
        "listener web",
        "certificate /etc/isobar/site.pem of listener web",
        "upstream api",
        "TLS of upstream api",
        "server api/127.0.0.1:9001",
        "server api/127.0.0.1:9002",
        &odd_upstream,
        &odd_server,
        "limit store main",
        "access_log",
    ];
    assert_eq!(names, expected);
    assert!(
        checks
            .iter()
            .all(|check| check["time_ms"].as_f64().is_some_and(|time| time >= 0.0))
    );
    let failed = json!({
        "name": "server api/127.0.0.1:9002",
        "status": "fail",
        "detail": "unhealthy, 2 of 9 requests in flight (found from latency): connection refused",
        "time_ms": 1.234,
    });
    assert_eq!(checks[7], failed);
}

#[test]
fn a_refused_configuration_is_told() {
    let admin = Admin::start();
    *admin.fake.last_error.lock().expect("no test panics in here") = Some("isobar.yaml:3:1: unknown key".to_owned());
    let (_, report) = asked(&admin, "/health/detailed");
    let detail = "a newer isobar.yaml was refused, the older one stays in service: isobar.yaml:3:1: unknown key";
    assert_eq!(
        (&report["checks"][1]["status"], &report["checks"][1]["detail"]),
        (&json!("warn"), &json!(detail))
    );
}

#[test]
fn the_index_lists_the_endpoints() {
    let admin = Admin::start();
    let answer = curl(&[&admin.url("/")]);
    let index = String::from_utf8(answer.body).expect("text");
    for path in [
        "/metrics",
        "/health",
        "/health/live",
        "/health/ready",
        "/health/detailed",
        "/servers",
    ] {
        assert!(index.contains(&format!("GET {path} ")), "{path}");
        assert_ne!(curl(&[&admin.url(path)]).status, 404, "{path}");
    }
}

#[test]
fn what_is_not_there_is_said_in_json() {
    let admin = Admin::start();
    for path in ["/health/", "/metric", "/health/live/x", "//"] {
        let (status, body) = asked(&admin, path);
        assert_eq!(
            (status, &body["error"]),
            (404, &json!("no such endpoint; / lists them")),
            "{path}"
        );
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = curl(&["--request", method, &admin.url("/health")]);
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.heads.contains("allow: GET,HEAD\r\n"), "{}", answer.heads);
        assert_eq!(
            from_slice::<Value>(&answer.body).expect("JSON")["error"],
            "only GET and HEAD are answered"
        );
    }
}

#[test]
fn head_has_the_fields_and_no_body() {
    let admin = Admin::start();
    for path in ["/", "/metrics", "/health"] {
        let answer = curl(&["--head", &admin.url(path)]);
        assert_eq!((answer.status, answer.exit), (200, 0), "{path}");
        assert!(answer.heads.contains("content-length: "), "{}", answer.heads);
    }
}

#[test]
fn a_connection_serves_many_questions() {
    let admin = Admin::start();
    let mut client = Client::connect(admin.address).expect("a connection");
    for path in ["/health", "/metrics", "/nothing", "/health/ready"] {
        let answer = client.get(path).expect("an answer");
        assert_eq!(answer.status, if path == "/nothing" { 404 } else { 200 }, "{path}");
    }
}

#[test]
fn a_limit_is_armed_again_by_order_of_its_own_site() {
    let admin = Admin::start();
    let order = |limit: &str, site: &str| {
        let url = admin.url(&format!("/limits/{limit}/rearm"));
        let answer = curl(&["--request", "POST", "--header", site, &url]);
        let body: Value = from_slice(&answer.body).expect("JSON");
        (answer.status, body)
    };
    let own = "sec-fetch-site: none";
    let (status, body) = order("per-client", "sec-fetch-site: cross-site");
    assert_eq!(
        (status, &body["error"]),
        (403, &json!("orders of pages of other sites are refused"))
    );
    let done = |was: &str| json!({"limit": "per-client", "state": "enforced", "was": was});
    assert_eq!(order("per-client", own), (200, done("disarmed")));
    assert_eq!(order("per-client", own), (200, done("enforced")));
    let (status, body) = order("per%2Duser", own);
    assert_eq!((status, &body["error"]), (404, &json!("there is no limit `per-user`")));
    let (status, body) = asked(&admin, "/limits/per-client/rearm");
    assert_eq!((status, &body["error"]), (405, &json!("only POST is answered")));
}
