//! Which changes to header fields are allowed, and in which order are they made?

use std::collections::{HashMap, HashSet};

use isobar_plan::HeaderOp;

use crate::document::{HeaderChanges, HeaderName, HeaderValue, HostField, Named};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Word;

/// Whose fields are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Those of requests.
    Request,
    /// Those of responses.
    Response,
}

/// Fields that say where a message ends, or that hold for one connection only (RFC 9110 section 7.6.1): changed by
/// hand, two peers would disagree about where the next message begins.
const UNTOUCHABLE: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// The changes in the order they are made: remove, set, add.
pub(super) fn changes(written: &HeaderChanges, at: Path<'_>, side: Side, problems: &mut Problems) -> Vec<HeaderOp> {
    let HeaderChanges { set, add, remove } = written;
    check_removed(remove, at.key("remove"), side, problems);
    check_set(set, at.key("set"), side, problems);
    check_added(add, at.key("add"), side, problems);
    check_contradictions(written, at, problems);
    let text = |text: &str| text.into();
    let removes = remove.iter().map(|name| HeaderOp::Remove(text(name.as_str())));
    let sets = set
        .iter()
        .map(|(name, value)| HeaderOp::Set(text(name.as_str()), text(value.as_str())));
    let adds = add
        .iter()
        .map(|(name, value)| HeaderOp::Add(text(name.as_str()), text(value.as_str())));
    removes.chain(sets).chain(adds).collect()
}

fn check_removed(remove: &[HeaderName], at: Path<'_>, side: Side, problems: &mut Problems) {
    for (index, name) in remove.iter().enumerate() {
        let found = untouchable(name, at.index(index)).or_else(|| only_host(name, at.index(index), side));
        found.into_iter().for_each(|problem| problems.push(problem));
    }
}

fn check_added(add: &Named<HeaderName, HeaderValue>, at: Path<'_>, side: Side, problems: &mut Problems) {
    for (name, _) in add.iter() {
        let at = at.key(name.as_str());
        let found = untouchable(name, at).or_else(|| only_host(name, at, side));
        found.into_iter().for_each(|problem| problems.push(problem.on_key()));
    }
}

fn check_set(set: &Named<HeaderName, HeaderValue>, at: Path<'_>, side: Side, problems: &mut Problems) {
    let mut seen = HashSet::with_capacity(set.0.len());
    for (name, value) in set.iter() {
        let at = at.key(name.as_str());
        if let Some(problem) = untouchable(name, at) {
            problems.push(problem.on_key());
        }
        if side == Side::Request && name.as_str() == "host" && HostField::read(value.as_str()).is_err() {
            let message = format!("`{}` is not a host", crate::tree::shorten(value.as_str()));
            problems.push(Problem::error(at, message));
        }
        // A name that could not be read is the empty one, and has been reported.
        if !seen.insert(name) && !name.as_str().is_empty() {
            let message = format!("the field `{}` is set twice, in different case", name.as_str());
            let problem = Problem::error(at, message).on_key();
            problems.push(problem.help("to send it twice, write one of them under `add`"));
        }
    }
}

/// Reports fields that are removed and written at once.
fn check_contradictions(written: &HeaderChanges, at: Path<'_>, problems: &mut Problems) {
    let HeaderChanges { set, add, remove } = written;
    let list = at.key("remove");
    let removed: HashMap<&HeaderName, usize> = remove.iter().enumerate().map(|(index, name)| (name, index)).collect();
    for (key, named) in [("set", set), ("add", add)] {
        let place = at.key(key);
        for (name, index) in named
            .iter()
            .filter_map(|(name, _)| Some((name.as_str(), removed.get(name)?)))
        {
            let message = format!("the field `{name}` is removed, and written under `{key}` as well");
            let problem = Problem::error(list.index(*index), message).help("`set` replaces all fields of that name");
            problems.push(problem.related(place.key(name), Spot::Key, "written here"));
        }
    }
}

fn untouchable(name: &HeaderName, at: Path<'_>) -> Option<Problem> {
    let name = name.as_str();
    UNTOUCHABLE.contains(&name).then(|| {
        let label = "it says where a message ends, or holds for one connection only";
        Problem::error(at, format!("the field `{name}` cannot be changed")).label(label)
    })
}

/// A request has exactly one Host (RFC 9112 section 3.2).
fn only_host(name: &HeaderName, at: Path<'_>, side: Side) -> Option<Problem> {
    (side == Side::Request && name.as_str() == "host").then(|| {
        let problem = Problem::error(at, "a request has exactly one field `host`");
        problem.help("to send another host to servers, write it under `set`")
    })
}
