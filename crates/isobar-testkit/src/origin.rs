//! What does a server do that can be told to do anything?
//!
//! An [`Origin`] is a real TCP server with a thread per connection; what it says is a closure over an [`Exchange`].
//! It remembers every request, can go away with all its connections, and can come back at the same address.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::message::{Request, read_body, read_request, request_framing};
use crate::{ClosedPort, PATIENCE};

type Serve = dyn Fn(TcpStream, usize, &Shared) -> io::Result<After> + Send + Sync;

/// What a server does with the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Waits for the next request.
    Keep,
    /// Closes it.
    Close,
    /// Resets it.
    Reset,
    /// Leaves it open and says nothing until the peer or the test ends it.
    Stall,
}

/// A scripted server on a loopback port of its own; it ends with all its connections when dropped.
pub struct Origin {
    port: ClosedPort,
    serve: Arc<Serve>,
    shared: Arc<Shared>,
    listener: Mutex<Option<TcpListener>>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    open: Mutex<HashMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    /// How often it has gone away: what was accepted before is closed, also what nobody knew of yet.
    stops: AtomicUsize,
}

/// One request at an origin, and the means to answer it.
pub struct Exchange<'a> {
    /// The head of the request; its body is there once [`body`](Self::body) was called.
    pub request: Request,
    reader: &'a mut BufReader<TcpStream>,
    shared: &'a Shared,
    index: usize,
    body_read: bool,
}

impl Origin {
    /// Serves HTTP: the closure is called for each request head, in turn on each connection.
    ///
    /// A body the closure leaves unread is read before the next request.
    #[must_use]
    pub fn start(handle: impl Fn(&mut Exchange<'_>) -> io::Result<After> + Send + Sync + 'static) -> Self {
        Self::serving(Arc::new(move |stream, connection, shared: &Shared| {
            serve_http(stream, connection, shared, &handle)
        }))
    }

    /// Serves anything else: the closure has each connection to itself.
    #[must_use]
    pub fn raw(handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::serving(Arc::new(move |stream, _, _: &Shared| {
            handle(stream).map(|()| After::Close)
        }))
    }

    /// Answers every request with 200 and this name, in the body and in the field `x-server`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = name.to_owned();
        Self::start(move |exchange| {
            exchange.body()?;
            exchange.reply(200, &[("x-server", &name)], name.as_bytes())
        })
    }

    /// Answers every request with 200 and the body of the request.
    #[must_use]
    pub fn echo() -> Self {
        Self::start(|exchange| {
            let body = exchange.body()?;
            exchange.reply(200, &[], &body)
        })
    }

    /// Answers every request with this status and the body `failed`.
    #[must_use]
    pub fn failing(status: u16) -> Self {
        Self::start(move |exchange| {
            exchange.body()?;
            exchange.reply(status, &[], b"failed")
        })
    }

    /// Reads every request to its end, and never answers.
    #[must_use]
    pub fn mute() -> Self {
        Self::start(|exchange| exchange.body().map(|_| After::Stall))
    }

    /// Answers every request with exactly these bytes, after reading its body.
    #[must_use]
    pub fn answering(bytes: impl AsRef<[u8]>, after: After) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::start(move |exchange| {
            exchange.body()?;
            exchange.send(&bytes)?;
            Ok(after)
        })
    }

    /// Takes connections and never says a word.
    #[must_use]
    pub fn silent() -> Self {
        Self::serving(Arc::new(|_, _, _: &Shared| Ok(After::Stall)))
    }

    fn serving(serve: Arc<Serve>) -> Self {
        let port = ClosedPort::reserve().expect("a loopback port");
        let origin = Self {
            port,
            serve,
            shared: Arc::default(),
            listener: Mutex::default(),
        };
        origin.resume();
        origin
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Every request it has seen so far, in the order their heads were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// How many requests it has seen so far.
    #[must_use]
    pub fn request_count(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    /// The last request it saw.
    ///
    /// *Panics* when there was none.
    #[must_use]
    #[track_caller]
    pub fn last_request(&self) -> Request {
        lock(&self.shared.requests)
            .last()
            .cloned()
            .expect("the server has seen no request")
    }

    /// How many connections it has taken so far.
    #[must_use]
    pub fn connections_accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        lock(&self.shared.open).len()
    }

    /// Goes away like a process that dies: connections close, new ones are refused. Its address stays its own.
    pub fn stop(&self) {
        if let Some(listener) = lock(&self.listener).take() {
            // Shutting a listening socket down wakes the thread that waits in accept.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
        }
        self.shared.stops.fetch_add(1, Ordering::SeqCst);
        self.close_connections();
    }

    /// Closes every connection, wherever it is in its exchange, and goes on listening.
    pub fn close_connections(&self) {
        for stream in lock(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again after [`stop`](Self::stop).
    pub fn resume(&self) {
        let mut slot = lock(&self.listener);
        if slot.is_some() {
            return;
        }
        let listener = crate::wait_for("the origin's port can be listened on again", || self.port.listen().ok());
        let accepting = listener.try_clone().expect("a descriptor for the accepting thread");
        *slot = Some(listener);
        let (serve, shared) = (Arc::clone(&self.serve), Arc::clone(&self.shared));
        thread::spawn(move || accept(&accepting, &serve, &shared));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Exchange<'_> {
    /// Reads the body and the trailers of the request, once; later calls return the same bytes.
    ///
    /// A client that expects 100 (Continue) is sent it first.
    pub fn body(&mut self) -> io::Result<Vec<u8>> {
        if !self.body_read {
            self.body_read = true;
            if self.request.fields.lists("expect", "100-continue") {
                self.send("HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let framing = request_framing(&self.request)?;
            (self.request.body, self.request.trailers) = read_body(self.reader, framing)?;
            if let Some(kept) = lock(&self.shared.requests).get_mut(self.index) {
                (kept.body, kept.trailers) = (self.request.body.clone(), self.request.trailers.clone());
            }
        }
        Ok(self.request.body.clone())
    }

    fn skip_body(&mut self) -> io::Result<()> {
        // Whoever got a final answer instead of 100 (Continue) may leave the body out; it is not waited for.
        let left_out = !self.body_read && self.request.fields.value("expect").is_some();
        if left_out {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            self.body().map(drop)
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends bytes in pieces of this size, with a pause after each.
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, piece: usize, pause: Duration) -> io::Result<()> {
        for piece in bytes.as_ref().chunks(piece) {
            self.send(piece)?;
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Sends an answer with a length, without a body to HEAD, and keeps the connection.
    pub fn reply(&mut self, status: u16, fields: &[(&str, &str)], body: &[u8]) -> io::Result<After> {
        let mut bytes = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in fields {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("\r\n");
        let body = if self.request.method == "HEAD" { &[] } else { body };
        self.send([bytes.as_bytes(), body].concat())?;
        Ok(After::Keep)
    }

    /// The socket, for what an exchange has no word for. Bytes that were read ahead are not in it.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

fn accept(listener: &TcpListener, serve: &Arc<Serve>, shared: &Arc<Shared>) {
    let stops = shared.stops.load(Ordering::SeqCst);
    while let Ok((stream, _)) = listener.accept() {
        let connection = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let (serve, shared) = (Arc::clone(serve), Arc::clone(shared));
        thread::spawn(move || {
            if shared.knows(&stream, connection, stops) {
                let _ = serve_connection(stream, connection, &serve, &shared);
            }
            lock(&shared.open).remove(&connection);
        });
    }
}

impl Shared {
    /// Notes a connection that is open from now on. No: it was accepted before the origin went away.
    fn knows(&self, stream: &TcpStream, connection: usize, stops: usize) -> bool {
        let Ok(known) = stream.try_clone() else { return false };
        let mut open = lock(&self.open);
        let is_here = self.stops.load(Ordering::SeqCst) == stops;
        if is_here {
            open.insert(connection, known);
        }
        is_here
    }
}

fn serve_connection(stream: TcpStream, connection: usize, serve: &Arc<Serve>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let after = serve(stream.try_clone()?, connection, shared)?;
    match after {
        After::Keep | After::Close => stream.shutdown(Shutdown::Both),
        After::Reset => {
            // Every other descriptor of the socket is gone by now or goes here, so that this close is the last one.
            lock(&shared.open).remove(&connection);
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))
        }
        After::Stall => io::copy(&mut &stream, &mut io::sink()).map(drop),
    }
}

fn serve_http(
    stream: TcpStream,
    connection: usize,
    shared: &Shared,
    handle: &impl Fn(&mut Exchange<'_>) -> io::Result<After>,
) -> io::Result<After> {
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    while let Some(mut request) = read_request(&mut reader)? {
        request.connection = connection;
        let index = remember(shared, &request);
        let mut exchange = Exchange {
            request,
            reader: &mut reader,
            shared,
            index,
            body_read: false,
        };
        match handle(&mut exchange)? {
            After::Keep if exchange.request.fields.lists("connection", "close") => return Ok(After::Close),
            After::Keep => exchange.skip_body()?,
            after => return Ok(after),
        }
    }
    Ok(After::Close)
}

fn remember(shared: &Shared, request: &Request) -> usize {
    let mut requests = lock(&shared.requests);
    requests.push(request.clone());
    requests.len() - 1
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread of a failed test may have died with the lock; what it guards is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{After, Origin};
    use crate::{Client, eventually, get};

    #[test]
    fn it_goes_away_and_comes_back() {
        let origin = Origin::named("a");
        assert_eq!(get(origin.address(), "/").unwrap().text(), "a");
        origin.stop();
        assert!(get(origin.address(), "/").is_err());
        eventually("connections are gone", || origin.connections_open() == 0);
        origin.resume();
        assert_eq!(get(origin.address(), "/").unwrap().fields.value("x-server"), Some("a"));
        assert_eq!(origin.request_count(), 2);
    }

    #[test]
    fn it_remembers_bodies_and_keeps_connections() {
        let origin = Origin::echo();
        let mut client = Client::connect(origin.address()).unwrap();
        assert_eq!(client.post("/p", b"12345").unwrap().body, b"12345");
        assert_eq!(client.get("/g").unwrap().status, 200);
        let requests = origin.requests();
        assert_eq!(
            (requests[0].body.as_slice(), requests[1].connection),
            (b"12345".as_slice(), 0)
        );
    }

    #[test]
    fn it_resets_and_closes() {
        let origin = Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", After::Reset);
        assert!(get(origin.address(), "/").is_err());
        let origin = Origin::answering("HTTP/1.1 200 OK\r\n\r\nall", After::Close);
        assert_eq!(get(origin.address(), "/").unwrap().text(), "all");
    }
}
