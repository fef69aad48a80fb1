//! Do the queue's promises hold when everything happens at once?

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use isobar_balance::{Chance, Otherwise};
use isobar_plan::{Priority, Queue, QueueOrder};
use isobar_upstream::{Ask, Home, Local, Place, Refusal, Server, Ticket, Upstream};

use crate::line::sticky;
use crate::server;

const THREADS: usize = 8;
const ROUNDS: usize = 3000;

/// Runs a future on this thread, parking while it waits.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
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
        let parked = Instant::now();
        std::thread::park_timeout(Duration::from_secs(10));
        assert!(
            parked.elapsed() < Duration::from_secs(10),
            "a place was free and nobody was called"
        );
    }
}

/// Small enough that some are displaced.
const QUEUE: Queue = Queue {
    max: 3,
    timeout: Duration::from_secs(1),
    order: QueueOrder::FirstCome,
};

/// How one visitor behaves.
struct Visitor<'a> {
    local: &'a Local<()>,
    upstream: &'a Arc<Upstream>,
    avoid: &'a [Arc<Server>],
    home: Option<Home<'a>>,
    priority: Priority,
    /// How often it is polled before it gives up; none: it never does.
    patience: Option<usize>,
}

impl Visitor<'_> {
    fn look(&self, chance: &mut Chance) -> Result<Place<()>, Refusal> {
        self.local.view().place(&self.ask(), chance)
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            priority: self.priority,
            home: self.home,
            ..Ask::avoiding(self.avoid)
        }
    }

    /// A place; none when it gave up, or when no server was left to it.
    async fn wait(self, chance: &mut Chance) -> Option<Place<()>> {
        let others_wait = match self.home {
            None => self.upstream.has_queue(self.priority),
            Some(home) => self.upstream.has_queue_for(home.server, self.priority),
        };
        if !others_wait && let Ok(place) = self.look(chance) {
            return Some(place);
        }
        let mut ticket = Ticket::join(Arc::clone(self.upstream), &QUEUE, &self.ask()).ok()?;
        let mut patience = self.patience;
        let taken = poll_fn(|cx| {
            while let Poll::Ready(turn) = ticket.poll_turn(cx) {
                if turn.is_err() {
                    return Poll::Ready(None);
                }
                match self.look(chance) {
                    Ok(place) => return Poll::Ready(Some(place)),
                    Err(Refusal::Full) => ticket.missed(),
                    Err(Refusal::NoneAvailable) => return Poll::Ready(None),
                }
            }
            match &mut patience {
                Some(0) => return Poll::Ready(None),
                // Whoever is not called meanwhile gives up at the next poll.
                Some(left) => {
                    *left -= 1;
                    cx.waker().wake_by_ref();
                }
                None => {}
            }
            Poll::Pending
        })
        .await;
        let mut taken = taken;
        if let Some(place) = &mut taken {
            place.counts_for(ticket.served(Instant::now()));
        }
        taken
    }
}

#[test]
fn nobody_sleeps_while_a_place_is_free_and_the_limit_holds() {
    run(|_, _| {});
}

#[test]
fn nor_when_servers_come_and_go() {
    // Only those who are served reload: a reload looks after the line, and would cover for a call that was lost.
    run(|upstream, round| {
        if round % 20 == 0 {
            let mut servers = vec![server("a", Some(1)), server("b", Some(1))];
            servers[round / 20 % 2].weight = u32::from(round % 60 != 0);
            servers.rotate_left(round / 40 % 2);
            let mut settings = sticky(servers);
            settings.limits.max_requests = [None, Some(1), Some(2)][round / 20 % 3];
            upstream.reconfigure(settings);
        }
        if round % 50 == 0 {
            upstream.refresh();
        }
    });
}

fn run(meanwhile: impl Fn(&Upstream, usize) + Sync) {
    let settings = sticky(vec![server("a", Some(1)), server("b", Some(1))]);
    let upstream = Arc::new(Upstream::new(settings, THREADS));
    let servers = upstream.members().servers.clone();
    let busy = AtomicU32::new(0);
    let work = |thread: usize| {
        let local = Local::<()>::new(Arc::clone(&upstream));
        let mut chance = Chance::new(thread as u64);
        for round in 0..ROUNDS {
            let (avoided, home) = (chance.index(6), servers.get(chance.index(4)));
            let otherwise = if chance.index(2) == 0 {
                Otherwise::Balance
            } else {
                Otherwise::Refuse
            };
            let visitor = Visitor {
                local: &local,
                upstream: &upstream,
                avoid: servers.get(avoided..=avoided).unwrap_or_default(),
                home: home.map(|server| Home { server, otherwise }),
                priority: Priority::ALL[chance.index(3)],
                patience: (chance.index(4) == 0).then(|| chance.index(3)),
            };
            let Some(place) = block_on(visitor.wait(&mut chance)) else {
                continue;
            };
            assert!(busy.fetch_add(1, Ordering::SeqCst) < 2, "more places than there are");
            meanwhile(&upstream, round);
            if (round + thread).is_multiple_of(7) {
                std::thread::yield_now();
            }
            busy.fetch_sub(1, Ordering::SeqCst);
            drop(place);
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
    let status = upstream.status();
    assert_eq!(status.queued, 0);
    assert!(status.servers.iter().all(|server| server.in_flight == 0));
}
