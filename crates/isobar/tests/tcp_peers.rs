//! Do Redis and PostgreSQL notice that somebody stands between them and their clients?

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use isobar_testkit::{Configuration, PATIENCE, Postgres, Redis, Signal, binary, eventually, pgbench, psql};

fn tcp(servers: &[SocketAddr]) -> Configuration {
    Configuration::to(servers).listener("protocol: tcp")
}

#[test]
fn postgres_keeps_its_books() {
    let postgres = Postgres::start();
    let isobar = binary!().run(&tcp(&[postgres.address()]));
    let made = pgbench(isobar.address(), &["-i", "-q"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let run = pgbench(isobar.address(), &["-n", "-c", "8", "-j", "2", "-t", "50"]);
    let report = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{report}{}", String::from_utf8_lossy(&run.stderr));
    assert!(report.contains("actually processed: 400/400"), "{report}");
    let books = "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts), \
                 sum(delta) = (select sum(bbalance) from pgbench_branches) from pgbench_history";
    let said = psql(isobar.address(), books);
    assert_eq!(String::from_utf8_lossy(&said.stdout), "400|t|t\n");
    // More than fits any buffer, in both directions.
    let rows = psql(
        isobar.address(),
        "select repeat('x', 1000) from generate_series(1, 20000)",
    );
    assert_eq!(rows.stdout.len(), 20_000 * 1001);
}

#[test]
fn redis_answers_its_benchmark() {
    let redis = Redis::start(&[]);
    let isobar = binary!().run(&tcp(&[redis.address()]));
    let port = isobar.address().port().to_string();
    let mut command = Command::new("redis-benchmark");
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-q",
        "-n",
        "5000",
        "-c",
        "20",
        "-d",
        "300",
    ]);
    let output = command
        .args(["-t", "set,get,lpush,lrange_100"])
        .output()
        .expect("redis-benchmark is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    // `lrange_100` makes its list first.
    assert_eq!(said.matches("requests per second").count(), 5, "{said}");
    let mut client = TcpStream::connect(isobar.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"LLEN mylist\r\nSTRLEN key:__rand_int__\r\n").unwrap();
    let mut answer = [0; 64];
    let mut count = 0;
    while answer[..count].iter().filter(|&&byte| byte == b'\n').count() < 2 {
        count += client.read(&mut answer[count..]).unwrap();
    }
    // Those of `lpush`, and those that `lrange_100` makes for itself.
    assert_eq!(String::from_utf8_lossy(&answer[..count]), ":10000\r\n:300\r\n");
}

/// Whether Redis answers on a new connection.
fn pongs(address: SocketAddr) -> bool {
    let ping = || {
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        client.read_exact(&mut answer)?;
        std::io::Result::Ok(answer == *b"+PONG\r\n")
    };
    ping().unwrap_or(false)
}

/// One of two hangs, which only its check sees, and goes on: no new connection notices after the check has.
#[test]
fn a_redis_that_hangs_is_gone_around_under_load() {
    let servers = [Redis::start(&[]), Redis::start(&[])];
    let configuration = tcp(&servers.each_ref().map(Redis::address)).upstream(
        "balance: round_robin\n\
         health: { type: tcp, send: 'PING\\r\\n', expect: '+PONG', interval: 100ms, timeout: 90ms, rise: 1, fall: 1 }",
    );
    let isobar = binary!().run(&configuration);
    let address = isobar.address();
    let healthy = || {
        isobar
            .metrics()
            .sum("isobar_server_check_state", &[("state", "healthy")])
    };
    eventually("both are well", || healthy() == Some(2.0));
    let (stop, is_bad) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        servers[0].signal(Signal::STOP);
        eventually("one is found out", || healthy() == Some(1.0));
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    is_bad.fetch_or(!pongs(address), Ordering::Relaxed);
                }
            });
        }
        servers[0].signal(Signal::CONT);
        let taken_back = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("it is taken back", || healthy() == Some(2.0));
        }));
        stop.store(true, Ordering::Relaxed);
        taken_back.unwrap();
    });
    assert!(!is_bad.load(Ordering::Relaxed), "a connection failed");
}
