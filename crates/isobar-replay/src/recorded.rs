//! What is known of a request that was written down?
//!
//! An entry of a log, with what every request has to have: a time, a client, a method and a target. Which of a format's
//! columns says what is found out once for each format.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use isobar_l7::trial::{self, Carried, Facts};
use isobar_observe::access::Field;
use isobar_observe::recorded::{Column, Columns, Entry, Told, Zone, read_time};
use isobar_plan::{Direction, Forwarding, HashPart, LimitCounting, LimitKey, LimitKind, Settlement};

/// What the time of a line is the time of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stamp {
    /// The end of the request, as in the logs of Isobar, nginx and HAProxy in JSON: it came its duration earlier, where that is known.
    #[default]
    End,
    /// Its beginning, as in those of Apache.
    Start,
}

/// What holds for requests of which the log does not say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The host that was asked for.
    pub host: Option<Box<str>>,
    /// The name asked for in the TLS handshake.
    pub tls_name: Option<Box<str>>,
    /// The zone of times without one.
    pub zone: Zone,
    /// What times are.
    pub stamp: Stamp,
}

/// Where a format says what.
#[derive(Debug)]
pub(crate) struct Layout {
    times: Vec<usize>,
    client: Option<usize>,
    peer: Option<usize>,
    listener: Option<usize>,
    route: Option<usize>,
    method: Option<usize>,
    host: Option<usize>,
    target: Option<usize>,
    request: Option<usize>,
    tls_name: Option<usize>,
    duration_ms: Option<usize>,
    duration_s: Option<usize>,
    bytes_in: Option<usize>,
    bytes_out: Option<usize>,
    user_agent: Option<usize>,
    referer: Option<usize>,
    forwarded_for: Option<usize>,
    /// Further fields of the request, by their names.
    headers: Vec<(Box<str>, usize)>,
    cookies: Vec<(Box<str>, usize)>,
}

impl Layout {
    pub(crate) fn of(columns: &Columns) -> Self {
        let field = |field| columns.find(&Column::Field(field));
        let mut headers = Vec::new();
        let mut cookies = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            match column {
                Column::Header(name) => headers.push((name.clone(), place)),
                Column::Cookie(name) => cookies.push((name.clone(), place)),
                Column::Field(_) | Column::DurationSeconds | Column::Ignored => {}
            }
        }
        Self {
            times: [Field::Time, Field::TimeUnix, Field::TimeClf]
                .into_iter()
                .filter_map(field)
                .collect(),
            client: field(Field::Client),
            peer: field(Field::Peer),
            listener: field(Field::Listener),
            route: field(Field::Route),
            method: field(Field::Method),
            host: field(Field::Host),
            target: field(Field::Target).or_else(|| field(Field::Path)),
            request: field(Field::Request),
            tls_name: field(Field::TlsName),
            duration_ms: field(Field::DurationMs),
            duration_s: columns.find(&Column::DurationSeconds),
            bytes_in: field(Field::BytesIn),
            bytes_out: field(Field::BytesOut),
            user_agent: field(Field::UserAgent),
            referer: field(Field::Referer),
            forwarded_for: field(Field::ForwardedFor),
            headers,
            cookies,
        }
    }
}

/// A request as it was written down.
#[derive(Debug)]
pub struct Recorded {
    pub(crate) layout: Rc<Layout>,
    pub(crate) entry: Entry,
    /// When it came, in nanoseconds since 1970.
    pub(crate) at: u64,
    /// How long it took.
    pub(crate) took: Option<Duration>,
    pub(crate) address: IpAddr,
    /// Whether its time has a part of a second.
    pub(crate) has_fraction: bool,
}

/// Why an entry is not of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lacks {
    Time,
    Client,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    pub(crate) method: Option<&'a [u8]>,
    /// From `/` on, or `*`.
    pub(crate) target: &'a [u8],
    /// The host in a target that names it.
    pub(crate) authority: Option<&'a [u8]>,
}

impl Recorded {
    pub(crate) fn new(layout: Rc<Layout>, entry: Entry, defaults: &Defaults) -> Result<Self, (Lacks, Entry)> {
        let value = |place: Option<usize>| place.and_then(|place| entry.told(place).value());
        let mut times = layout.times.iter().filter_map(|&place| entry.told(place).value());
        let Some(time) = times.find_map(|text| read_time(text, defaults.zone)) else {
            return Err((Lacks::Time, entry));
        };
        let client = value(layout.client).and_then(address_of);
        let Some(address) = client.or_else(|| value(layout.peer).and_then(address_of)) else {
            return Err((Lacks::Client, entry));
        };
        let milliseconds = value(layout.duration_ms).and_then(|text| duration(text, 1e-3));
        let took = milliseconds.or_else(|| value(layout.duration_s).and_then(|text| duration(text, 1.0)));
        let has_fraction = time.0.subsec_nanos() > 0;
        let time = u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX);
        let earlier = match (defaults.stamp, took) {
            (Stamp::End, Some(took)) => u64::try_from(took.as_nanos()).unwrap_or(0),
            _ => 0,
        };
        Ok(Self {
            at: time.saturating_sub(earlier),
            took,
            address,
            has_fraction,
            layout,
            entry,
        })
    }

    /// When it came, in nanoseconds since 1970.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// The bytes of it and of its answer.
    pub(crate) fn carried(&self) -> Carried {
        let number = |place| {
            let bytes = match self.told(place) {
                Told::Value(text) => text,
                // Logs write nothing for none.
                Told::Absent => return Some(0),
                Told::Unknown => return None,
            };
            std::str::from_utf8(bytes).ok()?.parse().ok()
        };
        Carried {
            up: number(self.layout.bytes_in),
            down: number(self.layout.bytes_out),
        }
    }

    pub(crate) fn told(&self, place: Option<usize>) -> Told<'_> {
        place.map_or(Told::Unknown, |place| self.entry.told(place))
    }

    pub(crate) fn listener(&self) -> Option<&[u8]> {
        self.told(self.layout.listener).value()
    }

    pub(crate) fn route(&self) -> Option<&[u8]> {
        self.told(self.layout.route).value()
    }

    pub(crate) fn user_agent(&self) -> &[u8] {
        self.told(self.layout.user_agent).value().unwrap_or_default()
    }

    /// What was asked for; none: the request was never understood, as a scanner's noise is not.
    pub(crate) fn asked(&self) -> Option<Asked<'_>> {
        let method = self.told(self.layout.method).value();
        let (method, target) = match self.told(self.layout.target).value() {
            Some(target) => (method, target),
            None => {
                let (method, target) = request_line(self.told(self.layout.request).value()?)?;
                (Some(method), target)
            }
        };
        let absolute = [b"http://".as_slice(), b"https://"].into_iter();
        let after = absolute.filter_map(|scheme| target.strip_prefix(scheme)).next();
        let (authority, target) = match after {
            None => (None, target),
            Some(after) => {
                let end = after.iter().position(|byte| matches!(byte, b'/' | b'?'));
                let (authority, target) = after.split_at(end.unwrap_or(after.len()));
                (Some(authority), if target.starts_with(b"/") { target } else { b"/" })
            }
        };
        let is_target = target.starts_with(b"/") || target == b"*";
        is_target.then_some(Asked {
            method,
            target,
            authority,
        })
    }

    /// The client as a listener with these rules sees it. Where the log has the peer and what it forwarded, they decide; otherwise the
    /// client of the log is the client.
    pub(crate) fn client(&self, forwarding: &Forwarding) -> IpAddr {
        let peer = self.told(self.layout.peer).value().and_then(address_of);
        match (peer, self.told(self.layout.forwarded_for)) {
            (Some(peer), Told::Value(forwarded)) => trial::client_address(peer, std::iter::once(forwarded), forwarding),
            (Some(peer), Told::Absent) => peer.to_canonical(),
            _ => self.address.to_canonical(),
        }
    }
}

/// Method and target of a request line, with or without a protocol.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = line.iter().position(|&byte| byte == b' ')?;
    let (method, rest) = (line.get(..space)?, line.get(space + 1..)?);
    let last = rest.iter().rposition(|&byte| byte == b' ');
    let protocol = last.and_then(|at| rest.get(at + 1..));
    let target = match (last, protocol) {
        (Some(at), Some(protocol)) if protocol.starts_with(b"HTTP/") => rest.get(..at)?,
        _ => rest,
    };
    (!method.is_empty() && !target.is_empty()).then_some((method, target))
}

/// An address, with or without a port.
fn address_of(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse().ok();
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// A length of time in some unit; at most a month, which is longer than any request.
fn duration(text: &[u8], seconds: f64) -> Option<Duration> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let length = number * seconds;
    (0.0..=2_678_400.0)
        .contains(&length)
        .then(|| Duration::from_secs_f64(length))
}

/// A recorded request in front of a route.
pub(crate) struct Subject<'a> {
    pub(crate) recorded: &'a Recorded,
    pub(crate) defaults: &'a Defaults,
    pub(crate) asked: Asked<'a>,
    /// Its target in canonical form.
    pub(crate) canonical: &'a [u8],
    pub(crate) address: IpAddr,
    pub(crate) listener: &'a str,
    pub(crate) route: Option<&'a str>,
    /// Whether clients come in over TLS.
    pub(crate) is_secured: bool,
}

/// What a log does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lacking<'a> {
    /// A part of the request.
    Part(Cow<'a, LimitKey>),
    /// What came of it.
    Column(&'static str),
}

/// The host of a request.
pub(crate) fn host<'a>(recorded: &'a Recorded, asked: &Asked<'a>, defaults: &'a Defaults) -> Told<'a> {
    match (asked.authority, recorded.told(recorded.layout.host), &defaults.host) {
        (Some(authority), ..) => Told::Value(authority),
        (None, Told::Unknown, Some(host)) => Told::Value(host.as_bytes()),
        (None, told, _) => told,
    }
}

impl Subject<'_> {
    fn header(&self, name: &str) -> Told<'_> {
        let layout = &self.recorded.layout;
        let mut own = layout.headers.iter();
        if let Some((_, place)) = own.find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return self.recorded.told(Some(*place));
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("host") => host(self.recorded, &self.asked, self.defaults),
            () if is("user-agent") => self.recorded.told(layout.user_agent),
            () if is("referer") => self.recorded.told(layout.referer),
            () if is("x-forwarded-for") => self.recorded.told(layout.forwarded_for),
            () => Told::Unknown,
        }
    }

    fn cookie(&self, name: &str) -> Told<'_> {
        let mut own = self.recorded.layout.cookies.iter();
        if let Some((_, place)) = own.find(|(known, _)| **known == *name) {
            return self.recorded.told(Some(*place));
        }
        match self.header("cookie") {
            Told::Value(cookies) => trial::cookie(cookies, name).map_or(Told::Absent, Told::Value),
            told => told,
        }
    }

    /// Whether it is known if the request has a part.
    pub(crate) fn knows_part(&self, part: &LimitKey) -> bool {
        let told = match part {
            LimitKey::Method => return self.asked.method.is_some(),
            LimitKey::Route => return true,
            LimitKey::TlsName => self.name_of_tls(),
            LimitKey::Part(HashPart::Host) => host(self.recorded, &self.asked, self.defaults),
            LimitKey::Part(HashPart::Header(name)) => self.header(name),
            LimitKey::Part(HashPart::Cookie(name)) => self.cookie(name),
            LimitKey::Part(_) | LimitKey::User => return true,
        };
        told != Told::Unknown
    }

    /// What the log does not say of the request that a limit goes by, by names.
    pub(crate) fn lacking<'l>(&'l self, counting: &'l LimitCounting) -> impl Iterator<Item = Lacking<'l>> {
        let said = counting.costs.iter().filter_map(|costs| costs.source.as_ref());
        let said = said.map(|part| LimitKey::Part(part.clone()));
        let parts = counting.key.iter().map(Cow::Borrowed).chain(said.map(Cow::Owned));
        let parts = parts.filter(|part| !self.knows_part(part)).map(Lacking::Part);
        let carried = self.recorded.carried();
        let (up, down) = match (counting.kind, &counting.costs) {
            (LimitKind::Bandwidth { direction, .. }, _) => {
                (direction != Direction::Download, direction != Direction::Upload)
            }
            (_, Some(costs)) => (false, matches!(costs.settle, Some(Settlement::Bytes(_)))),
            _ => (false, false),
        };
        let columns = [
            (
                "duration",
                counting.kind == LimitKind::Concurrency && self.recorded.took.is_none(),
            ),
            ("bytes_in", up && carried.up.is_none()),
            ("bytes_out", down && carried.down.is_none()),
        ];
        let columns = columns.into_iter().filter(|(_, lacks)| *lacks);
        parts.chain(columns.map(|(name, _)| Lacking::Column(name)))
    }

    fn name_of_tls(&self) -> Told<'_> {
        match (
            self.recorded.told(self.recorded.layout.tls_name),
            &self.defaults.tls_name,
        ) {
            (Told::Unknown, Some(name)) => Told::Value(name.as_bytes()),
            (Told::Unknown, None) if !self.is_secured => Told::Absent,
            (told, _) => told,
        }
    }
}

impl Facts for Subject<'_> {
    fn address(&self) -> IpAddr {
        self.address
    }

    fn part<R>(&self, part: &HashPart, f: impl FnOnce(Option<&[u8]>) -> R) -> R {
        match part {
            // The client's address is asked for by itself, and the others are parts of TCP connections.
            HashPart::ClientIp | HashPart::Sni | HashPart::DestinationPort => f(None),
            HashPart::Host => {
                let host = host(self.recorded, &self.asked, self.defaults).value();
                trial::with_host(host.unwrap_or_default(), f)
            }
            HashPart::Path => f(Some(isobar_route::path_of(self.canonical))),
            HashPart::Header(name) => f(self.header(name).value()),
            HashPart::Cookie(name) => f(self.cookie(name).value()),
            HashPart::Query(name) => f(trial::parameter(self.canonical, name)),
        }
    }

    fn method(&self) -> Option<&[u8]> {
        self.asked.method
    }

    fn listener(&self) -> &str {
        self.listener
    }

    fn route(&self) -> Option<&str> {
        self.route
    }

    fn tls_name(&self) -> Option<&[u8]> {
        self.name_of_tls().value()
    }

    fn knows(&self, counting: &LimitCounting) -> bool {
        self.lacking(counting).next().is_none()
    }
}
