//! Are the hellos of real clients read, in whichever pieces and records they come?
//!
//! The files beside this one are what clients sent to a socket that does not answer: `openssl_*` by `openssl s_client` 3.0.19
//! (`-tls1_2`, `-noservername`, `-max_send_frag 512` with three long protocols), `curl*` by curl 7.88.1 (`--http1.1 --tls-max
//! 1.2`), `python_*` by the `ssl` module of Python with OpenSSL 3.0.19, `rustls_*` by rustls 0.23.46 with aws-lc: with the
//! hybrid key share of ML-KEM, with records of 300 bytes, for TLS 1.2 only, for an address, with GREASE in place of ECH, and
//! with ECH for `secret.example.com` behind `public.example.com`.

use std::fmt::Write as _;
use std::path::Path;

use isobar_wire::client_hello::{ClientHello, ClientHelloError, Seen};

const MAX: usize = ClientHelloError::MAX_BYTES;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client_hello");
    std::fs::read(path.join(name).with_extension("bin")).unwrap()
}

/// What is read, in one line.
fn told(bytes: &[u8]) -> String {
    match ClientHello::read(bytes, &mut [0; MAX]) {
        Ok(Seen::Partial) => "partial".into(),
        Ok(Seen::NotTls) => "not TLS".into(),
        Err(error) => format!("{error:?}"),
        Ok(Seen::Hello(hello)) => {
            let mut line = hello.server_name.unwrap_or("-").to_owned();
            for protocol in hello.alpn.iter() {
                write!(line, " {}", protocol.escape_ascii()).unwrap();
            }
            write!(line, " {:04x}:", hello.legacy_version).unwrap();
            for version in hello.versions.iter() {
                write!(line, " {version:04x}").unwrap();
            }
            line + if hello.has_ech { " ech" } else { "" }
        }
    }
}

#[test]
fn hellos_of_real_clients() {
    #[track_caller]
    fn check(name: &str, expected: &str) {
        let bytes = file(name);
        assert_eq!(told(&bytes), expected, "{name}");
        assert_eq!(
            told(&[&bytes[..], b"\x17\x03\x03\0\x01x"].concat()),
            expected,
            "{name} and early data"
        );
        for end in 0..bytes.len() {
            assert_eq!(told(&bytes[..end]), "partial", "{end} bytes of {name}");
        }
    }
    check(
        "openssl_s_client",
        "openssl.example.com h2 http/1.1 0303: 0304 0303 0302 0301",
    );
    check("openssl_tls12_no_alpn", "old.example.com 0303:");
    check("openssl_no_name", "- 0303: 0304 0303 0302 0301");
    let protocols = [b"x", b"y", b"z"].map(|name| String::from_utf8(name.repeat(200)).unwrap());
    check(
        "openssl_records_of_512",
        &format!(
            "fragments.example.com {} 0303: 0304 0303 0302 0301",
            protocols.join(" ")
        ),
    );
    check("curl", "curl.example.com h2 http/1.1 0303: 0304 0303 0302 0301");
    check("curl_http11", "curl.example.com http/1.1 0303:");
    check("python_ssl", "python.example.com h2 http/1.1 0303: 0304 0303");
    check("python_ssl_no_name", "- 0303: 0304 0303");
    check("rustls_post_quantum", "rustls.example.com h2 http/1.1 0303: 0304 0303");
    check(
        "rustls_records_of_300",
        "fragments.example.com h2 http/1.1 0303: 0304 0303",
    );
    check("rustls_tls12", "old.example.com http/1.1 0303: 0303");
    check("rustls_address", "- 0303: 0304 0303");
    check("rustls_ech_grease", "grease.example.com h2 0303: 0304 ech");
    check("rustls_ech_outer", "public.example.com h2 0303: 0304 ech");
}

/// The files are what their names say: several records, and more than one segment of a network.
#[test]
fn the_files_show_what_they_are_for() {
    assert_eq!(
        u16::from_be_bytes([file("openssl_records_of_512")[3], file("openssl_records_of_512")[4]]),
        512
    );
    assert_eq!(
        u16::from_be_bytes([file("rustls_records_of_300")[3], file("rustls_records_of_300")[4]]),
        295
    );
    assert!(file("rustls_ech_outer").len() > 1_500);
    let secret = b"secret.example.com";
    assert!(
        !file("rustls_ech_outer")
            .windows(secret.len())
            .any(|window| window == secret)
    );
}

fn u16_prefixed(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &u16_prefixed(value)].concat()
}

/// An extension with one host name.
fn name(host: &[u8]) -> Vec<u8> {
    extension(0, &u16_prefixed(&[&[0], &u16_prefixed(host)[..]].concat()))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn record(content: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &u16_prefixed(content)].concat()
}

/// What stands before the extensions: a version, a random, a session ID, cipher suites and compressions.
fn fixed() -> Vec<u8> {
    [&[3, 3][..], &[7; 32], b"\x02ab", b"\0\x04\x0a\x0a\x13\x01", b"\x01\0"].concat()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    record(&message(1, &[fixed(), u16_prefixed(extensions)].concat()))
}

#[test]
fn meaningless_values_are_passed_over() {
    let extensions = [
        extension(0x1a1a, b""),
        extension(43, b"\x06\xca\xca\x03\x04\x03\x03"),
        name(b"grease.example.com"),
        extension(16, b"\0\x06\x02\x8a\x8a\x02h2"),
        extension(0x2a2a, b"\0"),
    ]
    .concat();
    let bytes = hello(&extensions);
    assert_eq!(told(&bytes), r"grease.example.com \x8a\x8a h2 0303: 0304 0303");
    let mut scratch = [0; MAX];
    let Ok(Seen::Hello(hello)) = ClientHello::read(&bytes, &mut scratch) else {
        panic!()
    };
    assert!(hello.alpn.contains(b"h2") && !hello.alpn.contains(b"http/1.1") && !hello.alpn.is_empty());
    assert!(hello.offers_version(0x0304) && hello.offers_version(0x0303) && !hello.offers_version(0x0302));
    assert!(!hello.offers_version(0xcaca));
}

#[test]
fn clients_without_a_list_offer_what_is_older_too() {
    let bytes = record(&message(1, &fixed()));
    let mut scratch = [0; MAX];
    let Ok(Seen::Hello(hello)) = ClientHello::read(&bytes, &mut scratch) else {
        panic!()
    };
    assert!(hello.offers_version(0x0303) && hello.offers_version(0x0301) && !hello.offers_version(0x0304));
    assert!(hello.alpn.is_empty() && hello.server_name.is_none());
}

#[test]
fn names_that_are_none_and_those_of_other_types() {
    let check = |extensions: &[u8], expected: &str| assert_eq!(told(&hello(extensions)), expected);
    check(&name(b"A-b_c.9"), "A-b_c.9 0303:");
    check(&name(&[b'a'; 255]), &format!("{} 0303:", "a".repeat(255)));
    for bad in [&b""[..], b"a b", b"a/b", b"::1", b"a\0", b"\xc3\xa9", &[b'a'; 256]] {
        check(&name(bad), "BadServerName");
    }
    check(&extension(0, b"\0\x08\0\0\x01a\0\0\x01b"), "BadServerName");
    check(&extension(0, b"\0\x08\x01\0\x01?\0\0\x01b"), "b 0303:");
    check(&extension(0, b"\0\x04\x01\0\x01?"), "- 0303:");
}

#[test]
fn fields_of_wrong_lengths() {
    let check = |bytes: &[u8], expected: &str| assert_eq!(told(bytes), expected, "{}", bytes.escape_ascii());
    for extensions in [
        &b"\0"[..],
        b"\0\0\0",
        b"\0\x10\0\x01",
        &extension(0, b""),
        &extension(0, b"\0\0"),
        &extension(0, b"\0\x04\0\0\x01a!"),
        &extension(0, b"\0\x04\0\0\x02a"),
        &extension(0, b"\0\x02\0\0"),
        &extension(16, b""),
        &extension(16, b"\0\0"),
        &extension(16, b"\0\x01\0"),
        &extension(16, b"\0\x03\x03h2"),
        &extension(16, b"\0\x03\x02h2!"),
        &extension(43, b""),
        &extension(43, b"\0"),
        &extension(43, b"\x01\x03"),
        &extension(43, b"\x02\x03\x04\x03"),
        &extension(43, b"\x04\x03\x04"),
    ] {
        check(&hello(extensions), "BadLength");
    }
    check(&record(&message(1, &[fixed(), vec![0]].concat())), "BadLength");
    check(&record(&message(1, &[fixed(), vec![0, 0, 0]].concat())), "BadLength");
    check(&record(&message(1, &[fixed(), vec![0, 0]].concat())), "- 0303:");
    for cut in 0..fixed().len() {
        check(&record(&message(1, &fixed()[..cut])), "BadLength");
    }
    let with = |middle: &[u8]| record(&message(1, &[&[3, 3][..], &[7; 32], middle].concat()));
    check(&with(b"\0\0\x02\x13\x01\x01\0"), "- 0303:");
    check(&with(b"\0\0\0\x01\0"), "BadLength");
    check(&with(b"\0\0\x03\x13\x01\x02\x01\0"), "BadLength");
    check(&with(b"\0\0\x02\x13\x01\0"), "BadLength");
    check(
        &with(&[&[33][..], &[0; 33], b"\0\x02\x13\x01\x01\0"].concat()),
        "BadLength",
    );
}

#[test]
fn extensions_that_are_there_twice() {
    for extension in [
        name(b"a"),
        extension(16, b"\0\x03\x02h2"),
        extension(43, b"\x02\x03\x04"),
        extension(0xfe0d, b"\0"),
    ] {
        assert_eq!(told(&hello(&extension.repeat(2))), "RepeatedExtension");
    }
}

#[test]
fn what_is_no_hello() {
    let check = |bytes: &[u8], expected: &str| assert_eq!(told(bytes), expected, "{}", bytes.escape_ascii());
    check(b"", "partial");
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x02",
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x01\0\x02",
        b"\0",
    ] {
        check(bytes, "not TLS");
    }
    check(b"\x16\x03\x01\0\0", "BadRecord");
    check(b"\x16\x03\x01\x40\x01", "BadRecord");
    check(b"\x16\x03\x01\x40\0\x01\0\x3f\xf7", "partial");
    check(b"\x16\x03\x01\x40\0\x01\0\x3f\xf8", "TooLong");
    check(b"\x16\x03\x01\0\x05\x02", "NotHello");
    // The second record is of another kind, of no version, or empty.
    check(b"\x16\x03\x01\0\x01\x01\x17\x03\x01\0\x01", "NotHello");
    check(b"\x16\x03\x01\0\x01\x01\x16\x02\x01\0\x01", "NotHello");
    check(b"\x16\x03\x01\0\x01\x01\x16\x03\x01\0\0", "BadRecord");
    let [not_hello, bad_record, too_long, repeated, bad_name, bad_length] = [
        ClientHelloError::NotHello,
        ClientHelloError::BadRecord,
        ClientHelloError::TooLong,
        ClientHelloError::RepeatedExtension,
        ClientHelloError::BadServerName,
        ClientHelloError::BadLength,
    ]
    .map(ClientHelloError::alert);
    assert_eq!(
        [not_hello, bad_record, too_long, repeated, bad_name, bad_length],
        [10, 22, 40, 47, 47, 50]
    );
}

#[test]
fn the_longest_hello_and_one_that_is_longer() {
    let padding = |bytes: usize| extension(21, &vec![0; bytes]);
    let largest = hello(
        &[
            name(b"a"),
            padding(MAX - hello(&[name(b"a"), padding(0)].concat()).len()),
        ]
        .concat(),
    );
    assert_eq!(largest.len(), MAX);
    assert_eq!(told(&largest), "a 0303:");
    assert_eq!(told(&largest[..MAX - 1]), "partial");
    // One byte in each record: the records count as well.
    let many: Vec<u8> = largest[5..].iter().flat_map(|byte| record(&[*byte])).collect();
    assert_eq!(told(&many[..MAX - 1]), "partial");
    assert_eq!(told(&many[..MAX]), "TooLong");
    assert_eq!(told(&many), "TooLong");
    let few: Vec<u8> = hello(&name(b"a"))[5..]
        .iter()
        .flat_map(|byte| record(&[*byte]))
        .collect();
    assert_eq!(told(&few), "a 0303:");
}
