//! Do places, the queue for them and reloads keep their promises, from one thread and from many?

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use isobar_balance::Chance;
use isobar_plan::{
    Balance, HealthCheck, HealthProbe, HealthState, KeepAlive, Queue, Retry, Server, ServerAddress, Timeouts,
    Upstream as Settings,
};
use isobar_upstream::{Local, Place, ProbeOutcome, Refusal, Ticket, Upstream};

fn server(name: &str, max_connections: Option<u32>) -> Server {
    let address = ServerAddress::Socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    Server {
        name: name.into(),
        address,
        weight: 1,
        max_connections,
        backup: false,
    }
}

fn settings(servers: Vec<Server>) -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        name: "api".into(),
        balance: Balance::LeastConnections,
        servers,
        health: None,
        timeouts: Timeouts {
            connect: second,
            send: second,
            read: second,
            idle: second,
        },
        keep_alive: KeepAlive {
            max_idle: 1,
            idle_timeout: second,
        },
        queue: Queue {
            max: 100,
            timeout: second,
        },
        retry: Retry { attempts: 1 },
    }
}

fn upstream(servers: Vec<Server>) -> Arc<Upstream> {
    Arc::new(Upstream::new(settings(servers), 1))
}

fn place(local: &Local<()>) -> Result<Place<()>, Refusal> {
    local.view().place(&[], &mut Chance::new(1))
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Waiting {
    woken: Arc<Woken>,
    waker: Waker,
    ticket: Ticket<Arc<Upstream>>,
}

impl Waiting {
    /// Joins, and uses up the one look that a newcomer has.
    fn join(upstream: &Arc<Upstream>) -> Self {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut waiting = Self {
            woken,
            waker,
            ticket: Ticket::join(Arc::clone(upstream), 100).unwrap(),
        };
        assert!(waiting.is_called(), "a newcomer looks once");
        waiting.ticket.missed();
        assert!(!waiting.is_called(), "and then waits");
        waiting
    }

    fn is_called(&mut self) -> bool {
        self.ticket.poll_turn(&mut Context::from_waker(&self.waker)).is_ready()
    }

    fn woken(&self) -> u32 {
        self.woken.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_place_is_given_back_however_it_is_lost() {
    let upstream = upstream(vec![server("a", Some(1))]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let first = place(&local).unwrap();
    assert_eq!(upstream.status().servers[0].in_flight, 1);
    assert_eq!(place(&local).unwrap_err(), Refusal::Full);
    drop(first);
    assert_eq!(upstream.status().servers[0].in_flight, 0);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _place = place(&local).unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(upstream.status().servers[0].in_flight, 0);
}

#[test]
fn first_come_first_served() {
    let upstream = upstream(vec![server("a", Some(1))]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let held = place(&local).unwrap();
    let (mut first, mut second) = (Waiting::join(&upstream), Waiting::join(&upstream));
    assert_eq!(upstream.status().queued, 2);
    drop(held);
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert!(first.is_called());
    assert!(!second.is_called());
    let taken = place(&local).unwrap();
    first.ticket.served();
    assert_eq!(upstream.status().queued, 1);
    drop(taken);
    assert!(second.is_called());
}

#[test]
fn a_call_that_is_not_used_goes_to_the_next() {
    let upstream = upstream(vec![server("a", Some(1))]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let held = place(&local).unwrap();
    let (mut first, mut second, third) = (
        Waiting::join(&upstream),
        Waiting::join(&upstream),
        Waiting::join(&upstream),
    );
    drop(held);
    drop(first.ticket);
    assert_eq!(
        (second.woken(), third.woken()),
        (1, 0),
        "called, but left before it looked"
    );
    assert!(second.is_called());
    drop(second.ticket);
    assert_eq!(third.woken(), 1, "called, looked, and left");
    first = third;
    assert!(first.is_called());
    assert_eq!(upstream.status().queued, 0);
}

#[test]
fn who_misses_goes_back_to_the_front() {
    let upstream = upstream(vec![server("a", Some(1))]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let held = place(&local).unwrap();
    let (mut first, mut second) = (Waiting::join(&upstream), Waiting::join(&upstream));
    drop(held);
    assert!(first.is_called());
    let thief = place(&local).unwrap();
    first.ticket.missed();
    assert!(first.is_called(), "one look after the return to the line");
    first.ticket.missed();
    assert!(!first.is_called());
    drop(thief);
    assert!(first.is_called());
    assert!(!second.is_called());
}

#[test]
fn a_full_queue_takes_no_more() {
    let upstream = upstream(vec![server("a", Some(1))]);
    let _one = Ticket::join(Arc::clone(&upstream), 1).unwrap();
    assert!(Ticket::join(Arc::clone(&upstream), 1).is_err());
    assert!(Ticket::join(Arc::clone(&upstream), 0).is_err());
}

#[test]
fn a_reload_keeps_counters_and_calls_the_queue() {
    let upstream = upstream(vec![server("a", Some(1)), server("b", Some(1))]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let held = [place(&local).unwrap(), place(&local).unwrap()];
    let mut waiting = Waiting::join(&upstream);
    let before = local.view();
    upstream.reconfigure(settings(vec![server("c", None), server("a", Some(2))]));
    let after = local.view();
    assert!(Rc::ptr_eq(&before.servers()[0], &after.servers()[1]), "a stays itself");
    assert!(waiting.is_called());
    let status = upstream.status().servers;
    assert_eq!(
        status.iter().map(|s| (&*s.name, s.in_flight)).collect::<Vec<_>>(),
        [("c", 0), ("a", 1)]
    );
    drop(held);
    assert_eq!(upstream.status().servers[1].in_flight, 0);
    assert_eq!(
        before.servers()[1].server.state().in_flight(),
        0,
        "a place at a server that left is given back too"
    );
}

#[test]
fn a_retry_avoids_the_server_that_failed_wherever_a_reload_puts_it() {
    let upstream = upstream(vec![server("a", None), server("b", None)]);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let failed = Arc::clone(&place(&local).unwrap().server().server);
    let other = if &**failed.name() == "a" { "b" } else { "a" };
    let check = |servers: Vec<Server>, expected: Result<&str, Refusal>| {
        upstream.reconfigure(settings(servers));
        let view = local.view();
        let mut chance = Chance::new(1);
        for _ in 0..8 {
            let place = view.place(std::slice::from_ref(&failed), &mut chance);
            assert_eq!(
                place.map(|place| place.server().server.name().to_string()),
                expected.map(str::to_owned)
            );
        }
    };
    check(vec![server("a", None), server("b", None)], Ok(other));
    check(vec![server("b", None), server("a", None)], Ok(other));
    check(vec![server("new", None), server(failed.name(), None)], Ok("new"));
    check(vec![server(failed.name(), None)], Err(Refusal::NoneAvailable));
    check(vec![server("new", None)], Ok("new"));
    // The same name once more, but not the same server: it did not fail anybody yet.
    check(vec![server(failed.name(), None)], Ok(failed.name()));
}

#[test]
fn health_and_addresses_decide_who_is_available() {
    let second = Duration::from_secs(1);
    let check = HealthCheck {
        probe: HealthProbe::Tcp,
        interval: second,
        timeout: second,
        rise: 2,
        fall: 1,
    };
    let named = Server {
        address: ServerAddress::Name("db.internal".into(), 5),
        ..server("n", None)
    };
    let upstream = Arc::new(Upstream::new(
        Settings {
            health: Some(check),
            ..settings(vec![named])
        },
        1,
    ));
    let local = Local::<()>::new(Arc::clone(&upstream));
    let server = Arc::clone(&upstream.members().servers[0]);
    let available = || {
        upstream.refresh();
        place(&local).is_ok()
    };
    assert!(!available(), "not resolved yet");
    assert!(server.resolved(Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5))])));
    assert!(available(), "unknown health takes requests");
    let failed = ProbeOutcome {
        result: Err("refused".into()),
        took: second,
    };
    let transition = server.probed(failed.clone()).unwrap();
    assert_eq!(
        (transition.from, transition.to),
        (HealthState::Unknown, HealthState::Unhealthy)
    );
    assert!(!available());
    assert_eq!(upstream.status().servers[0].reason, "refused");
    let good = ProbeOutcome {
        result: Ok(()),
        took: second,
    };
    assert!(server.probed(good.clone()).is_none() && server.probed(good).is_some());
    assert!(available());
    assert!(server.resolved(Err("no such name".into())));
    assert!(!available());
    assert!(!server.resolved(Ok(vec![])), "still down");
}

/// Runs a future on this thread, parking while it waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let parked = std::time::Instant::now();
        std::thread::park_timeout(Duration::from_secs(10));
        assert!(
            parked.elapsed() < Duration::from_secs(10),
            "a place was free and nobody was called"
        );
    }
}

async fn wait_for_place(local: &Local<()>, upstream: &Arc<Upstream>) -> Place<()> {
    if !upstream.has_queue()
        && let Ok(place) = place(local)
    {
        return place;
    }
    let mut ticket = Ticket::join(Arc::clone(upstream), 100).unwrap();
    let taken = poll_fn(|cx| {
        while ticket.poll_turn(cx).is_ready() {
            match place(local) {
                Ok(place) => return Poll::Ready(place),
                Err(_) => ticket.missed(),
            }
        }
        Poll::Pending
    })
    .await;
    ticket.served();
    taken
}

#[test]
fn nobody_sleeps_while_a_place_is_free_and_the_limit_holds() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 3000;
    let upstream = upstream(vec![server("a", Some(1)), server("b", Some(1))]);
    let busy = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (upstream, busy) = (&upstream, &busy);
            scope.spawn(move || {
                let local = Local::<()>::new(Arc::clone(upstream));
                for round in 0..ROUNDS {
                    let place = block_on(wait_for_place(&local, upstream));
                    assert!(busy.fetch_add(1, Ordering::SeqCst) < 2, "more places than there are");
                    if (round + thread) % 7 == 0 {
                        std::thread::yield_now();
                    }
                    busy.fetch_sub(1, Ordering::SeqCst);
                    drop(place);
                }
            });
        }
    });
    let status = upstream.status();
    assert_eq!(status.queued, 0);
    assert!(status.servers.iter().all(|server| server.in_flight == 0));
}
