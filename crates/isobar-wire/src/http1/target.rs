//! What does a request target ask for? Does not know which fields come after it.
//!
//! *Source*: RFC 9112 section 3.2.

use super::authority::Authority;
use crate::{HeadError, Method, Span, TargetForm};

/// The parts of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its form.
    pub(crate) form: TargetForm,
    /// Its authority; empty in origin-form and asterisk-form.
    pub(crate) authority: Span,
    /// Its path and query.
    pub(crate) path: Span,
}

/// Takes the target at `span` of `head` apart, which is visible ASCII without `#`.
#[inline]
pub(crate) fn parse(head: &[u8], span: Span, method: Method) -> Result<Target, HeadError> {
    let bytes = span.of(head);
    match (bytes, method) {
        (_, Method::Connect) => authority_form(bytes, span),
        ([b'/', ..], _) => Ok(Target {
            form: TargetForm::Origin,
            authority: Span::default(),
            path: span,
        }),
        (b"*", Method::Options) => Ok(Target {
            form: TargetForm::Asterisk,
            authority: Span::default(),
            path: span,
        }),
        _ => absolute_form(head, bytes),
    }
}

fn authority_form(bytes: &[u8], span: Span) -> Result<Target, HeadError> {
    match Authority::parse(bytes) {
        Some(Authority { port: Some(_), .. }) => Ok(Target {
            form: TargetForm::Authority,
            authority: span,
            path: Span::default(),
        }),
        _ => Err(HeadError::BadTarget),
    }
}

fn absolute_form(head: &[u8], bytes: &[u8]) -> Result<Target, HeadError> {
    let rest = without_scheme(bytes).ok_or(HeadError::BadTarget)?;
    let authority_len = rest.iter().take_while(|&&byte| byte != b'/' && byte != b'?').count();
    let (authority, path) = rest.split_at_checked(authority_len).ok_or(HeadError::BadTarget)?;
    if Authority::parse(authority).is_none() {
        return Err(HeadError::BadTarget);
    }
    Ok(Target {
        form: TargetForm::Absolute,
        authority: Span::locate(head, authority),
        path: Span::locate(head, path),
    })
}

/// What follows `http://` or `https://`. Other schemes are none this proxy serves.
fn without_scheme(bytes: &[u8]) -> Option<&[u8]> {
    let at = memchr::memchr(b':', bytes)?;
    let (scheme, rest) = bytes.split_at_checked(at)?;
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    if known { rest.strip_prefix(b"://") } else { None }
}
