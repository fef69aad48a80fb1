//! What does a client read that was not taken where it wanted to go, or wanted to go nowhere?

use isobar_observe::{Cause, Fault};
use isobar_plan::ForwardProxy;
use isobar_wire::{RequestHead, Version, write};

use crate::pac;
use crate::record::Report;

/// What a page is written for.
pub(crate) struct Reader<'a> {
    pub(crate) request: &'a RequestHead,
    /// Whether it shows pages to people.
    pub(crate) is_browser: bool,
    /// Whether the connection stays open behind it.
    pub(crate) stays: bool,
}

/// Whether a client may send another request behind one that ended so.
pub(crate) fn is_understood(cause: Cause) -> bool {
    let is_clear = matches!(
        cause,
        Cause::ForwardDenied | Cause::ForwardUserLimit | Cause::ProxyAuthentication | Cause::NoRoute
    );
    is_clear || cause.fault() != Fault::Client
}

/// Writes a page that says why.
pub(crate) fn refusal(out: &mut Vec<u8>, reader: &Reader<'_>, told: (&ForwardProxy, &Report), cause: Cause) -> u64 {
    let (listener, report) = told;
    let status = cause.status().unwrap_or(500);
    let text = match reader.is_browser {
        true => page(status, report, cause),
        false => plain(status, report, cause),
    };
    head(out, status, reader, text.len());
    out.extend_from_slice(match reader.is_browser {
        true => b"Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: default-src 'none'\r\n".as_slice(),
        false => b"Content-Type: text/plain; charset=utf-8\r\n",
    });
    out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n");
    if status == 407 {
        out.extend_from_slice(b"Proxy-Authenticate: Basic realm=\"");
        let ascii = listener.name.bytes().filter(u8::is_ascii_graphic);
        out.extend(ascii.filter(|byte| !b"\"\\".contains(byte)));
        out.extend_from_slice(b"\", charset=\"UTF-8\"\r\n");
    }
    if matches!(status, 429 | 503) {
        out.extend_from_slice(b"Retry-After: 1\r\n");
    }
    body(out, reader, text.as_bytes())
}

/// Writes the file by which browsers find the proxy.
pub(crate) fn script(out: &mut Vec<u8>, reader: &Reader<'_>, text: &str) -> u64 {
    head(out, 200, reader, text.len());
    write::field(out, b"Content-Type", pac::MEDIA_TYPE.as_bytes());
    body(out, reader, text.as_bytes())
}

fn head(out: &mut Vec<u8>, status: u16, reader: &Reader<'_>, length: usize) {
    write::status_line(out, Version::Http11, status, write::reason_phrase(status).as_bytes());
    out.extend_from_slice(b"Content-Length: ");
    write::decimal(out, length as u64);
    write::end(out);
    if !reader.stays {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if reader.request.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

fn body(out: &mut Vec<u8>, reader: &Reader<'_>, text: &[u8]) -> u64 {
    write::end(out);
    if reader.request.method == isobar_wire::Method::Head {
        return 0;
    }
    out.extend_from_slice(text);
    text.len() as u64
}

fn plain(status: u16, report: &Report, cause: Cause) -> String {
    let mut text = format!("{status} {}\n\n{}\n", write::reason_phrase(status), sentence(cause));
    for (name, value) in facts(report, cause) {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text
}

fn page(status: u16, report: &Report, cause: Cause) -> String {
    let title = format!("{status} {}", write::reason_phrase(status));
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{}</p>\n<dl>\n",
        escaped(sentence(cause))
    );
    for (name, value) in facts(report, cause) {
        text.push_str(&format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(value)));
    }
    text.push_str("</dl>\n</html>\n");
    text
}

/// What happened, to whoever reads the page; what exactly it was stands below it.
fn sentence(cause: Cause) -> &'static str {
    match cause {
        Cause::ForwardDenied => "The rules of this proxy do not let you go there.",
        Cause::ProxyAuthentication => "This proxy wants to know who you are.",
        Cause::ForwardTarget => "This proxy cannot take you there.",
        Cause::ForwardUserLimit => "You have as much of this proxy as one user may have.",
        Cause::NoRoute => "There is nothing here.",
        Cause::LookupFailed => "The name of the destination stands for no address.",
        Cause::LookupTimeout => "It was not found out in time where the destination is.",
        Cause::ConnectFailed | Cause::ConnectTimeout => "The destination could not be reached.",
        Cause::OutOfResources => "This proxy has too much to do.",
        Cause::ParentRefused => "The proxy behind this one did not take you on.",
        other => other.meaning(),
    }
}

fn facts(report: &Report, cause: Cause) -> impl Iterator<Item = (&'static str, &str)> {
    let facts = [
        ("destination", &*report.host),
        ("reason", report.detail.as_str()),
        ("cause", cause.text()),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty())
}

/// Text that means nothing to a browser.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn pages_hold_no_markup_of_a_client() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("a.example:80", "a.example:80");
        check("<script>&\"'", "&lt;script&gt;&amp;&quot;&#39;");
    }
}
