//! What does a server of HTTP/2 do that answers each request as a test wants?

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use isobar_testkit::http2::{FramePeer, flags, kind};
use isobar_testkit::{Configuration, Isobar, Origin, binary};

/// A request that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Which of the server's connections it came on, counted from 0.
    pub(crate) connection: usize,
    /// Its stream.
    pub(crate) stream: u32,
}

/// A server that does this about every request, of which it reads no more than that there is one.
pub(crate) fn scripted(say: impl Fn(&mut FramePeer, Asked) -> io::Result<()> + Send + Sync + 'static) -> Origin {
    let connections = AtomicUsize::new(0);
    Origin::raw(move |stream| {
        let connection = connections.fetch_add(1, Ordering::SeqCst);
        let mut peer = FramePeer::accept(stream, &[])?;
        while let Some(frame) = peer.next_of_note()? {
            if frame.kind == kind::HEADERS {
                let stream = frame.stream;
                say(&mut peer, Asked { connection, stream })?;
            }
        }
        Ok(())
    })
}

/// Answers 200, without a body.
pub(crate) fn answer(peer: &mut FramePeer, stream: u32) -> io::Result<()> {
    // The first entry of the table with a status (RFC 7541 appendix A).
    peer.frame(kind::HEADERS, flags::WHOLE, stream, [0x88])
}

/// One worker in front of servers of HTTP/2.
pub(crate) fn before(servers: &[std::net::SocketAddr], more: &str) -> Isobar {
    let configuration = Configuration::to(servers).upstream(format!("http_version: http2\n{more}"));
    binary!().workers(1).run(&configuration)
}

/// The sum of a metric.
pub(crate) fn counted(isobar: &Isobar, name: &str) -> f64 {
    isobar
        .metrics()
        .sum(&format!("isobar_{name}"), &[])
        .unwrap_or_else(|| panic!("there is no isobar_{name}"))
}
