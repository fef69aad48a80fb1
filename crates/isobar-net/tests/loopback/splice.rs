//! Do spliced bytes arrive whole, in both directions, whatever the pace of the peers?

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::task::{Context, Poll, ready};
use std::thread;

use isobar_net::splice::{Pipe, Pipes, SpliceError};
use isobar_net::stream::Stream;
use proptest::prelude::*;

use crate::{accepted, in_worker, pattern, read_to_end};

/// Polls a transfer of `wanted` bytes, or up to the end of the source, to its end; returns the bytes delivered.
struct Transfer {
    pipe: Pipe,
    wanted: u64,
    written: u64,
    ended: bool,
}

impl Transfer {
    fn new(pipes: &Pipes, wanted: u64) -> Self {
        Self {
            pipe: pipes.acquire().unwrap(),
            wanted,
            written: 0,
            ended: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Poll<Result<u64, SpliceError>> {
        while !(self.ended || self.wanted == 0) || self.pipe.buffered() > 0 {
            let done = ready!(self.pipe.poll_splice(cx, from, to, self.wanted))?;
            assert!(done.read > 0 || done.written > 0 || done.eof, "ready without progress");
            self.wanted -= done.read;
            self.written += done.written;
            self.ended |= done.eof;
        }
        Poll::Ready(Ok(self.written))
    }
}

async fn transfer(pipes: &Pipes, from: &mut Stream, to: &mut Stream, wanted: u64) -> Result<u64, SpliceError> {
    let mut transfer = Transfer::new(pipes, wanted);
    poll_fn(|cx| transfer.poll(cx, from, to)).await
}

/// How a peer treats its end of a connection.
#[derive(Debug, Clone)]
struct Pace {
    length: usize,
    write_chunk: usize,
    read_chunk: usize,
}

fn pace() -> impl Strategy<Value = Pace> {
    let length = prop_oneof![0..5_usize, 0..5_000_usize, 0..3_000_000_usize];
    let chunk = || prop_oneof![Just(1_000_000_usize), 1..100_usize, 1..20_000_usize];
    // Sending megabytes by the byte takes too long to be worth it.
    (length, chunk(), chunk()).prop_map(|(length, write_chunk, read_chunk)| Pace {
        length,
        write_chunk: write_chunk.max(length / 20_000),
        read_chunk: read_chunk.max(length / 20_000),
    })
}

fn sends(mut peer: TcpStream, bytes: Vec<u8>, chunk: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for chunk in bytes.chunks(chunk) {
            peer.write_all(chunk).unwrap();
        }
        peer.shutdown(Shutdown::Write).unwrap();
    })
}

fn receives(mut peer: TcpStream, chunk: usize) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut all, mut buf) = (Vec::new(), vec![0; chunk]);
        loop {
            match peer.read(&mut buf).unwrap() {
                0 => return all,
                bytes => all.extend_from_slice(&buf[..bytes]),
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn both_directions_at_once(there in pace(), back in pace()) {
        in_worker(|| async {
            let ((mut left, left_peer), (mut right, right_peer)) = (accepted().await, accepted().await);
            let (sent_there, sent_back) = (pattern(there.length, 1), pattern(back.length, 2));
            let senders = [
                sends(left_peer.try_clone().unwrap(), sent_there.clone(), there.write_chunk),
                sends(right_peer.try_clone().unwrap(), sent_back.clone(), back.write_chunk),
            ];
            let received_there = receives(right_peer, there.read_chunk);
            let received_back = receives(left_peer, back.read_chunk);
            let pipes = Pipes::new(8);
            let (mut forth, mut home) = (Transfer::new(&pipes, u64::MAX), Transfer::new(&pipes, u64::MAX));
            let (mut forth_done, mut home_done) = (None, None);
            poll_fn(|cx| {
                if forth_done.is_none() && let Poll::Ready(done) = forth.poll(cx, &mut left, &mut right) {
                    right.shutdown_write().unwrap();
                    forth_done = Some(done.unwrap());
                }
                if home_done.is_none() && let Poll::Ready(done) = home.poll(cx, &mut right, &mut left) {
                    left.shutdown_write().unwrap();
                    home_done = Some(done.unwrap());
                }
                if forth_done.is_some() && home_done.is_some() { Poll::Ready(()) } else { Poll::Pending }
            }).await;
            assert_eq!((forth_done, home_done), (Some(there.length as u64), Some(back.length as u64)));
            for sender in senders {
                sender.join().unwrap();
            }
            assert!(received_there.join().unwrap() == sent_there, "the bytes differ");
            assert!(received_back.join().unwrap() == sent_back, "the bytes differ on the way back");
        });
    }
}

#[test]
fn what_is_past_the_limit_stays() {
    in_worker(|| async {
        let ((mut from, from_peer), (mut to, mut to_peer)) = (accepted().await, accepted().await);
        let bytes = pattern(700_000, 5);
        sends(from_peer, bytes.clone(), 1_000_000);
        let receiver = thread::spawn(move || {
            let mut all = Vec::new();
            to_peer.read_to_end(&mut all).unwrap();
            all
        });
        let pipes = Pipes::new(1);
        assert_eq!(transfer(&pipes, &mut from, &mut to, 400_001).await.unwrap(), 400_001);
        assert_eq!(transfer(&pipes, &mut from, &mut to, 0).await.unwrap(), 0);
        drop(to);
        assert!(receiver.join().unwrap() == bytes[..400_001], "the spliced bytes differ");
        assert!(
            read_to_end(&mut from).await.unwrap() == bytes[400_001..],
            "the rest differs"
        );
    });
}

#[test]
fn an_error_says_whose_connection_broke() {
    in_worker(|| async {
        let pipes = Pipes::new(1);
        let ((mut from, from_peer), (mut to, _to_peer)) = (accepted().await, accepted().await);
        let mut from_peer = Stream::from_accepted(from_peer);
        from_peer.reset_on_close().unwrap();
        drop(from_peer);
        let error = transfer(&pipes, &mut from, &mut to, u64::MAX).await.unwrap_err();
        assert!(matches!(error, SpliceError::Read(_)), "{error}");

        let ((mut from, mut from_peer), (mut to, to_peer)) = (accepted().await, accepted().await);
        let mut to_peer = Stream::from_accepted(to_peer);
        to_peer.reset_on_close().unwrap();
        drop(to_peer);
        from_peer.write_all(&[1; 1000]).unwrap();
        let error = transfer(&pipes, &mut from, &mut to, u64::MAX).await.unwrap_err();
        assert!(matches!(error, SpliceError::Write(_)), "{error}");
    });
}

#[test]
fn pipes_come_back_empty_or_not_at_all() {
    in_worker(|| async {
        let pipes = Pipes::new(2);
        let loans = [(); 3].map(|()| pipes.acquire().unwrap());
        assert_eq!(pipes.idle(), 0);
        drop(loans);
        assert_eq!(pipes.idle(), 2, "no more than the bound are kept");

        let ((mut from, from_peer), (mut to, _reads_nothing)) = (accepted().await, accepted().await);
        sends(from_peer, vec![0; 30_000_000], 1_000_000);
        let mut transfer = Transfer::new(&pipes, u64::MAX);
        assert_eq!(pipes.idle(), 1);
        // Left when the destination's buffers and the pipe are full.
        poll_fn(|cx| match transfer.poll(cx, &mut from, &mut to) {
            Poll::Pending if transfer.pipe.buffered() > 0 => Poll::Ready(()),
            other => other.map(|done| panic!("nobody reads, and yet {done:?}")),
        })
        .await;
        drop(transfer);
        assert_eq!(pipes.idle(), 1, "bytes of one connection must not reach another");
    });
}
