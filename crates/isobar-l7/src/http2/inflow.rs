//! How are the frames of one stream read as the bytes of a message?

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use h2::RecvStream;
use isobar_wire::write;

use super::text;

/// How the body is framed for whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Its length is in the head, or it is none of a message: the data alone.
    Data,
    /// In chunks.
    Chunks,
}

/// What comes on a stream.
#[derive(Debug)]
pub(super) struct Inflow {
    /// None: nothing comes, or no more.
    recv: Option<RecvStream>,
    framing: Framing,
    /// What is read before anything else: a head, or the framing around data.
    text: Vec<u8>,
    text_read: usize,
    /// Data that was not read yet.
    data: Bytes,
}

impl Inflow {
    /// What comes behind a head.
    pub(super) fn new(head: Vec<u8>, recv: Option<RecvStream>, framing: Framing) -> Self {
        Self {
            recv,
            framing,
            text: head,
            text_read: 0,
            data: Bytes::new(),
        }
    }

    /// Whether all of it has come.
    pub(super) fn is_over(&self) -> bool {
        self.recv.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    /// Reads what is there into a buffer that is not empty, or waits; 0 is the end.
    ///
    /// *Errors*: the peer gave the stream up, or broke its rules.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut count = 0;
        loop {
            count += self.take(buf.get_mut(count..).unwrap_or_default());
            if count == buf.len() {
                return Poll::Ready(Ok(count));
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(true)) => {}
                // What failed fails again when it is asked for.
                Poll::Ready(Err(_)) | Poll::Pending if count > 0 => return Poll::Ready(Ok(count)),
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(count)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Moves what is here.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let mut count = 0;
        let text = self.text.get(self.text_read..).unwrap_or_default();
        let len = text.len().min(buf.len());
        if let (Some(room), Some(text)) = (buf.get_mut(..len), text.get(..len)) {
            room.copy_from_slice(text);
            self.text_read += len;
            count += len;
        }
        if self.text_read < self.text.len() {
            return count;
        }
        self.text.clear();
        self.text_read = 0;
        let len = self.data.len().min(buf.len() - count);
        if len == 0 {
            return count;
        }
        if let (Some(room), Some(data)) = (buf.get_mut(count..count + len), self.data.get(..len)) {
            room.copy_from_slice(data);
        }
        self.data.advance(len);
        if let Some(recv) = &mut self.recv {
            // The peer may send as much again. That fails only where the connection is gone, which reading shows.
            let _ = recv.flow_control().release_capacity(len);
        }
        if self.data.is_empty() && self.framing == Framing::Chunks {
            write::end(&mut self.text);
        }
        count + len
    }

    /// Takes the next frame; false: there is none.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.text_read < self.text.len() || !self.data.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let Some(recv) = &mut self.recv else {
            return Poll::Ready(Ok(false));
        };
        match recv.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                if self.framing == Framing::Chunks && !data.is_empty() {
                    write::chunk_head(&mut self.text, data.len());
                }
                self.data = data;
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(io::Error::other(error))),
            Poll::Ready(None) => self.poll_end(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(recv) = &mut self.recv else {
            return Poll::Ready(Ok(false));
        };
        let trailers = match recv.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => trailers,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            Poll::Pending => return Poll::Pending,
        };
        self.recv = None;
        if self.framing == Framing::Data {
            return Poll::Ready(Ok(false));
        }
        let mut lines = Vec::new();
        if let Some(trailers) = trailers {
            text::write_fields(&mut lines, &trailers);
        }
        write::last_chunk(&mut self.text, &lines);
        Poll::Ready(Ok(true))
    }
}
