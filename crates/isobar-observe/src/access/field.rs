//! Which fields can a line have?
//!
//! One table: the placeholder's name, what it means, and how it is read from a record.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::{Record, digits, escape};
use crate::WallTime;

/// What a field says about one exchange.
enum Value<'a> {
    Absent,
    Bytes(&'a [u8]),
    Number(u64),
    Flag(bool),
    Millis(Duration),
    UnixSeconds(WallTime),
    Rfc3339(WallTime),
    Clf(WallTime),
    Ip(IpAddr),
    Socket(SocketAddr),
    RequestLine(&'a Record<'a>),
}

impl<'a> Value<'a> {
    fn name(name: Option<&'a str>) -> Self {
        name.map_or(Self::Absent, |name| Self::Bytes(name.as_bytes()))
    }

    fn maybe(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Absent, Self::Millis)
    }
}

macro_rules! fields {
    ($($field:ident $name:literal |$record:ident| $value:expr, $help:literal;)*) => {
        /// A placeholder of a template.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Field {
            $(#[doc = $help] $field,)*
        }

        impl Field {
            /// Every field, in the order of the JSON format and the reference page.
            pub const ALL: [Self; [$($name,)*].len()] = [$(Self::$field,)*];

            /// The placeholder's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }

            /// What it says, as one sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$field => $help,)*
                }
            }

            #[inline]
            fn value<'a>(self, record: &'a Record<'a>) -> Value<'a> {
                match self {
                    $(Self::$field => { let $record = record; $value })*
                }
            }
        }
    };
}

fields! {
    Time "time" |r| Value::Rfc3339(r.time), "When the exchange ended, as in `2000-10-10T13:55:36.123Z`.";
    TimeClf "time_clf" |r| Value::Clf(r.time), "The same, as in `10/Oct/2000:13:55:36 +0000`.";
    TimeUnix "time_unix" |r| Value::UnixSeconds(r.time), "The same in seconds since 1970, with milliseconds.";
    Client "client" |r| Value::Ip(r.client), "The client's address, as far as trusted proxies tell.";
    Peer "peer" |r| Value::Socket(r.peer), "Address and port of the other end of the connection.";
    Connection "connection" |r| Value::Number(r.connection), "The number of the client's connection.";
    Listener "listener" |r| Value::Bytes(r.listener.as_bytes()), "The listener's name.";
    Route "route" |r| Value::name(r.route), "The route's name.";
    Upstream "upstream" |r| Value::name(r.upstream), "The upstream's name.";
    Server "server" |r| Value::name(r.server), "The name of the last server tried; of a forward proxy, the address and port it went to.";
    Picked "picked" |r| Value::name(r.picked.map(crate::Picked::text)), "How that server was chosen: `balance` by the algorithm, `sticky` because the session is its own, `reassigned` because the session's server could not be used.";
    User "user" |r| Value::name(r.user), "Who a client of a forward proxy has proved to be.";
    Method "method" |r| Value::Bytes(r.method), "The method.";
    Host "host" |r| Value::Bytes(r.host), "The host that was asked for.";
    Target "target" |r| Value::Bytes(r.target), "Path and query as received.";
    Path "path" |r| Value::Bytes(path(r.target)), "The target without its query.";
    Protocol "protocol" |r| Value::Bytes(r.protocol.as_bytes()), "The client's version of HTTP.";
    TlsVersion "tls_version" |r| Value::name(r.tls.map(|tls| tls.version)), "The version of TLS, as in `TLSv1.3`.";
    TlsCipher "tls_cipher" |r| Value::name(r.tls.and_then(|tls| tls.cipher)), "The cipher suite of TLS.";
    TlsName "tls_name" |r| Value::name(r.tls.and_then(|tls| tls.name)), "The name the client asked for in its TLS handshake.";
    Request "request" |r| Value::RequestLine(r), "Method, target and protocol, with spaces between them.";
    Status "status" |r| Value::Number(u64::from(r.status)), "The status of the answer; 499: the client left before it.";
    GrpcStatus "grpc_status" |r| Value::name(r.grpc_status), "What a call of gRPC came to, as in `ok` or `unavailable`; `missing`: its answer ended without saying.";
    BytesIn "bytes_in" |r| Value::Number(r.bytes_in), "Bytes of the request body that were taken.";
    BytesOut "bytes_out" |r| Value::Number(r.bytes_out), "Bytes of the answer body that were given.";
    DurationMs "duration_ms" |r| Value::Millis(r.duration), "From the first byte of the request to the end.";
    FirstByteMs "first_byte_ms" |r| Value::maybe(r.first_byte), "From the first byte of the request to the first of the server's answer.";
    QueueMs "queue_ms" |r| Value::Millis(r.queue), "How long the request waited for a server.";
    ConnectMs "connect_ms" |r| Value::maybe(r.connect), "How long a new connection to the server took.";
    Attempts "attempts" |r| Value::Number(u64::from(r.attempts)), "Servers tried.";
    Tried "tried" |r| Value::Bytes(r.tried), "Servers that failed the request and why, as in `a:connect_failed b:503`; `hedge_lost`: another was faster.";
    TlsError "tls_error" |r| Value::Bytes(r.tls_error), "Why a connection to a server could not be secured, in words; of several the last.";
    Limit "limit" |r| Value::name(r.limit), "The limit that refused the request.";
    LimitShadow "limit_shadow" |r| Value::name(r.limit_shadow), "A limit that would have refused the request, were it enforced; of several the first.";
    LimitDelayMs "limit_delay_ms" |r| Value::Millis(r.limit_delay), "How long limits made the request wait.";
    ThrottledMs "throttled_ms" |r| Value::Millis(r.throttled), "How long bytes of the client waited for the sake of limits, of both ways together.";
    LimitRemaining "limit_remaining" |r| r.limit_remaining.map_or(Value::Absent, Value::Number), "What the tightest of the limits that were asked had left after the request.";
    RetryRefused "retry_refused" |r| Value::Flag(r.retry_refused), "Whether a further try was left out because the budget for retries was used up.";
    Upgraded "upgraded" |r| Value::Flag(r.upgraded), "Whether the connection was upgraded, as for a WebSocket.";
    Cause "cause" |r| Value::Bytes(r.cause.text().as_bytes()), "How the exchange ended.";
    Detail "detail" |r| Value::Bytes(r.detail.as_bytes()), "What exactly was wrong with what the client sent, where the cause does not say it all.";
    Fault "fault" |r| Value::Bytes(r.cause.fault().text().as_bytes()), "Whose fault that was.";
    Referer "referer" |r| Value::Bytes(r.referer), "The request's `Referer`.";
    UserAgent "user_agent" |r| Value::Bytes(r.user_agent), "The request's `User-Agent`.";
    ForwardedFor "forwarded_for" |r| Value::Bytes(r.forwarded_for), "The request's `X-Forwarded-For` as received.";
    RequestId "request_id" |r| Value::Bytes(r.request_id), "The request's `X-Request-Id`.";
}

/// What the JSON format leaves out, mostly because other fields say the same.
const TEMPLATE_ONLY: [Field; 5] = [
    Field::TimeClf,
    Field::TimeUnix,
    Field::Path,
    Field::Request,
    // Of use to those who ask for it.
    Field::LimitRemaining,
];

fn path(target: &[u8]) -> &[u8] {
    target.split(|&byte| byte == b'?').next().unwrap_or_default()
}

impl Field {
    /// The field of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    pub(super) fn in_json(self) -> bool {
        !TEMPLATE_ONLY.contains(&self)
    }

    /// Appends the field as plain text; `-` stands for what is not there.
    pub(super) fn write_text(self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self.value(record) {
            Value::Absent | Value::Bytes([]) => out.push(b'-'),
            Value::Bytes(bytes) => escape::text(bytes, out),
            Value::RequestLine(record) => write_request_line(record, escape::text, out),
            plain => plain.write_plain(out),
        }
    }

    /// Appends the field as a JSON value; `null` stands for what there cannot be.
    pub(super) fn write_json(self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self.value(record) {
            Value::Absent => out.extend_from_slice(b"null"),
            Value::Bytes(bytes) => quoted(out, |out| escape::json(bytes, out)),
            Value::RequestLine(record) => quoted(out, |out| write_request_line(record, escape::json, out)),
            number @ (Value::Number(_) | Value::Flag(_) | Value::Millis(_) | Value::UnixSeconds(_)) => {
                number.write_plain(out);
            }
            plain => quoted(out, |out| plain.write_plain(out)),
        }
    }
}

impl Value<'_> {
    /// Appends what is written the same in every format.
    fn write_plain(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Number(number) => digits::decimal(number, out),
            Self::Flag(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
            Self::Millis(duration) => digits::millis(duration, out),
            Self::UnixSeconds(time) => digits::seconds(time.0, out),
            Self::Rfc3339(time) => time.write_rfc3339(out),
            Self::Clf(time) => time.write_clf(out),
            Self::Ip(address) => digits::ip(address, out),
            Self::Socket(address) => digits::socket(address, out),
            Self::Absent | Self::Bytes(_) | Self::RequestLine(_) => {}
        }
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// Appends the request line; what was not understood of it is left out, and `-` stands for none of it.
fn write_request_line(record: &Record<'_>, escape: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    let before = out.len();
    for part in [record.method, record.target, record.protocol.as_bytes()] {
        if part.is_empty() {
            continue;
        }
        if out.len() > before {
            out.push(b' ');
        }
        escape(part, out);
    }
    if out.len() == before {
        out.push(b'-');
    }
}

/// The placeholders as a page of the reference, in Markdown.
#[must_use]
pub fn fields_markdown() -> String {
    let mut page = String::from(
        "# Access log\n\n\
        A line is written when an exchange has ended. `json` writes the fields marked so, one object a line; `combined` is\n\
        the format of Apache and nginx. A template puts fields in braces, as in `{client} {status}`; `{{` and `}}` stand\n\
        for braces. What is not there is `-` in a template and `null` in JSON.\n\n\
        In templates and `combined`, quotes, backslashes and bytes that are not printable ASCII are written `\\xHH`, as\n\
        nginx does; in JSON, bytes that are not UTF-8 are. ",
    );
    let _ = write!(
        page,
        "Values are cut after {} bytes, with `...` at the end.\n\n",
        escape::MAX_VALUE_BYTES
    );
    page.push_str("| field | in `json` | meaning |\n|---|---|---|\n");
    for field in Field::ALL {
        let json = if field.in_json() { "yes" } else { "" };
        let _ = writeln!(page, "| `{{{}}}` | {json} | {} |", field.name(), field.help());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{Field, fields_markdown, path};

    #[test]
    fn names_lead_back_to_fields() {
        for field in Field::ALL {
            assert_eq!(Field::of(field.name()), Some(field));
            assert!(field.help().ends_with('.'), "{}", field.name());
        }
        assert_eq!(Field::of("nothing"), None);
    }

    #[test]
    fn paths() {
        let check = |target: &[u8], expected: &[u8]| assert_eq!(path(target), expected);
        check(b"", b"");
        check(b"/a", b"/a");
        check(b"/a?b?c", b"/a");
        check(b"?", b"");
        check(b"*", b"*");
    }

    #[test]
    fn the_page_has_every_field_once() {
        let page = fields_markdown();
        for field in Field::ALL {
            assert_eq!(
                page.matches(&std::format!("| `{{{}}}` |", field.name())).count(),
                1,
                "{}",
                field.name()
            );
        }
    }
}
