//! Is an order an operator's own, or that of a page in an operator's browser?
//!
//! The admin listener asks nobody who they are, and browsers send requests wherever a page asks them to. A browser says so:
//! with a POST it sends `Origin` (Fetch, section 3.1) and `Sec-Fetch-Site`. Programs such as curl send neither. A page of
//! this listener itself would be at the host it asks, and at an address or `localhost`: a name could be another site's that
//! was pointed here (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether an order may be carried out.
///
/// *Errors*: why not.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), &'static str> {
    const CROSS_SITE: &str = "orders of pages of other sites are refused";
    let values = |name: HeaderName| {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
    };
    if values(SEC_FETCH_SITE).any(|site| !matches!(site, "same-origin" | "none")) {
        return Err(CROSS_SITE);
    }
    let host = values(HOST).next().unwrap_or_default();
    let is_own = |origin: &str| {
        origin
            .strip_prefix("http://")
            .is_some_and(|origin| origin == host && is_address(host))
    };
    if values(ORIGIN).all(is_own) {
        Ok(())
    } else {
        Err(CROSS_SITE)
    }
}

/// Whether a host is no name that others could have.
fn is_address(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || host.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_refused() {
        let check = |fields: &[(&'static str, &'static str)], expected: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(check(&headers).is_ok(), expected, "{fields:?}");
        };
        let host = ("host", "127.0.0.1:9900");
        check(&[], true);
        check(&[host], true);
        check(&[host, ("origin", "http://127.0.0.1:9900")], true);
        check(&[("host", "[::1]:9900"), ("origin", "http://[::1]:9900")], true);
        check(&[("host", "localhost:9900"), ("origin", "http://localhost:9900")], true);
        check(&[host, ("origin", "http://127.0.0.1:8080")], false);
        check(&[host, ("origin", "https://127.0.0.1:9900")], false);
        check(&[host, ("origin", "null")], false);
        check(&[host, ("origin", "http://evil.example")], false);
        check(
            &[
                host,
                ("origin", "http://127.0.0.1:9900"),
                ("origin", "http://evil.example"),
            ],
            false,
        );
        // A name that was pointed at this machine.
        check(
            &[("host", "evil.example:9900"), ("origin", "http://evil.example:9900")],
            false,
        );
        check(&[host, ("sec-fetch-site", "cross-site")], false);
        check(&[host, ("sec-fetch-site", "same-site")], false);
        check(&[host, ("sec-fetch-site", "none")], true);
        check(
            &[
                host,
                ("sec-fetch-site", "same-origin"),
                ("origin", "http://127.0.0.1:9900"),
            ],
            true,
        );
        check(
            &[
                host,
                ("sec-fetch-site", "same-origin"),
                ("origin", "http://evil.example"),
            ],
            false,
        );
    }
}
