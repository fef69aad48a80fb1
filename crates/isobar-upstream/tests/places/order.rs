//! Who goes first in the queue, and who has to leave it?

use std::sync::Arc;
use std::time::Duration;

use isobar_balance::{Chance, Moment};
use isobar_plan::{Priority, QueueOrder, Server, UpstreamLimits};
use isobar_upstream::{Ask, Local, Place, Refusal, Upstream};

use crate::{Waiting, called, place, server, settings};

use Priority::{Critical, Low, Normal};

struct Queue {
    upstream: Arc<Upstream>,
    local: Local<()>,
    held: Vec<Place<()>>,
}

impl Queue {
    /// An upstream with one place, which is taken.
    fn new(max: u32, order: QueueOrder) -> Self {
        let mut settings = settings(vec![server("a", Some(1))]);
        settings.queue = isobar_plan::Queue {
            max,
            order,
            ..settings.queue
        };
        let upstream = Arc::new(Upstream::new(settings, 1));
        let local = Local::new(Arc::clone(&upstream));
        let held = vec![place(&local).unwrap()];
        Self { upstream, local, held }
    }

    fn join(&self, priority: Priority) -> Waiting {
        Waiting::with(&self.upstream, priority).unwrap()
    }

    /// Gives the place to each that is called, until nobody is; who they were, by where they stand in `waiting`.
    fn serve(&mut self, waiting: Vec<Waiting>) -> Vec<usize> {
        let mut waiting: Vec<_> = waiting.into_iter().enumerate().collect();
        let mut served = Vec::new();
        loop {
            self.held.clear();
            let Some(next) = waiting.iter_mut().position(|(_, waiting)| waiting.is_called()) else {
                return served;
            };
            let (index, next) = waiting.remove(next);
            self.held.push(next.look(&self.local).unwrap());
            served.push(index);
        }
    }

    /// As many wait in vain.
    fn disappoint(&self, count: usize) {
        (0..count).for_each(|_| self.join(Normal).ticket.gave_up());
    }
}

#[test]
fn priority_comes_before_who_came_first() {
    let mut queue = Queue::new(100, QueueOrder::FirstCome);
    let waiting = [Low, Normal, Critical, Low, Critical, Normal].map(|priority| queue.join(priority));
    assert_eq!(queue.upstream.status().queued_by, [2, 2, 2]);
    assert_eq!(queue.serve(waiting.into()), [2, 4, 1, 5, 0, 3]);
    assert_eq!(queue.upstream.status().queued_by, [0, 0, 0]);
}

#[test]
fn newcomers_let_go_first_who_is_no_less_important() {
    let queue = Queue::new(100, QueueOrder::FirstCome);
    let check = |expected: [bool; 3]| assert_eq!(Priority::ALL.map(|class| queue.upstream.has_queue(class)), expected);
    check([false, false, false]);
    let low = queue.join(Low);
    check([false, false, true]);
    let normal = queue.join(Normal);
    check([false, true, true]);
    drop(low);
    check([false, true, true]);
    let critical = queue.join(Critical);
    check([true, true, true]);
    drop((critical, normal));
    check([false, false, false]);
}

#[test]
fn a_full_queue_takes_the_more_important_in_place_of_the_last_of_the_least() {
    let mut queue = Queue::new(4, QueueOrder::FirstCome);
    let mut waiting: Vec<_> = [Low, Normal, Low, Normal].map(|priority| queue.join(priority)).into();
    assert!(Waiting::with(&queue.upstream, Low).is_err(), "nobody is less important");
    let displaced = |waiting: &mut Vec<Waiting>| -> Vec<usize> {
        (0..waiting.len())
            .filter(|&index| waiting[index].is_displaced())
            .collect()
    };
    waiting.push(queue.join(Normal));
    assert_eq!(displaced(&mut waiting), [2], "the last of the low ones");
    waiting.push(queue.join(Critical));
    assert_eq!(displaced(&mut waiting), [0, 2]);
    assert!(Waiting::with(&queue.upstream, Normal).is_err());
    waiting.push(queue.join(Critical));
    assert_eq!(displaced(&mut waiting), [0, 2, 4]);
    assert_eq!(queue.upstream.status().queued_by, [2, 2, 0]);
    assert!(waiting[2].woken() > 0, "it is told");
    assert_eq!(queue.serve(waiting), [5, 6, 1, 3]);
    assert_eq!(queue.upstream.status().queued, 0);
}

#[test]
fn who_is_called_is_not_displaced() {
    let mut queue = Queue::new(1, QueueOrder::FirstCome);
    let mut low = queue.join(Low);
    queue.held.clear();
    assert!(Waiting::with(&queue.upstream, Critical).is_err());
    assert!(low.is_called());
    assert!(low.look(&queue.local).is_ok());
}

#[test]
fn the_newest_go_first_while_many_wait_in_vain() {
    let mut queue = Queue::new(100, QueueOrder::FirstCome);
    queue.disappoint(4);
    let three = || [(); 3].map(|()| queue.join(Normal));
    let waiting = three().into();
    assert_eq!(queue.serve(waiting), [0, 1, 2], "four are no overload");
    queue = Queue::new(100, QueueOrder::FirstCome);
    queue.disappoint(50);
    let mut waiting: Vec<_> = [(); 3].map(|()| queue.join(Normal)).into();
    waiting.extend([(); 2].map(|()| queue.join(Critical)));
    assert_eq!(
        queue.serve(waiting),
        [3, 4, 2, 1, 0],
        "only those of the priority that had no patience"
    );
    // Served requests bring the old order back.
    for _ in 0..30 {
        queue.held.push(place(&queue.local).unwrap());
        let one = queue.join(Normal);
        queue.serve(vec![one]);
    }
    queue.held.push(place(&queue.local).unwrap());
    let waiting = [(); 3].map(|()| queue.join(Normal)).into();
    assert_eq!(queue.serve(waiting), [0, 1, 2]);
}

#[test]
fn answers_that_nobody_waits_for_any_more_count_as_well() {
    let mut queue = Queue::new(100, QueueOrder::FirstCome);
    (0..50).for_each(|_| queue.upstream.waited_in_vain(Normal));
    let waiting = [(); 3].map(|()| queue.join(Normal)).into();
    assert_eq!(queue.serve(waiting), [2, 1, 0]);
}

#[test]
fn where_the_newest_go_first_the_oldest_leaves_a_full_queue() {
    let mut queue = Queue::new(2, QueueOrder::FirstCome);
    queue.disappoint(50);
    let mut waiting = vec![queue.join(Normal), queue.join(Normal)];
    waiting.push(queue.join(Normal));
    assert!(waiting[0].is_displaced() && !waiting[1].is_displaced());
    assert_eq!(queue.serve(waiting), [2, 1]);
}

#[test]
fn in_order_of_deadlines() {
    let mut queue = Queue::new(100, QueueOrder::Deadline);
    let due = |ms| Ask {
        deadline: Some(Moment::new(0).after(Duration::from_millis(ms))),
        ..Ask::default()
    };
    let mut waiting: Vec<_> = [300, 100, 200, 100]
        .map(|ms| Waiting::asking(&queue.upstream, &due(ms)).unwrap())
        .into();
    waiting.push(queue.join(Critical));
    assert_eq!(queue.serve(waiting), [4, 1, 3, 2, 0]);
    let mut queue = Queue::new(100, QueueOrder::FirstCome);
    let waiting = [300, 100].map(|ms| Waiting::asking(&queue.upstream, &due(ms)).unwrap());
    assert_eq!(
        queue.serve(waiting.into()),
        [0, 1],
        "another order does not ask for them"
    );
}

fn limited(servers: Vec<Server>, max_requests: u32) -> (Arc<Upstream>, Local<()>) {
    let mut settings = settings(servers);
    settings.limits = UpstreamLimits {
        max_requests: Some(max_requests),
        max_connections: None,
    };
    let upstream = Arc::new(Upstream::new(settings, 1));
    (Arc::clone(&upstream), Local::new(upstream))
}

fn take(local: &Local<()>, priority: Priority) -> Result<Place<()>, Refusal> {
    let ask = Ask {
        priority,
        ..Ask::default()
    };
    local.view().place(&ask, &mut Chance::new(1))
}

#[test]
fn each_priority_may_use_its_share_of_the_limits() {
    let (upstream, local) = limited(vec![server("a", None), server("b", None)], 20);
    let fill = |priority| std::iter::from_fn(|| take(&local, priority).ok()).collect::<Vec<_>>();
    let [low, normal, critical] = [Low, Normal, Critical].map(fill);
    assert_eq!([low.len(), normal.len(), critical.len()], [16, 3, 1]);
    assert_eq!(upstream.status().requests.used, 20);
    assert!(Priority::ALL.into_iter().all(|priority| upstream.is_at_limit(priority)));
    drop(low);
    assert_eq!(fill(Normal).len(), 15);
    drop((normal, critical));
    assert_eq!((upstream.status().requests.used, upstream.is_at_limit(Low)), (0, false));
}

#[test]
fn those_who_wait_are_called_when_the_limits_leave_room() {
    let (upstream, local) = limited(vec![server("a", None)], 10);
    let mut held: Vec<_> = std::iter::from_fn(|| place(&local).ok()).collect();
    assert_eq!(held.len(), 10);
    let mut waiting = [Low, Normal].map(|priority| Waiting::with(&upstream, priority).unwrap());
    assert_eq!(called(&mut waiting), [0; 0]);
    held.pop();
    assert_eq!(called(&mut waiting), [1]);
    let [low, normal] = waiting;
    held.push(normal.look(&local).unwrap());
    let mut waiting = [low];
    held.truncate(8);
    assert_eq!(called(&mut waiting), [0; 0], "the rest is for others");
    held.truncate(7);
    assert_eq!(called(&mut waiting), [0]);
    let [low] = waiting;
    held.push(low.look(&local).unwrap());
    // A reload lowers the limit in the middle: those in flight finish, and nobody comes in their place.
    let mut lower = upstream.members().settings.clone();
    lower.limits.max_requests = Some(2);
    upstream.reconfigure(lower.clone());
    let mut waiting = [Waiting::join(&upstream)];
    held.truncate(2);
    assert_eq!(called(&mut waiting), [0; 0]);
    lower.limits.max_requests = None;
    upstream.reconfigure(lower);
    assert_eq!(called(&mut waiting), [0]);
    drop((waiting, held));
    let status = upstream.status();
    assert_eq!((status.queued, status.requests.used), (0, 0));
    assert!(!upstream.is_at_limit(Low));
}
