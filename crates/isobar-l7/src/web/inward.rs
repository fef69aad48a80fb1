//! How is a body of text read as a body of gRPC?

use isobar_wire::grpc_web::TextDecoder;
use isobar_wire::{BodyDecoder, BodyKind, write};

use crate::record::Detail;

/// Follows one body of text. What comes out are chunks, and behind the body what follows it as it is.
#[derive(Debug)]
pub(super) struct Inward {
    body: BodyDecoder,
    text: TextDecoder,
    /// Whether the end of the body has been written.
    ended: bool,
    fault: Option<Detail>,
    /// What the last piece became.
    out: Vec<u8>,
    /// The messages in the piece.
    data: Vec<u8>,
}

impl Inward {
    /// How much longer a piece may become at most: the framing of one chunk and of the last, and digits that came before it.
    pub(super) const ADDED_BYTES: usize = 64;

    pub(super) fn new(body: BodyKind) -> Self {
        Self {
            body: BodyDecoder::new(body),
            text: TextDecoder::default(),
            ended: false,
            fault: None,
            out: Vec::new(),
            data: Vec::new(),
        }
    }

    pub(super) fn fault(&self) -> Option<Detail> {
        self.fault
    }

    /// What the next piece becomes; may be nothing, and is longer by [`ADDED_BYTES`](Self::ADDED_BYTES) at most.
    ///
    /// *Errors*: the client's fault. It stays.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<&[u8], Detail> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let read = self.read(bytes, &mut out);
        self.out = out;
        read.map(|()| self.out.as_slice())
    }

    /// Appends what a piece becomes.
    pub(super) fn read(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Detail> {
        let read = match self.fault {
            Some(fault) => Err(fault),
            None => self.read_on(bytes, out),
        };
        self.fault = read.err();
        read
    }

    fn read_on(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Detail> {
        let mut rest = bytes;
        self.data.clear();
        while !rest.is_empty() && !self.body.is_done() {
            let decoded = self.body.decode(rest).map_err(Detail::Body)?;
            let text = rest.get(decoded.data).unwrap_or_default();
            self.text.decode(text, &mut self.data).map_err(Detail::Text)?;
            rest = rest.get(decoded.consumed..).unwrap_or_default();
        }
        if !self.data.is_empty() {
            write::chunk_head(out, self.data.len());
            out.extend_from_slice(&self.data);
            write::end(out);
        }
        if self.body.is_done() && !self.ended {
            self.text.finish().map_err(Detail::Text)?;
            self.ended = true;
            write::last_chunk(out, &[]);
        }
        out.extend_from_slice(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Inward;
    use crate::record::Detail;
    use isobar_wire::BodyKind;

    /// What a body becomes that comes in pieces of this size, without its chunks.
    fn read(kind: BodyKind, body: &str, piece: usize) -> Result<Vec<u8>, Detail> {
        let mut inward = Inward::new(kind);
        let mut out = Vec::new();
        for piece in body.as_bytes().chunks(piece) {
            let read = inward.take(piece)?;
            assert!(read.len() <= piece.len() + Inward::ADDED_BYTES);
            out.extend_from_slice(read);
        }
        let mut decoder = isobar_wire::BodyDecoder::new(BodyKind::Chunked);
        let (mut offset, mut data) = (0, Vec::new());
        while !decoder.is_done() {
            let decoded = decoder.decode(&out[offset..]).unwrap();
            data.extend_from_slice(&out[offset..][decoded.data]);
            offset += decoded.consumed;
        }
        data.push(b'|');
        data.extend_from_slice(&out[offset..]);
        Ok(data)
    }

    #[test]
    fn text_becomes_chunks_and_what_follows_stays() {
        for piece in 1..40 {
            let length = read(BodyKind::Length(12), "Zm8=Zm9vYg==POST /", piece).unwrap();
            assert_eq!(length, b"fofoob|POST /", "{piece}");
            let chunks = "1\r\nZ\r\n6\r\nm8=Zm9\r\n5\r\nvYg==\r\n0\r\na: b\r\n\r\nPOST /";
            let chunks = read(BodyKind::Chunked, chunks, piece).unwrap();
            assert_eq!(chunks, b"fofoob|POST /", "{piece}");
        }
    }

    #[test]
    fn what_is_no_text_stays_a_fault() {
        let mut inward = Inward::new(BodyKind::Length(8));
        assert!(inward.take(b"Zm9v").is_ok());
        assert!(matches!(inward.take(b"!"), Err(Detail::Text(_))));
        assert!(matches!(inward.take(b"Zm9v"), Err(Detail::Text(_))));
        assert!(matches!(inward.fault(), Some(Detail::Text(_))));
        assert!(matches!(read(BodyKind::Length(3), "Zm9", 8), Err(Detail::Text(_))));
        assert!(matches!(read(BodyKind::Chunked, "x\r\n", 8), Err(Detail::Body(_))));
    }
}
