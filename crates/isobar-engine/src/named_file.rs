//! What stands in a file that a configuration names?
//!
//! Which files those are, and what is in them, is not known here.

use std::fs::File;
use std::io::{self, Read};

/// Reads a whole file.
///
/// *Errors*: it cannot be read, has more than `most` bytes, or is something else, such as a pipe, which could keep a reload
/// waiting for ever.
pub fn read(file: &str, most: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// What the kernel says, as the end of a sentence: without "(os error 13)", in lower case.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_end_a_sentence() {
        let check = |error: io::Error, expected: &str| assert_eq!(reason(&error), expected);
        check(io::Error::from_raw_os_error(13), "permission denied");
        check(io::Error::from_raw_os_error(98), "address already in use");
        check(io::Error::other("no"), "no");
    }

    #[test]
    fn what_is_no_ordinary_file_or_too_long_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file").to_str().unwrap().to_owned();
        std::fs::write(&file, "12345").unwrap();
        let check = |file: &str, most: u64, expected: Result<&str, &str>| {
            let found = read(file, most).map_err(|error| reason(&error));
            assert_eq!(found, expected.map(Into::into).map_err(str::to_owned));
        };
        check(&file, 5, Ok("12345"));
        check(&file, 4, Err("it has more than 4 bytes"));
        check(directory.path().to_str().unwrap(), 5, Err("it is no ordinary file"));
        check(&format!("{file}.gone"), 5, Err("no such file or directory"));
    }
}
