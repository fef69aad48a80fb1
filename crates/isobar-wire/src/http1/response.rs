//! What does the head of a response say? Puts line, fields and their facts together; does not know who gets it.
//!
//! *Source*: RFC 9112 sections 4 and 6, RFC 9110 section 15.

use super::facts::Facts;
use super::{fields, lines, start_line};
use crate::{BodyKind, HeadError, HeadLimits, Method, Parsed, RequestKind, ResponseHead, Version};

/// Reads the head at the front of `bytes`; see [`ResponseHead::parse`].
pub(crate) fn parse(
    head: &mut ResponseHead,
    bytes: &[u8],
    request: RequestKind,
    limits: HeadLimits,
) -> Result<Parsed, HeadError> {
    head.clear();
    let window = limits.window(bytes);
    start_line::check_status_line(window)?;
    let first = lines::first_line(window, 0, limits).map_err(|error| match error {
        HeadError::TargetTooLong => HeadError::HeadTooLarge,
        other => other,
    })?;
    let Some(first) = first else { return Ok(Parsed::Partial) };
    let line = start_line::status_line(window, first.line)?;
    let Some(lines) = lines::field_lines(window, first.next, limits)? else {
        return Ok(Parsed::Partial);
    };
    fields::parse(window, &lines, &mut head.fields)?;

    head.version = line.version;
    head.status = line.status;
    head.reason = line.reason;
    head.len = lines.end;
    let facts = Facts::gather(window, &mut head.fields)?;
    conclude(head, request, &facts)?;
    Ok(Parsed::Complete)
}

/// Fills in what status, request and fields together say of the body and of the connection.
///
/// *Source*: RFC 9112 section 6.3, in its order. A 205 is framed like any other response: it should be empty, and
/// only its framing says whether it is.
fn conclude(head: &mut ResponseHead, request: RequestKind, facts: &Facts) -> Result<(), HeadError> {
    // Asked before anything else: framing that contradicts itself is refused even where there is no body.
    let framing = facts.framing(head.version)?;
    let bodiless = matches!(head.status, 100..200 | 204);
    if bodiless && framing == Some(BodyKind::Chunked) {
        return Err(HeadError::TransferEncodingWithoutBody);
    }
    if head.status == 101 {
        let named = facts.connection.upgrade && facts.upgrade && head.version != Version::Http10;
        if !request.upgrade || !named {
            return Err(HeadError::UnexpectedUpgrade);
        }
    }
    head.upgrade = head.status == 101 || (request.method == Method::Connect && matches!(head.status, 200..300));
    head.body = match framing {
        _ if bodiless || head.upgrade || head.status == 304 || request.method == Method::Head => BodyKind::None,
        Some(kind) => kind,
        None => BodyKind::UntilClose,
    };
    head.keep_alive = facts.connection.keep_alive(head.version) && head.body != BodyKind::UntilClose && !head.upgrade;
    Ok(())
}
