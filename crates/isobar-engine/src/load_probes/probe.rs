//! What is one question about the load of a server?

use std::future::poll_fn;
use std::net::SocketAddr;

use isobar_l7::ServerTls;
use isobar_l7::reports::{Said, read, trailers};
use isobar_net::stream::Stream;
use isobar_plan::Reports;
use isobar_upstream::Server;
use isobar_wire::{BodyDecoder, HeadLimits, Method, Parsed, RequestKind, ResponseHead, write};

use crate::health::probe::authority;

/// What is read of an answer's head at most.
const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16 * 1024,
    max_fields: 128,
};

/// Bytes of an answer's body that are read so that the connection can be kept; who sends more is asked on a new one.
const MAX_BODY: usize = 64 * 1024;

const KIND: RequestKind = RequestKind {
    method: Method::Get,
    upgrade: false,
};

/// A connection for questions.
pub(super) struct Connection {
    stream: Stream,
    address: SocketAddr,
    request: Vec<u8>,
    head: ResponseHead,
    /// Whether the last answer left it where the next one begins.
    may_stay: bool,
}

impl Connection {
    /// Connects to one of the server's addresses, secured where `tls` says how; none: it cannot be had.
    pub(super) async fn open(server: &Server, reports: &Reports, tls: Option<&ServerTls>) -> Option<Self> {
        let probe = reports.probe.as_ref()?;
        let address = *server.addresses().first()?;
        let usual_port = if tls.is_some() { 443 } else { 80 };
        let own = || authority(server.address(), usual_port);
        let host = probe.host.as_deref().map_or_else(own, str::to_owned);
        let mut request = Vec::new();
        write::request_line(&mut request, b"GET", probe.path.as_bytes());
        write::field(&mut request, b"Host", host.as_bytes());
        write::field(&mut request, b"User-Agent", b"isobar-load-probe");
        write::end(&mut request);
        let mut stream = Stream::connect(address).await.ok()?;
        if let Some(tls) = tls {
            tls.speaking(&[b"http/1.1"])
                .handshake(&mut stream, server.address())
                .await
                .ok()?;
        }
        Some(Self {
            stream,
            address,
            request,
            head: ResponseHead::new(),
            may_stay: false,
        })
    }

    /// Whether the server still stands where it leads, and has neither closed it nor sent anything unasked.
    pub(super) fn is_usable(&self, server: &Server) -> bool {
        server.addresses().contains(&self.address) && self.stream.is_silent()
    }

    /// Whether it can carry another question.
    pub(super) fn may_stay(&self) -> bool {
        self.may_stay
    }

    /// Asks, and waits without bound: the caller has a deadline. None: there was no answer. An answer without a report
    /// says nothing.
    pub(super) async fn ask(&mut self, reports: &Reports) -> Option<Said> {
        self.may_stay = false;
        self.send().await?;
        let mut bytes = Vec::new();
        self.read_head(&mut bytes).await?;
        let fields = self.head.fields.iter();
        let said = read(
            reports,
            fields.map(|field| (field.name.of(&bytes), field.value.of(&bytes))),
        );
        bytes.drain(..self.head.len);
        let body = self.read_body(&bytes).await;
        let Some(body) = body else { return Some(said) };
        let late = read(reports, trailers(body.trailers()));
        Some(Said {
            report: late.report.or(said.report),
            malformed: said.malformed || late.malformed,
        })
    }

    async fn send(&mut self) -> Option<()> {
        let mut bytes = &self.request[..];
        while !bytes.is_empty() {
            let count = poll_fn(|cx| self.stream.poll_write(cx, bytes)).await.ok()?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Some(())
    }

    /// Reads up to the end of the final head.
    async fn read_head(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let mut chunk = [0; 4096];
        loop {
            let count = poll_fn(|cx| self.stream.poll_read(cx, &mut chunk)).await.ok()?;
            if count == 0 {
                return None;
            }
            bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
            loop {
                match self.head.parse(bytes, KIND, LIMITS).ok()? {
                    Parsed::Partial => break,
                    Parsed::Complete if self.head.is_interim() => drop(bytes.drain(..self.head.len)),
                    Parsed::Complete => return Some(()),
                }
            }
        }
    }

    /// Reads to the end of the body; none: it has none within reason, and the connection is of no more use.
    async fn read_body(&mut self, bytes: &[u8]) -> Option<BodyDecoder> {
        let mut body = BodyDecoder::new(self.head.body);
        let mut rest = pass(&mut body, bytes)?;
        let mut chunk = [0; 4096];
        let mut total = bytes.len();
        while !body.is_done() {
            let count = poll_fn(|cx| self.stream.poll_read(cx, &mut chunk)).await.ok()?;
            total += count;
            if count == 0 || total > MAX_BODY {
                return None;
            }
            rest = pass(&mut body, chunk.get(..count).unwrap_or_default())?;
        }
        self.may_stay = self.head.keep_alive && rest == 0;
        Some(body)
    }
}

/// Passes bytes through the framing; how many are left behind its end. None: they break it.
fn pass(body: &mut BodyDecoder, mut bytes: &[u8]) -> Option<usize> {
    while !bytes.is_empty() && !body.is_done() {
        let decoded = body.decode(bytes).ok()?;
        bytes = bytes.get(decoded.consumed..).unwrap_or_default();
    }
    Some(bytes.len())
}
