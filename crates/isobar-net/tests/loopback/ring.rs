//! Does a stream keep its promises when a ring moves its bytes?
//!
//! What holds for every stream is tested in `stream.rs`, once with the ring; here are the ring's own edges: more than fits
//! its buffers, messages that a socket does not take, streams that end while the kernel works for them.

use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use isobar_net::runtime::{Io, WorkerRuntime, run, ways};
use isobar_net::splice::Pipes;
use isobar_net::stream::{Passed, Peeked, Stream};

use crate::{accepted, in_worker, read, write_all};

/// Runs a test with a ring, on a kernel that has one.
fn with_ring<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    if ways().contains(&Io::IoUring) {
        let bounded = || async {
            tokio::time::timeout(Duration::from_secs(60), test())
                .await
                .expect("the test hangs");
        };
        let runtime = WorkerRuntime {
            core: None,
            io: Io::IoUring,
        };
        run(runtime, bounded).unwrap();
    }
}

fn is_pending(future: impl Future) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// Lets the driver and the others run some turns.
async fn turns() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn write_soon(stream: &mut Stream, message: &[u8]) {
    let written = poll_fn(|cx| stream.poll_write_soon(cx, message)).await;
    assert_eq!(written.unwrap(), message.len());
}

/// Bytes that tell their place.
fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

async fn read_all(stream: &mut Stream, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = vec![0; 100 * 1024];
    while all.len() < len {
        let count = read(stream, &mut buf).await.unwrap();
        assert!(count > 0, "it ended after {} bytes", all.len());
        all.extend_from_slice(&buf[..count]);
    }
    all
}

#[test]
fn bytes_keep_their_order_however_they_come() {
    with_ring(|| async {
        for piece in [1, 100, 2047, 2048, 2049, 5_000, 70_000] {
            let (mut stream, mut peer) = accepted().await;
            let bytes = pattern(300_000);
            let sent = bytes.clone();
            let sender = thread::spawn(move || {
                sent.chunks(piece).for_each(|chunk| peer.write_all(chunk).unwrap());
                peer
            });
            assert_eq!(read_all(&mut stream, bytes.len()).await, bytes, "in pieces of {piece}");
            drop(sender.join().unwrap());
            assert_eq!(read(&mut stream, &mut [0; 8]).await.unwrap(), 0);
            assert_eq!(read(&mut stream, &mut [0; 8]).await.unwrap(), 0, "and stays so");
        }
    });
}

#[test]
fn a_message_is_read_in_parts() {
    with_ring(|| async {
        let (mut stream, mut peer) = accepted().await;
        assert!(is_pending(read(&mut stream, &mut [0; 8])));
        peer.write_all(b"abcdefgh").unwrap();
        let mut buf = [0; 3];
        for expected in [&b"abc"[..], b"def", b"gh"] {
            let count = read(&mut stream, &mut buf).await.unwrap();
            assert_eq!(&buf[..count], expected);
        }
        assert!(is_pending(read(&mut stream, &mut buf)));
    });
}

#[test]
fn a_stream_that_nobody_reads_takes_a_bounded_number_of_buffers() {
    with_ring(|| async {
        let (mut greedy, mut peer) = accepted().await;
        assert!(is_pending(read(&mut greedy, &mut [0; 8])));
        peer.set_nonblocking(true).unwrap();
        // As much as the kernel's own buffers take.
        let mut sent = 0;
        let bytes = pattern(64 * 1024);
        for _ in 0..200 {
            match peer.write(&bytes[sent % bytes.len()..]) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            tokio::task::yield_now().await;
        }
        // Others go on as before.
        let (mut other, mut peer) = accepted().await;
        for turn in 0..100_u8 {
            assert!(is_pending(read(&mut other, &mut [0; 8])));
            peer.write_all(&[turn]).unwrap();
            let mut buf = [0; 8];
            assert_eq!(read(&mut other, &mut buf).await.unwrap(), 1);
            assert_eq!(buf[0], turn);
        }
        let all = read_all(&mut greedy, sent).await;
        assert!(
            all.iter()
                .enumerate()
                .all(|(at, &byte)| byte == bytes[at % bytes.len()])
        );
    });
}

#[test]
fn streams_go_on_when_the_buffers_are_out() {
    // Each of them has a buffer that it does not let go of.
    const STREAMS: usize = 1_500;
    with_ring(|| async {
        let mut pairs = Vec::new();
        for _ in 0..STREAMS {
            let (mut stream, peer) = accepted().await;
            assert!(is_pending(read(&mut stream, &mut [0; 8])));
            pairs.push((stream, peer));
        }
        for (number, (_, peer)) in pairs.iter_mut().enumerate() {
            peer.write_all(&u64::try_from(number).unwrap().to_be_bytes()).unwrap();
            if number % 64 == 0 {
                turns().await;
            }
        }
        turns().await;
        // The last first: those that have a buffer do not give it back before.
        for (number, (stream, _)) in pairs.iter_mut().enumerate().rev() {
            let bytes = read_all(stream, 8).await;
            assert_eq!(bytes, u64::try_from(number).unwrap().to_be_bytes());
        }
        // All buffers are back: whoever waits is served by the ring again.
        for (stream, peer) in &mut pairs {
            assert!(is_pending(read(stream, &mut [0; 8])));
            peer.write_all(b"again").unwrap();
            assert_eq!(read_all(stream, 5).await, b"again");
        }
    });
}

#[test]
fn a_message_left_with_the_ring_arrives() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        let mut buf = [0; 64];
        for _ in 0..100 {
            peer.write_all(b"question").unwrap();
            assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 8);
            write_soon(&mut stream, b"answer").await;
            // In order behind it: another small one, a direct one.
            write_soon(&mut stream, b", more").await;
            write_all(&mut stream, b", end").await.unwrap();
            peer.read_exact(&mut buf[..17]).unwrap();
            assert_eq!(&buf[..17], b"answer, more, end");
        }
    });
}

#[test]
fn a_message_left_with_the_ring_is_sent_before_the_stream_closes() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        write_soon(&mut stream, b"last words").await;
        drop(stream);
        // Another socket may have the descriptor's number at once.
        let (other, mut bystander) = accepted().await;
        turns().await;
        let mut words = String::new();
        peer.read_to_string(&mut words).unwrap();
        assert_eq!(words, "last words");
        drop(other);
        assert_eq!(bystander.read(&mut [0; 8]).unwrap(), 0, "nobody else's words");
    });
}

#[test]
fn shutting_down_comes_after_what_was_left_with_the_ring() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        write_soon(&mut stream, b"last words").await;
        stream.shutdown_write().unwrap();
        let mut words = String::new();
        peer.read_to_string(&mut words).unwrap();
        assert_eq!(words, "last words");
    });
}

/// A stream whose socket takes nothing more, its peer, and what it took.
async fn stuffed() -> (Stream, TcpStream, usize) {
    let (mut stream, peer) = accepted().await;
    let bytes = vec![7; 64 * 1024];
    let mut stuffed = 0;
    while let Poll::Ready(written) = poll_fn(|cx| Poll::Ready(stream.poll_write(cx, &bytes))).await {
        stuffed += written.unwrap();
    }
    (stream, peer, stuffed)
}

#[test]
fn a_message_that_does_not_fit_is_sent_when_there_is_room() {
    in_worker(|| async {
        for read_on in [true, false] {
            let (mut stream, mut peer, stuffed) = stuffed().await;
            // The ring takes it; the socket will not.
            let written = poll_fn(|cx| Poll::Ready(stream.poll_write_soon(cx, b"later"))).await;
            let taken = written.is_ready();
            turns().await;
            let reader = thread::spawn(move || {
                let mut all = vec![0; stuffed + 5];
                peer.read_exact(&mut all).unwrap();
                peer.write_all(b"thanks").unwrap();
                (peer, all)
            });
            if !taken {
                write_all(&mut stream, b"later").await.unwrap();
            }
            if read_on {
                // Whoever reads the stream drives what it owes.
                assert_eq!(read_all(&mut stream, 6).await, b"thanks");
                write_all(&mut stream, b"!").await.unwrap();
            } else {
                write_all(&mut stream, b"!").await.unwrap();
                assert_eq!(read_all(&mut stream, 6).await, b"thanks");
            }
            let (mut peer, all) = reader.join().unwrap();
            assert_eq!(&all[stuffed..], b"later");
            let mut end = [0; 1];
            peer.read_exact(&mut end).unwrap();
            assert_eq!(&end, b"!");
        }
    });
}

#[test]
fn a_message_that_does_not_fit_is_sent_when_its_task_only_waits_to_read() {
    in_worker(|| async {
        // Watched by the reactor before it has anything to do with the ring.
        let (mut stream, mut peer, stuffed) = stuffed().await;
        let written = poll_fn(|cx| Poll::Ready(stream.poll_write_soon(cx, b"later"))).await;
        if written.is_pending() {
            // Without a ring it would have to be written again.
            return;
        }
        let reader = thread::spawn(move || {
            let mut all = vec![0; stuffed + 5];
            peer.read_exact(&mut all).unwrap();
            peer.write_all(b"thanks").unwrap();
            all
        });
        assert_eq!(read_all(&mut stream, 6).await, b"thanks");
        assert_eq!(&reader.join().unwrap()[stuffed..], b"later");
    });
}

#[test]
fn a_broken_connection_is_noticed_behind_a_message_left_with_the_ring() {
    in_worker(|| async {
        let (mut stream, peer) = accepted().await;
        assert!(is_pending(read(&mut stream, &mut [0; 8])));
        // Bytes that the peer never reads make its close a reset.
        write_all(&mut stream, b"unread").await.unwrap();
        drop(peer);
        for _ in 0..3 {
            let _ = poll_fn(|cx| Poll::Ready(stream.poll_write_soon(cx, b"in vain"))).await;
            turns().await;
        }
        assert!(!matches!(read(&mut stream, &mut [0; 8]).await, Ok(1..)));
        assert!(!stream.is_quiet() || !stream.is_silent());
    });
}

/// Passes on what comes next.
async fn pass_on(from: &mut Stream, to: &Stream) -> Passed {
    poll_fn(|cx| match from.pass_on(cx, to) {
        Passed::Nothing => Poll::Pending,
        passed => Poll::Ready(passed),
    })
    .await
}

#[test]
fn what_came_is_passed_on_in_one_step() {
    with_ring(|| async {
        let (mut from, mut sender) = accepted().await;
        let (mut to, mut receiver) = accepted().await;
        let passed = pass_on(&mut from, &to).await;
        assert_eq!(passed, Passed::NotSo, "neither has to do with the ring");
        for stream in [&mut from, &mut to] {
            assert!(is_pending(read(stream, &mut [0; 8])));
        }
        for message in [&b"one"[..], b"and another", &[3; 2048]] {
            sender.write_all(message).unwrap();
            let (count, is_all) = (message.len(), true);
            assert_eq!(pass_on(&mut from, &to).await, Passed::Bytes { count, is_all });
            turns().await;
            let mut arrived = vec![0; count];
            receiver.read_exact(&mut arrived).unwrap();
            assert_eq!(arrived, message);
        }
        // What is left with the ring for the one is not for the other to overtake.
        write_soon(&mut to, b"first").await;
        sender.write_all(b"second").unwrap();
        while !from.has_event() {
            tokio::task::yield_now().await;
        }
        assert_eq!(pass_on(&mut from, &to).await, Passed::Bytes { count: 6, is_all: true });
        turns().await;
        let mut arrived = [0; 11];
        receiver.read_exact(&mut arrived).unwrap();
        assert_eq!(&arrived, b"firstsecond");
        sender.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(pass_on(&mut from, &to).await, Passed::NotSo, "an end has to be read");
        assert_eq!(read(&mut from, &mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn what_is_passed_on_keeps_its_order_while_the_other_side_takes_nothing() {
    const BYTES: usize = 16 * 1024 * 1024;
    with_ring(|| async {
        let (mut from, mut sender) = accepted().await;
        let (mut to, mut receiver) = accepted().await;
        for stream in [&mut from, &mut to] {
            assert!(is_pending(read(stream, &mut [0; 8])));
        }
        let all = pattern(BYTES);
        let sent = all.clone();
        let sending = thread::spawn(move || sent.chunks(700).for_each(|message| sender.write_all(message).unwrap()));
        let receiving = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            let mut arrived = vec![0; BYTES];
            receiver.read_exact(&mut arrived).unwrap();
            arrived
        });
        let (mut moved, mut in_one_step) = (0, 0);
        let mut buf = vec![0; 64 * 1024];
        while moved < BYTES {
            moved += match pass_on(&mut from, &to).await {
                Passed::Bytes { count, .. } => {
                    in_one_step += 1;
                    count
                }
                _ => {
                    let count = read(&mut from, &mut buf).await.unwrap();
                    let mut rest = &buf[..count];
                    while !rest.is_empty() {
                        let written = poll_fn(|cx| to.poll_write_soon(cx, rest)).await.unwrap();
                        rest = &rest[written..];
                    }
                    count
                }
            };
        }
        poll_fn(|cx| to.poll_settled(cx)).await.unwrap();
        sending.join().unwrap();
        assert!(receiving.join().unwrap() == all, "after {in_one_step} in one step");
    });
}

#[test]
fn what_a_pooled_connection_hears_is_known_without_a_call() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        stream.watch().unwrap();
        turns().await;
        assert!(stream.is_quiet() && stream.is_silent() && !stream.has_event());
        peer.write_all(b"unasked").unwrap();
        poll_fn(|cx| stream.poll_event(cx)).await;
        assert!(!stream.is_quiet() && !stream.is_silent() && stream.has_event());
        assert_eq!(stream.peek(&mut Context::from_waker(Waker::noop())), Peeked::Data);
        assert_eq!(read_all(&mut stream, 7).await, b"unasked");
        drop(peer);
        poll_fn(|cx| stream.poll_event(cx)).await;
        assert_eq!(stream.peek(&mut Context::from_waker(Waker::noop())), Peeked::End);
        assert!(!stream.is_quiet() && !stream.is_silent());
    });
}

#[test]
fn what_the_ring_received_is_spliced_first() {
    in_worker(|| async {
        let (mut from, mut source) = accepted().await;
        let (mut to, mut sink) = accepted().await;
        let bytes = pattern(400_000);
        assert!(is_pending(read(&mut from, &mut [0; 8])), "the ring receives");
        let sent = bytes.clone();
        let sender = thread::spawn(move || {
            source.write_all(&sent).unwrap();
            source
        });
        let expected = bytes.clone();
        let receiver = thread::spawn(move || {
            let mut all = vec![0; expected.len()];
            sink.read_exact(&mut all).unwrap();
            assert_eq!(all, expected);
        });
        // Some of it is here.
        poll_fn(|cx| from.poll_event(cx)).await;
        let mut pipe = Pipes::new(1).acquire().unwrap();
        let mut left = bytes.len() as u64;
        while left > 0 || pipe.buffered() > 0 {
            let done = poll_fn(|cx| pipe.poll_splice(cx, &mut from, &mut to, left))
                .await
                .unwrap();
            assert!(!done.eof);
            left -= done.read;
        }
        drop(sender.join().unwrap());
        receiver.join().unwrap();
    });
}

#[test]
fn a_stream_comes_back_to_the_ring_after_a_burst() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        for round in 0..3 {
            let bytes = pattern(200_000);
            let sent = bytes.clone();
            let sender = thread::spawn(move || {
                peer.write_all(&sent).unwrap();
                peer
            });
            assert_eq!(read_all(&mut stream, bytes.len()).await, bytes, "round {round}");
            peer = sender.join().unwrap();
            for turn in 0..100_u8 {
                peer.write_all(&[turn; 5]).unwrap();
                assert_eq!(read_all(&mut stream, 5).await, [turn; 5], "round {round}");
                assert!(is_pending(read(&mut stream, &mut [0; 8])));
            }
        }
    });
}

#[test]
fn streams_are_dropped_while_the_kernel_works_for_them() {
    in_worker(|| async {
        for round in 0..300 {
            let (mut stream, mut peer) = accepted().await;
            if round % 2 == 0 {
                assert!(is_pending(read(&mut stream, &mut [0; 8])));
            }
            if round % 3 == 0 {
                peer.write_all(b"never read").unwrap();
            }
            if round % 5 == 0 {
                turns().await;
            }
            if round % 7 == 0 {
                write_soon(&mut stream, b"bye").await;
            }
            drop(stream);
            peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            // The close reaches the peer, as an end or, where it had said something, as a reset.
            let closed = async {
                peer.set_nonblocking(true).unwrap();
                loop {
                    match peer.read(&mut [0; 64]) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::task::yield_now().await,
                        Err(_) => break,
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
        }
    });
}
