//! How does one side of TLS turn bytes of the wire into bytes of the peer, and back?
//!
//! It knows no socket: what came is handed in, what is to be sent is appended to a buffer.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    AppDataRecord, ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

/// What a record costs beside what is in it, with room to spare: 5 bytes of head, 16 of tag, 8 of nonce, 1 of kind.
const RECORD_OVERHEAD: usize = 32;

/// What a record holds at most.
const RECORD_BYTES: usize = 16 * 1024;

/// One side of a secured connection.
pub(crate) enum Session {
    /// This side was called.
    Server(UnbufferedServerConnection),
    /// This side called.
    Client(UnbufferedClientConnection),
}

/// How far a session got with what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digested {
    /// Bytes that are done with. The rest has to be handed in again, with more behind it.
    pub(crate) used: usize,
    /// Whether the peer has said that no more will come.
    pub(crate) ended: bool,
}

/// What one step of the session came to.
enum Step {
    Again,
    Ended,
    Blocked,
    Failed(Error),
}

impl Session {
    /// Takes in what came. What the peer said goes to `plain`, what has to be answered is appended to `answer`.
    ///
    /// *Errors*: the peer does not keep to the protocol, or is not who it should be. What it is to be told of that is in
    /// `answer` too. No more can be done with the session.
    pub(crate) fn digest(
        &mut self,
        came: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        answer: &mut Vec<u8>,
    ) -> Result<Digested, Error> {
        let mut digested = Digested { used: 0, ended: false };
        loop {
            let rest = came.get_mut(digested.used..).unwrap_or_default();
            let (used, step) = self.step(rest, plain, answer);
            digested.used += used;
            match step {
                Step::Again => {}
                Step::Ended => digested.ended = true,
                Step::Blocked => return Ok(digested),
                Step::Failed(error) => {
                    // The alert that says so. Asked for anything else the session would look at what came once more.
                    while self.state().wants_write() {
                        let rest = came.get_mut(digested.used..).unwrap_or_default();
                        self.step(rest, plain, answer);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn step(&mut self, came: &mut [u8], plain: &mut dyn FnMut(&[u8]), answer: &mut Vec<u8>) -> (usize, Step) {
        match self {
            Self::Server(session) => step(session.process_tls_records(came), plain, answer),
            Self::Client(session) => step(session.process_tls_records(came), plain, answer),
        }
    }

    /// Appends what tells the peer `plain` to `sealed`. `part` is what [`digest`](Self::digest) has left over: the session
    /// knows its place in it.
    ///
    /// *Errors*: the session is over, or has not begun.
    pub(crate) fn seal(&mut self, part: &mut [u8], plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), Error> {
        let room = plain.len() + plain.len().div_ceil(RECORD_BYTES).max(1) * RECORD_OVERHEAD;
        self.write(part, sealed, room, Writing::Data(plain))
    }

    /// Appends what tells the peer that no more will come; `part` as for [`seal`](Self::seal).
    ///
    /// *Errors*: the session is over, or has not begun.
    pub(crate) fn seal_end(&mut self, part: &mut [u8], sealed: &mut Vec<u8>) -> Result<(), Error> {
        self.write(part, sealed, 2 + RECORD_OVERHEAD, Writing::End)
    }

    fn write(&mut self, part: &mut [u8], sealed: &mut Vec<u8>, room: usize, what: Writing<'_>) -> Result<(), Error> {
        let mut room = room;
        loop {
            let wrote = match self {
                Self::Server(session) => write(session.process_tls_records(part), sealed, room, what),
                Self::Client(session) => write(session.process_tls_records(part), sealed, room, what),
            };
            match wrote {
                Wrote::All => return Ok(()),
                Wrote::Other => {}
                // Something of the session's own goes first, such as new keys.
                Wrote::TooLittle(needed) => room = room.max(needed),
                Wrote::Nothing(error) => return Err(error),
            }
        }
    }

    /// What was agreed on.
    pub(crate) fn state(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }
}

fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut dyn FnMut(&[u8]),
    answer: &mut Vec<u8>,
) -> (usize, Step) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(AppDataRecord { discard: more, payload })) => {
                    discard += more;
                    plain(payload);
                }
                Some(Err(error)) => break Step::Failed(error),
                None => break Step::Again,
            }
        },
        Ok(ConnectionState::EncodeTlsData(chunk)) => encode(chunk, answer),
        Ok(ConnectionState::TransmitTlsData(answered)) => {
            answered.done();
            Step::Again
        }
        Ok(ConnectionState::PeerClosed) => Step::Ended,
        Ok(_) => Step::Blocked,
        Err(error) => Step::Failed(error),
    };
    (discard, step)
}

fn encode<Data>(mut chunk: EncodeTlsData<'_, Data>, answer: &mut Vec<u8>) -> Step {
    let before = answer.len();
    let needed = match chunk.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Ok(_) | Err(EncodeError::AlreadyEncoded) => return Step::Again,
    };
    answer.resize(before + needed, 0);
    match chunk.encode(answer.get_mut(before..).unwrap_or_default()) {
        Ok(written) => answer.truncate(before + written),
        Err(_) => answer.truncate(before),
    }
    Step::Again
}

#[derive(Clone, Copy)]
enum Writing<'a> {
    Data(&'a [u8]),
    End,
}

/// What a try to write came to.
enum Wrote {
    /// It is written.
    All,
    /// Something else was in the way, and is done.
    Other,
    /// There was not as much room as this.
    TooLittle(usize),
    /// Nothing can be written.
    Nothing(Error),
}

fn write<Data>(status: UnbufferedStatus<'_, '_, Data>, sealed: &mut Vec<u8>, room: usize, what: Writing<'_>) -> Wrote {
    let UnbufferedStatus { state, .. } = status;
    let mut traffic: WriteTraffic<'_, Data> = match state {
        Ok(ConnectionState::WriteTraffic(traffic)) => traffic,
        Ok(ConnectionState::EncodeTlsData(chunk)) => {
            encode(chunk, sealed);
            return Wrote::Other;
        }
        Ok(ConnectionState::TransmitTlsData(answered)) => {
            answered.done();
            return Wrote::Other;
        }
        Ok(ConnectionState::PeerClosed) => return Wrote::Other,
        Ok(_) => return Wrote::Nothing(Error::HandshakeNotComplete),
        Err(error) => return Wrote::Nothing(error),
    };
    let before = sealed.len();
    sealed.resize(before + room, 0);
    let to = sealed.get_mut(before..).unwrap_or_default();
    let written = match what {
        Writing::Data(plain) => traffic.encrypt(plain, to),
        Writing::End => traffic.queue_close_notify(to),
    };
    sealed.truncate(before + *written.as_ref().unwrap_or(&0));
    match written {
        Ok(_) => Wrote::All,
        // It is never more than what was there, or the session would be asked for ever.
        Err(EncryptError::InsufficientSize(size)) if size.required_size > room => Wrote::TooLittle(size.required_size),
        Err(_) => Wrote::Nothing(Error::EncryptError),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

    use super::*;
    use crate::tls::{Certificate, Clients, Tickets, TlsServer, TlsServerParts, UnknownName, Version};

    /// A server, and the certificate that its clients trust.
    static SERVER: LazyLock<(TlsServer, CertificateDer<'static>)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let server = TlsServer::new(TlsServerParts {
            certificates: vec![Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()],
            unknown_name: UnknownName::Default,
            protocols: &[],
            oldest: Version::Tls12,
            tickets: Some(Tickets::of_this_process().unwrap()),
            clients: Clients::Anyone,
        });
        (server.unwrap(), made.cert.der().clone())
    });

    /// A session, and what its user holds for it.
    struct Side {
        session: Session,
        part: Vec<u8>,
        plain: Vec<u8>,
        answer: Vec<u8>,
        ended: bool,
    }

    impl Side {
        fn server() -> Self {
            let session = UnbufferedServerConnection::new(SERVER.0.config()).unwrap();
            Self {
                session: Session::Server(session),
                part: Vec::new(),
                plain: Vec::new(),
                answer: Vec::new(),
                ended: false,
            }
        }

        fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
            let mut came = [&self.part[..], bytes].concat();
            let plain = &mut self.plain;
            let digested =
                self.session
                    .digest(&mut came, &mut |said| plain.extend_from_slice(said), &mut self.answer)?;
            assert!(digested.used <= came.len());
            self.part = came.split_off(digested.used);
            self.ended |= digested.ended;
            Ok(())
        }
    }

    fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(SERVER.1.clone()).unwrap();
        let config = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
        ClientConnection::new(Arc::new(config.with_no_client_auth()), "a.test".try_into().unwrap()).unwrap()
    }

    /// Carries a conversation in pieces of these sizes, over and over; `change` is a place in what the client sends, and what is
    /// changed there. What the server heard, and whether to the end.
    fn converse(
        version: &'static SupportedProtocolVersion,
        message: &[u8],
        pieces: &[usize],
        change: Option<(usize, u8)>,
    ) -> Result<(Vec<u8>, bool), String> {
        let (mut client, mut server) = (client(version), Side::server());
        let mut sizes = pieces.iter().copied().cycle();
        let (mut sent, mut said) = (0, false);
        loop {
            if !client.is_handshaking() && !said {
                use std::io::Write as _;
                said = true;
                // The library takes what it has room for, and no more.
                client.set_buffer_limit(None);
                client.writer().write_all(message).unwrap();
                client.send_close_notify();
            }
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            if bytes.is_empty() && server.answer.is_empty() {
                break;
            }
            if let Some((at, bits)) = change
                && let Some(byte) = at.checked_sub(sent).and_then(|at| bytes.get_mut(at))
            {
                *byte ^= bits;
            }
            sent += bytes.len();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(sizes.next().unwrap().clamp(1, rest.len()));
                server.take(piece).map_err(|error| error.to_string())?;
                rest = left;
            }
            let answer = std::mem::take(&mut server.answer);
            let mut answer = &answer[..];
            while !answer.is_empty() {
                client.read_tls(&mut answer).unwrap();
                client.process_new_packets().map_err(|error| error.to_string())?;
            }
            if server.ended {
                break;
            }
        }
        // Whatever came, and in whatever state: to say something is an error at most.
        let (mut sealed, mut part) = (Vec::new(), std::mem::take(&mut server.part));
        let _ = server.session.seal(&mut part, message, &mut sealed);
        let _ = server.session.seal_end(&mut part, &mut sealed);
        Ok((server.plain, server.ended))
    }

    #[test]
    fn new_keys_of_the_peer_leave_room_for_what_is_written() {
        for length in [0, 6, 20_000, 65_536] {
            let (mut client, mut server) = (client(&version::TLS13), Side::server());
            let talk = |client: &mut ClientConnection, server: &mut Side| {
                let mut bytes = Vec::new();
                while client.wants_write() {
                    client.write_tls(&mut bytes).unwrap();
                }
                server.take(&bytes).unwrap();
                let answer = std::mem::take(&mut server.answer);
                let mut answer = &answer[..];
                while !answer.is_empty() {
                    client.read_tls(&mut answer).unwrap();
                    client.process_new_packets().unwrap();
                }
            };
            while client.is_handshaking() {
                talk(&mut client, &mut server);
            }
            talk(&mut client, &mut server);
            client.refresh_traffic_keys().unwrap();
            talk(&mut client, &mut server);
            let (mut sealed, mut part) = (Vec::new(), std::mem::take(&mut server.part));
            if length > 0 {
                server.session.seal(&mut part, &vec![1; length], &mut sealed).unwrap();
            }
            server.session.seal_end(&mut part, &mut sealed).unwrap();
            let mut sealed = &sealed[..];
            let mut heard = Vec::new();
            while !sealed.is_empty() {
                use std::io::Read as _;
                client.read_tls(&mut sealed).unwrap();
                client.process_new_packets().unwrap();
                let mut rest = [0; 100_000];
                while let Ok(count) = client.reader().read(&mut rest)
                    && count > 0
                {
                    heard.extend_from_slice(&rest[..count]);
                }
            }
            assert!(heard == vec![1; length], "{} of {length} bytes", heard.len());
        }
    }

    fn any_version() -> impl Strategy<Value = &'static SupportedProtocolVersion> {
        prop_oneof![Just(&version::TLS12), Just(&version::TLS13)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn pieces_of_any_size_say_the_same(
            version in any_version(),
            length in 0_usize..40_000,
            pieces in prop::collection::vec(1_usize..3000, 1..8),
        ) {
            let message: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let (heard, ended) = converse(version, &message, &pieces, None).unwrap();
            prop_assert!(heard == message && ended, "{} of {length} bytes", heard.len());
        }

        #[test]
        fn bytes_that_were_changed_on_the_way_are_never_heard(
            version in any_version(),
            at in 0_usize..2500,
            bits in 1_u8..=255,
            pieces in prop::collection::vec(1_usize..3000, 1..8),
        ) {
            let message = [7; 1000];
            if let Ok((heard, _)) = converse(version, &message, &pieces, Some((at, bits))) {
                prop_assert!(message.starts_with(&heard), "{heard:?}");
            }
        }
    }
}
