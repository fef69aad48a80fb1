//! Is everything given back after clients and servers have done their worst?

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use isobar_testkit::{After, Client, Configuration, Isobar, Load, LoadOptions, Origin, binary, eventually, get, noise};

const SEED: u64 = 0x1505_BA12;

/// A number below `bound` that depends on the seed and the step alone.
fn chance(step: u64, bound: u64) -> u64 {
    let bytes = noise(8, SEED ^ step.wrapping_mul(0x2545_F491_4F6C_DD1D));
    u64::from_le_bytes(bytes.try_into().unwrap()) % bound
}

/// A server that answers, stalls, closes, resets and breaks off, by turns.
fn unreliable() -> Origin {
    let step = AtomicU64::new(0);
    let body = noise(300_000, SEED);
    Origin::start(move |exchange| {
        if exchange.request.target == "/good" {
            return exchange.reply(200, &[], b"good");
        }
        match chance(step.fetch_add(1, Ordering::SeqCst), 9) {
            0 => Ok(After::Close),
            1 => Ok(After::Reset),
            2 => Ok(After::Stall),
            3 => exchange
                .send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                .map(|()| After::Reset),
            4 => exchange
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal")
                .map(|()| After::Close),
            5 => exchange.send("garbage\0\r\n\r\n").map(|()| After::Close),
            6 => {
                exchange.body()?;
                exchange.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                exchange.send(&body).map(|()| After::Close)
            }
            _ => {
                exchange.body()?;
                exchange.reply(200, &[], &body)
            }
        }
    })
}

/// Sends part of a request, perhaps takes part of the answer, and goes, in one of the ways clients go.
fn misbehave(address: std::net::SocketAddr, step: u64) -> std::io::Result<()> {
    let request = match chance(step, 4) {
        0 => b"GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        1 => [
            b"POST /c HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n".as_slice(),
            &noise(100_000, step),
        ]
        .concat(),
        2 => b"POST /d HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
        _ => b"GET /e HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_vec(),
    };
    let mut client = Client::connect(address)?;
    client.stream().set_read_timeout(Some(Duration::from_millis(200)))?;
    let cut = usize::try_from(chance(step + 1, request.len() as u64 + 1)).unwrap_or(0);
    let sent = if chance(step + 2, 2) == 0 { request.len() } else { cut };
    client.send(&request[..sent])?;
    match chance(step + 3, 3) {
        0 => {}
        1 => drop(client.receive_bytes(usize::try_from(chance(step + 4, 5_000)).unwrap_or(0))),
        _ => drop(client.receive()),
    }
    Ok(())
}

/// Lets eight clients misbehave forty times each.
fn rampage(address: std::net::SocketAddr, round: u64) {
    let vandal = |vandal: u64| {
        thread::spawn(move || {
            for step in 0..40 {
                // Whatever the proxy does to such a client is fine here; what stays behind is what counts.
                let _ = misbehave(address, round * 100_000_000 + vandal * 1_000_000 + step * 10);
            }
        })
    };
    let vandals = (0..8).map(vandal).collect::<Vec<_>>();
    vandals.into_iter().for_each(|vandal| vandal.join().unwrap());
}

fn gauges_are_zero(isobar: &Isobar) -> bool {
    let metrics = isobar.metrics();
    let names = [
        "isobar_server_in_flight",
        "isobar_upstream_queued",
        "isobar_listener_connections",
    ];
    names.iter().all(|name| metrics.sum(name, &[]) == Some(0.0))
}

#[test]
fn nothing_leaks_after_chaos() {
    let origins = [unreliable(), unreliable(), unreliable()];
    let mut configuration = Configuration::default()
        .upstream("timeouts: { connect: 300ms, send: 500ms, read: 300ms }\nqueue: { max: 20, timeout: 300ms }")
        .upstream("keep_alive: { max_idle: 4, idle_timeout: 500ms }")
        .listener("timeouts: { idle: 1s, head: 500ms, body: 500ms, write: 500ms }");
    for origin in &origins {
        configuration = configuration.server(format!("{{ address: \"{}\", max_connections: 10 }}", origin.address()));
    }
    let isobar = binary!().run(&configuration);
    assert_eq!(get(isobar.address(), "/good").unwrap().status, 200);
    eventually("it is at rest", || {
        gauges_are_zero(&isobar) && origins.iter().all(|o| o.connections_open() == 0)
    });
    // Warm pools of connections and pipes are no leak; what grows from one rampage to the next is.
    let rest_after = |rounds: std::ops::Range<u64>| {
        rounds.for_each(|round| rampage(isobar.address(), round));
        eventually("every gauge is back to zero", || gauges_are_zero(&isobar));
        eventually("every connection to a server is closed", || {
            origins.iter().all(|o| o.connections_open() == 0)
        });
        isobar.process().descriptors().unwrap()
    };
    let warm = rest_after(0..2);
    let later = rest_after(2..5);
    assert!(
        later <= warm + 8,
        "{warm} descriptors after two rampages, {later} after five; seed {SEED:#x}"
    );
    for _ in 0..20 {
        assert_eq!(get(isobar.address(), "/good").unwrap().status, 200, "seed {SEED:#x}");
    }
}

#[test]
fn memory_does_not_grow_with_connections_that_are_gone() {
    let origin = Origin::named("a");
    let isobar = binary!().run(&Configuration::to(&[origin.address()]));
    let one_each = LoadOptions {
        clients: 8,
        per_connection: 1,
        ..LoadOptions::default()
    };
    let measure = |requests: u64| {
        let load = Load::start(isobar.address(), &one_each);
        load.passes(requests);
        load.finish().assert_flawless();
        isobar.process().resident_bytes().unwrap()
    };
    let warm = measure(1_000);
    let later = measure(5_000);
    assert!(
        later < warm + (8 << 20),
        "{warm} bytes after 1,000 connections, {later} after 6,000"
    );
}
