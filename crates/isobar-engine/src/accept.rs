//! How do connections come in?

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use isobar_net::limits::is_out_of_descriptors;
use isobar_net::listen::Listener;
use isobar_net::stream::Stream;
use isobar_observe::WorkerStats;
use isobar_plan::Event;
use isobar_upstream::Sharded;

use crate::EventSink;
use crate::site::{Servers, Site};
use crate::spread;
use crate::worker::{Command, Mailbox};

/// How long accepting pauses while no descriptor is left, or the listener has all the connections it may have.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// One listening socket of one worker.
pub(crate) struct Acceptor {
    /// The worker's index.
    pub(crate) id: usize,
    pub(crate) servers: Servers,
    pub(crate) orders: Rc<Orders>,
    pub(crate) mailboxes: Rc<[Mailbox]>,
    pub(crate) events: EventSink,
    pub(crate) stats: Arc<Sharded<WorkerStats>>,
}

/// What an acceptor is told while it runs.
#[derive(Debug)]
pub(crate) struct Orders {
    site: RefCell<Site>,
    closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Orders {
    pub(crate) fn new(site: Site) -> Self {
        Self {
            site: RefCell::new(site),
            closing: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// From now on connections come in by these rules, perhaps under another name.
    pub(crate) fn set_site(&self, site: Site) {
        *self.site.borrow_mut() = site;
    }

    /// Takes what already waits to be accepted, as far as there is room for it, then closes the socket.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn site(&self) -> Site {
        self.site.borrow().clone()
    }

    fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Ready when told to close.
    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Acceptor {
    /// Accepts until told to close.
    pub(crate) async fn run(self, listener: Listener) {
        let mut exhausted = false;
        // Accepted since told to close: no more than can have waited, or whoever keeps coming would keep it open.
        let mut late = 0;
        loop {
            let site = self.orders.site();
            let closing = self.orders.is_closing();
            if closing && late > site.backlog() {
                return;
            }
            if site.open().total() >= site.max_connections() {
                if closing {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            match self.next(&listener).await {
                None => return,
                Some(Ok((stream, peer))) => {
                    exhausted = false;
                    late += u32::from(closing);
                    self.place(stream, peer).await;
                }
                // What is idle towards servers can be had anew, a client that is turned away cannot.
                Some(Err(error)) if is_out_of_descriptors(&error) && self.servers.http.make_room() => {}
                Some(Err(_)) => {
                    let stats = self.stats.of(self.id);
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

    /// The next connection; none: told to close, and none waits.
    async fn next(&self, listener: &Listener) -> Option<std::io::Result<(Stream, SocketAddr)>> {
        let waiting = |cx: &mut Context<'_>| match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        };
        let next = poll_fn(|cx| match waiting(cx) {
            Some(accepted) => Poll::Ready(Some(accepted)),
            None => self.orders.poll_close(cx).map(|()| None),
        });
        if let Some(accepted) = next.await {
            return Some(accepted);
        }
        // The reactor may not have told yet of what came last.
        tokio::task::yield_now().await;
        poll_fn(|cx| Poll::Ready(waiting(cx))).await
    }

    /// Serves a connection here, or gives it to a worker that has fewer. While the listener has all it may have, the
    /// connection waits: others may have accepted since that was looked at.
    async fn place(&self, stream: Stream, peer: SocketAddr) {
        let mine = self.id;
        let mut site = self.orders.site();
        site.stats().of(mine).connections_accepted.increment();
        let mut chosen = spread::choose(mine, site.open().by_worker());
        while !site.open().opens(chosen, site.max_connections()) {
            if self.orders.is_closing() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            site = self.orders.site();
            chosen = spread::choose(mine, site.open().by_worker());
        }
        if chosen == mine {
            self.servers.serve(stream, peer, site);
        } else {
            self.hand_off(chosen, (stream, peer, site));
        }
    }

    /// Gives a connection, counted as its own, to another worker; one that is too far behind to take it is spared.
    fn hand_off(&self, to: usize, (stream, peer, site): (Stream, SocketAddr, Site)) {
        let (open, stats) = (Arc::clone(site.open()), Arc::clone(site.stats()));
        let (Some(mailbox), Ok(socket)) = (self.mailboxes.get(to), stream.into_std()) else {
            return open.closed(to);
        };
        match mailbox.offer(Command::Serve { socket, peer, site }) {
            Ok(()) => stats.of(self.id).connections_handed_off.increment(),
            Err(Command::Serve { socket, peer, site }) => {
                // In this order it is never uncounted; for a moment it counts twice.
                let _ = open.opens(self.id, u32::MAX);
                open.closed(to);
                let stream = Stream::from_accepted(socket);
                self.servers.serve(stream, peer, site);
            }
            Err(_) => open.closed(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::thread::JoinHandle;

    use isobar_l7::{OpenConnections, Published, SiteParts, Worker, WorkerParts, World};
    use isobar_net::listen::{ListenOptions, listen};
    use isobar_net::runtime::{self, WorkerRuntime};
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::sample::{any_port, listener};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A listener that the world does not name, and worker 0 of two.
    struct Bench {
        acceptor: Acceptor,
        socket: std::net::TcpListener,
        site: Arc<isobar_l7::Site>,
        /// They are full, and nobody looks into them.
        _inboxes: Vec<Receiver<Command>>,
    }

    impl Bench {
        fn new() -> Self {
            let site = Arc::new(isobar_l7::Site::new(SiteParts {
                listener: listener("gone", any_port()),
                stats: Arc::new(Sharded::new(2)),
                open: Arc::new(OpenConnections::new(2)),
                tls: None,
                routes: Vec::new(),
            }));
            let published = Published::new(World {
                generation: 1,
                sites: Vec::new(),
                upstreams: Vec::new(),
                server_tls: Vec::new(),
                limits: Vec::new(),
                stores: Vec::new(),
                log: None,
            });
            let worker = Rc::new(Worker::new(WorkerParts {
                id: 0,
                workers: 1,
                seed: 1,
                published: Arc::new(published),
            }));
            let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| Mailbox::with_room(1)).unzip();
            let full =
                |mailbox: &Mailbox| mailbox.offer(Command::LookUp).is_ok() && mailbox.offer(Command::Stop).is_err();
            assert!(mailboxes.iter().all(full));
            let wheel = worker.wheel().clone();
            tokio::task::spawn_local(async move { wheel.drive().await });
            let tcp = isobar_l4::Worker::new(isobar_l4::WorkerParts {
                id: 0,
                seed: 1,
                published: Arc::new(isobar_l4::Published::new(isobar_l4::World {
                    generation: 1,
                    sites: Vec::new(),
                    divided: Vec::new(),
                    udp: Vec::new(),
                    drain_timeout: PATIENCE,
                    log: None,
                })),
                shared: worker.shared(),
            });
            let forward = isobar_forward::Worker::new(isobar_forward::WorkerParts {
                id: 0,
                published: Arc::new(isobar_forward::Published::new(isobar_forward::World {
                    generation: 1,
                    sites: Vec::new(),
                    drain_timeout: PATIENCE,
                    log: None,
                })),
                shared: worker.shared(),
                background: Arc::new(isobar_forward::Nobody),
            });
            let servers = Servers {
                http: worker,
                tcp: Rc::new(tcp),
                forward: Rc::new(forward),
            };
            let acceptor = Acceptor {
                id: 0,
                servers,
                orders: Rc::new(Orders::new(Site::Http(Arc::clone(&site)))),
                mailboxes: mailboxes.into(),
                events: Arc::new(|_| {}),
                stats: Arc::new(Sharded::new(2)),
            };
            let socket = listen(
                any_port(),
                ListenOptions {
                    backlog: 16,
                    ..ListenOptions::default()
                },
            )
            .unwrap();
            Self {
                acceptor,
                socket,
                site,
                _inboxes: inboxes,
            }
        }

        /// A client that waits to be accepted; its thread ends with the answer.
        fn client(&self) -> JoinHandle<String> {
            let mut stream = TcpStream::connect(self.socket.local_addr().unwrap()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            std::thread::spawn(move || {
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        }
    }

    async fn answer_to(client: JoinHandle<String>) -> String {
        let waiting = async {
            while !client.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
        client.join().unwrap()
    }

    #[test]
    fn what_waits_when_a_listener_closes_is_still_answered() {
        let body = || async {
            let bench = Bench::new();
            let address = bench.socket.local_addr().unwrap();
            let clients = [(); 5].map(|()| bench.client());
            bench.acceptor.orders.close();
            let listener = Listener::from_std(bench.socket).unwrap();
            tokio::time::timeout(PATIENCE, bench.acceptor.run(listener))
                .await
                .expect("it closes");
            assert!(TcpStream::connect(address).is_err());
            for client in clients {
                let answer = answer_to(client).await.to_lowercase();
                assert!(answer.starts_with("http/1.1 404 "), "{answer}");
                assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
            }
        };
        for &io in runtime::ways() {
            runtime::run(WorkerRuntime { core: None, io }, body).unwrap();
        }
    }

    #[test]
    fn a_worker_without_room_in_its_mailbox_costs_no_connection() {
        let body = || async {
            let bench = Bench::new();
            let open = &bench.site.open;
            assert!(open.opens(0, 100) && open.opens(0, 100), "worker 1 has fewer");
            let client = bench.client();
            bench.acceptor.orders.close();
            let listener = Listener::from_std(bench.socket).unwrap();
            bench.acceptor.run(listener).await;
            let answer = answer_to(client).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
            let all_closed = async {
                while open.total() > 2 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, all_closed).await.unwrap();
            assert_eq!(open.by_worker().collect::<Vec<_>>(), [2, 0]);
            assert_eq!(bench.site.stats.of(0).connections_handed_off.value(), 0);
        };
        for &io in runtime::ways() {
            runtime::run(WorkerRuntime { core: None, io }, body).unwrap();
        }
    }
}
