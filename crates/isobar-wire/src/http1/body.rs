//! Where does a body end, and which of its bytes are data? Follows one body through its framing; does not keep data.
//!
//! *Source*: RFC 9112 sections 6.3 and 7.

use core::ops::Range;

use super::chunked::{Chunks, Piece};
use super::trailers::Trailers;
use crate::BodyKind;

/// What one call found at the front of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input are done with.
    pub consumed: usize,
    /// Which of them to pass on; may be empty. It lies within the consumed ones.
    pub data: Range<usize>,
    /// Whether the body has ended; what follows in the input belongs to the next message.
    pub done: bool,
}

/// Why a body cannot be followed. What comes after it on the connection has no known meaning.
///
/// In a request it is the client's fault (400 where an answer is still possible), in a response the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyError {
    /// A chunk size that is not hexadecimal digits and nothing else. RFC 9112 section 7.1.
    #[error("a chunk size is not a hexadecimal number")]
    BadChunkSize,
    /// A chunk size of more than [`MAX_SIZE_DIGITS`](Self::MAX_SIZE_DIGITS). RFC 9112 section 7.1.
    #[error("a chunk size is too large")]
    ChunkSizeTooLarge,
    /// Chunk extensions that are empty, have a control character, or are longer than
    /// [`MAX_EXTENSION_BYTES`](Self::MAX_EXTENSION_BYTES) in a chunk or
    /// [`MAX_EXTENSIONS_BYTES`](Self::MAX_EXTENSIONS_BYTES) in a body. RFC 9112 section 7.1.1.
    #[error("a chunk extension is not valid or too long")]
    BadChunkExtension,
    /// The size or the data of a chunk is not followed by CRLF. RFC 9112 section 7.1.
    #[error("a chunk does not end where its size says")]
    BadChunkEnd,
    /// A trailer that is not a field line. RFC 9112 section 7.1.2.
    #[error("a trailer is not a field line")]
    BadTrailer,
    /// More than [`MAX_TRAILER_BYTES`](Self::MAX_TRAILER_BYTES) or [`MAX_TRAILERS`](Self::MAX_TRAILERS).
    #[error("the trailers are too large")]
    TrailersTooLarge,
    /// The connection ended before the body did. RFC 9112 section 8.
    #[error("the connection ended before the body")]
    Truncated,
}

impl BodyError {
    /// Digits of a chunk size at most, leading zeros included.
    pub const MAX_SIZE_DIGITS: u8 = 16;
    /// Bytes of the extensions of one chunk at most, the semicolon included.
    pub const MAX_EXTENSION_BYTES: u16 = 256;
    /// Bytes of all extensions of a body at most.
    pub const MAX_EXTENSIONS_BYTES: u16 = 16 * 1024;
    /// Bytes of the trailers as received at most, those that are left out included.
    pub const MAX_TRAILER_BYTES: usize = 8 * 1024;
    /// Trailers at most, those that are left out included.
    pub const MAX_TRAILERS: usize = 64;
}

/// Follows one body through its framing.
///
/// [`decode`](Self::decode) and [`forward`](Self::forward) read the same bytes for two uses; one body is followed
/// with one of them, or with [`advance`](Self::advance) where bytes are moved without being looked at.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    kind: BodyKind,
    progress: Progress,
    trailers: Trailers,
}

#[derive(Debug, Clone, Copy)]
enum Progress {
    Done,
    Length(u64),
    UntilClose,
    Chunked(Chunks),
}

impl Default for BodyDecoder {
    /// A decoder of no body.
    fn default() -> Self {
        Self::new(BodyKind::None)
    }
}

impl BodyDecoder {
    /// A decoder at the first byte of a body.
    #[must_use]
    pub fn new(kind: BodyKind) -> Self {
        let progress = match kind {
            BodyKind::None | BodyKind::Length(0) => Progress::Done,
            BodyKind::Length(left) => Progress::Length(left),
            BodyKind::UntilClose => Progress::UntilClose,
            BodyKind::Chunked => Progress::Chunked(Chunks::default()),
        };
        Self {
            kind,
            progress,
            trailers: Trailers::default(),
        }
    }

    /// The framing it follows.
    #[must_use]
    pub fn kind(&self) -> BodyKind {
        self.kind
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.progress, Progress::Done)
    }

    /// Finds data at the front of `input`, without the framing around it.
    ///
    /// Call it again with the rest until all is consumed or the body is done; a call consumes something unless the
    /// input is empty or the body done.
    ///
    /// *Cost*: per chunk and not per byte of data; allocates only for trailers.
    ///
    /// *Errors*: the sender's fault. Everything before the faulty place is returned first.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        self.take(input, |piece| piece == Piece::Data)
    }

    /// Finds bytes at the front of `input` that may be sent on as they are, chunk framing included.
    ///
    /// Leading zeros of chunk sizes and chunk extensions are left out; so are the last chunk and the trailers, which
    /// [`last_chunk`](crate::write::last_chunk) writes once the body is done. With a framing other than chunks this
    /// is [`decode`](Self::decode). Cost and errors are the same.
    pub fn forward(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        self.take(input, |piece| piece != Piece::Dropped)
    }

    /// How many bytes from here on are data and nothing else; none: there is framing between them. `u64::MAX` stands
    /// for all until the connection ends.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.progress {
            Progress::Done => Some(0),
            Progress::Length(left) => Some(left),
            Progress::UntilClose => Some(u64::MAX),
            Progress::Chunked(_) => None,
        }
    }

    /// Whether the next byte is data, and not framing.
    #[must_use]
    pub fn is_at_data(&self) -> bool {
        match &self.progress {
            Progress::Done => false,
            Progress::Length(_) | Progress::UntilClose => true,
            Progress::Chunked(chunks) => chunks.is_at_data(),
        }
    }

    /// Whether it is chunked and none of its chunks has begun and not ended, so that it may be ended here.
    #[must_use]
    pub fn is_between_chunks(&self) -> bool {
        matches!(&self.progress, Progress::Chunked(chunks) if chunks.is_at_beginning())
    }

    /// Notes that `n` bytes of data were moved without being shown here; `n` is at most [`remaining`](Self::remaining).
    pub fn advance(&mut self, n: u64) {
        debug_assert!(
            self.remaining().is_some_and(|remaining| n <= remaining),
            "moved more than there is"
        );
        if let Progress::Length(left) = self.progress {
            self.progress = length(left.saturating_sub(n));
        }
    }

    /// Notes that the sender has closed the connection.
    ///
    /// *Errors*: the body had not ended ([`BodyError::Truncated`]). The close ends one that has no other end.
    pub fn finish_at_eof(&mut self) -> Result<(), BodyError> {
        match self.progress {
            Progress::Done | Progress::UntilClose => {
                self.progress = Progress::Done;
                Ok(())
            }
            Progress::Length(_) | Progress::Chunked(_) => Err(BodyError::Truncated),
        }
    }

    /// The trailers so far: valid field lines, each ending with CRLF. Those that would change how the message is
    /// framed, routed, authorised or read are left out.
    ///
    /// *Source*: RFC 9110 section 6.5.1.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        self.trailers.lines()
    }

    fn take(&mut self, input: &[u8], wanted: impl Fn(Piece) -> bool) -> Result<Decoded, BodyError> {
        let consumed = match &mut self.progress {
            Progress::Done => 0,
            Progress::UntilClose => input.len(),
            Progress::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                self.progress = length(*left - taken as u64);
                taken
            }
            Progress::Chunked(chunks) => {
                let decoded = take_chunks(chunks, &mut self.trailers, input, wanted)?;
                if decoded.done {
                    self.progress = Progress::Done;
                }
                return Ok(decoded);
            }
        };
        Ok(Decoded {
            consumed,
            data: 0..consumed,
            done: self.is_done(),
        })
    }
}

fn length(left: u64) -> Progress {
    if left == 0 {
        Progress::Done
    } else {
        Progress::Length(left)
    }
}

/// Takes the first run of wanted pieces, and the unwanted ones around it.
fn take_chunks(
    chunks: &mut Chunks,
    trailers: &mut Trailers,
    input: &[u8],
    wanted: impl Fn(Piece) -> bool,
) -> Result<Decoded, BodyError> {
    let mut consumed = 0;
    let mut data = 0..0;
    while let Some(rest) = input
        .get(consumed..)
        .filter(|rest| !rest.is_empty() && !chunks.is_done())
    {
        let before = *chunks;
        let (piece, len) = match chunks.step(rest, trailers) {
            Ok(step) => step,
            Err(error) if consumed == 0 => return Err(error),
            // A step that fails changes nothing, so the next call finds the same error.
            Err(_) => break,
        };
        if wanted(piece) {
            if data.is_empty() {
                data = consumed..consumed;
            }
            if data.end != consumed {
                *chunks = before;
                break;
            }
            data.end += len;
        }
        consumed += len;
    }
    Ok(Decoded {
        consumed,
        data,
        done: chunks.is_done(),
    })
}
