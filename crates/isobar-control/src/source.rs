//! What does the configuration file say?
//!
//! Bytes become text here, with an error that names the file and what is wrong with it. Knows nothing of what the
//! text means.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of a configuration file at most.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is missing, unreadable or not a file.
    #[error("failed to read {}: {}", path.display(), reason(error))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why. Told in the text already, and so not a source of its own.
        error: io::Error,
    },
    /// The file is larger than [`MAX_BYTES`].
    #[error("failed to read {}: it is larger than {} MiB", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("failed to read {}:{line}:{column}: byte 0x{byte:02x} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first bad byte, counted from 1.
        line: usize,
        /// Its column in characters, counted from 1.
        column: usize,
        /// The byte.
        byte: u8,
    },
}

/// Reads a configuration file.
///
/// *Errors*: the file is missing, unreadable, past [`MAX_BYTES`] or not UTF-8.
pub fn read(path: &Path) -> Result<String, ReadError> {
    let file = File::open(path).map_err(|error| ReadError::Io {
        path: path.to_owned(),
        error,
    })?;
    read_from(file, path)
}

/// Reads a configuration from what is open already, such as the standard input; `path` is what errors call it.
///
/// *Errors*: as for [`read`].
pub fn read_from(input: impl Read, path: &Path) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    // One byte past the limit tells a file of exactly the limit from a larger one, also where the size is unknown.
    let count = input
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::Io {
            path: path.to_owned(),
            error,
        })?;
    if count as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        not_utf8(path, error.as_bytes(), at)
    })
}

fn not_utf8(path: &Path, bytes: &[u8], at: usize) -> ReadError {
    let (valid, rest) = bytes.split_at(at);
    let valid = String::from_utf8_lossy(valid);
    let last_line = valid.rsplit('\n').next().unwrap_or_default();
    ReadError::NotUtf8 {
        path: path.to_owned(),
        line: valid.matches('\n').count() + 1,
        column: last_line.chars().count() + 1,
        byte: rest.first().copied().unwrap_or_default(),
    }
}

/// The reason without "(os error 2)", which tells a reader nothing more.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{MAX_BYTES, read, read_from};

    #[test]
    fn what_is_wrong_is_named() {
        let check = |bytes: &[u8], expected: Result<&str, &str>| {
            let outcome = read_from(bytes, Path::new("a.yaml")).map_err(|error| error.to_string());
            assert_eq!(outcome.as_deref().map_err(String::as_str), expected);
        };
        check(b"", Ok(""));
        check("gr\u{fc}n: 1\n".as_bytes(), Ok("gr\u{fc}n: 1\n"));
        check(b"\xff", Err("failed to read a.yaml:1:1: byte 0xff is not valid UTF-8"));
        check(
            b"a: 1\nb: \xc3\xbc\xfe\n",
            Err("failed to read a.yaml:2:5: byte 0xfe is not valid UTF-8"),
        );
        check(
            b"a: \xc3",
            Err("failed to read a.yaml:1:4: byte 0xc3 is not valid UTF-8"),
        );
    }

    #[test]
    fn a_file_past_the_limit_is_refused_without_reading_it_all() {
        let endless = std::io::repeat(b'#');
        let error = read_from(endless, Path::new("big.yaml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("failed to read big.yaml: it is larger than {} MiB", MAX_BYTES >> 20)
        );
    }

    #[test]
    fn a_missing_file_and_a_directory_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none.yaml");
        assert!(
            read(&missing)
                .unwrap_err()
                .to_string()
                .ends_with("none.yaml: no such file")
        );
        assert!(
            read(directory.path())
                .unwrap_err()
                .to_string()
                .ends_with("it is a directory")
        );
    }
}
