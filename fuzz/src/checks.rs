//! What must hold for every input of the HTTP/1 codec? Written once, for the fuzz targets and for the test that
//! replays their corpora.

use isobar_wire::exchange::{Exchange, ResponseFraming, ResponseStep};
use isobar_wire::{
    BodyDecoder, BodyError, BodyKind, Field, HeadError, HeadLimits, Known, LoadReport, LoadReportError, Method, Parsed,
    RequestHead, RequestKind, ResponseHead, Span, TargetForm, Version, grpc_health as health, grpc_web as web,
    is_hop_by_hop, write,
};

/// Small, so that inputs reach them.
const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 2_048,
    max_fields: 24,
};

/// For messages written here, which may be longer than what they are made from.
const WIDE: HeadLimits = HeadLimits {
    max_bytes: 65_535,
    max_fields: 256,
};

/// An answer is one whole message, and a field nobody knows does not change what it says.
pub(crate) fn grpc_health(input: &[u8]) {
    let Ok(status) = health::answer(input) else {
        return;
    };
    for end in 0..input.len() {
        assert_eq!(health::answer(&input[..end]), Err(health::AnswerError::Framing));
    }
    let mut longer = [input, b"\x7a\x03abc"].concat();
    let length = u32::try_from(longer.len() - 5).unwrap();
    longer[1..5].copy_from_slice(&length.to_be_bytes());
    assert_eq!(health::answer(&longer), Ok(status));
}

/// Text reads the same however it is cut, and what it says can be said again. The first byte says where it is cut.
pub(crate) fn grpc_web(input: &[u8]) {
    let Some((&at, text)) = input.split_first() else {
        return;
    };
    let read = |pieces: &[&[u8]]| {
        let (mut decoder, mut out) = (web::TextDecoder::default(), Vec::new());
        let read = pieces.iter().try_for_each(|piece| decoder.decode(piece, &mut out));
        (read.and_then(|()| decoder.finish()), out)
    };
    let (front, back) = text.split_at(text.len().min(at.into()));
    let whole = read(&[text]);
    assert_eq!(read(&[front, back]), whole);
    let mut again = Vec::new();
    web::encode_text(&mut again, &whole.1);
    assert_eq!(again.len(), web::text_len(whole.1.len()));
    assert_eq!(read(&[&again]), (Ok(()), whole.1));
    if let Some(content_type) = web::ContentType::read(text) {
        let mut field = Vec::new();
        content_type.write(&mut field);
        let value = field
            .strip_prefix(b"Content-Type: ")
            .unwrap()
            .strip_suffix(b"\r\n")
            .unwrap();
        assert_eq!(web::ContentType::read(value), Some(content_type));
    }
}

/// A request head reads the same however it is split, keeps to its bytes, and is understood the same by the server it
/// is sent on to.
pub(crate) fn request_head(input: &[u8]) {
    request_head_within(input, LIMITS);
    if input.len() > LIMITS.max_bytes {
        request_head_within(input, WIDE);
    }
}

fn request_head_within(input: &[u8], limits: HeadLimits) {
    let mut head = RequestHead::new();
    let outcome = head.parse(input, limits);
    same_for_every_prefix(input, &(outcome, head.clone()), |bytes| {
        let mut head = RequestHead::new();
        let outcome = head.parse(bytes, limits);
        (outcome, head)
    });
    httparse_agrees_on_request(input, outcome, &head);
    if outcome != Ok(Parsed::Complete) {
        return;
    }
    let text = &input[..head.len];
    lines_end_with_crlf(text);
    let spans = [head.method_name, head.target, head.authority, head.path];
    let fields = head.fields.iter().flat_map(|field| [field.name, field.value]);
    spans.into_iter().chain(fields).for_each(|span| lies_within(span, text));

    let sent = forwarded(&head, text);
    let mut received = RequestHead::new();
    assert_eq!(
        received.parse(&sent, WIDE),
        Ok(Parsed::Complete),
        "{}",
        sent.escape_ascii()
    );
    assert_eq!(received.len, sent.len());
    assert_eq!((received.method, received.body), (head.method, head.body));
    assert_eq!(received.method_name.of(&sent), head.method_name.of(text));
    assert_eq!(received.authority.of(&sent), head.authority.of(text));
    if head.form == TargetForm::Origin {
        assert_eq!(received.path.of(&sent), head.path.of(text));
    }
    let count = |known| head.fields.iter().filter(|field| field.known == known).count();
    assert!(count(Known::Host) <= 1 && count(Known::ContentLength) + count(Known::TransferEncoding) <= 1);
    assert_eq!(
        received.fields.len(),
        head.fields.iter().filter(|field| is_end_to_end(field)).count() + 1 + framing_fields(head.body)
    );
}

/// The head as it goes to a server: end-to-end fields, and host and framing written from what was understood.
fn forwarded(head: &RequestHead, text: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    write::forwarded_request_line(&mut sent, head, text);
    write::field(&mut sent, b"Host", head.authority.of(text));
    for field in head.fields.iter().filter(|field| is_end_to_end(field)) {
        write::field(&mut sent, field.name.of(text), field.value.of(text));
    }
    write_framing(&mut sent, head.body);
    write::end(&mut sent);
    sent
}

fn is_end_to_end(field: &Field) -> bool {
    let rewritten = matches!(
        field.known,
        Known::Host | Known::ContentLength | Known::TransferEncoding | Known::Expect
    );
    !is_hop_by_hop(field) && !rewritten
}

fn write_framing(out: &mut Vec<u8>, body: BodyKind) {
    match body {
        BodyKind::Length(len) => {
            let mut digits = Vec::new();
            write::decimal(&mut digits, len);
            write::field(out, b"Content-Length", &digits);
        }
        BodyKind::Chunked => write::field(out, b"Transfer-Encoding", b"chunked"),
        BodyKind::None | BodyKind::UntilClose => {}
    }
}

fn framing_fields(body: BodyKind) -> usize {
    usize::from(matches!(body, BodyKind::Length(_) | BodyKind::Chunked))
}

/// A response head reads the same however it is split, and keeps to its bytes. The first byte says what was asked.
pub(crate) fn response_head(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    response_head_within(input, asked(first), LIMITS);
    if input.len() > LIMITS.max_bytes {
        response_head_within(input, asked(first), WIDE);
    }
}

fn response_head_within(input: &[u8], request: RequestKind, limits: HeadLimits) {
    let mut head = ResponseHead::new();
    let outcome = head.parse(input, request, limits);
    same_for_every_prefix(input, &(outcome, head.clone()), |bytes| {
        let mut head = ResponseHead::new();
        let outcome = head.parse(bytes, request, limits);
        (outcome, head)
    });
    httparse_agrees_on_response(input, outcome, &head);
    if outcome != Ok(Parsed::Complete) {
        return;
    }
    let text = &input[..head.len];
    lines_end_with_crlf(text);
    lies_within(head.reason, text);
    head.fields
        .iter()
        .flat_map(|field| [field.name, field.value])
        .for_each(|span| lies_within(span, text));
    assert!((100..600).contains(&head.status));
    assert!(!head.upgrade || (head.body == BodyKind::None && !head.keep_alive));
    assert!(head.status != 101 || request.upgrade);
    assert!(head.body != BodyKind::UntilClose || !head.keep_alive);
    assert!(request.method != Method::Head || head.body == BodyKind::None);
}

fn asked(byte: u8) -> RequestKind {
    let method = match byte % 4 {
        0 => Method::Get,
        1 => Method::Head,
        2 => Method::Connect,
        _ => Method::Post,
    };
    RequestKind {
        method,
        upgrade: byte & 4 != 0,
    }
}

/// A body reads the same however it is split; what is sent on of it is a body with the same data. The first byte says
/// how it is framed, the second how it is split.
pub(crate) fn body(input: &[u8]) {
    let [kind, split, input @ ..] = input else { return };
    let kind = match kind % 8 {
        0 => BodyKind::Length(u64::from(*split)),
        1 => BodyKind::UntilClose,
        _ => BodyKind::Chunked,
    };
    let decoded = follow(kind, input, usize::MAX, BodyDecoder::decode);
    let forwarded = follow(kind, input, usize::MAX, BodyDecoder::forward);
    for size in [1, 2, usize::from(*split) + 1] {
        assert_eq!(
            follow(kind, input, size, BodyDecoder::decode),
            decoded,
            "decoded in pieces of {size}"
        );
        let pieces = follow(kind, input, size, BodyDecoder::forward);
        // Up to a fault it depends on the pieces how much framing is sent on, but never what data are.
        assert_eq!(
            (&pieces.outcome, &pieces.trailers),
            (&forwarded.outcome, &forwarded.trailers)
        );
        assert!(
            pieces.outcome.is_err() || pieces.passed == forwarded.passed,
            "forwarded in pieces of {size}"
        );
    }
    assert_eq!(
        (&decoded.outcome, &decoded.trailers),
        (&forwarded.outcome, &forwarded.trailers)
    );
    if kind != BodyKind::Chunked {
        assert_eq!(decoded.passed, forwarded.passed);
    } else if let Ok((true, _)) = decoded.outcome {
        let mut sent = forwarded.passed;
        write::last_chunk(&mut sent, &forwarded.trailers);
        let received = follow(kind, &sent, usize::MAX, BodyDecoder::decode);
        assert_eq!(received.outcome, Ok((true, sent.len())));
        assert_eq!((received.passed, received.trailers), (decoded.passed, decoded.trailers));
    }
}

/// What became of a body: what was passed on, and whether it ended and after how many bytes.
#[derive(Debug, PartialEq, Eq)]
struct Followed {
    passed: Vec<u8>,
    trailers: Vec<u8>,
    outcome: Result<(bool, usize), BodyError>,
}

fn follow(
    kind: BodyKind,
    input: &[u8],
    size: usize,
    mut take: impl FnMut(&mut BodyDecoder, &[u8]) -> Result<isobar_wire::Decoded, BodyError>,
) -> Followed {
    let mut decoder = BodyDecoder::new(kind);
    let (mut passed, mut at) = (Vec::new(), 0_usize);
    let outcome = loop {
        let end = at.saturating_add(size).min(input.len());
        if at == end || decoder.is_done() {
            break Ok((decoder.is_done(), at));
        }
        match take(&mut decoder, &input[at..end]) {
            Err(error) => break Err(error),
            Ok(decoded) => {
                assert!(decoded.consumed > 0 && decoded.consumed <= end - at && decoded.data.end <= decoded.consumed);
                assert_eq!(decoded.done, decoder.is_done());
                passed.extend_from_slice(&input[at..][decoded.data]);
                at += decoded.consumed;
            }
        }
    };
    assert!(decoder.trailers().len() <= BodyError::MAX_TRAILER_BYTES);
    Followed {
        passed,
        trailers: decoder.trailers().to_vec(),
        outcome,
    }
}

/// One exchange, both codecs and the machine between them: the client understands the response as it was meant, and
/// connections are kept only where both sides agree on where it ended. The first two bytes say how many of the others
/// come from the client; the rest comes from the server.
pub(crate) fn exchange(input: &[u8]) {
    let [high, low, input @ ..] = input else { return };
    let from_client = usize::from(u16::from_be_bytes([*high, *low])).min(input.len());
    let (from_client, from_server) = input.split_at(from_client);
    let mut request = RequestHead::new();
    if request.parse(from_client, LIMITS) != Ok(Parsed::Complete) {
        return;
    }
    let mut exchange = Exchange::new(&request);
    assert!(
        !exchange.client_keeps() && !exchange.server_keeps(),
        "nothing was answered yet"
    );
    let body = follow(
        request.body,
        &from_client[request.len..],
        usize::MAX,
        BodyDecoder::forward,
    );
    match body.outcome {
        Ok((true, _)) => exchange.request_body_done(),
        Ok((false, _)) | Err(_) => exchange.client_eof(),
    }
    assert!(!exchange.needs_continue());
    let Some(response) = responses(&mut exchange, &request, from_server) else {
        assert!(!exchange.client_keeps() && !exchange.server_keeps());
        return;
    };
    assert!(!exchange.client_keeps() || matches!(body.outcome, Ok((true, _))));
    assert!(!exchange.client_keeps() || request.keep_alive);
    assert!(!exchange.server_keeps() || response.head.keep_alive);
    the_client_understands(&exchange, &request, &response);
}

/// A final response, and what became of its body.
struct Response<'a> {
    head: ResponseHead,
    text: &'a [u8],
    body: Followed,
}

/// Reads responses up to the final one; none: there is no whole final response.
fn responses<'a>(exchange: &mut Exchange, request: &RequestHead, mut bytes: &'a [u8]) -> Option<Response<'a>> {
    let mut head = ResponseHead::new();
    loop {
        match head.parse(bytes, request.kind(), LIMITS) {
            Ok(Parsed::Complete) => {}
            Ok(Parsed::Partial) | Err(_) => {
                exchange.server_eof();
                return None;
            }
        }
        let (text, rest) = bytes.split_at(head.len);
        bytes = rest;
        match exchange.response_head(&head) {
            ResponseStep::Interim => assert!(head.is_interim() && request.version != Version::Http10),
            ResponseStep::Swallowed => assert!(head.is_interim()),
            ResponseStep::Refused => return None,
            ResponseStep::Tunnel => {
                assert!(request.upgrade || request.method == Method::Connect);
                return None;
            }
            ResponseStep::Final => {
                let body = follow(head.body, bytes, usize::MAX, BodyDecoder::decode);
                match body.outcome {
                    Ok((true, _)) => exchange.response_body_done(),
                    Ok((false, _)) => exchange.server_eof(),
                    Err(_) => return None,
                }
                return Some(Response { head, text, body });
            }
        }
    }
}

/// Writes the response for the client, and reads it back as the client does.
fn the_client_understands(exchange: &Exchange, request: &RequestHead, response: &Response<'_>) {
    let framing = exchange.response_framing(request.version);
    let version = if request.version == Version::Http10 {
        Version::Http10
    } else {
        Version::Http11
    };
    let mut sent = Vec::new();
    write::status_line(
        &mut sent,
        version,
        response.head.status,
        response.head.reason.of(response.text),
    );
    for field in response.head.fields.iter().filter(|field| is_end_to_end(field)) {
        write::field(&mut sent, field.name.of(response.text), field.value.of(response.text));
    }
    let kind = match framing {
        ResponseFraming::None => BodyKind::None,
        ResponseFraming::Length(len) => BodyKind::Length(len),
        ResponseFraming::Chunked | ResponseFraming::IntoChunks => BodyKind::Chunked,
        ResponseFraming::UntilClose => BodyKind::UntilClose,
    };
    write_framing(&mut sent, kind);
    write::end(&mut sent);
    let mut received = ResponseHead::new();
    assert_eq!(
        received.parse(&sent, request.kind(), WIDE),
        Ok(Parsed::Complete),
        "{}",
        sent.escape_ascii()
    );
    let bodiless = request.method == Method::Head || matches!(response.head.status, 204 | 304);
    assert_eq!(received.body, kind, "the client reads the framing that was written");
    assert_eq!(kind == BodyKind::None, bodiless);
    assert!(kind != BodyKind::UntilClose || !exchange.client_keeps());
    if kind == BodyKind::Chunked {
        if !response.body.passed.is_empty() {
            write::chunk_head(&mut sent, response.body.passed.len());
            sent.extend_from_slice(&response.body.passed);
            write::end(&mut sent);
        }
        write::last_chunk(&mut sent, &response.body.trailers);
    } else {
        sent.extend_from_slice(&response.body.passed);
    }
    let read = follow(received.body, &sent[received.len..], usize::MAX, BodyDecoder::decode);
    assert_eq!(read.passed, response.body.passed);
}

/// Whatever a server says of its load, what is read of it can be counted with, and reads the same when it is written anew.
pub(crate) fn load_report(input: &[u8]) {
    for read in [
        LoadReport::from_orca(input),
        LoadReport::from_orca_bin(input),
        LoadReport::from_in_flight(input),
    ] {
        let Ok(report) = read else { continue };
        let LoadReport {
            in_flight,
            latency,
            utilization,
            rps,
            eps,
        } = report;
        let numbers = [utilization, rps, eps];
        for number in numbers.into_iter().flatten() {
            assert!(number > 0.0 && number <= LoadReportError::MAX_NUMBER, "{report:?}");
        }
        assert!(
            in_flight.is_none_or(|number| f64::from(number) <= LoadReportError::MAX_NUMBER),
            "{report:?}"
        );
        let names = ["application_utilization", "rps_fractional", "eps"];
        let mut text = "TEXT ".to_owned();
        for (name, number) in names.iter().zip(numbers) {
            text += &number.map(|number| format!("{name}={number:e},")).unwrap_or_default();
        }
        text += &in_flight
            .map(|number| format!("named_metrics.requests_in_flight={number},"))
            .unwrap_or_default();
        let again = LoadReport::from_orca(text.as_bytes());
        assert_eq!(
            again,
            Ok(LoadReport {
                latency: None,
                ..report
            }),
            "{text}"
        );
        assert!(latency.is_none_or(|latency| latency.as_secs_f64() <= LoadReportError::MAX_NUMBER));
    }
}

/// Every prefix is incomplete or gives what the whole gives, and once there is an outcome it stays.
fn same_for_every_prefix<H: PartialEq + std::fmt::Debug>(
    input: &[u8],
    whole: &(Result<Parsed, HeadError>, H),
    parse: impl Fn(&[u8]) -> (Result<Parsed, HeadError>, H),
) {
    let mut decided = false;
    for len in 0..input.len() {
        let (outcome, head) = parse(&input[..len]);
        if outcome == Ok(Parsed::Partial) {
            assert!(!decided, "undecided again after {len} bytes");
        } else {
            decided = true;
            assert_eq!(outcome, whole.0, "after {len} bytes");
            assert!(outcome.is_err() || head == whole.1, "after {len} bytes");
        }
    }
}

fn httparse_agrees_on_request(input: &[u8], outcome: Result<Parsed, HeadError>, head: &RequestHead) {
    let spelled = with_known_version(input, |line| line.split(|&byte| byte == b' ').nth(2));
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(&spelled);
    if outcome == Ok(Parsed::Complete) {
        assert_eq!(request.method.map(str::as_bytes), Some(head.method_name.of(input)));
        assert_eq!(request.path.map(str::as_bytes), Some(head.target.of(input)));
    }
    httparse_agrees(input, (outcome, head.len, &head.fields), (status, request.headers));
}

fn httparse_agrees_on_response(input: &[u8], outcome: Result<Parsed, HeadError>, head: &ResponseHead) {
    let spelled = with_known_version(input, |line| line.split(|&byte| byte == b' ').next());
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut headers);
    let status = response.parse(&spelled);
    if outcome == Ok(Parsed::Complete) {
        assert_eq!(response.code, Some(head.status));
    }
    httparse_agrees(input, (outcome, head.len, &head.fields), (status, response.headers));
}

/// The input with `HTTP/1.1` in place of a later minor version in its first line that is not empty: httparse knows no
/// such versions, and we read them as HTTP/1.1.
fn with_known_version(input: &[u8], name: impl Fn(&[u8]) -> Option<&[u8]>) -> Vec<u8> {
    let mut spelled = input.to_vec();
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let line = input[start..].split(|&byte| byte == b'\r').next().unwrap_or_default();
    if let Some(name) = name(line)
        && name.len() == 8
        && name.starts_with(b"HTTP/1.")
        && name[7].is_ascii_digit()
        && name[7] != b'0'
    {
        let at = name.as_ptr().addr() - input.as_ptr().addr() + 7;
        spelled[at] = b'1';
    }
    spelled
}

/// What httparse refuses is refused, what it needs more of is not complete, and the fields are the same. It accepts
/// more than we do: lines that end with LF alone, above all.
fn httparse_agrees(
    input: &[u8],
    (outcome, len, fields): (Result<Parsed, HeadError>, usize, &[Field]),
    (status, headers): (httparse::Result<usize>, &[httparse::Header<'_>]),
) {
    match outcome {
        Ok(Parsed::Complete) => {
            assert_eq!(status, Ok(httparse::Status::Complete(len)), "{}", input.escape_ascii());
            let ours: Vec<_> = fields
                .iter()
                .map(|field| (field.name.of(input), field.value.of(input)))
                .collect();
            let theirs: Vec<_> = headers
                .iter()
                .map(|header| (header.name.as_bytes(), header.value))
                .collect();
            assert_eq!(ours, theirs);
        }
        Ok(Parsed::Partial) => assert!(
            !matches!(status, Ok(httparse::Status::Complete(_))),
            "{}",
            input.escape_ascii()
        ),
        Err(_) => {}
    }
}

fn lines_end_with_crlf(text: &[u8]) {
    assert!(text.ends_with(b"\r\n\r\n"));
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(text[index - 1], b'\r'),
            b'\r' => assert_eq!(text[index + 1], b'\n'),
            b'\t' => {}
            _ => assert!(!byte.is_ascii_control()),
        }
    }
}

fn lies_within(span: Span, text: &[u8]) {
    assert_eq!(span.of(text).len(), usize::from(span.len));
}
