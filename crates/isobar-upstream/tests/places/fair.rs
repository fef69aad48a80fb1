//! Is what there is divided fairly between those who wait for it, and nothing else done about them?

use std::sync::Arc;
use std::time::Duration;

use isobar_balance::Moment;
use isobar_plan::{FairShare, FairStatus, HashPart, LimitKey, Priority, QueueOrder};
use isobar_upstream::{Ask, Displaced, Local, Place, QueueFull, Share, Upstream};

use crate::{Waiting, place, server, settings};

use Priority::{Critical, Low, Normal};

struct Queue {
    upstream: Arc<Upstream>,
    local: Local<()>,
    held: Vec<Place<()>>,
}

const fn share(key: u64) -> Option<Share> {
    Some(Share { key, weight: 1 })
}

fn fair(places: u32, max: u32) -> isobar_plan::Upstream {
    let mut settings = settings(vec![server("a", Some(places))]);
    settings.queue.max = max;
    settings.fair_share = Some(Arc::new(FairShare {
        key: vec![LimitKey::Part(HashPart::Header("x-customer".into()))],
        weights: Vec::new(),
        weights_file: None,
        weights_read: Arc::new([]),
    }));
    settings
}

impl Queue {
    /// An upstream with so many places, which are taken.
    fn new(places: u32, max: u32) -> Self {
        Self::with(fair(places, max))
    }

    fn with(settings: isobar_plan::Upstream) -> Self {
        let upstream = Arc::new(Upstream::new(settings, 1));
        let local = Local::new(Arc::clone(&upstream));
        let held = std::iter::from_fn(|| place(&local).ok()).collect();
        Self { upstream, local, held }
    }

    fn ask(&self, share: Option<Share>, priority: Priority) -> Result<Waiting, QueueFull> {
        let ask = Ask {
            priority,
            share,
            ..Ask::default()
        };
        Waiting::asking(&self.upstream, &ask)
    }

    fn join(&self, key: u64) -> Waiting {
        self.ask(share(key), Normal).unwrap()
    }

    /// As many join with each of these keys.
    fn all(&self, keys: &[(u64, usize)]) -> Vec<(u64, Waiting)> {
        let each = keys.iter().flat_map(|&(key, count)| (0..count).map(move |_| key));
        each.map(|key| (key, self.join(key))).collect()
    }

    fn fair(&self) -> FairStatus {
        self.upstream.status().fair.unwrap()
    }
}

/// The next one who is called.
fn next(waiting: &mut Vec<(u64, Waiting)>) -> Option<(u64, Waiting)> {
    let next = waiting.iter_mut().position(|(_, waiting)| waiting.is_called())?;
    Some(waiting.remove(next))
}

/// Gives one place after the other to whoever is called, and keeps it; to whom.
fn hand_out(queue: &mut Queue, waiting: &mut Vec<(u64, Waiting)>, places: usize) -> Vec<u64> {
    let mut held = Vec::new();
    let mut to = Vec::new();
    for _ in 0..places {
        queue.held.pop();
        let (key, called) = next(waiting).expect("a place is free");
        held.push(called.look(&queue.local).unwrap());
        to.push(key);
    }
    queue.held.extend(held);
    to
}

#[test]
fn places_that_come_free_go_to_those_with_fewest() {
    let mut queue = Queue::new(8, 100);
    let mut waiting = queue.all(&[(1, 20), (2, 2), (3, 1)]);
    assert_eq!(hand_out(&mut queue, &mut waiting, 8), [1, 2, 3, 1, 2, 1, 1, 1]);
    let status = queue.fair();
    assert_eq!((status.keys, status.most_waiting, status.most_in_flight), (3, 15, 5));
}

#[test]
fn whoever_holds_much_lets_a_newcomer_go_first() {
    let mut queue = Queue::new(4, 100);
    let mut waiting = queue.all(&[(1, 50)]);
    assert_eq!(hand_out(&mut queue, &mut waiting, 4), [1; 4]);
    waiting.extend(queue.all(&[(2, 3)]));
    queue.held.reverse();
    // Two of the four are let go until both have as many.
    assert_eq!(hand_out(&mut queue, &mut waiting, 2), [2, 2]);
}

#[test]
fn weights_say_how_much_each_has() {
    let mut queue = Queue::new(8, 100);
    let heavy = Some(Share { key: 1, weight: 3 });
    let mut waiting: Vec<_> = (0..20).map(|_| (1, queue.ask(heavy, Normal).unwrap())).collect();
    waiting.extend(queue.all(&[(2, 20)]));
    let mut to = hand_out(&mut queue, &mut waiting, 8);
    to.sort_unstable();
    assert_eq!(to, [1, 1, 1, 1, 1, 1, 2, 2]);
}

#[test]
fn those_without_a_key_are_served_as_they_came() {
    let mut queue = Queue::new(3, 100);
    let mut waiting: Vec<_> = (0..6)
        .map(|number| (number, queue.ask(None, Normal).unwrap()))
        .collect();
    assert_eq!(hand_out(&mut queue, &mut waiting, 3), [0, 1, 2]);
    let status = queue.fair();
    assert_eq!(status, FairStatus::default(), "nothing is counted of them");
}

#[test]
fn priority_comes_before_fairness() {
    let mut queue = Queue::new(4, 100);
    let mut waiting = queue.all(&[(1, 4)]);
    waiting.extend((0..3).map(|_| (2, queue.ask(share(2), Critical).unwrap())));
    waiting.push((3, queue.ask(share(3), Low).unwrap()));
    assert_eq!(hand_out(&mut queue, &mut waiting, 4), [2, 2, 2, 1]);
}

#[test]
fn a_full_queue_takes_in_who_has_less_of_it() {
    let queue = Queue::new(1, 6);
    let mut waiting = queue.all(&[(1, 6)]);
    assert_eq!(
        queue.ask(share(1), Normal).unwrap_err(),
        QueueFull::ForEverybody,
        "it is alone"
    );
    waiting.extend(queue.all(&[(2, 2)]));
    let left: Vec<_> = waiting.iter_mut().map(|(_, waiting)| waiting.displaced()).collect();
    let outshared = Some(Displaced::ByShare);
    assert_eq!(
        left,
        [None, None, None, None, outshared, outshared, None, None],
        "the last of the greediest"
    );
    assert_eq!(queue.ask(share(1), Normal).unwrap_err(), QueueFull::HasItsShare);
    waiting.extend(queue.all(&[(2, 1), (3, 2)]));
    assert_eq!(queue.ask(share(2), Normal).unwrap_err(), QueueFull::HasItsShare);
    assert_eq!(queue.ask(share(3), Normal).unwrap_err(), QueueFull::HasItsShare);
    // Whoever waits alone while another has a place has more than its share.
    let mut queue = Queue::new(1, 2);
    let mut waiting = queue.all(&[(2, 1), (1, 1)]);
    assert_eq!(hand_out(&mut queue, &mut waiting, 1), [2]);
    waiting.extend(queue.all(&[(1, 1)]));
    assert_eq!(queue.ask(share(1), Normal).unwrap_err(), QueueFull::HasItsShare);
    // Six with one each, and a seventh: nobody has more than another.
    let queue = Queue::new(1, 6);
    let _waiting: Vec<_> = (1..7).map(|key| queue.join(key)).collect();
    assert_eq!(queue.ask(share(7), Normal).unwrap_err(), QueueFull::ForEverybody);
    // Of the least important, the greediest loses one.
    let queue = Queue::new(1, 4);
    let low = |key| queue.ask(share(key), Low).unwrap();
    let mut waiting = [low(1), low(2), low(1), low(1)];
    let _normal = queue.join(3);
    assert_eq!(
        waiting.each_mut().map(Waiting::displaced),
        [None, None, None, Some(Displaced::ByPrecedence)]
    );
}

#[test]
fn the_newest_go_first_of_each_and_not_of_all() {
    let mut queue = Queue::new(1, 100);
    (0..50).for_each(|_| queue.join(9).ticket.gave_up());
    let mut waiting: Vec<_> = [1, 1, 1, 2, 2].map(|key| (key, queue.join(key))).into();
    // Told apart by when they came.
    for (number, (key, _)) in (0..).zip(&mut waiting) {
        *key = *key * 10 + number;
    }
    let mut order = Vec::new();
    while !waiting.is_empty() {
        order.extend(hand_out(&mut queue, &mut waiting, 1));
    }
    assert_eq!(
        order.iter().filter(|key| **key < 20).copied().collect::<Vec<_>>(),
        [12, 11, 10]
    );
    assert_eq!(
        order.iter().filter(|key| **key >= 20).copied().collect::<Vec<_>>(),
        [24, 23]
    );
    assert!(order[..2].contains(&12) && order[..2].contains(&24), "{order:?}");
}

#[test]
fn deadlines_hold_within_a_key() {
    let mut settings = fair(2, 100);
    settings.queue.order = QueueOrder::Deadline;
    let mut queue = Queue::with(settings);
    let join = |key: u64, ms| {
        let ask = Ask {
            share: share(key),
            deadline: Some(Moment::new(0).after(Duration::from_millis(ms))),
            ..Ask::default()
        };
        (key * 1000 + ms, Waiting::asking(&queue.upstream, &ask).unwrap())
    };
    let mut waiting = vec![join(1, 300), join(1, 100), join(1, 200), join(2, 900)];
    assert_eq!(hand_out(&mut queue, &mut waiting, 2), [1100, 2900]);
}

#[test]
fn what_was_held_is_let_go_whatever_happens() {
    let mut queue = Queue::new(2, 100);
    let mut waiting = queue.all(&[(1, 3), (2, 3)]);
    hand_out(&mut queue, &mut waiting, 2);
    // A reload takes fair share and the server away while some wait, and others hold places of it.
    let mut plain = settings(vec![server("b", Some(1))]);
    plain.queue.max = 100;
    queue.upstream.reconfigure(plain);
    assert_eq!(queue.upstream.status().fair, None);
    let (key, called) = next(&mut waiting).expect("the other server has room");
    let other = called.look(&queue.local).unwrap();
    assert!((1..=2).contains(&key));
    waiting.push((0, queue.ask(None, Normal).unwrap()));
    queue.upstream.reconfigure(fair(2, 100));
    assert_eq!(queue.fair().keys, 2);
    // Everybody leaves, called or not.
    assert!(next(&mut waiting).is_some());
    waiting.clear();
    let before = queue.fair();
    assert_eq!((before.most_waiting, before.keys), (0, 2));
    queue.held.clear();
    drop(other);
    assert_eq!(queue.fair(), FairStatus::default());
    let status = queue.upstream.status();
    assert_eq!((status.queued, status.servers[0].in_flight), (0, 0));
}
