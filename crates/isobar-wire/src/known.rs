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
    /// *Cost*: a comparison of length and first byte for each of at most four candidates, and usually one of bytes.
    #[must_use]
    #[inline]
    pub fn from_name(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        for &(candidate, known) in candidates(name.len()) {
            if candidate.first() == Some(&(first | 0x20)) {
                if name.eq_ignore_ascii_case(candidate) {
                    return known;
                }
                if is_lookalike(name, candidate) {
                    return Self::Lookalike;
                }
            }
        }
        Self::Other
    }
}

/// The known fields whose names have this many bytes.
#[inline]
fn candidates(len: usize) -> &'static [(&'static [u8], Known)] {
    match len {
        2 => &[(b"te", Known::Te)],
        3 => &[(b"via", Known::Via)],
        4 => &[(b"host", Known::Host), (b"date", Known::Date)],
        6 => &[
            (b"cookie", Known::Cookie),
            (b"server", Known::Server),
            (b"expect", Known::Expect),
        ],
        7 => &[
            (b"referer", Known::Referer),
            (b"upgrade", Known::Upgrade),
            (b"trailer", Known::Trailer),
        ],
        8 => &[(b"location", Known::Location)],
        9 => &[(b"x-real-ip", Known::XRealIp), (b"forwarded", Known::Forwarded)],
        10 => &[
            (b"connection", Known::Connection),
            (b"user-agent", Known::UserAgent),
            (b"set-cookie", Known::SetCookie),
            (b"keep-alive", Known::KeepAlive),
        ],
        11 => &[(b"retry-after", Known::RetryAfter)],
        12 => &[(b"content-type", Known::ContentType)],
        13 => &[(b"authorization", Known::Authorization)],
        14 => &[
            (b"content-length", Known::ContentLength),
            (b"http2-settings", Known::Http2Settings),
        ],
        15 => &[(b"x-forwarded-for", Known::XForwardedFor)],
        16 => &[
            (b"x-forwarded-host", Known::XForwardedHost),
            (b"x-forwarded-port", Known::XForwardedPort),
            (b"proxy-connection", Known::ProxyConnection),
        ],
        17 => &[
            (b"x-forwarded-proto", Known::XForwardedProto),
            (b"transfer-encoding", Known::TransferEncoding),
        ],
        _ => &[],
    }
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

    #[test]
    fn every_candidate_is_found_under_its_length_and_stands_once() {
        let mut seen = std::vec::Vec::new();
        for len in 0..32 {
            for &(name, known) in candidates(len) {
                assert_eq!(name.len(), len, "{known:?}");
                assert_eq!(Known::from_name(name), known);
                assert_eq!(Known::from_name(&name.to_ascii_uppercase()), known);
                assert!(!seen.contains(&known), "{known:?} stands twice");
                seen.push(known);
            }
        }
        assert_eq!(
            seen.len(),
            Known::Http2Settings as usize - 1,
            "a known field without a candidate"
        );
    }
}
