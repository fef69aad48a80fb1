//! How is an answer of gRPC written as one of gRPC-Web?

use std::io::{self, ErrorKind};
use std::task::Poll;

use isobar_wire::grpc_web::{self, ContentType, GRPC, Spelling};
use isobar_wire::{
    BodyDecoder, BodyKind, Field, HeadLimits, Known, Method, Parsed, RequestKind, ResponseHead, Version, write,
};

use crate::fields;

/// What is taken of a head that was written here.
const HEAD: HeadLimits = HeadLimits {
    max_bytes: 65_535,
    max_fields: 1_024,
};

/// What a head tells of a call where it is all there is of its answer.
const OUTCOME: [&[u8]; 3] = [b"grpc-status", b"grpc-message", b"grpc-status-details-bin"];

/// Follows the answer to one call.
#[derive(Debug)]
pub(super) struct Outward {
    spelling: Spelling,
    /// The format of the messages.
    format: Box<[u8]>,
    state: State,
    body: BodyDecoder,
    /// What a head said that belongs behind the body.
    outcome: Vec<u8>,
    /// What is to be sent, of which so much was.
    out: Vec<u8>,
    sent: usize,
    /// How many bytes are in `out` already, and have not been said to be taken.
    owed: usize,
    /// The frames of the last piece.
    data: Vec<u8>,
}

/// How far the answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No head has come that is the last.
    Head,
    /// It has.
    Body,
    /// It is no answer of gRPC, and goes as it is.
    Other,
    /// Nothing follows.
    Over,
}

impl Outward {
    pub(super) fn new(spelling: Spelling, format: Box<[u8]>) -> Self {
        Self {
            spelling,
            format,
            state: State::Head,
            body: BodyDecoder::default(),
            outcome: Vec::new(),
            out: Vec::new(),
            sent: 0,
            owed: 0,
            data: Vec::new(),
        }
    }

    /// How many bytes from the front of the next piece have been taken in already.
    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    /// What is to be sent.
    pub(super) fn rest(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
    }

    /// All has been sent.
    pub(super) fn settle(&mut self) {
        self.out.clear();
        self.sent = 0;
        self.owed = 0;
    }

    /// The client takes no more for now, `count` bytes are here as what they became, and `sent` of that went out. Says how many were taken:
    /// some where something moved, so that it is seen to, and never all.
    pub(super) fn owe(&mut self, count: usize, sent: usize) -> Poll<io::Result<usize>> {
        let granted = sent.min(count.saturating_sub(1));
        self.owed = count - granted;
        match granted {
            0 => Poll::Pending,
            granted => Poll::Ready(Ok(granted)),
        }
    }

    /// Takes in a piece of the answer. Heads come as a whole.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.state == State::Head && !bytes.is_empty() {
            bytes = self.take_head(bytes)?;
        }
        match self.state {
            State::Body => self.take_body(bytes),
            State::Other => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
            State::Over if !bytes.is_empty() => Err(ErrorKind::InvalidInput.into()),
            State::Head | State::Over => Ok(()),
        }
    }

    /// Takes the head in front of `bytes`, and hands back what is behind it.
    fn take_head<'b>(&mut self, bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        let mut response = ResponseHead::new();
        let request = RequestKind {
            method: Method::Post,
            upgrade: false,
        };
        match response.parse(bytes, request, HEAD).map_err(io::Error::other)? {
            Parsed::Complete => {}
            Parsed::Partial => return Err(ErrorKind::InvalidInput.into()),
        }
        let (head, rest) = bytes.split_at_checked(response.len).unwrap_or((bytes, &[]));
        if response.is_interim() {
            self.out.extend_from_slice(head);
        } else if !is_of_grpc(head, &response) {
            self.out.extend_from_slice(head);
            self.state = State::Other;
        } else {
            self.write_head(head, &response);
            self.body = BodyDecoder::new(response.body);
            self.state = State::Body;
        }
        Ok(rest)
    }

    fn write_head(&mut self, head: &[u8], response: &ResponseHead) {
        let Self {
            out,
            outcome,
            spelling,
            format,
            ..
        } = self;
        let is_all = matches!(response.body, BodyKind::None | BodyKind::Length(0));
        let tells = |field: &Field| {
            let name = field.name.of(head);
            is_all && OUTCOME.iter().any(|outcome| name.eq_ignore_ascii_case(outcome))
        };
        write::status_line(out, Version::Http11, response.status, response.reason.of(head));
        fields::copy(out, head, &response.fields, |field| {
            let is_framing = matches!(
                field.known,
                Known::ContentType | Known::ContentLength | Known::TransferEncoding | Known::Trailer
            );
            !is_framing && !tells(field)
        });
        let content_type = ContentType {
            spelling: *spelling,
            format,
        };
        content_type.write(out);
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        write::end(out);
        for field in response.fields.iter().filter(|field| tells(field)) {
            write::field(outcome, field.name.of(head), field.value.of(head));
        }
    }

    /// Takes in a piece of the body: frames as they are, and behind them the one with the trailers.
    fn take_body(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.data.clear();
        while !bytes.is_empty() && !self.body.is_done() {
            let decoded = self.body.decode(bytes).map_err(io::Error::other)?;
            self.data.extend_from_slice(bytes.get(decoded.data).unwrap_or_default());
            bytes = bytes.get(decoded.consumed..).unwrap_or_default();
        }
        let is_done = self.body.is_done();
        if is_done {
            self.outcome.extend_from_slice(self.body.trailers());
            if !self.outcome.is_empty() {
                grpc_web::trailer_frame(&mut self.data, &self.outcome);
            }
        }
        self.write_data();
        if is_done {
            write::last_chunk(&mut self.out, &[]);
            self.state = State::Over;
        }
        Ok(())
    }

    /// Writes one chunk. Text is padded, so that whoever reads it need not wait for more.
    fn write_data(&mut self) {
        if self.data.is_empty() {
            return;
        }
        match self.spelling {
            Spelling::Binary => {
                write::chunk_head(&mut self.out, self.data.len());
                self.out.extend_from_slice(&self.data);
            }
            Spelling::Text => {
                write::chunk_head(&mut self.out, grpc_web::text_len(self.data.len()));
                grpc_web::encode_text(&mut self.out, &self.data);
            }
        }
        write::end(&mut self.out);
    }
}

/// Whether an answer is one to a call. Others come from somebody on the way who knows nothing of calls.
fn is_of_grpc(head: &[u8], response: &ResponseHead) -> bool {
    response.fields.iter().any(|field| {
        let begins = || field.value.of(head).get(..GRPC.len());
        field.name.of(head).eq_ignore_ascii_case(b"grpc-status")
            || (field.known == Known::ContentType && begins().is_some_and(|begin| begin.eq_ignore_ascii_case(GRPC)))
    })
}

#[cfg(test)]
mod tests {
    use super::{Outward, Spelling};

    /// What an answer becomes that comes in these pieces.
    fn written(spelling: Spelling, pieces: &[&str]) -> String {
        let mut outward = Outward::new(spelling, b"+proto".as_slice().into());
        let mut written = Vec::new();
        for piece in pieces {
            outward.take(piece.as_bytes()).unwrap();
            written.extend_from_slice(outward.rest());
            outward.settle();
        }
        String::from_utf8(written)
            .unwrap()
            .replace("\r\n", "|")
            .replace('\0', "_")
    }

    const BEGUN: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nx: y\r\n\r\n";

    #[test]
    fn every_piece_is_written_as_it_comes() {
        let head = |text| {
            format!("HTTP/1.1 200 OK|x: y|Content-Type: application/grpc-web{text}+proto|Transfer-Encoding: chunked||")
        };
        let binary = written(
            Spelling::Binary,
            &[BEGUN, "3\r\nab", "c\r\n1\r\nd\r\n", "0\r\n", "\r\n"],
        );
        assert_eq!(binary, head("") + "2|ab|2|cd|0||");
        let text = written(Spelling::Text, &[BEGUN, "3\r\nab", "c\r\n1\r\nd\r\n0\r\n\r\n"]);
        assert_eq!(text, head("-text") + "4|YWI=|4|Y2Q=|0||");
        let text = written(Spelling::Text, &[BEGUN, "0\r\nGrpc-Status: 0\r\n", "\r\n"]);
        assert_eq!(text, head("-text") + "1c|gAAAABBncnBjLXN0YXR1czogMA0K|0||");
    }

    #[test]
    fn a_head_that_is_all_tells_its_outcome_behind_itself() {
        let alone = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 5\r\nwho: a\r\nContent-Length: 0\r\n\r\n";
        let written = written(Spelling::Text, &["HTTP/1.1 100 Continue\r\n\r\n", alone]);
        let (interim, rest) = written.split_once("||").unwrap();
        assert_eq!(interim, "HTTP/1.1 100 Continue");
        let expected = "HTTP/1.1 200 OK|who: a|Content-Type: application/grpc-web-text+proto|Transfer-Encoding: chunked||\
                        1c|gAAAABBncnBjLXN0YXR1czogNQ0K|0||";
        assert_eq!(rest, expected);
    }

    #[test]
    fn what_is_no_answer_to_a_call_goes_as_it_is() {
        let page = "HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(
            written(Spelling::Text, &[page, "sorry"]),
            (page.to_owned() + "sorry").replace("\r\n", "|")
        );
    }
}
