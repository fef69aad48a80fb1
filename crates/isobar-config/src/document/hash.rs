//! What can a request be told apart by?

use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};

/// One part of a request's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashPart(isobar_plan::HashPart);

impl HashPart {
    /// The client's address.
    pub(crate) const CLIENT_IP: Self = Self(isobar_plan::HashPart::ClientIp);

    /// Whether TCP connections have it.
    pub(crate) fn is_of_tcp(&self) -> bool {
        use isobar_plan::HashPart::{ClientIp, DestinationPort, Sni};
        matches!(self.0, ClientIp | Sni | DestinationPort)
    }

    /// Whether flows of UDP have it.
    pub(crate) fn is_of_udp(&self) -> bool {
        use isobar_plan::HashPart::{ClientIp, DestinationPort};
        matches!(self.0, ClientIp | DestinationPort)
    }

    /// Whether requests of HTTP have it.
    pub(crate) fn is_of_http(&self) -> bool {
        use isobar_plan::HashPart::{DestinationPort, Sni};
        !matches!(self.0, Sni | DestinationPort)
    }

    /// As the plan has it.
    #[must_use]
    pub fn part(&self) -> isobar_plan::HashPart {
        self.0.clone()
    }
}

impl Word for HashPart {
    fn read(text: &str) -> Result<Self, Misfit> {
        use isobar_plan::HashPart::{ClientIp, Cookie, DestinationPort, Header, Host, Path, Query, Sni};
        let (kind, name) = text
            .split_once(':')
            .map_or((text, None), |(kind, name)| (kind, Some(name)));
        let part = match (kind, name) {
            ("client_ip", None) => ClientIp,
            ("sni", None) => Sni,
            ("destination_port", None) => DestinationPort,
            ("host", None) => Host,
            ("path", None) => Path,
            ("header", Some(name)) => Header(token(name)?.to_ascii_lowercase().into()),
            ("cookie", Some(name)) => Cookie(token(name)?.into()),
            ("query", Some(name)) if !name.is_empty() => Query(name.into()),
            ("header" | "cookie" | "query", _) => return Err(Misfit::OTHER.help(format!("write `{kind}:NAME`"))),
            ("source" | "source_ip" | "ip" | "remote_addr" | "src", None) => {
                return Err(Misfit::OTHER.help("did you mean `client_ip`?"));
            }
            ("uri" | "url", None) => return Err(Misfit::OTHER.help("did you mean `path`?")),
            _ => return Err(Misfit::OTHER),
        };
        Ok(Self(part))
    }

    fn write(&self) -> String {
        match &self.0 {
            isobar_plan::HashPart::ClientIp => "client_ip".to_owned(),
            isobar_plan::HashPart::Sni => "sni".to_owned(),
            isobar_plan::HashPart::DestinationPort => "destination_port".to_owned(),
            isobar_plan::HashPart::Host => "host".to_owned(),
            isobar_plan::HashPart::Path => "path".to_owned(),
            isobar_plan::HashPart::Header(name) => format!("header:{name}"),
            isobar_plan::HashPart::Cookie(name) => format!("cookie:{name}"),
            isobar_plan::HashPart::Query(name) => format!("query:{name}"),
        }
    }

    fn stand_in() -> Self {
        Self::CLIENT_IP
    }

    fn describe() -> WordShape {
        WordShape {
            name: "part of a key",
            expected: "`client_ip`, `host`, `path`, `header:NAME`, `cookie:NAME` or `query:NAME`; `sni` or \
                       `destination_port` for TCP and UDP"
                .to_owned(),
            pattern: Some("^(client_ip|sni|destination_port|host|path|(header|cookie|query):.+)$"),
            examples: &["client_ip", "header:x-user", "cookie:session"],
            range: None,
            number: false,
        }
    }
}

/// A name as headers and cookies have it (RFC 9110 section 5.6.2).
pub(super) fn token(name: &str) -> Result<&str, Misfit> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Misfit::because(format!(
            "`{}` is no name of a header or cookie",
            name.escape_debug()
        )));
    }
    Ok(name)
}

word_setting!(HashPart);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_as_they_are_read() {
        for text in [
            "client_ip",
            "sni",
            "destination_port",
            "host",
            "path",
            "header:x-user",
            "cookie:Session",
            "query:a b",
        ] {
            assert_eq!(HashPart::read(text).unwrap().write(), text);
        }
        assert_eq!(HashPart::read("header:X-User").unwrap().write(), "header:x-user");
        for text in [
            "",
            "header",
            "header:",
            "header:a b",
            "cookie:a=b",
            "query:",
            "path:x",
            "ip",
            "user",
        ] {
            assert!(HashPart::read(text).is_err(), "{text:?}");
        }
    }
}
