//! What may be done with a request of this method? Does not know what a server makes of it.

/// A request method, as far as a proxy treats it differently from others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD: its responses have no body.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// OPTIONS.
    Options,
    /// TRACE.
    Trace,
    /// CONNECT: its successful responses turn the connection into a tunnel.
    Connect,
    /// PATCH (RFC 5789).
    Patch,
    /// Any other.
    #[default]
    Other,
}

impl Method {
    /// The method of this name. Names are case-sensitive.
    ///
    /// *Source*: RFC 9110 section 9.1.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether a request asks only for information.
    ///
    /// *Source*: RFC 9110 section 9.2.1.
    #[must_use]
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether sending a request twice has the effect of sending it once, so that it may be retried.
    ///
    /// *Source*: RFC 9110 section 9.2.2.
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn methods() {
        let check = |name: &str, method, safe, idempotent| {
            assert_eq!(Method::from_bytes(name.as_bytes()), method, "{name}");
            assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{name}");
        };
        check("GET", Method::Get, true, true);
        check("HEAD", Method::Head, true, true);
        check("OPTIONS", Method::Options, true, true);
        check("TRACE", Method::Trace, true, true);
        check("PUT", Method::Put, false, true);
        check("DELETE", Method::Delete, false, true);
        check("POST", Method::Post, false, false);
        check("PATCH", Method::Patch, false, false);
        check("CONNECT", Method::Connect, false, false);
        check("get", Method::Other, false, false);
        check("GETS", Method::Other, false, false);
        check("", Method::Other, false, false);
    }
}
