//! How is the head of a message on a stream put into the form of HTTP/1?
//!
//! What is against the rules of HTTP/2 is refused here, and so is what that form cannot hold. The rest is for whoever reads it to judge.
//!
//! *Source*: RFC 9113 section 8.

use alloc::vec::Vec;

use super::head;
use super::hpack::{Class, Decoded};
use super::stream::Framing;
use crate::{HeadLimits, Version, write};

/// Fields of HTTP/2 that have no line in the form of HTTP/1, at most.
const LEFT_OUT: usize = 3;

/// Bytes of a scheme at most.
const MAX_SCHEME: usize = 64;

/// Why a head is against the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Room that all heads of a connection are read in, one after the other.
#[derive(Debug, Default)]
pub(super) struct Notes {
    bytes: Vec<u8>,
}

/// More than this is not kept for the next head.
const KEPT: usize = 512;

impl Notes {
    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
    }

    fn note(&mut self, bytes: &[u8]) -> Noted {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Noted {
            start,
            end: self.bytes.len(),
        }
    }

    fn of(&self, noted: Option<Noted>) -> &[u8] {
        noted.map_or(&[], |Noted { start, end }| {
            self.bytes.get(start..end).unwrap_or_default()
        })
    }
}

/// A place in the notes.
#[derive(Debug, Clone, Copy)]
struct Noted {
    start: usize,
    end: usize,
}

/// What comes behind the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) framing: Framing,
    /// Bytes of the body, where the head says so.
    pub(super) length: Option<u64>,
    /// Whether a WebSocket is asked for.
    pub(super) websocket: bool,
}

/// A head that is being read.
pub(super) struct Text<'a> {
    text: &'a mut Vec<u8>,
    notes: &'a mut Notes,
    limits: HeadLimits,
    kind: Kind,
    pseudo: Pseudo,
    /// Whether a field has come that is none of the message's first line.
    began: bool,
    length: Option<u64>,
    has_trailer: bool,
    has_host: bool,
    has_key: bool,
    drops_accept: bool,
    cookies: Option<Noted>,
    /// Fields so far, each crumb of a cookie for one.
    fields: usize,
    start: usize,
    fault: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
    Trailers,
}

/// What stands for the first line.
#[derive(Debug, Clone, Copy, Default)]
struct Pseudo {
    method: Option<Noted>,
    scheme: Option<Noted>,
    authority: Option<Noted>,
    path: Option<Noted>,
    protocol: Option<Noted>,
    status: Option<u16>,
}

impl<'a> Text<'a> {
    fn new(text: &'a mut Vec<u8>, notes: &'a mut Notes, limits: HeadLimits, kind: Kind) -> Self {
        let start = text.len();
        notes.clear();
        Self {
            text,
            notes,
            limits,
            kind,
            pseudo: Pseudo::default(),
            began: false,
            length: None,
            has_trailer: false,
            has_host: false,
            has_key: false,
            drops_accept: false,
            cookies: None,
            fields: 0,
            start,
            fault: false,
        }
    }

    /// Of a request.
    pub(super) fn of_request(text: &'a mut Vec<u8>, notes: &'a mut Notes, limits: HeadLimits) -> Self {
        Self::new(text, notes, limits, Kind::Request)
    }

    /// Of a response; with `accept` the request asked for a WebSocket.
    pub(super) fn of_response(
        text: &'a mut Vec<u8>,
        notes: &'a mut Notes,
        limits: HeadLimits,
        accept: Option<&str>,
    ) -> Self {
        Self {
            drops_accept: accept.is_some(),
            ..Self::new(text, notes, limits, Kind::Response)
        }
    }

    /// Of trailers: their lines alone.
    pub(super) fn of_trailers(text: &'a mut Vec<u8>, notes: &'a mut Notes, limits: HeadLimits) -> Self {
        Self::new(text, notes, limits, Kind::Trailers)
    }

    /// Whether nothing more has to be written down: whoever reads it refuses it already.
    fn is_enough(&self) -> bool {
        // Of the notes nothing but cookies is yet to be written.
        let cookies = self.cookies.map_or(0, |Noted { start, end }| end - start);
        let bytes = self.text.len() - self.start + cookies;
        bytes > self.limits.max_bytes || self.fields > self.limits.max_fields + LEFT_OUT
    }

    /// Takes in the next field.
    pub(super) fn field(&mut self, field: Decoded<'_>) {
        if !self.fault && self.take(field).is_none() {
            self.fault = true;
        }
    }

    /// None: it is against the rules.
    fn take(&mut self, field: Decoded<'_>) -> Option<()> {
        let Decoded { name, value, class, .. } = field;
        match class {
            Class::Malformed | Class::ConnectionSpecific => return None,
            Class::Method | Class::Scheme | Class::Authority | Class::Path | Class::Protocol | Class::Status => {
                return self.take_pseudo(class, value);
            }
            Class::Cookie | Class::Host | Class::ContentLength | Class::Te | Class::Trailer | Class::Plain => {}
        }
        if !self.began {
            self.began = true;
            self.first_line()?;
        }
        if self.is_enough() {
            return Some(());
        }
        self.fields += 1;
        match class {
            _ if self.kind == Kind::Trailers => head::line(self.text, field),
            Class::Cookie if self.kind == Kind::Request => self.crumb(value),
            Class::Host if self.kind == Kind::Request => {
                // Whoever names two hosts is not believed to mean one of them (RFC 9113 section 8.3.1).
                let authority = self.notes.of(self.pseudo.authority);
                if core::mem::replace(&mut self.has_host, true) {
                    return None;
                }
                if authority.is_empty() {
                    write::field(self.text, name, value);
                } else if !authority.eq_ignore_ascii_case(value) {
                    return None;
                }
            }
            Class::ContentLength => {
                let length = decimal(value)?;
                if self.length.replace(length).is_some() {
                    return None;
                }
            }
            Class::Trailer => {
                self.has_trailer = true;
                write::field(self.text, name, value);
            }
            // A key is made for it, or it is for nothing.
            _ if name == b"sec-websocket-key" && self.is_websocket() => {
                if core::mem::replace(&mut self.has_key, true) {
                    return None;
                }
            }
            // The client of HTTP/1 is told another.
            _ if name == b"sec-websocket-accept" && self.drops_accept => {}
            _ => head::line(self.text, field),
        }
        Some(())
    }

    fn take_pseudo(&mut self, class: Class, value: &[u8]) -> Option<()> {
        if self.began || self.kind == Kind::Trailers {
            return None;
        }
        let known = match (self.kind, class) {
            (Kind::Response, Class::Status) => {
                let &[a, b, c] = value else { return None };
                let digits = [a, b, c].map(|digit| u16::from(digit.wrapping_sub(b'0')));
                let [hundreds, tens, ones] = digits;
                let is_status = digits.iter().all(|&digit| digit < 10) && (1..=5).contains(&hundreds);
                let status = is_status.then_some(hundreds * 100 + tens * 10 + ones)?;
                return self.pseudo.status.replace(status).is_none().then_some(());
            }
            (Kind::Request, Class::Method) => &mut self.pseudo.method,
            (Kind::Request, Class::Scheme) => &mut self.pseudo.scheme,
            (Kind::Request, Class::Authority) => &mut self.pseudo.authority,
            (Kind::Request, Class::Path) => &mut self.pseudo.path,
            (Kind::Request, Class::Protocol) => &mut self.pseudo.protocol,
            _ => return None,
        };
        // Nothing of a first line has a space in it, and no scheme is long.
        let is_long = class == Class::Scheme && value.len() > MAX_SCHEME;
        if is_long || value.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return None;
        }
        known.replace(self.notes.note(value)).is_none().then_some(())
    }

    /// Cookies may come in crumbs, and have to go on as one (RFC 9113 section 8.2.3).
    fn crumb(&mut self, value: &[u8]) {
        let start = self.cookies.map(|cookies| {
            self.notes.note(b"; ");
            cookies.start
        });
        let Noted { start: own, end } = self.notes.note(value);
        self.cookies = Some(Noted {
            start: start.unwrap_or(own),
            end,
        });
    }

    fn is_websocket(&self) -> bool {
        self.notes.of(self.pseudo.method) == b"CONNECT" && self.notes.of(self.pseudo.protocol) == b"websocket"
    }

    /// Writes what a message begins with; none: it does not say what it has to.
    fn first_line(&mut self) -> Option<()> {
        let pseudo = self.pseudo;
        let notes = &*self.notes;
        match self.kind {
            Kind::Trailers => {}
            Kind::Response => {
                let status = pseudo.status?;
                write::status_line(
                    self.text,
                    Version::Http11,
                    status,
                    write::reason_phrase(status).as_bytes(),
                );
            }
            Kind::Request => {
                let method = notes.of(Some(pseudo.method?));
                let authority = notes.of(pseudo.authority);
                let path = notes.of(pseudo.path);
                let is_connect = method == b"CONNECT";
                let is_path = path.starts_with(b"/") || (path == b"*" && method == b"OPTIONS");
                let has_rest = is_path && !notes.of(pseudo.scheme).is_empty();
                match pseudo.protocol {
                    // RFC 8441 section 4.
                    Some(protocol) if is_connect && has_rest && !authority.is_empty() => {
                        if notes.of(Some(protocol)) == b"websocket" {
                            write::request_line(self.text, b"GET", path);
                            self.text
                                .extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
                        } else {
                            // Another protocol, and none but that one is spoken.
                            write::request_line(self.text, method, authority);
                        }
                    }
                    Some(_) => return None,
                    // RFC 9113 section 8.5.
                    None if is_connect => {
                        if pseudo.scheme.is_some() || pseudo.path.is_some() || authority.is_empty() {
                            return None;
                        }
                        write::request_line(self.text, method, authority);
                    }
                    None if has_rest => write::request_line(self.text, method, path),
                    None => return None,
                }
                if !authority.is_empty() {
                    write::field(self.text, b"host", authority);
                }
            }
        }
        Some(())
    }

    /// Ends the head of a request, behind which the stream ends or not.
    pub(super) fn end_request(mut self, ends: bool) -> Result<Behind, Malformed> {
        let websocket = self.is_websocket();
        self.end_fields()?;
        let behind = match self.length {
            // What comes is no content: it belongs to the other protocol.
            _ if websocket => (Framing::Data, None),
            Some(length) if ends && length > 0 => return Err(Malformed),
            _ if ends => {
                // Those whose meaning is about content, and who have none, should say so (RFC 9110 section 8.6).
                let is_about_content = matches!(self.notes.of(self.pseudo.method), b"POST" | b"PUT" | b"PATCH");
                self.write_length(self.length.or(is_about_content.then_some(0)));
                (Framing::Data, None)
            }
            // In the form of HTTP/1 only chunks can have trailers behind them.
            Some(length) if !self.has_trailer => {
                self.write_length(Some(length));
                (Framing::Data, Some(length))
            }
            length => {
                self.text.extend_from_slice(b"transfer-encoding: chunked\r\n");
                (Framing::Chunks, length)
            }
        };
        write::end(self.text);
        let (framing, length) = behind;
        Ok(Behind {
            framing,
            length,
            websocket,
        })
    }

    /// Ends the head of a response, behind which the stream ends or not; also its status.
    ///
    /// Where the request asked for a WebSocket, what a server that goes on with one has to prove.
    pub(super) fn end_response(
        mut self,
        ends: bool,
        (to_head, accept): (bool, Option<&str>),
    ) -> Result<(u16, Behind), Malformed> {
        let status = self.pseudo.status.ok_or(Malformed)?;
        let switches = accept.filter(|_| (200..300).contains(&status) && !ends);
        if switches.is_some() && !self.fault {
            // There is no such status in HTTP/2 (RFC 9113 section 8.6), and in HTTP/1 no other means it.
            if self.began {
                self.text
                    .splice(self.start..self.start + STATUS_LINE_UP_TO, *b"HTTP/1.1 101");
            } else {
                self.pseudo.status = Some(101);
            }
        }
        self.end_fields()?;
        // Whether nothing follows, whatever the head says.
        let is_bare = to_head || matches!(status, 204 | 304);
        let mut behind = (Framing::Data, if is_bare { Some(0) } else { self.length });
        match switches {
            Some(accept) => {
                self.text
                    .extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
                write::field(self.text, b"sec-websocket-accept", accept.as_bytes());
                behind.1 = None;
            }
            // Another head follows.
            None if status < 200 => {
                if ends || status == 101 {
                    return Err(Malformed);
                }
            }
            None if is_bare => self.write_length(self.length),
            None if ends => {
                if self.length.is_some_and(|length| length > 0) {
                    return Err(Malformed);
                }
                // Without it the end of the connection would be the end of the body.
                self.write_length(self.length.or(Some(0)));
            }
            None if self.length.is_some() && !self.has_trailer => self.write_length(self.length),
            None => {
                self.text.extend_from_slice(b"transfer-encoding: chunked\r\n");
                behind.0 = Framing::Chunks;
            }
        }
        write::end(self.text);
        let (framing, length) = behind;
        let behind = Behind {
            framing,
            length,
            websocket: switches.is_some(),
        };
        Ok((status, behind))
    }

    /// Ends trailers.
    pub(super) fn end_trailers(self) -> Result<(), Malformed> {
        // They are passed on as a whole or not at all.
        if self.fault || self.is_enough() {
            return Err(Malformed);
        }
        Ok(())
    }

    fn end_fields(&mut self) -> Result<(), Malformed> {
        if self.fault || (!self.began && self.first_line().is_none()) {
            return Err(Malformed);
        }
        let cookies = self.notes.of(self.cookies);
        match self.cookies {
            None => {}
            Some(_) if self.fields <= self.limits.max_fields => write::field(self.text, b"cookie", cookies),
            // Crumbs are fields, of which there are more than whoever reads them takes.
            Some(_) => {
                for crumb in cookies.split(|&byte| byte == b';') {
                    write::field(self.text, b"cookie", crumb.trim_ascii());
                }
            }
        }
        Ok(())
    }

    fn write_length(&mut self, length: Option<u64>) {
        if let Some(length) = length {
            self.text.extend_from_slice(b"content-length: ");
            write::decimal(self.text, length);
            write::end(self.text);
        }
    }
}

/// Bytes of a status line up to the end of its status.
const STATUS_LINE_UP_TO: usize = b"HTTP/1.1 200".len();

/// A number in decimal digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
