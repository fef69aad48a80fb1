//! A configuration that changes on disk is taken into service, or refused without touching what runs.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use isobar_config::Color;
use isobar_control::{Disposition, DnsClient, History, Reading, Reloader, Resolver, Running, Target, load};
use isobar_plan::{Plan, PlanDiff};
use tempfile::TempDir;

/// Applies everything but listeners on port 1, and remembers it.
#[derive(Default)]
struct Instance {
    applied: Mutex<Vec<Plan>>,
    resolved: Mutex<Vec<Resolved>>,
}

/// How many plans were applied when a name was told, and which with how many addresses.
type Resolved = (usize, String, Option<usize>);

impl Target for Instance {
    fn apply(&self, plan: Plan) -> Result<PlanDiff, String> {
        if let Some(listener) = plan.listeners.iter().find(|listener| listener.address.port() == 1) {
            return Err(format!(
                "failed to listen on {} ({}): permission denied",
                listener.address, listener.name
            ));
        }
        let mut applied = self.applied.lock().unwrap();
        let diff = applied
            .last()
            .map_or_else(PlanDiff::default, |last| PlanDiff::between(last, &plan));
        applied.push(plan);
        Ok(diff)
    }

    fn resolved(&self, name: &str, port: u16, outcome: Result<Vec<SocketAddr>, String>) {
        let applied = self.applied.lock().unwrap().len();
        let told = (applied, format!("{name}:{port}"), outcome.ok().map(|a| a.len()));
        self.resolved.lock().unwrap().push(told);
    }

    fn reopen_logs(&self) {}

    fn drain(&self, _: Duration) -> u32 {
        0
    }
}

const TEXT: &str = "\
listeners: [{ name: web, address: \"127.0.0.1:8080\", upstream: web }]
upstreams: { web: { servers: [\"127.0.0.1:9001\"] } }
drain_timeout: 7s
";

const READING: Reading = Reading {
    look: |_| Ok(()),
    color: Color::Never,
};

struct Bench {
    directory: TempDir,
    instance: Arc<Instance>,
    history: Arc<History>,
    reloader: Reloader,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("isobar.yaml");
        fs::write(&path, TEXT).unwrap();
        let plan = load("isobar.yaml", TEXT.to_owned(), READING).unwrap().plan;
        let instance = Arc::new(Instance::default());
        instance.apply(plan.clone()).unwrap();
        let history = Arc::new(History::new(SystemTime::UNIX_EPOCH));
        let reloader = Reloader::new(Running {
            path,
            text: TEXT.to_owned(),
            plan,
            resolver: Resolver::start(DnsClient::servers(vec![])),
            target: Arc::clone(&instance) as Arc<dyn Target>,
            history: Arc::clone(&history),
            reading: READING,
        });
        Self {
            directory,
            instance,
            history,
            reloader,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("isobar.yaml")
    }

    async fn change(&mut self, text: &str) -> Disposition {
        fs::write(self.path(), text).unwrap();
        self.reloader.reload_if_changed().await
    }

    fn count(&self) -> usize {
        self.instance.applied.lock().unwrap().len()
    }

    fn last_error(&self) -> Option<String> {
        self.history.past().refusal.map(|refusal| refusal.error)
    }
}

#[tokio::test]
async fn a_changed_file_is_applied_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.reloader.reload_if_changed().await, Disposition::Unchanged);
    let Disposition::Applied(diff) = bench.change(&TEXT.replace("9001", "9002").replace("7s", "8s")).await else {
        panic!("not applied")
    };
    assert_eq!(diff.upstreams.len(), 1);
    assert_eq!(bench.reloader.reload_if_changed().await, Disposition::Unchanged);
    assert_eq!((bench.count(), bench.history.past().generation), (2, 2));
    assert_eq!(bench.reloader.drain_timeout(), Duration::from_secs(8));
}

#[tokio::test]
async fn an_explicit_reload_applies_the_same_again() {
    let mut bench = Bench::new();
    assert_eq!(bench.reloader.reload().await, Disposition::Applied(PlanDiff::default()));
    assert_eq!((bench.count(), bench.history.past().generation), (2, 2));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    let path = bench.path();
    let steps = [
        ("upstreams: {}\n".to_owned(), "isobar.yaml has "),
        (TEXT.replace("servers", "server"), "isobar.yaml has "),
        (
            TEXT.replace("8080", "1"),
            "failed to listen on 127.0.0.1:1 (web): permission denied",
        ),
    ];
    for (text, expected) in steps {
        assert_eq!(bench.change(&text).await, Disposition::Refused, "{text}");
        let error = bench.last_error().unwrap();
        assert!(error.contains(expected), "{error}");
        assert_eq!(
            bench.reloader.reload_if_changed().await,
            Disposition::Unchanged,
            "refused once is enough"
        );
    }
    fs::write(&path, b"\xff\xfe").unwrap();
    assert_eq!(bench.reloader.reload_if_changed().await, Disposition::Refused);
    assert!(
        bench
            .last_error()
            .unwrap()
            .ends_with(":1:1: byte 0xff is not valid UTF-8")
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(bench.reloader.reload_if_changed().await, Disposition::Refused);
    assert!(bench.last_error().unwrap().ends_with("no such file"));
    assert_eq!(bench.reloader.reload_if_changed().await, Disposition::Unchanged);

    assert_eq!(
        (bench.count(), bench.history.past().generation),
        (1, 1),
        "nothing was applied"
    );
    assert_eq!(bench.reloader.drain_timeout(), Duration::from_secs(7));
    assert!(matches!(bench.change(TEXT).await, Disposition::Applied(_)));
    assert_eq!(bench.last_error(), None);
}

#[tokio::test]
async fn new_names_are_told_before_the_plan_is_applied() {
    let mut bench = Bench::new();
    let text = TEXT.replace("127.0.0.1:9001", "localhost:9001");
    assert!(matches!(bench.change(&text).await, Disposition::Applied(_)));
    let told = bench.instance.resolved.lock().unwrap().clone();
    let before = told.iter().find(|(applied, ..)| *applied == 1);
    let (_, name, addresses) = before.unwrap_or_else(|| panic!("nothing was told in time: {told:?}"));
    assert_eq!(name, "localhost:9001");
    assert!(addresses.is_some_and(|count| count > 0), "{told:?}");
}
