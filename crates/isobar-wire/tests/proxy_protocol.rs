//! Is the PROXY protocol read and written as its specification and HAProxy have it?
//!
//! Vectors named after HAProxy were sent by HAProxy 2.6.12 over the loopback interface, with `send-proxy`, `send-proxy-v2` and
//! `proxy-v2-options`; the others are written out from `doc/proxy-protocol.txt`.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use isobar_wire::proxy_protocol::{
    ComposeError, Endpoints, OtherTlvs, ProxyError, ProxyHeader, ProxyVersion, Ssl, Tlvs, Transport,
};
use proptest::prelude::*;

const SIGNATURE: &[u8; 12] = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";

fn v1(endpoints: Endpoints<'_>) -> ProxyHeader<'_> {
    ProxyHeader {
        version: ProxyVersion::V1,
        endpoints,
        tlvs: Tlvs::default(),
        checksum: false,
    }
}

fn v2(endpoints: Endpoints<'_>) -> ProxyHeader<'_> {
    ProxyHeader {
        version: ProxyVersion::V2,
        ..v1(endpoints)
    }
}

fn between(transport: Transport, source: &str, destination: &str) -> Endpoints<'static> {
    Endpoints::between(transport, source.parse().unwrap(), destination.parse().unwrap())
}

fn tcp(source: &str, destination: &str) -> Endpoints<'static> {
    between(Transport::Stream, source, destination)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn composed(header: &ProxyHeader<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    header.compose(&mut out).unwrap();
    out
}

/// The header, with data behind it, and nothing before its last byte.
#[track_caller]
fn check(text: &[u8], expected: &ProxyHeader<'_>) {
    let with_data = [text, b"\0data\r\n"].concat();
    assert_eq!(
        ProxyHeader::parse(&with_data),
        Ok(Some((*expected, text.len()))),
        "{}",
        text.escape_ascii()
    );
    for end in 0..text.len() {
        assert_eq!(
            ProxyHeader::parse(&text[..end]),
            Ok(None),
            "{end} bytes of {}",
            text.escape_ascii()
        );
    }
}

/// The same, and written it is the same to the byte.
#[track_caller]
fn check_both(text: &[u8], expected: &ProxyHeader<'_>) {
    check(text, expected);
    assert_eq!(composed(expected), text, "{}", text.escape_ascii());
}

#[track_caller]
fn check_error(text: &[u8], expected: ProxyError) {
    assert_eq!(ProxyHeader::parse(text), Err(expected), "{}", text.escape_ascii());
    let longer = [text, b" 1\r\n"].concat();
    assert_eq!(
        ProxyHeader::parse(&longer),
        Err(expected),
        "{} and more",
        text.escape_ascii()
    );
}

#[test]
fn lines_of_the_specification() {
    check(
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        &v1(tcp("192.168.0.1:56324", "192.168.0.11:443")),
    );
    check(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        &v1(tcp("255.255.255.255:65535", "255.255.255.255:65535")),
    );
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    check(
        format!("PROXY TCP6 {all} {all} 65535 65535\r\n").as_bytes(),
        &v1(tcp(&format!("[{all}]:65535"), &format!("[{all}]:65535"))),
    );
    check(b"PROXY UNKNOWN\r\n", &v1(Endpoints::Unknown));
    let longest = format!("PROXY UNKNOWN {all} {all} 65535 65535\r\n");
    assert_eq!(longest.len(), ProxyError::MAX_V1_BYTES);
    check(longest.as_bytes(), &v1(Endpoints::Unknown));
    check(
        b"PROXY TCP4 0.0.0.0 1.2.3.4 0 1\r\n",
        &v1(tcp("0.0.0.0:0", "1.2.3.4:1")),
    );
    check(
        b"PROXY TCP6 ::1 2001:DB8::a 1 2\r\n",
        &v1(tcp("[::1]:1", "[2001:db8::a]:2")),
    );
    // As `inet_ntop` has it.
    check(
        b"PROXY TCP6 ::ffff:192.0.2.1 :: 1 2\r\n",
        &v1(tcp("[::ffff:192.0.2.1]:1", "[::]:2")),
    );
}

#[test]
fn lines_of_haproxy() {
    check_both(
        b"PROXY TCP4 127.0.0.1 127.0.0.1 53906 41391\r\n",
        &v1(tcp("127.0.0.1:53906", "127.0.0.1:41391")),
    );
    check_both(
        b"PROXY TCP6 ::1 ::1 59018 46865\r\n",
        &v1(tcp("[::1]:59018", "[::1]:46865")),
    );
}

#[test]
fn lines_that_are_none() {
    use ProxyError::{BadLine, BadLineEnd, BadProtocol, NotProxy};
    check_error(b"GET / HTTP/1.1\r\n", NotProxy);
    check_error(b"PROXX TCP4", NotProxy);
    check_error(b"PROXY\tTCP4 1.1.1.1 1.1.1.1 1 1\r\n", NotProxy);
    check_error(b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", NotProxy);
    check_error(b"POST / HTTP/1.1\r\n", NotProxy);
    for line in [
        "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY \r\n",
    ] {
        check_error(line.as_bytes(), BadProtocol);
    }
    for rest in [
        "TCP4 1.1.1.1 1.1.1.1 1",
        "TCP4 1.1.1.1 1.1.1.1 1 1 1",
        "TCP4 1.1.1.1 1.1.1.1 1 1 ",
        "TCP4  1.1.1.1 1.1.1.1 1 1",
        "TCP4 1.1.1.1\t1.1.1.1 1 1",
        "TCP4 01.1.1.1 1.1.1.1 1 1",
        "TCP4 256.1.1.1 1.1.1.1 1 1",
        "TCP4 1.1.1 1.1.1.1 1 1",
        "TCP4 ::1 ::1 1 1",
        "TCP4 1.1.1.1 1.1.1.1 01 1",
        "TCP4 1.1.1.1 1.1.1.1 +1 1",
        "TCP4 1.1.1.1 1.1.1.1 -1 1",
        "TCP4 1.1.1.1 1.1.1.1 65536 1",
        "TCP4 1.1.1.1 1.1.1.1 00 1",
        "TCP4 1.1.1.1 1.1.1.1 1 ",
        "TCP4",
        "TCP6 1.1.1.1 1.1.1.1 1 1",
        "TCP6 ::1::2 ::1 1 1",
        "TCP6 1:2:3:4:5:6:7 ::1 1 1",
        "TCP6 1:2:3:4:5:6:7:8:9 ::1 1 1",
        "TCP6 12345::1 ::1 1 1",
        "TCP6 [::1] ::1 1 1",
        "TCP6 fe80::1%eth0 ::1 1 1",
    ] {
        check_error(format!("PROXY {rest}\r\n").as_bytes(), BadLine);
    }
    check_error(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", BadLineEnd);
    check_error(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rx", BadLineEnd);
    check_error(b"PROXY UNKNOWN a\nb\r\n", BadLineEnd);
    check_error(&[b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat(), BadLineEnd);
    check_error(&[b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat(), BadLineEnd);
}

#[test]
fn lines_are_written() {
    #[track_caller]
    fn check(endpoints: Endpoints<'_>, expected: &str) {
        let out = composed(&v1(endpoints));
        assert_eq!(out.escape_ascii().to_string(), format!("PROXY {expected}\\r\\n"));
    }
    check(
        tcp("192.168.0.1:56324", "192.168.0.11:443"),
        "TCP4 192.168.0.1 192.168.0.11 56324 443",
    );
    check(tcp("[::1]:0", "[::]:65535"), "TCP6 ::1 :: 0 65535");
    check(
        tcp("[1:0:0:2:0:0:0:3]:1", "[1:0:2:0:3:0:4:0]:2"),
        "TCP6 1:0:0:2::3 1:0:2:0:3:0:4:0 1 2",
    );
    check(tcp("[0:0:1::]:1", "[fe80::a0]:2"), "TCP6 0:0:1:: fe80::a0 1 2");
    // One family for both, and no dots in it.
    check(tcp("192.0.2.1:1", "[::1]:2"), "TCP6 ::ffff:c000:201 ::1 1 2");
    check(between(Transport::Datagram, "1.1.1.1:1", "2.2.2.2:2"), "UNKNOWN");
    check(Endpoints::Local, "UNKNOWN");
    check(Endpoints::Unknown, "UNKNOWN");
}

#[test]
fn headers_of_haproxy() {
    check_both(
        &hex("0d0a0d0a000d0a515549540a 21 11 000c 7f000001 7f000001 ad00 d125"),
        &v2(tcp("127.0.0.1:44288", "127.0.0.1:53541")),
    );
    check_both(
        &hex("0d0a0d0a000d0a515549540a 21 11 0013 7f000001 7f000001 dfe0 a8ef 030004 09fc004e"),
        &ProxyHeader {
            checksum: true,
            ..v2(tcp("127.0.0.1:57312", "127.0.0.1:43247"))
        },
    );
    check_both(
        &hex("0d0a0d0a000d0a515549540a 21 21 002b 00000000000000000000000000000001 \
            00000000000000000000000000000001 c738 a389 030004 3e5b1d35"),
        &ProxyHeader {
            checksum: true,
            ..v2(tcp("[::1]:51000", "[::1]:41865"))
        },
    );
    // A health check.
    check_both(&hex("0d0a0d0a000d0a515549540a 20 00 0000"), &v2(Endpoints::Local));
}

/// `proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id` for `openssl s_client` with a
/// certificate, which HAProxy could not verify.
#[test]
fn a_header_of_haproxy_with_tls() {
    let text = hex(
        "0d0a0d0a000d0a515549540a211100a07f0000017f000001caa08467030004d4909498010008687474702f312e310200\
         1166726f6e742e6578616d706c652e636f6d05001469642d3132372e302e302e312d35313837322d7820005407000000\
         00210007544c5376312e33220012636c69656e742e6578616d706c652e636f6d2500075253413230343824000a525341\
         2d534841323536230016544c535f4145535f3235365f47434d5f534841333834",
    );
    let expected = ProxyHeader {
        checksum: true,
        tlvs: Tlvs {
            alpn: Some(b"http/1.1"),
            authority: Some("front.example.com"),
            unique_id: Some(b"id-127.0.0.1-51872-x"),
            ssl: Some(Ssl {
                is_tls: true,
                has_certificate: true,
                session_has_certificate: true,
                verify: 0,
                version: Some("TLSv1.3"),
                cn: Some("client.example.com"),
                cipher: Some("TLS_AES_256_GCM_SHA384"),
                sig_alg: Some("RSA-SHA256"),
                key_alg: Some("RSA2048"),
            }),
            ..Tlvs::default()
        },
        ..v2(tcp("127.0.0.1:51872", "127.0.0.1:33895"))
    };
    check(&text, &expected);
}

/// A header of version 2 with a command, a family, and what follows.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, rest].concat()
}

const ADDRESSES: &[u8; 12] = &[1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 1, 0];

fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    binary(0x21, 0x11, &[ADDRESSES, tlvs].concat())
}

#[test]
fn commands_families_and_transports() {
    check(
        &binary(0x21, 0x12, ADDRESSES),
        &v2(between(Transport::Datagram, "1.2.3.4:9", "5.6.7.8:256")),
    );
    let v6 = [&[0; 15][..], &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
    check(
        &binary(0x21, 0x22, &v6),
        &v2(between(Transport::Datagram, "[::1]:1", "[::2]:2")),
    );
    let (source, destination) = ([b'a'; 108], [0; 108]);
    let unix = |transport| {
        v2(Endpoints::Unix {
            transport,
            source: &source,
            destination: &destination,
        })
    };
    let names = [source, destination].concat();
    check(&binary(0x21, 0x31, &names), &unix(Transport::Stream));
    check(&binary(0x21, 0x32, &names), &unix(Transport::Datagram));
    // What nobody knows is passed over, its family and whatever it has.
    check(&binary(0x20, 0x00, b""), &v2(Endpoints::Local));
    check(&binary(0x20, 0xff, b"anything"), &v2(Endpoints::Local));
    check(&binary(0x20, 0x11, b"\x03"), &v2(Endpoints::Local));
    for family in [0x00, 0x01, 0x02, 0x10, 0x20, 0x30] {
        check(&binary(0x21, family, b""), &v2(Endpoints::Unknown));
        check(&binary(0x21, family, b"\x05\xff"), &v2(Endpoints::Unknown));
    }
}

#[test]
fn headers_that_are_none() {
    use ProxyError::{
        BadChecksum, BadCommand, BadFamily, BadText, BadTlv, BadVersion, NotProxy, RepeatedTlv, TooLong, TooShort,
    };
    check_error(b"\r\n\r\n\0\r\nQUIT\r", NotProxy);
    check_error(b"\x16\x03\x01", NotProxy);
    check_error(&binary(0x11, 0x11, ADDRESSES), BadVersion);
    check_error(&binary(0x31, 0x11, ADDRESSES), BadVersion);
    check_error(&binary(0x22, 0x11, ADDRESSES), BadCommand);
    for family in [0x13, 0x1f, 0x41, 0xf1, 0x40, 0x03] {
        check_error(&binary(0x21, family, ADDRESSES), BadFamily);
    }
    check_error(&binary(0x21, 0x11, &ADDRESSES[..11]), TooShort);
    check_error(&binary(0x21, 0x21, &[0; 35]), TooShort);
    check_error(&binary(0x21, 0x31, &[0; 215]), TooShort);
    check_error(&binary(0x20, 0, &[0; 4081]), TooLong);
    check(&binary(0x20, 0, &[0; 4080]), &v2(Endpoints::Local));
    for tlvs in [
        &b"\x04"[..],
        b"\x04\0",
        b"\x04\0\x01",
        b"\xe0\0\x02a",
        b"\x03\0\x03abc",
        b"\x03\0\x05abcde",
        b"\x20\0\x04\0\0\0\0",
        b"\x20\0\x06\x01\0\0\0\0\x21",
        b"\x20\0\x09\x01\0\0\0\0\x21\0\x02a",
    ] {
        check_error(&with_tlvs(tlvs), BadTlv);
    }
    check_error(&with_tlvs(&[b"\x05\0\x81", &[0; 129][..]].concat()), BadTlv);
    for tlvs in [
        &b"\x01\0\0\x01\0\0"[..],
        b"\x02\0\x01a\x02\0\x01b",
        b"\x05\0\0\x05\0\0",
        b"\x30\0\0\x30\0\0",
        b"\x03\0\x04\0\0\0\0\x03\0\x04\0\0\0\0",
        b"\x20\0\x05\0\0\0\0\0\x20\0\x05\0\0\0\0\0",
        b"\x20\0\x0b\0\0\0\0\0\x22\0\0\x22\0\0",
    ] {
        check_error(&with_tlvs(tlvs), RepeatedTlv);
    }
    check_error(&with_tlvs(b"\x02\0\x01\xff"), BadText);
    check_error(&with_tlvs(b"\x30\0\x02\xc3\xa9"), BadText);
    check_error(&with_tlvs(b"\x20\0\x0a\0\0\0\0\0\x21\0\x02\xc3\xa9"), BadText);
    check_error(&with_tlvs(b"\x03\0\x04\0\0\0\0"), BadChecksum);
}

#[test]
fn what_is_not_registered_is_passed_on_and_padding_is_not() {
    let text = with_tlvs(b"\x04\0\x02\0\0\xea\0\x03\x01vp\x06\0\0\x04\0\0\xea\0\x01b\xff\0\0");
    let (header, len) = ProxyHeader::parse(&text).unwrap().unwrap();
    assert_eq!(len, text.len());
    let others: Vec<_> = header.tlvs.others.iter().collect();
    assert_eq!(others, [(0xea, &b"\x01vp"[..]), (0x06, b""), (0xea, b"b"), (0xff, b"")]);
    assert_eq!(
        composed(&header),
        with_tlvs(b"\xea\0\x03\x01vp\x06\0\0\xea\0\x01b\xff\0\0")
    );
    assert_eq!(OtherTlvs::new(b"\xea\0\x02a"), Err(ProxyError::BadTlv));
    assert_ne!(OtherTlvs::new(b"\xea\0\x01a"), OtherTlvs::new(b"\xea\0\x01b"));
}

#[test]
fn what_does_not_fit_is_not_written() {
    #[track_caller]
    fn check(tlvs: Tlvs<'_>, expected: ComposeError) {
        let header = ProxyHeader {
            tlvs,
            ..v2(tcp("1.1.1.1:1", "2.2.2.2:2"))
        };
        let mut out = b"before".to_vec();
        assert_eq!(header.compose(&mut out), Err(expected));
        assert_eq!(out, b"before");
    }
    let none = Tlvs::default();
    let (long, endless) = ([0; 4096], [0; 70_000]);
    check(
        Tlvs {
            unique_id: Some(&long[..129]),
            ..none
        },
        ComposeError::UniqueIdTooLong,
    );
    for alpn in [&long[..4066], &endless] {
        let alpn = Some(alpn);
        check(Tlvs { alpn, ..none }, ComposeError::TooLong);
    }
    let largest = ProxyHeader {
        tlvs: Tlvs {
            alpn: Some(&long[..4065]),
            ..none
        },
        ..v2(tcp("1.1.1.1:1", "2.2.2.2:2"))
    };
    assert_eq!(composed(&largest).len(), ProxyError::MAX_V2_BYTES);
    check(
        Tlvs {
            netns: Some("é"),
            ..none
        },
        ComposeError::NotAscii,
    );
    check(
        Tlvs {
            ssl: Some(Ssl {
                cipher: Some("é"),
                ..Ssl::default()
            }),
            ..none
        },
        ComposeError::NotAscii,
    );
}

#[test]
fn addresses_that_are_told_and_those_that_are_not() {
    let told = tcp("192.0.2.1:1", "192.0.2.2:2");
    let address = |text: &str| text.parse::<SocketAddr>().ok();
    assert_eq!(told.source(), address("192.0.2.1:1"));
    assert_eq!(told.destination(), address("192.0.2.2:2"));
    assert_eq!(tcp("[::1]:1", "[::2]:2").destination(), address("[::2]:2"));
    for endpoints in [Endpoints::Local, Endpoints::Unknown] {
        assert_eq!((endpoints.source(), endpoints.destination()), (None, None));
    }
}

/// What a header is made of, owned.
#[derive(Debug, Clone)]
struct Made {
    endpoints: usize,
    v4: [(u32, u16); 2],
    v6: [(u128, u16); 2],
    bytes: [Option<Vec<u8>>; 2],
    texts: [Option<String>; 7],
    others: Vec<(u8, Vec<u8>)>,
    verify: Option<(u8, u32)>,
    checksum: bool,
}

prop_compose! {
    fn made()(
        endpoints in 0_usize..8,
        v4 in any::<[(u32, u16); 2]>(),
        v6 in any::<[(u128, u16); 2]>(),
        alpn in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        unique_id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..129)),
        texts in proptest::array::uniform7(proptest::option::of("[ -~]{0,30}")),
        unicode in proptest::option::of("\\PC{0,20}"),
        others in proptest::collection::vec((0xe0_u8..=0xff, proptest::collection::vec(any::<u8>(), 0..9)), 0..4),
        verify in any::<Option<(u8, u32)>>(),
        checksum in any::<bool>(),
    ) -> Made {
        let mut texts = texts;
        texts[0] = unicode.or(texts[0].take());
        Made { endpoints, v4, v6, bytes: [alpn, unique_id], texts, others, verify, checksum }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(made in made()) {
        let mut names = [[0; 108]; 2];
        names[0][..16].copy_from_slice(&made.v6[0].0.to_be_bytes());
        let transport = if made.endpoints % 2 == 0 { Transport::Stream } else { Transport::Datagram };
        let v4 = |at: usize| SocketAddrV4::new(made.v4[at].0.into(), made.v4[at].1);
        let v6 = |at: usize| SocketAddrV6::new(Ipv6Addr::from(made.v6[at].0), made.v6[at].1, 0, 0);
        let endpoints = match made.endpoints / 2 {
            0 => Endpoints::V4 { transport, source: v4(0), destination: v4(1) },
            1 => Endpoints::V6 { transport, source: v6(0), destination: v6(1) },
            2 => Endpoints::Unix { transport, source: &names[0], destination: &names[1] },
            _ if transport == Transport::Stream => Endpoints::Local,
            _ => Endpoints::Unknown,
        };
        let is_known = made.endpoints < 6;
        let block: Vec<u8> = made.others.iter().flat_map(|(kind, value)| {
            let length = u16::try_from(value.len()).unwrap().to_be_bytes();
            [&[*kind], &length[..], value].concat()
        }).collect();
        let [authority, netns, version, cn, cipher, sig_alg, key_alg] = made.texts.each_ref().map(Option::as_deref);
        let tlvs = Tlvs {
            alpn: made.bytes[0].as_deref(),
            unique_id: made.bytes[1].as_deref(),
            authority,
            netns,
            ssl: made.verify.map(|(flags, verify)| Ssl {
                is_tls: flags & 1 != 0,
                has_certificate: flags & 2 != 0,
                session_has_certificate: flags & 4 != 0,
                verify, version, cn, cipher, sig_alg, key_alg,
            }),
            others: OtherTlvs::new(&block).unwrap(),
        };
        let binary = ProxyHeader {
            version: ProxyVersion::V2,
            endpoints,
            tlvs: if is_known { tlvs } else { Tlvs::default() },
            checksum: is_known && made.checksum,
        };
        let text = composed(&binary);
        prop_assert_eq!(ProxyHeader::parse(&text), Ok(Some((binary, text.len()))));

        let line = composed(&v1(endpoints));
        let read = match endpoints {
            Endpoints::V4 { .. } | Endpoints::V6 { .. } if transport == Transport::Stream => endpoints,
            _ => Endpoints::Unknown,
        };
        prop_assert_eq!(ProxyHeader::parse(&line), Ok(Some((v1(read), line.len()))));
    }
}
