//! Where does a body end, what are its data, and what of it is sent on? One table per rule.

use isobar_wire::{BodyDecoder, BodyError, BodyKind};

/// What became of a body: bytes passed on, bytes left over, trailers; or the error.
#[derive(Debug, PartialEq, Eq)]
struct Followed {
    passed: Vec<u8>,
    rest: Vec<u8>,
    trailers: Vec<u8>,
    done: bool,
}

#[derive(Debug, Clone, Copy)]
enum Use {
    Decode,
    Forward,
}

fn follow(kind: BodyKind, input: &[u8], how: Use) -> Result<Followed, BodyError> {
    let mut decoder = BodyDecoder::new(kind);
    let (mut passed, mut at) = (Vec::new(), 0);
    while !decoder.is_done() && at < input.len() {
        let decoded = match how {
            Use::Decode => decoder.decode(&input[at..])?,
            Use::Forward => decoder.forward(&input[at..])?,
        };
        assert!(decoded.consumed > 0, "a call consumes something");
        assert!(decoded.data.end <= decoded.consumed, "data lie within what is consumed");
        assert_eq!(decoded.done, decoder.is_done());
        passed.extend_from_slice(&input[at..][decoded.data]);
        at += decoded.consumed;
    }
    let trailers = decoder.trailers().to_vec();
    Ok(Followed {
        passed,
        rest: input[at..].to_vec(),
        trailers,
        done: decoder.is_done(),
    })
}

#[track_caller]
fn check_chunked(input: impl AsRef<[u8]>, expected: Result<&str, BodyError>) {
    let input = input.as_ref();
    let text = String::from_utf8_lossy(input);
    let followed = follow(BodyKind::Chunked, input, Use::Decode);
    assert_eq!(
        follow(BodyKind::Chunked, input, Use::Forward)
            .map(|followed| followed.done)
            .err(),
        expected.err()
    );
    match expected {
        Err(error) => assert_eq!(followed, Err(error), "{text}"),
        Ok(data) => {
            let followed = followed.unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(String::from_utf8_lossy(&followed.passed), data, "{text}");
            assert!(followed.done, "{text}");
        }
    }
}

#[test]
fn bodies_without_framing() {
    let check = |kind, input: &[u8], passed: &[u8], done| {
        for how in [Use::Decode, Use::Forward] {
            let followed = follow(kind, input, how).unwrap();
            assert_eq!(
                (followed.passed.as_slice(), followed.done),
                (passed, done),
                "{kind:?} {how:?}"
            );
            assert_eq!(followed.rest, input[passed.len()..], "{kind:?} {how:?}");
        }
    };
    check(BodyKind::None, b"GET", b"", true);
    check(BodyKind::Length(0), b"GET", b"", true);
    check(BodyKind::Length(3), b"abcGET", b"abc", true);
    check(BodyKind::Length(3), b"ab", b"ab", false);
    check(BodyKind::Length(u64::MAX), b"ab", b"ab", false);
    check(BodyKind::UntilClose, b"ab", b"ab", false);
    check(BodyKind::UntilClose, b"", b"", false);
}

#[test]
fn chunks() {
    check_chunked("0\r\n\r\n", Ok(""));
    check_chunked("5\r\nhello\r\n0\r\n\r\n", Ok("hello"));
    check_chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Ok("hello world"));
    check_chunked(
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        Ok("01234567890123456789"),
    );
    check_chunked("2\r\n\r\n\r\n0\r\n\r\n", Ok("\r\n"));
    check_chunked("05\r\nhello\r\n00\r\n\r\n", Ok("hello"));
    check_chunked("0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", Ok("hello"));
}

#[test]
fn chunk_sizes() {
    check_chunked("\r\n", Err(BodyError::BadChunkSize));
    check_chunked("g\r\n", Err(BodyError::BadChunkSize));
    check_chunked("+5\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked("-5\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked("0x5\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked("5_\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked(" 5\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked("5 \r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked("5\t\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked("5 ;a=b\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked(";a=b\r\n", Err(BodyError::BadChunkSize));
    check_chunked("5\0\r\nhello\r\n", Err(BodyError::BadChunkSize));
    check_chunked("00000000000000005\r\nhello\r\n", Err(BodyError::ChunkSizeTooLarge));
    check_chunked("10000000000000000\r\n", Err(BodyError::ChunkSizeTooLarge));
    check_chunked("fffffffffffffffff\r\n", Err(BodyError::ChunkSizeTooLarge));
    let largest = follow(BodyKind::Chunked, b"ffffffffffffffff\r\nabc", Use::Decode).unwrap();
    assert_eq!((largest.passed.as_slice(), largest.done), (&b"abc"[..], false));
}

#[test]
fn chunk_ends() {
    check_chunked("5\nhello\r\n0\r\n\r\n", Err(BodyError::BadChunkEnd));
    check_chunked("5\r\r\nhello\r\n", Err(BodyError::BadChunkEnd));
    check_chunked("5\rhello\r\n", Err(BodyError::BadChunkEnd));
    check_chunked("5\r\nhello\n0\r\n\r\n", Err(BodyError::BadChunkEnd));
    check_chunked("5\r\nhello0\r\n\r\n", Err(BodyError::BadChunkEnd));
    check_chunked("5\r\nhello\r0\r\n\r\n", Err(BodyError::BadChunkEnd));
    check_chunked("5\r\nhelloworld\r\n", Err(BodyError::BadChunkEnd));
    check_chunked("0\n\r\n", Err(BodyError::BadChunkEnd));
}

#[test]
fn chunk_extensions() {
    let check = |extension: &str, expected: Result<(), BodyError>| {
        check_chunked(
            format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n"),
            expected.map(|()| "hello"),
        );
    };
    check(";a", Ok(()));
    check(";a=b", Ok(()));
    check(";a=\"b;c\"", Ok(()));
    check("; a = b ;c\t", Ok(()));
    check(";\u{e4}", Ok(()));
    check(&format!(";{}", "x".repeat(255)), Ok(()));
    check(&format!(";{}", "x".repeat(256)), Err(BodyError::BadChunkExtension));
    check(";", Err(BodyError::BadChunkExtension));
    check(";a\n", Err(BodyError::BadChunkExtension));
    check(";a\0", Err(BodyError::BadChunkExtension));
    check(";a\u{7f}", Err(BodyError::BadChunkExtension));
    check(";a=\"\n\"", Err(BodyError::BadChunkExtension));
    check(";a\rb", Err(BodyError::BadChunkEnd));
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(255));
    check_chunked(chunk.repeat(64) + "0\r\n\r\n", Ok(&"x".repeat(64)));
    check_chunked(chunk.repeat(64) + "1;e\r\n", Err(BodyError::BadChunkExtension));
}

#[test]
fn trailers() {
    let check = |received: &str, expected: Result<&str, BodyError>| {
        let body = format!("1\r\nx\r\n0\r\n{received}\r\nGET");
        for how in [Use::Decode, Use::Forward] {
            match (follow(BodyKind::Chunked, body.as_bytes(), how), expected) {
                (Ok(followed), Ok(expected)) => {
                    assert_eq!(String::from_utf8_lossy(&followed.trailers), expected, "{received}");
                    assert_eq!(
                        (followed.done, followed.rest.as_slice()),
                        (true, &b"GET"[..]),
                        "{received}"
                    );
                }
                (followed, expected) => assert_eq!(followed.err(), expected.err(), "{received}"),
            }
        }
    };
    check("", Ok(""));
    check(
        "Grpc-Status: 0\r\ngrpc-message:\r\n",
        Ok("Grpc-Status: 0\r\ngrpc-message:\r\n"),
    );
    check(
        "Content-Length: 5\r\nA: b\r\nTransfer-Encoding: chunked\r\n",
        Ok("A: b\r\n"),
    );
    check("Host: a\r\nAuthorization: b\r\nCookie: c\r\nSet-Cookie: d\r\n", Ok(""));
    check(
        "X-Forwarded-For: a\r\nX_Forwarded_For: a\r\ncontent-ENCODING: gzip\r\n",
        Ok(""),
    );
    check("Connection: close\r\nTrailer: a\r\nCache-Control: b\r\n", Ok(""));
    check("a\r\n", Err(BodyError::BadTrailer));
    check("a : b\r\n", Err(BodyError::BadTrailer));
    check(" a: b\r\n", Err(BodyError::BadTrailer));
    check("a: b\r\n c\r\n", Err(BodyError::BadTrailer));
    check(": b\r\n", Err(BodyError::BadTrailer));
    check("a: b\n", Err(BodyError::BadTrailer));
    check("a: b\0\r\n", Err(BodyError::BadTrailer));
    check("a: b\rc\r\n", Err(BodyError::BadTrailer));
    check("\n", Err(BodyError::BadTrailer));
    check("\rx", Err(BodyError::BadTrailer));
    check("\r\r", Err(BodyError::BadTrailer));
    check(&"a: b\r\n".repeat(64), Ok(&"a: b\r\n".repeat(64)));
    check(&"a: b\r\n".repeat(65), Err(BodyError::TrailersTooLarge));
    check(&"Host: b\r\n".repeat(65), Err(BodyError::TrailersTooLarge));
    let longest = format!("a: {}\r\n", "x".repeat(8_192 - 5));
    check(&longest, Ok(&longest));
    check(
        &format!("a: {}\r\n", "x".repeat(8_193 - 5)),
        Err(BodyError::TrailersTooLarge),
    );
    check(&"x".repeat(8_193), Err(BodyError::TrailersTooLarge));
}

#[test]
fn forwarding_keeps_chunks_and_drops_the_rest() {
    let check = |input: &str, expected: &str| {
        let followed = follow(BodyKind::Chunked, input.as_bytes(), Use::Forward).unwrap();
        assert_eq!(String::from_utf8_lossy(&followed.passed), expected, "{input}");
    };
    check("0\r\n\r\n", "");
    check(
        "5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "5\r\nhello\r\nA\r\n0123456789\r\n",
    );
    check("5;a=b\r\nhello\r\n0;c\r\n\r\n", "5\r\nhello\r\n");
    check("005\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n");
    check("50", "50");
    check("0", "");
    check("5\r\nhello\r\n0\r\na: b\r\n\r\n", "5\r\nhello\r\n");
    check("5\r\nhello\r\n00", "5\r\nhello\r\n");
}

#[test]
fn chunks_that_lie_together_are_forwarded_in_one_piece() {
    let input = b"5\r\nhello\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\nGET";
    let decoded = BodyDecoder::new(BodyKind::Chunked).forward(input).unwrap();
    assert_eq!(
        (decoded.consumed, decoded.data, decoded.done),
        (input.len() - 3, 0..30, true)
    );
    let decoded = BodyDecoder::new(BodyKind::Chunked).decode(&input[..10]).unwrap();
    assert_eq!((decoded.consumed, decoded.data, decoded.done), (10, 3..8, false));
}

#[test]
fn a_body_may_be_ended_between_its_chunks() {
    let check = |input: &str, expected: bool| {
        let mut body = BodyDecoder::new(BodyKind::Chunked);
        assert_eq!(body.forward(input.as_bytes()).unwrap().consumed, input.len());
        assert_eq!(body.is_between_chunks(), expected, "{input:?}");
    };
    check("", true);
    for within in ["5", "5;a=b", "5\r", "5\r\nhel", "5\r\nhello", "5\r\nhello\r"] {
        check(within, false);
    }
    check("5\r\nhello\r\n", true);
    for end in ["0", "0\r\n", "0\r\na: b\r\n", "0\r\n\r\n"] {
        check(end, false);
    }
    assert!(!BodyDecoder::new(BodyKind::Length(3)).is_between_chunks());
}

#[test]
fn data_before_a_fault_come_first() {
    let mut decoder = BodyDecoder::new(BodyKind::Chunked);
    let input = b"5\r\nhelloXX";
    let decoded = decoder.decode(input).unwrap();
    assert_eq!((decoded.consumed, decoded.data), (8, 3..8));
    assert_eq!(decoder.decode(&input[8..]), Err(BodyError::BadChunkEnd));
    assert_eq!(
        decoder.decode(&input[8..]),
        Err(BodyError::BadChunkEnd),
        "the error stays"
    );
}

#[test]
fn ends_of_connections() {
    let check = |kind, input: &[u8], expected| {
        let mut decoder = BodyDecoder::new(kind);
        decoder.decode(input).unwrap();
        assert_eq!(decoder.finish_at_eof(), expected, "{kind:?}");
        assert_eq!(decoder.is_done(), expected.is_ok(), "{kind:?}");
    };
    check(BodyKind::None, b"", Ok(()));
    check(BodyKind::UntilClose, b"", Ok(()));
    check(BodyKind::UntilClose, b"ab", Ok(()));
    check(BodyKind::Length(2), b"ab", Ok(()));
    check(BodyKind::Length(2), b"a", Err(BodyError::Truncated));
    check(BodyKind::Chunked, b"", Err(BodyError::Truncated));
    check(BodyKind::Chunked, b"1\r\na\r\n", Err(BodyError::Truncated));
    check(BodyKind::Chunked, b"0\r\n", Err(BodyError::Truncated));
    check(BodyKind::Chunked, b"0\r\n\r\n", Ok(()));
}

#[test]
fn bytes_moved_elsewhere() {
    let check = |kind, moved, remaining, done| {
        let mut decoder = BodyDecoder::new(kind);
        decoder.advance(moved);
        assert_eq!((decoder.remaining(), decoder.is_done()), (remaining, done), "{kind:?}");
        assert_eq!(decoder.kind(), kind);
    };
    check(BodyKind::Length(9), 0, Some(9), false);
    check(BodyKind::Length(9), 4, Some(5), false);
    check(BodyKind::Length(9), 9, Some(0), true);
    check(BodyKind::UntilClose, 1 << 40, Some(u64::MAX), false);
    check(BodyKind::None, 0, Some(0), true);
    assert_eq!(BodyDecoder::new(BodyKind::Chunked).remaining(), None);
}
