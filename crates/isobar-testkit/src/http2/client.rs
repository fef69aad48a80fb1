//! What does a client of HTTP/2 that keeps the rules ask, and get?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest, handshake};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use crate::PATIENCE;
use crate::message::Fields;

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// The method; GET where it is empty.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// Fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
    /// Trailers.
    pub trailers: &'a [(&'a str, &'a str)],
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Got {
    /// The statuses of interim answers.
    pub interim: Vec<u16>,
    /// The status.
    pub status: u16,
    /// The fields.
    pub fields: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Fields,
}

/// Sends a request on a connection of its own.
///
/// *Errors*: the connection's, those of HTTP/2, and no answer within [`PATIENCE`].
pub fn fetch(address: SocketAddr, asked: &Asked<'_>) -> io::Result<Got> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let exchange = tokio::time::timeout(PATIENCE, exchange(address, asked));
        exchange.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    })
}

async fn exchange(address: SocketAddr, asked: &Asked<'_>) -> io::Result<Got> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (send, connection) = handshake(stream).await.map_err(io::Error::other)?;
    let driver = tokio::task::spawn(connection);
    let got = ask(send, asked).await;
    // It says goodbye, where the peer lets it.
    let _ = tokio::time::timeout(Duration::from_secs(1), driver).await;
    got
}

async fn ask(send: SendRequest<Bytes>, asked: &Asked<'_>) -> io::Result<Got> {
    let method = if asked.method.is_empty() { "GET" } else { asked.method };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://test.example{}", asked.path));
    for &(name, value) in asked.fields {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(io::Error::other)?;
    let ends = asked.body.is_empty() && asked.trailers.is_empty();
    let mut send = send.ready().await.map_err(io::Error::other)?;
    let (response, mut stream) = send.send_request(request, ends).map_err(io::Error::other)?;
    if !ends {
        if !asked.body.is_empty() {
            let body = Bytes::copy_from_slice(asked.body);
            stream
                .send_data(body, asked.trailers.is_empty())
                .map_err(io::Error::other)?;
        }
        if !asked.trailers.is_empty() {
            stream.send_trailers(map(asked.trailers)?).map_err(io::Error::other)?;
        }
    }
    receive(response).await
}

async fn receive(mut response: ResponseFuture) -> io::Result<Got> {
    let mut got = Got::default();
    let response = std::future::poll_fn(|cx| {
        while let std::task::Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            got.interim.push(interim.status().as_u16());
        }
        Future::poll(std::pin::Pin::new(&mut response), cx)
    });
    let response = response.await.map_err(io::Error::other)?;
    got.status = response.status().as_u16();
    got.fields = fields(response.headers());
    (got.body, got.trailers) = body(response.into_body()).await?;
    Ok(got)
}

/// Reads a body, and the trailers behind it.
pub(super) async fn body(mut stream: RecvStream) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.map_err(io::Error::other)?;
        // A connection that is gone shows with the next piece.
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.map_err(io::Error::other)?;
    Ok((body, trailers.map(|trailers| fields(&trailers)).unwrap_or_default()))
}

pub(super) fn fields(map: &HeaderMap) -> Fields {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Fields(
        map.iter()
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect(),
    )
}

pub(super) fn map(fields: &[(&str, &str)]) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        let value = http::HeaderValue::from_str(value).map_err(io::Error::other)?;
        map.append(name, value);
    }
    Ok(map)
}
