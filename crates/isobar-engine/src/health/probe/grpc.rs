//! Does a server say that it serves, in the health checking protocol of gRPC?

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, Version};
use isobar_wire::grpc_health::{self, MAX_ANSWER_BYTES, ServingStatus};

use super::Duplex;
use crate::health::progress::Progress;

/// What HTTP/2 may keep of a peer; an answer takes some hundred bytes.
const MAX_FRAME_BYTES: u32 = 16 * 1024;
const MAX_HEAD_BYTES: u32 = 16 * 1024;

/// Bytes of a server's message that are shown to a person.
const MAX_SHOWN: usize = 200;

/// Asks once over a connection that is used for nothing else; `origin` is the scheme and the authority.
pub(super) async fn ask(
    stream: Box<dyn Duplex>,
    origin: &str,
    service: &str,
    progress: &Progress,
) -> Result<(), String> {
    progress.now("beginning HTTP/2");
    let (client, connection) = builder()
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| not_http2(&error))?;
    progress.now("waiting for an answer by gRPC");
    let call = call(client, origin, service);
    tokio::pin!(call);
    tokio::select! {
        biased;
        outcome = &mut call => outcome,
        ended = connection => match ended {
            // What came before the end is still there to be read.
            Ok(()) => call.await,
            Err(error) => Err(not_http2(&error)),
        },
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(MAX_FRAME_BYTES)
        .initial_connection_window_size(MAX_FRAME_BYTES.max(65_535))
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_send_buffer_size(16 * 1024)
        .max_concurrent_streams(0)
        .max_concurrent_reset_streams(1)
        .enable_push(false);
    builder
}

fn not_http2(error: &h2::Error) -> String {
    let io = error.get_io().map(isobar_net::tls::explain);
    format!("not HTTP/2: {}", io.unwrap_or_else(|| error.to_string()))
}

async fn call(client: SendRequest<Bytes>, origin: &str, service: &str) -> Result<(), String> {
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("{origin}{}", grpc_health::PATH))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "isobar-health-check")
        .body(())
        .map_err(|error| format!("the request cannot be written: {error}"))?;
    let mut client = client.ready().await.map_err(|error| not_http2(&error))?;
    let (answer, mut body) = client.send_request(request, false).map_err(|error| not_http2(&error))?;
    let question = Bytes::from(grpc_health::question(service));
    body.send_data(question, true).map_err(|error| not_http2(&error))?;
    verdict(&read(answer).await?, service)
}

/// Reads an answer: a message between a good head and a good end.
async fn read(answer: ResponseFuture) -> Result<Vec<u8>, String> {
    let (head, mut body) = answer.await.map_err(|error| not_http2(&error))?.into_parts();
    if head.status != 200 {
        return Err(format!("not gRPC: the answer has the status {}", head.status.as_u16()));
    }
    let kind = head
        .headers
        .get("content-type")
        .map_or(&b""[..], |kind| kind.as_bytes());
    if !kind.starts_with(b"application/grpc") {
        return Err(format!("not gRPC: the answer is `{}`", kind.escape_ascii()));
    }
    // An answer without a message has its end in its head.
    let ended_at_once = head.headers.contains_key("grpc-status");
    if ended_at_once {
        ended_well(&head.headers)?;
    }
    let message = read_message(&mut body).await?;
    match body.trailers().await.map_err(|error| not_http2(&error))? {
        Some(trailers) => ended_well(&trailers)?,
        None if ended_at_once => {}
        None => return Err("not gRPC: the answer ends without a grpc-status".to_owned()),
    }
    Ok(message)
}

async fn read_message(body: &mut RecvStream) -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| not_http2(&error))?;
        if message.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(format!("the answer has more than {MAX_ANSWER_BYTES} bytes"));
        }
        message.extend_from_slice(&piece);
        // The window only ever grows by what was read.
        let _ = body.flow_control().release_capacity(piece.len());
    }
    Ok(message)
}

/// Whether a call ended well; otherwise why not, in words.
fn ended_well(trailers: &HeaderMap) -> Result<(), String> {
    let text = |name| {
        let value: &[u8] = trailers
            .get(name)
            .map_or(b"", |value: &http::HeaderValue| value.as_bytes());
        value.get(..MAX_SHOWN).unwrap_or(value).escape_ascii().to_string()
    };
    let (status, message) = (text("grpc-status"), text("grpc-message"));
    let said = if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    };
    match status.as_str() {
        "0" => Ok(()),
        "" => Err("not gRPC: the answer ends without a grpc-status".to_owned()),
        "5" => Err(format!("the server does not know the service (NOT_FOUND){said}")),
        "12" => Err(format!(
            "the server does not have the health service of gRPC (UNIMPLEMENTED){said}"
        )),
        other => Err(format!("the call failed with the grpc-status {}{said}", named(other))),
    }
}

/// A status with the name that the gRPC documentation gives it.
fn named(status: &str) -> String {
    let name = match status {
        "1" => "CANCELLED",
        "2" => "UNKNOWN",
        "3" => "INVALID_ARGUMENT",
        "4" => "DEADLINE_EXCEEDED",
        "7" => "PERMISSION_DENIED",
        "8" => "RESOURCE_EXHAUSTED",
        "9" => "FAILED_PRECONDITION",
        "13" => "INTERNAL",
        "14" => "UNAVAILABLE",
        "16" => "UNAUTHENTICATED",
        _ => return format!("`{status}`"),
    };
    format!("{status} ({name})")
}

fn verdict(message: &[u8], service: &str) -> Result<(), String> {
    let of = match service {
        "" => "the server".to_owned(),
        service => format!("the service {service}"),
    };
    let status = grpc_health::answer(message).map_err(|error| format!("not gRPC: {error}"))?;
    Err(match status {
        ServingStatus::Serving => return Ok(()),
        ServingStatus::NotServing => format!("{of} is NOT_SERVING"),
        ServingStatus::Unknown => format!("{of} is UNKNOWN: it does not say whether it serves"),
        ServingStatus::ServiceUnknown => format!("{of} is SERVICE_UNKNOWN: there is none of that name"),
        ServingStatus::Other(status) => format!("{of} has the unknown status {status}"),
    })
}
