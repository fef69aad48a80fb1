//! Do the operations of every request allocate nothing?
//!
//! The one test of this program, because it counts the allocations of the whole process.
#![allow(unsafe_code, reason = "an allocator that counts is one that is implemented")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use isobar_net::listen::{ListenOptions, Listener, listen};
use isobar_net::runtime::{WorkerRuntime, run, ways};
use isobar_net::scratch::Scratch;
use isobar_net::splice::Pipes;
use isobar_net::stream::Stream;
use isobar_net::wheel::Wheel;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator, with the arguments it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the promises that this method asks for, and they are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer is from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many times this thread has allocated.
fn allocations() -> u64 {
    ALLOCATIONS.get()
}

async fn pair() -> (Stream, Stream) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::from_std(listen(address, ListenOptions::default()).unwrap()).unwrap();
    let near = Stream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// One exchange as a proxy does it: a request one way, its answer the other, deadlines moved at every step.
async fn exchange(client: &mut Stream, server: &mut Stream, scratch: &Scratch, timer: &isobar_net::wheel::Timer) {
    timer.set(Instant::now() + Duration::from_secs(10));
    assert_eq!(poll_fn(|cx| client.poll_write(cx, b"question")).await.unwrap(), 8);
    let read = poll_fn(|cx| {
        assert!(timer.poll_expired(cx).is_pending());
        scratch.with_input(|input| server.poll_read(cx, input))
    });
    assert_eq!(read.await.unwrap(), 8);
    timer.set(Instant::now() + Duration::from_secs(60));
    let answer = poll_fn(|cx| {
        scratch.with(|_, output| {
            output.extend_from_slice(b"an");
            server.poll_write_vectored(cx, &[IoSlice::new(output), IoSlice::new(b"swer")])
        })
    });
    assert_eq!(answer.await.unwrap(), 6);
    let read = poll_fn(|cx| scratch.with_input(|input| client.poll_read(cx, input)));
    assert_eq!(read.await.unwrap(), 6);
    timer.clear();
}

#[test]
fn nothing_is_allocated_once_warm() {
    let counted = || async {
        let (mut client, mut server) = pair().await;
        let (mut near, mut far) = pair().await;
        let (scratch, wheel, pipes) = (Scratch::new(), Wheel::new(Instant::now()), Pipes::new(1));
        let driver = wheel.clone();
        tokio::task::spawn_local(async move { driver.drive().await });
        let timer = wheel.timer();
        let mut before = 0;
        for round in 0..200 {
            // The first rounds join the reactor, open the pipe and grow the pools.
            if round == 20 {
                before = allocations();
            }
            exchange(&mut client, &mut server, &scratch, &timer).await;
            drop(wheel.timer());
            poll_fn(|cx| near.poll_write(cx, b"spliced")).await.unwrap();
            let mut pipe = pipes.acquire().unwrap();
            let done = poll_fn(|cx| pipe.poll_splice(cx, &mut far, &mut client, 7))
                .await
                .unwrap();
            assert_eq!((done.read, done.written), (7, 7));
            let read = poll_fn(|cx| scratch.with_input(|input| server.poll_read(cx, input)));
            assert_eq!(read.await.unwrap(), 7);
        }
        allocations() - before
    };
    for &io in ways() {
        let allocated = run(WorkerRuntime { core: None, io }, counted).unwrap();
        assert_eq!(allocated, 0, "with {io:?}");
    }
}
