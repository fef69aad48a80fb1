//! How does a record become a line?

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::nearest::nearest;
use super::{Field, Record};

/// How long a template may be.
pub const MAX_TEMPLATE_BYTES: usize = 8_192;

const COMBINED: &str = r#"{client} - {user} [{time_clf}] "{request}" {status} {bytes_out} "{referer}" "{user_agent}""#;

/// The format of a line of the access log, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Text(Field),
    Json(Field),
}

/// Why a template does not compile. The fault is the configuration's.
///
/// *Units*: positions count bytes from the start of the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder names no field.
    #[error("unknown field {{{name}}}{}", suggested(.suggestion))]
    UnknownField {
        /// Where the name begins.
        position: usize,
        /// The name.
        name: Box<str>,
        /// The field that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A brace is opened and not closed.
    #[error("`{{` without `}}`; write `{{{{` for a brace")]
    Unclosed {
        /// Where the brace is.
        position: usize,
    },
    /// A brace is closed that was not opened.
    #[error("`}}` without `{{`; write `}}}}` for a brace")]
    Unopened {
        /// Where the brace is.
        position: usize,
    },
    /// A control character other than a tab, which would break the line.
    #[error("control character {character:?}; a line of the log is one line")]
    Control {
        /// Where it is.
        position: usize,
        /// The character.
        character: char,
    },
    /// The template is too long.
    #[error("a template of {length} bytes; at most {MAX_TEMPLATE_BYTES} are taken")]
    TooLong {
        /// How long it is.
        length: usize,
    },
}

fn suggested(suggestion: &Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |name| alloc::format!("; did you mean {{{name}}}?"))
}

impl TemplateError {
    /// Where in the template the mistake is, in bytes from its start.
    #[must_use]
    pub fn position(&self) -> usize {
        match *self {
            Self::UnknownField { position, .. }
            | Self::Unclosed { position }
            | Self::Unopened { position }
            | Self::Control { position, .. } => position,
            Self::TooLong { .. } => MAX_TEMPLATE_BYTES,
        }
    }
}

impl Template {
    /// Compiles a template: text with `{field}` placeholders, and `{{` and `}}` for braces.
    ///
    /// *Errors*: the first mistake in the template.
    pub fn compile(template: &str) -> Result<Self, TemplateError> {
        if template.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong { length: template.len() });
        }
        let mut parts = Parts::default();
        let mut characters = template.char_indices().peekable();
        while let Some((position, character)) = characters.next() {
            match character {
                '{' | '}' if characters.next_if(|&(_, next)| next == character).is_some() => parts.literal(character),
                '{' => {
                    let rest = template.get(position + 1..).unwrap_or_default();
                    let (name, _) = rest.split_once('}').ok_or(TemplateError::Unclosed { position })?;
                    parts.field(Part::Text(field(name, position + 1)?));
                    characters.by_ref().find(|&(_, next)| next == '}');
                }
                '}' => return Err(TemplateError::Unopened { position }),
                _ if character.is_control() && character != '\t' => {
                    return Err(TemplateError::Control { position, character });
                }
                _ => parts.literal(character),
            }
        }
        Ok(parts.finish())
    }

    /// The JSON format: one object with every field that does not repeat another.
    #[must_use]
    pub fn json() -> Self {
        let mut parts = Parts::default();
        for (i, field) in Field::ALL.into_iter().filter(|field| field.in_json()).enumerate() {
            parts.literal(if i == 0 { '{' } else { ',' });
            parts.literal('"');
            field.name().chars().for_each(|character| parts.literal(character));
            parts.literal('"');
            parts.literal(':');
            parts.field(Part::Json(field));
        }
        parts.literal('}');
        parts.finish()
    }

    /// The combined format.
    ///
    /// *Source*: the predefined `combined` of nginx's `ngx_http_log_module`, which is Apache's with other escapes. The
    /// user's name is always `-`.
    #[must_use]
    pub fn combined() -> Self {
        // The template is a constant that a test compiles; were it wrong, lines would be empty.
        Self::compile(COMBINED).unwrap_or(Self { parts: Box::default() })
    }

    /// Appends one line with its newline at the end.
    ///
    /// No byte of the record ends the line or leaves its quotes. *Cost*: allocates nothing beyond what `out` must grow.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Text(field) => field.write_text(record, out),
                Part::Json(field) => field.write_json(record, out),
            }
        }
        out.push(b'\n');
    }
}

fn field(name: &str, position: usize) -> Result<Field, TemplateError> {
    Field::of(name).ok_or_else(|| TemplateError::UnknownField {
        position,
        name: name.into(),
        suggestion: nearest(name, Field::ALL.into_iter().map(Field::name)),
    })
}

/// The parts so far, with the literal that may still grow.
#[derive(Default)]
struct Parts {
    done: Vec<Part>,
    literal: String,
}

impl Parts {
    fn literal(&mut self, character: char) {
        self.literal.push(character);
    }

    fn field(&mut self, part: Part) {
        self.close_literal();
        self.done.push(part);
    }

    fn finish(mut self) -> Template {
        self.close_literal();
        Template {
            parts: self.done.into(),
        }
    }

    fn close_literal(&mut self) {
        if !self.literal.is_empty() {
            self.done.push(Part::Literal(core::mem::take(&mut self.literal).into()));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use core::time::Duration;
    use std::string::{String, ToString as _};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{COMBINED, MAX_TEMPLATE_BYTES, Record, Template, TemplateError};
    use crate::{Cause, WallTime};

    pub(crate) fn record() -> Record<'static> {
        Record {
            time: WallTime(Duration::from_millis(971_186_136_123)),
            client: "192.0.2.7".parse().unwrap(),
            peer: "10.0.0.1:4711".parse().unwrap(),
            connection: 42,
            listener: "web",
            route: Some("api"),
            upstream: Some("users"),
            server: Some("10.0.0.2:8080"),
            method: b"GET",
            host: b"api.example.com",
            target: b"/v1/users?id=7",
            protocol: "HTTP/1.1",
            tls: None,
            referer: b"http://example.com/",
            user_agent: b"curl/8.0",
            forwarded_for: b"192.0.2.7",
            request_id: b"abc-1",
            status: 200,
            picked: Some(crate::Picked::Sticky),
            user: None,
            grpc_status: None,
            bytes_in: 0,
            bytes_out: 1_234,
            duration: Duration::from_micros(12_345),
            first_byte: Some(Duration::from_micros(11_000)),
            queue: Duration::ZERO,
            connect: None,
            attempts: 1,
            tried: b"",
            tls_error: b"",
            limit: None,
            limit_shadow: None,
            limit_delay: Duration::ZERO,
            throttled: Duration::ZERO,
            limit_remaining: None,
            retry_refused: false,
            upgraded: false,
            cause: Cause::Complete,
            detail: "",
        }
    }

    fn line(template: &Template, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        template.render(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn templates() {
        let check = |template: &str, expected: &str| {
            let template = Template::compile(template).unwrap();
            assert_eq!(line(&template, &record()), expected.to_string() + "\n");
        };
        check("", "");
        check("plain", "plain");
        check("{client}", "192.0.2.7");
        check("{method} {target} {status}", "GET /v1/users?id=7 200");
        check("{path}\t{peer}", "/v1/users\t10.0.0.1:4711");
        check("{{{status}}} {{}}", "{200} {}");
        check(
            "{duration_ms} {first_byte_ms} {queue_ms} {connect_ms}",
            "12.345 11.000 0.000 -",
        );
        check(
            "{time} {time_clf}",
            "2000-10-10T13:55:36.123Z 10/Oct/2000:13:55:36 +0000",
        );
        check("{time_unix}", "971186136.123");
        check("{cause}/{fault} {upgraded} {attempts}", "complete/nobody false 1");
        check("é {status}", "é 200");
    }

    #[test]
    fn mistakes() {
        let check = |template: &str, position: usize, text: &str| {
            let error = Template::compile(template).unwrap_err();
            assert_eq!(
                (error.position(), error.to_string()),
                (position, text.to_string()),
                "{template}"
            );
        };
        check("{stauts}", 1, "unknown field {stauts}; did you mean {status}?");
        check("é {remote_addr}", 4, "unknown field {remote_addr}");
        check("{}", 1, "unknown field {}");
        check("{ status }", 1, "unknown field { status }; did you mean {status}?");
        check("a {status", 2, "`{` without `}`; write `{{` for a brace");
        check("a } b", 2, "`}` without `{`; write `}}` for a brace");
        check("{status}}", 8, "`}` without `{`; write `}}` for a brace");
        check("a\nb", 1, "control character '\\n'; a line of the log is one line");
        check(
            &"x".repeat(MAX_TEMPLATE_BYTES + 1),
            MAX_TEMPLATE_BYTES,
            "a template of 8193 bytes; at most 8192 are taken",
        );
    }

    #[test]
    fn json_has_every_field_and_no_other_spelling_of_it() {
        let expected = concat!(
            r#"{"time":"2000-10-10T13:55:36.123Z","client":"192.0.2.7","peer":"10.0.0.1:4711","connection":42,"#,
            r#""listener":"web","route":"api","upstream":"users","server":"10.0.0.2:8080","picked":"sticky","user":null,"method":"GET","#,
            r#""host":"api.example.com","target":"/v1/users?id=7","protocol":"HTTP/1.1","tls_version":null,"tls_cipher":null,"tls_name":null,"status":200,"grpc_status":null,"bytes_in":0,"#,
            r#""bytes_out":1234,"duration_ms":12.345,"first_byte_ms":11.000,"queue_ms":0.000,"connect_ms":null,"#,
            r#""attempts":1,"tried":"","tls_error":"","limit":null,"limit_shadow":null,"limit_delay_ms":0.000,"throttled_ms":0.000,"retry_refused":false,"upgraded":false,"cause":"complete","detail":"","fault":"nobody","referer":"http://example.com/","#,
            r#""user_agent":"curl/8.0","forwarded_for":"192.0.2.7","request_id":"abc-1"}"#,
            "\n",
        );
        assert_eq!(line(&Template::json(), &record()), expected);
    }

    #[test]
    fn json_without_a_route_is_null() {
        let record = Record {
            route: None,
            upstream: None,
            server: None,
            first_byte: None,
            ..record()
        };
        let line: serde_json::Value = serde_json::from_str(&line(&Template::json(), &record)).unwrap();
        for key in ["route", "upstream", "server", "first_byte_ms"] {
            assert_eq!(line.get(key), Some(&serde_json::Value::Null), "{key}");
        }
    }

    /// Expected lines are what nginx 1.22.1 logged with its predefined `combined` for the same requests, with address,
    /// time and size put in. It shows an empty field as `""` and an absent one as `"-"`; here both are `"-"`.
    #[test]
    fn combined_is_nginxs() {
        let check =
            |[method, target, protocol]: [&str; 3], [referer, agent]: [&[u8]; 2], status: u16, expected: &str| {
                let record = Record {
                    method: method.as_bytes(),
                    target: target.as_bytes(),
                    protocol: match protocol {
                        "1.0" => "HTTP/1.0",
                        "1.1" => "HTTP/1.1",
                        _ => "",
                    },
                    referer,
                    user_agent: agent,
                    status,
                    ..record()
                };
                let expected = "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] ".to_string() + expected + "\n";
                assert_eq!(line(&Template::combined(), &record), expected);
            };
        let none: [&[u8]; 2] = [b"", b""];
        let both: [&[u8]; 2] = [b"http://r/", b"curl/8.0"];
        check(
            ["GET", "/a?b=c", "1.1"],
            both,
            200,
            r#""GET /a?b=c HTTP/1.1" 200 1234 "http://r/" "curl/8.0""#,
        );
        check(["GET", "/", "1.1"], none, 200, r#""GET / HTTP/1.1" 200 1234 "-" "-""#);
        check(
            ["GET", "/", "1.0"],
            [b"-", b"x"],
            200,
            r#""GET / HTTP/1.0" 200 1234 "-" "x""#,
        );
        check(
            ["GET", "/\"q\\", "1.1"],
            [b"a\"b\\c", b"\xc3\xa9 \xff\x7f\tend"],
            200,
            r#""GET /\x22q\x5C HTTP/1.1" 200 1234 "a\x22b\x5Cc" "\xC3\xA9 \xFF\x7F\x09end""#,
        );
        check(
            ["GET", "/é", "1.1"],
            none,
            200,
            r#""GET /\xC3\xA9 HTTP/1.1" 200 1234 "-" "-""#,
        );
        check(
            ["BAD\u{1}", "/", "1.1"],
            none,
            400,
            r#""BAD\x01 / HTTP/1.1" 400 1234 "-" "-""#,
        );
        check(["", "", ""], none, 400, r#""-" 400 1234 "-" "-""#);
    }

    #[test]
    fn the_combined_template_compiles() {
        assert_eq!(Template::compile(COMBINED), Ok(Template::combined()));
    }

    proptest! {
        /// Whatever a client sends stays on one line, within its quotes, and readable as JSON.
        #[test]
        fn clients_cannot_break_a_line(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let hostile = Record {
                method: &bytes,
                host: &bytes,
                target: &bytes,
                tls: None,
                referer: &bytes,
                user_agent: &bytes,
                forwarded_for: &bytes,
                request_id: &bytes,
                ..record()
            };
            let combined = line(&Template::combined(), &hostile);
            prop_assert_eq!(combined.lines().count(), 1);
            prop_assert_eq!(combined.matches('"').count(), 6);
            let json = line(&Template::json(), &hostile);
            prop_assert_eq!(json.lines().count(), 1);
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&object["status"], &serde_json::json!(200));
        }

        /// No template panics, and an error points into it.
        #[test]
        fn any_template_compiles_or_is_explained(template in r"[{}a-z_\n ]{0,30}|\PC{0,30}") {
            if let Err(error) = Template::compile(&template) {
                prop_assert!(template.is_char_boundary(error.position()), "{}", error);
                let unknown = matches!(&error, TemplateError::UnknownField { name, .. } if !template.contains(&**name));
                prop_assert!(!unknown);
            }
        }
    }
}
