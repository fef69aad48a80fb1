//! Why could a connection not be secured, in a word and in an operator's words?

use std::io;

use rustls::{CertificateError as Rejected, Error};

/// Why a connection to a server could not be secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// Its certificate has expired.
    Expired,
    /// Its certificate is not valid yet.
    NotValidYet,
    /// No authority that is trusted vouches for its certificate.
    UnknownIssuer,
    /// Its certificate is for others.
    WrongName,
    /// Its certificate is of no use for another reason.
    BadCertificate,
    /// It refused what it was offered, or the certificate it was shown.
    Refused,
    /// It does not speak TLS.
    NotTls,
    /// It closed the connection.
    Closed,
    /// It does not keep to the protocol, or has nothing in common with what is spoken.
    Protocol,
}

impl TlsFailure {
    /// The word for an error of the library.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(rejected) => match rejected {
                Rejected::Expired | Rejected::ExpiredContext { .. } => Self::Expired,
                Rejected::NotValidYet | Rejected::NotValidYetContext { .. } => Self::NotValidYet,
                Rejected::UnknownIssuer => Self::UnknownIssuer,
                Rejected::NotValidForName | Rejected::NotValidForNameContext { .. } => Self::WrongName,
                _ => Self::BadCertificate,
            },
            Error::InvalidMessage(_) => Self::NotTls,
            Error::AlertReceived(_) => Self::Refused,
            _ => Self::Protocol,
        }
    }
}

/// Why a handshake failed or a secured connection broke, in an operator's words where there are better ones than the
/// library's.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(error) => explain_tls(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the connection was closed in the middle".to_owned(),
        None => error.to_string(),
    }
}

pub(crate) fn explain_tls(error: &Error) -> String {
    use Rejected::{BadSignature, Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer};
    match error {
        Error::InvalidCertificate(certificate) => match certificate {
            Expired | ExpiredContext { .. } => "the certificate has expired".to_owned(),
            NotValidYet | NotValidYetContext { .. } => "the certificate is not valid yet".to_owned(),
            UnknownIssuer => "the certificate is not signed by an authority that is trusted".to_owned(),
            BadSignature => {
                "the certificate is signed by another key than that of the authority of this name, or the peer \
                             has not the certificate's key"
                    .to_owned()
            }
            other => format!("the certificate is not accepted: {other}"),
        },
        Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        Error::AlertReceived(alert) => format!("the peer refused: {alert:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, InvalidMessage};

    use super::*;

    #[test]
    fn errors_have_a_word_and_words() {
        let check = |error: Error, word: TlsFailure, words: &str| {
            assert_eq!((TlsFailure::of(&error), &*explain_tls(&error)), (word, words));
        };
        let rejected = Error::InvalidCertificate;
        check(
            rejected(Rejected::Expired),
            TlsFailure::Expired,
            "the certificate has expired",
        );
        check(
            rejected(Rejected::NotValidYet),
            TlsFailure::NotValidYet,
            "the certificate is not valid yet",
        );
        check(
            rejected(Rejected::UnknownIssuer),
            TlsFailure::UnknownIssuer,
            "the certificate is not signed by an authority that is trusted",
        );
        assert_eq!(
            TlsFailure::of(&rejected(Rejected::NotValidForName)),
            TlsFailure::WrongName
        );
        assert_eq!(
            TlsFailure::of(&rejected(Rejected::BadEncoding)),
            TlsFailure::BadCertificate
        );
        check(
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            TlsFailure::NotTls,
            "the peer does not speak TLS",
        );
        check(
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            TlsFailure::Refused,
            "the peer refused: HandshakeFailure",
        );
        assert_eq!(TlsFailure::of(&Error::NoApplicationProtocol), TlsFailure::Protocol);
    }
}
