//! Do places, the queue for them and reloads keep their promises, from one thread and from many?

mod connections;
mod fair;
mod limits;
mod line;
mod order;
mod placement;
mod plain;
mod queue;
mod reload;
mod service;
mod threads;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use isobar_balance::{Chance, Otherwise};
use isobar_plan::{
    Balance, HealthCheck, HealthProbe, HealthState, Priority, Server, ServerAddress, Upstream as Settings,
};
use isobar_upstream::{Ask, Displaced, Home, Local, Place, ProbeOutcome, QueueFull, Refusal, Retire, Ticket, Upstream};

pub(crate) use plain::{server, settings};

fn upstream(servers: Vec<Server>) -> Arc<Upstream> {
    Arc::new(Upstream::new(settings(servers), 1))
}

fn place(local: &Local<()>) -> Result<Place<()>, Refusal> {
    local.view().place(&Ask::default(), &mut Chance::new(1))
}

/// A request in the queue, polled by hand.
#[derive(Debug)]
struct Waiting {
    woken: Arc<Woken>,
    waker: Waker,
    avoid: Vec<Arc<isobar_upstream::Server>>,
    home: Option<(Arc<isobar_upstream::Server>, Otherwise)>,
    priority: Priority,
    ticket: Ticket<Arc<Upstream>>,
}

/// Counts how often it is woken.
#[derive(Debug, Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Waiting {
    fn join(upstream: &Arc<Upstream>) -> Self {
        Self::avoiding(upstream, &[])
    }

    /// Joins with a priority.
    fn with(upstream: &Arc<Upstream>, priority: Priority) -> Result<Self, QueueFull> {
        let ask = Ask {
            priority,
            ..Ask::default()
        };
        Self::asking(upstream, &ask)
    }

    /// Joins as a retry that servers of these names failed.
    fn avoiding(upstream: &Arc<Upstream>, names: &[&str]) -> Self {
        Self::of_session(upstream, names, None)
    }

    /// Joins as one that servers of these names failed, and that belongs to a server.
    fn of_session(upstream: &Arc<Upstream>, names: &[&str], home: Option<(&str, Otherwise)>) -> Self {
        let members = upstream.members();
        let home = home.map(|(name, otherwise)| {
            let server = members.servers.iter().find(|server| &**server.name() == name);
            (Arc::clone(server.unwrap()), otherwise)
        });
        let is_avoided = |server: &&Arc<isobar_upstream::Server>| names.contains(&&**server.name());
        let avoid: Vec<_> = upstream.members().servers.iter().filter(is_avoided).cloned().collect();
        Self::asking(upstream, &asking(&avoid, home.as_ref())).unwrap()
    }

    fn asking(upstream: &Arc<Upstream>, ask: &Ask<'_>) -> Result<Self, QueueFull> {
        let queue = upstream.members().settings.queue;
        let ticket = Ticket::join(Arc::clone(upstream), &queue, ask)?;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut waiting = Self {
            woken,
            waker,
            avoid: ask.avoid.to_vec(),
            home: ask.home.map(|home| (Arc::clone(home.server), home.otherwise)),
            priority: ask.priority,
            ticket,
        };
        // Leaves the waker, as a task that waits does.
        waiting.is_called();
        Ok(waiting)
    }

    fn is_called(&mut self) -> bool {
        matches!(self.poll(), Poll::Ready(Ok(())))
    }

    fn is_displaced(&mut self) -> bool {
        self.displaced().is_some()
    }

    fn displaced(&mut self) -> Option<Displaced> {
        match self.poll() {
            Poll::Ready(Err(displaced)) => Some(displaced),
            _ => None,
        }
    }

    fn poll(&mut self) -> Poll<Result<(), Displaced>> {
        self.ticket.poll_turn(&mut Context::from_waker(&self.waker))
    }

    fn woken(&self) -> u32 {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Looks for a place, which only who is called may; with none the waiting goes on.
    fn look(mut self, local: &Local<()>) -> Result<Place<()>, (Refusal, Self)> {
        assert!(self.is_called());
        let ask = Ask {
            priority: self.priority,
            ..asking(&self.avoid, self.home.as_ref())
        };
        match local.view().place(&ask, &mut Chance::new(1)) {
            Ok(mut place) => {
                place.counts_for(self.ticket.served(Instant::now()));
                Ok(place)
            }
            Err(refusal) => {
                self.ticket.missed();
                Err((refusal, self))
            }
        }
    }
}

fn asking<'a>(
    avoid: &'a [Arc<isobar_upstream::Server>],
    home: Option<&'a (Arc<isobar_upstream::Server>, Otherwise)>,
) -> Ask<'a> {
    Ask {
        home: home.map(|(server, otherwise)| Home {
            server,
            otherwise: *otherwise,
        }),
        ..Ask::avoiding(avoid)
    }
}

/// Which of them are called, by index.
fn called(waiting: &mut [Waiting]) -> Vec<usize> {
    let indices = waiting
        .iter_mut()
        .enumerate()
        .filter_map(|(index, waiting)| waiting.is_called().then_some(index));
    indices.collect()
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

/// Keeps nothing but whether it should.
#[derive(Debug, Default)]
struct Kept(Cell<bool>);

impl Retire for Kept {
    fn retire(&self) {
        self.0.set(true);
    }
}

#[test]
fn what_a_worker_keeps_for_a_server_ends_with_it_also_while_a_place_lasts() {
    let upstream = upstream(vec![server("a", None)]);
    let local = Local::<Kept>::new(Arc::clone(&upstream));
    let tunnel = local.view().place(&Ask::default(), &mut Chance::new(1)).unwrap();
    let is_retired = |place: &Place<Kept>| place.server().own.0.get();
    upstream.refresh();
    upstream.reconfigure(settings(vec![server("b", None), server("a", Some(2))]));
    local.view();
    assert!(!is_retired(&tunnel), "a stays, in another slot");
    upstream.reconfigure(settings(vec![server("b", None)]));
    local.view();
    assert!(is_retired(&tunnel));
    let other = local.view().place(&Ask::default(), &mut Chance::new(1)).unwrap();
    assert!(!is_retired(&other), "b stays");
    // Both at once: servers that nobody here has looked at yet leave with their upstream.
    upstream.reconfigure(settings(vec![server("c", None)]));
    local.retire();
    assert!(is_retired(&other));
    let late = local.view().place(&Ask::default(), &mut Chance::new(1)).unwrap();
    assert!(is_retired(&late), "c left with its upstream");
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
            let place = view.place(&Ask::avoiding(std::slice::from_ref(&failed)), &mut chance);
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
    let check = Arc::new(HealthCheck {
        proxy_protocol: None,
        name: "tcp".into(),
        port: None,
        tls: None,
        probe: HealthProbe::Tcp(Vec::new()),
        interval: second,
        timeout: second,
        rise: 2,
        fall: 1,
    });
    let named = Server {
        address: ServerAddress::Name("db.internal".into(), 5),
        ..server("n", None)
    };
    let upstream = Arc::new(Upstream::new(
        Settings {
            health: vec![Arc::clone(&check)],
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
    let transition = server.probed(&check, failed).unwrap().server.unwrap();
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
    assert!(server.probed(&check, good.clone()).is_none() && server.probed(&check, good).is_some());
    assert!(available());
    assert!(server.resolved(Err("no such name".into())));
    assert!(!available());
    assert!(!server.resolved(Ok(vec![])), "still down");
}
