//! Do our client, our servers and our floor understand each other, and is what goes wrong seen?

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use super::client::{Client, Load, Reuse, Speech};
use super::http2::Call;
use super::identity::KeyExchange;
use super::*;

/// A server behind a floor, in threads that end with the test's process; the floor's address.
fn floor(origin: impl FnOnce(&TcpListener) -> std::io::Result<()> + Send + 'static) -> SocketAddr {
    let (server, floor) = (poll::listen().unwrap(), poll::listen().unwrap());
    let (to, address) = (server.local_addr().unwrap(), floor.local_addr().unwrap());
    thread::spawn(move || origin(&server));
    thread::spawn(move || floor::run(&floor, to));
    address
}

fn load(path: &'static str, connections: usize, reuse: Reuse) -> Load {
    Load {
        address: floor(origin::run),
        tls: None,
        connections,
        speech: Speech::Http1(path),
        reuse,
    }
}

#[track_caller]
fn check(load: Load, requests: u64) {
    let mut client = Client::start(load).unwrap();
    client.run_requests(requests).unwrap();
    assert!(client.answers >= requests);
}

#[test]
fn answers_come_whole_through_the_floor() {
    check(load("/1k", 1, Reuse::KeepAlive), 200);
    check(load("/1k", 64, Reuse::KeepAlive), 200);
    check(load("/1k", 8, Reuse::Never), 200);
    check(load("/1k", 8, Reuse::Once), 8);
    check(load("/64k", 16, Reuse::KeepAlive), 200);
    check(load("/1m", 4, Reuse::KeepAlive), 200);
    check(load("/1m", 4, Reuse::Never), 200);
}

#[test]
fn calls_come_whole_through_the_floor() {
    for (connections, streams) in [(1, 1), (1, 100), (16, 4)] {
        let load = Load {
            address: floor(grpc::run),
            tls: None,
            connections,
            speech: Speech::Http2(Call::Grpc, streams),
            reuse: Reuse::KeepAlive,
        };
        // More bytes than a window holds that is not widened.
        check(load, 2_000);
    }
}

#[test]
fn questions_are_answered() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || dns::run(&server));
    for reuse in [Reuse::KeepAlive, Reuse::Never] {
        let load = Load {
            address,
            tls: None,
            connections: 8,
            speech: Speech::Dns,
            reuse,
        };
        check(load, 500);
    }
    assert!(dns::check(dns::QUESTION).is_err());
}

#[track_caller]
fn check_fails(load: Load, why: &str) {
    let error = Client::start(load)
        .and_then(|mut client| client.run_requests(1))
        .unwrap_err();
    assert!(format!("{error:#}").contains(why), "{error:#}");
}

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: BenchOptions,
}

#[track_caller]
fn check_wanted(arguments: &str, row: Row, expected: &[Proxy]) {
    let words = std::iter::once("bench").chain(arguments.split_whitespace());
    let Arguments { options } = clap::Parser::parse_from(words);
    assert_eq!(proxies_of(&options, row, Proxy::value_variants()), expected);
}

#[test]
fn a_row_has_the_proxies_that_it_is_for() {
    use Proxy::{Dnsdist, Envoy, Floor, Haproxy, Isobar, Nginx};
    check_wanted("", Row::Small, &[Floor, Isobar, Haproxy, Nginx]);
    check_wanted("", Row::Tls, &[Isobar, Haproxy, Nginx]);
    check_wanted("", Row::Grpc, &[Isobar, Haproxy, Nginx, Envoy]);
    check_wanted("", Row::Tcp, &[Floor, Isobar, Haproxy]);
    check_wanted("", Row::UdpDns, &[Isobar, Nginx, Dnsdist]);
    check_wanted("--proxies floor,isobar,envoy", Row::Small, &[Floor, Isobar, Envoy]);
    check_wanted("--proxies floor,isobar,envoy", Row::Tls, &[Isobar, Envoy]);
    check_wanted("--proxies floor", Row::Grpc, &[]);
}

#[test]
fn a_failing_proxy_is_not_measured() {
    check_fails(load("/unknown", 1, Reuse::KeepAlive), "closed");
    let of_http2 = Load {
        speech: Speech::Http2(Call::Grpc, 1),
        ..load("/1k", 1, Reuse::KeepAlive)
    };
    check_fails(of_http2, "closed");
}

/// A server within TLS that answers what it is asked in HTTP/1.1, one connection after the other; what the handshakes
/// were is said through the channel.
fn tls_server(
    identity: &Identity,
) -> (
    SocketAddr,
    std::sync::mpsc::Receiver<(HandshakeKind, rustls::NamedGroup)>,
) {
    let certificate = CertificateDer::from_pem_file(identity.file()).unwrap();
    let key = PrivateKeyDer::from_pem_file(identity.file()).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (said, heard) = std::sync::mpsc::sync_channel(64);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(session, stream.unwrap());
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
                    .unwrap();
                let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
                let _ = said.try_send((stream.conn.handshake_kind().unwrap(), group));
            }
        }
    });
    (address, heard)
}

#[test]
fn every_handshake_is_a_full_one_with_what_was_offered() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::create(directory.path()).unwrap();
    for (exchange, group) in [
        (KeyExchange::X25519, rustls::NamedGroup::X25519),
        (KeyExchange::Hybrid, rustls::NamedGroup::X25519MLKEM768),
    ] {
        let (address, handshakes) = tls_server(&identity);
        for reuse in [Reuse::KeepAlive, Reuse::Never] {
            let load = Load {
                address,
                tls: Some(identity.client(exchange, "http/1.1").unwrap()),
                connections: 1,
                speech: Speech::Http1("/1k"),
                reuse,
            };
            check(load, 10);
        }
        let all: Vec<_> = handshakes.try_iter().collect();
        assert!(all.len() >= 20, "{all:?}");
        for handshake in all {
            assert_eq!(handshake, (HandshakeKind::Full, group));
        }
    }
}

#[test]
fn another_certificate_or_protocol_is_not_measured() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [shown, other] = directories.each_ref().map(|one| Identity::create(one.path()).unwrap());
    let (address, _) = tls_server(&shown);
    let asks = |identity: &Identity, protocol: &str| Load {
        address,
        tls: Some(identity.client(KeyExchange::X25519, protocol).unwrap()),
        connections: 1,
        speech: Speech::Http1("/1k"),
        reuse: Reuse::Once,
    };
    check(asks(&shown, "http/1.1"), 1);
    check_fails(asks(&other, "http/1.1"), "certificate");
    check_fails(asks(&shown, "h2"), "NoApplicationProtocol");
}
