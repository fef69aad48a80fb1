//! Is what limits are shared through there, and what is told of it?

use std::time::Duration;

use isobar_plan::{CheckReport, CheckStatus, StoreStatus};

use crate::state::{Number, Sample, State};

/// How it does: one that is lost is a reason to look, and none to send requests elsewhere.
pub(crate) fn check(store: &StoreStatus) -> CheckReport {
    let StoreStatus {
        name,
        lost,
        instances,
        took,
        keys,
        leased,
        ..
    } = store;
    let shared = format!("{instances} instances, {keys} keys, {leased} units leased");
    CheckReport {
        name: format!("limit store {name}"),
        status: match lost {
            None => CheckStatus::Pass,
            Some(_) => CheckStatus::Warn,
        },
        detail: match lost {
            None => shared,
            Some(why) => format!("lost: {why}; limits do what their `on_loss` says; {shared}"),
        },
        took: took.unwrap_or_default(),
    }
}

pub(crate) fn up(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| Some(whole(u64::from(store.lost.is_none()))))
}

pub(crate) fn instances(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| Some(whole(store.instances.into())))
}

pub(crate) fn round_trips(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| Some(whole(store.round_trips)))
}

pub(crate) fn exchanges(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| Some(whole(store.exchanges)))
}

pub(crate) fn errors(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| Some(whole(store.errors)))
}

pub(crate) fn round_trip(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| store.took.map(seconds))
}

pub(crate) fn age(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| store.age.map(seconds))
}

pub(crate) fn keys(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| Some(whole(store.keys)))
}

pub(crate) fn leased(state: &State) -> Vec<Sample<'_>> {
    by_store(state, |store| Some(whole(store.leased)))
}

const fn whole(value: u64) -> Number {
    Number::Whole(value)
}

fn seconds(time: Duration) -> Number {
    Number::Real(time.as_secs_f64())
}

fn by_store(state: &State, value: impl Fn(&StoreStatus) -> Option<Number>) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for store in &state.status.stores {
        samples.extend(value(store).map(|value| Sample {
            labels: vec![&*store.name],
            value,
        }));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_lost_is_told_of() {
        let store = |lost: Option<&str>| StoreStatus {
            name: "main".into(),
            lost: lost.map(str::to_owned),
            instances: 2,
            round_trips: 7,
            exchanges: 9,
            errors: 1,
            took: Some(Duration::from_millis(3)),
            age: None,
            keys: 5,
            leased: 40,
        };
        let check = |lost, status, detail: &str| {
            let report = check(&store(lost));
            assert_eq!((report.status, &*report.detail), (status, detail));
            let (name, took) = ("limit store main", Duration::from_millis(3));
            assert_eq!((&*report.name, report.took), (name, took));
        };
        let shared = "2 instances, 5 keys, 40 units leased";
        check(None, CheckStatus::Pass, shared);
        let words = format!("lost: LOADING; limits do what their `on_loss` says; {shared}");
        check(Some("LOADING"), CheckStatus::Warn, &words);
    }
}
