//! What is asked in HTTP/1.1, and is the answer whole?

use anyhow::{Context, Result, ensure};

use super::client::Reuse;
use super::identity::NAME;
use super::origin::find;

/// The bytes of a request.
pub(super) fn request(path: &str, reuse: Reuse) -> Vec<u8> {
    let connection = match reuse {
        Reuse::KeepAlive | Reuse::Once => "",
        Reuse::Never => "Connection: close\r\n",
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: isobar-bench/1\r\nAccept: */*\r\n");
    format!("{head}Accept-Encoding: gzip, br\r\n{connection}\r\n").into_bytes()
}

/// An answer that is being read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// A head that is not complete yet.
    head: Vec<u8>,
    /// Bytes of the body that are still to come; none: the head is.
    body: Option<usize>,
}

impl Answer {
    /// Takes what was read; whether the answer is complete. Then the next one may begin.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        self.body = match self.body {
            Some(rest) => Some(
                rest.checked_sub(bytes.len())
                    .context("more bytes came than the answer has")?,
            ),
            None => self.take_head(bytes)?,
        };
        let complete = self.body == Some(0);
        if complete {
            self.body = None;
        }
        Ok(complete)
    }

    /// Takes bytes of the head; when it is complete, how many bytes of the body are still to come.
    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        self.head.extend_from_slice(bytes);
        let Some(end) = find(&self.head, b"\r\n\r\n") else {
            return Ok(None);
        };
        let length = content_length(&self.head[..end])?;
        let rest = (end + 4 + length)
            .checked_sub(self.head.len())
            .context("more bytes came than the answer has")?;
        self.head.clear();
        Ok(Some(rest))
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "the answer was `{status}`");
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("the answer has no Content-Length")?;
    value.trim().parse().context("the answer has an odd Content-Length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Option<usize>) {
        assert_eq!(content_length(head.as_bytes()).ok(), expected, "{head}");
    }

    #[test]
    fn reads_the_length_of_a_good_answer_only() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 7", Some(7));
        check("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length:7", Some(7));
        check("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 7", None);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: x", None);
    }
}
