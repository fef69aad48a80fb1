//! How are connections to servers secured?
//!
//! It knows what is spoken and who is believed for one upstream. When a connection is made, and what becomes of a request
//! whose server cannot be believed, it does not know.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use isobar_net::stream::{HandshakeError, Stream};
use isobar_net::tls::{ServerName, TlsClient, TlsFailure};
use isobar_observe::TlsReason;
use isobar_plan::ServerAddress;
use isobar_upstream::Server;

use crate::Worker;

/// Bytes of a reason at most: a certificate alone can be for hundreds of names.
const MAX_WORDS: usize = 500;

/// Takes what is to be told of a server whose connection could not be secured, and why. It must not block.
pub type TlsComplaints = dyn Fn(&Server, &str) + Send + Sync;

/// What secures the connections to the servers of one upstream; cheap to clone, and shared between threads.
#[derive(Clone)]
pub struct ServerTls(Arc<Secures>);

struct Secures {
    /// Or why there is nothing to secure connections with.
    client: Result<TlsClient, String>,
    /// Whose certificate is wanted of every server; none: its own.
    name: Option<Box<str>>,
    complaints: Arc<TlsComplaints>,
}

/// Why a connection to a server could not be secured.
#[derive(Debug)]
pub struct ServerTlsError {
    /// In a word.
    pub reason: TlsReason,
    /// In words.
    pub words: String,
}

impl ServerTlsError {
    /// The server did not come to an end with the handshake.
    pub(crate) fn timed_out() -> Self {
        Self {
            reason: TlsReason::Timeout,
            words: "the handshake was not complete in time".to_owned(),
        }
    }

    /// The server took back, with its first words, that it had agreed.
    pub(crate) fn refused(words: String) -> Self {
        Self {
            reason: TlsReason::Refused,
            words,
        }
    }
}

impl ServerTls {
    /// Secures connections by way of `client`, or tells why they cannot be; `name` is that of every server's certificate, and none
    /// stands for the server's own name or address.
    #[must_use]
    pub fn new(client: Result<TlsClient, String>, name: Option<&str>, complaints: Arc<TlsComplaints>) -> Self {
        Self(Arc::new(Secures {
            client,
            name: name.map(Box::from),
            complaints,
        }))
    }

    /// Whether it is the same one, and not only one like it.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same, with other protocols to be offered to servers (ALPN).
    #[must_use]
    pub fn speaking(&self, protocols: &[&[u8]]) -> Self {
        let Secures {
            client,
            name,
            complaints,
        } = &*self.0;
        let client = client.as_ref().map(|client| client.speaking(protocols));
        Self::new(client.map_err(Clone::clone), name.as_deref(), Arc::clone(complaints))
    }

    /// What speaks TLS, or why there is nothing to do so.
    pub fn client(&self) -> Result<&TlsClient, &str> {
        self.0.client.as_ref().map_err(String::as_str)
    }

    /// Whose certificate a server has to show, and what it is told is wanted of it.
    ///
    /// *Errors*: no certificate could be for it; in words.
    pub fn name(&self, server: &ServerAddress) -> Result<ServerName, String> {
        let own;
        let name = match (&self.0.name, server) {
            (Some(name), _) | (None, ServerAddress::Name(name, _)) => name,
            (None, ServerAddress::Socket(address)) => {
                own = address.ip().to_string();
                &*own
            }
        };
        ServerName::new(name).ok_or_else(|| format!("`{name}` is no name that a certificate could be for"))
    }

    /// Agrees with a server on keys, over a connection on which nothing was said. Waits without bound.
    pub async fn handshake(&self, stream: &mut Stream, server: &ServerAddress) -> Result<(), ServerTlsError> {
        self.begin(stream, server).map_err(|words| ServerTlsError {
            reason: TlsReason::Protocol,
            words,
        })?;
        let agreed = poll_fn(|cx| stream.poll_handshake(cx)).await;
        agreed.map_err(|error| ServerTlsError {
            reason: reason(&error),
            words: shortened(error.to_string()),
        })
    }

    fn begin(&self, stream: &mut Stream, server: &ServerAddress) -> Result<(), String> {
        let (client, name) = (self.client()?, self.name(server)?);
        let begun = stream.secure_server(client, name);
        begun.map_err(|error| error.to_string())
    }

    /// Counts what a handshake came to, and tells of it where it failed.
    pub(crate) fn note(&self, worker: &Worker, server: &Server, outcome: Result<&Stream, &ServerTlsError>) {
        let stats = server.stats(worker.id);
        match outcome {
            Ok(stream) => {
                stats.tls_handshakes.increment();
                if stream.agreed().is_some_and(|agreed| agreed.resumed) {
                    stats.tls_resumptions.increment();
                }
            }
            Err(ServerTlsError { reason, words }) => {
                stats.tls_failures.count(*reason);
                if server.may_complain(worker.wheel.now()) {
                    (self.0.complaints)(server, words);
                }
            }
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

fn reason(error: &HandshakeError) -> TlsReason {
    match error.failure() {
        TlsFailure::Expired => TlsReason::Expired,
        TlsFailure::NotValidYet => TlsReason::NotValidYet,
        TlsFailure::UnknownIssuer => TlsReason::UnknownIssuer,
        TlsFailure::WrongName => TlsReason::WrongName,
        TlsFailure::BadCertificate => TlsReason::BadCertificate,
        TlsFailure::Refused => TlsReason::Refused,
        TlsFailure::NotTls => TlsReason::NotTls,
        TlsFailure::Closed => TlsReason::Closed,
        TlsFailure::Protocol => TlsReason::Protocol,
    }
}

fn shortened(mut words: String) -> String {
    if words.len() > MAX_WORDS {
        words.truncate(words.floor_char_boundary(MAX_WORDS));
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{MAX_WORDS, shortened};

    #[test]
    fn what_a_server_has_to_say_for_itself_is_cut() {
        assert_eq!(shortened("it has expired".to_owned()), "it has expired");
        let cut = shortened(format!("a{}", "ü".repeat(MAX_WORDS)));
        assert!(cut.len() <= MAX_WORDS + '…'.len_utf8() && cut.ends_with("ü…"), "{cut}");
    }
}
