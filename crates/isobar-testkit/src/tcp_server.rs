//! What is a server that speaks whatever a test wants?

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::{ClosedPort, PATIENCE};

/// A server of TCP that gives each connection to a closure, on a thread of its own.
///
/// When it is dropped nobody listens any more, and its connections are cut.
#[derive(Debug)]
pub struct TcpServer {
    address: SocketAddr,
    /// Kept where the server has to come back at the same address.
    _port: Option<Arc<ClosedPort>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    /// How many connections it has taken.
    accepted: AtomicUsize,
    /// Those that are served, by their numbers.
    open: Mutex<HashMap<usize, TcpStream>>,
    is_gone: Mutex<bool>,
}

impl TcpServer {
    /// Starts one on a free port.
    #[must_use]
    #[track_caller]
    pub fn start(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self::on(listener, None, serve)
    }

    /// Starts one on a port that may be listened on again.
    #[must_use]
    #[track_caller]
    pub fn at(port: &Arc<ClosedPort>, serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::on(port.listen().expect("the port"), Some(Arc::clone(port)), serve)
    }

    /// Starts one that answers with its name and then with what it is sent, until the client ends.
    #[must_use]
    #[track_caller]
    pub fn echo(name: &'static str) -> Self {
        Self::start(echo(name))
    }

    #[track_caller]
    fn on(
        listener: TcpListener,
        port: Option<Arc<ClosedPort>>,
        serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            listener,
            accepted: AtomicUsize::new(0),
            open: Mutex::default(),
            is_gone: Mutex::new(false),
        });
        let (of_thread, serve) = (Arc::clone(&shared), Arc::new(serve));
        thread::spawn(move || {
            while let Ok((stream, _)) = of_thread.listener.accept() {
                if *lock(&of_thread.is_gone) {
                    return;
                }
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let number = of_thread.accepted.fetch_add(1, Ordering::SeqCst);
                let clone = stream.try_clone().expect("a descriptor");
                lock(&of_thread.open).insert(number, clone);
                let (serve, of_thread) = (Arc::clone(&serve), Arc::clone(&of_thread));
                thread::spawn(move || {
                    // How it ends is the client's to see.
                    let _ = serve(stream);
                    lock(&of_thread.open).remove(&number);
                });
            }
        });
        Self {
            address,
            _port: port,
            shared,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Has every connection end with a reset, once its closure sees the end of what it reads.
    pub fn reset_all(&self) {
        for stream in lock(&self.shared.open).values() {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

/// What [`TcpServer::echo`] does.
pub fn echo(name: &'static str) -> impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static {
    move |mut stream| {
        use io::{Read as _, Write as _};
        stream.write_all(name.as_bytes())?;
        let mut chunk = [0; 65536];
        loop {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(chunk.get(..count).unwrap_or_default())?;
        }
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        *lock(&self.shared.is_gone) = true;
        let _ = socket2::SockRef::from(&self.shared.listener).shutdown(Shutdown::Both);
        for stream in lock(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
