//! Which changes to header fields are allowed, and in which order are they made?

use std::collections::{HashMap, HashSet};

use isobar_plan::HeaderOp;

use crate::document::{HeaderChanges, HeaderName, HeaderValue, Named};
use crate::problem::{Path, Problem, Problems, Spot};

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
    let removed = check_removed(remove, at, side, problems);
    check_set(set, at.key("set"), problems);
    for (name, _) in add.iter() {
        check_named(name, at.key("add"), Deed::AddOrRemove(side), problems);
    }
    for (key, named) in [("set", set), ("add", add)] {
        for name in named
            .iter()
            .map(|(name, _)| name)
            .filter(|name| removed.contains_key(*name))
        {
            let (list, place) = (at.key("remove"), at.key(key));
            let message = format!(
                "the field `{}` is removed, and written under `{key}` as well",
                name.as_str()
            );
            let index = removed.get(name).copied().unwrap_or(0);
            let problem = Problem::error(list.index(index), message).help("`set` replaces all fields of that name");
            problems.push(problem.related(place.key(name.as_str()), Spot::Key, "written here"));
        }
    }
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

fn check_set(set: &Named<HeaderName, HeaderValue>, at: Path<'_>, problems: &mut Problems) {
    let mut seen = HashSet::with_capacity(set.0.len());
    for (name, _) in set.iter() {
        check_named(name, at, Deed::Set, problems);
        // A name that could not be read is the empty one, and has been reported.
        if !seen.insert(name) && !name.as_str().is_empty() {
            let message = format!("the field `{}` is set twice, in different case", name.as_str());
            let problem = Problem::error(at.key(name.as_str()), message).on_key();
            problems.push(problem.help("to send it twice, write one of them under `add`"));
        }
    }
}

/// What is done to a field.
#[derive(Clone, Copy)]
enum Deed {
    Set,
    AddOrRemove(Side),
}

fn check_removed<'n>(
    remove: &'n [HeaderName],
    at: Path<'_>,
    side: Side,
    problems: &mut Problems,
) -> HashMap<&'n HeaderName, usize> {
    let list = at.key("remove");
    let mut removed = HashMap::with_capacity(remove.len());
    for (index, name) in remove.iter().enumerate() {
        if let Some(problem) = refused(name, list.index(index), Deed::AddOrRemove(side)) {
            problems.push(problem);
        }
        removed.entry(name).or_insert(index);
    }
    removed
}

fn check_named(name: &HeaderName, at: Path<'_>, deed: Deed, problems: &mut Problems) {
    if let Some(problem) = refused(name, at.key(name.as_str()), deed) {
        problems.push(problem.on_key());
    }
}

/// Why a field must not be changed so.
fn refused(name: &HeaderName, at: Path<'_>, deed: Deed) -> Option<Problem> {
    let name = name.as_str();
    if UNTOUCHABLE.contains(&name) {
        let label = "it says where a message ends, or holds for one connection only";
        return Some(Problem::error(at, format!("the field `{name}` cannot be changed")).label(label));
    }
    match deed {
        Deed::AddOrRemove(Side::Request) if name == "host" => {
            let problem = Problem::error(at, "a request has exactly one field `host`");
            Some(problem.help("to send another host to servers, write it under `set`"))
        }
        _ => None,
    }
}
