//! Is everybody who waits called in time, in order, and not for nothing?

use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_balance::Otherwise;
use isobar_plan::{HealthCheck, HealthProbe, Priority, Queue, Server};
use isobar_upstream::{Ask, Local, Place, ProbeOutcome, Refusal, Ticket, Upstream};

use crate::line::sticky;
use crate::{Waiting, called, place, server, settings, upstream};

/// An upstream whose servers are all full, and the places at them, in the order of the servers' names.
fn full(servers: Vec<Server>) -> (Arc<Upstream>, Local<()>, Vec<Place<()>>) {
    let upstream = upstream(servers);
    let local = Local::<()>::new(Arc::clone(&upstream));
    let mut held: Vec<_> = std::iter::from_fn(|| place(&local).ok()).collect();
    held.sort_by_key(|place| place.server().server.name().to_string());
    (upstream, local, held)
}

#[test]
fn first_come_first_served() {
    let (upstream, local, mut held) = full(vec![server("a", Some(1))]);
    let (mut first, mut second) = (Waiting::join(&upstream), Waiting::join(&upstream));
    assert_eq!(upstream.status().queued, 2);
    assert!(!first.is_called() && !second.is_called());
    held.clear();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    let taken = first.look(&local).unwrap();
    assert!(!second.is_called());
    assert_eq!(upstream.status().queued, 1);
    drop(taken);
    let _taken = second.look(&local).unwrap();
    assert_eq!(upstream.status().queued, 0);
    assert!(!upstream.has_queue(Priority::Normal));
}

#[test]
fn a_call_that_is_not_used_goes_to_the_next() {
    let (upstream, _, mut held) = full(vec![server("a", Some(1))]);
    let [first, mut second, mut third] = [(); 3].map(|()| Waiting::join(&upstream));
    held.clear();
    drop(first);
    assert_eq!(
        (second.woken(), third.woken()),
        (1, 0),
        "called, but left before it looked"
    );
    assert!(second.is_called());
    drop(second);
    assert_eq!(third.woken(), 1, "called, looked, and left");
    assert!(third.is_called());
    drop(third);
    assert_eq!(upstream.status().queued, 0);
}

#[test]
fn who_misses_keeps_its_place_in_the_line() {
    let (upstream, local, mut held) = full(vec![server("a", Some(1))]);
    let [first, mut second] = [(); 2].map(|()| Waiting::join(&upstream));
    held.clear();
    let thief = place(&local).unwrap();
    let (refusal, mut first) = first.look(&local).unwrap_err();
    assert_eq!(refusal, Refusal::Full);
    assert!(!first.is_called() && !second.is_called());
    drop(thief);
    assert!(first.is_called() && !second.is_called());
}

#[test]
fn who_misses_is_called_for_a_place_given_back_before_it_sleeps_again() {
    let (upstream, local, mut held) = full(vec![server("a", Some(1))]);
    let mut waiting = Waiting::join(&upstream);
    held.clear();
    assert!(waiting.is_called());
    let thief = place(&local).unwrap();
    assert!(place(&local).is_err(), "its look");
    drop(thief);
    waiting.ticket.missed();
    assert!(waiting.look(&local).is_ok());
}

#[test]
fn a_place_given_back_just_before_somebody_joins_is_seen() {
    let upstream = upstream(vec![server("a", Some(1))]);
    let mut waiting = Waiting::join(&upstream);
    assert!(waiting.is_called());
}

#[test]
fn newcomers_do_not_overtake_who_is_called_and_has_not_run_yet() {
    let (upstream, local, mut held) = full(vec![server("a", Some(1))]);
    let first = Waiting::join(&upstream);
    held.clear();
    assert!(upstream.has_queue(Priority::Normal), "a newcomer joins");
    let mut newcomer = Waiting::join(&upstream);
    assert!(!newcomer.is_called());
    let taken = first.look(&local).unwrap();
    assert!(!newcomer.is_called());
    drop(taken);
    assert!(newcomer.is_called());
}

#[test]
fn reloads_and_transitions_keep_the_order() {
    let (upstream, local, mut held) = full(vec![server("a", Some(1))]);
    let mut waiting = Vec::from([(); 4].map(|()| Waiting::join(&upstream)));
    for _ in 0..3 {
        upstream.refresh();
        upstream.reconfigure(settings(vec![server("a", Some(1))]));
        assert_eq!(called(&mut waiting), [], "nothing became free");
    }
    while !waiting.is_empty() {
        held.clear();
        assert_eq!(called(&mut waiting), [0]);
        held.push(waiting.remove(0).look(&local).unwrap());
        upstream.refresh();
        assert_eq!(called(&mut waiting), []);
    }
}

#[test]
fn as_many_are_called_as_there_are_places() {
    let (upstream, local, _held) = full(vec![server("a", Some(1))]);
    let mut waiting = Vec::from([(); 5].map(|()| Waiting::join(&upstream)));
    upstream.reconfigure(settings(vec![server("a", Some(3)), server("b", Some(1))]));
    assert_eq!(called(&mut waiting), [0, 1, 2]);
    let _taken: Vec<_> = waiting
        .drain(..3)
        .map(|waiting| waiting.look(&local).unwrap())
        .collect();
    assert_eq!(called(&mut waiting), []);
    upstream.reconfigure(settings(vec![server("a", None)]));
    assert_eq!(called(&mut waiting), [0, 1]);
}

#[test]
fn a_place_that_a_retry_may_not_use_goes_to_the_next() {
    let (upstream, local, mut held) = full(vec![server("x", Some(1)), server("y", Some(1))]);
    let mut retry = Waiting::avoiding(&upstream, &["x"]);
    let other = Waiting::join(&upstream);
    drop(held.remove(0));
    assert!(!retry.is_called());
    held.push(other.look(&local).unwrap());
    assert!(!retry.is_called());
    drop(held.remove(0));
    assert_eq!(&**retry.look(&local).unwrap().server().server.name(), "y");
}

#[test]
fn a_retry_that_misses_leaves_what_it_may_not_use_to_the_next() {
    let (upstream, local, mut held) = full(vec![server("x", Some(1)), server("y", Some(1))]);
    let retry = Waiting::avoiding(&upstream, &["x"]);
    let mut other = Waiting::join(&upstream);
    drop(held.remove(1));
    let thief = place(&local).unwrap();
    drop(held.remove(0));
    let (refusal, mut retry) = retry.look(&local).unwrap_err();
    assert_eq!(refusal, Refusal::Full);
    assert!(!retry.is_called());
    assert!(other.is_called());
    let _x = other.look(&local).unwrap();
    assert!(!retry.is_called());
    drop(thief);
    assert!(retry.look(&local).is_ok());
}

#[test]
fn two_that_may_not_use_what_is_free_do_not_call_each_other() {
    let (upstream, _local, mut held) = full(vec![server("x", Some(1)), server("y", Some(1))]);
    let (first, second) = (
        Waiting::avoiding(&upstream, &["x"]),
        Waiting::avoiding(&upstream, &["x"]),
    );
    drop(held.remove(0));
    upstream.refresh();
    assert_eq!((first.woken(), second.woken()), (0, 0));
}

#[test]
fn newcomers_may_use_what_every_sleeper_avoids() {
    let (upstream, local, mut held) = full(vec![server("x", Some(1)), server("y", Some(1))]);
    let _retry = Waiting::avoiding(&upstream, &["x"]);
    drop(held.remove(0));
    assert!(!upstream.has_queue(Priority::Normal));
    let _x = place(&local).unwrap();
    let _other = Waiting::join(&upstream);
    assert!(upstream.has_queue(Priority::Normal));
}

#[test]
fn backups_are_for_those_whom_every_primary_failed() {
    let backup = Server {
        backup: true,
        ..server("b", Some(1))
    };
    let (upstream, local, _held) = full(vec![server("a", Some(1)), backup]);
    let mut other = Waiting::join(&upstream);
    let mut retry = Waiting::avoiding(&upstream, &["a"]);
    assert!(!other.is_called());
    let taken = retry.look(&local).unwrap();
    retry = Waiting::avoiding(&upstream, &["a"]);
    assert!(!retry.is_called());
    drop(taken);
    assert!(retry.is_called() && !other.is_called());
}

#[test]
fn who_would_wait_for_nothing_is_told() {
    let second = Duration::from_secs(1);
    let check = Arc::new(HealthCheck {
        proxy_protocol: None,
        name: "tcp".into(),
        port: None,
        tls: None,
        probe: HealthProbe::Tcp(Vec::new()),
        interval: second,
        timeout: second,
        rise: 1,
        fall: 1,
    });
    let mut settings = settings(vec![server("a", Some(1)), server("b", Some(1))]);
    settings.health = vec![Arc::clone(&check)];
    let upstream = Arc::new(Upstream::new(settings, 1));
    let local = Local::<()>::new(Arc::clone(&upstream));
    let _held = [place(&local).unwrap(), place(&local).unwrap()];
    let mut waiting = vec![Waiting::join(&upstream), Waiting::avoiding(&upstream, &["b"])];
    let fail = |index: usize| {
        let outcome = ProbeOutcome {
            result: Err("refused".into()),
            took: second,
        };
        upstream.members().servers[index].probed(&check, outcome).unwrap();
        upstream.refresh();
    };
    fail(0);
    assert_eq!(called(&mut waiting), [1], "the retry has no server left");
    fail(1);
    assert_eq!(called(&mut waiting), [0, 1]);
    for waiting in waiting {
        assert_eq!(waiting.look(&local).unwrap_err().0, Refusal::NoneAvailable);
    }
}

#[test]
fn a_full_queue_takes_no_more() {
    let (upstream, local, mut held) = full(vec![server("a", Some(1))]);
    let joins = |max| {
        let queue = Queue {
            max,
            ..upstream.members().settings.queue
        };
        Ticket::join(Arc::clone(&upstream), &queue, &Ask::default()).is_ok()
    };
    let first = Waiting::join(&upstream);
    assert!(!joins(0) && !joins(1) && joins(2));
    held.clear();
    assert!(!joins(1), "who is called still waits");
    held.push(first.look(&local).unwrap());
    assert!(joins(1));
}

/// A session's wait is no reason for others to wait, nor for its server's places to go to those who come later.
#[test]
fn a_session_waits_for_its_own_server_only() {
    let upstream = Arc::new(Upstream::new(
        sticky(vec![server("a", Some(1)), server("b", Some(2))]),
        1,
    ));
    let local = Local::new(Arc::clone(&upstream));
    let [a, b] = ["a", "b"].map(|name| {
        let members = upstream.members();
        let found = members.servers.iter().find(|server| &**server.name() == name);
        Arc::clone(found.unwrap())
    });
    let join = |name| Waiting::of_session(&upstream, &[], Some((name, Otherwise::Balance)));
    let place_at_a = join("a").look(&local).unwrap();
    let mut waiting = vec![join("a"), join("a"), join("b")];
    assert_eq!(called(&mut waiting), [2], "there is room at b");
    let place_at_b = waiting.pop().unwrap().look(&local).unwrap();
    assert_eq!(&**place_at_b.server().server.name(), "b");
    assert!(!upstream.has_queue(Priority::Normal), "others need not wait");
    assert!(upstream.has_queue_for(&a, Priority::Normal), "who belongs to a does");
    assert!(!upstream.has_queue_for(&b, Priority::Normal));
    drop(place_at_b);
    assert_eq!(
        called(&mut waiting),
        [] as [usize; 0],
        "a place at b is of no use to them"
    );
    drop(place_at_a);
    assert_eq!(called(&mut waiting), [0], "the first of them goes first");
    let second = waiting.pop().unwrap();
    let place = waiting.pop().unwrap().look(&local).unwrap();
    assert_eq!(&**place.server().server.name(), "a");
    drop(second);
    assert!(!upstream.has_queue_for(&a, Priority::Normal), "nobody waits any more");
}

/// Its server goes down, or leaves, while a session waits for it: it is told at once.
#[test]
fn a_session_does_not_wait_for_a_server_that_is_gone() {
    use isobar_balance::Otherwise::{Balance, Refuse};
    let second = Duration::from_secs(1);
    let servers = || vec![server("a", Some(1)), server("b", None)];
    let mut settings = sticky(servers());
    let check = Arc::new(HealthCheck {
        proxy_protocol: None,
        name: "tcp".into(),
        port: None,
        tls: None,
        probe: HealthProbe::Tcp(Vec::new()),
        interval: second,
        timeout: second,
        rise: 1,
        fall: 1,
    });
    settings.health = vec![Arc::clone(&check)];
    let wait = || {
        let upstream = Arc::new(Upstream::new(settings.clone(), 1));
        let local = Local::new(Arc::clone(&upstream));
        let join = |otherwise| Waiting::of_session(&upstream, &[], Some(("a", otherwise)));
        let held = join(Balance).look(&local).unwrap();
        let mut waiting = vec![join(Balance), join(Refuse)];
        assert_eq!(called(&mut waiting), [] as [usize; 0]);
        (upstream, local, held, waiting)
    };

    let (upstream, local, held, mut waiting) = wait();
    let outcome = ProbeOutcome {
        result: Err("refused".into()),
        took: second,
    };
    upstream.members().servers[0].probed(&check, outcome).unwrap();
    upstream.refresh();
    assert_eq!(called(&mut waiting), [0, 1]);
    let strict = waiting.pop().unwrap().look(&local);
    assert_eq!(strict.unwrap_err().0, Refusal::NoneAvailable);
    let moved = waiting.pop().unwrap().look(&local).unwrap();
    assert_eq!(&**moved.server().server.name(), "b");
    drop((held, moved));
    assert_eq!(upstream.status().queued, 0);

    let (upstream, local, held, mut waiting) = wait();
    let mut rest = settings.clone();
    rest.servers.remove(0);
    upstream.reconfigure(rest);
    assert_eq!(called(&mut waiting), [0, 1], "who left does not come back");
    for waiting in waiting {
        let place = waiting.look(&local).unwrap();
        assert_eq!(&**place.server().server.name(), "b");
    }
    drop(held);
    assert_eq!(upstream.status().queued, 0);
}

/// Those who wait for one server cost nobody at another anything. In a debug build it takes 1 s, and over a minute where each
/// release looks at all who wait before.
#[test]
fn who_waits_for_one_server_does_not_slow_the_others_down() {
    const WAITING: usize = 20_000;
    let mut settings = sticky(vec![server("a", Some(1)), server("b", Some(1))]);
    settings.queue.max = u32::MAX;
    let upstream = Arc::new(Upstream::new(settings, 1));
    let local = Local::<()>::new(Arc::clone(&upstream));
    let held = [place(&local).unwrap(), place(&local).unwrap()];
    let began = Instant::now();
    let mut waiting: Vec<_> = (0..WAITING)
        .map(|_| Waiting::of_session(&upstream, &[], Some(("a", Otherwise::Balance))))
        .collect();
    let (mut of_a, mut of_b): (Vec<_>, Vec<_>) = held
        .into_iter()
        .partition(|place| &**place.server().server.name() == "a");
    for _ in 0..WAITING {
        let other = Waiting::of_session(&upstream, &[], Some(("b", Otherwise::Balance)));
        of_b.clear();
        of_b.push(other.look(&local).unwrap());
    }
    assert!(called(&mut waiting).is_empty());
    of_a.clear();
    assert_eq!(called(&mut waiting), [0], "its own server is another matter");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}
