//! What is the next piece of a chunked body? One step at a time; does not know which pieces its caller wants.
//!
//! ```text
//!          digit             CR            LF, size > 0
//!  Size ──────────▶ Size ──────────▶ SizeLf ──────────▶ Data ──▶ DataCr ──▶ DataLf ──▶ Size
//!   │ ;                       ▲         │ LF, size = 0
//!   └──────────▶ Extension ───┘ CR      ▼            CR, at the start of a line        LF
//!                                    Trailers ────────────────────────────▶ EndLf ──────────▶ Done
//! ```
//!
//! *Source*: RFC 9112 section 7.1. Whitespace around a size is refused, though the grammar of extensions has room
//! for it: parties that trim differently read different sizes. An extension is not taken apart: no byte of it may be
//! a control character, so even a quoted string cannot hide the end of the line.

use super::trailers::Trailers;
use crate::BodyError;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Data.
    Data,
    /// Framing of a chunk with data, which may be sent on as it is.
    Framing,
    /// Something that is not sent on: a leading zero, an extension, the last chunk, trailers.
    Dropped,
}

/// The place within a chunked body.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chunks {
    state: State,
    /// The size read so far; in `Data` what is left of it.
    size: u64,
    /// Digits of the size read so far.
    digits: u8,
    /// Bytes of this chunk's extensions.
    extension: u16,
    /// Bytes of all extensions.
    extensions: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    EndLf,
    Done,
}

impl Chunks {
    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the next byte is data.
    pub(crate) fn is_at_data(&self) -> bool {
        self.state == State::Data
    }

    /// Whether the next byte is the first of a chunk.
    pub(crate) fn is_at_beginning(&self) -> bool {
        self.state == State::Size && self.digits == 0
    }

    /// Takes one piece from the front of `input`, at least a byte unless there is none or the body is done.
    ///
    /// *Errors*: neither the place nor the trailers have changed then.
    pub(crate) fn step(&mut self, input: &[u8], trailers: &mut Trailers) -> Result<(Piece, usize), BodyError> {
        let Some(&first) = input.first() else {
            return Ok((Piece::Dropped, 0));
        };
        match self.state {
            State::Size => self.size(first, input),
            State::Extension => self.extension(first, input),
            State::SizeLf => {
                expect(first, b'\n')?;
                self.state = if self.size == 0 { State::Trailers } else { State::Data };
                Ok((self.framing(), 1))
            }
            State::Data => Ok((Piece::Data, self.data(input.len()))),
            State::DataCr => {
                expect(first, b'\r')?;
                self.state = State::DataLf;
                Ok((Piece::Framing, 1))
            }
            State::DataLf => {
                expect(first, b'\n')?;
                *self = Self {
                    extensions: self.extensions,
                    ..Self::default()
                };
                Ok((Piece::Framing, 1))
            }
            State::Trailers if first == b'\r' && !trailers.is_within_line() => {
                self.state = State::EndLf;
                Ok((Piece::Dropped, 1))
            }
            State::Trailers => Ok((Piece::Dropped, trailers.push(input)?)),
            State::EndLf if first == b'\n' => {
                self.state = State::Done;
                Ok((Piece::Dropped, 1))
            }
            State::EndLf => Err(BodyError::BadTrailer),
            State::Done => Ok((Piece::Dropped, 0)),
        }
    }

    fn size(&mut self, first: u8, input: &[u8]) -> Result<(Piece, usize), BodyError> {
        match first {
            b'0' if self.size == 0 => {
                let zeros = input.iter().take_while(|&&byte| byte == b'0').count();
                self.digits = self.digits_with(zeros)?;
                Ok((Piece::Dropped, zeros))
            }
            b';' if self.digits > 0 => {
                self.state = State::Extension;
                self.extension = 0;
                Ok((Piece::Dropped, 0))
            }
            b'\r' if self.digits > 0 => Ok(self.end_of_size()),
            b'\n' if self.digits > 0 => Err(BodyError::BadChunkEnd),
            _ => {
                let digits = input.iter().map_while(|&byte| hex(byte));
                let count = digits.clone().count();
                if count == 0 {
                    return Err(BodyError::BadChunkSize);
                }
                self.digits = self.digits_with(count)?;
                // At most sixteen digits of four bits: none is shifted out.
                self.size = digits.fold(self.size, |size, digit| size << 4 | u64::from(digit));
                Ok((Piece::Framing, count))
            }
        }
    }

    fn digits_with(&self, count: usize) -> Result<u8, BodyError> {
        let digits = u8::try_from(count)
            .ok()
            .and_then(|count| self.digits.checked_add(count));
        digits
            .filter(|&digits| digits <= BodyError::MAX_SIZE_DIGITS)
            .ok_or(BodyError::ChunkSizeTooLarge)
    }

    fn extension(&mut self, first: u8, input: &[u8]) -> Result<(Piece, usize), BodyError> {
        if first == b'\r' {
            // The semicolon alone is no extension.
            return if self.extension > 1 {
                Ok(self.end_of_size())
            } else {
                Err(BodyError::BadChunkExtension)
            };
        }
        let (mut extension, mut extensions, mut len) = (self.extension, self.extensions, 0);
        for &byte in input.iter().take_while(|&&byte| byte != b'\r') {
            extension += 1;
            extensions += 1;
            let control = byte.is_ascii_control() && byte != b'\t';
            if control || extension > BodyError::MAX_EXTENSION_BYTES || extensions > BodyError::MAX_EXTENSIONS_BYTES {
                return Err(BodyError::BadChunkExtension);
            }
            len += 1;
        }
        (self.extension, self.extensions) = (extension, extensions);
        Ok((Piece::Dropped, len))
    }

    fn end_of_size(&mut self) -> (Piece, usize) {
        self.state = State::SizeLf;
        (self.framing(), 1)
    }

    /// What the end of a size line is: that of a chunk with data is sent on, that of the last chunk is not.
    fn framing(&self) -> Piece {
        if self.size == 0 { Piece::Dropped } else { Piece::Framing }
    }

    fn data(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.size).unwrap_or(usize::MAX).min(available);
        self.size -= taken as u64;
        if self.size == 0 {
            self.state = State::DataCr;
        }
        taken
    }
}

fn expect(byte: u8, expected: u8) -> Result<(), BodyError> {
    if byte == expected {
        Ok(())
    } else {
        Err(BodyError::BadChunkEnd)
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
