//! Does a server answer an HTTP request as it should?

use isobar_plan::HttpProbe;
use isobar_wire::{BodyDecoder, HeadLimits, Method, Parsed, RequestKind, ResponseHead, write};

use super::heard::{Heard, MAX_HEARD, shown};
use super::{Duplex, receive, send};
use crate::health::progress::Progress;

/// What is read of an answer's head at most.
const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16 * 1024,
    max_fields: 128,
};

/// Asks once over a connection that is used for nothing else.
pub(super) async fn ask(
    stream: &mut dyn Duplex,
    probe: &HttpProbe,
    host: &str,
    progress: &Progress,
) -> Result<(), String> {
    progress.now("sending the request");
    send(stream, &request(probe, host)).await?;
    progress.now("waiting for the head of the answer");
    let (head, rest) = read_head(stream, Method::from_bytes(probe.method.as_bytes())).await?;
    if !probe.expect.contains(head.status) {
        return Err(format!("{} {} answered {}", probe.method, probe.path, head.status));
    }
    match &probe.body {
        None => Ok(()),
        Some(text) => {
            progress.now(format!("reading the body, without {} so far", shown(text)));
            read_body(stream, &head, rest, text).await
        }
    }
}

fn request(probe: &HttpProbe, host: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write::request_line(&mut request, probe.method.as_bytes(), probe.path.as_bytes());
    write::field(&mut request, b"Host", host.as_bytes());
    if probe.headers.iter().all(|(name, _)| &**name != "user-agent") {
        write::field(&mut request, b"User-Agent", b"isobar-health-check");
    }
    for (name, value) in &probe.headers {
        write::field(&mut request, name.as_bytes(), value.as_bytes());
    }
    if &*probe.method == "POST" {
        write::field(&mut request, b"Content-Length", b"0");
    }
    write::field(&mut request, b"Connection", b"close");
    write::end(&mut request);
    request
}

/// Reads up to the end of the final head; what came behind it is left over.
async fn read_head(stream: &mut dyn Duplex, method: Method) -> Result<(ResponseHead, Vec<u8>), String> {
    let mut head = ResponseHead::new();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let kind = RequestKind { method, upgrade: false };
    loop {
        let count = receive(stream, &mut chunk).await?;
        if count == 0 && bytes.is_empty() {
            return Err("the connection was closed before an answer".to_owned());
        } else if count == 0 {
            return Err("the connection was closed in the head of the answer".to_owned());
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        loop {
            let parsed = head.parse(&bytes, kind, LIMITS);
            match parsed.map_err(|error| format!("not HTTP: {error}"))? {
                Parsed::Partial => break,
                Parsed::Complete if head.is_interim() => drop(bytes.drain(..head.len)),
                Parsed::Complete => {
                    bytes.drain(..head.len);
                    return Ok((head, bytes));
                }
            }
        }
    }
}

/// Reads the body until it contains the text.
async fn read_body(
    stream: &mut dyn Duplex,
    head: &ResponseHead,
    mut input: Vec<u8>,
    text: &[u8],
) -> Result<(), String> {
    let mut body = BodyDecoder::new(head.body);
    let mut heard = Heard::default();
    let mut chunk = [0; 4096];
    let mut ended = false;
    loop {
        while !input.is_empty() && !body.is_done() {
            let decoded = body.decode(&input).map_err(|error| format!("not HTTP: {error}"))?;
            heard.push(input.get(decoded.data).unwrap_or_default());
            input.drain(..decoded.consumed);
        }
        if heard.find(text) {
            return Ok(());
        }
        if heard.is_full() {
            return Err(format!(
                "{} is not in the first {MAX_HEARD} bytes of the body",
                shown(text)
            ));
        }
        if body.is_done() || ended {
            return Err(format!("the body is without {}: {}", shown(text), heard.shown()));
        }
        let count = receive(stream, &mut chunk).await?;
        input.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if count == 0 {
            body.finish_at_eof().map_err(|error| error.to_string())?;
            ended = true;
        }
    }
}
