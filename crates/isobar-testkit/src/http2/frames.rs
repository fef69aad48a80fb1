//! What do the frames of an HTTP/2 connection look like, one by one?
//!
//! Heads are written without compression. Of the heads that come, only the status is read, which the peer says first; it is asked
//! to keep no table.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;
use crate::client::is_gone;

/// Types of frames (RFC 9113 section 6).
pub mod kind {
    /// Part of a body.
    pub const DATA: u8 = 0;
    /// A head.
    pub const HEADERS: u8 = 1;
    /// What a stream depends on.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream before its time.
    pub const RST_STREAM: u8 = 3;
    /// Settings.
    pub const SETTINGS: u8 = 4;
    /// A question whether the peer is there.
    pub const PING: u8 = 6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more data.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a head.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flags {
    /// No flag.
    pub const NONE: u8 = 0;
    /// The frame answers another: of SETTINGS and PING.
    pub const ACK: u8 = 1;
    /// The last of its stream: of DATA and HEADERS.
    pub const END_STREAM: u8 = 1;
    /// The last of its head.
    pub const END_HEADERS: u8 = 4;
    /// The whole of a message.
    pub const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The four bytes at a place in it, as a number: an error, a stream, a window.
    #[must_use]
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_default())
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was answered with this status.
    Status(u16),
    /// Its stream was reset for this reason.
    Reset(u32),
    /// Its connection ended for this reason.
    GoAway(u32),
    /// Its connection was closed without a word.
    Closed,
}

/// A field of a head, without compression.
#[must_use]
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    // A literal that is not kept in the table, with a new name (RFC 7541 section 6.2.2).
    let mut bytes = vec![0];
    for text in [name.as_ref(), value.as_ref()] {
        length(&mut bytes, text.len());
        bytes.extend_from_slice(text);
    }
    bytes
}

/// A number with a prefix of seven bits (RFC 7541 section 5.1).
fn length(bytes: &mut Vec<u8>, len: usize) {
    if len < 127 {
        bytes.push(u8::try_from(len).unwrap_or(0));
        return;
    }
    bytes.push(127);
    let mut rest = len - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap_or(0));
}

/// A head without compression.
#[must_use]
pub fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// What a client says first.
#[must_use]
pub fn preface() -> Vec<u8> {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
}

/// One end of a connection.
///
/// *Errors*: as those of [`Client`](crate::Client).
#[derive(Debug)]
pub struct FramePeer {
    stream: TcpStream,
    held: Vec<u8>,
}

impl FramePeer {
    /// Connects, and says what a client says first: that it keeps no table for compression, and these settings.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut peer = Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)?;
        peer.send(preface())?;
        peer.settings(settings)?;
        Ok(peer)
    }

    /// Serves a connection: reads what a client says first, and says what a server does, with these settings.
    pub fn accept(stream: TcpStream, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut peer = Self::over(stream)?;
        peer.fill(preface().len())?;
        peer.held.drain(..preface().len());
        peer.settings(settings)?;
        Ok(peer)
    }

    /// Over a connection on which nothing was said.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            held: Vec::new(),
        })
    }

    /// The socket.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn settings(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let mut payload = Vec::new();
        for (name, value) in [(1, 0)].iter().chain(settings) {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.frame(kind::SETTINGS, flags::NONE, 0, payload)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The bytes of a frame.
    #[must_use]
    pub fn bytes(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
        let payload = payload.as_ref();
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = vec![len[1], len[2], len[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> io::Result<()> {
        self.send(Self::bytes(kind, flags, stream, payload))
    }

    /// Asks for a path, without a body.
    pub fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let head = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "test.example"),
            (":path", path),
        ];
        self.frame(kind::HEADERS, flags::WHOLE, stream, headers(&head))
    }

    /// Asks for a WebSocket (RFC 8441).
    pub fn connect_websocket(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "test.example"),
            (":path", path),
            ("sec-websocket-version", "13"),
        ];
        self.frame(kind::HEADERS, flags::END_HEADERS, stream, headers(&head))
    }

    /// The next frame; none: the peer closed the connection, or reset it.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        if !self.fill_or_end(9)? {
            return Ok(None);
        }
        let &[a, b, c, kind, flags, s, t, u, v, ..] = self.held.as_slice() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        if !self.fill_or_end(9 + len)? {
            return Ok(None);
        }
        let payload = self.held.drain(..9 + len).skip(9).collect();
        Ok(Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s, t, u, v]),
            payload,
        }))
    }

    /// The next frame that is no bookkeeping: settings and pings are answered, windows ignored.
    pub fn next_of_note(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let Some(frame) = self.next_frame()? else {
                return Ok(None);
            };
            let is_asked = frame.flags & flags::ACK == 0;
            let answered = match frame.kind {
                kind::SETTINGS if is_asked => self.frame(kind::SETTINGS, flags::ACK, 0, []),
                kind::PING if is_asked => self.frame(kind::PING, flags::ACK, 0, &frame.payload),
                kind::SETTINGS | kind::PING | kind::WINDOW_UPDATE => Ok(()),
                _ => return Ok(Some(frame)),
            };
            // Who has left may have said something before.
            if let Err(error) = answered
                && !is_gone(&error)
            {
                return Err(error);
            }
        }
    }

    /// What becomes of a request; interim answers, and what is said of other streams, are passed over.
    pub fn end_of(&mut self, stream: u32) -> io::Result<End> {
        loop {
            let Some(frame) = self.next_of_note()? else {
                return Ok(End::Closed);
            };
            match frame.kind {
                kind::HEADERS if frame.stream == stream => match status(&frame.payload) {
                    Some(100..200) => {}
                    Some(status) => return Ok(End::Status(status)),
                    None => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{frame:?}"))),
                },
                kind::RST_STREAM if frame.stream == stream => return Ok(End::Reset(frame.number(0))),
                // One without an error ends no request that was sent before.
                kind::GOAWAY if frame.number(4) != 0 => return Ok(End::GoAway(frame.number(4))),
                _ => {}
            }
        }
    }

    /// The next status of whichever request; none: the connection ended, or a stream was reset.
    pub fn next_status(&mut self) -> io::Result<Option<u16>> {
        while let Some(frame) = self.next_of_note()? {
            match frame.kind {
                kind::HEADERS => {
                    if let Some(status @ 200..) = status(&frame.payload) {
                        return Ok(Some(status));
                    }
                }
                kind::RST_STREAM | kind::GOAWAY => break,
                _ => {}
            }
        }
        Ok(None)
    }

    /// The bytes of a stream whose head has come, until it ends, or until there are so many; whether it ended well.
    ///
    /// Gives the peer room for as much as comes.
    pub fn data_of(&mut self, stream: u32, at_most: usize) -> io::Result<(Vec<u8>, bool)> {
        let mut data = Vec::new();
        while data.len() < at_most {
            let Some(frame) = self.next_of_note()? else {
                return Ok((data, false));
            };
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                kind::DATA => {
                    data.extend_from_slice(&frame.payload);
                    let room = u32::try_from(frame.payload.len()).unwrap_or(0).to_be_bytes();
                    if room != [0; 4] {
                        self.frame(kind::WINDOW_UPDATE, flags::NONE, 0, room)?;
                        self.frame(kind::WINDOW_UPDATE, flags::NONE, stream, room)?;
                    }
                    if frame.flags & flags::END_STREAM != 0 {
                        return Ok((data, true));
                    }
                }
                kind::HEADERS => return Ok((data, true)),
                kind::RST_STREAM => return Ok((data, false)),
                _ => {}
            }
        }
        Ok((data, true))
    }

    /// Reads until the connection ends; the reason that was given.
    pub fn ends(&mut self) -> io::Result<End> {
        let mut end = End::Closed;
        while let Some(frame) = self.next_frame()? {
            if frame.kind == kind::GOAWAY {
                end = End::GoAway(frame.number(4));
            }
        }
        Ok(end)
    }

    /// How long reading waits.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }

    fn fill(&mut self, count: usize) -> io::Result<()> {
        if self.fill_or_end(count)? {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Reads until so many bytes are held; false: the peer is gone.
    fn fill_or_end(&mut self, count: usize) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        while self.held.len() < count {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.held.extend_from_slice(&buffer[..count]),
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The status that a head begins with; none: it does not.
///
/// *Source*: RFC 7541 section 6 and appendices A and B, as far as they concern it.
fn status(head: &[u8]) -> Option<u16> {
    let (&first, rest) = head.split_first()?;
    match first {
        // The table's size is set anew.
        0x20..=0x3f => status(rest),
        0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500]
            .get(usize::from(first - 0x88))
            .copied(),
        0x08 | 0x18 | 0x48 => {
            let (&len, value) = rest.split_first()?;
            let text = value.get(..usize::from(len & 0x7f))?;
            let digits = if len & 0x80 == 0 { text.to_vec() } else { digits(text)? };
            String::from_utf8(digits).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Three digits out of their Huffman code: of 0, 1 and 2 five bits, of the others six.
fn digits(code: &[u8]) -> Option<Vec<u8>> {
    let bits: String = code.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut digits) = (bits.as_str(), Vec::new());
    while digits.len() < 3 {
        let five = u8::from_str_radix(rest.get(..5)?, 2).ok()?;
        let (digit, len) = if five < 3 {
            (five, 5)
        } else {
            (
                u8::from_str_radix(rest.get(..6)?, 2).ok()?.checked_sub(0b01_1001 - 3)?,
                6,
            )
        };
        digits.push(b'0' + digit);
        rest = rest.get(len..)?;
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::{field, status};

    /// The examples of RFC 7541 appendix C.6, and others made with nghttp2's deflatehd.
    #[test]
    fn statuses_are_read() {
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
        assert_eq!(status(&[0x20, 0x88]), Some(200));
        assert_eq!(status(&[0x08, 0x03, b'5', b'0', b'3']), Some(503));
        assert_eq!(status(&field("server", "x")), None);
    }

    #[test]
    fn long_fields_are_written() {
        let bytes = field("n", vec![b'v'; 1337]);
        // 1337 - 127 = 1210 = 9 * 128 + 58.
        assert_eq!(bytes[..6], [0, 1, b'n', 127, 58 | 128, 9]);
        assert_eq!(bytes.len(), 6 + 1337);
    }
}
