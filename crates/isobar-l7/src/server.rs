//! How is a connection to a server had?

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Instant;

use isobar_net::stream::Stream;
use isobar_net::wheel::Timer;
use isobar_upstream::Permit;

use crate::Worker;
use crate::carrier::Carrier;
use crate::http2::Opened;

/// A connection to a server. Boxed wherever it is kept: it moves between the pool and exchanges, and would make every
/// client connection's task larger by itself.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    pub(crate) stream: Carrier,
    pub(crate) address: SocketAddr,
    /// The deadline of whatever the response direction waits for.
    pub(crate) timer: Timer,
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
}

impl ServerConnection {
    /// Makes a connection.
    pub(crate) async fn open(
        worker: &Worker,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<Box<Self>, ConnectError> {
        let timer = worker.wheel.timer();
        timer.set(deadline);
        let mut connect = std::pin::pin!(Stream::connect(address));
        let stream = poll_fn(|cx| {
            if let Poll::Ready(result) = connect.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(ConnectError::Refused));
            }
            timer.poll_expired(cx).map(|()| Err(ConnectError::TimedOut))
        });
        let stream = stream.await?;
        timer.clear();
        Ok(Box::new(Self {
            stream: Carrier::Connection(stream),
            address,
            timer,
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
            reused,
            permit: None,
        }
    }

    /// Whether the server has, as far as is known, neither closed it nor sent anything unasked.
    pub(crate) fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }
}
