//! How do connections come in?

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
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
            // A listener that is gone from the plan still serves what its backlog holds, under its last rules.
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
                    self.place(stream, peer, site);
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
    async fn next(&self, listener: &Listener) -> Option<std::io::Result<(Stream, std::net::SocketAddr)>> {
        poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => self.stop.poll(cx).map(|()| None),
        })
        .await
    }

    /// Serves a connection here, or gives it to a worker that has fewer.
    fn place(&self, stream: Stream, peer: std::net::SocketAddr, site: Arc<Site>) {
        let mine = self.worker.id();
        let stats = site.stats.of(mine);
        stats.connections_accepted.increment();
        let chosen = spread::choose(mine, site.open.by_worker());
        site.open.opened(chosen);
        if chosen == mine {
            tokio::task::spawn_local(serve(Rc::clone(&self.worker), Accepted { stream, peer, site }));
            return;
        }
        stats.connections_handed_off.increment();
        let open = Arc::clone(&site.open);
        let sent = match (self.mailboxes.get(chosen), stream.into_std()) {
            (Some(mailbox), Ok(socket)) => mailbox.tell(Command::Serve { socket, peer, site }),
            _ => false,
        };
        if !sent {
            open.closed(chosen);
        }
    }
}
