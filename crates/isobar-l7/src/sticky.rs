//! Which session is a request of, and what do client and server get to read of that?
//!
//! Finds the session in a request, keeps its cookie from the server, learns from answers, and gives new cookies to clients.
//! Where a session is, and whether a cookie can be believed, is `isobar_upstream::Sessions`' business.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use isobar_balance::{Judgement, Keep, Kept, Otherwise};
use isobar_observe::{Picked, UpstreamStats};
use isobar_plan::{LearnedFrom, StickyBy, StickyCookie};
use isobar_upstream::{Home, Place, Server, View, moment};
use isobar_wire::{Field, Known, RequestHead, is_hop_by_hop, write};

use crate::exchange::Exchange;
use crate::fields;
use crate::forward::Ways;
use crate::pool::Pool;

/// Values of one cookie that are looked at: a client that brings hundreds costs no more than one that brings these.
const MAX_VALUES: usize = 4;

/// What is known of the session of a request. Everything is absent where the upstream is not sticky.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The state whose rules hold, where they are about a cookie of ours.
    view: Option<Rc<View<Pool>>>,
    /// The server it belongs to.
    owner: Option<Arc<Server>>,
    /// What happens while that one is down. As it was when the request came: whoever waits in the queue is called by the
    /// rule that it joined with, and would be called for nothing by another.
    on_down: Option<Otherwise>,
    /// Whether it belonged to one that left.
    orphaned: bool,
    /// What it is remembered by.
    key: Option<u64>,
    /// Whether the request has a cookie of ours, believed or not.
    brought: bool,
    /// Whether that was made with an older secret.
    outdated: bool,
    /// The slot of the server that the client is given a cookie for.
    grant: Option<u32>,
}

impl Session {
    /// The server that a request is to be given to.
    pub(crate) fn home(&self) -> Option<Home<'_>> {
        Some(Home {
            server: self.owner.as_ref()?,
            otherwise: self.on_down?,
        })
    }

    /// Whether no other server than its own will do.
    pub(crate) fn is_bound(&self) -> bool {
        self.owner.is_some() && self.on_down == Some(Otherwise::Refuse)
    }

    /// The server it belongs to.
    pub(crate) fn owner(&self) -> Option<&Server> {
        self.owner.as_deref()
    }

    fn cookie(&self) -> Option<&StickyCookie> {
        match &self.view.as_ref()?.settings().sticky.as_ref()?.by {
            StickyBy::Cookie(cookie) => Some(cookie),
            StickyBy::Learned(_) => None,
        }
    }
}

/// Finds out which session the request is of.
pub(crate) fn look_up(view: &Rc<View<Pool>>, exchange: &mut Exchange, now: Instant, stats: &UpstreamStats) {
    let Some(sessions) = view.sessions() else { return };
    exchange.session.on_down = Some(sessions.rules().on_down);
    let Exchange {
        request,
        inbound,
        session,
        ..
    } = exchange;
    let head = inbound.get(..request.len).unwrap_or_default();
    match &sessions.rules().by {
        StickyBy::Cookie(cookie) => {
            session.view = Some(Rc::clone(view));
            let values = cookies(head, request, cookie.name.as_bytes()).take(MAX_VALUES);
            believe(session, view, values, stats);
        }
        StickyBy::Learned(learned) => {
            let remembered = |value: &[u8]| {
                let key = sessions.key(value)?;
                session.key.get_or_insert(key);
                let slot = sessions.find(key, moment(now))?;
                session.key = Some(key);
                server_at(view, slot)
            };
            session.owner = match &learned.from {
                LearnedFrom::Cookie(name) => {
                    let values = cookies(head, request, name.as_bytes()).filter(|value| !value.is_empty());
                    values.take(MAX_VALUES).find_map(remembered)
                }
                LearnedFrom::Header(name) => {
                    let mut named = request.fields.iter().filter(|field| is_named(field, head, name));
                    named.next().map(|field| field.value.of(head)).and_then(remembered)
                }
            };
        }
    }
}

/// Takes the first cookie that can be believed.
fn believe<'v>(
    session: &mut Session,
    view: &View<Pool>,
    values: impl Iterator<Item = &'v [u8]>,
    stats: &UpstreamStats,
) {
    let Some(sessions) = view.sessions() else { return };
    let mut is_forged = false;
    for value in values {
        session.brought = true;
        match sessions.judge(value) {
            Judgement::Current(slot) => session.owner = server_at(view, slot),
            Judgement::Outdated(slot) => {
                session.owner = server_at(view, slot);
                session.outdated = true;
            }
            Judgement::Gone => session.orphaned = true,
            Judgement::Forged => is_forged = true,
        }
        if session.owner.is_some() {
            session.orphaned = false;
            return;
        }
    }
    if is_forged {
        stats.sticky_forged.increment();
    }
}

/// A place was taken for the request: says why there, and sees to it that the session finds it again.
pub(crate) fn claimed(ways: &Ways<'_>, exchange: &mut Exchange, place: &Place<Pool>) {
    let before = exchange.report.picked;
    let Some(sessions) = place.view().sessions() else {
        exchange.report.picked = Some(Picked::Balance);
        return;
    };
    let server = &place.server().server;
    let session = &mut exchange.session;
    let stays = session.owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, server));
    let stats = ways.local.upstream().stats(ways.worker.id);
    let (picked, counter) = if stays {
        (Picked::Sticky, &stats.sticky_hits)
    } else if session.owner.is_some() || session.orphaned {
        (Picked::Reassigned, &stats.sticky_reassigned)
    } else {
        (Picked::Balance, &stats.sticky_misses)
    };
    if before != Some(picked) {
        counter.increment();
    }
    exchange.report.picked = Some(picked);
    session.grant = None;
    match &sessions.rules().by {
        StickyBy::Cookie(_) => {
            session.view = Some(Rc::clone(place.view()));
            let slot = u32::try_from(place.slot()).ok();
            session.grant = slot.filter(|_| !stays || session.outdated);
        }
        StickyBy::Learned(learned) => {
            // A later try may come back to the session's server from another one, which is remembered by then.
            let is_first_try = before.is_none();
            if let (LearnedFrom::Header(_), Some(key)) = (&learned.from, session.key)
                && !(stays && is_first_try)
            {
                let is_first = session.owner.is_none() && is_first_try;
                let keep = if is_first { Keep::First } else { Keep::Latest };
                let now = moment(exchange.report.claims(ways.worker));
                count_kept(stats, sessions.remember(key, server, now, keep));
            }
        }
    }
}

/// The server answers: what it calls the session is remembered, and so is that a session moved.
pub(crate) fn answered(ways: &Ways<'_>, exchange: &Exchange, head: &[u8]) {
    if exchange.session.on_down.is_none() {
        // The upstream was not sticky when the request came.
        return;
    }
    let view = ways.local.view();
    let Some(sessions) = view.sessions() else { return };
    let StickyBy::Learned(learned) = &sessions.rules().by else {
        return;
    };
    let LearnedFrom::Cookie(name) = &learned.from else {
        return;
    };
    let Some(server) = exchange.report.server() else { return };
    let moved = exchange
        .session
        .key
        .filter(|_| exchange.report.picked == Some(Picked::Reassigned));
    let given = fields::values(head, &exchange.response.fields, Known::SetCookie);
    let given = given.filter_map(|value| given_value(value, name.as_bytes()));
    let given = given.filter(|value| !value.is_empty()).take(MAX_VALUES);
    let mut keys = moved
        .into_iter()
        .chain(given.filter_map(|value| sessions.key(value)))
        .peekable();
    if keys.peek().is_none() {
        return;
    }
    let now = moment(ways.worker.wheel.now());
    let stats = ways.local.upstream().stats(ways.worker.id);
    keys.for_each(|key| count_kept(stats, sessions.remember(key, server, now, Keep::Latest)));
}

fn count_kept(stats: &UpstreamStats, kept: Kept) {
    match kept {
        Kept::Remembered => {}
        Kept::Evicted | Kept::Lost => stats.sticky_evictions.increment(),
    }
}

/// Whether a field of the request has a cookie of ours, which is none of the server's business.
pub(crate) fn hides(session: &Session, field: &Field, head: &[u8]) -> bool {
    session.brought
        && field.known == Known::Cookie
        && session.cookie().is_some_and(|cookie| {
            pairs(field.value.of(head)).any(|pair| value_of(pair, cookie.name.as_bytes()).is_some())
        })
}

/// Writes the other cookies of the fields that were [hidden](hides).
pub(crate) fn write_others(output: &mut Vec<u8>, session: &Session, head: &[u8], request: &RequestHead) {
    let Some(cookie) = session.cookie() else { return };
    for field in request
        .fields
        .iter()
        .filter(|field| hides(session, field, head) && !is_hop_by_hop(field))
    {
        let mut others = pairs(field.value.of(head))
            .filter(|pair| !pair.is_empty() && value_of(pair, cookie.name.as_bytes()).is_none())
            .peekable();
        if others.peek().is_none() {
            continue;
        }
        output.extend_from_slice(b"Cookie: ");
        while let Some(pair) = others.next() {
            output.extend_from_slice(pair);
            if others.peek().is_some() {
                output.extend_from_slice(b"; ");
            }
        }
        write::end(output);
    }
}

/// Whether a field of the answer gives the client a cookie of our name: two of one name would be a lottery.
pub(crate) fn replaces(session: &Session, field: &Field, head: &[u8]) -> bool {
    field.known == Known::SetCookie
        && session
            .cookie()
            .is_some_and(|cookie| given_value(field.value.of(head), cookie.name.as_bytes()).is_some())
}

/// Gives the client a cookie, where it needs one, and sees to it that no cache gives it to others.
pub(crate) fn write_cookie(output: &mut Vec<u8>, exchange: &Exchange, head: &[u8]) {
    let session = &exchange.session;
    let sessions = session.view.as_ref().and_then(|view| view.sessions());
    let value = session
        .grant
        .zip(sessions)
        .and_then(|(slot, sessions)| sessions.value(slot));
    let (Some(cookie), Some(value)) = (session.cookie(), value) else {
        return;
    };
    output.extend_from_slice(b"Set-Cookie: ");
    output.extend_from_slice(cookie.name.as_bytes());
    output.push(b'=');
    output.extend_from_slice(&value);
    output.extend_from_slice(cookie.attributes.as_bytes());
    write::end(output);
    let mut directives = exchange
        .response
        .fields
        .iter()
        .filter(|field| is_named(field, head, "cache-control"))
        .flat_map(|field| field.value.of(head).split(|&byte| byte == b','));
    let keeps_out = |directive: &[u8]| {
        [&b"private"[..], b"no-store"]
            .iter()
            .any(|word| directive.eq_ignore_ascii_case(word))
    };
    if !directives.any(|directive| keeps_out(directive.trim_ascii())) {
        write::field(output, b"Cache-Control", b"private");
    }
}

fn server_at(view: &View<Pool>, slot: u32) -> Option<Arc<Server>> {
    view.servers().get(slot as usize).map(|local| Arc::clone(&local.server))
}

fn is_named(field: &Field, head: &[u8], name: &str) -> bool {
    field.name.of(head).eq_ignore_ascii_case(name.as_bytes())
}

/// The values of a cookie in a request, in order.
fn cookies<'h>(head: &'h [u8], request: &'h RequestHead, name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
    fields::values(head, &request.fields, Known::Cookie)
        .flat_map(pairs)
        .filter_map(move |pair| value_of(pair, name))
}

fn pairs(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookies.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

/// The value of `name=value`, for this name.
fn value_of<'v>(pair: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    let (found, value) = pair.split_at(pair.iter().position(|&byte| byte == b'=')?);
    (found.trim_ascii() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

/// The value that `Set-Cookie` gives to this name.
fn given_value<'v>(field: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    pairs(field).next().and_then(|pair| value_of(pair, name))
}

#[cfg(test)]
mod tests {
    use super::{given_value, pairs, value_of};

    #[test]
    fn cookies_are_read() {
        let check = |cookies: &str, expected: &[&str]| {
            let values = pairs(cookies.as_bytes()).filter_map(|pair| value_of(pair, b"S"));
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect();
            assert_eq!(values, expected, "{cookies:?}");
        };
        check("S=1", &["1"]);
        check("a=S=2; S=3;S=4", &["3", "4"]);
        check("S; s=1; SS=2; S =5 ;=6;;", &["5"]);
        check("S=\"7\"; S=", &["\"7\"", ""]);
        check("", &[]);
    }

    #[test]
    fn given_cookies_are_read() {
        let check = |field: &str, expected: Option<&str>| {
            assert_eq!(
                given_value(field.as_bytes(), b"S"),
                expected.map(str::as_bytes),
                "{field:?}"
            );
        };
        check("S=1; Path=/; HttpOnly", Some("1"));
        check("S=1", Some("1"));
        check("T=1; S=2", None);
        check("S; Path=/", None);
    }
}
