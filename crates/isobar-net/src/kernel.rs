//! What does the kernel have to be promised?
//!
//! The only file of the workspace with `unsafe`. tokio asks that a descriptor stays open for as long as its reactor watches
//! it, and io_uring that memory stays where it is for as long as an operation may touch it; the types here keep both
//! promises by owning what they are about. Calls that rustix does not have are made here too. What sockets and bytes
//! are for is not known.
#![expect(
    unsafe_code,
    reason = "tokio's reactor and io_uring take bare descriptor numbers and addresses"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::ring::{Completion, Outgoing};

/// A socket and, once it had to wait, the reactor's watch over it.
///
/// Invariant: the watch is over the socket's own descriptor, and ends before the socket closes. It holds because both fields
/// are private to this file, the socket is lent by shared reference only, and fields are dropped in the order written.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    watch: Option<AsyncFd<RawFd>>,
    socket: S,
}

/// A socket whose descriptor is open and the same from its making to its drop.
pub(crate) trait Socket: AsRawFd + sealed::Sealed {}

impl Socket for TcpListener {}
impl Socket for TcpStream {}
impl Socket for UdpSocket {}
impl Socket for OwnedFd {}

mod sealed {
    pub(crate) trait Sealed {}
    impl Sealed for std::net::TcpListener {}
    impl Sealed for std::net::TcpStream {}
    impl Sealed for std::net::UdpSocket {}
    impl Sealed for std::os::fd::OwnedFd {}
}

impl<S: Socket> Watched<S> {
    /// A non-blocking socket that is not watched yet.
    pub(crate) fn new(socket: S) -> Self {
        Self { watch: None, socket }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// The watch over the socket, if there is one.
    pub(crate) fn watch(&self) -> Option<&AsyncFd<RawFd>> {
        self.watch.as_ref()
    }

    /// The watch over the socket, which begins now if there was none. What arrived before is reported by the reactor's next turn.
    ///
    /// *Cost*: at first a system call and an allocation, later none. *Errors*: the reactor has no room.
    pub(crate) fn watch_for(&mut self, interest: Interest) -> io::Result<&AsyncFd<RawFd>> {
        match &mut self.watch {
            Some(watch) => Ok(watch),
            none => {
                // SAFETY: the number is that of an open descriptor, because `socket` owns it. It stays open and the same
                // while the watch lives, by the invariant of this type and that of `Socket`; a leaked value leaks both.
                let watch = unsafe { AsyncFd::register_with_interest(self.socket.as_raw_fd(), interest)? };
                Ok(none.insert(watch))
            }
        }
    }

    /// Ends the watch; the socket stays.
    ///
    /// *Cost*: a system call if it was watched.
    pub(crate) fn unwatch(&mut self) {
        self.watch = None;
    }

    /// Ends the watch and gives the socket away.
    ///
    /// *Cost*: a system call if it was watched.
    pub(crate) fn into_socket(self) -> S {
        let Self { watch, socket } = self;
        drop(watch);
        socket
    }
}

/// How many connections wait to be accepted.
///
/// *Cost*: a system call that allocates nothing, unlike an accept(2) that finds nobody: it makes a socket first.
///
/// *Source*: tcp(7), `TCP_INFO`; of a socket that listens, `tcpi_unacked` is the length of its queue.
///
/// *Errors*: the socket does not speak TCP.
pub(crate) fn waiting_connections(listener: &TcpListener) -> io::Result<u32> {
    /// Where `tcpi_unacked` is among the numbers that `struct tcp_info` begins with.
    const UNACKED: usize = 6;
    let mut info = [0_u32; UNACKED + 1];
    let mut len = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes to `info`, which has as many, and any bytes are numbers.
    let result = unsafe {
        let info = info.as_mut_ptr().cast();
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info,
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(info[UNACKED])
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Bytes that come from memory at a time.
const CACHE_LINE: usize = 64;

/// For `PR_SET_THP_DISABLE`, from Linux 6.18 on: what is advised is not meant.
const EXCEPT_ADVISED: libc::c_ulong = 1 << 1;

/// Has memory come in small pages, but for what [`advise_large_pages`] says.
///
/// *Errors*: the kernel does not make that difference.
pub(crate) fn use_small_pages_unless_advised() -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: numbers are all that is handed over.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1 as libc::c_ulong, EXCEPT_ADVISED, none, none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has memory come in large pages where the kernel has some. Both are multiples of a page.
pub(crate) fn advise_large_pages(start: usize, bytes: usize) {
    let start = std::ptr::without_provenance_mut(start);
    // SAFETY: what is in memory, and whose it is, stays the same; it is a wish that may come to nothing.
    let _ = unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
}

/// Has memory brought close to the processor that is about to be read; any address will do.
///
/// *Cost*: an instruction for each [`CACHE_LINE`], which waits for nothing.
pub(crate) fn prefetch(start: *const (), bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..bytes).step_by(CACHE_LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it is a wish; nothing is read that anybody could see, whatever is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_byte_add(offset).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}

/// Datagrams that one call receives or sends at most.
pub(crate) const DATAGRAMS: usize = 32;

/// What goes with a datagram: the address of the other end, and control messages, as the kernel spells them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Envelope {
    pub(crate) control: [u8; 64],
    /// A `sockaddr_in` or a `sockaddr_in6`.
    pub(crate) name: [u8; 28],
    pub(crate) name_len: u32,
    pub(crate) control_len: usize,
    /// Bytes of the datagram, once it was received.
    pub(crate) len: usize,
}

/// A datagram that is to be sent, in two parts, of which either may be empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parcel<'a> {
    /// Where it goes; none: where the socket is connected to.
    pub(crate) envelope: Option<&'a Envelope>,
    pub(crate) parts: [&'a [u8]; 2],
}

/// Receives the datagrams that wait, as many as there are envelopes at most, each into `each` bytes of the room.
///
/// *Cost*: one system call, recvmmsg(2); no allocation. *Errors*: those of recvmsg(2) where there was none before; none waits.
pub(crate) fn receive_datagrams(
    socket: BorrowedFd<'_>,
    envelopes: &mut [Envelope],
    room: &mut [u8],
    each: usize,
) -> io::Result<usize> {
    // SAFETY: both are made of numbers and pointers, for which zero is a value.
    let (mut parts, mut messages): ([libc::iovec; DATAGRAMS], [libc::mmsghdr; DATAGRAMS]) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut count = 0;
    let slots = envelopes.iter_mut().zip(room.chunks_exact_mut(each));
    for ((envelope, room), (part, message)) in slots.zip(parts.iter_mut().zip(&mut messages)) {
        part.iov_base = room.as_mut_ptr().cast();
        part.iov_len = room.len();
        let header = &mut message.msg_hdr;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_name = envelope.name.as_mut_ptr().cast();
        header.msg_namelen = u32::try_from(envelope.name.len()).unwrap_or(0);
        header.msg_control = envelope.control.as_mut_ptr().cast();
        header.msg_controllen = envelope.control.len();
        count += 1;
    }
    let messages_at = messages.as_mut_ptr();
    // SAFETY: `count` headers were filled in above. Each points to room that is borrowed for longer than this call lasts, that no
    // other header points to, and that any bytes may stand in.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages_at,
            count,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (envelope, message) in envelopes.iter_mut().zip(messages.iter().take(received)) {
        envelope.name_len = message.msg_hdr.msg_namelen;
        envelope.control_len = message.msg_hdr.msg_controllen;
        envelope.len = message.msg_len as usize;
    }
    Ok(received)
}

/// Sends datagrams in order, and says how many; [`DATAGRAMS`] at most.
///
/// *Cost*: one system call, sendmmsg(2); no allocation. *Errors*: the first one could not be sent, as sendmsg(2) says.
pub(crate) fn send_datagrams(socket: BorrowedFd<'_>, parcels: &[Parcel<'_>]) -> io::Result<usize> {
    // SAFETY: both are made of numbers and pointers, for which zero is a value.
    let (mut parts, mut messages): ([[libc::iovec; 2]; DATAGRAMS], [libc::mmsghdr; DATAGRAMS]) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut count = 0;
    for (parcel, (parts, message)) in parcels.iter().zip(parts.iter_mut().zip(&mut messages)) {
        for (part, bytes) in parts.iter_mut().zip(parcel.parts) {
            part.iov_base = bytes.as_ptr().cast_mut().cast();
            part.iov_len = bytes.len();
        }
        let header = &mut message.msg_hdr;
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len();
        if let Some(envelope) = parcel.envelope {
            header.msg_name = envelope.name.as_ptr().cast_mut().cast();
            header.msg_namelen = envelope.name_len;
            header.msg_control = envelope.control.as_ptr().cast_mut().cast();
            header.msg_controllen = envelope.control_len;
        }
        count += 1;
    }
    let messages_at = messages.as_mut_ptr();
    // SAFETY: `count` headers were filled in above, with pointers to bytes that are borrowed for longer than this call lasts and that
    // sending only reads; the lengths are those of what is pointed to, or less.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages_at, count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Has the kernel tell of each datagram of a socket which address it was sent to.
pub(crate) fn tell_destination(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0);
    // SAFETY: the kernel reads `len` bytes of `on`, which has as many.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), len) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Operations that can wait to be handed to the kernel at once.
const SUBMISSIONS: u32 = 1024;

/// Outcomes that can wait to be looked at; what is over that the kernel keeps on a list of its own.
const COMPLETIONS: u32 = 8192;

/// Buffers that received bytes are put in. A power of two, and no more than a buffer ring takes (2^15).
pub(crate) const BUFFERS: u16 = 1024;

/// Bytes of each: most requests and small answers fit.
pub(crate) const BUFFER_BYTES: usize = 2048;

/// The only group of buffers.
const GROUP: u16 = 0;

/// `IORING_ENTER_GETEVENTS`: work that the kernel put off for this thread is done in the call.
const GET_EVENTS: u32 = 1;

/// In the upper half of an operation's mark: what it was.
const RECEIVE: u64 = 0;
const SEND: u64 = 1 << 32;
const CANCEL: u64 = 2 << 32;

/// An io_uring of one thread, with the memory its operations use.
///
/// *Source*: io_uring_setup(2), io_uring_enter(2), io_uring_register_buf_ring(3), io_uring_prep_recv_multishot(3),
/// Linux 6.1 and later.
pub(crate) struct Uring {
    /// Closed before the memory is given back, because fields are dropped in the order written.
    ring: IoUring,
    event: OwnedFd,
    buffers: Buffers,
    outgoing: Outgoing,
}

/// A buffer with received bytes. It is owed to [`Uring::give_back`].
#[derive(Debug)]
pub(crate) struct Filled {
    id: u16,
    len: u16,
}

impl Filled {
    /// Which buffer it is; below [`BUFFERS`].
    pub(crate) const fn id(&self) -> u16 {
        self.id
    }
}

impl Uring {
    /// A ring for the calling thread, which must be the only one to use it.
    ///
    /// *Errors*: the kernel is older than 6.1, or does not let this process have one.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)?;
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        let buffers = Buffers::new(&ring)?;
        Ok(Self {
            ring,
            event,
            buffers,
            outgoing: Outgoing::default(),
        })
    }

    /// Readable, edge by edge, when there is something to look at: what [`enter`](Self::enter) is for.
    ///
    /// *Errors*: no descriptor is left, or the reactor has no room.
    pub(crate) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let event = self.event.try_clone()?;
        // SAFETY: the descriptor is open, and the watch owns it.
        Ok(unsafe { AsyncFd::register_with_interest(event, Interest::READABLE)? })
    }

    /// Asks for all that comes on a socket, from now on and until [`Completion::Received`] says that no more will.
    ///
    /// The socket must not be closed before the next [`enter`](Self::enter), or another one could be meant by its number.
    ///
    /// *Errors*: the kernel takes nothing now.
    pub(crate) fn receive(&mut self, owner: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        // SAFETY: the operation names no memory; what is received goes into `buffers`, which outlives the ring.
        unsafe { self.push(&entry.user_data(RECEIVE | u64::from(owner))) }
    }

    /// Has the kernel end what `owner` asked to receive. That it has ended is told like any other outcome.
    ///
    /// *Errors*: the kernel takes nothing now.
    pub(crate) fn cancel_receive(&mut self, owner: u32) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(RECEIVE | u64::from(owner)).build();
        // SAFETY: the operation names no memory.
        unsafe { self.push(&entry.user_data(CANCEL)) }
    }

    /// Sends what a socket takes without waiting, at the next [`enter`](Self::enter), before which the socket must not
    /// be closed.
    ///
    /// *Errors*: the kernel takes nothing now; the bytes come back.
    pub(crate) fn send(&mut self, owner: u32, socket: BorrowedFd<'_>, bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        let flags = (SendFlags::NOSIGNAL | SendFlags::DONTWAIT).bits();
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), len)
            .flags(flags.cast_signed())
            .build();
        let key = self.outgoing.keep(owner, bytes);
        // SAFETY: the bytes are kept, untouched and in place, until the completion with this key. If the ring is closed
        // before, they are freed after it; the kernel looks at them only within `enter`, because the socket is not waited for.
        let pushed = unsafe { self.push(&entry.user_data(SEND | u64::from(key))) };
        match pushed {
            Ok(()) => Ok(()),
            // It was kept a moment ago.
            Err(_) => Err(self.outgoing.take(key).unwrap_or_default().1),
        }
    }

    /// # Safety
    /// Memory that the entry names must stay valid until its completion, or until the ring is closed.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: as promised by the caller; the entry's file is open now and, as the callers of ours promise, at submission.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: as above.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::ErrorKind::ResourceBusy.into())
    }

    /// Hands over what was asked for, and lets the kernel do what it put off for this thread.
    ///
    /// *Cost*: a system call where there is anything to do, otherwise none.
    ///
    /// *Errors*: the kernel has no memory now, or too much waits to be looked at; what was asked for stays asked for.
    pub(crate) fn enter(&mut self) -> io::Result<()> {
        let submission = self.ring.submission();
        let (count, work_waits) = (submission.len(), submission.taskrun() || submission.cq_overflow());
        drop(submission);
        if count == 0 && !work_waits {
            return Ok(());
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // SAFETY: no argument is passed.
        unsafe { self.ring.submitter().enter::<()>(count, 0, GET_EVENTS, None) }.map(drop)
    }

    /// Whether [`enter`](Self::enter) has something to do.
    pub(crate) fn has_work(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    /// Whether something was asked for that the kernel has not been told.
    pub(crate) fn is_behind(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Tells of nothing by way of the [watched](Self::watch) event until [`call`](Self::call): whoever is about to look
    /// anyway would only be made to look once more.
    pub(crate) fn hush(&mut self) {
        // The kernel marks the ring and then asks whether to tell; on other machines it may do so the other way round.
        if cfg!(target_arch = "x86_64") {
            self.ring.completion().disable_eventfd();
        }
    }

    /// Tells again by way of the event. What came in between is not told: [`has_work`](Self::has_work) says whether there is.
    pub(crate) fn call(&mut self) {
        self.ring.completion().enable_eventfd();
        fence(Ordering::SeqCst);
    }

    /// What came of an operation; none: nothing more yet.
    pub(crate) fn completion(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion().next()?;
            let (mark, result) = (entry.user_data(), entry.result());
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is the owner or the key")]
            let owner = mark as u32;
            let count = u32::try_from(result).map_err(|_| -result);
            match mark & !u64::from(u32::MAX) {
                RECEIVE => {
                    let filled = cqueue::buffer_select(entry.flags()).map(|id| Filled {
                        id,
                        // A buffer holds 2 KiB.
                        len: u16::try_from(count.unwrap_or(0)).unwrap_or(0),
                    });
                    return Some(Completion::Received {
                        owner,
                        outcome: self.received(count, filled),
                        more: cqueue::more(entry.flags()),
                    });
                }
                SEND => {
                    let Some((owner, bytes)) = self.outgoing.take(owner) else {
                        continue;
                    };
                    let outcome = count.map(|count| count as usize);
                    return Some(Completion::Sent { owner, outcome, bytes });
                }
                _ => {}
            }
        }
    }

    fn received(&mut self, count: Result<u32, i32>, filled: Option<Filled>) -> Result<Option<Filled>, i32> {
        match filled {
            Some(filled) if filled.len > 0 => Ok(Some(filled)),
            // A buffer with nothing in it is of no use to anybody.
            other => {
                if let Some(empty) = other {
                    self.give_back(empty);
                }
                count.map(|_| None)
            }
        }
    }

    /// The bytes in a buffer.
    pub(crate) fn bytes(&self, filled: &Filled) -> &[u8] {
        // SAFETY: the kernel has given the buffer away and does not touch it before `give_back`, which needs the one
        // `Filled` that there is for it.
        unsafe { slice::from_raw_parts(self.buffers.at(filled.id), usize::from(filled.len).min(BUFFER_BYTES)) }
    }

    /// Lets the kernel use a buffer again.
    pub(crate) fn give_back(&mut self, filled: Filled) {
        self.buffers.offer(filled.id);
    }
}

/// The buffers that the kernel takes from, and the ring of those that it may take.
///
/// One block: the ring, on a page boundary as the kernel wants it, then the buffers.
#[derive(Debug)]
struct Buffers {
    base: NonNull<u8>,
    tail: u16,
}

impl Buffers {
    const RING_BYTES: usize = BUFFERS as usize * size_of::<BufRingEntry>();
    const LAYOUT: Layout = match Layout::from_size_align(Self::RING_BYTES + BUFFERS as usize * BUFFER_BYTES, 4096) {
        Ok(layout) => layout,
        Err(_) => panic!("the buffers have a layout"),
    };

    fn new(ring: &IoUring) -> io::Result<Self> {
        // SAFETY: the layout is not empty.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(Self::LAYOUT) }) else {
            handle_alloc_error(Self::LAYOUT)
        };
        let mut buffers = Self { base, tail: 0 };
        // SAFETY: the block begins with the ring, on a page boundary, and lives until the ring is closed: `Uring` drops its
        // ring first.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(base.as_ptr() as u64, BUFFERS, GROUP, 0)?;
        }
        (0..BUFFERS).for_each(|id| buffers.offer(id));
        Ok(buffers)
    }

    fn at(&self, id: u16) -> *mut u8 {
        let offset = Self::RING_BYTES + usize::from(id % BUFFERS) * BUFFER_BYTES;
        // SAFETY: within the block, by its layout.
        unsafe { self.base.as_ptr().add(offset) }
    }

    fn offer(&mut self, id: u16) {
        let address = self.at(id) as u64;
        let entries = self.base.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the entry is within the block and, behind the tail, not the kernel's until the tail is moved; the tail is
        // written as an atomic, because the kernel reads it at any time.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(address);
            entry.set_len(u32::try_from(BUFFER_BYTES).unwrap_or(0));
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout. The ring that knows the block is closed, and the kernel writes to it
        // only within calls of the thread that owned the ring.
        unsafe { dealloc(self.base.as_ptr(), Self::LAYOUT) }
    }
}
