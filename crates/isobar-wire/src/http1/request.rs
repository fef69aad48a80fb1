//! What does the head of a request say? Puts line, fields and their facts together; does not know where it is sent.
//!
//! *Source*: RFC 9112 sections 2, 3 and 6.

use super::authority::Authority;
use super::facts::{Expectation, Facts};
use super::fields::Fields;
use super::{fields, refusal, start_line, target};
use crate::{BodyKind, HeadError, HeadLimits, Parsed, RequestHead, Span, TargetForm, Version};

/// Reads the head at the front of `bytes`; see [`RequestHead::parse`].
pub(crate) fn parse(head: &mut RequestHead, bytes: &[u8], limits: HeadLimits) -> Result<Parsed, HeadError> {
    head.clear();
    let window = limits.window(bytes);
    let Some(start) = skip_empty_line(window, limits)? else {
        return Ok(Parsed::Partial);
    };
    let Some(line) = start_line::request_line(window, start) else {
        return refusal::of_request_line(window, start, limits);
    };
    let target = target::parse(window, line.target, line.method)?;
    head.len = match fields::read(window, line.next, limits.fields(), &mut head.fields) {
        Fields::Complete { end } => end,
        Fields::Incomplete => return limits.wait_for_more(window),
        Fields::Refused => return refusal::of_fields(window, line.next, limits),
    };

    head.method = line.method;
    head.method_name = line.method_name;
    head.target = line.target;
    head.version = line.version;
    head.form = target.form;
    head.path = target.path;
    let mut facts = Facts::default();
    facts.gather(window, &mut head.fields)?;
    head.authority = authority(window, line.version, target, facts.host)?;
    conclude(head, &facts)?;
    Ok(Parsed::Complete)
}

/// Where the request line begins; none: more bytes are needed. One CRLF before it is left over from a client that
/// sent one after a body (RFC 9112 section 2.2); more are not tolerated.
fn skip_empty_line(window: &[u8], limits: HeadLimits) -> Result<Option<usize>, HeadError> {
    match window {
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r'] if limits.is_reached(window) => Err(HeadError::HeadTooLarge),
        [b'\r'] => Ok(None),
        [b'\r', _, ..] => Err(HeadError::BareCr),
        _ => Ok(Some(0)),
    }
}

/// The authority a request is for: its target's, else its `Host` field's, which must be valid either way.
///
/// *Source*: RFC 9112 sections 3.2 and 3.3.
fn authority(head: &[u8], version: Version, target: target::Target, host: Option<Span>) -> Result<Span, HeadError> {
    let Some(host) = host else {
        return if version == Version::Http10 {
            Ok(target.authority)
        } else {
            Err(HeadError::MissingHost)
        };
    };
    let has_authority = matches!(target.form, TargetForm::Absolute | TargetForm::Authority);
    if host.is_empty() && !has_authority {
        return Ok(host);
    }
    if Authority::parse(host.of(head)).is_none() {
        return Err(HeadError::BadHost);
    }
    Ok(if has_authority { target.authority } else { host })
}

/// Fills in what the fields say of the body and of the connection.
fn conclude(head: &mut RequestHead, facts: &Facts) -> Result<(), HeadError> {
    head.body = facts.framing(head.version)?.unwrap_or(BodyKind::None);
    head.keep_alive = facts.connection.keep_alive(head.version);
    head.te_trailers = facts.te_trailers;
    if head.version != Version::Http10 {
        // HTTP/1.0 knows neither expectations nor upgrades, and a server must not act on them (RFC 9110 sections
        // 7.8 and 10.1.1).
        if facts.expect == Expectation::Unknown {
            return Err(HeadError::UnknownExpectation);
        }
        let has_body = !matches!(head.body, BodyKind::None | BodyKind::Length(0));
        head.expect_continue = has_body && facts.expect == Expectation::Continue;
        head.upgrade = facts.connection.upgrade && facts.upgrade && !facts.h2c;
    }
    Ok(())
}
