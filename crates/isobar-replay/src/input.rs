//! How do lines come out of a file?
//!
//! Plain or compressed with gzip, which is told by its first bytes and not by its name, a line at a time. A line longer than any
//! that could be read is passed over without being kept.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use isobar_observe::recorded::MAX_LINE_BYTES;

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// The first bytes of what gzip has written (RFC 1952, 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Where a log comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {name}: {source}")]
pub struct InputError {
    /// Which log.
    pub name: String,
    /// What the system says.
    pub source: io::Error,
}

/// A log, line by line.
pub(crate) struct Lines {
    input: Box<dyn BufRead>,
    name: String,
    /// The number of the last line.
    number: u64,
    line: Vec<u8>,
    consumed: Rc<Cell<u64>>,
    /// How long it is, as far as is known.
    length: Option<u64>,
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

impl Lines {
    /// Opens a log.
    ///
    /// *Errors*: it is not there, or its beginning cannot be read.
    pub(crate) fn open(source: &Source) -> Result<Self, InputError> {
        let name = source.name();
        let failed = |source| InputError {
            name: name.clone(),
            source,
        };
        let (raw, length): (Box<dyn Read>, _) = match source {
            Source::Stdin => (Box::new(io::stdin()), None),
            Source::File(path) => {
                let file = File::open(path).map_err(failed)?;
                let about = file.metadata().map_err(failed)?;
                if about.is_dir() {
                    return Err(failed(io::ErrorKind::IsADirectory.into()));
                }
                (Box::new(file), about.is_file().then_some(about.len()))
            }
        };
        let consumed = Rc::new(Cell::new(0));
        let count = Rc::clone(&consumed);
        let mut input = BufReader::with_capacity(BUFFER, Counted { inner: raw, count });
        let is_compressed = input.fill_buf().map_err(failed)?.starts_with(GZIP);
        let input: Box<dyn BufRead> = match is_compressed {
            true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))),
            false => Box::new(input),
        };
        Ok(Self {
            input,
            name,
            number: 0,
            line: Vec::new(),
            consumed,
            length,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The number of the line that was read last, from 1.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read of the file, compressed where it is, and how many it has.
    pub(crate) fn progress(&self) -> (u64, Option<u64>) {
        (self.consumed.get(), self.length)
    }

    /// The first lines that are not empty, without taking them.
    pub(crate) fn beginning(&mut self) -> Result<Vec<Vec<u8>>, InputError> {
        let name = &self.name;
        let buffer = self.input.fill_buf().map_err(|source| InputError {
            name: name.clone(),
            source,
        })?;
        let lines = buffer.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = lines.filter(|line| !line.is_empty()).take(20);
        Ok(lines.map(<[u8]>::to_vec).collect())
    }

    /// The next line that is not empty, without its line end; none: there is no more. One that is too long is cut to a length that
    /// no format reads.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, InputError> {
        loop {
            self.line.clear();
            if !self.fill()? {
                return Ok(None);
            }
            self.number += 1;
            let blank = self.line.iter().all(u8::is_ascii_whitespace);
            if !blank {
                break;
            }
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(Some(line))
    }

    /// Reads a line; false: there is no more.
    fn fill(&mut self) -> Result<bool, InputError> {
        let mut is_any = false;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let name = self.name.clone();
                    return Err(InputError { name, source });
                }
            };
            if available.is_empty() {
                return Ok(is_any);
            }
            is_any = true;
            let end = available.iter().position(|&byte| byte == b'\n');
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            let room = (MAX_LINE_BYTES + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(part.get(..room).unwrap_or(part));
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::{Lines, Source};
    use isobar_observe::recorded::MAX_LINE_BYTES;

    fn lines(bytes: &[u8]) -> Vec<(u64, usize)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut lines = Lines::open(&Source::File(file.path().to_owned())).unwrap();
        let mut found = Vec::new();
        while let Some(length) = lines.next().unwrap().map(<[u8]>::len) {
            found.push((lines.number(), length));
        }
        let (read, length) = lines.progress();
        assert_eq!(Some(read), length);
        found
    }

    #[test]
    fn lines_of_any_kind_and_length() {
        let check = |text: &[u8], expected: &[(u64, usize)]| assert_eq!(lines(text), expected);
        check(b"", &[]);
        check(b"\n\n \n", &[]);
        check(b"a\nbc\r\n\nd", &[(1, 1), (2, 2), (4, 1)]);
        let long = [&[b'x'; MAX_LINE_BYTES * 9][..], b"\nshort\n"].concat();
        check(&long, &[(1, MAX_LINE_BYTES + 1), (2, 5)]);
    }

    #[test]
    fn compressed_files_are_known_by_what_is_in_them() {
        let member = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        // Rotated logs are appended to each other as they are.
        let both = [member(b"first\nsecond\n"), member(b"third")].concat();
        assert_eq!(lines(&both), [(1, 5), (2, 6), (3, 5)]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&both[..both.len() - 9]).unwrap();
        let mut cut = Lines::open(&Source::File(file.path().to_owned())).unwrap();
        let error = loop {
            match cut.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the end of a file that was cut is no end"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().starts_with("failed to read /"), "{error}");
    }
}
