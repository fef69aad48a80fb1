//! How long does it take to decode and to encode the fields of a message? Prints nanoseconds a call; run with
//! `cargo bench -p isobar-wire --bench hpack`. It is a figure to compare with itself before and after a change, not a test.

use std::hint::black_box;

use isobar_wire::http2::hpack::{Class, Decoder, Encoder};
use rounds::measure;

#[path = "measure/rounds.rs"]
mod rounds;

/// What a browser asks for.
const REQUEST: &[(&str, &str)] = &[
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"130\", \"Google Chrome\";v=\"130\", \"Not?A_Brand\";v=\"99\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("upgrade-insecure-requests", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    ),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
    ("cookie", "session=0123456789abcdef; theme=dark"),
];

/// What a server answers, as HTTP/1 spells it.
const RESPONSE: &[(&str, &str)] = &[
    ("Server", "nginx/1.24.0"),
    ("Date", "Mon, 27 Jul 2009 12:28:53 GMT"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Content-Length", "1024"),
    ("Vary", "Accept-Encoding"),
    ("ETag", "\"34aa387-d-1568eb00\""),
    ("Cache-Control", "max-age=60"),
    ("X-Frame-Options", "DENY"),
];

/// The first block of the same request, all of whose strings are compressed and go into the table; made with the package `hpack` 4 of PyPI.
const FIRST: &str = "8287418cf1e3c2e5f23a6ba0ab90f4ff449661091a4c4608843148cd52e4423fcef00802702113df40874148b1275ad1ffb8fe6f4f61e935 \
    b4ff3f7de0fe42c83f9fa53f9c473cd4154bd3d87a4bfcfdf783f90b20fe7e94fe749d3fe4315db07549fcfdf783f97dffe7408b4148b127 \
    5ad1ad49e3350582ff01408d4148b1275ad1ad5d034ca7b29f87fe739aab7cff3f4092b6b9ac1c8558d520a4b6c2ad617b5a54251f810f7a \
    ced07f66a281b0dae053fafc087ed4ce6aadf2a7979c89c6bfb521aeba0bc8b1e632586d975765c53facd8f7e8cff4a506ea5531149d4ffd \
    a97a7b0f49580b205c0b817029b8728ec330db2eaecb9f53c8497ca589d34d1f43aeba0c41a4c7a98f33a69a3fdf9a68fa1d75d0620d263d \
    4c79a68fbed00177fe8d48e62b03ee697e8d48e62b1e0b1d7f46a4731581d754df5f2c7cfdf6800bbd408a4148b4a549275906497f8840e9 \
    2ac7b0d31aaf408a4148b4a549275a93c85f86a87dcd30d25f408a4148b4a549275a42a13f8690e4b692d49f50929bd9abfa5242cb40d25f \
    a523b3e94f684c9f518b2d4b70ddf45abefb4005df609a4150831ea8001132d36e3af3e38c92165fb51339692c120ecebf";

/// What comes for the next resource: all is in the table but for the path, which is compressed.
const NEXT: &str = "8287cb049461091a4c463a2181d75aef4ac8d7e88ff3bc0ebbc9c8c7c6c5c4c3c2c1c0bfbe";

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let byte = |pair: &[u32]| pair.iter().fold(0, |byte, digit| byte << 4 | (digit & 15) as u8);
    digits.chunks(2).map(byte).collect()
}

fn request(encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.clear();
    encoder.begin(out);
    encoder.pseudo(Class::Method, b"GET", out);
    encoder.pseudo(Class::Scheme, b"https", out);
    encoder.pseudo(Class::Authority, b"www.example.com", out);
    encoder.pseudo(Class::Path, b"/static/css/main.css?v=20261128", out);
    for (name, value) in REQUEST {
        encoder.field(name.as_bytes(), value.as_bytes(), out);
    }
}

fn response(encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.clear();
    encoder.begin(out);
    encoder.status(200, out);
    for (name, value) in RESPONSE {
        encoder.field(name.as_bytes(), value.as_bytes(), out);
    }
}

fn main() {
    let (first, next) = (bytes(FIRST), bytes(NEXT));
    let decode = |decoder: &mut Decoder, block: &[u8]| {
        decoder
            .decode(black_box(block), |field| _ = black_box(field))
            .expect("a block");
    };
    measure("request decoded, first", first.len(), || {
        decode(&mut Decoder::new(4_096), &first);
    });
    let mut decoder = Decoder::new(4_096);
    decode(&mut decoder, &first);
    measure("request decoded, next", next.len(), || decode(&mut decoder, &next));

    let mut out = Vec::with_capacity(4_096);
    let mut encode = |name: &str, write: fn(&mut Encoder, &mut Vec<u8>)| {
        write(&mut Encoder::new(), &mut out);
        let len = out.len();
        measure(&format!("{name}, first"), len, || write(&mut Encoder::new(), &mut out));
        let mut encoder = Encoder::new();
        (0..3).for_each(|_| write(&mut encoder, &mut out));
        let len = out.len();
        measure(&format!("{name}, third"), len, || write(&mut encoder, &mut out));
    };
    encode("request encoded", request);
    encode("response encoded", response);
}
