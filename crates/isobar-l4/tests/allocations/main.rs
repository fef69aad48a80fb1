//! What do connections and datagrams allocate once they are there?
//!
//! A whole worker serves real sockets on the thread that counts; the clients and the servers are other threads.
#![allow(unsafe_code, reason = "an allocator that counts is one that is implemented")]

mod datagrams;
mod tunnels;
mod upstream;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use isobar_l4::{Published, Shared, Worker, WorkerParts};
use isobar_net::scratch::Scratch;
use isobar_net::splice::Pipes;
use isobar_net::wheel::Wheel;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    /// What a block takes: sizes are rounded up to classes, a quarter of a power of two apart.
    fn taken(layout: Layout) -> i64 {
        let size = layout.size().max(16);
        let step = (size.next_power_of_two() / 8).max(16).max(layout.align());
        i64::try_from(size.next_multiple_of(step)).unwrap_or(i64::MAX)
    }
}

// SAFETY: everything is passed on to the system's allocator, with the arguments it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() + Self::taken(layout));
        // SAFETY: the caller keeps the promises that this method asks for, and they are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - Self::taken(layout));
        // SAFETY: the pointer is from `alloc` above, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The worker of this thread, whose timers run.
fn worker(published: Arc<Published>) -> Rc<Worker> {
    let wheel = Wheel::new(Instant::now());
    let worker = Rc::new(Worker::new(WorkerParts {
        id: 0,
        seed: 1,
        published,
        shared: Shared {
            wheel: wheel.clone(),
            scratch: Rc::new(Scratch::default()),
            pipes: Pipes::new(1),
        },
    }));
    tokio::task::spawn_local(async move { wheel.drive().await });
    worker
}
