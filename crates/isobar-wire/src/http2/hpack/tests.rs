//! Do decoder and encoder speak RFC 7541? Its examples, and what it forbids.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

/// The bytes of hexadecimal digits, between which there may be spaces.
fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The fields of a block, each as `name: value`.
fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, HpackError> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_string();
    decoder.decode(block, |field| {
        found.push(std::format!("{}: {}", text(field.name), text(field.value)));
    })?;
    Ok(found)
}

/// What is in the table of a decoder, the newest first.
fn table(decoder: &mut Decoder) -> Vec<String> {
    (62..=126)
        .map_while(|index| fields(decoder, &[0x80 | index]).ok()?.pop())
        .collect()
}

/// Whether a string is written in the code of appendix B.
#[derive(Debug, Clone, Copy)]
enum Compressed {
    No,
    Yes,
}

/// Appends a string of less than 16 KiB.
fn string(text: &str, compressed: Compressed, out: &mut Vec<u8>) {
    let (bit, text) = match compressed {
        Compressed::No => (0, text.into()),
        Compressed::Yes => (0x80, huffman::encode(text.as_bytes())),
    };
    let len = u16::try_from(text.len()).unwrap();
    if len < 127 {
        out.push(bit | (len & 0x7f) as u8);
    } else {
        let rest = len - 127;
        out.extend([bit | 127, (rest & 0x7f) as u8 | 0x80, (rest >> 7 & 0x7f) as u8]);
    }
    out.extend(text);
}

/// Blocks, each with its fields and what is in the table behind it.
type Exchange = [(&'static str, &'static [&'static str], &'static [&'static str])];

fn check(exchange: &Exchange) {
    let mut decoder = Decoder::new(USUAL_TABLE);
    // The table of appendices C.5 and C.6 has 256 bytes; the others do not fill it.
    assert_eq!(fields(&mut decoder, &bytes("3fe101")), Ok(Vec::new()));
    for &(block, expected, behind) in exchange {
        assert_eq!(fields(&mut decoder, &bytes(block)).unwrap(), expected);
        assert_eq!(table(&mut decoder), behind);
    }
}

/// RFC 7541 appendix C.2.
#[test]
fn examples_of_representations() {
    let header = &["custom-key: custom-header"];
    check(&[(
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        header,
        header,
    )]);
    check(&[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], &[])]);
    check(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"], &[])]);
    check(&[("82", &[":method: GET"], &[])]);
}

const REQUESTS: [&[&str]; 3] = [
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
    ],
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
        "cache-control: no-cache",
    ],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

const BEHIND_REQUESTS: [&[&str]; 3] = [
    &[":authority: www.example.com"],
    &["cache-control: no-cache", ":authority: www.example.com"],
    &[
        "custom-key: custom-value",
        "cache-control: no-cache",
        ":authority: www.example.com",
    ],
];

/// RFC 7541 appendix C.3.
#[test]
fn examples_of_requests() {
    let blocks = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    check(&[0, 1, 2].map(|it| (blocks[it], REQUESTS[it], BEHIND_REQUESTS[it])));
}

/// RFC 7541 appendix C.4.
#[test]
fn examples_of_compressed_requests() {
    let blocks = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    check(&[0, 1, 2].map(|it| (blocks[it], REQUESTS[it], BEHIND_REQUESTS[it])));
}

const COOKIE: &str = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        COOKIE,
    ],
];

const BEHIND_RESPONSES: [&[&str]; 3] = [
    &[
        "location: https://www.example.com",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "cache-control: private",
        ":status: 302",
    ],
    &[
        ":status: 307",
        "location: https://www.example.com",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "cache-control: private",
    ],
    &[COOKIE, "content-encoding: gzip", "date: Mon, 21 Oct 2013 20:13:22 GMT"],
];

/// RFC 7541 appendix C.5, in which entries have to go.
#[test]
fn examples_of_responses() {
    let blocks = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
         2076 6572 7369 6f6e 3d31",
    ];
    check(&[0, 1, 2].map(|it| (blocks[it], RESPONSES[it], BEHIND_RESPONSES[it])));
}

/// RFC 7541 appendix C.6.
#[test]
fn examples_of_compressed_responses() {
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    check(&[0, 1, 2].map(|it| (blocks[it], RESPONSES[it], BEHIND_RESPONSES[it])));
}

/// What is in [`encode`]'s messages: what may come again, what seldom does, and what never goes into a table.
const MESSAGE: [(&str, &str); 6] = [
    ("Content-Type", "text/html"),
    ("X-Frame-Options", "DENY"),
    ("Date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("Set-Cookie", "a=b"),
    ("vary", ""),
    ("accept-encoding", "gzip, deflate"),
];

fn encode(encoder: &mut Encoder) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.status(200, &mut out);
    for (name, value) in MESSAGE {
        encoder.field(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

#[test]
fn what_comes_again_is_in_the_table() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(USUAL_TABLE));
    let expected: Vec<_> = [(":status", "200")]
        .into_iter()
        .chain(MESSAGE)
        .map(|(name, value)| std::format!("{}: {value}", name.to_ascii_lowercase()))
        .collect();
    let lens = [(); 3].map(|()| {
        let block = encode(&mut encoder);
        assert_eq!(fields(&mut decoder, &block).as_ref(), Ok(&expected));
        block.len()
    });
    let behind = ["x-frame-options: DENY", "content-type: text/html"];
    assert_eq!(table(&mut decoder), behind);
    let once = 1 + 12 + 22 + 32 + 6 + 1 + 1;
    assert_eq!(lens, [once, once - 1, once - 32]);
}

/// Whoever does not want a field in a table is told of by whoever passes it on.
#[test]
fn what_shall_go_into_no_table_goes_into_none() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(USUAL_TABLE);
    for (name, value) in [("x-token", "secret"), ("server", "a"), ("authorization", "b")] {
        for _ in 0..3 {
            let mut out = Vec::new();
            encoder.never_indexed(name.as_bytes(), value.as_bytes(), &mut out);
            let mut seen = 0;
            let shown = decoder.decode(&out, |field| {
                seen += 1;
                assert_eq!((field.name, field.value), (name.as_bytes(), value.as_bytes()));
                assert!(field.never_indexed);
            });
            assert_eq!((shown, seen), (Ok(()), 1));
        }
    }
    assert!(table(&mut decoder).is_empty());
}

mod differential;
mod hostile;
