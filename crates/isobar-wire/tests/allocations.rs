//! Does the codec allocate in steady state? One exchange is read and written over and over with the same buffers.
#![allow(unsafe_code, reason = "a global allocator that counts has no safe form")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use isobar_wire::exchange::Exchange;
use isobar_wire::{BodyDecoder, HeadLimits, Parsed, RequestHead, ResponseHead, is_hop_by_hop, write};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 16_384,
    max_fields: 100,
};

const REQUEST: &[u8] = b"POST /a?b HTTP/1.1\r\nHost: example.com\r\nUser-Agent: x\r\nAccept: */*\r\n\
    Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nContent-Length: 5\r\n\r\nhello";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\n\
    Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n";

#[derive(Default)]
struct Buffers {
    request: RequestHead,
    response: ResponseHead,
    out: Vec<u8>,
}

/// One exchange from head to last chunk; the answer is what a proxy would ask last.
fn exchange(buffers: &mut Buffers) -> bool {
    let Buffers { request, response, out } = buffers;
    out.clear();
    assert_eq!(request.parse(&REQUEST[..40], LIMITS), Ok(Parsed::Partial));
    assert_eq!(request.parse(REQUEST, LIMITS), Ok(Parsed::Complete));
    let mut exchange = Exchange::new(request);
    write::forwarded_request_line(out, request, REQUEST);
    for field in request.fields.iter().filter(|field| !is_hop_by_hop(field)) {
        write::field(out, field.name.of(REQUEST), field.value.of(REQUEST));
    }
    write::end(out);
    let mut body = BodyDecoder::new(request.body);
    let decoded = body.decode(&REQUEST[request.len..]).unwrap();
    out.extend_from_slice(&REQUEST[request.len..][decoded.data]);
    exchange.request_body_done();

    assert_eq!(response.parse(RESPONSE, request.kind(), LIMITS), Ok(Parsed::Complete));
    exchange.response_head(response);
    write::status_line(out, request.version, response.status, response.reason.of(RESPONSE));
    write::end(out);
    let mut body = BodyDecoder::new(response.body);
    let mut at = response.len;
    while !body.is_done() {
        let forwarded = body.forward(&RESPONSE[at..]).unwrap();
        out.extend_from_slice(&RESPONSE[at..][forwarded.data]);
        at += forwarded.consumed;
    }
    write::last_chunk(out, body.trailers());
    exchange.response_body_done();
    exchange.client_keeps() && exchange.server_keeps()
}

#[test]
fn nothing_is_allocated_once_the_buffers_have_grown() {
    let mut buffers = Buffers::default();
    assert!(exchange(&mut buffers));
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the allocator counts");
    for _ in 0..100 {
        assert!(exchange(&mut buffers));
    }
    assert_eq!(ALLOCATIONS.get(), before);
}
