//! What does a server of HTTP/2 do that is told by paths what to do?
//!
//! | path | |
//! |---|---|
//! | `/echo` | the body, with its trailers, as it comes |
//! | `/bytes/N` | so many bytes, whose length is said |
//! | `/stream/N` | so many bytes, whose length is not |
//! | `/status/N` | that status, without a body |
//! | `/early` | 103 before the answer |
//! | `/trailers` | trailers behind a body |
//! | `/held` | answered when [`release`](Http2Origin::release) is called; the body is not read before |
//! | `/cut` | half of an answer, then a reset |
//! | `/goaway` | answered, and the connection takes no more |
//! | `/hasty` | 413 at once; the body is never read |
//! | anything else | `ok` |
//!
//! A request for a WebSocket gets every byte back that it sends.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::client::{body, fields, map};
use crate::message::Fields;

/// What a server is like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http2Settings {
    /// Streams that a client may have open; none: as many as it likes.
    pub max_concurrent_streams: Option<u32>,
    /// Whether it takes WebSockets (RFC 8441).
    pub websockets: bool,
}

/// A request that it saw.
#[derive(Debug, Clone, Default)]
pub struct Http2Seen {
    /// The method.
    pub method: String,
    /// The target, as received.
    pub uri: String,
    /// The fields.
    pub fields: Fields,
    /// The body, once it is read.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Fields,
    /// Which of the server's connections it came on, counted from 0.
    pub connection: usize,
}

#[derive(Debug, Default)]
struct State {
    seen: Mutex<Vec<Http2Seen>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// Requests that are being worked on, now and at most.
    busy: AtomicUsize,
    most_busy: AtomicUsize,
}

/// A server on a loopback port of its own; it ends with all its connections when dropped.
#[derive(Debug)]
pub struct Http2Origin {
    address: SocketAddr,
    state: Arc<State>,
    released: watch::Sender<bool>,
    /// Ends it when dropped.
    _end: oneshot::Sender<()>,
}

impl Http2Origin {
    /// Starts a server.
    #[must_use]
    pub fn start(settings: Http2Settings) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let (released, watched) = watch::channel(false);
        let (end, ended) = oneshot::channel::<()>();
        let state = Arc::new(State::default());
        let serving = Serving {
            settings,
            state: Arc::clone(&state),
            released: watched,
        };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.spawn(accept(listener, serving));
            // Whatever still runs then ends with the runtime.
            let _ = runtime.block_on(ended);
        });
        Self {
            address,
            state,
            released,
            _end: end,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what is held, and all that comes from now on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Every request it has seen, in the order their heads came.
    #[must_use]
    pub fn seen(&self) -> Vec<Http2Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request it saw.
    ///
    /// *Panics* when there was none.
    #[must_use]
    #[track_caller]
    pub fn last_seen(&self) -> Http2Seen {
        self.seen().pop().expect("the server has seen no request")
    }

    /// How many connections it has taken so far.
    #[must_use]
    pub fn connections_accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// How many requests it works on now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.state.busy.load(Ordering::SeqCst)
    }

    /// How many it worked on at once at most.
    #[must_use]
    pub fn most_busy(&self) -> usize {
        self.state.most_busy.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Serving {
    settings: Http2Settings,
    state: Arc<State>,
    released: watch::Receiver<bool>,
}

async fn accept(listener: std::net::TcpListener, serving: Serving) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let connection = serving.state.accepted.fetch_add(1, Ordering::SeqCst);
        let serving = serving.clone();
        tokio::spawn(async move {
            serving.state.open.fetch_add(1, Ordering::SeqCst);
            // Whatever ends a connection is for the other side to tell.
            let _ = serving.serve(stream, connection).await;
            serving.state.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Counts a request for as long as it lives.
struct Busy(Arc<State>);

impl Busy {
    fn new(state: &Arc<State>) -> Self {
        let now = state.busy.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_busy.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Serving {
    async fn serve(&self, stream: TcpStream, number: usize) -> Result<(), h2::Error> {
        let _ = stream.set_nodelay(true);
        let mut builder = Builder::new();
        // Small pieces may wait for as long as a test wants them to.
        builder.data_frame_budget(usize::MAX);
        if let Some(max) = self.settings.max_concurrent_streams {
            builder.max_concurrent_streams(max);
        }
        if self.settings.websockets {
            builder.enable_connect_protocol();
        }
        let mut connection = builder.handshake::<_, Bytes>(stream).await?;
        while let Some(next) = connection.accept().await {
            let (request, respond) = next?;
            if request.uri().path() == "/goaway" {
                connection.graceful_shutdown();
            }
            let serving = self.clone();
            let index = self.remember(&request, number);
            let busy = Busy::new(&self.state);
            tokio::spawn(async move {
                // A stream that breaks is for the other side to tell.
                let _ = serving.answer(request, respond, index).await;
                drop(busy);
            });
        }
        Ok(())
    }

    fn remember(&self, request: &Request<RecvStream>, connection: usize) -> usize {
        let mut seen = self.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Http2Seen {
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            fields: fields(request.headers()),
            connection,
            ..Http2Seen::default()
        });
        seen.len() - 1
    }

    async fn read(&self, recv: RecvStream, index: usize) -> io::Result<(Vec<u8>, Fields)> {
        let (body, trailers) = body(recv).await?;
        let mut seen = self.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = seen.get_mut(index) {
            (kept.body, kept.trailers) = (body.clone(), trailers.clone());
        }
        Ok((body, trailers))
    }

    async fn answer(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        index: usize,
    ) -> io::Result<()> {
        let path = request.uri().path().to_owned();
        let is_websocket = request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_some();
        let is_head = request.method() == Method::HEAD;
        let recv = request.into_body();
        if is_websocket {
            return echo(recv, respond).await;
        }
        if path == "/held" {
            let mut released = self.released.clone();
            let _ = released.wait_for(|released| *released).await;
        }
        if path == "/hasty" {
            return send(respond, 413, None, b"no".to_vec()).await;
        }
        let (body, trailers) = self.read(recv, index).await?;
        let number = |prefix: &str| {
            path.strip_prefix(prefix)
                .and_then(|number| number.parse::<usize>().ok())
        };
        if let Some(len) = number("/bytes/") {
            let body = if is_head { Vec::new() } else { vec![b'x'; len] };
            return send(respond, 200, Some(len), body).await;
        }
        if let Some(len) = number("/stream/") {
            return send(respond, 200, None, vec![b'x'; len]).await;
        }
        if let Some(status) = number("/status/") {
            return send(respond, u16::try_from(status).unwrap_or(500), None, Vec::new()).await;
        }
        match path.as_str() {
            "/early" => {
                let early = Response::builder().status(103).header("link", "</a>").body(());
                let early = early.map_err(io::Error::other)?;
                respond.send_informational(early).map_err(io::Error::other)?;
                send(respond, 200, None, b"late".to_vec()).await
            }
            "/trailers" => with_trailers(respond, b"body", &[("x-sum", "1")]).await,
            "/echo" => {
                let trailers: Vec<_> = trailers.0.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                if trailers.is_empty() {
                    return send(respond, 200, None, body).await;
                }
                with_trailers(respond, &body, &trailers).await
            }
            "/cut" => {
                let head = Response::builder().header("content-length", "10").body(());
                let head = head.map_err(io::Error::other)?;
                let mut stream = respond.send_response(head, false).map_err(io::Error::other)?;
                write(&mut stream, Bytes::from_static(b"half"), false).await?;
                // What was sent before has to be on its way, or the reset takes its place.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                stream.send_reset(Reason::INTERNAL_ERROR);
                Ok(())
            }
            _ => send(respond, 200, Some(2), if is_head { Vec::new() } else { b"ok".to_vec() }).await,
        }
    }
}

async fn send(mut respond: SendResponse<Bytes>, status: u16, len: Option<usize>, body: Vec<u8>) -> io::Result<()> {
    let mut head = Response::builder().status(status);
    if let Some(len) = len {
        head = head.header("content-length", len);
    }
    let head = head.body(()).map_err(io::Error::other)?;
    let mut stream = respond.send_response(head, body.is_empty()).map_err(io::Error::other)?;
    if body.is_empty() {
        return Ok(());
    }
    write(&mut stream, body.into(), true).await
}

async fn with_trailers(mut respond: SendResponse<Bytes>, body: &[u8], trailers: &[(&str, &str)]) -> io::Result<()> {
    let mut stream = respond
        .send_response(Response::new(()), false)
        .map_err(io::Error::other)?;
    write(&mut stream, Bytes::copy_from_slice(body), false).await?;
    stream.send_trailers(map(trailers)?).map_err(io::Error::other)
}

/// Sends data as the client has room for it.
async fn write(stream: &mut SendStream<Bytes>, mut data: Bytes, ends: bool) -> io::Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.ok_or(io::ErrorKind::BrokenPipe)?.map_err(io::Error::other)?;
        let piece = data.split_to(room.min(data.len()));
        let last = data.is_empty() && ends;
        stream.send_data(piece, last).map_err(io::Error::other)?;
    }
    Ok(())
}

async fn echo(mut recv: RecvStream, mut respond: SendResponse<Bytes>) -> io::Result<()> {
    let mut stream = respond
        .send_response(Response::new(()), false)
        .map_err(io::Error::other)?;
    while let Some(data) = recv.data().await {
        let data = data.map_err(io::Error::other)?;
        // A connection that is gone shows with the next piece.
        let _ = recv.flow_control().release_capacity(data.len());
        write(&mut stream, data, false).await?;
    }
    stream.send_data(Bytes::new(), true).map_err(io::Error::other)
}
