//! What happens to servers on the way, change by change?
//!
//! An event is a beginning, an end where it has one, and what balancers notice of both.

use std::collections::HashMap;

use isobar_sim::{Change, Failing, What};

use super::refuse_where;
use super::servers::Listed;
use crate::document::OrNone;
use crate::problem::{Path, Problem, Problems, Spot};
use crate::scenario::document::{Action, Event};
use crate::setting::help_for_word;

/// How long balancers take to notice what a probe sees, where nothing else is written.
const DETECTED_AFTER: u64 = 3_000_000_000;

/// What an event is about: two of one kind on one server must not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Speed,
    Failing,
    Presence,
    Membership,
    Weight,
}

impl Kind {
    const fn of(action: Action) -> Self {
        match action {
            Action::Slow | Action::Stall => Self::Speed,
            Action::Fail => Self::Failing,
            Action::Away => Self::Presence,
            Action::Join | Action::Leave => Self::Membership,
            Action::Weight => Self::Weight,
        }
    }
}

/// An event with its times.
#[derive(Debug, Clone, Copy)]
struct Timed {
    index: usize,
    begins: u64,
    /// None: it does not.
    ends: Option<u64>,
    /// How long balancers take to notice; none: they do not.
    noticed: Option<u64>,
}

/// Turns events into changes; servers that join first are not there before.
pub(super) fn changes(events: &[Event], listed: &mut Listed, problems: &mut Problems) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut busy: HashMap<(usize, Kind), Timed> = HashMap::new();
    let mut order: Vec<(usize, &Event)> = events.iter().enumerate().collect();
    order.sort_by_key(|(index, event)| (event.at, *index));
    for (index, event) in order {
        check_keys(index, event, problems);
        let timed = timed(index, event);
        for server in positions(index, event, listed, problems) {
            let kind = Kind::of(event.r#do);
            let earlier = busy.insert((server, kind), timed);
            if let Some(earlier) = earlier.filter(|earlier| earlier.ends.is_none_or(|ends| ends > timed.begins)) {
                report_overlap(timed, earlier, &listed.servers[server].name, problems);
            }
            if event.r#do == Action::Join && earlier.is_none() {
                listed.servers[server].present = false;
            }
            let weight = listed.servers[server].weight;
            changes.extend(changes_of(event, timed, weight).map(|(at, what)| Change { at, server, what }));
        }
    }
    changes.sort_by_key(|change| change.at);
    changes
}

fn timed(index: usize, event: &Event) -> Timed {
    let begins = event.at.nanoseconds();
    let noticed = match (event.detected_after, event.r#do) {
        (Some(OrNone(after)), _) => after.map(|after| after.nanoseconds()),
        (None, Action::Stall | Action::Away) => Some(DETECTED_AFTER),
        (None, _) => None,
    };
    Timed {
        index,
        begins,
        ends: event.r#for.map(|length| begins.saturating_add(length.nanoseconds())),
        noticed,
    }
}

/// Takes the event apart; what it does not need is refused.
fn check_keys(index: usize, event: &Event, problems: &mut Problems) {
    let Event {
        at: _,
        servers: _,
        r#do,
        r#for: _,
        detected_after,
        speed,
        share,
        work,
        weight,
    } = event;
    let root = Path::ROOT.key("events");
    let at = root.index(index);
    let is = |action: Action| *r#do == action;
    refuse_where(at, "speed", speed.is_some() && !is(Action::Slow), "slow", problems);
    refuse_where(at, "share", share.is_some() && !is(Action::Fail), "fail", problems);
    refuse_where(at, "work", work.is_some() && !is(Action::Fail), "fail", problems);
    refuse_where(
        at,
        "weight",
        weight.is_some() && !is(Action::Weight),
        "weight",
        problems,
    );
    let silent = matches!(r#do, Action::Join | Action::Leave | Action::Weight);
    let faults = "slow`, `stall`, `fail` and `away";
    refuse_where(
        at,
        "detected_after",
        detected_after.is_some() && silent,
        faults,
        problems,
    );
    let mut needs = |key: &str, missing: bool, action: &str| {
        if missing {
            let message = format!("the key `{key}` is missing, which `{action}` needs");
            problems.push(Problem::error(at, message).needs(at.key(key)));
        }
    };
    needs("speed", is(Action::Slow) && speed.is_none(), "slow");
    needs("weight", is(Action::Weight) && weight.is_none(), "weight");
}

/// The servers that an event is about.
fn positions(index: usize, event: &Event, listed: &Listed, problems: &mut Problems) -> Vec<usize> {
    let root = Path::ROOT.key("events");
    let event_at = root.index(index);
    let at = event_at.key("servers");
    if event.servers.is_empty() {
        problems.push(Problem::error(at, "the event is about no server").on_key());
    }
    let mut positions = Vec::new();
    for (position, name) in event.servers.iter().enumerate() {
        match listed.names.get(name.as_str()) {
            Some(range) => positions.extend(range.clone()),
            None => {
                let names = listed.names.keys().map(String::as_str);
                let mut names: Vec<&str> = names.collect();
                names.sort_unstable();
                let problem = Problem::error(at.index(position), format!("there is no server `{name}`"));
                let problem = problem.needs(Path::ROOT.key("servers"));
                problems.push(problem.help(help_for_word(name.as_str(), "servers", names)));
            }
        }
    }
    positions.sort_unstable();
    positions.dedup();
    positions
}

fn report_overlap(timed: Timed, earlier: Timed, server: &str, problems: &mut Problems) {
    let root = Path::ROOT.key("events");
    let message = format!("the same still happens to `{server}`");
    let other = root.index(earlier.index);
    let problem = Problem::error(root.index(timed.index).key("at"), message);
    let problem = match earlier.ends {
        Some(_) => problem,
        None => problem.help("give the other event an end with `for`"),
    };
    problems.push(problem.related(other.key("at"), Spot::Value, "since here"));
}

/// The changes of an event to one server of this weight.
fn changes_of(event: &Event, timed: Timed, weight: u32) -> impl Iterator<Item = (u64, What)> {
    let failing = Failing {
        share: event.share.map_or(1.0, |share| share.value()),
        work: event.work.map_or(0.01, |work| work.value()),
    };
    let (begin, end) = match event.r#do {
        Action::Slow => (
            What::Speed(event.speed.map_or(1.0, |speed| speed.value())),
            What::Speed(1.0),
        ),
        Action::Stall => (What::Speed(0.0), What::Speed(1.0)),
        Action::Fail => (What::Failing(Some(failing)), What::Failing(None)),
        Action::Away => (What::Away, What::Back),
        Action::Join => (What::Join, What::Leave),
        Action::Leave => (What::Leave, What::Join),
        Action::Weight => (
            What::Weight(event.weight.map_or(weight, |weight| weight.value())),
            What::Weight(weight),
        ),
    };
    let begin = Some((timed.begins, begin));
    let end = timed.ends.map(|ends| (ends, end));
    let noticed = timed.noticed.map(|after| timed.begins.saturating_add(after));
    // What is over before it is noticed is never noticed.
    let noticed = noticed.filter(|noticed| timed.ends.is_none_or(|ends| ends > *noticed));
    let doubted = noticed.map(|at| (at, What::Doubted));
    let trusted = noticed.and(timed.ends).zip(timed.noticed);
    let trusted = trusted.map(|(ends, after)| (ends.saturating_add(after), What::Trusted));
    [begin, doubted, end, trusted].into_iter().flatten()
}
