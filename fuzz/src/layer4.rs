//! What must hold for every input of the parsers of layer 4? Written once, for the fuzz targets and for the test that replays
//! their corpora.

use isobar_wire::client_hello::{ClientHello, ClientHelloError, Seen};
use isobar_wire::proxy_protocol::{Endpoints, ProxyError, ProxyHeader, ProxyVersion};
use isobar_wire::socks5::{Authentication, Reply, Socks5, Socks5Error, Step, Target};

/// What follows `PROXY ` is read the same however it is split, and written again it says the same.
pub(crate) fn proxy_v1(input: &[u8]) {
    proxy_header(&[b"PROXY ", input].concat());
}

/// The same for what follows the signature of version 2.
pub(crate) fn proxy_v2(input: &[u8]) {
    proxy_header(&[b"\r\n\r\n\0\r\nQUIT\n", input].concat());
}

fn proxy_header(input: &[u8]) {
    let whole = ProxyHeader::parse(input);
    let mut decided = false;
    for end in 0..=input.len().min(ProxyError::MAX_V2_BYTES + 1) {
        let outcome = ProxyHeader::parse(&input[..end]);
        assert!(!decided || outcome == whole, "undecided again after {end} bytes");
        decided = outcome != Ok(None);
        assert!(!decided || outcome == whole, "after {end} bytes");
    }
    let Ok(Some((header, len))) = whole else { return };
    let limit = match header.version {
        ProxyVersion::V1 => ProxyError::MAX_V1_BYTES,
        ProxyVersion::V2 => ProxyError::MAX_V2_BYTES,
    };
    assert!(len <= limit && len <= input.len());
    composed_reads_the_same(&header);
    let with_checksum = ProxyHeader {
        checksum: header.version == ProxyVersion::V2
            && !matches!(header.endpoints, Endpoints::Local | Endpoints::Unknown),
        ..header
    };
    if with_checksum.checksum && len + 7 <= ProxyError::MAX_V2_BYTES {
        let mut text = composed_reads_the_same(&with_checksum);
        for at in 16..text.len().min(300) {
            text[at] ^= 1 << (at % 8);
            let outcome = ProxyHeader::parse(&text);
            assert!(
                !matches!(outcome, Ok(Some((ProxyHeader { checksum: true, .. }, _)))),
                "a change of byte {at} goes unnoticed"
            );
            text[at] ^= 1 << (at % 8);
        }
    }
}

fn composed_reads_the_same(header: &ProxyHeader<'_>) -> Vec<u8> {
    let mut text = b"before".to_vec();
    header.compose(&mut text).unwrap();
    let text = text.split_off(6);
    assert_eq!(
        ProxyHeader::parse(&text),
        Ok(Some((*header, text.len()))),
        "{}",
        text.escape_ascii()
    );
    text
}

/// A hello reads the same however it is split, and in whichever records it stands. The first byte says how long these are.
pub(crate) fn client_hello(input: &[u8]) {
    let Some((&size, input)) = input.split_first() else {
        return;
    };
    let (mut scratch, mut other) = ([0; ClientHelloError::MAX_BYTES], [0xff; ClientHelloError::MAX_BYTES]);
    let whole = ClientHello::read(input, &mut scratch);
    let mut decided = false;
    // Of a long one the ends are enough: it takes too long otherwise.
    let ends = (0..input.len()).filter(|end| *end < 2_000 || end + 50 > input.len());
    for end in ends {
        let outcome = ClientHello::read(&input[..end], &mut other);
        assert!(!decided || outcome == whole, "undecided again after {end} bytes");
        decided = outcome != Ok(Seen::Partial);
        assert!(!decided || outcome == whole, "after {end} bytes");
    }
    let Ok(Seen::Hello(hello)) = whole else { return };
    let parts = (hello.alpn.iter().count(), hello.versions.iter().count());
    assert!(parts.0 == 0 || hello.alpn.iter().all(|name| !name.is_empty()));
    let message = message_of(input);
    let records: Vec<u8> = message.chunks(usize::from(size) + 1).flat_map(record).collect();
    if records.len() <= ClientHelloError::MAX_BYTES {
        assert_eq!(ClientHello::read(&records, &mut other), Ok(Seen::Hello(hello)));
    }
}

/// The first message of records that are known to have a whole one.
fn message_of(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    loop {
        let length = usize::from(u16::from_be_bytes([records[3], records[4]]));
        message.extend_from_slice(&records[5..records.len().min(5 + length)]);
        if let [_, length @ .., _] = &message[..message.len().min(5)]
            && let Ok([high, middle, low]) = <[u8; 3]>::try_from(length)
        {
            let len = 4 + (usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low));
            if message.len() >= len {
                message.truncate(len);
                return message;
            }
        }
        records = &records[5 + length..];
    }
}

fn record(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[22, 3, 1], &length[..], content].concat()
}

/// A client is served the same however what it sends is split. The first byte says what it is asked for, the second how its
/// bytes are split.
pub(crate) fn socks5(input: &[u8]) {
    let [kind, size, input @ ..] = input else { return };
    let authentication = if kind & 1 == 0 {
        Authentication::None
    } else {
        Authentication::Password
    };
    let whole = served(authentication, input, input.len());
    for size in [1, 2, usize::from(*size) + 1] {
        assert_eq!(served(authentication, input, size), whole, "in pieces of {size}");
    }
    let (steps, out, outcome) = whole;
    assert!(steps.len() <= 3 && out.len() <= 2 + 2 + Socks5::MAX_ANSWER_BYTES);
    // Whoever is refused is told, unless it speaks something else.
    if let Err(error) = outcome
        && error != Socks5Error::BadVersion
    {
        let answer = out.iter().rev().take(10).rev().copied().collect::<Vec<_>>();
        assert!(answer.iter().any(|&byte| byte != 0), "{error:?} goes without an answer");
    }
}

type Served = (Vec<String>, Vec<u8>, Result<usize, Socks5Error>);

/// Serves a client whose password is always right, whose bytes come in pieces; gives what it did, what it was answered and how
/// many of its bytes were done with.
fn served(authentication: Authentication, input: &[u8], size: usize) -> Served {
    let mut machine = Socks5::new(authentication);
    let (mut steps, mut out) = (Vec::new(), Vec::new());
    let (mut at, mut end) = (0, 0);
    loop {
        let (consumed, step) = match machine.handle(&input[at..end], &mut out) {
            Ok(step) => step,
            Err(error) => return (steps, out, Err(error)),
        };
        assert!(consumed <= end - at);
        at += consumed;
        match step {
            Step::Partial if end == input.len() => return (steps, out, Ok(at)),
            Step::Partial => {
                assert!(consumed == 0 && end - at < Socks5::MAX_MESSAGE_BYTES);
                end = end.saturating_add(size).min(input.len());
                continue;
            }
            Step::Greeted => {}
            Step::Credentials { username, password } => {
                assert!(!username.is_empty() && username.len() + password.len() <= 510);
                machine.authenticated(&mut out);
            }
            Step::Connect(target) => {
                let bound = match target {
                    Target::Address(address) => address,
                    Target::Name { host, port } => {
                        assert!(host.parse::<std::net::IpAddr>().is_err() && !host.is_empty());
                        (std::net::Ipv6Addr::LOCALHOST, port).into()
                    }
                };
                machine.reply(Reply::Succeeded(bound), &mut out);
                steps.push(format!("{step:?}"));
                return (steps, out, Ok(at));
            }
        }
        steps.push(format!("{step:?}"));
    }
}
