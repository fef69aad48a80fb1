//! What does the head of a response say? Puts line, fields and their facts together; does not know who gets it.
//!
//! *Source*: RFC 9112 sections 4 and 6, RFC 9110 section 15.

use super::facts::Facts;
use super::fields::Fields;
use super::{fields, refusal, start_line};
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
    let Some(line) = start_line::status_line(window) else {
        return refusal::of_status_line(window, limits);
    };
    head.len = match fields::read(window, line.next, limits.fields(), &mut head.fields) {
        Fields::Complete { end } => end,
        Fields::Incomplete => return limits.wait_for_more(window),
        Fields::Refused => return refusal::of_fields(window, line.next, limits),
    };

    head.version = line.version;
    head.status = line.status;
    head.reason = line.reason;
    let mut facts = Facts::default();
    facts.gather(window, &mut head.fields)?;
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
