//! What does the file say by which browsers find the proxy?
//!
//! It sends what no rule could let pass straight to its destination: names without a dot, and addresses that are not for everybody.

use std::net::SocketAddr;

use isobar_plan::ForwardProxy;

/// The ranges that browsers are told of, as `isInNet` wants them.
const DIRECT: [(&str, &str); 6] = [
    ("0.0.0.0", "255.0.0.0"),
    ("10.0.0.0", "255.0.0.0"),
    ("127.0.0.0", "255.0.0.0"),
    ("169.254.0.0", "255.255.0.0"),
    ("172.16.0.0", "255.240.0.0"),
    ("192.168.0.0", "255.255.0.0"),
];

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/x-ns-proxy-autoconfig";

/// The file, for a browser that has reached the listener at `here`.
pub(crate) fn script(listener: &ForwardProxy, here: Option<SocketAddr>) -> String {
    let written = listener.pac.as_ref().and_then(|pac| pac.address.as_deref());
    let address = match (written, here) {
        (Some(address), _) => address.to_owned(),
        (None, Some(here)) => SocketAddr::new(here.ip().to_canonical(), here.port()).to_string(),
        (None, None) => listener.address.to_string(),
    };
    let direct =
        DIRECT.map(|(network, mask)| format!("    if (isInNet(host, \"{network}\", \"{mask}\")) return \"DIRECT\";\n"));
    format!(
        "function FindProxyForURL(url, host) {{\n  \
           if (host.indexOf(\":\") < 0 && isPlainHostName(host)) return \"DIRECT\";\n  \
           if (/^[0-9.]+$/.test(host)) {{\n{}  }}\n  \
           if (/^\\[?(::1?|f[cdef][0-9a-f]{{2}}:.*)\\]?$/i.test(host)) return \"DIRECT\";\n  \
           return \"PROXY {address}\";\n}}\n",
        direct.concat()
    )
}
