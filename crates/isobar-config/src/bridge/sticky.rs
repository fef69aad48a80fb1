//! What does stickiness ask of the data plane?

use std::fmt::Write as _;
use std::time::Duration;

use isobar_plan::{Learned, LearnedFrom, StickyBy, StickyCookie};

use crate::document::{CookieName, SameSite, Sticky, Whole};
use crate::problem::{Path, Problem, Problems};
use crate::units::Span;

const DEFAULT_TTL: Span = Span::seconds(3600);
const DEFAULT_MAX_ENTRIES: Whole<1, 10_000_000> = Whole::of(100_000);

/// How a session is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cookie,
    Learn,
    Header,
}

/// The stickiness; none: nothing says how a session is known, which was reported.
pub(super) fn sticky(written: &Sticky, at: Path<'_>, problems: &mut Problems) -> Option<isobar_plan::Sticky> {
    let Sticky {
        cookie,
        learn,
        header,
        on_down,
        path: _,
        domain: _,
        max_age: _,
        secure: _,
        http_only: _,
        same_site: _,
        secret,
        ttl,
        max_entries,
    } = written;
    check_keys(written, at, problems);
    let by = match (cookie, learn, header) {
        (Some(name), ..) => StickyBy::Cookie(StickyCookie {
            name: name.as_str().into(),
            attributes: attributes(written, name, at, problems),
            secret_files: secret.0.iter().map(|file| file.as_str().into()).collect(),
            secrets: Vec::new(),
        }),
        (_, learn, header) => StickyBy::Learned(Learned {
            from: match (learn, header) {
                (Some(name), _) => LearnedFrom::Cookie(name.as_str().into()),
                (_, Some(name)) => LearnedFrom::Header(name.as_str().into()),
                (None, None) => return None,
            },
            ttl: ttl.unwrap_or(DEFAULT_TTL).duration(),
            max_entries: max_entries.unwrap_or(DEFAULT_MAX_ENTRIES).value(),
        }),
    };
    Some(isobar_plan::Sticky { by, on_down: *on_down })
}

/// Puts into words what holds where nothing is written.
pub(crate) fn fill_in(sticky: &mut Sticky) {
    if sticky.cookie.is_some() {
        sticky.path.get_or_insert_with(crate::setting::Word::stand_in);
        sticky.secure.get_or_insert(false);
        sticky.http_only.get_or_insert(true);
        sticky.same_site.get_or_insert(SameSite::Lax);
    } else {
        sticky.ttl.get_or_insert(DEFAULT_TTL);
        sticky.max_entries.get_or_insert(DEFAULT_MAX_ENTRIES);
    }
}

/// Reports what says twice or not at all how a session is known, and keys that are for another kind.
fn check_keys(written: &Sticky, at: Path<'_>, problems: &mut Problems) {
    let kinds = [
        (Kind::Cookie, "cookie", written.cookie.is_some()),
        (Kind::Learn, "learn", written.learn.is_some()),
        (Kind::Header, "header", written.header.is_some()),
    ];
    let mut named = kinds.into_iter().filter(|(.., is_written)| *is_written);
    let Some((kind, word, _)) = named.next() else {
        let problem = Problem::error(at, "nothing says how a session is known").on_key();
        problems
            .push(problem.help("write one of `cookie`, `learn` and `header`, as in `sticky: { cookie: SERVERID }`"));
        return;
    };
    for (_, other, _) in named {
        let problem = Problem::error(at.key(other), format!("sessions are known by `{word}` already")).on_key();
        problems.push(problem.help("remove one of the two"));
    }
    let of_cookies = [
        ("path", written.path.is_some()),
        ("domain", written.domain.is_some()),
        ("max_age", written.max_age.is_some()),
        ("secure", written.secure.is_some()),
        ("http_only", written.http_only.is_some()),
        ("same_site", written.same_site.is_some()),
        ("secret", !written.secret.0.is_empty()),
    ];
    let of_tables = [
        ("ttl", written.ttl.is_some()),
        ("max_entries", written.max_entries.is_some()),
    ];
    let (foreign, help) = match kind {
        Kind::Cookie => (
            &of_tables[..],
            "it is for `learn` and `header`: nothing is remembered here",
        ),
        Kind::Learn => (&of_cookies[..], "it is for `cookie`: the application sets this one"),
        Kind::Header => (&of_cookies[..], "it is for `cookie`"),
    };
    for (key, _) in foreign.iter().filter(|(_, is_written)| *is_written) {
        let problem = Problem::error(at.key(key), format!("`{key}` says nothing beside `{word}`"));
        problems.push(problem.on_key().help(help));
    }
}

/// What stands behind the value of the cookie.
fn attributes(written: &Sticky, name: &CookieName, at: Path<'_>, problems: &mut Problems) -> Box<str> {
    let path = written.path.as_ref().map_or("/", |path| path.as_str());
    let is_secure = written.secure == Some(true);
    let same_site = written.same_site.unwrap_or(SameSite::Lax);
    check_prefix(written, name, at, problems);
    if same_site == SameSite::None && !is_secure {
        let problem = Problem::error(
            at.key("same_site"),
            "clients take no cookie for all sites that is not `secure`",
        );
        problems.push(problem.help("write `secure: true` beside it"));
    }
    let mut text = format!("; Path={path}");
    if let Some(domain) = &written.domain {
        // Writing into a String cannot fail.
        let _ = write!(text, "; Domain={}", domain.as_str());
    }
    if let Some(max_age) = written.max_age {
        let _ = write!(text, "; Max-Age={}", whole_seconds(max_age.duration()));
    }
    text.push_str(match same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    if is_secure {
        text.push_str("; Secure");
    }
    if written.http_only != Some(false) {
        text.push_str("; HttpOnly");
    }
    text.into()
}

/// Rounded up: a cookie of no seconds is one that is taken back.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// Names with which clients insist on attributes (RFC 6265bis section 4.1.3).
fn check_prefix(written: &Sticky, name: &CookieName, at: Path<'_>, problems: &mut Problems) {
    let has = |prefix: &str| {
        let start = name.as_str().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_secure = written.secure == Some(true);
    let is_of_host = has("__Host-");
    if (is_of_host || has("__Secure-")) && !is_secure {
        let problem = Problem::error(
            at.key("cookie"),
            "clients take a cookie of this name only if it is `secure`",
        );
        problems.push(problem.help("write `secure: true` beside it"));
    }
    if is_of_host && (written.domain.is_some() || written.path.as_ref().is_some_and(|path| path.as_str() != "/")) {
        let problem = Problem::error(
            at.key("cookie"),
            "clients take a cookie of this name only for one host and `/`",
        );
        problems.push(problem.help("remove `domain` and `path`, or the prefix `__Host-`"));
    }
}
