//! What does a worker thread do, and how is it told?

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use isobar_forward::Background;
use isobar_l4::udp;
use isobar_l7::{Worker, WorkerParts};
use isobar_net::listen::Listener;
use isobar_net::runtime::{self, Io, WorkerRuntime};
use isobar_net::stream::Stream;
use isobar_net::udp::Peers;
use isobar_observe::WorkerStats;
use isobar_plan::Event;
use isobar_upstream::Sharded;
use tokio::sync::mpsc;

use crate::EventSink;
use crate::accept::{Acceptor, Orders, PAUSE};
use crate::assembly::Worlds;
use crate::bindings::BindingId;
use crate::site::{Servers, Site};

/// Commands that wait for a worker at most; most are connections that another worker accepted.
const MAILBOX_COMMANDS: usize = 1024;

/// How long the control side waits for a worker that is behind.
const FULL_MAILBOX_PAUSE: Duration = Duration::from_millis(1);

/// Where the newest worlds are found.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) http: Arc<isobar_l7::Published>,
    pub(crate) tcp: Arc<isobar_l4::Published>,
    pub(crate) forward: Arc<isobar_forward::Published>,
}

impl Published {
    pub(crate) fn new(worlds: Worlds) -> Self {
        Self {
            http: Arc::new(isobar_l7::Published::new(worlds.http)),
            tcp: Arc::new(isobar_l4::Published::new(worlds.tcp)),
            forward: Arc::new(isobar_forward::Published::new(worlds.forward)),
        }
    }

    pub(crate) fn publish(&self, worlds: Worlds) {
        self.http.publish(worlds.http);
        self.tcp.publish(worlds.tcp);
        self.forward.publish(worlds.forward);
    }

    /// All listeners, in the order of the plan's endpoints.
    pub(crate) fn sites(&self) -> Vec<Site> {
        let (http, tcp) = (self.http.world(), self.tcp.world());
        let http = http.sites.iter().map(|site| divided(site, &tcp));
        let udp = tcp.udp.iter().map(|site| Site::Udp(Arc::clone(site)));
        let tcp = tcp.sites.iter().map(|site| Site::Tcp(Arc::clone(site)));
        let forward = self.forward.world();
        let forward = forward.sites.iter().map(|site| Site::Forward(Arc::clone(site)));
        http.chain(tcp).chain(udp).chain(forward).collect()
    }
}

/// A listener of HTTP, some of whose connections may be passed on.
fn divided(site: &Arc<isobar_l7::Site>, tcp: &isobar_l4::World) -> Site {
    let mut divided = tcp.divided.iter();
    let passed_on = divided.find(|other| other.listener.name == site.listener.name);
    match passed_on.filter(|passed_on| !passed_on.routes.is_empty()) {
        Some(passed_on) => Site::Divided(Arc::clone(site), Arc::clone(passed_on)),
        None => Site::Http(Arc::clone(site)),
    }
}

/// What a worker can be told.
pub(crate) enum Command {
    /// Accept connections, or take datagrams, for a listener.
    Listen {
        /// Which sockets these are.
        binding: BindingId,
        /// The listener.
        site: Site,
        /// This worker's socket.
        socket: OwnedFd,
    },
    /// Accept by new rules, perhaps for a listener of another name.
    Follow {
        /// Which sockets are meant.
        binding: BindingId,
        /// The listener.
        site: Site,
    },
    /// Accept what waits, then close; connections go on.
    Close(BindingId),
    /// Serve a connection that another worker accepted.
    Serve {
        /// The connection.
        socket: TcpStream,
        /// Whose it is.
        peer: SocketAddr,
        /// The listener it came in at.
        site: Site,
    },
    /// There is a new world.
    LookUp,
    /// Stop accepting, and finish what is there.
    Drain,
    /// The time to finish is over: end every connection, and log what it was doing.
    Cut,
    /// Stop now.
    Stop,
}

/// Where a worker is told things.
#[derive(Clone)]
pub(crate) struct Mailbox(mpsc::Sender<Command>);

impl Mailbox {
    /// A mailbox with room for this many commands, and what the worker reads them from.
    pub(crate) fn with_room(commands: usize) -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(commands);
        (Self(sender), receiver)
    }

    /// Hands a command over without waiting, or gives it back: there is no room, or the worker is gone.
    pub(crate) fn offer(&self, command: Command) -> Result<(), Command> {
        self.0.try_send(command).map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// A worker thread.
pub(crate) struct WorkerHandle {
    mailbox: Mailbox,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    pub(crate) fn tell(&self, command: Command) {
        let mut left = Some(command);
        while let Some(command) = left.take() {
            match self.mailbox.0.try_send(command) {
                // A worker that is gone needs to hear nothing.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(command)) => {
                    std::thread::sleep(FULL_MAILBOX_PAUSE);
                    left = Some(command);
                }
            }
        }
    }

    /// Waits until the thread has ended; it must have been told to.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

/// Starts the worker threads, each pinned to a core of its own as far as there are cores.
pub(crate) fn start_all(
    published: &Published,
    around: &Around,
    stats: &Arc<Sharded<WorkerStats>>,
    io: Io,
) -> std::io::Result<Vec<WorkerHandle>> {
    let count = stats.iter().count();
    let cores = runtime::cores();
    let (mailboxes, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| Mailbox::with_room(MAILBOX_COMMANDS)).unzip();
    let mut handles = Vec::with_capacity(count);
    for (id, receiver) in receivers.into_iter().enumerate() {
        // More workers than cores share them as the kernel sees fit.
        let core = if count <= cores.len() {
            cores.get(id).copied()
        } else {
            None
        };
        let published = published.clone();
        let surroundings = (mailboxes.clone(), Arc::clone(stats), around.clone());
        let body = move || {
            let (mailboxes, stats, around) = surroundings;
            let run = || {
                work(
                    id,
                    published,
                    Surroundings {
                        mailboxes: mailboxes.into(),
                        stats,
                        around,
                    },
                    receiver,
                )
            };
            if let Err(error) = runtime::run(WorkerRuntime { core, io }, run) {
                panic!("worker {id} has no reactor or ring: {error}");
            }
        };
        let thread = std::thread::Builder::new().name(format!("worker-{id}")).spawn(body)?;
        handles.push(WorkerHandle {
            mailbox: mailboxes[id].clone(),
            thread: Some(thread),
        });
    }
    Ok(handles)
}

/// Different for every worker and every start.
fn seed(id: usize) -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    (now.as_secs() << 32 | u64::from(now.subsec_nanos())).rotate_left(17)
        ^ (id as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Who is told, and asked, by workers.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) events: EventSink,
    pub(crate) background: Arc<dyn Background>,
}

/// What a worker has to do with others.
struct Surroundings {
    mailboxes: Rc<[Mailbox]>,
    stats: Arc<Sharded<WorkerStats>>,
    around: Around,
}

/// A worker's life.
async fn work(id: usize, published: Published, around: Surroundings, mut commands: mpsc::Receiver<Command>) {
    let servers = servers((id, around.mailboxes.len()), published, &around.around.background);
    servers.start();
    let mut acceptors: HashMap<BindingId, Taking> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen { binding, site, socket } => {
                acceptors.insert(binding, around.take(id, &servers, (site, socket)));
            }
            Command::Follow { binding, site } => {
                if let Some(taking) = acceptors.get(&binding) {
                    taking.set_site(site);
                }
            }
            Command::Close(binding) => {
                if let Some(taking) = acceptors.remove(&binding) {
                    taking.close();
                }
            }
            Command::Serve { socket, peer, site } => {
                servers.serve(Stream::from_accepted(socket), peer, site);
            }
            Command::LookUp => servers.look_up(),
            Command::Drain => {
                acceptors.drain().for_each(|(_, taking)| taking.close());
                servers.drain();
            }
            Command::Cut => servers.cut(),
            Command::Stop => break,
        }
    }
    servers.flush();
}

fn servers((id, workers): (usize, usize), published: Published, background: &Arc<dyn Background>) -> Servers {
    let seed = seed(id);
    let http = Worker::new(WorkerParts {
        id,
        workers,
        seed,
        published: published.http,
    });
    let tcp = isobar_l4::Worker::new(isobar_l4::WorkerParts {
        id,
        seed: seed.rotate_left(32),
        published: published.tcp,
        shared: http.shared(),
    });
    let forward = isobar_forward::Worker::new(isobar_forward::WorkerParts {
        id,
        published: published.forward,
        shared: http.shared(),
        background: Arc::clone(background),
    });
    Servers {
        http: Rc::new(http),
        tcp: Rc::new(tcp),
        forward: Rc::new(forward),
    }
}

/// Who takes what comes to a socket, and is told how.
enum Taking {
    Connections(Rc<Orders>),
    Datagrams(Rc<udp::Orders>),
}

impl Taking {
    fn set_site(&self, site: Site) {
        match (self, site) {
            (Self::Connections(orders), site) => orders.set_site(site),
            (Self::Datagrams(orders), Site::Udp(site)) => orders.set_site(site),
            // Sockets of UDP are never those of another kind of listener.
            (Self::Datagrams(_), Site::Http(_) | Site::Divided(..) | Site::Tcp(_) | Site::Forward(_)) => {}
        }
    }

    fn close(&self) {
        match self {
            Self::Connections(orders) => orders.close(),
            Self::Datagrams(orders) => orders.close(),
        }
    }
}

impl Surroundings {
    fn take(&self, id: usize, servers: &Servers, (site, socket): (Site, OwnedFd)) -> Taking {
        match site {
            Site::Udp(site) => {
                let orders = Rc::new(udp::Orders::new(site));
                let (worker, own) = (Rc::clone(&servers.tcp), Rc::clone(&orders));
                let events = Arc::clone(&self.around.events);
                drop(tokio::task::spawn_local(async move {
                    match udp::serve(worker, own, UdpSocket::from(socket), peers(&events).await) {
                        Ok(task) => task.await,
                        Err(_) => events(Event::OutOfDescriptors),
                    }
                }));
                Taking::Datagrams(orders)
            }
            Site::Http(_) | Site::Divided(..) | Site::Tcp(_) | Site::Forward(_) => {
                let orders = Rc::new(Orders::new(site));
                self.accept(id, servers, Rc::clone(&orders), TcpListener::from(socket));
                Taking::Connections(orders)
            }
        }
    }

    fn accept(&self, id: usize, servers: &Servers, orders: Rc<Orders>, socket: TcpListener) {
        let acceptor = Acceptor {
            id,
            servers: servers.clone(),
            orders,
            mailboxes: Rc::clone(&self.mailboxes),
            events: Arc::clone(&self.around.events),
            stats: Arc::clone(&self.stats),
        };
        // Its descriptor is open already, so the reactor has room for it unless memory is out.
        if let Ok(listener) = Listener::from_std(socket) {
            tokio::task::spawn_local(acceptor.run(listener));
        }
    }
}

/// What tells of answers of servers; waits for a descriptor where none is left, and says so once.
async fn peers(events: &EventSink) -> Peers {
    let mut exhausted = false;
    loop {
        match Peers::new() {
            Ok(peers) => return peers,
            Err(_) if std::mem::replace(&mut exhausted, true) => {}
            Err(_) => events(Event::OutOfDescriptors),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
