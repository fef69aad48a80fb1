//! Do bytes cross a secured connection as they cross one that is not?
//!
//! The peers use the library's other interface, over blocking sockets.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use isobar_net::stream::{HandshakeError, Peeked, Stream};
use isobar_net::tls::{
    Certificate, Clients, ServerName, Tickets, TlsClient, TlsServer, TlsServerParts, Trust, UnknownName, Version,
    Without,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use rustls::{SupportedProtocolVersion, version};

use super::{accepted, in_worker, listener, pattern, read, read_to_end, write_all};

const NAME: &str = "a.test";

/// An authority, and a server's and a client's certificate from it.
struct Keys {
    authority: String,
    server: (String, String),
    client: (String, String),
}

impl Keys {
    fn new() -> Self {
        Self::from("the authority")
    }

    fn from(authority: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, authority);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec![name.to_owned()])
                .unwrap()
                .signed_by(&key, &issuer);
            (certificate.unwrap().pem(), key.serialize_pem())
        };
        Self {
            server: signed(NAME),
            client: signed("client.test"),
            authority: issuer.pem(),
        }
    }

    fn parts(&self) -> TlsServerParts<'_> {
        let (chain, key) = &self.server;
        TlsServerParts {
            certificates: vec![Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()],
            unknown_name: UnknownName::Refuse,
            protocols: &[b"http/1.1"],
            oldest: Version::Tls12,
            tickets: Some(Tickets::of_this_process().unwrap()),
            clients: Clients::Anyone,
        }
    }

    fn trusting(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap())
            .unwrap();
        roots
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let config = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(self.trusting());
        config.with_no_client_auth()
    }
}

type Blocking = StreamOwned<ClientConnection, TcpStream>;

fn call(config: ClientConfig, name: &'static str, socket: TcpStream) -> Blocking {
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    StreamOwned::new(connection, socket)
}

async fn handshake(stream: &mut Stream) -> Result<(), HandshakeError> {
    poll_fn(|cx| stream.poll_handshake(cx)).await
}

/// An accepted stream after its handshake, and what its client does in a thread of its own.
async fn secured<R: Send + 'static>(
    keys: &Keys,
    version: &'static SupportedProtocolVersion,
    client: impl FnOnce(Blocking) -> R + Send + 'static,
) -> (Stream, JoinHandle<R>) {
    let (mut stream, socket) = accepted().await;
    stream.secure_client(&TlsServer::new(keys.parts()).unwrap()).unwrap();
    let config = keys.client(&[version]);
    let client = thread::spawn(move || client(call(config, NAME, socket)));
    handshake(&mut stream).await.unwrap();
    (stream, client)
}

async fn joined<R>(thread: JoinHandle<R>) -> R {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    thread.join().unwrap()
}

#[test]
fn bytes_arrive_both_ways_whatever_their_number() {
    let keys = Keys::new();
    in_worker(|| async {
        for version in [&version::TLS12, &version::TLS13] {
            for length in [1, 100, 16_384, 16_385, 70_000, 3_000_000] {
                let (there, back) = (pattern(length, 1), pattern(length, 2));
                let (sent, expected) = (there.clone(), back.clone());
                let (mut stream, client) = secured(&keys, version, move |mut client| {
                    client.write_all(&sent).unwrap();
                    let mut answer = vec![0; expected.len()];
                    client.read_exact(&mut answer).unwrap();
                    assert!(answer == expected, "{} bytes", expected.len());
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                })
                .await;
                let (mut came, mut buf) = (Vec::new(), vec![0; 50_000]);
                while came.len() < length {
                    let count = read(&mut stream, &mut buf).await.unwrap();
                    assert!(count > 0);
                    came.extend_from_slice(&buf[..count]);
                }
                assert!(came == there, "{length} bytes");
                write_all(&mut stream, &back).await.unwrap();
                assert_eq!(read_to_end(&mut stream).await.unwrap(), b"");
                assert!(!stream.owes());
                joined(client).await;
            }
        }
    });
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    let keys = Keys::new();
    in_worker(|| async {
        let back = pattern(8_000_000, 3);
        let expected = back.clone();
        let (mut stream, client) = secured(&keys, &version::TLS13, move |mut client| {
            client.write_all(b"?").unwrap();
            thread::sleep(Duration::from_millis(50));
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert!(answer == expected);
        })
        .await;
        assert_eq!(read(&mut stream, &mut [0; 10]).await.unwrap(), 1);
        let (head, mut rest) = back.split_at(1000);
        let written = poll_fn(|cx| stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(rest)])).await;
        rest = &rest[written.unwrap() - head.len()..];
        let (middle, last) = rest.split_at(rest.len() - 10);
        write_all(&mut stream, middle).await.unwrap();
        // The end of the stream goes with the last bytes.
        assert_eq!(poll_fn(|cx| stream.poll_write_last(cx, last)).await.unwrap(), 10);
        poll_fn(|cx| stream.poll_settled(cx)).await.unwrap();
        joined(client).await;
    });
}

#[test]
fn small_messages_are_left_with_the_ring() {
    let keys = Keys::new();
    in_worker(|| async {
        let (mut stream, client) = secured(&keys, &version::TLS13, |mut client| {
            for _ in 0..100 {
                client.write_all(b"question").unwrap();
                let mut answer = [0; 6];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"answer");
            }
        })
        .await;
        let mut buf = [0; 100];
        for _ in 0..100 {
            assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 8);
            assert_eq!(poll_fn(|cx| stream.poll_write_soon(cx, b"answer")).await.unwrap(), 6);
        }
        joined(client).await;
    });
}

#[test]
fn what_was_agreed_on_is_known() {
    let keys = Keys::new();
    in_worker(|| async {
        for (protocol, expected) in [(&version::TLS12, Version::Tls12), (&version::TLS13, Version::Tls13)] {
            let (mut stream, socket) = accepted().await;
            stream.secure_client(&TlsServer::new(keys.parts()).unwrap()).unwrap();
            assert!(stream.agreed().is_none());
            let mut config = keys.client(&[protocol]);
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let client = thread::spawn(move || call(config, NAME, socket).write_all(b"x").unwrap());
            handshake(&mut stream).await.unwrap();
            let agreed = stream.agreed().unwrap();
            assert_eq!((agreed.version, agreed.asked), (expected, Some(NAME)));
            assert_eq!(agreed.protocol, Some(&b"http/1.1"[..]));
            assert!(agreed.cipher.is_some_and(|name| name.starts_with("TLS")), "{agreed:?}");
            assert_eq!((agreed.certificate, agreed.resumed), (None, false));
            joined(client).await;
        }
    });
}

#[test]
fn a_client_comes_back_with_its_ticket() {
    let keys = Keys::new();
    let secret: &[u8] = b"a secret of all instances, 32 or more bytes";
    in_worker(|| async {
        for version in [&version::TLS12, &version::TLS13] {
            let config = keys.client(&[version]);
            for (visit, kind) in [HandshakeKind::Full, HandshakeKind::Resumed].into_iter().enumerate() {
                // Another instance each time.
                let tickets = Some(Tickets::shared(&[secret], b"web").unwrap());
                let tls = TlsServer::new(TlsServerParts {
                    tickets,
                    ..keys.parts()
                })
                .unwrap();
                let (mut stream, socket) = accepted().await;
                stream.secure_client(&tls).unwrap();
                let config = config.clone();
                let client = thread::spawn(move || {
                    let mut client = call(config, NAME, socket);
                    client.write_all(b"?").unwrap();
                    client.read_exact(&mut [0; 1]).unwrap();
                    client.conn.handshake_kind().unwrap()
                });
                // The first key exchange that is offered is not always the one that is chosen.
                let same = |found: HandshakeKind| match found {
                    HandshakeKind::FullWithHelloRetryRequest => HandshakeKind::Full,
                    other => other,
                };
                handshake(&mut stream).await.unwrap();
                assert_eq!(
                    stream.agreed().unwrap().resumed,
                    kind == HandshakeKind::Resumed,
                    "visit {visit}"
                );
                assert_eq!(read(&mut stream, &mut [0; 1]).await.unwrap(), 1);
                write_all(&mut stream, b"!").await.unwrap();
                assert_eq!(same(joined(client).await), kind, "visit {visit}");
            }
        }
    });
}

#[test]
fn clients_show_certificates_where_they_have_to() {
    let keys = Keys::new();
    let other = Keys::from("another authority");
    in_worker(|| async {
        let check = async |shown: Option<&(String, String)>, without, expected: Result<bool, &str>| {
            let clients = Clients::Known {
                authorities: keys.authority.as_bytes(),
                revoked: &[],
                without,
            };
            let tls = TlsServer::new(TlsServerParts {
                clients,
                ..keys.parts()
            })
            .unwrap();
            let (mut stream, socket) = accepted().await;
            stream.secure_client(&tls).unwrap();
            let config = ClientConfig::builder().with_root_certificates(keys.trusting());
            let config = match shown {
                None => config.with_no_client_auth(),
                Some((chain, key)) => {
                    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
                    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                    config.with_client_auth_cert(chain, key).unwrap()
                }
            };
            let client = thread::spawn(move || {
                let mut client = call(config, NAME, socket);
                client.write_all(b"?").and_then(|()| client.read_exact(&mut [0; 1]))
            });
            match (handshake(&mut stream).await, expected) {
                (Ok(()), Ok(expected)) => {
                    assert_eq!(stream.agreed().unwrap().certificate.is_some(), expected);
                    write_all(&mut stream, b"!").await.unwrap();
                    joined(client).await.unwrap();
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}");
                    let told = joined(client).await.unwrap_err().to_string();
                    assert!(told.contains("received fatal alert"), "{told}");
                }
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        };
        check(Some(&keys.client), Without::Refused, Ok(true)).await;
        check(Some(&keys.client), Without::Served, Ok(true)).await;
        check(None, Without::Served, Ok(false)).await;
        check(None, Without::Refused, Err("peer sent no certificates")).await;
        check(Some(&other.client), Without::Served, Err("not signed by an authority")).await;
    });
}

#[test]
fn a_connection_to_a_server_is_secured() {
    let keys = Keys::new();
    in_worker(|| async {
        let (chain, key) = &keys.server;
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = Arc::new(
            ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap(),
        );
        let check = async |trust: Trust<'_>, name: &str, says_goodbye: bool, expected: Result<(), &str>| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let config = Arc::clone(&config);
            let server = thread::spawn(move || {
                let socket = listener.accept().unwrap().0;
                let mut server = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                let mut question = [0; 8];
                server.read_exact(&mut question)?;
                server.write_all(b"answer")?;
                if says_goodbye {
                    server.conn.send_close_notify();
                }
                server.flush()
            });
            let mut stream = Stream::connect(address).await.unwrap();
            let tls = TlsClient::new(trust, &[b"http/1.1"]).unwrap();
            stream.secure_server(&tls, ServerName::new(name).unwrap()).unwrap();
            let outcome = handshake(&mut stream).await;
            if let Err(expected) = expected {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains(expected), "{error}");
                joined(server).await.unwrap_err();
                return;
            }
            outcome.unwrap();
            write_all(&mut stream, b"question").await.unwrap();
            let answer = read_to_end(&mut stream).await;
            if says_goodbye {
                assert_eq!(answer.unwrap(), b"answer");
            } else {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            }
            joined(server).await.unwrap();
        };
        let authority = keys.authority.as_bytes();
        check(Trust::Pem(authority), NAME, true, Ok(())).await;
        check(Trust::Pem(authority), NAME, false, Ok(())).await;
        check(Trust::Anyone, "b.test", true, Ok(())).await;
        check(Trust::Pem(authority), "b.test", true, Err("not accepted")).await;
        let other = Keys::from("another authority");
        let stranger = Trust::Pem(other.authority.as_bytes());
        check(stranger, NAME, true, Err("not signed by an authority")).await;
    });
}

#[test]
fn what_is_no_tls_is_told_apart() {
    let keys = Keys::new();
    in_worker(|| async {
        let check = async |sent: &'static [u8], expected: &str| {
            let (mut stream, mut peer) = accepted().await;
            stream.secure_client(&TlsServer::new(keys.parts()).unwrap()).unwrap();
            peer.write_all(sent).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let error = handshake(&mut stream).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{sent:?}: {error:?}");
        };
        check(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PlainHttp").await;
        check(b"PROPFIND / HTTP/1.1\r\n\r\n", "PlainHttp").await;
        check(b"get / HTTP/1.1\r\n\r\n", "NotTls").await;
        check(b"\x00\x01", "NotTls").await;
        check(b"\x16\x03\x01\x00\x05hello", "Tls(").await;
        check(b"\x16\x03\x01\xff\xff", "Tls(").await;
        check(b"\x16", "Broken").await;
        check(b"", "Broken").await;
    });
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let keys = Keys::new();
    in_worker(|| async {
        let check = async |goodbye: bool| {
            let (mut stream, client) = secured(&keys, &version::TLS13, move |mut client| {
                client.write_all(b"?").unwrap();
                if goodbye {
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                }
            })
            .await;
            assert_eq!(read(&mut stream, &mut [0; 1]).await.unwrap(), 1);
            joined(client).await;
            stream.watch().unwrap();
            loop {
                let peeked = poll_fn(|cx| stream.poll_event(cx).map(|()| stream.peek(cx))).await;
                match peeked {
                    Peeked::Nothing => {}
                    other => break assert_eq!(other, Peeked::End),
                }
            }
            assert!(stream.has_event() && !stream.is_quiet());
            assert_eq!(read(&mut stream, &mut [0; 1]).await.unwrap(), 0);
        };
        check(true).await;
        check(false).await;
    });
}

#[test]
fn a_record_that_was_changed_ends_the_connection() {
    let keys = Keys::new();
    in_worker(|| async {
        let (mut stream, client) = secured(&keys, &version::TLS13, |mut client| {
            client.write_all(b"?").unwrap();
            client.sock.write_all(&[23, 3, 3, 0, 20]).unwrap();
            client.sock.write_all(&[0; 20]).unwrap();
            let outcome: io::Result<usize> = client.read(&mut [0; 1]);
            outcome.unwrap_err().to_string()
        })
        .await;
        let mut buf = [0; 10];
        assert_eq!(read(&mut stream, &mut buf).await.unwrap(), 1);
        assert_eq!(
            read(&mut stream, &mut buf).await.unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        assert_eq!(joined(client).await, "received fatal alert: BadRecordMac");
    });
}

#[test]
fn a_secured_connection_stays_with_its_worker() {
    let keys = Keys::new();
    in_worker(|| async {
        let listener = listener();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.secure_client(&TlsServer::new(keys.parts()).unwrap()).unwrap();
        assert_eq!(stream.into_std().unwrap_err().kind(), ErrorKind::ResourceBusy);
    });
}

#[test]
fn what_is_cut_off_has_no_clean_end() {
    let keys = Keys::new();
    in_worker(|| async {
        let (mut stream, client) = secured(&keys, &version::TLS13, |mut client| {
            client.write_all(b"?").unwrap();
            let outcome = client.read_to_end(&mut Vec::new());
            outcome.unwrap_err().kind()
        })
        .await;
        assert_eq!(read(&mut stream, &mut [0; 10]).await.unwrap(), 1);
        write_all(&mut stream, b"the first half").await.unwrap();
        stream.reset_on_close().unwrap();
        stream.say_goodbye();
        drop(stream);
        let kind = joined(client).await;
        assert!(
            matches!(kind, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
            "{kind:?}"
        );
    });
}
