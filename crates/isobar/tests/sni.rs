//! Do connections go where the name in their TLS handshake leads, without being decrypted?

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use isobar_testkit::{
    Authority, Configuration, Isobar, PATIENCE, TcpServer, TlsConduct, TlsServer, Validity, binary, client_hello, curl,
    openssl, rest,
};

const LOG: &str = "access_log: { path: access.log, format: json }";

/// Servers that say who they are, and then what they were sent first.
fn by_name(routes: &str, more: &str) -> (Isobar, [TcpServer; 3]) {
    let servers = ["first:", "second:", "other:"].map(TcpServer::echo);
    let configuration = Configuration::to(&[servers[0].address()])
        .listener("protocol: tcp")
        .listener(more)
        .routes(routes)
        .another_upstream("second", servers[1].address())
        .another_upstream("other", servers[2].address())
        .top(LOG);
    (binary!().run(&configuration), servers)
}

const ROUTES: &str = "- { match: { sni: openssl.example.com }, upstream: web }
- { match: { sni: \"*.example.com\", alpn: h2 }, upstream: second }
- { upstream: other }";

/// Sends this in pieces of so many bytes, and looks whether it comes back from whom it should.
fn check(isobar: &Isobar, sent: &[u8], piece: usize, who: &str) {
    let mut client = TcpStream::connect(isobar.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    for bytes in sent.chunks(piece) {
        client.write_all(bytes).unwrap();
    }
    let mut answer = vec![0; who.len() + sent.len()];
    client.read_exact(&mut answer).unwrap();
    assert!(
        answer == [who.as_bytes(), sent].concat(),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn real_hellos_find_their_servers_in_whichever_pieces() {
    let (isobar, _servers) = by_name(ROUTES, "");
    for piece in [7, 500, 100_000] {
        check(&isobar, &client_hello("openssl_s_client"), piece, "first:");
        check(&isobar, &client_hello("rustls_post_quantum"), piece, "second:");
        check(&isobar, &client_hello("rustls_records_of_300"), piece, "second:");
        check(&isobar, &client_hello("rustls_ech_outer"), piece, "second:");
        check(&isobar, &client_hello("curl_http11"), piece, "other:");
        check(&isobar, &client_hello("python_ssl_no_name"), piece, "other:");
    }
    check(&isobar, b"no TLS at all", 100, "other:");
    let lines = isobar.access_lines(19);
    let of_name = |name: &str| lines.iter().filter(|line| line["tls_name"] == name).count();
    assert_eq!((of_name("openssl.example.com"), of_name("rustls.example.com")), (3, 3));
    assert!(
        lines.iter().any(|line| line["route"] == "*.example.com+h2"),
        "{lines:?}"
    );
}

#[test]
fn what_is_no_hello_or_for_nobody_is_refused() {
    let named = "- { match: { sni: www.example.com }, upstream: web }
- { match: { sni: second.example.com }, upstream: second }
- { match: { sni: other.example.com }, upstream: other }";
    let (isobar, servers) = by_name(named, "timeouts: { handshake: 300ms }");
    let alert = |sent: &[u8]| {
        let mut client = TcpStream::connect(isobar.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(sent).unwrap();
        rest(&mut client)
    };
    let told = |alert| vec![21, 3, 1, 0, 2, 2, alert];
    assert_eq!(alert(&client_hello("curl")), told(112), "unrecognized name");
    assert_eq!(
        alert(b"\x16\x03\x01\x00\x05\x02\0\0\x01\0"),
        told(10),
        "unexpected message"
    );
    assert_eq!(alert(b"\x16\x03\x01\xff\xff"), told(22), "record overflow");
    assert_eq!(alert(b"plain"), b"");
    assert_eq!(alert(&client_hello("curl")[..100]), b"", "it never completes");
    assert_eq!(alert(b""), b"");
    let lines = isobar.access_lines(6);
    // Two workers hand their lines over as each sees fit.
    let mut causes: Vec<_> = lines
        .iter()
        .map(|line| line["cause"].as_str().unwrap_or_default())
        .collect();
    causes.sort_unstable();
    let expected = ["client_hello"; 4].into_iter().chain(["no_route"; 2]);
    assert_eq!(causes, expected.collect::<Vec<_>>());
    let named = lines.iter().filter(|line| line["tls_name"] == "curl.example.com");
    assert_eq!(named.count(), 1);
    assert!(servers.iter().all(|server| server.accepted() == 0));
    let refused = isobar
        .metrics()
        .sum("isobar_listener_requests_refused_total", &[("cause", "client_hello")]);
    assert_eq!(refused, Some(4.0));
}

/// curl and openssl see the certificates of the servers themselves.
#[test]
fn clients_agree_with_the_servers_behind() {
    let authority = Authority::new();
    let names = ["one.test", "two.test"];
    let servers =
        names.map(|name| TlsServer::start(&authority.certify(name, Validity::Now), TlsConduct::Answers, None));
    let configuration = Configuration::to(&[servers[0].address()])
        .listener("protocol: tcp")
        .routes("- { match: { sni: one.test }, upstream: web }\n- { match: { sni: two.test }, upstream: two }")
        .another_upstream("two", servers[1].address());
    let isobar = binary!().run(&configuration);
    let port = isobar.address().port();
    for name in names {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let ca = authority.file().display().to_string();
        let url = format!("https://{name}:{port}/who");
        let answer = curl(&["--resolve", &resolve, "--cacert", &ca, &url]);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"good"[..]), "{name}");
        let address = isobar.address().to_string();
        let said = openssl(
            &["s_client", "-connect", &address, "-servername", name, "-CAfile", &ca],
            "",
        );
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    let address = isobar.address().to_string();
    let said = openssl(&["s_client", "-connect", &address, "-servername", "three.test"], "");
    assert!(said.contains("unrecognized name"), "{said}");
}

#[test]
fn connections_of_one_name_stay_with_their_server() {
    let servers = ["a", "b", "c", "d"].map(TcpServer::echo);
    let configuration = Configuration::to(&servers.each_ref().map(TcpServer::address))
        .listener("protocol: tcp")
        .upstream("balance: maglev\nhash: sni");
    let isobar = binary!().run(&configuration);
    for _ in 0..6 {
        for file in ["curl", "openssl_s_client"] {
            let mut client = TcpStream::connect(isobar.address()).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.write_all(&client_hello(file)).unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
    }
    let mut counts = servers.each_ref().map(TcpServer::accepted);
    counts.sort_unstable();
    assert!(counts == [0, 0, 6, 6] || counts == [0, 0, 0, 12], "{counts:?}");
}
