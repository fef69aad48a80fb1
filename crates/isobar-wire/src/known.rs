//! Which fields does the proxy act on? Does not know what it does with them.

/// A field name the proxy acts on, found once while the head is parsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Known {
    /// None of these: the field is carried and not looked at.
    #[default]
    Other,
    /// Not one of these, but read as one by software that takes `_` for `-`, such as CGI and its heirs
    /// (`X_Forwarded_For`, `Content_Length`). It is never believed, and should not be forwarded.
    Lookalike,
    /// `Host`.
    Host,
    /// `Connection`.
    Connection,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Expect`.
    Expect,
    /// `Upgrade`.
    Upgrade,
    /// `Keep-Alive`.
    KeepAlive,
    /// `Proxy-Connection`.
    ProxyConnection,
    /// `TE`.
    Te,
    /// `Trailer`.
    Trailer,
    /// `Via`.
    Via,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `X-Forwarded-Proto`.
    XForwardedProto,
    /// `X-Forwarded-Host`.
    XForwardedHost,
    /// `X-Forwarded-Port`.
    XForwardedPort,
    /// `X-Real-IP`.
    XRealIp,
    /// `Client-Cert` (RFC 9440).
    ClientCert,
    /// `Client-Cert-Chain` (RFC 9440).
    ClientCertChain,
    /// `User-Agent`.
    UserAgent,
    /// `Referer`.
    Referer,
    /// `Date`.
    Date,
    /// `Server`.
    Server,
    /// `Content-Type`.
    ContentType,
    /// `Cookie`.
    Cookie,
    /// `Set-Cookie`.
    SetCookie,
    /// `Location`.
    Location,
    /// `Retry-After`.
    RetryAfter,
    /// `Authorization`.
    Authorization,
    /// `HTTP2-Settings` (RFC 7540; gone from RFC 9113, and dropped here).
    Http2Settings,
}

impl Known {
    /// The known field of this name, whatever its case.
    ///
    /// *Cost*: a look at length and first byte, which leave one candidate or none, and a comparison of a few
    /// instructions with its usual spelling. Other spellings cost a look at every byte.
    #[must_use]
    #[inline]
    pub fn from_name(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        match (name.len(), first | 0x20) {
            (2, b't') => spelled(name, b"TE", Self::Te),
            (3, b'v') => spelled(name, b"Via", Self::Via),
            (4, b'h') => spelled(name, b"Host", Self::Host),
            (4, b'd') => spelled(name, b"Date", Self::Date),
            (6, b'c') => spelled(name, b"Cookie", Self::Cookie),
            (6, b's') => spelled(name, b"Server", Self::Server),
            (6, b'e') => spelled(name, b"Expect", Self::Expect),
            (7, b'r') => spelled(name, b"Referer", Self::Referer),
            (7, b'u') => spelled(name, b"Upgrade", Self::Upgrade),
            (7, b't') => spelled(name, b"Trailer", Self::Trailer),
            (8, b'l') => spelled(name, b"Location", Self::Location),
            (9, b'x') => spelled(name, b"X-Real-IP", Self::XRealIp),
            (9, b'f') => spelled(name, b"Forwarded", Self::Forwarded),
            (10, b'c') => spelled(name, b"Connection", Self::Connection),
            (10, b'u') => spelled(name, b"User-Agent", Self::UserAgent),
            (10, b's') => spelled(name, b"Set-Cookie", Self::SetCookie),
            (10, b'k') => spelled(name, b"Keep-Alive", Self::KeepAlive),
            (11, b'c') => spelled(name, b"Client-Cert", Self::ClientCert),
            (11, b'r') => spelled(name, b"Retry-After", Self::RetryAfter),
            (12, b'c') => spelled(name, b"Content-Type", Self::ContentType),
            (13, b'a') => spelled(name, b"Authorization", Self::Authorization),
            (14, b'c') => spelled(name, b"Content-Length", Self::ContentLength),
            (14, b'h') => spelled(name, b"HTTP2-Settings", Self::Http2Settings),
            (15, b'x') => spelled(name, b"X-Forwarded-For", Self::XForwardedFor),
            (16, b'x') => match spelled(name, b"X-Forwarded-Host", Self::XForwardedHost) {
                Self::Other => spelled(name, b"X-Forwarded-Port", Self::XForwardedPort),
                known => known,
            },
            (16, b'p') => spelled(name, b"Proxy-Connection", Self::ProxyConnection),
            (17, b'c') => spelled(name, b"Client-Cert-Chain", Self::ClientCertChain),
            (17, b'x') => spelled(name, b"X-Forwarded-Proto", Self::XForwardedProto),
            (17, b't') => spelled(name, b"Transfer-Encoding", Self::TransferEncoding),
            _ => Self::Other,
        }
    }
}

/// What a name of as many bytes as a known field's is, once its first byte agrees.
#[inline(always)]
fn spelled<const N: usize>(name: &[u8], usual: &[u8; N], known: Known) -> Known {
    if name == usual {
        known
    } else if name
        .last()
        .zip(usual.last())
        .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
    {
        unusually_spelled(name, usual, known)
    } else {
        Known::Other
    }
}

/// [`spelled`] for a name that is not spelled as usual, and ends with the same letter or digit.
#[inline(never)]
fn unusually_spelled(name: &[u8], usual: &[u8], known: Known) -> Known {
    if is_but_for_case(name, usual) {
        known
    } else if is_lookalike(name, usual) {
        Known::Lookalike
    } else {
        Known::Other
    }
}

/// Whether the names, which have the same length, differ in nothing but case.
fn is_but_for_case(name: &[u8], usual: &[u8]) -> bool {
    // Of the bytes of known names only letters have the bit 0x40, and they have 0x20 in lower case.
    name.iter().zip(usual).fold(0, |other, (&byte, &usual)| {
        other | ((byte ^ usual) & !((usual & 0x40) >> 1))
    }) == 0
}

/// Whether the name becomes the candidate when `_` is read as `-`. Both have the same length.
#[cold]
fn is_lookalike(name: &[u8], candidate: &[u8]) -> bool {
    name.iter().zip(candidate).all(|(&byte, &wanted)| match byte {
        b'_' => wanted == b'-',
        _ => byte.eq_ignore_ascii_case(&wanted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |name: &str, expected| assert_eq!(Known::from_name(name.as_bytes()), expected, "{name}");
        check("Host", Known::Host);
        check("hOsT", Known::Host);
        check("TRANSFER-ENCODING", Known::TransferEncoding);
        check("x-forwarded-port", Known::XForwardedPort);
        check("te", Known::Te);
        check("HTTP2-Settings", Known::Http2Settings);
        check("Transfer_Encoding", Known::Lookalike);
        check("x_forwarded-for", Known::Lookalike);
        check("X_Real_IP", Known::Lookalike);
        check("Xreal-ip", Known::Other);
        check("Co_kie", Known::Other);
        check("Hosts", Known::Other);
        check("Accept", Known::Other);
        check("Transfer-Encodinh", Known::Other);
        check("ho\u{7f}t", Known::Other);
        check("", Known::Other);
    }

    /// Every known field by its name.
    const NAMES: [(&str, Known); Known::Http2Settings as usize - 1] = [
        ("host", Known::Host),
        ("connection", Known::Connection),
        ("content-length", Known::ContentLength),
        ("transfer-encoding", Known::TransferEncoding),
        ("expect", Known::Expect),
        ("upgrade", Known::Upgrade),
        ("keep-alive", Known::KeepAlive),
        ("proxy-connection", Known::ProxyConnection),
        ("te", Known::Te),
        ("trailer", Known::Trailer),
        ("via", Known::Via),
        ("forwarded", Known::Forwarded),
        ("x-forwarded-for", Known::XForwardedFor),
        ("x-forwarded-proto", Known::XForwardedProto),
        ("x-forwarded-host", Known::XForwardedHost),
        ("x-forwarded-port", Known::XForwardedPort),
        ("x-real-ip", Known::XRealIp),
        ("client-cert", Known::ClientCert),
        ("client-cert-chain", Known::ClientCertChain),
        ("user-agent", Known::UserAgent),
        ("referer", Known::Referer),
        ("date", Known::Date),
        ("server", Known::Server),
        ("content-type", Known::ContentType),
        ("cookie", Known::Cookie),
        ("set-cookie", Known::SetCookie),
        ("location", Known::Location),
        ("retry-after", Known::RetryAfter),
        ("authorization", Known::Authorization),
        ("http2-settings", Known::Http2Settings),
    ];

    #[test]
    fn every_known_field_is_found_by_its_name_and_stands_once() {
        for (index, (name, known)) in NAMES.into_iter().enumerate() {
            assert_eq!(known as usize, index + 2, "{known:?} is not at its place");
            assert_eq!(Known::from_name(name.as_bytes()), known);
            assert_eq!(Known::from_name(name.to_ascii_uppercase().as_bytes()), known);
            let lookalike = name.replace('-', "_");
            let expected = if lookalike == name { known } else { Known::Lookalike };
            assert_eq!(Known::from_name(lookalike.as_bytes()), expected, "{lookalike}");
        }
    }

    /// What is read as a known field differs from it only in case, and in `_` for `-`.
    #[test]
    fn no_other_name_is_taken_for_a_known_field() {
        for (name, known) in NAMES {
            for place in 0..name.len() {
                for byte in 0..=u8::MAX {
                    let mut other = name.as_bytes().to_vec();
                    other[place] = byte;
                    let expected = NAMES
                        .iter()
                        .find(|(name, _)| other.eq_ignore_ascii_case(name.as_bytes()));
                    let lookalike = name.as_bytes()[place] == b'-' && byte == b'_';
                    let expected = match expected {
                        Some(&(_, known)) => known,
                        None if lookalike => Known::Lookalike,
                        None => Known::Other,
                    };
                    assert_eq!(
                        Known::from_name(&other),
                        expected,
                        "{known:?}: {}",
                        other.escape_ascii()
                    );
                }
            }
        }
    }
}
