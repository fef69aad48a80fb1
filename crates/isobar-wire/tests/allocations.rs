//! Does the crate allocate in steady state? One exchange, one beginning of a connection and one flow are read and written over
//! and over with the same buffers.
#![allow(unsafe_code, reason = "a global allocator that counts has no safe form")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use std::collections::hash_map::RandomState;
use std::time::Duration;

use isobar_wire::client_hello::{ClientHello, ClientHelloError, Seen};
use isobar_wire::exchange::Exchange;
use isobar_wire::http2::hpack::{Class, Decoder, Encoder};
use isobar_wire::proxy_protocol::{Endpoints, ProxyHeader, ProxyVersion, Tlvs, Transport};
use isobar_wire::socks5::{Authentication, Reply, Socks5, Step};
use isobar_wire::udp::{Answer, Datagram, FlowLimits, Flows, Handled, KeyedBy, QuicIds};
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

/// Everything that may stand at the beginning of a connection.
fn beginning(out: &mut Vec<u8>, joined: &mut [u8; ClientHelloError::MAX_BYTES]) {
    let endpoints = Endpoints::between(
        Transport::Stream,
        "192.0.2.1:1".parse().unwrap(),
        "[2001:db8::1]:443".parse().unwrap(),
    );
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        out.clear();
        let header = ProxyHeader {
            version,
            endpoints,
            tlvs: Tlvs::default(),
            checksum: version == ProxyVersion::V2,
        };
        header.compose(out).unwrap();
        assert_eq!(ProxyHeader::parse(out), Ok(Some((header, out.len()))));
    }
    let hello = include_bytes!("client_hello/rustls_records_of_300.bin");
    assert!(matches!(ClientHello::read(hello, joined), Ok(Seen::Hello(_))));

    out.clear();
    let mut client = Socks5::new(Authentication::Password);
    assert_eq!(client.handle(b"\x05\x01\x02", out), Ok((3, Step::Greeted)));
    client.handle(b"\x01\x01u\x01p", out).unwrap();
    client.authenticated(out);
    client.handle(b"\x05\x01\0\x03\x01a\x01\xbb", out).unwrap();
    client.reply(Reply::Succeeded("[::1]:1".parse().unwrap()), out);
}

#[test]
fn nothing_is_allocated_at_the_beginning_of_a_connection() {
    let mut out = Vec::with_capacity(1_024);
    let mut joined = Box::new([0; ClientHelloError::MAX_BYTES]);
    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| beginning(&mut out, &mut joined));
    assert_eq!(ALLOCATIONS.get(), before);
}

/// Not even by flows that were never there before, ones that make room, and ones beside others.
#[test]
fn nothing_is_allocated_by_datagrams() {
    let limits = FlowLimits {
        max_flows: 100,
        idle_timeout: Duration::from_secs(1),
        requests: None,
        responses: None,
    };
    let quic = Some(QuicIds { short_id_bytes: 2 });
    let mut flows = Flows::new(KeyedBy::ClientAndLocal, quic, limits, RandomState::new());
    let to = "192.0.2.1:443".parse().unwrap();
    let before = ALLOCATIONS.get();
    for turn in 0..1_000_u16 {
        let now = Duration::from_millis(turn.into());
        let from = ([198, 51, 100, 1], 1_000 + turn).into();
        let payload = &[0x40, 1, turn.to_be_bytes()[1] / 16];
        let Handled::New { flow, .. } = flows.handle_datagram(Datagram { from, to, payload }, now) else {
            panic!("turn {turn}");
        };
        let [_, id] = (turn / 16).to_be_bytes();
        let answer = flows.handle_response(flow, &[0xc0, 0, 0, 0, 1, 0, 2, 1, id], now);
        assert_ne!(answer, Answer::Stray);
    }
    while flows.handle_timeout(Duration::from_secs(10)).is_some() {}
    assert!(flows.is_empty() && flows.counts().moved > 0 && flows.counts().evicted > 0);
    assert_eq!(ALLOCATIONS.get(), before);
}

struct Connection {
    encoder: Encoder,
    /// Decodes what that encodes.
    ours: Decoder,
    /// Decodes what others encode.
    others: Decoder,
    out: Vec<u8>,
}

/// One message after the other: some fields come again and some do not.
fn header_blocks(turn: u32, connection: &mut Connection) {
    let Connection {
        encoder,
        ours,
        others,
        out,
    } = connection;
    out.clear();
    encoder.begin(out);
    encoder.pseudo(Class::Method, b"GET", out);
    encoder.pseudo(Class::Authority, b"example.com", out);
    encoder.pseudo(Class::Path, b"/a?b", out);
    encoder.field(b"Accept", b"application/json", out);
    encoder.field(b"X-Request-Id", &turn.to_be_bytes(), out);
    encoder.field(b"X-Shard", &[turn.to_be_bytes()[3] / 4], out);
    encoder.field(b"Cookie", b"a=b", out);
    let mut fields = 0;
    ours.decode(out, |_| fields += 1).unwrap();
    // What others write: a compressed string (RFC 7541 appendix C.4.1), and one that goes into the table.
    out.clear();
    out.extend_from_slice(b"\x01\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x41\x04");
    out.extend_from_slice(&turn.to_be_bytes());
    others.decode(out, |_| fields += 1).unwrap();
    assert_eq!(fields, 9);
}

#[test]
fn nothing_is_allocated_by_header_blocks() {
    let before = ALLOCATIONS.get();
    let mut connection = Connection {
        encoder: Encoder::new(),
        ours: Decoder::new(4_096),
        others: Decoder::new(4_096),
        out: Vec::new(),
    };
    connection.others.decode(b"\x82\x04\x04/a?b", |_| ()).unwrap();
    connection.encoder.limit_table(8_192);
    assert_eq!(
        ALLOCATIONS.get(),
        before,
        "nothing before there is something for a table"
    );

    // Until all tables have been full, and their oldest entries have gone for some time.
    (0..1_000).for_each(|turn| header_blocks(turn, &mut connection));
    let before = ALLOCATIONS.get();
    (1_000..3_000).for_each(|turn| header_blocks(turn, &mut connection));
    assert_eq!(ALLOCATIONS.get(), before);
}

/// However a block is made, buffers grow a few times and no more.
#[test]
fn hostile_header_blocks_allocate_little() {
    let compressed = [[0x00, 0x00, 0x7f, 0x81, 0x7e].as_slice(), &[0x07; 16_384 - 5]].concat();
    let large = [[0x40, 0x00, 0x7f, 0x81, 0x7e].as_slice(), &[b'v'; 16_384 - 5]].concat();
    for block in [compressed, large, [0x40, 0x00, 0x00].repeat(5_000)] {
        let mut decoder = Decoder::new(4_096);
        let before = ALLOCATIONS.get();
        _ = decoder.decode(&block, |_| ());
        assert!(ALLOCATIONS.get() - before < 16, "{}", ALLOCATIONS.get() - before);
    }
}
