//! What may be written about sessions that stay with one server?

use isobar_plan::Otherwise;

use super::hash::token;
use super::{HeaderName, OneOrMore, Whole};
use crate::setting::choice::Choice;
use crate::setting::section::settings;
use crate::setting::shape::WordShape;
use crate::setting::word::word_setting;
use crate::setting::{Misfit, Word};
use crate::units::Span;

settings! {
    /// How the requests of a session stay with one server. One of `cookie`, `learn` and `header` says how a session is
    /// known.
    pub struct Sticky called "the stickiness of an upstream" {
        /// A cookie of this name is given to clients; its signed value names their server without revealing it.
        cookie: Option<CookieName>,
        /// The application's own cookie of this name: a server that sets it keeps the session.
        learn: Option<CookieName>,
        /// A request header of this name: the server first chosen for a value keeps it.
        header: Option<HeaderName>,
        /// What happens to a request while its server is down, or after that failed it.
        on_down: Otherwise = Otherwise::Balance,
        /// The paths for which clients send the cookie; `/` where nothing else is written. For `cookie`.
        path: Option<CookiePath>,
        /// The domain whose hosts clients send the cookie to; without it, the host that gave it alone. For `cookie`.
        domain: Option<CookieDomain>,
        /// How long clients keep the cookie from when it was given; without it, until they close. For `cookie`.
        max_age: Option<Span>,
        /// Whether clients send the cookie over TLS only; `false` where nothing else is written. For `cookie`.
        secure: Option<bool>,
        /// Whether the cookie is kept from scripts; `true` where nothing else is written. For `cookie`.
        http_only: Option<bool>,
        /// Whether clients send the cookie with requests that another site causes; `lax` where nothing else is
        /// written. For `cookie`.
        same_site: Option<SameSite>,
        /// Files with the secret that signs the cookie, at least 16 bytes each: the first signs, all are believed.
        /// Without one, each process makes a secret of its own up. For `cookie`.
        secret: OneOrMore<SecretFile>,
        /// How long a session is remembered that sends nothing; `1h` where nothing else is written. For `learn` and
        /// `header`.
        ttl: Option<Span>,
        /// How many sessions are remembered at most; past it, those that sent nothing for longest are forgotten.
        /// `100000` where nothing else is written. For `learn` and `header`.
        max_entries: Option<Whole<1, 10_000_000>>,
    }
}

impl Choice for Otherwise {
    const EXPECTED: &'static str = "what happens to a session whose server is down";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Balance,
            "reassign",
            "another server is chosen, and keeps the session from then on",
        ),
        (
            Self::Refuse,
            "fail",
            "the request is answered with 503 until the server is back",
        ),
    ];

    fn about(word: &str) -> Option<&'static str> {
        matches!(word, "redispatch" | "balance" | "rebalance").then_some("did you mean `reassign`?")
    }
}

/// Whether clients send a cookie with requests that another site causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// When a link is followed.
    Lax,
    /// Never.
    Strict,
    /// Always.
    None,
}

impl Choice for SameSite {
    const EXPECTED: &'static str = "when a cookie is sent across sites";
    const OPTIONS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Lax, "lax", "only when a link to this site is followed"),
        (Self::Strict, "strict", "never"),
        (Self::None, "none", "always; clients want `secure: true` for it"),
    ];
}

/// Declares a word that is a text with some rule.
macro_rules! text {
    ($(#[doc = $about:literal])* $Name:ident $stand_in:literal $name:literal $expected:literal $pattern:literal $check:expr) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name(Box<str>);

        impl $Name {
            /// As written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Word for $Name {
            fn read(text: &str) -> Result<Self, Misfit> {
                let check: fn(&str) -> Result<(), Misfit> = $check;
                check(text).map(|()| Self(text.into()))
            }

            fn write(&self) -> String {
                self.0.to_string()
            }

            fn stand_in() -> Self {
                Self($stand_in.into())
            }

            fn describe() -> WordShape {
                WordShape {
                    name: $name,
                    expected: $expected.to_owned(),
                    pattern: Some($pattern),
                    examples: &[$stand_in],
                    range: None,
                    number: false,
                }
            }
        }

        word_setting!($Name);
    };
}

text! {
    /// The name of a cookie.
    CookieName "SERVERID" "name of a cookie" "the name of a cookie" "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
    |text| token(text).map(drop)
}

text! {
    /// The path of a cookie.
    CookiePath "/" "path of a cookie" "a path that begins with `/`" "^/[^; ]*$"
    |text| match text.bytes().find(|byte| !byte.is_ascii_graphic() || *byte == b';') {
        Some(wrong) => Err(Misfit::because(format!(
            "`{}` cannot stand in the path of a cookie",
            char::from(wrong).escape_debug()
        ))),
        None if text.starts_with('/') => Ok(()),
        None => Err(Misfit::because("the path of a cookie begins with `/`")),
    }
}

text! {
    /// The domain of a cookie.
    CookieDomain "example.com" "domain of a cookie" "a name such as `example.com`" "^[.]?[0-9A-Za-z-]+([.][0-9A-Za-z-]+)*$"
    |text| {
        let labels = text.strip_prefix('.').unwrap_or(text);
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if labels.len() <= 253 && labels.split('.').all(is_label) { Ok(()) } else { Err(Misfit::OTHER) }
    }
}

text! {
    /// A file with a secret.
    SecretFile "/etc/isobar/sticky.key" "file" "a file such as `/etc/isobar/sticky.key`" ".*[^/]$"
    |text| match text {
        "" => Err(Misfit::OTHER),
        _ if text.contains('\0') => Err(Misfit::because("a path cannot hold a zero byte")),
        _ if text.ends_with('/') => Err(Misfit::because("expected a file, found a directory")),
        _ => Ok(()),
    }
}
