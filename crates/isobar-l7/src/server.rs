//! How is a connection to a server had?

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Instant;

use isobar_net::limits::is_out_of_descriptors;
use isobar_net::stream::Stream;
use isobar_net::wheel::Timer;
use isobar_upstream::{Permit, Server};

use crate::carrier::Carrier;
use crate::http2::Opened;
use crate::server_tls::ServerTlsError;
use crate::{ServerTls, Worker};

/// A connection to a server. Boxed wherever it is kept: it moves between the pool and exchanges, and would make every
/// client connection's task larger by itself.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    pub(crate) stream: Carrier,
    pub(crate) address: SocketAddr,
    /// The deadline of whatever the response direction waits for.
    pub(crate) timer: Timer,
    /// What secured it; none: nothing did.
    pub(crate) tls: Option<ServerTls>,
    /// Whether it carried an exchange before.
    pub(crate) reused: bool,
    /// Its part of the connections that its upstream may have.
    pub(crate) permit: Option<Permit>,
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The server did not answer in time.
    TimedOut,
    /// It refused, or cannot be reached.
    Refused(io::Error),
    /// It did not come to an end with the handshake in time.
    HandshakeTimedOut,
    /// The connection could not be secured; why, in words.
    Unsecured(String),
}

impl ServerConnection {
    /// Makes a connection, and secures it where `tls` says how, all within the one deadline.
    pub(crate) async fn open(
        worker: &Worker,
        (server, address): (&Server, SocketAddr),
        tls: Option<&ServerTls>,
        deadline: Instant,
    ) -> Result<Box<Self>, ConnectError> {
        let timer = worker.wheel.timer();
        timer.set(deadline);
        let mut connect = std::pin::pin!(connect(worker, address));
        let stream = poll_fn(|cx| {
            if let Poll::Ready(result) = connect.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(ConnectError::Refused));
            }
            timer.poll_expired(cx).map(|()| Err(ConnectError::TimedOut))
        });
        let mut stream = stream.await?;
        if let Some(tls) = tls {
            // Boxed: a handshake can afford it.
            Box::pin(secure(worker, server, tls, (&mut stream, &timer))).await?;
        }
        timer.clear();
        Ok(Box::new(Self {
            stream: Carrier::Connection(stream),
            address,
            timer,
            tls: tls.cloned(),
            reused: false,
            permit: None,
        }))
    }

    /// A stream of a connection that is shared, with what is needed of its own.
    pub(crate) fn of_stream(worker: &Worker, opened: Opened, reused: bool) -> Self {
        Self {
            address: opened.shared().address(),
            stream: Carrier::Opened(Box::new(opened)),
            timer: worker.wheel.timer(),
            tls: None,
            reused,
            permit: None,
        }
    }

    /// Closes it after an exchange that was complete.
    pub(crate) fn close(mut self) {
        self.stream.say_goodbye();
    }

    /// Whether it is as secure as `tls` has it now.
    pub(crate) fn is_secured_by(&self, tls: Option<&ServerTls>) -> bool {
        match (&self.tls, tls) {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether the server has, as far as is known, neither closed it nor sent anything unasked.
    pub(crate) fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }
}

/// Connects; for want of a descriptor, by that of an idle connection.
async fn connect(worker: &Worker, address: SocketAddr) -> io::Result<Stream> {
    match Stream::connect(address).await {
        Err(error) if is_out_of_descriptors(&error) && worker.make_room() => Stream::connect(address).await,
        connected => connected,
    }
}

/// Secures a connection, and takes note of what came of it.
async fn secure(
    worker: &Worker,
    server: &Server,
    tls: &ServerTls,
    (stream, timer): (&mut Stream, &Timer),
) -> Result<(), ConnectError> {
    let agreed = {
        let mut handshake = std::pin::pin!(tls.handshake(stream, server.address()));
        poll_fn(|cx| {
            if let Poll::Ready(result) = handshake.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            timer.poll_expired(cx).map(|()| None)
        })
        .await
    };
    let (error, failure) = match agreed {
        Some(Ok(())) => {
            tls.note(worker, server, Ok(stream));
            return Ok(());
        }
        Some(Err(error)) => {
            let words = error.words.clone();
            (error, ConnectError::Unsecured(words))
        }
        None => (ServerTlsError::timed_out(), ConnectError::HandshakeTimedOut),
    };
    tls.note(worker, server, Err(&error));
    Err(failure)
}
