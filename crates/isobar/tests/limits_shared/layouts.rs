//! Does it go on when another Redis takes over, and when keys are at another one?

use std::path::Path;
use std::time::Duration;

use isobar_testkit::{Authority, Redis, RedisCluster, RedisSentinel, Validity, eventually};

use crate::kit::{Promise, Together};

const PROMISE: Promise = Promise { rate: 400, burst: 100 };
const LIMIT: &str = "{ shared: true, rate: 400/s, burst: 100 }";

#[test]
fn a_sentinel_puts_another_one_in_its_place() {
    let mut sentinel = RedisSentinel::start();
    let store = format!(
        "{{ addresses: \"{}\", mode: sentinel, service: {} }}",
        sentinel.address(),
        RedisSentinel::SERVICE
    );
    let together = Together::start(2, LIMIT, &store);
    let outcome = together.demand_while(2, Duration::from_secs(6), || {
        eventually("the limit is used", || {
            together.sum("isobar_limit_store_exchanges_total") > 20.0
        });
        sentinel.fail_over();
        together.have_store(1.0);
        let before = together.sum("isobar_limit_store_exchanges_total");
        eventually("it goes on with the other one", || {
            together.sum("isobar_limit_store_exchanges_total") > before + 20.0
        });
    });
    outcome.assert_no_failure();
    let most = PROMISE.most(outcome.took, 2) + 2 * PROMISE.burst;
    let passed = outcome.passed.len();
    assert!(passed <= most, "{passed} of {most}");
    assert!(
        passed as f64 >= 0.85 * PROMISE.rate as f64 * outcome.took.as_secs_f64(),
        "{passed}"
    );
    for isobar in &together.instances {
        isobar.wait_for_log("the limit store main is lost: ");
    }
    assert!(
        !together.keys(&sentinel.servers()[1]).is_empty(),
        "the other one has the books"
    );
}

/// A store that is all servers of a cluster.
fn cluster_store(cluster: &mut RedisCluster, more: &str) -> String {
    let servers = cluster.servers().iter();
    let addresses: Vec<_> = servers.map(|server| format!("\"{}\"", server.address())).collect();
    format!("{{ addresses: [{}], mode: cluster, {more} }}", addresses.join(", "))
}

#[test]
fn a_cluster_has_keys_on_all_its_servers() {
    let mut cluster = RedisCluster::start();
    let store = cluster_store(&mut cluster, "timeout: 5s");
    let together = Together::start(2, LIMIT, &store);
    let outcome = together.demand_while(2, Duration::from_secs(5), || {
        let key = |cluster: &mut RedisCluster| {
            let all = cluster.servers().iter().flat_map(|server| together.keys(server));
            all.into_iter().next()
        };
        let known = isobar_testkit::wait_for("the key is there", || key(&mut cluster));
        let (from, to) = cluster.move_slot_of(&known);
        let before = together.sum("isobar_limit_store_exchanges_total");
        eventually("it goes on", || {
            together.sum("isobar_limit_store_exchanges_total") > before + 50.0
        });
        assert!(together.keys(&cluster.servers()[from]).is_empty());
        assert_eq!(together.keys(&cluster.servers()[to]), [known]);
    });
    outcome.assert_no_failure();
    PROMISE.assert_kept(&outcome, 2, "cluster");
    assert_eq!(together.sum("isobar_limit_store_errors_total"), 0.0);
}

#[test]
fn a_cluster_loses_a_server() {
    let mut cluster = RedisCluster::start();
    let store = cluster_store(&mut cluster, "timeout: 100ms");
    let together = Together::start(2, LIMIT, &store);
    let outcome = together.demand_while(2, Duration::from_secs(7), || {
        let place = isobar_testkit::wait_for("a server has the key", || {
            { cluster.servers().iter() }.position(|server| !together.keys(server).is_empty())
        });
        cluster.servers()[place].kill();
        together.have_store(0.0);
        cluster.servers()[place].revive();
        cluster.is_whole();
        together.have_store(1.0);
    });
    outcome.assert_no_failure();
    let (passed, most) = (outcome.passed.len(), PROMISE.most(outcome.took, 2) + 2 * PROMISE.burst);
    assert!(passed <= most, "{passed} of {most}");
    let due = PROMISE.rate as f64 * outcome.took.as_secs_f64();
    assert!(passed as f64 >= 0.85 * due, "{passed} of {due}");
}

#[test]
fn many_keys_of_a_cluster_are_spread() {
    let mut cluster = RedisCluster::start();
    let limit = "{ shared: true, rate: 1000/day, key: \"header:x-user\" }";
    let store = format!(
        "{{ addresses: \"{}\", mode: cluster, timeout: 5s }}",
        cluster.servers()[0].address()
    );
    let together = Together::start(2, limit, &store);
    for user in 0..60 {
        assert_eq!(together.passes(user % 2, &format!("x-user: {user}\r\n"), 1), 1);
    }
    eventually("all keys are there", || {
        let counts: Vec<_> = cluster
            .servers()
            .iter()
            .map(|server| together.keys(server).len())
            .collect();
        counts.iter().sum::<usize>() == 60 && counts.iter().all(|count| *count > 5)
    });
}

#[test]
fn connections_can_be_secured() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certified = authority.certify("localhost", Validity::Now);
    let redis = Redis::secured(&certified, &authority.file());
    let store = |host: &str, file: &Path| {
        let port = redis.address().port();
        format!("{{ addresses: \"{host}:{port}\", tls: {{ ca: {} }} }}", file.display())
    };
    let together = Together::start(2, LIMIT, &store("localhost", &authority.file()));
    assert_eq!(together.passes(0, "", 5), 5);
    eventually("Redis was told", || {
        together.sum("isobar_limit_store_exchanges_total") > 0.0
    });
    for store in [
        store("localhost", &stranger.file()),
        store("127.0.0.1", &authority.file()),
    ] {
        let together = Together::apart(1, LIMIT, &store);
        eventually("it is told why not", || {
            together.health(0)["detail"].as_str().unwrap().contains("certificate")
        });
        assert_eq!(together.passes(0, "", 5), 5, "the instance has the limit for itself");
    }
}
