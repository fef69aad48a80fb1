//! Are bodies and trailers of gRPC-Web spelled as the protocol has it, in whatever pieces they come?

use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert_eq, proptest};

use super::{ContentType, Spelling, TextDecoder, TextError, encode_text, text_len, trailer_frame};

fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, TextError> {
    let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
    for piece in pieces {
        decoder.decode(piece, &mut out)?;
    }
    decoder.finish().map(|()| out)
}

fn encoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_text(&mut out, bytes);
    out
}

#[test]
fn content_types() {
    let check = |value: &str, expected: Option<(Spelling, &str)>| {
        let read = ContentType::read(value.as_bytes());
        let read = read.map(|read| (read.spelling, core::str::from_utf8(read.format).unwrap()));
        assert_eq!(read, expected, "{value}");
    };
    check("application/grpc-web", Some((Spelling::Binary, "")));
    check("Application/gRPC-Web+proto", Some((Spelling::Binary, "+proto")));
    check("application/grpc-web-text", Some((Spelling::Text, "")));
    check("application/grpc-web-TEXT+json ; a=b", Some((Spelling::Text, "+json")));
    for other in [
        "",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-webs",
        "application/grpc-web-textual",
        "text/application/grpc-web",
    ] {
        check(other, None);
    }
}

/// RFC 4648 section 10.
#[test]
fn vectors() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(encoded(bytes.as_bytes()), text.as_bytes());
        assert_eq!(decoded([text.as_bytes()]).unwrap(), bytes.as_bytes());
    }
    assert_eq!(decoded([b"++//".as_slice()]).unwrap(), [0xfb, 0xef, 0xff]);
}

#[test]
fn what_is_no_text() {
    let check = |text: &str, expected| assert_eq!(decoded([text.as_bytes()]), Err(expected), "{text}");
    for text in ["Zm9*", "Zg-_", "Zm9v\n", "Zm 9", "\u{fc}"] {
        check(text, TextError::Digit);
    }
    for text in ["=", "Z=", "Zg=v", "Zm9v="] {
        check(text, TextError::Padding);
    }
    for text in ["Zh==", "Zm9="] {
        check(text, TextError::Bits);
    }
    for text in ["Z", "Zm", "Zm9", "Zg=", "Zm9vZ"] {
        check(text, TextError::Truncated);
    }
}

#[test]
fn trailers_are_a_frame() {
    let mut out = Vec::new();
    trailer_frame(&mut out, b"Grpc-Status: 5\r\ngrpc-message: No: Such\r\n");
    assert_eq!(out, b"\x80\0\0\0\x28grpc-status: 5\r\ngrpc-message: No: Such\r\n");
    out.clear();
    trailer_frame(&mut out, b"");
    assert_eq!(out, [0x80, 0, 0, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Pieces that are padded each for itself, cut anywhere on the way, are the bytes they were.
    #[test]
    fn text_is_read_in_any_pieces(pieces in vec(vec(any::<u8>(), 0..12), 0..8), cuts in vec(1_usize..7, 1..40)) {
        let mut text = Vec::new();
        for piece in &pieces {
            let before = text.len();
            encode_text(&mut text, piece);
            prop_assert_eq!(text.len() - before, text_len(piece.len()));
        }
        let mut rest = text.as_slice();
        let mut cut = Vec::new();
        for len in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*len));
            cut.push(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoded(cut).unwrap(), pieces.concat());
    }

    /// What is read is what it would be read as in one piece, errors included.
    #[test]
    fn pieces_make_no_difference(text in "[AQgw+/=*]{0,24}", at in 0_usize..24) {
        let (front, back) = text.as_bytes().split_at(at.min(text.len()));
        prop_assert_eq!(decoded([front, back]), decoded([text.as_bytes()]));
    }
}
