//! Do bytes arrive whole, and do streams wait for the right thing?

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;

use isobar_net::stream::{Peeked, Stream};

use crate::{accepted, any_port, in_worker, pattern, read, read_to_end, until, write_all};

fn is_pending(future: impl Future) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn a_request_that_is_there_needs_no_reactor() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        peer.write_all(b"question").unwrap();
        let mut buf = [0; 64];
        assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 8);
        write_all(&mut stream, b"answer").await.unwrap();
        assert!(!stream.is_watched());
        assert!(!stream.has_event() && stream.is_quiet());
        drop(stream);
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
    });
}

#[test]
fn a_stream_that_waits_is_woken() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        let mut buf = [0; 64];
        assert!(is_pending(read(&mut stream, &mut buf)), "there is nothing yet");
        assert!(stream.is_watched());
        for turn in 0..100_u8 {
            peer.write_all(&[turn; 3]).unwrap();
            assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 3);
            assert_eq!(buf[..3], [turn; 3]);
            assert!(!stream.has_event(), "a short read drains without another call");
            assert!(is_pending(read(&mut stream, &mut buf)), "it was drained");
        }
    });
}

#[test]
fn a_short_read_outside_the_reactor_makes_the_next_one_wait() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        peer.write_all(b"one").unwrap();
        let mut buf = [0; 64];
        assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 3);
        peer.write_all(b"three").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            read(&mut stream, &mut buf).await.unwrap(),
            5,
            "what came before the watch is reported"
        );
        assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 0);
        assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 0, "an end stays an end");
    });
}

#[test]
fn a_full_buffer_is_read_on() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        peer.write_all(&pattern(10, 1)).unwrap();
        let mut buf = [0; 4];
        let mut all = Vec::new();
        while all.len() < 10 {
            let bytes = read(&mut stream, &mut buf).await.unwrap();
            all.extend_from_slice(&buf[..bytes]);
        }
        assert_eq!(all, pattern(10, 1));
    });
}

#[test]
fn the_end_is_zero_and_a_reset_an_error() {
    in_worker(|| async {
        for waits_first in [false, true] {
            let (mut stream, peer) = accepted().await;
            let mut buf = [0; 64];
            if waits_first {
                assert!(is_pending(read(&mut stream, &mut buf)));
            }
            drop(peer);
            assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 0);

            let (mut stream, peer) = accepted().await;
            if waits_first {
                assert!(is_pending(read(&mut stream, &mut buf)));
            }
            let mut peer = Stream::from_accepted(peer);
            peer.reset_on_close().unwrap();
            drop(peer);
            let error = read(&mut stream, &mut buf).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn large_writes_arrive_whole_at_a_reader_that_begins_late() {
    in_worker(|| async {
        let bytes = pattern(12_000_000, 7);
        let (mut stream, mut peer) = accepted().await;
        // Nobody reads yet, so the kernel's buffers are full at some point.
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..) {
            let mut written = pin!(poll_fn(|cx| stream.poll_write(cx, rest)));
            let polled = written.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let std::task::Poll::Ready(result) = polled else { break };
            sent += result.unwrap();
        }
        assert!(0 < sent && sent < bytes.len());
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        write_all(&mut stream, &bytes[sent..]).await.unwrap();
        stream.shutdown_write().unwrap();
        assert_eq!(read(&mut stream, &mut [0; 1]).await.unwrap(), 0);
        assert!(reader.join().unwrap() == bytes, "the bytes differ");
    });
}

#[test]
fn vectored_writes_arrive_in_order() {
    in_worker(|| async {
        let bytes = pattern(3_000_000, 3);
        let (mut stream, mut peer) = accepted().await;
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        let mut sent = 0;
        while sent < bytes.len() {
            let rest = &bytes[sent..];
            let (head, tail) = rest.split_at(rest.len() / 3);
            let slices = [IoSlice::new(head), IoSlice::new(tail)];
            sent += poll_fn(|cx| stream.poll_write_vectored(cx, &slices)).await.unwrap();
        }
        drop(stream);
        assert!(reader.join().unwrap() == bytes, "the bytes differ");
    });
}

#[test]
fn the_peer_may_go_on_sending_after_our_end() {
    in_worker(|| async {
        let (mut stream, mut peer) = accepted().await;
        stream.shutdown_write().unwrap();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        peer.write_all(b"late").unwrap();
        drop(peer);
        assert_eq!(read_to_end(&mut stream).await.unwrap(), b"late");
    });
}

#[test]
fn an_idle_connection_knows_when_its_peer_stirs() {
    in_worker(|| async {
        let listener = TcpListener::bind(any_port()).unwrap();
        for closes in [false, true] {
            let mut stream = Stream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut peer = listener.accept().unwrap().0;
            assert!(!stream.has_event() && stream.is_quiet(), "fresh");
            peer.write_all(b"answer").unwrap();
            let mut buf = [0; 6];
            assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 6);
            assert!(stream.is_quiet(), "a look finds nothing");
            assert!(!stream.has_event(), "and is remembered");
            if closes {
                drop(peer);
            } else {
                peer.write_all(b"unasked").unwrap();
            }
            until(|| stream.has_event()).await;
            assert!(!stream.is_quiet());
        }
    });
}

#[test]
fn a_peer_that_owes_nothing_can_be_watched() {
    let check = |stirs: fn(TcpStream), expected| {
        in_worker(|| async {
            let (mut stream, peer) = accepted().await;
            assert_eq!(
                stream.peek(&mut Context::from_waker(Waker::noop())),
                Peeked::Nothing,
                "outside the reactor"
            );
            assert!(is_pending(poll_fn(|cx| stream.poll_event(cx))));
            assert!(is_pending(read(&mut stream, &mut [0; 8])), "is watched");
            assert_eq!(stream.peek(&mut Context::from_waker(Waker::noop())), Peeked::Nothing);
            stirs(peer);
            poll_fn(|cx| stream.poll_event(cx)).await;
            assert_eq!(stream.peek(&mut Context::from_waker(Waker::noop())), expected);
        });
    };
    check(|mut peer| peer.write_all(b"more").unwrap(), Peeked::Data);
    check(drop, Peeked::End);
    let resets = |peer| Stream::from_accepted(peer).reset_on_close().unwrap();
    // The kernel reports a reset once; what follows looks like an end.
    check(resets, Peeked::Broken);
}

#[test]
fn connects_or_says_why_not() {
    in_worker(|| async {
        let listener = TcpListener::bind(any_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let stream = Stream::connect(address).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(stream.into_std().unwrap().nodelay().unwrap());
        drop(listener);
        let refused = Stream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let broadcast = (Ipv4Addr::BROADCAST, 1).into();
        assert!(Stream::connect(broadcast).await.is_err());
    });
}

#[test]
fn a_stream_goes_on_under_another_worker() {
    let (give, take) = mpsc::sync_channel(1);
    let second = thread::spawn(move || {
        in_worker(|| async {
            let mut stream = Stream::from_accepted(take.recv().unwrap());
            let mut buf = [0; 64];
            assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 6);
            assert!(is_pending(read(&mut stream, &mut buf)));
            write_all(&mut stream, b"answer").await.unwrap();
            assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 0);
        });
    });
    in_worker(|| async {
        let (stream, mut peer) = accepted().await;
        give.send(stream.into_std().unwrap()).unwrap();
        peer.write_all(b"second").unwrap();
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    });
    second.join().unwrap();
}
