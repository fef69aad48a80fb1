//! Are clients of a SOCKS server served as RFC 1928 and RFC 1929 have it?

use isobar_wire::socks5::{Authentication, Reply, Socks5, Socks5Error, Step, Target};

const GREETING: &[u8] = b"\x05\x01\0";

/// A machine that has greeted its client.
fn greeted() -> Socks5 {
    let mut machine = Socks5::new(Authentication::None);
    let mut out = Vec::new();
    assert_eq!(machine.handle(GREETING, &mut out), Ok((3, Step::Greeted)));
    assert_eq!(out, b"\x05\0");
    machine
}

#[test]
fn a_client_is_connected() {
    let mut machine = greeted();
    let mut out = Vec::new();
    let request = b"\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb";
    for end in 0..request.len() {
        assert_eq!(machine.handle(&request[..end], &mut out), Ok((0, Step::Partial)));
    }
    let input = [request, &b"data"[..]].concat();
    let target = Target::Address("192.0.2.1:443".parse().unwrap());
    assert_eq!(
        machine.handle(&input, &mut out),
        Ok((request.len(), Step::Connect(target)))
    );
    assert_eq!(machine.handle(b"", &mut out), Ok((0, Step::Partial)));
    assert_eq!(machine.clone().handle(b"data", &mut out), Err(Socks5Error::OutOfTurn));
    assert!(out.is_empty());
    machine.reply(Reply::Succeeded("[2001:db8::1]:8080".parse().unwrap()), &mut out);
    assert_eq!(out, b"\x05\0\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1f\x90");
    assert_eq!(out.len(), Socks5::MAX_ANSWER_BYTES);
}

#[test]
fn a_password_is_asked_for() {
    let mut machine = Socks5::new(Authentication::Password);
    let mut out = Vec::new();
    assert_eq!(machine.handle(b"\x05\x02\0\x02", &mut out), Ok((4, Step::Greeted)));
    assert_eq!(out, b"\x05\x02");
    out.clear();
    let credentials = Step::Credentials {
        username: b"user",
        password: b"pass",
    };
    let mut refused = machine.clone();
    for machine in [&mut machine, &mut refused] {
        assert_eq!(
            machine.handle(b"\x01\x04user\x04pass\x05", &mut out),
            Ok((11, credentials))
        );
        assert_eq!(machine.clone().handle(b"\x05", &mut out), Err(Socks5Error::OutOfTurn));
    }
    refused.denied(&mut out);
    assert_eq!(out, b"\x01\x01");
    assert_eq!(refused.handle(b"\x05", &mut out), Err(Socks5Error::OutOfTurn));
    out.clear();
    machine.authenticated(&mut out);
    assert_eq!(out, b"\x01\0");
    assert_eq!(machine.handle(b"\x05\x01\0", &mut out), Ok((0, Step::Partial)));
}

#[test]
fn passwords_of_all_lengths() {
    #[track_caller]
    fn check(input: &[u8], expected: Result<(usize, Step<'_>), Socks5Error>, answer: &[u8]) {
        let mut machine = Socks5::new(Authentication::Password);
        machine.handle(b"\x05\x01\x02", &mut Vec::new()).unwrap();
        let mut out = Vec::new();
        assert_eq!(machine.handle(input, &mut out), expected);
        assert_eq!(out, answer);
    }
    let longest = [&b"\x01\xff"[..], &[b'u'; 255], b"\xff", &[b'p'; 255]].concat();
    assert_eq!(longest.len(), Socks5::MAX_MESSAGE_BYTES);
    let (username, password) = (&[b'u'; 255][..], &[b'p'; 255][..]);
    check(
        &longest,
        Ok((longest.len(), Step::Credentials { username, password })),
        b"",
    );
    check(&longest[..512], Ok((0, Step::Partial)), b"");
    let (username, password) = (&b"u"[..], &b""[..]);
    check(b"\x01\x01u\0", Ok((4, Step::Credentials { username, password })), b"");
    check(b"\x01\0", Err(Socks5Error::EmptyUsername), b"\x01\x01");
    check(b"\x05", Err(Socks5Error::BadVersion), b"");
}

#[test]
fn greetings_that_lead_nowhere() {
    #[track_caller]
    fn check(authentication: Authentication, input: &[u8], expected: Socks5Error, answer: &[u8]) {
        let mut machine = Socks5::new(authentication);
        let mut out = Vec::new();
        assert_eq!(machine.handle(input, &mut out), Err(expected));
        assert_eq!(out, answer);
        assert_eq!(machine.handle(GREETING, &mut out), Err(Socks5Error::OutOfTurn));
    }
    check(Authentication::None, b"\x04\x01", Socks5Error::BadVersion, b"");
    check(Authentication::None, b"GET / HTTP/1.1", Socks5Error::BadVersion, b"");
    check(
        Authentication::None,
        b"\x05\0",
        Socks5Error::NoAcceptableMethod,
        b"\x05\xff",
    );
    check(
        Authentication::None,
        b"\x05\x02\x01\x02",
        Socks5Error::NoAcceptableMethod,
        b"\x05\xff",
    );
    check(
        Authentication::Password,
        GREETING,
        Socks5Error::NoAcceptableMethod,
        b"\x05\xff",
    );
}

#[test]
fn requests_that_are_refused() {
    #[track_caller]
    fn check(input: &[u8], expected: Socks5Error, code: u8) {
        let mut out = Vec::new();
        assert_eq!(greeted().handle(input, &mut out), Err(expected));
        assert_eq!(out, [5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    check(
        b"\x05\x02\0\x01\x01\x02\x03\x04\0\x50",
        Socks5Error::CommandNotSupported,
        7,
    );
    check(b"\x05\x03\0\x01\0\0\0\0\0\0", Socks5Error::CommandNotSupported, 7);
    check(b"\x05\x00", Socks5Error::CommandNotSupported, 7);
    check(b"\x05\x01\x01", Socks5Error::BadReserved, 1);
    check(b"\x05\x01\0\x02", Socks5Error::AddressTypeNotSupported, 8);
    check(b"\x05\x01\0\x05", Socks5Error::AddressTypeNotSupported, 8);
    for name in [
        &b""[..],
        b"a b",
        b"a\0",
        b"\xc3\xa9",
        b".",
        b"1.2.3",
        b"127.1",
        b"2130706433",
        b"a.1.",
        b"0x7f.0x1",
        b"0X7F000001",
    ] {
        let length = u8::try_from(name.len()).unwrap();
        let request = [b"\x05\x01\0\x03", &[length][..], name, b"\0\x50"].concat();
        check(&request, Socks5Error::BadName, 1);
    }
    assert_eq!(greeted().handle(b"\x04", &mut Vec::new()), Err(Socks5Error::BadVersion));
}

#[test]
fn names_and_addresses_in_their_place() {
    let check = |name: &str, expected: Target<'_>| {
        let length = u8::try_from(name.len()).unwrap();
        let request = [b"\x05\x01\0\x03", &[length][..], name.as_bytes(), b"\x01\xbb"].concat();
        let step = greeted().handle(&request, &mut Vec::new());
        assert_eq!(step, Ok((request.len(), Step::Connect(expected))), "{name}");
    };
    for host in [
        "example.com",
        "example.com.",
        "a_b.C-9",
        "1.2.3.4.example",
        "x0",
        "9a",
        &"a".repeat(255),
    ] {
        check(host, Target::Name { host, port: 443 });
    }
    check("127.0.0.1", Target::Address("127.0.0.1:443".parse().unwrap()));
    check("::1", Target::Address("[::1]:443".parse().unwrap()));
    let v6 = b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50";
    let target = Target::Address("[::1]:80".parse().unwrap());
    assert_eq!(greeted().handle(v6, &mut Vec::new()), Ok((22, Step::Connect(target))));
}

#[test]
fn codes_of_replies() {
    let replies = [
        Reply::Succeeded("127.0.0.1:1".parse().unwrap()),
        Reply::GeneralFailure,
        Reply::NotAllowed,
        Reply::NetworkUnreachable,
        Reply::HostUnreachable,
        Reply::ConnectionRefused,
        Reply::TtlExpired,
        Reply::CommandNotSupported,
        Reply::AddressTypeNotSupported,
    ];
    assert_eq!(replies.map(Reply::code), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}
