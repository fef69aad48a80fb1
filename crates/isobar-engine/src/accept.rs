//! How do connections come in?

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use isobar_l7::{Accepted, Site, Worker, serve};
use isobar_net::listen::Listener;
use isobar_net::stream::Stream;
use isobar_observe::WorkerStats;
use isobar_plan::{Event, Name};
use isobar_upstream::Sharded;

use crate::EventSink;
use crate::spread;
use crate::worker::{Command, Mailbox};

/// How long accepting pauses while no descriptor is left, or the listener has all the connections it may have.
const PAUSE: Duration = Duration::from_millis(20);

/// One listener of one worker.
pub(crate) struct Acceptor {
    pub(crate) worker: Rc<Worker>,
    pub(crate) name: Name,
    pub(crate) mailboxes: Rc<[Mailbox]>,
    pub(crate) events: EventSink,
    pub(crate) stats: Arc<Sharded<WorkerStats>>,
    pub(crate) stop: Rc<Stop>,
}

/// Tells an acceptor to stop: it takes what already waits in its backlog, then closes its socket.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    asked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Stop {
    pub(crate) fn ask(&self) {
        self.asked.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ready when asked to stop.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Acceptor {
    /// Accepts until told to stop.
    pub(crate) async fn run(self, listener: Listener) {
        let mut exhausted = false;
        loop {
            // Gone from the plan: nobody says any more how its connections are to be served.
            let Some(site) = self.worker.site(&self.name) else {
                return;
            };
            if site.open.total() >= site.listener.limits.max_connections {
                if self.stop.asked.get() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            match self.next(&listener).await {
                None => return,
                Some(Ok((stream, peer))) => {
                    exhausted = false;
                    self.place(stream, peer, site).await;
                }
                Some(Err(_)) => {
                    let stats = self.stats.of(self.worker.id());
                    stats.accept_errors.increment();
                    if !std::mem::replace(&mut exhausted, true) {
                        stats.descriptors_exhausted.increment();
                        (self.events)(Event::OutOfDescriptors);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// The next connection; none: told to stop, and the backlog is empty.
    async fn next(&self, listener: &Listener) -> Option<std::io::Result<(Stream, SocketAddr)>> {
        poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => self.stop.poll(cx).map(|()| None),
        })
        .await
    }

    /// Serves a connection here, or gives it to a worker that has fewer. While the listener has all it may have, the
    /// connection waits: others may have accepted since that was looked at.
    async fn place(&self, stream: Stream, peer: SocketAddr, mut site: Arc<Site>) {
        let mine = self.worker.id();
        site.stats.of(mine).connections_accepted.increment();
        let mut chosen = spread::choose(mine, site.open.by_worker());
        while !site.open.opens(chosen, site.listener.limits.max_connections) {
            tokio::time::sleep(PAUSE).await;
            match self.worker.site(&self.name) {
                Some(newest) if !self.stop.asked.get() => site = newest,
                _ => return,
            }
            chosen = spread::choose(mine, site.open.by_worker());
        }
        if chosen == mine {
            tokio::task::spawn_local(serve(Rc::clone(&self.worker), Accepted { stream, peer, site }));
        } else {
            self.hand_off(chosen, stream, peer, site);
        }
    }

    /// Gives a connection, counted as its own, to another worker. One that is too far behind to take it loses it.
    fn hand_off(&self, to: usize, stream: Stream, peer: SocketAddr, site: Arc<Site>) {
        let (open, stats) = (Arc::clone(&site.open), Arc::clone(&site.stats));
        let sent = match (self.mailboxes.get(to), stream.into_std()) {
            (Some(mailbox), Ok(socket)) => mailbox.offer(Command::Serve { socket, peer, site }),
            _ => false,
        };
        if sent {
            stats.of(self.worker.id()).connections_handed_off.increment();
        } else {
            open.closed(to);
        }
    }
}
