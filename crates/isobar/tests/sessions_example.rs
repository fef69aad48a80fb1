//! Does `examples/sessions` do what its README says: no instance is needed, and none that dies takes a session along?

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{ClosedPort, Isobar, Process, Signal, binary, curl, eventually, wait_for};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sessions")
}

/// The example with free ports in place of the ones it names.
struct Example {
    isobar: Isobar,
    redis: Process,
    redis_port: ClosedPort,
    ports: [ClosedPort; 3],
    jar: tempfile::TempDir,
}

const NAMES: [&str; 3] = ["one", "two", "three"];

impl Example {
    fn start() -> (Self, Vec<Process>) {
        let redis_port = ClosedPort::reserve().unwrap();
        let ports = [(); 3].map(|()| ClosedPort::reserve().unwrap());
        let redis = redis(&redis_port);
        let mut text = fs::read_to_string(example().join("isobar.yaml")).unwrap();
        for (port, written) in ports.iter().zip(["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"]) {
            assert!(text.contains(written));
            text = text.replace(written, &port.address().to_string());
        }
        text = text.replace("address: 127.0.0.1:8080", "address: 127.0.0.1:0");
        text.push_str("admin: { address: 127.0.0.1:0 }\n");
        let instances: Vec<_> = (0..3)
            .map(|index| instance(&ports[index], NAMES[index], &redis_port))
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("isobar.yaml");
        fs::write(&path, text).unwrap();
        let example = Self {
            isobar: binary!().run_file(directory, &path),
            redis,
            redis_port,
            ports,
            jar: tempfile::tempdir().unwrap(),
        };
        (example, instances)
    }

    fn ask(&self, path: &str, body: Option<&str>) -> Value {
        let jar = self.jar.path().join("jar").display().to_string();
        let url = format!("http://{}{path}", self.isobar.listener("shop"));
        let mut arguments = vec!["-c", &jar, "-b", &jar, &url];
        arguments.extend(body.iter().flat_map(|body| ["-d", body]));
        let answer = curl(&arguments);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn healthy(&self) -> Option<f64> {
        self.isobar.metrics().sum("isobar_server_healthy", &[])
    }
}

fn redis(port: &ClosedPort) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
    command.arg(port.address().port().to_string());
    let process = Process::spawn(&mut command).expect("redis-server is installed");
    wait_for("Redis listens", || TcpStream::connect(port.address()).ok());
    process
}

fn instance(port: &ClosedPort, name: &str, redis: &ClosedPort) -> Process {
    let mut command = Command::new("python3");
    command
        .arg(example().join("app.py"))
        .arg(port.address().port().to_string());
    command.arg(name).arg(redis.address().port().to_string());
    let process = Process::spawn(&mut command).expect("python3 is installed");
    wait_for("the instance listens", || TcpStream::connect(port.address()).ok());
    process
}

#[test]
fn an_instance_that_is_killed_takes_no_session_along() {
    let (mut example, mut instances) = Example::start();
    eventually("all instances are well", || example.healthy() == Some(3.0));
    assert_eq!(example.ask("/", None)["visits"], 1);
    assert_eq!(example.ask("/add", Some("tea"))["basket"], serde_json::json!(["tea"]));
    let basket = serde_json::json!(["tea", "cake"]);
    assert_eq!(example.ask("/add", Some("cake"))["basket"], basket);

    let visit = |example: &Example, number: u32| {
        let answer = example.ask("/", None);
        assert_eq!((&answer["visits"], &answer["basket"]), (&Value::from(number), &basket));
        answer["instance"].as_str().unwrap().to_owned()
    };
    let who: std::collections::BTreeSet<_> = (2..8).map(|number| visit(&example, number)).collect();
    assert_eq!(who.len(), 3, "{who:?} answered");

    instances[1].signal(Signal::KILL).unwrap();
    let who: std::collections::BTreeSet<_> = (8..28).map(|number| visit(&example, number)).collect();
    assert_eq!(who, ["one".to_owned(), "three".to_owned()].into());
    eventually("it is known to be gone", || example.healthy() == Some(2.0));

    // Wait for its end, then start it again: it has its share, and knows the basket.
    assert!(instances[1].wait(isobar_testkit::PATIENCE).unwrap().is_some());
    instances[1] = instance(&example.ports[1], "two", &example.redis_port);
    eventually("it is well again", || example.healthy() == Some(3.0));
    let who: std::collections::BTreeSet<_> = (28..34).map(|number| visit(&example, number)).collect();
    assert_eq!(who.len(), 3, "{who:?} answered");

    // The store is what must not fail, and the application says so.
    example.redis.signal(Signal::KILL).unwrap();
    assert!(example.redis.wait(isobar_testkit::PATIENCE).unwrap().is_some());
    let url = format!("http://{}/", example.isobar.listener("shop"));
    assert_eq!(curl(&[&url]).status, 503);
    example.redis = redis(&example.redis_port);
    assert_eq!(curl(&[&url]).status, 200);
}

/// Every file that the README names is there, and every port it names is one that the configuration has.
#[test]
fn the_readme_and_the_configuration_agree() {
    let readme = fs::read_to_string(example().join("README.md")).unwrap();
    let configuration = fs::read_to_string(example().join("isobar.yaml")).unwrap();
    for (port, name) in [("9001", "one"), ("9002", "two"), ("9003", "three")] {
        assert!(readme.contains(&format!("python3 app.py {port} {name} 6399")), "{port}");
        assert!(configuration.contains(&format!("127.0.0.1:{port}")), "{port}");
    }
    assert!(readme.contains("http://127.0.0.1:8080/") && configuration.contains("address: 127.0.0.1:8080"));
    let path = example().join("isobar.yaml");
    let outcome = binary!().outcome(&["check", path.to_str().unwrap()]);
    assert!(
        outcome.status.success() && outcome.stderr.is_empty(),
        "{}",
        outcome.stderr
    );
}
