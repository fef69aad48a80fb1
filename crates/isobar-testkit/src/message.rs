//! What do the bytes of an HTTP/1 message say?
//!
//! A small, strict reader for tests: lines end in CRLF, lengths are plain digits. It is on purpose not Isobar's codec.

use std::io::{self, BufRead, Read};

const MAX_LINE_BYTES: u64 = 1 << 20;

/// The fields of a head or of trailers, in the order they came, names as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of the first field of this name, in any case.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// The values of all fields of this name, in any case.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// Whether a list field of this name holds the token, in any case.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .iter()
            .flat_map(|v| v.split(','))
            .any(|t| t.trim().eq_ignore_ascii_case(token))
    }
}

/// The first line and the fields of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The request line or status line.
    pub line: String,
    /// The fields.
    pub fields: Fields,
}

/// A request as a server saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, as received.
    pub target: String,
    /// The version, such as `HTTP/1.1`.
    pub version: String,
    /// The fields.
    pub fields: Fields,
    /// The body, as far as the server read it, without its framing.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Fields,
    /// Which of the server's connections it came on, counted from 0.
    pub connection: usize,
}

/// A response as a client saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Heads of the interim responses before it.
    pub interim: Vec<Head>,
    /// The version, such as `HTTP/1.1`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The fields.
    pub fields: Fields,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Fields,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Reads a request head; none: the peer closed before its first byte.
pub(crate) fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(head) = read_head(reader)? else {
        return Ok(None);
    };
    let mut words = head.line.splitn(3, ' ').map(str::to_owned);
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(invalid(&format!("request line {:?}", head.line)));
    };
    Ok(Some(Request {
        method,
        target,
        version,
        fields: head.fields,
        ..Request::default()
    }))
}

/// How the body of a request ends (RFC 9112 section 6.3).
pub(crate) fn request_framing(request: &Request) -> io::Result<Framing> {
    Ok(declared_framing(&request.fields)?.unwrap_or(Framing::None))
}

/// Reads the head of a response and of the interim ones before it.
pub(crate) fn read_response_head(reader: &mut impl BufRead) -> io::Result<Response> {
    let mut interim = Vec::new();
    loop {
        let head = read_head(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut words = head.line.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words
            .next()
            .and_then(|w| w.parse().ok())
            .ok_or_else(|| invalid(&head.line))?;
        if (100..200).contains(&status) && status != 101 {
            interim.push(head);
            continue;
        }
        return Ok(Response {
            interim,
            version,
            status,
            fields: head.fields,
            ..Response::default()
        });
    }
}

/// How the body of a response to anything but HEAD ends (RFC 9112 section 6.3).
pub(crate) fn response_framing(response: &Response) -> io::Result<Framing> {
    if matches!(response.status, 101 | 204 | 304) {
        return Ok(Framing::None);
    }
    Ok(declared_framing(&response.fields)?.unwrap_or(Framing::UntilClose))
}

fn declared_framing(fields: &Fields) -> io::Result<Option<Framing>> {
    match (
        fields.values("transfer-encoding").as_slice(),
        fields.values("content-length").as_slice(),
    ) {
        ([], []) => Ok(None),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([], [digits]) => parse_digits(digits, 10).map(|n| Some(Framing::Length(n))),
        other => Err(invalid(&format!("framing {other:?}"))),
    }
}

/// Reads a body and its trailers.
pub(crate) fn read_body(reader: &mut impl BufRead, framing: Framing) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    match framing {
        Framing::None => {}
        Framing::Length(length) => read_exactly(reader, length, &mut body)?,
        Framing::UntilClose => drop(reader.read_to_end(&mut body)?),
        Framing::Chunked => {
            loop {
                let line = read_line(reader)?;
                let size = line.split(';').next().unwrap_or_default();
                let size = parse_digits(size, 16)?;
                if size == 0 {
                    break;
                }
                read_exactly(reader, size, &mut body)?;
                if !read_line(reader)?.is_empty() {
                    return Err(invalid("chunk does not end where it said"));
                }
            }
            return Ok((body, read_fields(reader)?));
        }
    }
    Ok((body, Fields::default()))
}

fn read_exactly(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if reader.take(length).read_to_end(body)? as u64 == length {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    if reader.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let line = read_line(reader)?;
    Ok(Some(Head {
        line,
        fields: read_fields(reader)?,
    }))
}

fn read_fields(reader: &mut impl BufRead) -> io::Result<Fields> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(Fields(fields));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(&format!("field line {line:?}")))?;
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        None if line.ends_with(b"\n") => Err(invalid("line without CR")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn parse_digits(text: &str, radix: u32) -> io::Result<u64> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    plain
        .then(|| u64::from_str_radix(text, radix).ok())
        .flatten()
        .ok_or_else(|| invalid(&format!("length {text:?}")))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1: {what}"))
}

#[cfg(test)]
mod tests {
    use super::{read_body, read_request, read_response_head, request_framing, response_framing};

    #[test]
    fn requests_are_read() {
        let bytes =
            b"PUT /a?b HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: 1\r\n\r\n";
        let mut reader = bytes.as_slice();
        let request = read_request(&mut reader).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/a?b"));
        let (body, trailers) = read_body(&mut reader, request_framing(&request).unwrap()).unwrap();
        assert_eq!((body.as_slice(), trailers.value("t")), (b"abc".as_slice(), Some("1")));
        assert!(read_request(&mut reader).unwrap().is_none());
    }

    #[test]
    fn responses_are_read() {
        let mut reader =
            b"HTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".as_slice();
        let response = read_response_head(&mut reader).unwrap();
        assert_eq!(
            (response.status, response.interim[0].fields.value("Link")),
            (200, Some("a"))
        );
        assert_eq!(
            read_body(&mut reader, response_framing(&response).unwrap()).unwrap().0,
            b"hi"
        );
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for bytes in [
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nshort",
            "nonsense\r\n\r\n",
        ] {
            let mut reader = bytes.as_bytes();
            let outcome = read_response_head(&mut reader)
                .and_then(|response| response_framing(&response))
                .and_then(|framing| read_body(&mut reader, framing));
            assert!(outcome.is_err(), "{bytes:?}");
        }
    }
}
